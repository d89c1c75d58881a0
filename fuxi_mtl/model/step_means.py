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
        self._means["loss"].update_state(total)
        for name, loss in losses.items():
            self._means[f"loss_{name}"].update_state(loss, tf.cast(rows[name] > 0, tf.float32))
            self._means[f"weight_{name}"].update_state(weights[name])
            if norms is not None:
                self._means[f"norm_{name}"].update_state(norms[name])
        for name, value in watched.items():
            self._means[WATCHED + name].update_state(value)
        return {name: mean.result() for name, mean in self._means.items()}
