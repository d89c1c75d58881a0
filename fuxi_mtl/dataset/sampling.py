"""Passes over the training rows that leave out most of the negative ones, drawn anew for each pass."""

from collections.abc import Mapping, Sequence
from threading import Lock

import numpy as np

from fuxi_mtl.dataset.splits import Split
from fuxi_mtl.tasks import Task


class NegativeSample:
    """All rows with a positive label, and a share of the others.

    A row is negative if some binary label is known and none is 1: in a click funnel, an exposure without a
    click. Rows whose labels are all missing are kept.

    Every pass has the same number of rows. With ``kept`` of ``n`` negatives in a pass, a negative stands for
    ``n / kept`` of them::

        reweighted   its weight in the loss is n / kept: the mean loss estimates that of all rows
        plain        its weight is one: the model learns the rates of the sample

    Args:
        split: The training rows.
        tasks: What is predicted.
        keep: Share of negatives in a pass, above 0.
        reweighted: Whether negatives are weighted.
        seed: Seed of the draws.

    Attributes:
        rows: Rows of a pass.
        negatives: Negative rows of the split.
        kept: Negative rows of a pass.
    """

    def __init__(self, split: Split, tasks: Sequence[Task], keep: float, reweighted: bool, seed: int):
        self._binary = tuple(task for task in tasks if task.kind == "binary")
        self._reweighted, self._seed = reweighted, seed
        negative = _negative(split.labels(self._binary))
        index = np.min_scalar_type(split.rows)  # 4 bytes a row where 8 would do as well
        self._others = np.flatnonzero(~negative).astype(index)
        self._negatives = np.flatnonzero(negative).astype(index)
        self.negatives = len(self._negatives)
        self.kept = min(max(round(keep * self.negatives), 1), self.negatives)
        self.rows = len(self._others) + self.kept
        self._lock = Lock()
        self._pass: tuple[int, np.ndarray] | None = None

    def of_pass(self, number: int) -> np.ndarray:
        """The rows of a pass, in the order of the split."""
        with self._lock:  # two iterators may be at different passes
            if self._pass is None or self._pass[0] != number:
                rng = np.random.default_rng([self._seed, number, _KEY])
                chosen = rng.choice(self._negatives, self.kept, replace=False, shuffle=False)
                self._pass = number, np.sort(np.concatenate([self._others, chosen]))
            return self._pass[1]

    def draw(self, rng: np.random.Generator, size: int) -> np.ndarray:
        """Some rows as a batch of a pass has them, each at most once, in the order of the split."""
        size = min(size, self.rows)
        negatives = int(rng.hypergeometric(self.kept, len(self._others), size)) if size else 0
        drawn = [
            rng.choice(pool, number, replace=False, shuffle=False)
            for pool, number in ((self._negatives, negatives), (self._others, size - negatives))
        ]
        return np.sort(np.concatenate(drawn))

    def weights(self, labels: Mapping[str, np.ndarray]) -> np.ndarray:
        """The factor of each row's weight, float32 ``(batch,)``, from its labels by task."""
        if not self._reweighted:
            return np.ones(len(next(iter(labels.values()))), np.float32)
        negative = _negative({task.name: labels[task.name] for task in self._binary})
        return np.where(negative, np.float32(self.negatives / max(self.kept, 1)), np.float32(1))


_KEY = 2**31 + 1  # no order of a pass has this in its seed


def _negative(labels: Mapping[str, np.ndarray]) -> np.ndarray:
    """Rows where a label is 0 and none is 1."""
    values = np.stack(list(labels.values()))
    return (values == 0).any(axis=0) & ~(values == 1).any(axis=0)
