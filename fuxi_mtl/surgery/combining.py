"""Combination of the objectives' gradients into one gradient for each variable.

A weighting decides how much each loss counts; surgery comes after it and turns what is shared another way::

    shared variables    sum_k a_k w_k grad L_k      a from the angles between the w_k grad L_k
    private variables   sum_k w_k grad L_k          as without surgery, unless they are scaled, too

A variable is shared if two objectives reach it. The coefficients a are found from gradients on a smaller part
of the network, so that a step costs little more; only ``full`` looks at all that is shared.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from fuxi_mtl.options import SURGERIES, SURGERY_MODES, SurgeryOptions
from fuxi_mtl.surgery.backward import Backward, Gradient, aligned

Solve = Callable[[np.ndarray, Sequence[str], int], np.ndarray]


class Surgery(tf.Module):
    """Coefficients for the objectives' gradients, and the gradients that follow from them.

    Args:
        names: The objectives that take part; others count with coefficient one.
        solve: ``solve(gram, names, step) -> (T,)`` coefficients, from the inner products of the weighted
            gradients of the objectives that have rows in the batch.
        mode: Where the gradients are taken: ``representation`` (what :meth:`MultiTaskModel.embed` gives, one
            backward pass an objective down to it), ``last_layer`` (the last shared layer, the cheapest) or
            ``full`` (all shared variables; rows of tables are compared row by row, never whole tables).
        normalize: Whether coefficients are found for gradients of length one; they then belong to the
            gradients as they are, as in Sener and Koltun's code. Methods of least norm favour the shortest
            gradient, which is that of the rarest event.
        lagged: Whether a step uses what was found in the step before, beginning with 1/T for each objective.
        factor: ``sum`` has the coefficients times the T objectives with rows in the batch, ``mean`` divides
            them by that; None takes what `solve` gives.
        scales_private: Whether private variables have the coefficient of their objective, too.

    Raises:
        ValueError: Unknown mode.
    """

    def __init__(
        self,
        names: Sequence[str],
        solve: Solve,
        mode: str = "representation",
        normalize: bool = False,
        lagged: bool = False,
        factor: str | None = None,
        scales_private: bool = False,
    ):
        super().__init__()
        if mode not in SURGERY_MODES:
            raise ValueError(f"surgery_mode is {mode!r}. Modes: {', '.join(SURGERY_MODES)}.")
        self.names = tuple(names)
        self.mode = mode
        self._solve, self._normalize = solve, normalize
        self._power = {"sum": 1, "mean": -1, None: 0}[factor]
        self._scales_private = scales_private
        self._shared: set[int] | None = None
        start = [1 / len(self.names)] * len(self.names)
        self.found = tf.Variable(start, trainable=False, name="found") if lagged else None

    def forget_network(self) -> None:
        """Finds out anew what objectives share: the next gradients may be those of another network."""
        self._shared = None

    @property
    def watched(self) -> tuple[str, ...]:
        """Names of the coefficients in the log."""
        return tuple(f"coefficient_{name}" for name in self.names)

    def gradients(
        self,
        backward: Backward,
        rows: Mapping[str, tf.Tensor],
        factors: Mapping[str, tf.Tensor],
        variables: Sequence[keras.Variable],
        places: Mapping[str, Any],
        step: tf.Tensor,
    ) -> tuple[list[Gradient], dict[str, tf.Tensor]]:
        """The scaled gradient of each variable, and the coefficients by their names in the log.

        Args:
            backward: Gives gradients of the losses; its tape is persistent.
            rows: Weight of the rows behind each loss.
            factors: The weight of each loss.
            variables: Those to move.
            places: Tensors of the ``representation`` and variables of the ``last_layer`` (may be empty).
            step: Seeds what a method draws at random.
        """
        values = [variable.value for variable in variables]
        shared = self._reached_twice(backward, values)
        if self.mode == "full":
            places = {"full": [value for value in values if id(value) in shared]}
        chosen = tf.nest.flatten(places[self.mode]) or tf.nest.flatten(places["representation"])
        gram = self._gram(backward, factors, chosen)
        given = tf.stack([rows[name] > 0 for name in self.names])
        before = tf.ones(len(self.names)) if self.found is None else tf.identity(self.found)
        now = tf.numpy_function(self._coefficients, [gram, given, step, before], tf.float32, stateful=False)
        now = tf.ensure_shape(now, (len(self.names),))
        # What is kept from step to step adds up to one, whatever it is multiplied with.
        used = tf.unstack(now if self.found is None else before * self._factor(len(self.names)))
        if self.found is not None:
            self.found.assign(now)
        coefficients = dict(zip(self.names, used, strict=True))
        turned = {name: factor * coefficients.get(name, 1.0) for name, factor in factors.items()}
        gradients: dict[int, Gradient] = {}
        for is_shared, weights in {True: turned, False: turned if self._scales_private else factors}.items():
            sources = [value for value in values if (id(value) in shared) == is_shared]
            gradients |= {id(v): g for v, g in zip(sources, backward.weighted(weights, sources), strict=True)}
        return [gradients[id(value)] for value in values], dict(zip(self.watched, used, strict=True))

    def _reached_twice(self, backward: Backward, values: Sequence[Any]) -> set[int]:
        """Which values two objectives or more depend on."""
        if self._shared is None:
            counts = backward.reach(values)
            self._shared = {id(value) for value, count in zip(values, counts, strict=True) if count > 1}
        return self._shared

    def _gram(self, backward: Backward, factors: Mapping[str, tf.Tensor], chosen: Sequence[Any]) -> tf.Tensor:
        """``(T, T)`` inner products of the weighted gradients."""
        found = backward.of_each(chosen)
        weights = tf.stack([factors[name] for name in self.names])
        gram = tf.zeros((len(self.names), len(self.names)))
        for gradients in zip(*(found[name] for name in self.names), strict=True):
            if any(gradient is not None for gradient in gradients):
                rows = weights[:, None] * aligned(gradients) / backward.scale  # (T, elements)
                gram += tf.matmul(rows, rows, transpose_b=True)
        return gram

    def _coefficients(
        self, gram: np.ndarray, given: np.ndarray, step: np.ndarray, before: np.ndarray
    ) -> np.ndarray:
        """Those of a step; of objectives that take no part, what they were."""
        result = before.copy()
        gram = gram[np.ix_(given, given)].astype(np.float64)
        # Overflow in float16: such a step is skipped anyway. One objective has nobody to disagree with.
        if given.sum() < 2 or not np.isfinite(gram).all():
            return result
        lengths = np.sqrt(np.diag(gram))
        if self._normalize:
            lengths = np.where(lengths > 0, lengths, 1.0)
            gram = gram / np.outer(lengths, lengths)
        names = [name for name, is_given in zip(self.names, given, strict=True) if is_given]
        weights = self._solve(gram, names, int(step))
        # Those that are kept for the next step add up to one, with those that keep what they had.
        share = self._factor(len(names)) if self.found is None else before[given].sum()
        result[given] = np.asarray(weights) * share
        return result

    def _factor(self, count: int) -> float:
        """What the coefficients of so many objectives are multiplied with."""
        return float(count) ** self._power


def make_surgery(
    options: SurgeryOptions,
    objectives: Mapping[str, str],
    seed: int = 0,
    own: Mapping[str, Any] = MappingProxyType({}),
) -> Surgery | None:
    """The surgery that a stanza asks for; None for none.

    Args:
        options: Its keys.
        objectives: Kind of each objective, by name; those of kind ``fixed`` take no part.
        seed: Seed of random orders.
        own: The method's own options by key.

    Raises:
        ValueError: Unknown name, fewer than two objectives, or options that do not fit the method or them.
    """
    member = SURGERIES[options.surgery]
    if member.target is None:
        return None
    names = [name for name, kind in objectives.items() if kind != "fixed"]
    if len(names) < 2:
        raise ValueError(
            f"surgery: {options.surgery} turns gradients of several objectives, but there is only "
            f"{', '.join(names) or 'none'}. Use surgery: none."
        )
    method = member.make(own, names=names, seed=seed)
    if options.surgery_normalize and not method.least_norm:
        members = [each for each in SURGERIES.members if each.target is not None]
        fitting = " and ".join(each.name for each in members if each.load().least_norm)
        raise ValueError(
            f"surgery_normalize is for methods of least norm, {fitting}; surgery is {options.surgery}. "
            "Leave it out."
        )
    scale = options.surgery_scale
    return Surgery(
        names,
        method,
        options.surgery_mode,
        options.surgery_normalize,
        method.lagged,
        factor=None if scale == method.scale else scale,
        scales_private=options.surgery_private == "scaled",
    )
