"""Maps from predicted values to calibrated ones, inside a graph, and as JSON."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import tensorflow as tf

from fuxi_mtl.layers.counting import count_up_to
from fuxi_mtl.metrics.bins import equal_edges

BINS = 10


@dataclass(frozen=True)
class ValueMap:
    """Base class of a map from the served value of a task to its calibrated one: a dataclass of numbers.

    Attributes:
        kind: Its name in ``calibration.json``.
    """

    kind: ClassVar[str]

    def __call__(self, value: tf.Tensor) -> tf.Tensor:
        """Calibrated values ``(batch,)``."""
        raise NotImplementedError(f"{type(self).__name__} must define __call__(value).")

    @classmethod
    def fit(cls, values: np.ndarray, labels: np.ndarray) -> "ValueMap":
        """The map that makes of predictions what the labels say on average.

        Args:
            values: ``(rows,)`` predicted values, float64.
            labels: ``(rows,)``, one at least.
        """
        raise NotImplementedError(f"{cls.__name__} is not fitted to rows.")


@dataclass(frozen=True)
class Ratio(ValueMap):
    """Mean label over mean prediction in ten bins of equally many predictions, a factor for each.

    Values of a bin keep their order; between bins there may be a step.

    Attributes:
        edges: The values at which a bin begins, but for the first.
        factors: The factor of each bin.
    """

    kind: ClassVar[str] = "ratio"
    edges: list[float]
    factors: list[float]

    def __post_init__(self) -> None:
        if len(self.factors) != len(self.edges) + 1 or self.edges != sorted(set(self.edges)):
            raise ValueError("the bins of ratio do not grow")

    def __call__(self, value: tf.Tensor) -> tf.Tensor:
        """See the class."""
        at = count_up_to(value, tf.constant(self.edges, tf.float32))
        return value * tf.gather(tf.constant(self.factors, tf.float32), at)

    @classmethod
    def fit(cls, values: np.ndarray, labels: np.ndarray) -> "Ratio":
        """See the class.

        Raises:
            ValueError: A bin has predictions that are not above 0 on average.
        """
        edges = equal_edges(values.astype(np.float32), BINS)
        bin_of = np.searchsorted(edges, values.astype(np.float32), "right")
        predicted, wanted = np.bincount(bin_of, values), np.bincount(bin_of, labels)
        there = np.unique(bin_of)
        if (predicted[there] <= 0).any():
            raise ValueError("predictions are not above 0. Use isotonic")
        factors = np.ones(len(edges) + 1)
        factors[there] = wanted[there] / predicted[there]
        return cls(edges.astype(float).tolist(), factors.tolist())


@dataclass(frozen=True)
class IsotonicValue(ValueMap):
    """The mean label as a function of the prediction that never falls, linear between knots, constant beyond.

    Attributes:
        x: The knots, growing.
        y: The values there.
    """

    kind: ClassVar[str] = "isotonic"
    x: list[float]
    y: list[float]

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y) or self.x != sorted(set(self.x)) or not self.x:
            raise ValueError("the knots of isotonic do not grow")

    def __call__(self, value: tf.Tensor) -> tf.Tensor:
        """See the class."""
        return between(value, self.x, self.y)

    @classmethod
    def fit(cls, values: np.ndarray, labels: np.ndarray) -> "IsotonicValue":
        """See the class."""
        from sklearn.isotonic import IsotonicRegression

        model = IsotonicRegression(out_of_bounds="clip").fit(values, labels)
        return cls(model.X_thresholds_.tolist(), model.y_thresholds_.tolist())


VALUE_MAPS = {each.kind: each for each in (Ratio, IsotonicValue)}


def between(p: tf.Tensor, knots: list[float], values: list[float]) -> tf.Tensor:
    """Linear between knots, constant beyond.

    Args:
        p: ``(batch,)``.
        knots: Growing.
        values: As many.
    """
    x, y = tf.constant(knots, tf.float32), tf.constant(values, tf.float32)
    if len(knots) == 1:
        return tf.ones_like(p) * y[0]
    right = tf.clip_by_value(count_up_to(p, x), 1, len(knots) - 1)
    low, high = tf.gather(x, right - 1), tf.gather(x, right)
    share = tf.clip_by_value((p - low) / (high - low), 0.0, 1.0)
    return (1 - share) * tf.gather(y, right - 1) + share * tf.gather(y, right)
