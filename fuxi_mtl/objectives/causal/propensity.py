"""Inverse propensity weights: what a clicked row counts, so that clicked rows speak for all exposures."""

from collections.abc import Mapping

import keras
import tensorflow as tf

from fuxi_mtl.cluster.replicas import gathered_rows
from fuxi_mtl.options.blocks import PropensityWeights
from fuxi_mtl.options.values import block

WATCHED = ("ipw_clipped_share", "ipw_weight_min", "ipw_weight_mean", "ipw_weight_max")
_LARGEST = tf.float32.max


class InversePropensity(keras.layers.Layer):
    """Weights of rows from the logit of their click, with the running numbers that some options need.

    Args:
        ipw: The block ``ipw``, see :class:`~fuxi_mtl.options.blocks.PropensityWeights`; None for its
            defaults.

    Shapes:
        Logits ``(batch,)`` to weights ``(batch,)``, float32.
    """

    def __init__(self, ipw: PropensityWeights | Mapping | None = None):
        super().__init__(dtype="float32")
        self.options = block(PropensityWeights, ipw, "ipw")
        self.click_rate = self._state("click_rate", 1.0)  # unknown as yet: weights as they are
        self.known_rate = self._state("known_rate", 1.0)
        self.lower = self._state("lower", 0.0)
        self.upper = self._state("upper", _LARGEST)
        self.batches = self._state("batches", 0.0)
        self.last = [self._state(name, 0.0) for name in WATCHED]
        self.built = True

    def _state(self, name: str, start: float) -> keras.Variable:
        constant = keras.initializers.Constant(start)
        return self.add_weight((), constant, trainable=False, name=name)

    def call(self, logit):
        """The weight that each row has if it is clicked and its conversion is known: ``1 / (p q)``.

        q is the share of clicked rows whose conversion is known; a self-normalised risk needs none.
        """
        p = tf.sigmoid(tf.stop_gradient(logit) if self.options.propensity_stop_gradient else logit)
        weight = self._inverse(p)
        if self.options.percentile == "winsorise":
            weight = tf.clip_by_value(weight, self.lower, self.upper)
        if self.options.percentile == "trim":
            kept = (weight >= self.lower) & (weight <= self.upper)
            weight = tf.where(kept, weight, 0.0)
        if self.options.stabilised:
            weight *= self.click_rate
        if self.options.max_weight is not None:
            weight = tf.minimum(weight, self.options.max_weight)
        return weight if self.options.self_normalised else weight / tf.maximum(self.known_rate, 1e-6)

    def start_at(self, click_rate: float, known_rate: float = 1.0) -> None:
        """Sets the running rates, as before training.

        Args:
            click_rate: Share of exposures that are clicked.
            known_rate: Share of clicked exposures whose conversion is known.
        """
        self.click_rate.assign(click_rate)
        self.known_rate.assign(known_rate)

    def observe(self, logit: tf.Tensor, click: tf.Tensor, conversion: tf.Tensor) -> dict[str, tf.Tensor]:
        """Brings the running numbers up to date and describes the weights of a batch.

        Args:
            logit: ``(batch,)`` logits of the click.
            click: ``(batch,)`` labels, NaN where not known.
            conversion: ``(batch,)`` labels, NaN where not known, as without a click.

        Returns:
            The share of clicked rows whose weight is not the plain ``1 / p`` (times the click rate, if
            stabilised), and the least, mean and largest weight of clicked rows. A batch without clicks
            gives the numbers of the one before. The rows of all replicas are one batch.
        """
        logit, click, conversion = gathered_rows((logit, click, conversion))
        p, clicked = tf.sigmoid(tf.stop_gradient(logit)), click > 0
        weight = tf.stop_gradient(self(logit))
        scale = tf.convert_to_tensor(self.click_rate) if self.options.stabilised else 1.0
        scale = scale if self.options.self_normalised else scale / tf.maximum(self.known_rate, 1e-6)
        changed = tf.abs(weight * p - scale) > 1e-5 * scale
        clicks = tf.reduce_sum(tf.cast(clicked, tf.float32))

        def mean(x: tf.Tensor) -> tf.Tensor:
            return tf.reduce_sum(tf.where(clicked, tf.cast(x, tf.float32), 0.0)) / tf.maximum(clicks, 1.0)

        numbers = (
            mean(changed),
            tf.reduce_min(tf.where(clicked, weight, _LARGEST)),
            mean(weight),
            tf.reduce_max(tf.where(clicked, weight, 0.0)),
        )
        for variable, number in zip(self.last, numbers, strict=True):
            variable.assign(tf.where(clicks > 0, number, variable))
        self._follow(self._inverse(p), clicked, clicked & ~tf.math.is_nan(conversion))
        return {name: tf.convert_to_tensor(last) for name, last in zip(WATCHED, self.last, strict=True)}

    def _inverse(self, p: tf.Tensor) -> tf.Tensor:
        return 1.0 / tf.maximum(p, self.options.eps_clip)

    def _follow(self, weight: tf.Tensor, clicked: tf.Tensor, known_conversion: tf.Tensor) -> None:
        """Moves the running rates, and the running percentiles of the clicked rows' weights."""
        share = tf.reduce_mean(tf.cast(clicked, tf.float32))
        count = tf.reduce_sum(tf.cast(clicked, tf.float32))
        ordered = tf.sort(tf.where(clicked, weight, _LARGEST))
        # A rate that was set before the first batch is a known one.
        known = (self.batches > 0) | (self.click_rate < 1)
        self._move(self.click_rate, share, known, tf.constant(True))
        seen = tf.reduce_sum(tf.cast(known_conversion, tf.float32)) / tf.maximum(count, 1.0)
        self._move(self.known_rate, seen, (self.batches > 0) | (self.known_rate < 1), count > 0)
        for variable, percent in (
            (self.lower, self.options.lower_percentile),
            (self.upper, self.options.upper_percentile),
        ):
            self._move(variable, _percentile(ordered, count, percent), self.batches > 0, count > 0)
        self.batches.assign_add(tf.cast(count > 0, tf.float32))

    def _move(self, variable: keras.Variable, now: tf.Tensor, known: tf.Tensor, any_row: tf.Tensor) -> None:
        old = tf.convert_to_tensor(variable)
        moved = self.options.momentum * old + (1 - self.options.momentum) * now
        variable.assign(tf.where(any_row, tf.where(known, moved, now), old))


def _percentile(ordered: tf.Tensor, count: tf.Tensor, percent: float) -> tf.Tensor:
    """Linear between the two nearest of the first `count` of some sorted numbers."""
    place = tf.maximum(count - 1, 0.0) * (percent / 100)
    below = tf.floor(place)
    first, second = (tf.gather(ordered, tf.cast(at, tf.int32)) for at in (below, tf.math.ceil(place)))
    return first + (place - below) * (second - first)
