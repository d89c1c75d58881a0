"""Surgery element by element, on the gradients of what the embeddings give."""

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

import numpy as np
import tensorflow as tf

from fuxi_mtl.cluster.replicas import Gradient, global_sum, own_number
from fuxi_mtl.hints import no_objective
from fuxi_mtl.options import option
from fuxi_mtl.surgery.combining import Surgery
from fuxi_mtl.surgery.methods import SurgeryMethod


class ElementwiseMethod(SurgeryMethod):
    """A method that makes one gradient of several, element by element, and no coefficients.

    What lies below the embeddings' output moves by that gradient, everything above it as without surgery.
    """

    modes: ClassVar[tuple[str, ...]] = ("representation",)

    def __call__(self, gram: np.ndarray, names: Sequence[str], step: int) -> np.ndarray:
        """Ones: what is shared above counts as without surgery."""
        return np.ones(len(names))

    def combined(self, gradients: tf.Tensor, x: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """One gradient of several.

        Args:
            gradients: ``(T, batch, ...)`` float32, the weighted gradients of the objectives, in their order.
            x: ``(batch, ...)`` float32, what they are gradients on.
            seed: ``(2,)`` integers for what is random.
        """
        raise NotImplementedError(f"{type(self).__name__} must define combined(gradients, x, seed).")


class ElementwiseSurgery(Surgery):
    """Surgery that makes one gradient of several on what the embeddings give, element by element.

    Arguments are those of :class:`~fuxi_mtl.surgery.combining.Surgery`, with an :class:`ElementwiseMethod` to
    solve.
    """

    _solve: ElementwiseMethod

    def begin(self, last_layer, dense):
        """See the base class."""
        super().begin(last_layer, dense)
        self._below: set[int] | None = None

    def _instead(self, backward, factors, coefficients, shared, places, step):
        """What lies below moves by the one gradient."""
        parts, upstream = [], []
        found = backward.of_each(places["representation"])
        for place, part in enumerate(tf.nest.flatten(places["representation"])):
            weighted = {
                name: factors[name] / backward.scale * tf.cast(found[name][place], tf.float32)
                for name in factors
                if found[name][place] is not None
            }
            if weighted:
                nothing = tf.zeros(tf.shape(part))
                taking_part = tf.stack([weighted.pop(name, nothing) for name in self.names])
                seed = tf.stack([tf.cast(step, tf.int64), place])
                combined = self._solve.combined(taking_part, tf.cast(part, tf.float32), seed)
                total = tf.add_n([combined, *weighted.values()])  # with those of kind fixed
                parts.append(part)
                upstream.append(tf.cast(backward.scale * total, part.dtype))
        if self._below is None:
            behind = backward.are_behind(parts, shared)
            self._below = {id(value) for value, is_behind in zip(shared, behind, strict=True) if is_behind}
        below = [value for value in shared if id(value) in self._below]
        gradients: dict[int, Gradient] = {}
        for value, gradient in zip(below, backward.through(parts, upstream, below), strict=True):
            gradients[id(value)] = gradient
        return gradients


class SignDrop(ElementwiseMethod):
    """GradDrop, of each element the positive or the negative parts alone (Chen et al., NeurIPS 2020).

    With ``P_i = (1 + sum_k g_ki / sum_k |g_ki|) / 2`` and U between 0 and 1 at random::

        d_i = sum_k g_ki (l_k + (1 - l_k) ([P_i > U_i] [g_ki > 0] + [P_i < U_i] [g_ki < 0]))

    Without leaks its mean is the plain sum, and its variance is the product of the positive and the negative
    mass: noise where signs disagree. A control for methods that claim more.

    Args:
        names: The objectives that take part.
        seed: Of U.
        graddrop_leak: l by objective, the share of a gradient that is never dropped.
        graddrop_signs: Whose sign counts: of each ``element``, or of each column over the ``batch``, with
            gradients times the sign of what they are on, as in the paper.

    Raises:
        ValueError: A leak of an unknown objective, or one outside of 0 to 1.
    """

    def __init__(
        self,
        names: Sequence[str],
        seed: int = 0,
        *,
        graddrop_leak: Annotated[
            dict[str, float] | None,
            option("Share of a gradient that is never dropped, by objective; 0 unless said."),
        ] = None,
        graddrop_signs: Annotated[
            str,
            option(
                "Whose sign counts: of each element of each row, or of each column over the batch.",
                choices=("element", "batch"),
            ),
        ] = "element",
    ):
        super().__init__(names, seed)
        self.leaks, self.over_batch = _leaks(graddrop_leak or {}, self.names), graddrop_signs == "batch"

    def combined(self, gradients: tf.Tensor, x: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """See the class."""
        masses = gradients
        if self.over_batch:
            masses = global_sum(tf.reduce_sum(gradients * tf.sign(x), axis=1, keepdims=True))
        else:  # each replica has rows of its own
            seed += [0, 2**32 * tf.cast(own_number(), tf.int64)]
        uniform = tf.random.stateless_uniform(tf.shape(masses)[1:], [seed[0] + self.seed, seed[1]])
        leaks = tf.reshape(tf.constant(self.leaks), (-1, *[1] * (len(masses.shape) - 1)))
        return tf.reduce_sum(gradients * kept_shares(masses, uniform, leaks), axis=0)


def kept_shares(masses: tf.Tensor, uniform: tf.Tensor, leaks: tf.Tensor) -> tf.Tensor:
    """How much of each element of each gradient is kept, from its leak to 1.

    Args:
        masses: ``(T, ...)``, whose signs count.
        uniform: ``(...)`` from 0 to 1.
        leaks: Broadcast to the masses.
    """
    size = tf.reduce_sum(tf.abs(masses), axis=0)
    positive = 0.5 * (1 + tf.math.divide_no_nan(tf.reduce_sum(masses, axis=0), size))
    kept = tf.where(positive > uniform, masses > 0, masses < 0)
    return leaks + (1 - leaks) * tf.cast(kept, masses.dtype)


def _leaks(given: Mapping[str, float], names: Sequence[str]) -> list[float]:
    """The leak of each objective."""
    for name, leak in given.items():
        if name not in names:
            raise ValueError(no_objective("graddrop_leak", name, names))
        if not 0 <= leak <= 1:
            raise ValueError(f"graddrop_leak of {name!r} is {leak}; a leak is a number from 0 to 1.")
    return [float(given.get(name, 0.0)) for name in names]
