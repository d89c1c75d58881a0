"""The errors of rows as Keras losses, for ``compile(loss=...)`` of any Keras model."""

from typing import Any

import keras
import tensorflow as tf

from fuxi_mtl.objectives.losses import (
    absolute_error,
    bce_with_logits,
    focal_with_logits,
    huber_error,
    masked_mean,
    squared_error,
)


class RowLoss(keras.losses.Loss):
    """``sum(w m e) / sum(w m)``: the mean error of the rows whose label is known.

    m is 0 where the label is NaN, such as a conversion's without a click, and w are the sample weights.
    A batch without a known label has the loss 0 and no gradient. Everything is float32. A subclass gives
    :meth:`call`, the error of each row, and is registered with Keras.

    Args:
        name: Name of the loss.

    Shapes:
        Labels and outputs of one shape, but that labels ``(batch,)`` fit outputs ``(batch, 1)``, to a scalar.

    >>> class Hinge(RowLoss):
    ...     def call(self, y_true, y_pred):
    ...         return tf.nn.relu(1 - (2 * y_true - 1) * y_pred)
    >>> float(Hinge()([1.0, float("nan")], [0.25, 9.0]))
    0.75
    """

    def __init__(self, name: str | None = None):
        super().__init__(name=name)

    def call(self, y_true, y_pred):
        """The error of each row."""
        raise NotImplementedError(f"{type(self).__name__} must define call(y_true, y_pred).")

    def __call__(self, y_true, y_pred, sample_weight=None):
        """The mean error."""
        shape = tf.shape(y_pred)
        y = tf.reshape(tf.cast(y_true, tf.float32), shape)
        known = tf.logical_not(tf.math.is_nan(y))
        error = self.call(tf.where(known, y, 0.0), tf.cast(y_pred, tf.float32))
        if sample_weight is not None:
            sample_weight = tf.reshape(tf.cast(sample_weight, tf.float32), shape)
        return masked_mean(error, known, sample_weight)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {"name": self.name}


@keras.saving.register_keras_serializable("fuxi_mtl")
class WeightedCrossEntropy(RowLoss):
    """:func:`~fuxi_mtl.objectives.losses.bce_with_logits`: outputs are logits, labels lie in [0, 1].

    ``e = w y softplus(-z) + (1 - y) softplus(z)``; rows without a label count nothing.

    Args:
        pos_weight: The weight w of positives, above 0.
        name: Name of the loss.

    Raises:
        ValueError: `pos_weight` is not above 0.

    >>> loss = WeightedCrossEntropy(pos_weight=2.0)
    >>> round(float(loss([1.0, 0.0, float("nan")], [0.0, 0.0, 9.0])), 4)  # (2 ln 2 + ln 2) / 2
    1.0397
    """

    def __init__(self, pos_weight: float = 1.0, name: str = "weighted_cross_entropy"):
        super().__init__(name)
        if not pos_weight > 0:
            raise ValueError(f"pos_weight is {pos_weight!r}; it must be above 0.")
        self.pos_weight = pos_weight

    def call(self, y_true, y_pred):
        """The error of each row."""
        return bce_with_logits(y_pred, y_true, self.pos_weight)

    def get_config(self):
        """The arguments of the constructor."""
        return {**super().get_config(), "pos_weight": self.pos_weight}


@keras.saving.register_keras_serializable("fuxi_mtl")
class FocalLoss(RowLoss):
    """:func:`~fuxi_mtl.objectives.losses.focal_with_logits`: easy rows fade; outputs are logits.

    ``e = alpha_t (1 - p_t)^gamma BCE(z, y)`` (Lin et al., ICCV 2017, equations 4 and 5).

    Args:
        gamma: How fast easy rows fade, from 0 (plain cross-entropy) up.
        alpha: Weight of positives, between 0 and 1; None leaves both kinds at one.
        detach: Whether no gradient flows through the factor; in the paper it does.
        name: Name of the loss.

    Raises:
        ValueError: `gamma` is below 0, or `alpha` not between 0 and 1.

    >>> round(float(FocalLoss(gamma=2.0)([1.0], [0.0])), 4)  # 0.25 ln 2
    0.1733
    """

    def __init__(
        self,
        gamma: float = 1.0,
        alpha: float | None = None,
        detach: bool = True,
        name: str = "focal_loss",
    ):
        super().__init__(name)
        if gamma < 0:
            raise ValueError(f"gamma is {gamma!r}; the least is 0.")
        if alpha is not None and not 0 < alpha < 1:
            raise ValueError(f"alpha is {alpha!r}; it lies between 0 and 1, neither included.")
        self.gamma, self.alpha, self.detach = gamma, alpha, detach

    def call(self, y_true, y_pred):
        """The error of each row."""
        return focal_with_logits(y_pred, y_true, self.gamma, self.alpha, self.detach)

    def get_config(self):
        """The arguments of the constructor."""
        return {**super().get_config(), "gamma": self.gamma, "alpha": self.alpha, "detach": self.detach}


@keras.saving.register_keras_serializable("fuxi_mtl")
class SquaredError(RowLoss):
    """``e = (prediction - y)^2``; rows without a label count nothing.

    Args:
        name: Name of the loss.

    >>> float(SquaredError()([1.0, float("nan")], [3.0, 9.0]))
    4.0
    """

    def __init__(self, name: str = "squared_error"):
        super().__init__(name)

    def call(self, y_true, y_pred):
        """The error of each row."""
        return squared_error(y_pred, y_true)


@keras.saving.register_keras_serializable("fuxi_mtl")
class AbsoluteError(RowLoss):
    """``e = |prediction - y|``; rows without a label count nothing.

    Args:
        name: Name of the loss.

    >>> float(AbsoluteError()([1.0, float("nan")], [3.0, 9.0]))
    2.0
    """

    def __init__(self, name: str = "absolute_error"):
        super().__init__(name)

    def call(self, y_true, y_pred):
        """The error of each row."""
        return absolute_error(y_pred, y_true)


@keras.saving.register_keras_serializable("fuxi_mtl")
class HuberError(RowLoss):
    """Quadratic within `huber_delta` of the label, linear beyond: ``d |e| - d^2 / 2``.

    Args:
        huber_delta: The largest error that is squared, above 0, in units of the label.
        name: Name of the loss.

    Raises:
        ValueError: `huber_delta` is not above 0.

    >>> float(HuberError(huber_delta=1.0)([1.0, 0.0], [3.0, 0.5]))  # (1.5 + 0.125) / 2
    0.8125
    """

    def __init__(self, huber_delta: float = 1.0, name: str = "huber_error"):
        super().__init__(name)
        if not huber_delta > 0:
            raise ValueError(f"huber_delta is {huber_delta!r}; it must be above 0.")
        self.huber_delta = huber_delta

    def call(self, y_true, y_pred):
        """The error of each row."""
        return huber_error(y_pred, y_true, huber_delta=self.huber_delta)

    def get_config(self):
        """The arguments of the constructor."""
        return {**super().get_config(), "huber_delta": self.huber_delta}
