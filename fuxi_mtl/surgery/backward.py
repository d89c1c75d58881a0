"""Gradients of the objectives of one batch: of each alone, and of their weighted sum."""

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from fuxi_mtl.cluster.replicas import Gradient, global_gradients, global_sum, only_paths, replicas
from fuxi_mtl.cluster.row_sums import row_sums


class Backward:
    """The way back through the forward pass of one batch.

    What a weighting or surgery asks of single objectives is not computed again for their weighted sum::

        grad sum_k w_k L_k = sum_k w_k grad L_k

    Gradients are those of this replica; the sum over replicas is that of the whole batch.

    Args:
        tape: Saw the forward pass; persistent if it is asked more than once.
        losses: The losses of the batch, by objective.
        penalties: What is added to them, with weight one.
        scale: Factor of all gradients, against underflow in float16.

    >>> import tensorflow as tf
    >>> w = tf.Variable([1.0, 2.0])
    >>> with tf.GradientTape(persistent=True) as tape:
    ...     losses = {"ctr": tf.reduce_sum(w), "cvr": tf.reduce_sum(w**2)}
    >>> backward = Backward(tape, losses)
    >>> {name: round(float(norm), 3) for name, norm in backward.norms([w]).items()}
    {'ctr': 1.414, 'cvr': 4.472}
    >>> [gradient.numpy().tolist() for gradient in backward.weighted({"ctr": 1.0, "cvr": 2.0}, [w])]
    [[5.0, 9.0]]
    """

    def __init__(
        self,
        tape: tf.GradientTape,
        losses: Mapping[str, tf.Tensor],
        penalties: Sequence[tf.Tensor] = (),
        scale: tf.Tensor | float = 1.0,
    ):
        self.losses, self.scale = losses, tf.convert_to_tensor(scale)
        self._tape, self._penalties = tape, tuple(penalties)
        self._alone: dict[int, tuple[Any, dict[str, Gradient]]] = {}

    def of_each(self, sources: Any) -> dict[str, list[Gradient]]:
        """``scale * grad L_k`` on each of some values, by objective; unweighted and without penalties.

        Values that were asked for before keep what was found.
        """
        flat = tf.nest.flatten(sources)
        new = [source for source in flat if id(source) not in self._alone]
        if new:
            found = {
                name: self._tape.gradient(loss, new, output_gradients=self.scale)
                for name, loss in self.losses.items()
            }
            for at, source in enumerate(new):
                self._alone[id(source)] = (source, {name: found[name][at] for name in found})
        return {name: [self._alone[id(source)][1][name] for source in flat] for name in self.losses}

    def of_each_everywhere(self, sources: Any) -> dict[str, list[Gradient]]:
        """:meth:`of_each`, of the rows of all replicas, on variables: those of all, or a share of each."""
        found = self.of_each(sources)
        gradients = [gradient for gradients in found.values() for gradient in gradients]
        sums = iter(global_gradients(gradients, tf.nest.flatten(sources) * len(found)))
        return {name: [next(sums) for _ in gradients] for name, gradients in found.items()}

    def norms(self, sources: Any, of_rows: bool = False) -> dict[str, tf.Tensor]:
        """``||grad L_k||`` on some values, by objective, unscaled, over the rows of all replicas.

        Args:
            sources: Values.
            of_rows: Whether they are parts of the rows, of which each replica has its own, and no variables.
        """
        norms = {}
        found = self.of_each(sources) if of_rows else self.of_each_everywhere(sources)
        for name, gradients in found.items():
            present = [tf.cast(g, tf.float32) / self.scale for g in gradients if g is not None]
            norms[name] = tf.linalg.global_norm(present) if present else tf.constant(0.0)
        if of_rows and replicas() > 1:
            squares = global_sum({name: tf.square(norm) for name, norm in norms.items()})
            return {name: tf.sqrt(square) for name, square in squares.items()}
        return norms

    def reach(self, values: Sequence[Any]) -> list[int]:
        """How many losses depend on each value. A graph is traced for this and computes nothing."""
        with only_paths():
            reached = [self._tape.gradient(loss, values) for loss in self.losses.values()]
        return [sum(g is not None for g in gradients) for gradients in zip(*reached, strict=True)]

    def are_behind(self, parts: Sequence[Any], values: Sequence[Any]) -> list[bool]:
        """Whether parts of the forward pass depend on each of some values. A graph that computes nothing."""
        with only_paths():
            return [gradient is not None for gradient in self._tape.gradient(parts, values)]

    def through(
        self, parts: Sequence[Any], upstream: Sequence[tf.Tensor], values: Sequence[Any]
    ) -> list[Gradient]:
        """The gradients of values behind some parts of the forward pass, and of the penalties, scaled.

        Args:
            parts: What the values lead to.
            upstream: The scaled gradient on each of the parts.
            values: Those behind them.
        """
        scales = [*upstream, *(self.scale for _ in self._penalties)]
        return self._tape.gradient([*parts, *self._penalties], values, output_gradients=scales)

    def weighted(self, weights: Mapping[str, tf.Tensor], values: Sequence[Any]) -> list[Gradient]:
        """``scale * grad (sum_k w_k L_k + penalties)`` on each value, for objectives that have a weight."""
        losses = {name: self.losses[name] for name in weights}
        factors = [self.scale * weight for weight in weights.values()]
        new = [value for value in values if not self._is_known(value)]
        known = [value for value in values if self._is_known(value)]
        # The weights enter as gradients of the losses: one backward pass for the weighted sum.
        found = self._gradient([*losses.values()], factors, new)
        if known:
            found |= self._gradient([], [], known)
        for value in known:
            alone = self._alone[id(value)][1]
            terms = [weights[name] * alone[name] for name in weights if alone[name] is not None]
            if found[id(value)] is not None:
                terms.append(found[id(value)])
            found[id(value)] = tf.add_n(terms) if terms else None
        return [found[id(value)] for value in values]

    def _is_known(self, value: Any) -> bool:
        """Whether its gradients are there, and are no rows of a table, which the optimizer sums once."""
        _, alone = self._alone.get(id(value), (None, {}))
        return bool(alone) and not any(isinstance(each, tf.IndexedSlices) for each in alone.values())

    def _gradient(self, losses, factors, values) -> dict[int, Gradient]:
        """Of the losses times their factors and of the penalties, by the identity of the value."""
        targets = [*losses, *self._penalties]
        if not targets:
            return dict.fromkeys(map(id, values))
        scales = [*factors, *(self.scale for _ in self._penalties)]
        gradients = self._tape.gradient(targets, values, output_gradients=scales)
        return {id(value): gradient for value, gradient in zip(values, gradients, strict=True)}


def are_rows(gradients: Sequence[Gradient]) -> bool:
    """Whether all gradients of one variable, where there is a path, name rows of a table."""
    present = [gradient for gradient in gradients if gradient is not None]
    return bool(present) and all(isinstance(gradient, tf.IndexedSlices) for gradient in present)


def aligned(gradients: Sequence[Gradient]) -> tf.Tensor:
    """``(T, elements)`` in float32: gradients of one variable, one at least; zeros where there is no path.

    Those of a table are laid over the union of the rows that they name, and the table is never formed.
    """
    present = {place: gradient for place, gradient in enumerate(gradients) if gradient is not None}
    if are_rows(gradients):
        sizes = tf.stack([tf.size(each.indices) for each in present.values()])
        rows, position = tf.unique(tf.concat([each.indices for each in present.values()], axis=0))
        parts = tf.split(position, sizes, num=len(present))
        present = {
            place: row_sums(tf.cast(each.values, tf.float32), part, tf.size(rows))
            for (place, each), part in zip(present.items(), parts, strict=True)
        }
    flat = {
        place: tf.reshape(tf.cast(tf.convert_to_tensor(gradient), tf.float32), [-1])
        for place, gradient in present.items()
    }
    nothing = tf.zeros_like(next(iter(flat.values())))
    return tf.stack([flat.get(place, nothing) for place in range(len(gradients))])
