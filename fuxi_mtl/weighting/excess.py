"""Weights from how much of each loss is still to be gained, by its gradient."""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated

import tensorflow as tf

from fuxi_mtl.options import option
from fuxi_mtl.weighting.base import Weighting

_EPS = 1e-7  # inside the root, as in the authors' program


class ExcessRisk(Weighting):
    """ExcessMTL, the objective with most left to gain counts most (He et al., ICML 2024).

    With g the gradient of an objective on the last shared layer, and s the steps up to this one::

        E_k = sum_i g_ki^2 / sqrt(sum_s g_ki(s)^2 + 1e-7)      w_k <- w_k exp(eta E_k / E_k(0))      sum w = T

    E is a second-order estimate of how far a loss lies above its least: a noisy label's loss stays high and
    has nothing to gain. E(0) is its mean over a first stretch, in which all weights are one (the paper's
    appendix C.1). Under gradients that do not change, no weight does. An objective without a row in the batch
    keeps its weight, and the others share the rest.

    Differs from the paper: squares are kept of the last shared layer alone, not of all that is shared, and
    the first stretch is an epoch, not three. Differs from the authors' program, which takes the first batch
    alone for the stretch (``excess_warmup=1``): there the gradient of an event that half of the rows have is
    all but nothing, and what is divided by it decides alone.

    Args:
        objectives: Kind of each objective, by name.
        epoch_steps: Steps in an epoch.
        excess_step: eta, above 0.
        excess_warmup: Steps of the first stretch, if it is not an epoch.

    >>> weighting = ExcessRisk({"ctr": "binary", "cvr": "binary"}, excess_step=0.1)
    >>> weighting.begin([(2,)])
    >>> for gradients in ([[0.3, -0.4], [0.03, 0.01]], [[0.2, -0.3], [0.03, 0.02]]):
    ...     weighting.learn_gradients([tf.constant(gradients)], tf.constant([True, True]))
    >>> {name: round(float(weight), 3) for name, weight in weighting.weights().items()}
    {'ctr': 0.972, 'cvr': 1.028}
    """

    needs_gradients = True
    starves = (0.01, "A smaller excess_step or a longer excess_warmup keeps weights closer together.")

    def __init__(
        self,
        objectives: Mapping[str, str],
        epoch_steps: int = 1,
        *,
        excess_step: Annotated[float, option("Step of the weights.", above=0)] = 0.01,
        excess_warmup: Annotated[
            int | None,
            option(
                "Steps of equal weights with whose mean gain gains are compared; an epoch unless said.",
                least=1,
            ),
        ] = None,
    ):
        super().__init__(objectives)
        self._step, self._warmup = excess_step, excess_warmup or epoch_steps
        self.weight = self._state([1.0] * len(self.names), "weight")
        self.initial = self._state([0.0] * len(self.names), "initial")
        self.batches = self._state([0.0] * len(self.names), "batches")
        self.steps = self._state([0], "steps", tf.int64)
        self.squares: list[tf.Variable] = []

    def begin(self, shapes: Sequence[tuple[int, ...]]) -> None:
        """Makes room for the squares of gradients on variables of such shapes."""
        self.squares = [
            self._state([[0.0] * math.prod(shape)] * len(self.names), f"squares_{place}")
            for place, shape in enumerate(shapes)
        ]

    def learn_gradients(self, gradients: Sequence[tf.Tensor], given: tf.Tensor) -> None:
        """One step on the weights of the objectives with rows in the batch."""
        found = tf.zeros(len(self.names))
        sums = []
        for now, before in zip(gradients, self.squares, strict=True):
            sums.append(before + tf.square(now))
            found += tf.reduce_sum(tf.square(now) * tf.math.rsqrt(sums[-1] + _EPS), axis=1)
        observed = given & self.adaptive & tf.math.is_finite(found)  # float16 may overflow
        for total, before in zip(sums, self.squares, strict=True):
            before.assign(tf.where(observed[:, None], total, before))
        found = tf.where(observed, found, 0.0)
        warms = self.steps[0] < self._warmup
        self.steps.assign_add([1])
        self._compare_with(found, observed & (warms | (self.initial <= 0)))
        pace = tf.where(warms, 0.0, self._step)
        gain = tf.math.divide_no_nan(found, self.initial)
        weight = tf.convert_to_tensor(self.weight)
        own = tf.where(observed, weight, 0.0)
        moved = own * tf.exp(pace * (gain - tf.reduce_max(gain)))
        moved *= tf.math.divide_no_nan(tf.reduce_sum(own), tf.reduce_sum(moved))
        self.weight.assign(tf.where(observed, moved, weight))

    def _compare_with(self, found: tf.Tensor, taken: tf.Tensor) -> None:
        """Takes gains into the mean of the first stretch, or in place of it where there was no row."""
        self.batches.assign_add(tf.cast(taken, tf.float32))
        moved = self.initial + (found - self.initial) / tf.maximum(self.batches, 1.0)
        self.initial.assign(tf.where(taken, moved, self.initial))

    def _weights(self) -> tf.Tensor:
        return tf.convert_to_tensor(self.weight)
