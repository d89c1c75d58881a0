"""Weights that hold the gradient norms of objectives to their training rates."""

import math
from collections.abc import Mapping
from typing import Annotated

import tensorflow as tf

from fuxi_mtl.options import option
from fuxi_mtl.weighting.base import Numbers, Weighting


class GradNorm(Weighting):
    """Gradient normalisation (Chen et al., ICML 2018).

    With ``n_i`` the norm of the gradient of ``L_i`` on the last shared layer::

        G_i = w_i n_i      r_i = (L_i / L_i(0)) / mean_j (L_j / L_j(0))      C_i = mean_j(G_j) r_i^alpha
        w_i <- w_i - lr sign(G_i - C_i) n_i            then  w_i >= 1e-4  and  sum w = T

    which is gradient descent on ``sum |G_i - C_i|`` (eq. 2) with ``C_i`` constant, renormalised at
    every step. alpha = 0 makes the norms equal; any alpha above 0 gives more weight to the objectives
    that train slowly, the more the larger it is. Objectives without a row in the batch are left out of
    the means.

    Differs from the paper: plain gradient descent on the weights.

    Args:
        objectives: Kind of each objective, by name.
        gradnorm_alpha: Strength of the pull towards equal training rates, from 0 up.
        gradnorm_lr: Step on the weights.
        gradnorm_init: What L(0) is: the loss of the ``first_batch``, ``mean_of_first_n`` batches (the
            weights wait for them), or ``log_classes``, ln 2 for a binary objective.
        gradnorm_init_batches: That n.

    Raises:
        ValueError: Unknown initial loss, or ``log_classes`` with a regression, which has no classes.

    >>> weighting = GradNorm({"ctr": "binary", "cvr": "binary"}, gradnorm_lr=0.1)
    >>> weighting.update({"ctr": 0.5, "cvr": 0.1}, {"ctr": 2.0, "cvr": 1.0})
    >>> {name: round(float(weight), 3) for name, weight in weighting.weights().items()}
    {'ctr': 0.842, 'cvr': 1.158}
    """

    needs_positive_losses = True
    needs_norms = True

    def __init__(
        self,
        objectives: Mapping[str, str],
        *,
        gradnorm_alpha: Annotated[
            float, option("Strength of the pull towards equal training rates.", least=0)
        ] = 1.5,
        gradnorm_lr: Annotated[float, option("Learning rate of the weights.", above=0)] = 0.025,
        gradnorm_init: Annotated[
            str,
            option(
                "Loss at the start, to which later ones are compared: of the first batch or batches, "
                "or the log of the number of classes.",
                choices=("first_batch", "mean_of_first_n", "log_classes"),
            ),
        ] = "first_batch",
        gradnorm_init_batches: Annotated[int, option("Number of batches of mean_of_first_n.", least=1)] = 10,
    ):
        super().__init__(objectives)
        self._alpha, self._learning_rate = gradnorm_alpha, gradnorm_lr
        waits = {"first_batch": 1, "mean_of_first_n": gradnorm_init_batches, "log_classes": 0}
        self._initial_batches = waits[gradnorm_init]
        if gradnorm_init == "log_classes" and "regression" in self.kinds:
            name = self.names[self.kinds.index("regression")]
            raise ValueError(
                f"gradnorm_init log_classes: {name!r} is a regression and has no classes. "
                "Use first_batch or mean_of_first_n."
            )
        count = len(self.names)
        start = math.log(2) if gradnorm_init == "log_classes" else 0.0
        self.weight = self._state([1.0] * count, "weight")
        self.initial_loss = self._state([start] * count, "initial_loss")
        self.batches_seen = self._state([0.0] * count, "batches_seen")

    def _weights(self) -> tf.Tensor:
        return tf.convert_to_tensor(self.weight)

    def update(self, losses: Numbers, norms: Numbers | None = None) -> None:
        """One step on the weights of what was observed, and their renormalisation."""
        if norms is None:
            raise ValueError("GradNorm needs the gradient norms: update(losses, norms).")
        loss, norm = self._vector(losses), self._vector(norms)
        observed = tf.logical_not(tf.math.is_nan(loss)) & tf.math.is_finite(norm) & self.adaptive
        loss, norm = tf.where(observed, loss, 0.0), tf.where(observed, norm, 0.0)
        self._observe_start(loss, observed)
        ready = observed & (self.batches_seen >= self._initial_batches) & (self.initial_loss > 0)
        count = tf.reduce_sum(tf.cast(ready, tf.float32))

        def mean(x: tf.Tensor) -> tf.Tensor:
            return tf.math.divide_no_nan(tf.reduce_sum(tf.where(ready, x, 0.0)), count)

        progress = tf.where(ready, loss / tf.where(ready, self.initial_loss, 1.0), 0.0)
        rate = tf.math.divide_no_nan(progress, mean(progress))
        weighted = self.weight * norm
        target = mean(weighted) * rate**self._alpha
        step = tf.where(ready, self._learning_rate * tf.sign(weighted - target) * norm, 0.0)
        moved = tf.where(self.adaptive, tf.maximum(self.weight - step, 1e-4), 0.0)
        count = tf.reduce_sum(tf.cast(self.adaptive, tf.float32))
        renormalised = tf.math.divide_no_nan(moved * count, tf.reduce_sum(moved))
        self.weight.assign(tf.where(self.adaptive, renormalised, 1.0))

    def _observe_start(self, loss: tf.Tensor, observed: tf.Tensor) -> None:
        starting = observed & (self.batches_seen < self._initial_batches)
        seen = self.batches_seen + tf.cast(starting, tf.float32)
        running = self.initial_loss + (loss - self.initial_loss) / tf.maximum(seen, 1.0)
        self.initial_loss.assign(tf.where(starting, running, self.initial_loss))
        self.batches_seen.assign(seen)
