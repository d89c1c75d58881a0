"""Means of losses, weights and norms over the training steps between two evaluations."""

from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf

from fuxi_mtl.objectives import Objective

WATCHED = "watched_"


class StepMeans:
    """Keras metrics by name, made when the objectives are known.

    Not a layer and not a list, so that Keras does not take them for a part of the network.

    Args:
        objectives: What is trained on.
        norms: Whether gradient norms are taken.
        watched: What is watched beside what the objectives watch.
    """

    def __init__(
        self, objectives: Sequence[Objective] = (), norms: bool = False, watched: Sequence[str] = ()
    ):
        kinds = ("loss", "weight", "norm") if norms else ("loss", "weight")
        names = ["loss", *(f"{kind}_{o.name}" for kind in kinds for o in objectives)]
        names += [WATCHED + name for objective in objectives for name in objective.watched]
        names += [WATCHED + name for name in watched]
        self._means = {name: keras.metrics.Mean(name=name) for name in names}

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """As Keras wants them, to begin each interval anew."""
        return list(self._means.values())

    def update(
        self,
        total: tf.Tensor,
        losses: Mapping[str, tf.Tensor],
        rows: Mapping[str, tf.Tensor],
        weights: Mapping[str, tf.Tensor],
        norms: Mapping[str, tf.Tensor] | None,
        watched: Mapping[str, tf.Tensor],
    ) -> dict[str, tf.Tensor]:
        """Takes in one step and gives all means. A loss without a row in the batch does not count."""
        self._take("loss", total)
        for name, loss in losses.items():
            self._take(f"loss_{name}", loss, tf.cast(rows[name] > 0, tf.float32))
            self._take(f"weight_{name}", weights[name])
            if norms is not None:
                self._take(f"norm_{name}", norms[name])
        for name, value in watched.items():
            self._take(WATCHED + name, value)
        return self.result()

    def result(self) -> dict[str, tf.Tensor]:
        """All means."""
        return {name: tf.math.divide_no_nan(*_sums(mean)) for name, mean in self._means.items()}

    def _take(self, name: str, value: tf.Tensor, weight: tf.Tensor | float = 1.0) -> None:
        """One number; Keras's `update_state` takes any shape, and five times the operations for it."""
        mean, value = self._means[name], tf.cast(value, tf.float32)
        if value.shape.rank != 0:
            mean.update_state(value)
            return
        # Added by the variable: the order of the terms of a sum, and so its last digit, hangs on their names.
        mean.total.value.assign_add(value if isinstance(weight, float) else value * weight)
        mean.count.value.assign_add(weight)


def _sums(mean: keras.metrics.Mean) -> tuple[tf.Tensor, tf.Tensor]:
    return tf.convert_to_tensor(mean.total), tf.convert_to_tensor(mean.count)


def sum_in_order(terms: Sequence[tf.Tensor]) -> tf.Tensor:
    """A sum whose last digit does not hang on names, as the order of the terms of an addition does."""
    return tf.reduce_sum(tf.stack(terms))
