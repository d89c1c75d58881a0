"""The commands update and history: another day for a run, and the days that it has."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fuxi_mtl.cli.arguments import whole
from fuxi_mtl.hints import printable

if TYPE_CHECKING:
    from fuxi_mtl.runs import Run

_FOOT = (
    "Numbers of a day are those of its rows before they were trained on; those of {first} are of its {split} "
    "rows."
)


def add_update(sub: argparse.ArgumentParser) -> None:
    """The arguments of update, beside those that run has, too."""
    sub.add_argument(
        "--expid", required=True, help="experiment, whose newest run is updated; EXPID@DAY for an earlier one"
    )
    sub.add_argument("--train_data", required=True, help="new rows: a file, a folder, or a pattern")
    sub.add_argument("--valid_data", help="rows to choose and calibrate by; none unless said")
    sub.add_argument("--test_data", help="rows to report on; none unless said")
    sub.add_argument(
        "--day",
        default="",
        help="name of the day, and last_day of patterns; that of --set or today's date unless said",
    )
    sub.add_argument(
        "--count_over",
        default="new",
        choices=["new", "lineage"],
        help="rows in which a new token must reach min_categr_count: those of the day, or of all days",
    )
    sub.add_argument(
        "--new_rows",
        default="random",
        choices=["random", "oov"],
        help="how vectors of new tokens start: as new ones do, or as a copy of the one of unknown tokens",
    )
    sub.add_argument(
        "--statistics",
        default="keep",
        choices=["keep", "update"],
        help="whether numbers stay scaled as they are, or by the new rows",
    )
    sub.add_argument(
        "--keep_calibration",
        action="store_true",
        help="keep the calibration of the run, also where there are rows to fit it anew",
    )
    sub.add_argument(
        "--expire_days",
        type=whole(),
        help="drop tokens that were not seen for so many days; none unless said",
    )


def unsplit(options: argparse.Namespace) -> list[str]:
    """Keys of the stanza that an update does not take from it: which rows there are, and what for."""
    given = {"valid_data": options.valid_data, "test_data": options.test_data}
    keys = [f"{key}={value or 'null'}" for key, value in given.items()]
    keys += ["valid_size=0", "test_size=0", "split_type=random", "split_col=null"]
    return keys if options.valid_data else [*keys, "final_weights=last"]


def planned_update(options: argparse.Namespace) -> tuple[str, "Callable[[Path], Run]"]:
    """What the command update does with each seed.

    Args:
        options: Its arguments.

    Returns:
        The day, and what updates the lineage that began with a run.
    """
    from fuxi_mtl.lineage import split_day
    from fuxi_mtl.workflow.next_day import next_day
    from fuxi_mtl.workflow.update import Update

    moved = [text.partition("=")[2] for text in options.set if text.startswith("last_day=")]
    how = Update(
        day=options.day or "".join(moved[-1:]),
        count_over=options.count_over,
        statistics=options.statistics,
        expire_days=options.expire_days,
        keep_calibration=options.keep_calibration,
    )
    rows = {name: getattr(options, f"{name}_data") for name in ("train", "valid", "test")}
    given = {name: rows[name] for name in rows if rows[name]}

    def updated(first: Path) -> "Run":
        return next_day(
            first,
            split_day(options.expid)[1],
            given,
            how,
            overrides=options.set,
            changes={"new_rows": options.new_rows},
            gpus=options.gpu,
            resume=options.resume,
            restart=options.restart,
        )

    return how.day, updated


def history_lines(folder: Path) -> list[str]:
    """The lineage of a run as lines of a table, the oldest first.

    Args:
        folder: The run.

    Raises:
        ValueError: A file is damaged.
    """
    from fuxi_mtl.lineage import ancestors, first_of, lost_days

    days = list(ancestors(folder))[::-1]
    split = "test" if days[0].content.get("test") else "valid"
    rows = [_row(day, split) for day in days]
    metrics = list(dict.fromkeys(key for _, values in rows for key in values))
    heads = ["day", "rows", "new tokens", *metrics, "data"]
    table = [heads]
    for words, values in rows:
        numbers = ["" if values.get(key) is None else f"{values[key]:.6f}" for key in metrics]
        table.append([*words[:3], *numbers, words[3]])
    widths = [max(len(row[i]) for row in table) for i in range(len(heads))]
    left = {0, len(heads) - 1}
    lines = [
        "  ".join(
            value.ljust(width) if i in left else value.rjust(width)
            for i, (value, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]
    began = days[0].content.get("parent")
    told = [f"It began with {began['folder']}, which is not there as it was."] if began else []
    lost = lost_days(first_of(folder))
    if lost:
        told.append(
            f"Left out, as the run that they go on from is gone or was trained anew: {', '.join(lost)}."
        )
    return [*lines, "", *told, _FOOT.format(first=days[0].name, split=split)]


def _row(day: Any, split: str) -> tuple[list[str], dict[str, float]]:
    content, update_of = day.content, day.content.get("update")
    if update_of is None:
        return [day.name, "", "", ""], dict(content.get(split) or {})
    new = sum(each["new"] for each in update_of["vocabularies"].values())
    words = [day.name, f"{update_of['rows']['train']:,}", f"{new:,}", str(update_of["data"]["train"])]
    return words, update_of["progressive"]["before"]


def history(folder: Path, show: Callable[[str], None] = print) -> None:
    """Runs the command history.

    Args:
        folder: The run.
        show: Gets each line.
    """
    for line in history_lines(folder):
        show(printable(line))
