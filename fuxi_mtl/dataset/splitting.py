"""Division of the training file into splits, row by row."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import polars as pl

from fuxi_mtl.dataset import raw
from fuxi_mtl.dataset.errors import BadEntryError, DataError
from fuxi_mtl.dataset.sources import Block
from fuxi_mtl.dataset.times import ranks
from fuxi_mtl.hints import did_you_mean
from fuxi_mtl.options import DatasetOptions
from fuxi_mtl.options.tokens import WHOLE

NAMES = ("train", "valid", "test")
TRAIN, VALID, TEST = range(3)
TYPES = ("random", "sequential", "time", "user", "column")
_SPELLINGS = {
    "train": TRAIN,
    "training": TRAIN,
    "valid": VALID,
    "val": VALID,
    "validation": VALID,
    "test": TEST,
}


class Rows(Protocol):
    """Rows of files or in memory."""

    def blocks(self, columns: Sequence[str], /) -> Iterator[Block]:
        """The rows in order, with only these columns."""
        ...

    def count_rows(self) -> int:
        """How many there are."""
        ...


def assign_rows(source: Rows, options: DatasetOptions) -> np.ndarray | None:
    """The split of each row of ``train_data``, or None if all of it is for training.

    ``random`` draws rows, ``sequential`` takes the last rows for testing and those before them for
    validation, ``time`` the latest rows by ``split_col``, ``user`` whole users of ``split_col`` in a seeded
    order, ``column`` what ``split_col`` says.

    Returns:
        ``(rows,)`` uint8: 0 train, 1 valid, 2 test.

    Raises:
        DataError: Sizes, files and split_type contradict each other, or nothing is left for training.
    """
    check_split(options)
    if options.split_type == "column":
        return _by_column(source, str(options.split_col))
    if not options.valid_size and not options.test_size:
        return None
    if options.split_type == "user":
        users = _column(source, str(options.split_col))
        return _by_user(users, _sizes(options, len(users)), options.split_seed)
    order = _order(source, options)
    return _from_the_end(order, _sizes(options, len(order)))


def check_split(options: DatasetOptions) -> None:
    """The options about splitting fit together.

    Raises:
        DataError: They do not.
    """
    kind = options.split_type
    if kind not in TYPES:
        raise DataError(
            f"split_type {kind!r} is unknown.{did_you_mean(kind, TYPES)} Types: {', '.join(TYPES)}."
        )
    if kind in ("time", "user", "column") and options.split_col is None:
        raise DataError(f"split_type {kind} needs split_col, the column to split by.")
    for name in ("valid", "test"):
        size, data = getattr(options, f"{name}_size"), getattr(options, f"{name}_data")
        if size < 0:
            raise DataError(f"{name}_size {size:g} is negative: give a share below 1 or a number of rows.")
        if size and data:
            raise DataError(f"{name}_data and {name}_size are both given: remove one.")
        if kind == "column" and (size or data):
            raise DataError(
                f"split_type column takes {name} from {options.split_col!r}: remove {name}_data and "
                f"{name}_size."
            )


def _sizes(options: DatasetOptions, rows: int) -> dict[int, int]:
    """Rows for validation and testing, given as shares below 1 or as numbers of rows."""
    given = {VALID: options.valid_size, TEST: options.test_size}
    for split, size in given.items():
        if size and not round(size * rows if size < 1 else size):
            raise DataError(
                f"{NAMES[split]}_size {size:g} of {rows} rows is no row: give a larger share, or a number "
                "of rows."
            )
    sizes = {split: round(size * rows) if size < 1 else int(size) for split, size in given.items()}
    if sum(sizes.values()) >= rows:
        raise DataError(
            f"valid_size {options.valid_size:g} and test_size {options.test_size:g} leave nothing for "
            f"training: train_data has {rows} rows."
        )
    return sizes


def _column(source: Rows, name: str) -> pl.Series:
    parts: list[pl.Series] = []
    types: dict[pl.DataType, str] = {}
    for block in source.blocks([name]):
        parts.append(block.frame[name])
        types.setdefault(parts[-1].dtype, block.file)
    if not parts:
        return pl.Series(name, [], pl.String)
    if len(types) > 1 and not all(dtype.is_numeric() for dtype in types):
        told = " and ".join(f"{dtype} in {file}" for dtype, file in types.items())
        raise DataError(f"split_col {name!r} is {told}: make it one type in all files.")
    return pl.concat([part.to_frame() for part in parts], how="vertical_relaxed")[name]


def _order(source: Rows, options: DatasetOptions) -> np.ndarray:
    if options.split_type == "time":
        name = str(options.split_col)
        try:
            return _time_order(_column(source, name))
        except BadEntryError as error:
            for block in source.blocks([name]):
                if error.index < block.start + block.frame.height:
                    raise error.located(block.file, int(block.rows[error.index - block.start])) from None
            raise
    rows = source.count_rows()
    if options.split_type == "random":
        return np.random.default_rng(options.split_seed).permutation(rows)
    return np.arange(rows)


def _time_order(times: pl.Series) -> np.ndarray:
    """Earliest first; rows of one time keep the order of the file."""
    return np.argsort(ranks(times), kind="stable")


def _from_the_end(order: np.ndarray, sizes: dict[int, int]) -> np.ndarray:
    """The last rows of an order are for testing, those before them for validation."""
    split = np.full(len(order), TRAIN, np.uint8)
    training = len(order) - sizes[TEST] - sizes[VALID]
    split[order[training:]] = VALID
    split[order[training + sizes[VALID] :]] = TEST
    return split


def _by_user(users: pl.Series, sizes: dict[int, int], seed: int) -> np.ndarray:
    """Whole users in a seeded order, until a split has its rows or a few more.

    A row without a user is a user of its own; ``3.0`` is the user ``3``, as another file may write it. A user
    of more rows than a split is to have stays in training, unless no split could be made without.
    """
    if users.dtype.is_nested():
        raise raw.no_entry(users, "a user")
    names = users.cast(pl.String).fill_null(raw.MISSING).str.replace(WHOLE, "$1$2")
    codes = names.rank("dense").to_numpy().astype(np.int64) - 1
    missing = raw.is_missing(users)
    codes[missing] = codes.max(initial=-1) + 1 + np.arange(missing.sum())
    codes = np.unique(codes, return_inverse=True)[1]
    counts = np.bincount(codes)
    order = np.random.default_rng(seed).permutation(len(counts))
    fitting = order[counts[order] <= min(filter(None, sizes.values()))]
    if counts[fitting].sum() > sizes[TEST] + sizes[VALID]:
        order = fitting
    first = np.cumsum(counts[order]) - counts[order]  # Where the user's rows begin, users in this order.
    split_of_user = np.full(len(counts), TRAIN, np.uint8)
    split_of_user[order[first < sizes[TEST] + sizes[VALID]]] = VALID
    split_of_user[order[first < sizes[TEST]]] = TEST
    return split_of_user[codes]


def split_warnings(assigned: np.ndarray | None, options: DatasetOptions) -> list[str]:
    """Which splits miss the size that was asked for by a fifth or more, or are empty."""
    if assigned is None or options.split_type == "column":
        return []
    found = np.bincount(assigned, minlength=len(NAMES))
    return [
        f"split_type {options.split_type}: {NAMES[split]} has {found[split]} rows, {size} were asked for."
        for split, size in _sizes(options, len(assigned)).items()
        if abs(found[split] - size) >= max(1, 0.2 * size)
    ]


def _by_column(source: Rows, name: str) -> np.ndarray:
    assigned = [np.zeros(0, np.uint8)]
    for block in source.blocks([name]):
        values = block.frame[name]
        text = values.cast(pl.String).str.to_lowercase()
        codes = text.replace_strict(_SPELLINGS, default=None, return_dtype=pl.UInt8)
        with block.errors():
            if codes.null_count():
                index = codes.is_null().arg_true()[0]
                raise BadEntryError(name, index, values[index], "train, valid (or val) or test")
        assigned.append(codes.to_numpy())
    return np.concatenate(assigned)
