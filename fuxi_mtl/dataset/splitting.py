"""Which split each row of the training file goes to."""

from collections.abc import Callable

import numpy as np
import polars as pl

from fuxi_mtl.dataset import raw
from fuxi_mtl.dataset.errors import BadEntry, DataError
from fuxi_mtl.dataset.sources import Source
from fuxi_mtl.options import DatasetOptions

NAMES = ("train", "valid", "test")
TRAIN, VALID, TEST = range(3)
_SPELLINGS = {
    "train": TRAIN,
    "training": TRAIN,
    "valid": VALID,
    "val": VALID,
    "validation": VALID,
    "test": TEST,
}


def assign_rows(source: Source, options: DatasetOptions) -> np.ndarray | None:
    """The split of each row of ``train_data``, or None if all of it is for training.

    Returns:
        ``(rows,)`` uint8: 0 train, 1 valid, 2 test.

    Raises:
        DataError: Sizes, files and split_type contradict each other, or nothing is left for training.
    """
    if options.split_type not in _SPLITTERS and options.split_type != "column":
        raise DataError(
            f"split_type {options.split_type!r} is unknown: {', '.join([*_SPLITTERS, 'column'])}."
        )
    if options.split_type in ("time", "user", "column") and options.split_col is None:
        raise DataError(f"split_type {options.split_type} needs split_col, the column to split by.")
    if options.split_type == "column":
        return _by_column(source, options)
    for name in ("valid", "test"):
        if getattr(options, f"{name}_size") and getattr(options, f"{name}_data"):
            raise DataError(f"{name}_data and {name}_size are both given: remove one.")
    if not options.valid_size and not options.test_size:
        return None
    entries = _column(source, options.split_col) if options.split_type in ("time", "user") else None
    rows = source.count_rows() if entries is None else len(entries)
    sizes = {VALID: _size(options, "valid", rows), TEST: _size(options, "test", rows)}
    if sum(sizes.values()) >= rows:
        raise DataError(
            f"valid_size {options.valid_size:g} and test_size {options.test_size:g} leave nothing for training: "
            f"train_data has {rows} rows."
        )
    return _SPLITTERS[options.split_type](rows, sizes, options, entries)


def _size(options: DatasetOptions, name: str, rows: int) -> int:
    """A share below 1 or a number of rows, as rows."""
    size = getattr(options, f"{name}_size")
    if size < 0:
        raise DataError(f"{name}_size {size:g} is negative: give a share below 1 or a number of rows.")
    return round(size * rows) if size < 1 else int(size)


def _column(source: Source, name: str) -> pl.Series:
    parts = [block.frame[name] for block in source.blocks([name])]
    return pl.concat(parts) if parts else pl.Series(name, [], pl.String)


def _random(rows: int, sizes: dict[int, int], options: DatasetOptions, _: pl.Series | None) -> np.ndarray:
    order = np.random.default_rng(options.split_seed).permutation(rows)
    return _last(order, sizes)


def _sequential(rows: int, sizes: dict[int, int], options: DatasetOptions, _: pl.Series | None) -> np.ndarray:
    return _last(np.arange(rows), sizes)


def _by_time(
    rows: int, sizes: dict[int, int], options: DatasetOptions, times: pl.Series | None
) -> np.ndarray:
    """The latest rows are for testing, those before them for validation; ties keep the order of the file."""
    if times.null_count():
        raise DataError(
            f"split_col {options.split_col!r} is missing in row {times.is_null().arg_true()[0] + 1}."
        )
    if times.dtype == pl.String:
        try:
            times = pl.Series(raw.doubles(times))
        except BadEntry:
            pass  # Dates as text: ISO dates sort by time.
    return _last(times.arg_sort(descending=False, maintain_order=True).to_numpy(), sizes)


def _by_user(
    rows: int, sizes: dict[int, int], options: DatasetOptions, users: pl.Series | None
) -> np.ndarray:
    """Whole users, in a seeded order, until a split has its rows."""
    codes = users.cast(pl.String).fill_null(raw.MISSING).rank("dense").to_numpy() - 1
    counts = np.bincount(codes)
    order = np.random.default_rng(options.split_seed).permutation(len(counts))
    taken = np.cumsum(counts[order])
    split_of_user = np.full(len(counts), TRAIN, np.uint8)
    end = 0
    for split in (TEST, VALID):
        start, end = end, end + sizes[split]
        # A user belongs to the split in which its first row falls.
        split_of_user[order[(taken - counts[order] >= start) & (taken - counts[order] < end)]] = split
    return split_of_user[codes]


def _last(order: np.ndarray, sizes: dict[int, int]) -> np.ndarray:
    """The last rows of an order are for testing, those before them for validation."""
    split = np.full(len(order), TRAIN, np.uint8)
    ends = len(order) - sizes[TEST]
    split[order[ends:]] = TEST
    split[order[ends - sizes[VALID] : ends]] = VALID
    return split


_SPLITTERS: dict[str, Callable[..., np.ndarray]] = {
    "random": _random,
    "sequential": _sequential,
    "time": _by_time,
    "user": _by_user,
}


def _by_column(source: Source, options: DatasetOptions) -> np.ndarray:
    for name in ("valid", "test"):
        if getattr(options, f"{name}_data") or getattr(options, f"{name}_size"):
            raise DataError(
                f"split_type column takes {name} from {options.split_col!r}: remove {name}_data and {name}_size."
            )
    assigned = []
    for block in source.blocks([options.split_col]):
        values = block.frame[options.split_col].cast(pl.String).str.to_lowercase()
        codes = values.replace_strict(_SPELLINGS, default=None, return_dtype=pl.UInt8)
        if codes.null_count():
            index = codes.is_null().arg_true()[0]
            raise block.located(
                BadEntry(options.split_col, index, values[index], "train, valid (or val) or test")
            )
        assigned.append(codes.to_numpy())
    return np.concatenate(assigned) if assigned else np.zeros(0, np.uint8)
