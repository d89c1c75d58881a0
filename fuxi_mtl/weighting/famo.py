"""Weights that learn from what a step has made of the losses of its own batch."""

from collections.abc import Mapping
from typing import Annotated

import tensorflow as tf

from fuxi_mtl.hints import no_objective
from fuxi_mtl.options import option
from fuxi_mtl.weighting.base import Numbers, Weighting
from fuxi_mtl.weighting.loss_based import shared_out

_EPS = 1e-8
_BETA_1, _BETA_2, _ADAM_EPS = 0.9, 0.999, 1e-8


class FastAdaptive(Weighting):
    """FAMO, fast adaptive multitask optimization (Liu, Feng, Stone and Liu, NeurIPS 2023).

    With ``z = softmax(xi)`` and ``D_k = L_k - b_k + 1e-8``, b_k a lower bound of the loss::

        w_k = T (z_k / D_k) / sum_j (z_j / D_j)

    and after the step, on the same batch, with ``delta_k = log D_k(before) - log D_k(after)``::

        g_k = z_k (delta_k - sum_j z_j delta_j)        xi <- Adam(xi, g + decay xi)

    so that who improved most loses weight. Relative progress is what counts, whatever the units. It costs one
    more forward pass; where dropout, noise or batch normalisation make the training pass another one than
    that of prediction, two, both of the latter, so that delta is not the difference of two masks.

    Differs from the paper: weights add up to T (its to 1); a decay of 1e-3 (the authors' two programs have
    .01 and 1e-5); and no clipping of its own.

    Args:
        objectives: Kind of each objective, by name.
        famo_lr: Learning rate of xi.
        famo_decay: Pull of xi to 0.
        famo_floor: b_k by objective, 0 unless said.
        famo_reuse: ``same`` looks at the batch again; ``next`` takes the losses of the next batch as those
            after the step: no pass more, but delta is then mostly the difference of two batches.

    Raises:
        ValueError: Another word, or a floor of an unknown objective.

    >>> weighting = FastAdaptive({"ctr": "binary", "cvr": "binary"})
    >>> weighting.update({"ctr": 0.5, "cvr": 0.02})
    >>> {name: round(float(weight), 3) for name, weight in weighting.weights().items()}
    {'ctr': 0.077, 'cvr': 1.923}
    >>> weighting.learn_progress({"ctr": 0.5, "cvr": 0.02}, {"ctr": 0.48, "cvr": 0.0199})
    >>> [round(float(logit), 3) for logit in weighting.logits]
    [-0.025, 0.025]
    """

    needs_positive_losses = True

    def __init__(
        self,
        objectives: Mapping[str, str],
        *,
        famo_lr: Annotated[float, option("Learning rate of the logits of the weights.", above=0)] = 0.025,
        famo_decay: Annotated[float, option("Pull of the logits to equal ones.", least=0)] = 1e-3,
        famo_floor: Annotated[
            dict[str, float] | None, option("Lower bounds of the losses by objective; 0 unless said.")
        ] = None,
        famo_reuse: Annotated[
            str,
            option(
                "Batch on which the progress of a step is measured: its own again, or the next one.",
                choices=("same", "next"),
            ),
        ] = "same",
    ):
        super().__init__(objectives)
        for name in famo_floor or {}:
            if name not in objectives:
                raise ValueError(no_objective("famo_floor", name, objectives))
        self.needs_progress = famo_reuse == "same"
        self._learning_rate, self._decay = famo_lr, famo_decay
        self._floor = tf.constant([float((famo_floor or {}).get(name, 0.0)) for name in self.names])
        zeros = [0.0] * len(self.names)
        self.weight = self._state([1.0] * len(self.names), "weight")
        self.logits = self._state(zeros, "logits")
        self.first_moment = self._state(zeros, "first_moment")
        self.second_moment = self._state(zeros, "second_moment")
        self.moves = self._state([0.0], "moves")
        self.last = None if self.needs_progress else self._state([float("nan")] * len(self.names), "last")

    def _weights(self) -> tf.Tensor:
        return tf.convert_to_tensor(self.weight)

    def update(self, losses: Numbers, norms: Numbers | None = None) -> None:
        """The weights of this step's losses, over those that were observed."""
        loss = self._vector(losses)
        if self.last is not None:
            self._learn(tf.convert_to_tensor(self.last), loss)
            self.last.assign(tf.where(tf.math.is_nan(loss), self.last, loss))
        observed = tf.logical_not(tf.math.is_nan(loss)) & self.adaptive
        # log (z / D), so that their ratios are a softmax.
        weight = shared_out(self.logits - self._log_distance(loss, observed), observed)
        self.weight.assign(tf.where(observed, weight, self.weight))

    def learn_progress(self, before: Numbers, after: Numbers) -> None:
        """One step on the logits, of the objectives that were observed both times."""
        self._learn(self._vector(before), self._vector(after))

    def _learn(self, before: tf.Tensor, after: tf.Tensor) -> None:
        observed = tf.math.is_finite(before) & tf.math.is_finite(after) & self.adaptive
        share = shared_out(self.logits, observed) / tf.maximum(_count(observed), 1.0)
        share = tf.where(observed, share, 0.0)
        delta = self._log_distance(before, observed) - self._log_distance(after, observed)
        gradient = share * (delta - tf.reduce_sum(share * delta)) + self._decay * self.logits
        gradient = tf.where(observed, gradient, 0.0)
        some = tf.reduce_any(observed)
        moves = self.moves + tf.cast(some, tf.float32)
        first = _BETA_1 * self.first_moment + (1 - _BETA_1) * gradient
        second = _BETA_2 * self.second_moment + (1 - _BETA_2) * gradient**2
        mean, square = first / (1 - _BETA_1**moves), second / (1 - _BETA_2**moves)
        step = self._learning_rate * mean / (tf.sqrt(square) + _ADAM_EPS)
        self.logits.assign(tf.where(observed, self.logits - step, self.logits))
        self.first_moment.assign(tf.where(some, first, self.first_moment))
        self.second_moment.assign(tf.where(some, second, self.second_moment))
        self.moves.assign(moves)

    def _log_distance(self, loss: tf.Tensor, observed: tf.Tensor) -> tf.Tensor:
        """``log D_k``; 0 where it was not observed."""
        distance = tf.maximum(tf.where(observed, loss - self._floor, 1.0), 0.0)
        return tf.math.log(distance + tf.where(observed, _EPS, 0.0))


def _count(observed: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.cast(observed, tf.float32))
