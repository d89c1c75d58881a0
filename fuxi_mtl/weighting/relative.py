"""Weights from losses held against what they were, or against what knowing nothing costs.

As of the others, an objective of kind ``fixed`` keeps the weight one, and one without a row in the batch
changes nothing.
"""

from collections.abc import Mapping
from typing import Annotated

import tensorflow as tf

from fuxi_mtl.options import option
from fuxi_mtl.weighting.base import Numbers, Weighting
from fuxi_mtl.weighting.loss_based import shared_out

_EPS = 1e-8  # inside every logarithm, root and quotient


class SmoothTchebycheff(Weighting):
    """STCH, smooth Tchebycheff scalarisation (Lin et al., ICML 2024): the worst objective counts most.

    With n_k the mean loss of a first stretch, which is over before it begins to act::

        u_k = log(L_k / n_k)        L = T mu log sum_k exp(u_k / mu)        w_k = T softmax_k(u / mu) / L_k

    and ``w_k = 1 / L_k`` in the stretch itself. The smaller mu, the more only the worst counts. At mu = 1 the
    ratios of the weights would be the constants ``1 / n_k``, whatever happens, and above it the best would
    gain: neither is offered.

    Differs from the paper: the form with logarithms, of its authors' program for multi-task learning.

    Args:
        objectives: Kind of each objective, by name.
        epoch_steps: Steps in an epoch.
        stch_mu: Above 0 and below 1.
        stch_warmup: Steps of the first stretch, if it is not an epoch.

    Raises:
        ValueError: mu lies outside.

    >>> weighting = SmoothTchebycheff({"ctr": "binary", "cvr": "binary"}, stch_mu=0.5)
    >>> weighting.update({"ctr": 0.5, "cvr": 0.02})
    >>> weighting.update({"ctr": 0.5, "cvr": 0.01})
    >>> {name: round(float(weight), 3) for name, weight in weighting.weights().items()}
    {'ctr': 3.2, 'cvr': 40.0}
    """

    needs_positive_losses = True

    def __init__(
        self,
        objectives: Mapping[str, str],
        epoch_steps: int = 1,
        *,
        stch_mu: Annotated[
            float,
            option(
                "Smoothness: the smaller, the more the worst objective counts; at 1 nothing would adapt.",
                above=0,
                below=1,
            ),
        ] = 0.3,
        stch_warmup: Annotated[
            int | None,
            option("Steps whose mean losses are those to compare with; an epoch unless said.", least=1),
        ] = None,
    ):
        super().__init__(objectives)
        self._mu, self._warmup = stch_mu, stch_warmup or epoch_steps
        self.weight = self._state([1.0] * len(self.names), "weight")
        self.nadir = self._state([0.0] * len(self.names), "nadir")
        self.batches = self._state([0.0] * len(self.names), "batches")
        self.steps = self._state([0], "steps", tf.int64)

    def _weights(self) -> tf.Tensor:
        return tf.convert_to_tensor(self.weight)

    def update(self, losses: Numbers, norms: Numbers | None = None) -> None:
        """Takes the losses into their means, or weights them by these."""
        loss = self._vector(losses)
        observed = tf.logical_not(tf.math.is_nan(loss)) & self.adaptive
        loss = tf.where(observed, tf.maximum(loss, _EPS), 1.0)
        warms = self.steps[0] < self._warmup
        taken = observed & warms
        self.batches.assign_add(tf.cast(taken, tf.float32))
        moved = self.nadir + (loss - self.nadir) / tf.maximum(self.batches, 1.0)
        self.nadir.assign(tf.where(taken, moved, self.nadir))
        known = observed & (self.nadir > 0)  # one that had no row in the first stretch keeps 1 / L
        ratio = tf.where(known, loss / tf.where(known, self.nadir, 1.0), 1.0)
        shares = shared_out(tf.math.log(ratio) / self._mu, known)
        weight = tf.where(warms, tf.ones_like(shares), shares) / loss
        self.weight.assign(tf.where(observed, weight, self.weight))
        self.steps.assign_add([1])


class SoftOptimal(Weighting):
    """UW-SO, soft optimal uncertainty weighting (Kirchdorfer et al., GCPR 2024).

    The best sigma of uncertainty weighting in closed form, through a softmax::

        w_k = T softmax_k((1 / L'_k) / temperature)        L'_k = L_k / H_k

    with H_k the loss of the best constant prediction (the entropy of the base rate). Without H, a rare event,
    whose loss is small, would get all the weight.

    Args:
        objectives: Kind of each objective, by name.
        constant_losses: H_k by objective; 1 where there is none.
        uwso_temperature: Above 0; the larger, the closer to equal weights.
        uwso_normalise: ``base_entropy`` divides by H, ``none`` does not (the paper).

    Raises:
        ValueError: Another word.

    >>> weighting = SoftOptimal({"ctr": "binary", "cvr": "binary"}, {"ctr": 0.2, "cvr": 0.01})
    >>> weighting.update({"ctr": 0.18, "cvr": 0.007})
    >>> {name: round(float(weight), 3) for name, weight in weighting.weights().items()}
    {'ctr': 0.921, 'cvr': 1.079}
    """

    needs_positive_losses = True

    def __init__(
        self,
        objectives: Mapping[str, str],
        constant_losses: Mapping[str, float] | None = None,
        *,
        uwso_temperature: Annotated[
            float, option("Temperature of the softmax; the larger, the closer to equal weights.", above=0)
        ] = 2.0,
        uwso_normalise: Annotated[
            str,
            option(
                "What losses are divided by first: the entropy of their base rate, or nothing.",
                choices=("base_entropy", "none"),
            ),
        ] = "base_entropy",
    ):
        super().__init__(objectives)
        known = (constant_losses or {}) if uwso_normalise == "base_entropy" else {}
        self._unit = tf.constant([float(known.get(name, 1.0)) for name in self.names])
        self._temperature = uwso_temperature
        self.weight = self._state([1.0] * len(self.names), "weight")

    def _weights(self) -> tf.Tensor:
        return tf.convert_to_tensor(self.weight)

    def update(self, losses: Numbers, norms: Numbers | None = None) -> None:
        """The weights of this step's losses, over those that were observed."""
        loss = self._vector(losses)
        observed = tf.logical_not(tf.math.is_nan(loss)) & self.adaptive
        loss = tf.where(observed, tf.maximum(loss / self._unit, _EPS), 1.0)
        weight = shared_out(1 / loss / self._temperature, observed)
        self.weight.assign(tf.where(observed, weight, self.weight))


class CoefficientOfVariation(Weighting):
    """CoV-weighting (Groenendijk et al., WACV 2021): losses that still move count more.

    With ``l_k(t) = L_k(t) / mean_{s < t} L_k(s)``, 1 at first, and mean and standard deviation of l_k over
    the steps before t::

        c_k = sd(l_k) / mean(l_k)        w_k = T c_k / sum_j c_j        w_k = 1 in the first two steps

    The noise of small batches is variation, too: an event with five positives in a batch gets a large weight.

    Args:
        objectives: Kind of each objective, by name.
        cov_decay: How much of the statistics is kept at a step, between 0 and 1; all steps count the same
            unless said.

    >>> weighting = CoefficientOfVariation({"ctr": "binary", "cvr": "binary"})
    >>> for ctr, cvr in ((0.7, 0.05), (0.65, 0.048), (0.66, 0.04)):
    ...     weighting.update({"ctr": ctr, "cvr": cvr})
    >>> {name: round(float(weight), 3) for name, weight in weighting.weights().items()}
    {'ctr': 1.289, 'cvr': 0.711}
    """

    needs_positive_losses = True

    def __init__(
        self,
        objectives: Mapping[str, str],
        *,
        cov_decay: Annotated[
            float | None,
            option(
                "How much of the statistics is kept at a step; all steps count alike unless said.",
                above=0,
                below=1,
            ),
        ] = None,
    ):
        super().__init__(objectives)
        self._decay = cov_decay
        zeros = [0.0] * len(self.names)
        self.weight = self._state([1.0] * len(self.names), "weight")
        self.mean_loss = self._state(zeros, "mean_loss")
        self.mean_ratio = self._state(zeros, "mean_ratio")
        self.square = self._state(zeros, "square")  # of the ratio's deviations: their mean
        self.batches = self._state(zeros, "batches")

    def _weights(self) -> tf.Tensor:
        return tf.convert_to_tensor(self.weight)

    def update(self, losses: Numbers, norms: Numbers | None = None) -> None:
        """The weights from the steps before, then this step into the statistics."""
        loss = self._vector(losses)
        observed = tf.logical_not(tf.math.is_nan(loss)) & self.adaptive
        ready = observed & (self.batches >= 2)
        deviation = tf.sqrt(self.square + _EPS)
        variation = tf.where(ready, deviation / tf.maximum(self.mean_ratio, _EPS), 0.0)
        count = tf.reduce_sum(tf.cast(ready, tf.float32))
        weight = count * tf.math.divide_no_nan(variation, tf.reduce_sum(variation))
        self.weight.assign(tf.where(ready, weight, tf.where(observed, 1.0, self.weight)))
        self._take_in(tf.where(observed, tf.maximum(loss, _EPS), 1.0), observed)

    def _take_in(self, loss: tf.Tensor, observed: tf.Tensor) -> None:
        """Welford's update of the means and of the squared deviations."""
        ratio = tf.where(self.batches > 0, loss / tf.maximum(self.mean_loss, _EPS), 1.0)
        batches = self.batches + tf.cast(observed, tf.float32)
        share = 1 / tf.maximum(batches, 1.0)
        if self._decay is not None:
            share = tf.maximum(share, 1 - self._decay)
        away = ratio - self.mean_ratio
        mean_ratio = self.mean_ratio + share * away
        square = (1 - share) * self.square + share * away * (ratio - mean_ratio)
        self.square.assign(tf.where(observed, square, self.square))
        self.mean_ratio.assign(tf.where(observed, mean_ratio, self.mean_ratio))
        self.mean_loss.assign(
            tf.where(observed, self.mean_loss + share * (loss - self.mean_loss), self.mean_loss)
        )
        self.batches.assign(batches)


class NormalisedEntropy(Weighting):
    """Constant weights ``w_k`` proportional to ``1 / H_k``, with the sum T: losses without their unit.

    H_k is the loss of the best constant prediction: the entropy of the base rate, or the variance of a
    regression's label. Nothing adapts and nothing is tuned; as a baseline it is the least that a weighting
    must beat.

    Args:
        objectives: Kind of each objective, by name.
        constant_losses: H_k by objective; one without has the mean weight of the others.

    >>> weighting = NormalisedEntropy({"ctr": "binary", "cvr": "binary"}, {"ctr": 0.2, "cvr": 0.05})
    >>> {name: round(float(weight), 3) for name, weight in weighting.weights().items()}
    {'ctr': 0.4, 'cvr': 1.6}
    """

    def __init__(self, objectives: Mapping[str, str], constant_losses: Mapping[str, float] | None = None):
        super().__init__(objectives)
        adapts = [name for name, kind in objectives.items() if kind != "fixed"]
        inverse = {name: 1 / loss for name, loss in (constant_losses or {}).items() if name in adapts}
        mean = sum(inverse.values()) / len(inverse) if inverse else 1.0
        self.weight = self._state([inverse.get(name, mean) / mean for name in self.names], "weight")

    def _weights(self) -> tf.Tensor:
        return tf.convert_to_tensor(self.weight)
