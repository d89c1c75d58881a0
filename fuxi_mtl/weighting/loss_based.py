"""Weights from the losses alone (and one from chance alone): no pass beside the one of equal weights.

In all of them an objective of kind ``fixed`` keeps the weight one, and one without a row in the batch
changes nothing.
"""

from collections.abc import Mapping
from typing import Annotated

import tensorflow as tf

from fuxi_mtl.options import option
from fuxi_mtl.weighting.base import Numbers, Weighting

_LEAST = 1e-12  # a loss of exactly 0 has no logarithm


class DynamicAverage(Weighting):
    """Dynamic weight average (Liu, Johns and Davison, CVPR 2019, eq. 7).

    With ``L_k(t)`` the mean loss of period t, an epoch unless said::

        w_k(t) = T softmax_k(r_k / temperature)        r_k = L_k(t-1) / L_k(t-2)

    so what falls slowly counts more. The first two periods have weights of one.

    Args:
        objectives: Kind of each objective, by name.
        epoch_steps: Steps in an epoch.
        dwa_temperature: Above 0; the larger, the closer to equal weights.
        dwa_period: Steps in a period, if it is not an epoch.

    >>> weighting = DynamicAverage({"ctr": "binary", "cvr": "binary"})
    >>> weighting.update({"ctr": 0.5, "cvr": 0.2})
    >>> weighting.update({"ctr": 0.25, "cvr": 0.2})
    >>> weighting.update({"ctr": 0.25, "cvr": 0.2})
    >>> {name: round(float(weight), 3) for name, weight in weighting.weights().items()}
    {'ctr': 0.876, 'cvr': 1.124}
    """

    needs_positive_losses = True

    def __init__(
        self,
        objectives: Mapping[str, str],
        epoch_steps: int = 1,
        *,
        dwa_temperature: Annotated[
            float, option("Temperature of the softmax; the larger, the closer to equal weights.", above=0)
        ] = 2.0,
        dwa_period: Annotated[
            int | None, option("Steps over which losses are averaged; an epoch unless said.", least=1)
        ] = None,
    ):
        super().__init__(objectives)
        self._temperature, self._period = dwa_temperature, dwa_period or epoch_steps
        zeros = [0.0] * len(self.names)
        self.mean = self._state(zeros, "mean")
        self.batches = self._state(zeros, "batches")
        self.last = self._state(zeros, "last")  # 0 until known
        self.before = self._state(zeros, "before")
        self.steps = self._state([0], "steps", tf.int64)

    def _weights(self) -> tf.Tensor:
        ready = self.adaptive & (self.last > 0) & (self.before > 0)
        rate = tf.where(ready, self.last / tf.where(ready, self.before, 1.0), 0.0) / self._temperature
        return shared_out(rate, ready)

    def update(self, losses: Numbers, norms: Numbers | None = None) -> None:
        """Takes the losses into the period's means; the first step of a period closes the one before."""
        turns = self.steps[0] >= self._period
        closed = turns & (self.batches > 0)
        self.before.assign(tf.where(closed, self.last, self.before))
        self.last.assign(tf.where(closed, self.mean, self.last))
        self.batches.assign(tf.where(turns, 0.0, self.batches))
        self.steps.assign(tf.where(turns, tf.ones_like(self.steps), self.steps + 1))
        loss = self._vector(losses)
        observed = tf.logical_not(tf.math.is_nan(loss))
        self.batches.assign_add(tf.cast(observed, tf.float32))
        moved = self.mean + (loss - self.mean) / tf.maximum(self.batches, 1.0)
        self.mean.assign(tf.where(observed, moved, self.mean))


class RandomWeights(Weighting):
    """Random loss weighting (Lin et al., TMLR 2022): ``w = T softmax(N(0, 1))``, drawn anew at every step.

    Not a method but a control: what does not beat chance has not shown that its weights matter.

    Args:
        objectives: Kind of each objective, by name.
        seed: Of the draws; they go on from a checkpoint as if never interrupted.

    >>> weighting = RandomWeights({"ctr": "binary", "cvr": "binary"}, seed=1)
    >>> weighting.update({"ctr": 0.5, "cvr": 0.2})
    >>> round(float(sum(weighting.weights().values())), 3)
    2.0
    """

    def __init__(self, objectives: Mapping[str, str], seed: int = 0):
        super().__init__(objectives)
        self.weight = self._state([1.0] * len(self.names), "weight")
        self.draw = self._state([seed, 0], "draw", tf.int64)

    def _weights(self) -> tf.Tensor:
        return tf.convert_to_tensor(self.weight)

    def update(self, losses: Numbers, norms: Numbers | None = None) -> None:
        """Draws."""
        logits = tf.random.stateless_normal([len(self.names)], seed=tf.convert_to_tensor(self.draw))
        self.weight.assign(shared_out(logits, self.adaptive))
        self.draw.assign_add([0, 1])


class GeometricMean(Weighting):
    """Geometric loss strategy (Chennupati et al., CVPR workshops 2019): minimises the geometric mean.

    ``G = (prod_k L_k)^(1/T)`` has the gradient ``sum_k G / (T L_k) dL_k``, so ``w_k = G / (T L_k)`` with the
    losses of the step, and the weighted losses add up to G: relative progress is what counts, whatever the
    units of a loss. Uncertainty weighting moves towards the same.

    Args:
        objectives: Kind of each objective, by name.

    >>> weighting = GeometricMean({"ctr": "binary", "cvr": "binary"})
    >>> weighting.update({"ctr": 0.4, "cvr": 0.1})
    >>> {name: round(float(weight), 3) for name, weight in weighting.weights().items()}
    {'ctr': 0.25, 'cvr': 1.0}
    """

    needs_positive_losses = True

    def __init__(self, objectives: Mapping[str, str]):
        super().__init__(objectives)
        self.weight = self._state([1.0] * len(self.names), "weight")

    def _weights(self) -> tf.Tensor:
        return tf.convert_to_tensor(self.weight)

    def update(self, losses: Numbers, norms: Numbers | None = None) -> None:
        """The weights of this step's losses, over those that were observed."""
        loss = self._vector(losses)
        observed = tf.logical_not(tf.math.is_nan(loss)) & self.adaptive
        logarithm = tf.math.log(tf.maximum(tf.where(observed, loss, 1.0), _LEAST))  # log 1 = 0 adds nothing
        count = tf.maximum(tf.reduce_sum(tf.cast(observed, tf.float32)), 1.0)
        weight = tf.exp(tf.reduce_sum(logarithm) / count - logarithm) / count
        self.weight.assign(tf.where(observed, weight, self.weight))


class LossRatio(Weighting):
    """The weight of NISE (Huang et al., RecSys 2024): losses are brought up to that of a reference.

    ``w_k = alpha min(L_reference / L_k, beta)`` with the losses of the step; the reference keeps one. There
    the reference is the click and k the conversion. The defaults of alpha and beta are ours.

    Args:
        objectives: Kind of each objective, by name.
        nise_alpha: How much the others count beside the reference, above 0.
        nise_beta: Largest ratio, above 0.
        nise_reference: An objective that is not fixed; the first of those unless said.

    Raises:
        ValueError: The reference is no such objective.

    >>> weighting = LossRatio({"ctr": "binary", "cvr": "binary"})
    >>> weighting.update({"ctr": 0.4, "cvr": 0.1})
    >>> {name: round(float(weight), 3) for name, weight in weighting.weights().items()}
    {'ctr': 1.0, 'cvr': 4.0}
    """

    needs_positive_losses = True

    def __init__(
        self,
        objectives: Mapping[str, str],
        *,
        nise_alpha: Annotated[
            float, option("Weight of the other objectives beside the reference.", above=0)
        ] = 1.0,
        nise_beta: Annotated[
            float, option("Largest ratio of the reference's loss to another.", above=0)
        ] = 10.0,
        nise_reference: Annotated[
            str | None, option("Objective that keeps the weight one; the first unless said.")
        ] = None,
    ):
        super().__init__(objectives)
        self._alpha, self._beta = nise_alpha, nise_beta
        known = [name for name, kind in objectives.items() if kind != "fixed"]
        reference = nise_reference or (known[0] if known else self.names[0])
        if known and reference not in known:
            raise ValueError(
                f"nise_reference names {reference!r}, which is no objective that adapts. "
                f"Objectives: {', '.join(known)}."
            )
        self._reference = self.names.index(reference)
        others = [name != reference for name in self.names]
        self.moving = self.adaptive & tf.constant(others, tf.bool)
        self.weight = self._state([1.0] * len(self.names), "weight")

    def _weights(self) -> tf.Tensor:
        return tf.convert_to_tensor(self.weight)

    def update(self, losses: Numbers, norms: Numbers | None = None) -> None:
        """The weights of this step's losses, where both they and the reference were observed."""
        loss = self._vector(losses)
        observed = tf.logical_not(tf.math.is_nan(loss))
        loss = tf.where(observed, loss, 0.0)
        ratio = loss[self._reference] / tf.maximum(loss, _LEAST)
        weight = self._alpha * tf.minimum(ratio, self._beta)
        moves = observed & observed[self._reference] & self.moving
        self.weight.assign(tf.where(moves, weight, self.weight))


def shared_out(logits: tf.Tensor, taking_part: tf.Tensor) -> tf.Tensor:
    """``n softmax(logits)`` over the n objectives that take part; one for the others."""
    kept = tf.where(taking_part, logits, -float("inf"))
    shares = tf.exp(kept - tf.where(tf.reduce_any(taking_part), tf.reduce_max(kept), 0.0))
    count = tf.reduce_sum(tf.cast(taking_part, tf.float32))
    return tf.where(taking_part, count * tf.math.divide_no_nan(shares, tf.reduce_sum(shares)), 1.0)
