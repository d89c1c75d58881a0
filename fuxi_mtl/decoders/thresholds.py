"""Decoders that put a value together from events: thresholds passed, leaves of a tree, levels, quantiles."""

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated

import numpy as np
import tensorflow as tf

from fuxi_mtl.decoders.base import NEVER, Decoder
from fuxi_mtl.metrics import Parts
from fuxi_mtl.options import option


class Thresholds(Decoder):
    """CREAD, the chances of passing many thresholds, added up to a value (Sun et al., AAAI 2024).

    With ``phi_m = sigmoid(raw_m)`` for ``P(y > t_m)``::

        error = mean_m BCE(1[y > t_m], raw_m) + a Huber((value - y) / sd) + b sum_m max(phi_{m+1} - phi_m, 0)
        value = c_0 + sum_m phi_m (c_m - c_{m-1})        restore: fitted
        value = sum_m phi_m (t_m - t_{m-1})              restore: right (the paper)

    with c_m the training mean of the labels in bucket m: the paper's sum of right corners is too low (by a
    quarter of exponential times at 8 thresholds, a twelfth at 32), that of trapezoids too high. ``t_m`` are
    training quantiles at ``gamma(m / M)``, ``gamma(z) = (1 - exp(-alpha z)) / (1 - exp(-alpha))``; alpha 0 is
    ``z``.

    Differs from the paper: its weights a and b are not known to us; the mean over thresholds in place of the
    sum, so that an objective weighs the same for any number of them.

    Args:
        task: Name of the task.
        columns: Not used.
        thresholds: M; those that labels repeat are merged.
        alpha: How much denser thresholds lie at long times: 0 is equally many labels in a bucket.
        restore: ``fitted``, ``right`` or ``trapezoid``.
        restore_weight: a, with the value in standard deviations of the label.
        order_weight: b.

    Raises:
        ValueError: Another word, or a label below 0.
    """

    monotone = False

    def __init__(
        self,
        task: str,
        columns: Mapping[str, int] | None = None,
        *,
        thresholds: Annotated[int, option("Number of thresholds.", least=1, most=1000)] = 32,
        alpha: Annotated[float, option("How much denser thresholds lie at large labels.", least=0)] = 0.0,
        restore: Annotated[
            str,
            option(
                "How the value is put together: from the means of buckets, or the paper's corners.",
                choices=("fitted", "right", "trapezoid"),
            ),
        ] = "fitted",
        restore_weight: Annotated[float, option("Weight of the value's own error.", least=0)] = 1.0,
        order_weight: Annotated[float, option("Weight of probabilities that grow.", least=0)] = 0.1,
    ):
        super().__init__(task, columns)
        self.outputs, self.alpha, self.restore = thresholds, alpha, restore
        self.restore_weight, self.order_weight = restore_weight, order_weight
        self.at = self._state("at", (thresholds,))  # NEVER where merged
        self.means = self._state("means", (thresholds + 1,))
        self.deviation = self._state("deviation", ())

    def fit(self, labels, numeric):
        """Thresholds, means of buckets and the label's deviation."""
        self.check(labels)
        count = self.outputs
        z = np.arange(1, count + 1) / (count + (self.restore == "fitted"))  # the last bucket holds some
        gamma = z if self.alpha == 0 else np.expm1(-self.alpha * z) / math.expm1(-self.alpha)
        at = np.unique(np.quantile(labels, gamma))
        at = at[at >= 0] if self.restore == "fitted" else at[at > 0]
        at = np.concatenate([at, np.full(count - len(at), NEVER)])
        self.at.assign(at)
        bucket = np.searchsorted(at.astype(np.float32), labels.astype(np.float32), "left")  # y > t_m
        sums, rows = np.bincount(bucket, labels, count + 1), np.bincount(bucket, minlength=count + 1)
        means = np.divide(sums, rows, out=np.full(count + 1, np.nan), where=rows > 0)
        for m in range(count + 1):  # an empty bucket adds nothing
            if np.isnan(means[m]):
                means[m] = means[m - 1] if m else labels.min()
        self.means.assign(means)
        self.deviation.assign(labels.std() or 1.0)
        passed = np.clip([(labels > t).mean() for t in at], 0.5 / len(labels), 1 - 0.5 / len(labels))
        return [float(each) for each in np.log(passed / (1 - passed))]

    def error(self, raw, target):
        """See the class."""
        raw = _columns(raw)
        used = tf.cast(self.at < NEVER, raw.dtype)
        passed = tf.cast(target[:, None] > self.at, raw.dtype)
        events = tf.nn.sigmoid_cross_entropy_with_logits(labels=passed, logits=raw) * used
        found = tf.reduce_sum(events, axis=-1) / tf.reduce_sum(used)
        if self.restore_weight:
            away = tf.abs(self.value(raw, {}) - target) / self.deviation
            found += self.restore_weight * tf.where(away < 1, away**2 / 2, away - 0.5)
        if self.order_weight:
            phi = tf.sigmoid(raw)
            growth = tf.nn.relu(phi[:, 1:] - phi[:, :-1]) * used[1:]
            found += self.order_weight * tf.reduce_sum(growth, axis=-1)
        return found

    def value(self, raw, inputs):
        """See the class."""
        raw = _columns(raw)
        phi = tf.sigmoid(raw)
        if self.restore == "fitted":
            return self.means[0] + tf.reduce_sum(phi * (self.means[1:] - self.means[:-1]), axis=-1)
        at = tf.where(self.at < NEVER, self.at, 0.0)
        before = tf.concat([[0.0], at[:-1]], axis=0)
        width = tf.where(self.at < NEVER, at - before, 0.0)
        if self.restore == "trapezoid":
            phi = (phi + tf.concat([tf.ones_like(phi[:, :1]), phi[:, :-1]], axis=-1)) / 2
        return tf.reduce_sum(phi * width, axis=-1)


class Tree(Decoder):
    """TPM: a tree of binary choices whose leaves are ranges of the label (Lin et al., KDD 2023).

    ``2^depth`` leaves between training quantiles; ``raw_n`` is the logit of going right at inner node n, in
    heap order::

        error = sum over the path to the label's leaf of BCE        value = sum over leaves of P(leaf) c_leaf

    with c the training mean in the leaf. Nodes off the path get no gradient.

    Differs from the paper: its terms of the variance and of the squared error have weights that are not known
    to us; ``value_weight`` is 0 unless said.

    Args:
        task: Name of the task.
        columns: Not used.
        depth: Choices on a path.
        value_weight: Weight of ``((value - y) / sd)^2``.
    """

    monotone = False
    least = -np.inf

    def __init__(
        self,
        task: str,
        columns: Mapping[str, int] | None = None,
        *,
        depth: Annotated[int, option("Choices on a path: 2^depth leaves.", least=1, most=12)] = 5,
        value_weight: Annotated[float, option("Weight of the value's own squared error.", least=0)] = 0.0,
    ):
        super().__init__(task, columns)
        self.depth, self.outputs, self.value_weight = depth, 2**depth - 1, value_weight
        self.edges = self._state("edges", (2**depth - 1,))
        self.means = self._state("means", (2**depth,))
        self.deviation = self._state("deviation", ())

    def fit(self, labels, numeric):
        """The leaves, their means, and logits at which every leaf has its share."""
        self.check(labels)
        leaves = 2**self.depth
        edges = np.quantile(labels, np.arange(1, leaves) / leaves).astype(np.float32)
        self.edges.assign(edges)
        leaf = np.searchsorted(edges, labels.astype(np.float32), "left")
        rows, sums = np.bincount(leaf, minlength=leaves), np.bincount(leaf, labels, leaves)
        middle = np.concatenate([[labels.min()], edges.astype(np.float64)])
        self.means.assign(np.divide(sums, rows, out=middle, where=rows > 0))
        self.deviation.assign(labels.std() or 1.0)
        starts = []
        for level in range(self.depth):
            left, right = rows.reshape(2**level, 2, -1).sum(axis=2).T
            starts.extend(np.log((right + 0.5) / (left + 0.5)).tolist())
        return starts

    def error(self, raw, target):
        """See the class."""
        raw = _columns(raw)
        leaf = tf.searchsorted(tf.convert_to_tensor(self.edges), target, side="left")
        found = tf.zeros_like(target)
        for level in range(self.depth):
            node = 2**level - 1 + tf.bitwise.right_shift(leaf, self.depth - level)
            right = tf.bitwise.right_shift(leaf, self.depth - level - 1) % 2
            logit = tf.gather(raw, node, batch_dims=1)
            found += tf.nn.softplus(tf.where(right == 1, -logit, logit))
        if self.value_weight:
            found += self.value_weight * ((self.value(raw, {}) - target) / self.deviation) ** 2
        return found

    def value(self, raw, inputs):
        """See the class."""
        return tf.linalg.matvec(self.leaves(raw), tf.convert_to_tensor(self.means))

    def leaves(self, raw: tf.Tensor) -> tf.Tensor:
        """``(batch, leaves)`` logarithms of probabilities are added along the paths; their exponentials."""
        raw = _columns(raw)
        paths = tf.zeros_like(raw[:, :1])
        for level in range(self.depth):
            logit = raw[:, 2**level - 1 : 2 ** (level + 1) - 1]
            both = tf.stack([tf.math.log_sigmoid(-logit), tf.math.log_sigmoid(logit)], axis=-1)
            paths = tf.reshape(paths[:, :, None] + both, (-1, 2 ** (level + 1)))
        return tf.exp(paths)


class Ordinal(Decoder):
    """Ordinal regression: one score against ordered cuts that all rows share (cumulative links).

    ``P(y > edge_k) = sigmoid(raw - b_k)`` with ``b_1 < b_2 < ...`` learnt; ``error = -log P(level of y)``,
    and the value is the sum of the levels' training means times their probabilities.

    Args:
        task: Name of the task.
        columns: Not used.
        edges: Labels up to the first are level 0, up to the second level 1, ...; the distinct labels, if they
            are eight at most, or eight equally frequent levels unless said.

    Raises:
        ValueError: The edges do not ascend.
    """

    least = -np.inf

    def __init__(
        self,
        task: str,
        columns: Mapping[str, int] | None = None,
        *,
        edges: Annotated[
            list[float] | None,
            option(
                "Where levels end; at up to eight distinct labels, or equally frequent, unless said.",
                example="[0, 1, 5]",
            ),
        ] = None,
    ):
        super().__init__(task, columns)
        if edges is not None and (not edges or any(b <= a for a, b in pairwise(edges))):
            raise ValueError(f"edges are {list(edges)}; they ascend, and there is one at least.")
        self.given = None if edges is None else np.asarray(edges, np.float64)
        count = 7 if edges is None else len(edges)
        self.edges = self._state("edges", (count,))  # NEVER where labels repeat
        self.means = self._state("means", (count + 1,))
        self.first = self.add_weight(name="first_cut", shape=(1,), initializer="zeros")
        self.steps = self.add_weight(name="cut_steps", shape=(count - 1,), initializer="zeros")

    def fit(self, labels, numeric):
        """Levels, their means, and cuts at the logits of their frequencies."""
        self.check(labels)
        count = self.edges.shape[0]
        edges = self.given
        if edges is None:
            found = np.unique(labels)
            if len(found) <= count + 1:  # a few distinct labels are levels as they are
                found = found[:-1]
            else:
                found = np.unique(np.quantile(labels, np.arange(1, count + 1) / (count + 1)))
            edges = np.concatenate([found, np.full(count - len(found), NEVER)])
        self.edges.assign(edges)
        level = np.searchsorted(edges.astype(np.float32), labels.astype(np.float32), "left")
        rows, sums = np.bincount(level, minlength=count + 1), np.bincount(level, labels, count + 1)
        ends = np.concatenate([[labels.min()], np.where(edges < NEVER, edges, labels.max())])
        self.means.assign(np.divide(sums, rows, out=ends, where=rows > 0))
        above = np.cumsum(rows[::-1])[::-1][1:]  # rows above each edge
        cuts = np.log((len(labels) - above + 0.5) / (above + 0.5))
        gaps = np.maximum(np.diff(cuts), 1e-3)
        self.first.assign(cuts[:1])
        self.steps.assign(np.log(np.expm1(gaps)))
        return [0.0]

    def error(self, raw, target):
        """See the class."""
        level = tf.searchsorted(tf.convert_to_tensor(self.edges), target, side="left")
        # Between the cut below and the cut above the level; beyond the ends they are infinite.
        cuts = tf.concat([[-_FAR], self.cuts(), [_FAR]], axis=0)
        above, below = raw - tf.gather(cuts, level), raw - tf.gather(cuts, level + 1)
        gap = tf.maximum(above - below, 1e-6)
        return tf.nn.softplus(-above) + tf.nn.softplus(below) - tf.math.log(-tf.math.expm1(-gap))

    def value(self, raw, inputs):
        """See the class."""
        passed = tf.sigmoid(raw[:, None] - self.cuts())
        return self.means[0] + tf.reduce_sum(passed * (self.means[1:] - self.means[:-1]), axis=-1)

    def cuts(self) -> tf.Tensor:
        """``(levels - 1,)``, ascending."""
        return tf.concat([self.first, self.first + tf.cumsum(tf.nn.softplus(self.steps))], axis=0)


class Quantiles(Decoder):
    """Quantiles of the label: the pinball error, and no two of them cross.

    ``q_1 = raw_1``, ``q_i = q_{i-1} + softplus(raw_i)`` and ``error = mean_i max(tau_i r, (tau_i - 1) r)``,
    ``r = y - q_i``, on ``log(1 + y)`` or on the label itself in units of its deviation.

    Args:
        task: Name of the task.
        columns: Not used.
        taus: The quantiles, ascending.
        on: ``log1p`` or ``raw``; quantiles survive the way back without bias.
        serve: ``median`` (the nearest to it), or ``mean``: quantiles joined by lines, constant outside.

    Raises:
        ValueError: Taus that do not ascend between 0 and 1, or another word.
    """

    kind = "regression"
    monotone = False

    def __init__(
        self,
        task: str,
        columns: Mapping[str, int] | None = None,
        *,
        taus: Annotated[
            list[float] | None,
            option(
                "The quantiles, ascending; .1, .3, .5, .7 and .9 unless said.",
                above=0,
                below=1,
                example="[0.1, 0.5, 0.9]",
            ),
        ] = None,
        on: Annotated[str, option("Scale of the error.", choices=("log1p", "raw"))] = "log1p",
        serve: Annotated[
            str, option("What is served as the value: the median, or a mean.", choices=("median", "mean"))
        ] = "median",
    ):
        super().__init__(task, columns)
        wanted = (0.1, 0.3, 0.5, 0.7, 0.9) if taus is None else tuple(taus)
        if not wanted or any(not a < b for a, b in pairwise((0, *wanted, 1))):
            raise ValueError(f"taus are {list(wanted)}; they ascend between 0 and 1.")
        self.taus, self.outputs, self.levels = np.asarray(wanted, np.float32), len(wanted), wanted
        self.logarithm, self.serves_mean = on == "log1p", serve == "mean"
        self.least = 0.0 if self.logarithm else -np.inf  # type: ignore[misc]
        self.offset, self.scale = self._state("offset", ()), self._state("scale", ())

    def fit(self, labels, numeric):
        """The label's mean and deviation, and where the quantiles start."""
        self.check(labels)
        numbers = np.log1p(labels) if self.logarithm else labels
        self.offset.assign(numbers.mean())
        self.scale.assign(numbers.std() or 1.0)
        found = (np.quantile(numbers, self.taus) - numbers.mean()) / (numbers.std() or 1.0)
        steps = np.maximum(np.diff(found), 1e-2)
        return [float(found[0]), *(float(each) for each in np.log(np.expm1(steps)))]

    def learnt(self, label, inputs):
        """The scaled label, or its logarithm."""
        numbers = tf.math.log1p(label) if self.logarithm else label
        return (numbers - self.offset) / self.scale

    def error(self, raw, target):
        """See the class."""
        away = target[:, None] - self.quantiles(raw)
        return tf.reduce_mean(tf.maximum(self.taus * away, (self.taus - 1) * away), axis=-1)

    def quantiles(self, raw: tf.Tensor) -> tf.Tensor:
        """``(batch, taus)`` on the scale of the error, ascending."""
        raw = _columns(raw)
        return tf.cumsum(tf.concat([raw[:, :1], tf.nn.softplus(raw[:, 1:])], axis=-1), axis=-1)

    def value(self, raw, inputs):
        """See the class."""
        found = self._back(self.quantiles(raw))
        if not self.serves_mean:
            return found[:, int(np.argmin(np.abs(self.taus - 0.5)))]
        taus = [float(each) for each in self.taus]
        ends = np.array([taus[0], *np.diff(taus) / 2]) + np.array([*np.diff(taus) / 2, 1 - taus[-1]])
        return tf.linalg.matvec(found, tf.constant(ends, tf.float32))

    @property
    def part_names(self):
        """``q10`` and so on: the quantiles in the unit of the label."""
        return tuple(f"q{100 * float(tau):g}".replace(".", "_") for tau in self.taus)

    def parts(self, raw):
        """See the names."""
        return tuple(tf.unstack(self._back(self.quantiles(raw)), axis=-1))

    def measured(self, parts):
        """The quantiles."""
        found = np.stack([parts[name] for name in self.part_names], axis=1)
        return Parts(quantiles=found, taus=self.levels)

    def _back(self, numbers: tf.Tensor) -> tf.Tensor:
        numbers = self.offset + self.scale * numbers
        return tf.math.expm1(tf.minimum(numbers, 20.0)) if self.logarithm else numbers


_FAR = 1e4  # a cut that every score has passed, or none


def _columns(raw: tf.Tensor) -> tf.Tensor:
    """``(batch, outputs)`` of a single raw number, too."""
    return raw[:, None] if len(raw.shape) == 1 else raw
