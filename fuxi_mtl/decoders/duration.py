"""The decoder of watch times that are compared with those of videos of like length."""

from collections.abc import Mapping
from typing import Annotated

import numpy as np
import tensorflow as tf

from fuxi_mtl.decoders.base import NEVER, Decoder
from fuxi_mtl.layers.counting import count_up_to
from fuxi_mtl.options import option


class DurationQuantile(Decoder):
    """D2Q, the quantile of the watch time among videos of like duration (Zhan et al., KDD 2022).

    The training rows are cut into groups of equally many by their duration; ``F_g`` is the distribution of
    the label in group g, with mid-ranks at ties::

        u = F_g(y)        error = (sigmoid(raw) - u)^2        value = F_g^-1(sigmoid(raw))

    linear between the labels that occur. The value is near a median, not a mean. ``serve: quantile`` serves
    ``sigmoid(raw)``, which compares videos of all durations.

    Differs from the paper: ``loss: bce`` is offered, with the same optimum and larger gradients; no residual
    of the duration.

    Args:
        task: Name of the task.
        columns: Column of each numeric feature.
        by: The numeric feature with the duration.
        groups: Groups of durations; fewer where durations repeat.
        max_knots: Most points of a distribution that are kept.
        serve: ``value`` or ``quantile``.
        loss: ``mse`` or ``bce``.

    Raises:
        ValueError: Another word, or a feature that is no numeric input.
    """

    monotone = False
    kind = "regression"
    least = -np.inf

    def __init__(
        self,
        task: str,
        columns: Mapping[str, int] | None = None,
        *,
        by: Annotated[str, option("The numeric feature with the duration.", example="duration_ms")] = "",
        groups: Annotated[int, option("Groups of rows by their duration.", least=1, most=10_000)] = 30,
        max_knots: Annotated[
            int, option("Most points that are kept of a group's distribution.", least=2, most=100_000)
        ] = 1000,
        serve: Annotated[
            str, option("What is served: the value, or its quantile.", choices=("value", "quantile"))
        ] = "value",
        loss: Annotated[
            str, option("Error of the quantile: squared, or cross-entropy.", choices=("mse", "bce"))
        ] = "mse",
    ):
        super().__init__(task, columns)
        if by not in self.columns:
            known = ", ".join(self.columns) or "none"
            raise ValueError(
                f"decoder d2q of {task!r}: by is {by!r}, which is no numeric feature. It names the one with "
                f"the duration, which is an input, too. Numeric features: {known}."
            )
        self.by, self.knots = self.columns[by], max_knots
        self.serves_value, self.squared = serve == "value", loss == "mse"
        self.in_unit = self.serves_value
        self.edges = self._state("edges", (groups - 1,))  # of the groups but the first; NEVER where unused
        self.labels_at = self._state("labels_at", (groups, max_knots))
        self.shares_at = self._state("shares_at", (groups, max_knots))

    def fit(self, labels, numeric):
        """The groups and their distributions."""
        self.check(labels)
        duration = numeric[:, self.by].astype(np.float64)
        count = self.labels_at.shape[0]
        cuts = np.sort(duration)[np.arange(1, count) * len(duration) // count]
        edges = np.unique(cuts[cuts > duration.min()])
        self.edges.assign(np.concatenate([edges, np.full(count - 1 - len(edges), NEVER)]))
        group_of = np.searchsorted(edges.astype(np.float32), numeric[:, self.by], "right")
        labels_at, shares_at = np.zeros((2, count, self.knots))
        for group in range(len(edges) + 1):
            labels_at[group], shares_at[group] = self._distribution(labels[group_of == group])
        self.labels_at.assign(labels_at)
        self.shares_at.assign(shares_at)
        return [0.0]

    def _distribution(self, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Labels that occur and their mid-ranks, thinned at equal steps, the last one repeated to the end."""
        if not len(labels):
            return np.zeros(self.knots), np.full(self.knots, 0.5)
        values, counts = np.unique(labels, return_counts=True)
        shares = (np.cumsum(counts) - counts / 2) / len(labels)
        if len(values) > self.knots:
            wanted = np.linspace(shares[0], shares[-1], self.knots)
            kept = np.unique(np.clip(np.searchsorted(shares, wanted), 0, len(values) - 1))
            values, shares = values[kept], shares[kept]
        last = np.minimum(np.arange(self.knots), len(values) - 1)
        return values[last], shares[last]

    def learnt(self, label, inputs):
        """The quantile of the label in its group."""
        group = self._group(inputs)
        found = _interpolated(label, tf.gather(self.labels_at, group), tf.gather(self.shares_at, group))
        return tf.where(tf.math.is_nan(label), label, found)

    def error(self, raw, target):
        """See the class."""
        if self.squared:
            return (tf.sigmoid(raw) - target) ** 2
        return tf.nn.sigmoid_cross_entropy_with_logits(labels=target, logits=raw)

    def value(self, raw, inputs):
        """See the class."""
        quantile = tf.sigmoid(raw)
        if not self.serves_value:
            return quantile
        group = self._group(inputs)
        return _interpolated(quantile, tf.gather(self.shares_at, group), tf.gather(self.labels_at, group))

    def _group(self, inputs):
        duration = tf.cast(inputs["numeric"][:, self.by], tf.float32)
        return count_up_to(duration, tf.convert_to_tensor(self.edges))


def _interpolated(x: tf.Tensor, at: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """Linear between points, constant outside.

    Args:
        x: ``(batch,)``.
        at: ``(batch, points)``, ascending; the last may repeat.
        values: ``(batch, points)``.
    """
    x = tf.where(tf.math.is_nan(x), 0.0, x)
    right = tf.clip_by_value(count_up_to(x, at)[:, None], 1, tf.shape(at)[1] - 1)
    low, high = (tf.gather(at, place, batch_dims=1)[:, 0] for place in (right - 1, right))
    first, last = (tf.gather(values, place, batch_dims=1)[:, 0] for place in (right - 1, right))
    share = tf.clip_by_value(tf.math.divide_no_nan(x - low, high - low), 0.0, 1.0)
    # Between two equal points (the repeated last one, or a jump) the left one counts.
    return first + share * (last - first)
