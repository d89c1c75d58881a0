"""Weights from a noise that each objective learns."""

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar

import tensorflow as tf

from fuxi_mtl.options import option
from fuxi_mtl.weighting.base import Numbers, Weighting

_LEAST = -10.0  # of the log variances


class Uncertainty(Weighting):
    """Uncertainty weighting (Kendall, Gal and Cipolla, CVPR 2018).

    With ``s_k = log sigma_k^2``, starting at 0::

        classification (eq. 10):   exp(-s) L + s / 2            weight exp(-s)
        regression     (eq. 7):    exp(-s) L / 2 + s / 2        weight exp(-s) / 2
        revised (Liebel and Koerner 2018):  exp(-s) L / 2 + log(1 + exp(s))

    so ``ds = -weight L + 1/2`` (revised: ``+ sigmoid(s)``), one step of gradient descent at each
    update. The first two settle at the weight ``1 / (2 L)``: an objective with a large loss counts
    less, whether it is difficult or merely measured in large units.

    Differs from the paper: s has its own gradient descent instead of the network's optimizer, and
    ``ds`` is cut at -1, so that a loss of a million in raw units does not end at a weight of zero. s stays
    above -10: a loss that is 0 has no best weight, and its weight would grow to 2.7e5 in 1,000 steps and on.

    Args:
        objectives: Kind of each objective, by name.
        uw_form: ``kendall`` or ``revised``.
        uw_lr: Step of gradient descent on s.

    Raises:
        ValueError: Unknown form.

    >>> weighting = Uncertainty({"ctr": "binary", "cvr": "binary"}, uw_lr=0.1)
    >>> weighting.update({"ctr": 1.0, "cvr": 0.1})
    >>> {name: round(float(weight), 3) for name, weight in weighting.weights().items()}
    {'ctr': 0.951, 'cvr': 1.041}
    """

    needs_positive_losses = True
    largest: ClassVar[float] = math.exp(-_LEAST)

    def __init__(
        self,
        objectives: Mapping[str, str],
        *,
        uw_form: Annotated[
            str,
            option(
                "Penalty of the variance sigma^2: log sigma, or log(1 + sigma^2), which is never negative.",
                choices=("kendall", "revised"),
            ),
        ] = "kendall",
        uw_lr: Annotated[float, option("Learning rate of the log variances.", above=0)] = 0.025,
    ):
        super().__init__(objectives)
        self._revised = uw_form == "revised"
        halved = [self._revised or kind == "regression" for kind in self.kinds]
        self._factor = tf.constant([0.5 if half else 1.0 for half in halved], tf.float32)
        self._learning_rate = uw_lr
        self.log_variance = self._state([0.0] * len(self.names), "log_variance")

    def _weights(self) -> tf.Tensor:
        return tf.where(self.adaptive, self._factor * tf.exp(-self.log_variance), 1.0)

    def update(self, losses: Numbers, norms: Numbers | None = None) -> None:
        """One step on the log variances of what was observed."""
        loss = self._vector(losses)
        observed = tf.logical_not(tf.math.is_nan(loss)) & self.adaptive
        push = tf.sigmoid(self.log_variance) if self._revised else 0.5
        gradient = tf.maximum(push - self._weights() * tf.where(observed, loss, 0.0), -1.0)
        step = tf.where(observed, self._learning_rate * gradient, 0.0)
        self.log_variance.assign(tf.maximum(self.log_variance - step, _LEAST))


class ImpartialLosses(Weighting):
    """IMTL-L, losses scaled to one (Liu et al., ICLR 2021).

    ``sum_k (exp(s_k) L_k - s_k)``, so ``ds = exp(s) L - 1``, one step of gradient descent at each update, and
    weights that settle at ``1 / L``. It is uncertainty weighting with another factor; meant for private
    variables, while ``surgery: imtl_g`` turns the shared ones (together: IMTL).

    Differs from the paper: base e instead of any; s has its own gradient descent, ``ds`` is cut at 1 and s
    stays below 10, for the reasons of :class:`Uncertainty`.

    Args:
        objectives: Kind of each objective, by name.
        imtl_lr: Step of gradient descent on s.

    >>> weighting = ImpartialLosses({"ctr": "binary", "cvr": "binary"}, imtl_lr=0.1)
    >>> weighting.update({"ctr": 0.5, "cvr": 0.02})
    >>> {name: round(float(weight), 3) for name, weight in weighting.weights().items()}
    {'ctr': 1.051, 'cvr': 1.103}
    """

    needs_positive_losses = True
    largest: ClassVar[float] = math.exp(-_LEAST)

    def __init__(
        self,
        objectives: Mapping[str, str],
        *,
        imtl_lr: Annotated[float, option("Learning rate of the logarithms of the weights.", above=0)] = 0.025,
    ):
        super().__init__(objectives)
        self._learning_rate = imtl_lr
        self.log_weight = self._state([0.0] * len(self.names), "log_weight")

    def _weights(self) -> tf.Tensor:
        return tf.where(self.adaptive, tf.exp(self.log_weight), 1.0)

    def update(self, losses: Numbers, norms: Numbers | None = None) -> None:
        """One step on the logarithms of the weights of what was observed."""
        loss = self._vector(losses)
        observed = tf.logical_not(tf.math.is_nan(loss)) & self.adaptive
        gradient = tf.minimum(self._weights() * tf.where(observed, loss, 0.0) - 1, 1.0)
        step = tf.where(observed, self._learning_rate * gradient, 0.0)
        self.log_weight.assign(tf.minimum(self.log_weight - step, -_LEAST))
