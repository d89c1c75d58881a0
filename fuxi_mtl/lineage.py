"""Days of a run: the finished run that it was trained from, and the updates that followed it.

An update of ``{expid}/seed_1`` lies in ``{expid}/days/{day}/seed_1``, a folder as any run's: what looks for
the seeds of an experiment never takes a day for one. ``X`` means the newest day of an experiment,
``X@2026-11-08`` a certain one, and ``X@first`` what it began with. Each update holds the name of its day, its
number, and when the run was finished that it goes on from: updates of a run that was trained anew since are
none of it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuxi_mtl.files import name_problem
from fuxi_mtl.hints import among
from fuxi_mtl.runs import TRAINING, Run, local_root, run_folders

DAYS, AT, FIRST = "days", "@", "first"


@dataclass(frozen=True)
class Day:
    """One run of a lineage.

    Attributes:
        name: Its day; ``first`` for what it began with.
        folder: The run.
        content: Its metrics.json.
    """

    name: str
    folder: Path
    content: dict[str, Any]

    @property
    def number(self) -> int:
        """How many updates are behind it."""
        return int(self.content.get("update", {}).get("number", 0))


def split_day(name: str) -> tuple[str, str | None]:
    """``X@2026-11-08`` as the experiment and its day; None without one."""
    expid, at, day = name.rpartition(AT)
    return (expid, day) if at and expid and day else (name, None)


def check_day(day: str) -> None:
    """The name of a day can be a folder, and is told from an experiment's.

    Raises:
        ValueError: It cannot.
    """
    problem = name_problem(day)
    if AT in day:
        problem = f"it holds {AT}"
    if day == FIRST:
        problem = "that is the run before all updates"
    if problem:
        raise ValueError(f"day {day!r} names a folder, which it cannot: {problem}. Such as 2026-11-08.")


def day_folder(first: Path, day: str) -> Path:
    """Where the update of a run on a day lies.

    Args:
        first: What the lineage began with.
        day: The day.
    """
    return first.parent / DAYS / day / first.name


def first_of(folder: Path) -> Path:
    """What a run's lineage began with, from where the run lies."""
    return folder.parents[2] / folder.name if folder.parent.parent.name == DAYS else folder


def days_of(first: Path) -> list[Day]:
    """A run and its updates, in their order; empty without a finished run.

    Args:
        first: What the lineage began with.

    Raises:
        ValueError: A file is damaged.
    """
    return _found(first)[0]


def lost_days(first: Path) -> list[str]:
    """The names of updates beside a run that are none of its own: what they go on from is gone.

    Raises:
        ValueError: A file is damaged.
    """
    return _found(first)[1]


def _found(first: Path) -> tuple[list[Day], list[str]]:
    updates = sorted(first.parent.glob(f"{DAYS}/*/{first.name}/{Run(Path()).metrics.name}"))
    rest = [_day(each.parent) for each in updates]
    days = [_day(first)] if Run(first).metrics.is_file() else []
    while days and (following := next((day for day in rest if _follows(day, days[-1])), None)) is not None:
        days.append(following)
    return days, [day.name for day in rest if day not in days]


def chosen_day(first: Path, day: str | None) -> Day:
    """The newest run of a lineage, or that of a day.

    Args:
        first: What the lineage began with.
        day: The day; None for the newest.

    Raises:
        ValueError: There is none.
    """
    known, lost = _found(first)
    if not known:
        command = f"run_expid.py --expid {first.parent.name}"
        if first.with_name(f"{first.name}{TRAINING}").is_dir():
            raise ValueError(f"{first}: its training was interrupted. Go on with it: {command} --resume.")
        raise ValueError(f"{first}: there is no such run. Train it: {command}.")
    if day is None:
        return known[-1]
    for each in known:
        if each.name == day:
            return each
    if day in lost:
        raise ValueError(
            f"{first}: day {day!r} is there, but the run that it goes on from is gone or was trained anew."
        )
    raise ValueError(f"{first} has no day {day!r}.{among(day, [each.name for each in known])}")


def newest_days(firsts: Sequence[Path], day: str | None) -> tuple[list[Day], list[Path]]:
    """The runs of one day over the seeds of an experiment, and the seeds that lack it.

    Args:
        firsts: What the lineages of the seeds began with.
        day: The day; None for the newest that any seed has.

    Raises:
        ValueError: No seed has the day.
    """
    lineages = {first: days_of(first) for first in firsts}
    if day is None:
        day = max((days[-1] for days in lineages.values() if days), key=lambda each: each.number).name
    found = [each for days in lineages.values() for each in days if each.name == day]
    if not found:
        known = list(dict.fromkeys(each.name for days in lineages.values() for each in days))
        raise ValueError(f"{firsts[0].parent.name!r} has no day {day!r}.{among(day, known)}")
    having = {first_of(each.folder) for each in found}
    return found, [first for first in firsts if first not in having]


def ancestors(folder: Path) -> Iterator[Day]:
    """A run, the run that it was trained from, and so on, as far as they are there.

    Raises:
        ValueError: A file is damaged.
    """
    seen: set[Path] = set()
    while folder not in seen:
        found = [_day(folder)]
        known = days_of(first_of(folder))
        places = [place for place, day in enumerate(known) if day.folder == folder]
        if places:  # beside each other, wherever all of them have been moved to
            found = known[places[0] :: -1]
        seen |= {day.folder for day in found}
        yield from found
        parent = found[-1].content.get("parent")
        if not parent:
            return
        folder = Path(parent["folder"])
        if not (Run(folder).metrics.is_file() and _is_parent(parent, _day(folder).content)):
            return  # it is gone, or was trained anew since


def find_run(name: str, model_root: str, dataset_id: str, seed: int) -> Path:
    """The folder of a finished run that somebody names.

    Args:
        name: The folder, or the URL of one that was fetched; or an experiment of the same dataset, perhaps
            with a day: then it is the run with the same seed, or the only one.
        model_root: Folder of the runs.
        dataset_id: Dataset of the experiment.
        seed: The seed.

    Raises:
        ValueError: There is none.
    """
    folder = local_root(name)
    if Run(folder).metrics.is_file():
        return folder
    root = local_root(model_root) / dataset_id
    known = sorted({path.parent.name for path in run_folders(model_root) if path.parent.parent == root})
    expid, day = (name, None) if name in known else split_day(name)
    if expid not in known:
        raise ValueError(
            f"{name!r} is neither the folder of a finished run nor one of {root}.{among(name, known)}"
        )
    seeds = sorted(path for path in run_folders(model_root) if path.parent == root / expid)
    same = root / expid / f"seed_{seed}"
    if same in seeds or len(seeds) == 1:
        return chosen_day(same if same in seeds else seeds[0], day).folder
    found = ", ".join(path.name for path in seeds)
    raise ValueError(f"{name!r} has no run with seed {seed}, but {found}: name the folder of one.")


def _day(folder: Path) -> Day:
    run = Run(folder)
    content = run.read_json(run.metrics)
    return Day(str(content.get("update", {}).get("day", FIRST)), folder, content)


def _follows(day: Day, before: Day) -> bool:
    parent = day.content.get("parent") or {}
    return day.number == before.number + 1 and _is_parent(parent, before.content)


def _is_parent(told: dict[str, Any], content: dict[str, Any]) -> bool:
    return all(told.get(key) == content.get(key) for key in ("finished", "data_key", "seed"))
