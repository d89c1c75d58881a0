"""Rows that stand in two splits, counted by a hash of each encoded row."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import polars as pl

from fuxi_mtl.dataset.splits import Split

logger = logging.getLogger(__name__)

MOST_HASHES = 1 << 22  # of a split; of a larger one those below a bound stand for all
LEAST_SHARE = 0.01  # of rows that are in the other split too; fewer are no warning
# Different rows of training, as a share of all: where they are fewer, rows repeat for want of others.
LEAST_DIFFERENT = 0.1
_BLOCK_ENTRIES = 1 << 21
_ALL = 2**64 - 1
_EFFECT = {
    "train": "metrics on them are of what was learned by heart",
    "valid": "the model is chosen by rows that then judge it",
}


@dataclass(frozen=True)
class RowHashes:
    """Hashes of some rows of a split.

    Attributes:
        split: Its name.
        rows: Its rows.
        kept: The hashes up to a bound, sorted, each as often as its row comes.
    """

    split: str
    rows: int
    kept: np.ndarray

    @classmethod
    def of(cls, split: Split, bound: int) -> "RowHashes":
        """The hashes of the rows of a split that are at most ``bound``."""
        width = split.ids.shape[1] + split.numeric.shape[1] + split.events.shape[1]
        size = max(_BLOCK_ENTRIES // width, 1)
        parts = [np.zeros(0, np.uint64)]
        for start in range(0, split.rows, size):
            found = _hashes(split, slice(start, start + size))
            parts.append(found if bound == _ALL else found[found <= bound])
        return cls(split.name, split.rows, np.sort(np.concatenate(parts)))

    def different(self) -> float:
        """Different rows as a share of all."""
        return (1 + np.count_nonzero(np.diff(self.kept))) / max(len(self.kept), 1)

    def shared(self, other: "RowHashes") -> float:
        """The share of the rows that the other split has too."""
        if not len(self.kept) or not len(other.kept):
            return 0.0
        places = np.searchsorted(other.kept, self.kept).clip(max=len(other.kept) - 1)
        return float((other.kept[places] == self.kept).mean())


def duplicate_warnings(splits: Sequence[Split]) -> Iterator[str]:
    """Says how many rows of a later split an earlier one has too, in inputs and labels.

    Args:
        splits: Those of training, validation and test that there are, in this order.
    """
    if len(splits) < 2:
        return
    # The same bound for all: a row that is kept here is kept wherever it stands.
    bound = min(_ALL, (_ALL + 1) * MOST_HASHES // max(split.rows for split in splits))
    hashes = [RowHashes.of(split, bound) for split in splits]
    different = hashes[0].different()
    for earlier, later in combinations(hashes, 2):
        share = later.shared(earlier)
        if not share:
            continue
        if np.array_equal(earlier.kept, later.kept):
            yield f"{later.split} has the very rows of {earlier.split}: {_EFFECT[earlier.split]}."
            continue
        told = (
            f"{'' if bound == _ALL else 'about '}{round(share * later.rows)} of {later.rows} rows of "
            f"{later.split} ({share:.1%}) are in {earlier.split} too, equal in all inputs and labels; "
            f"{different:.1%} of the rows of {hashes[0].split} are different ones"
        )
        if share < LEAST_SHARE or different < LEAST_DIFFERENT:
            logger.info("%s.", told)
        else:
            yield f"{told}: {_EFFECT[earlier.split]}."


def _hashes(split: Split, rows: slice) -> np.ndarray:
    """A hash of 64 bits of each row's bytes, ``(rows,)``."""
    events = split.events[rows] + np.float32(0)  # -0.0 is 0
    events[np.isnan(events)] = np.nan  # there are many of them
    numbers = np.concatenate([split.numeric[rows] + np.float32(0), events], axis=1)
    ids = split.ids[rows]
    odd = np.zeros((len(ids), (ids.shape[1] + numbers.shape[1]) % 2), np.int32)
    pairs = np.concatenate([ids, numbers.view(np.int32), odd], axis=1).view(np.int64)  # half as many columns
    return pl.DataFrame(pairs, orient="row").hash_rows().to_numpy()
