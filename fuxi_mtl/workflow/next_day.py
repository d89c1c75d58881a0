"""Another day of a lineage: its newest run is updated, or an update that is there is kept or gone on with."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fuxi_mtl.config import load_resolved
from fuxi_mtl.dataset import Encoder
from fuxi_mtl.dataset.windows import as_date
from fuxi_mtl.lineage import AT, Day, chosen_day, day_folder, days_of, lost_days
from fuxi_mtl.runs import TRAINING, Run, held_run
from fuxi_mtl.workflow.interrupted import goes_on, interrupted_training
from fuxi_mtl.workflow.keys import measured_keys, told_changes, training_keys
from fuxi_mtl.workflow.log_file import log_file
from fuxi_mtl.workflow.resume import complete, tidy
from fuxi_mtl.workflow.update import PlannedUpdate, Update, update_run

logger = logging.getLogger(__name__)


def next_day(
    first: Path,
    at: str | None,
    rows: Mapping[str, Any],
    how: Update,
    *,
    overrides: Sequence[str] = (),
    changes: Mapping[str, Any] = MappingProxyType({}),
    gpus: Sequence[int] = (-1,),
    resume: bool = False,
    restart: bool = False,
) -> Run:
    """Updates the newest run of a lineage, with the log beside the update.

    Args:
        first: What the lineage began with.
        at: The day that it goes on from: the newest, or the one before a last day that is done again; the
            newest unless said.
        rows: See :class:`~fuxi_mtl.workflow.update.PlannedUpdate`.
        how: What grows, and how; its day is the place of the update.
        overrides: Keys of the stanza that change, as ``--set`` has them.
        changes: The same as plain values.
        gpus: GPUs to use; -1 is the CPU.
        resume: Whether an update of the day that is there and would be the same is kept, and one that was
            interrupted is gone on with.
        restart: Whether one that was interrupted and cannot be gone on with begins anew.

    Returns:
        The update.

    Raises:
        ValueError: The run, the rows or the day cannot be used; or what is there of the day is another
            update.
        LockedError: Another process updates the lineage.
    """
    place = day_folder(first, how.day)
    with held_run(first):  # one day after another, whoever updates
        known = days_of(first)
        parent = chosen_day(first, at)
        if resume and at is None and how.day in [each.name for each in known[1:]]:  # it may stay
            parent = next(day for day, after in pairwise(known) if after.name == how.day)
        seed = parent.content["seed"]
        planned = PlannedUpdate.of(
            Run(parent.folder), rows, how, overrides=[*overrides, f"seed={seed}"], changes=changes
        )
        done = next((each for each in known if each.number == parent.number + 1), None)
        if resume and done is not None and done.name == how.day:
            differing = _differences(planned, Run(done.folder))
            if not differing:
                return _completed(Run(done.folder), planned)
            if at is None:
                raise ValueError(
                    f"{done.folder} is there, and this would be another update: they differ in "
                    f"{', '.join(differing)}. Name another day, or do it again from the day before: --expid "
                    f"{parent.content['expid']}{AT}{parent.name}."
                )
        _check_newest(known, parent, how.day)
        if interrupted_training(place):
            resume = resume and goes_on(place, planned.identity, restart)
        with log_file(place.with_suffix(".log"), keeps=place.is_dir(), appends=resume):
            _tell_of_others(first, how.day)
            _tell_of_order(known[: known.index(parent) + 1], planned)
            number = parent.number + 1
            return update_run(planned, place, number=number, gpus=gpus, resume=resume)[0]


def _completed(run: Run, planned: PlannedUpdate) -> Run:
    """An update that is whole, with all that is made of one."""
    tidy(run.folder)
    complete(run, planned.experiment)
    return run


def _check_newest(known: Sequence[Day], parent: Day, day: str) -> None:
    """A day comes behind the newest, or in the place of the last one.

    Raises:
        ValueError: It does not.
    """
    later = [each.name for each in known if each.number > parent.number]
    if day in [each.name for each in known if each.number <= parent.number]:
        raise ValueError(
            f"day {day!r} is behind {parent.name!r} already: name another one. --resume keeps an update that "
            "is there."
        )
    if later and later != [day]:
        raise ValueError(
            f"{parent.name!r} is not the newest day of {parent.content['expid']!r}: {', '.join(later)} came "
            "after it. Update the newest, or do only the last day again."
        )


def _differences(planned: PlannedUpdate, run: Run) -> list[str]:
    """In what a finished update differs from a planned one of the same run."""
    stored, content = load_resolved(run.config, run.expid), run.read_json(run.metrics, "update", "data_key")
    there, here = (
        {**training_keys(each), **measured_keys(each), "init_from": None}  # the lineage knows the parent
        for each in (stored, planned.experiment)
    )
    there |= content["update"]["how"]
    here |= asdict(planned.how)
    changed = told_changes(there, here)
    if planned.data_key(Encoder.load(run.features)) != content["data_key"]:
        changed.append("the rows")
    return changed


def _tell_of_order(behind: Sequence[Day], planned: PlannedUpdate) -> None:
    """Says if the day lies before one that was trained on, or has the rows of one."""
    day, rows_key = planned.how.day, planned.rows_key
    for each in behind:
        if each.content.get("update", {}).get("rows_key") == rows_key:
            logger.warning(
                "The new rows are those of day %s, which was trained on: what they are worth before training "
                "is no validation.",
                each.name,
            )
        before, date = as_date(each.name), as_date(day)
        if before and date and date < before:
            logger.warning("Day %s is before %s, behind which it is trained on.", day, each.name)


def _tell_of_others(first: Path, day: str) -> None:
    """Says which other days were interrupted, and which are none of the lineage."""
    lost = [each for each in lost_days(first) if each != day]
    if lost:
        logger.warning(
            "%s: the updates of %s go on from a run that is gone or was trained anew: they are left out.",
            first,
            ", ".join(lost),
        )
    name = f"{first.name}{TRAINING}"
    for each in sorted(day_folder(first, day).parent.parent.glob(f"*/{name}")):
        if each.parent.name != day:
            logger.warning(
                "An interrupted update of day %s is there: --day %s --resume would go on with it, as long as "
                "no other day comes behind the run that it goes on from.",
                each.parent.name,
                each.parent.name,
            )
