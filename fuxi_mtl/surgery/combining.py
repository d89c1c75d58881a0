"""Combination of the objectives' gradients into one gradient for each variable.

A weighting decides how much each loss counts; surgery comes after it and turns what is shared another way::

    shared variables    sum_k a_k w_k grad L_k      a from the angles between the w_k grad L_k
    private variables   sum_k w_k grad L_k          as without surgery, unless they are scaled, too

A variable is shared if two objectives reach it. The coefficients a are found from gradients on a smaller part
of the network, so that a step costs little more; only ``full`` looks at all that is shared.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import compress
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from fuxi_mtl.cluster.replicas import Gradient, global_sum, is_own
from fuxi_mtl.options import SURGERY_MODES
from fuxi_mtl.surgery.backward import Backward, aligned
from fuxi_mtl.surgery.methods import State, SurgeryMethod

_NOTHING = 1e-12  # of the longest gradient: a shorter one has no direction
Solve = Callable[[np.ndarray, Sequence[str], int], np.ndarray]


class Surgery(tf.Module):
    """Coefficients for the objectives' gradients, and the gradients that follow from them.

    Args:
        names: The objectives that take part; others count with coefficient one.
        solve: ``solve(gram, names, step) -> (T,)`` coefficients, from the inner products of the weighted
            gradients of the objectives that have rows in the batch and a gradient; None where there are none,
            and all count with one. A :class:`SurgeryMethod` may keep something from step to step.
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
        smoothing: rho of ``M <- rho M + (1 - rho) M_t``, from 0 to below 1: how much is kept of the inner
            products of the steps before.

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
        smoothing: float = 0.0,
    ):
        super().__init__()
        if mode not in SURGERY_MODES:
            raise ValueError(f"surgery_mode is {mode!r}. Modes: {', '.join(SURGERY_MODES)}.")
        self.names = tuple(names)
        self.mode = mode
        self._solve, self._normalize = solve, normalize
        self._power = {"sum": 1, "mean": -1, None: 0}[factor]
        self._scales_private = scales_private
        self._smoothing = smoothing
        self._shared: set[int] | None = None
        self.state = {
            name: tf.Variable(at, trainable=False, name=name) for name, at in self._begins().items()
        }
        start = [1 / len(self.names)] * len(self.names)
        self.found = tf.Variable(start, trainable=False, name="found") if lagged else None

    def _begins(self) -> State:
        """What is kept from step to step, before the first one."""
        begins = dict(self._solve.begins()) if isinstance(self._solve, SurgeryMethod) else {}
        if self._smoothing:
            begins["smoothed"] = np.full((len(self.names),) * 2, np.nan)
        return begins

    def begin(self, last_layer: Sequence[keras.Variable], dense: Sequence[keras.Variable]) -> None:
        """Begins with another network: what objectives share in it is to be found out.

        Args:
            last_layer: Variables of its last shared layer, which may be none.
            dense: All that are trained and are no tables.
        """
        self._shared = None

    @property
    def watched(self) -> tuple[str, ...]:
        """Names in the log: coefficients, least cosine of two gradients, steps without an answer."""
        return (*(f"coefficient_{name}" for name in self.names), "surgery_least_cosine", "surgery_fallback")

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
            places = {**places, "full": [value for value in values if id(value) in shared]}
        given = tf.stack([rows[name] > 0 for name in self.names])
        gram, given = self._compared(backward, factors, places, given, step)
        before = tf.ones(len(self.names)) if self.found is None else tf.identity(self.found)
        kept = {name: tf.identity(variable) for name, variable in self.state.items()}
        now, cosine, fallback, *kept_now = tf.numpy_function(
            self._solved,
            [gram, given, step, before, *kept.values()],
            [tf.float32] * 3 + [variable.dtype for variable in self.state.values()],
            stateful=False,
        )
        now = tf.ensure_shape(now, (len(self.names),))
        for variable, value in zip(self.state.values(), kept_now, strict=True):
            variable.assign(tf.ensure_shape(value, variable.shape))
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
        gradients |= self._instead(
            backward, factors, used, [v for v in values if id(v) in shared], places, step
        )
        seen = (*used, tf.ensure_shape(cosine, ()), tf.ensure_shape(fallback, ()))
        return [gradients[id(value)] for value in values], dict(zip(self.watched, seen, strict=True))

    def _reached_twice(self, backward: Backward, values: Sequence[Any]) -> set[int]:
        """Which values two objectives or more depend on."""
        if self._shared is None:
            counts = backward.reach(values)
            self._shared = {id(value) for value, count in zip(values, counts, strict=True) if count > 1}
        return self._shared

    def _compared(
        self,
        backward: Backward,
        factors: Mapping[str, tf.Tensor],
        places: Mapping[str, Any],
        given: tf.Tensor,
        step: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """``(T, T)`` inner products from which coefficients are found, and whose objectives take part."""
        of_variables = tf.nest.flatten(places[self.mode]) if self.mode != "representation" else []
        if of_variables:
            found = backward.of_each_everywhere(of_variables)
            own = [is_own(variable) for variable in of_variables]
            spread = {name: list(compress(gradients, own)) for name, gradients in found.items()}
            whole = {name: [g for g, o in zip(found[name], own, strict=True) if not o] for name in found}
            gram = self._gram(whole, factors, backward.scale)
            return gram + (global_sum(self._gram(spread, factors, backward.scale)) if any(own) else 0), given
        # Of the rows, each replica has its own: their products add up.
        found = backward.of_each(tf.nest.flatten(places["representation"]))
        return global_sum(self._gram(found, factors, backward.scale)), given

    def _instead(
        self,
        backward: Backward,
        factors: Mapping[str, tf.Tensor],
        coefficients: Sequence[tf.Tensor],
        shared: Sequence[Any],
        places: Mapping[str, Any],
        step: tf.Tensor,
    ) -> dict[int, Gradient]:
        """The scaled gradients, by identity, of shared values that coefficients do not move."""
        return {}

    def _gram(
        self, found: Mapping[str, Sequence[Gradient]], factors: Mapping[str, tf.Tensor], scale: tf.Tensor
    ) -> tf.Tensor:
        """``(T, T)`` inner products of the weighted gradients."""
        weights = tf.stack([factors[name] for name in self.names])
        gram = tf.zeros((len(self.names), len(self.names)))
        for gradients in zip(*(found[name] for name in self.names), strict=True):
            if any(gradient is not None for gradient in gradients):
                rows = weights[:, None] * aligned(gradients) / scale  # (T, elements)
                gram += tf.matmul(rows, rows, transpose_b=True)
        return gram

    def _solved(
        self, gram: np.ndarray, given: np.ndarray, step: np.ndarray, before: np.ndarray, *kept: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        """The coefficients of a step, the least cosine, whether the method found none, and what is kept."""
        state = {name: np.array(value) for name, value in zip(self.state, kept, strict=True)}
        coefficients, cosine, found = self.coefficients(gram, given, int(step), before, state)
        return coefficients, np.float32(cosine), np.float32(not found), *state.values()

    def coefficients(
        self,
        gram: np.ndarray,
        given: np.ndarray,
        step: int,
        before: np.ndarray,
        state: State | None = None,
    ) -> tuple[np.ndarray, float, bool]:
        """Those of a step; of objectives that take no part, what they were.

        Args:
            gram: ``(T, T)`` inner products of the weighted gradients.
            given: ``(T,)`` booleans: the objectives with rows in the batch.
            step: Optimizer steps taken.
            before: ``(T,)`` coefficients of the step before, or ones.
            state: What is kept from step to step, brought up to date; that before the first one unless said.

        Returns:
            ``(T,)`` coefficients, the least cosine of two gradients (1 without two of them), and whether the
            method found any.
        """
        result, state = before.copy(), self._begins() if state is None else state
        pairs = np.outer(given, given)
        # Overflow in float16: such a step is skipped anyway.
        if not np.isfinite(gram[pairs]).all():
            return result, 1.0, True
        gram = (gram.astype(np.float64) + gram.T) / 2
        if self._smoothing:
            past = state["smoothed"]
            mixed = self._smoothing * past + (1 - self._smoothing) * gram
            past[pairs] = np.where(np.isnan(past), gram, mixed)[pairs]
            gram = past
        lengths = np.sqrt(np.where(given, np.diag(gram), 0))
        part = given & (lengths > _NOTHING * lengths.max())
        if part.sum() < 2:  # one objective has nobody to disagree with
            return result, 1.0, True
        gram, lengths = gram[np.ix_(part, part)], lengths[part]
        cosines = gram / np.outer(lengths, lengths)
        names = [name for name, takes_part in zip(self.names, part, strict=True) if takes_part]
        solve = self._solve
        asked = cosines if self._normalize else gram
        if isinstance(solve, SurgeryMethod):
            weights = solve.advance(asked, names, step, state)
        else:
            weights = solve(asked, names, step)
        least = float(cosines[~np.eye(len(names), dtype=bool)].min())
        if weights is None:
            result[part] = 1.0
            return result, least, False
        # Those that are kept for the next step add up to one, with those that keep what they had.
        share = self._factor(len(names)) if self.found is None else before[part].sum()
        result[part] = np.asarray(weights) * share
        return result, least, True

    def _factor(self, count: int) -> float:
        """What the coefficients of so many objectives are multiplied with."""
        return float(count) ** self._power
