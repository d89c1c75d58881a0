"""What a model is before it is trained: from features to heads, and what it has to say of itself."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from fuxi_mtl.features import FeatureMap
from fuxi_mtl.layers import FeatureEmbedding
from fuxi_mtl.objectives import Heads, Objective, supervised
from fuxi_mtl.tasks import Task


class Network(keras.Model):
    """A network with a named head for each task, which says what it learns from.

    Args:
        features: The inputs.
        tasks: What to predict.
    """

    built: bool
    embedding: keras.layers.Layer  # set by a subclass, unless it embeds in a way of its own

    def __init__(self, features: FeatureMap, tasks: Sequence[Task]):
        super().__init__()
        self.features = features
        self.tasks = tuple(tasks)
        self.calibration: Callable[[Heads, Heads], dict[str, tf.Tensor]] | None = None

    # ---- what a subclass says -------------------------------------------------------------------

    def embed(self, inputs: Mapping[str, tf.Tensor]) -> Any:
        """The representation that all heads start from; ``(batch, width)`` unless overridden."""
        return self.embedding(inputs)

    def heads(self, x: Any, training: bool = False) -> dict[str, tf.Tensor]:
        """A ``(batch,)`` float32 tensor for each task: a logit, or the value of a regression."""
        raise NotImplementedError(f"{type(self).__name__} must define heads(x, training).")

    def shared_variables(self) -> list[keras.Variable]:
        """The last shared layer, on which gradient norms are taken; none means what :meth:`embed` gives."""
        return []

    @classmethod
    def plan_tasks(cls, tasks: Sequence[Task], explicit: bool = True) -> tuple[Task, ...]:  # noqa: ARG003
        """The tasks of the model, from those of the stanza.

        Args:
            tasks: From ``tasks``, or one for each label.
            explicit: Whether the stanza has ``tasks``.

        Raises:
            ValueError: The model cannot serve these tasks.
        """
        return tuple(tasks)

    @classmethod
    def supervised_tasks(cls, tasks: Sequence[Task]) -> tuple[Task, ...]:
        """The tasks whose heads are trained on their own labels."""
        return tuple(tasks)

    @classmethod
    def objective_names(cls, tasks: Sequence[Task]) -> tuple[str, ...]:
        """What ``loss_weight`` weighs, in order."""
        return tuple(task.name for task in cls.supervised_tasks(tasks))

    def objectives(self) -> list[Objective]:
        """What the model learns from."""
        return [supervised(task) for task in self.supervised_tasks(self.tasks)]

    def alternating_steps(self) -> list[tuple[Sequence[str], Sequence[keras.Variable]]]:
        """Alternating minimisation: names of objectives and the variables that these move, turn by turn.

        Step t belongs to turn ``t mod n``: what is not of that turn stays as it is, moments of the optimizer
        included. None: every step moves everything.
        """
        return []

    def prepare(self, labels: Mapping[str, np.ndarray], batches: Callable[[int], tf.data.Dataset]) -> None:
        """Called once before training, on a built model: to start biases at base rates, say.

        Args:
            labels: ``(rows,)`` labels of the training data, by task; NaN where not defined.
            batches: ``batches(epochs)`` gives shuffled batches of them: inputs, labels, sample weights.
        """

    def architecture_variables(self) -> list[keras.Variable]:
        """Variables that are learnt on validation batches, by an optimizer of their own; none.

        They are the upper level of a problem of two levels (Liu et al., DARTS, ICLR 2019, first order): each
        training step moves everything else on a batch of training rows, and then these, and nothing else,
        on a batch of validation rows. They must not be trainable, so that no other step can move them.
        """
        return []

    # ---- what follows from that -----------------------------------------------------------------

    def call(self, inputs, training=False, representation=False):
        """The heads of a batch; with `representation`, what :meth:`embed` gave and the heads."""
        x = self.embed(inputs)
        heads = self.heads(x, training=training)
        return (x, heads) if representation else heads

    def build(self, input_shape=None):
        """Creates every variable, from the feature map alone."""
        if not self.built:
            self.built = True
            self(
                {
                    "ids": np.zeros((2, self.features.id_columns), np.int32),
                    "numeric": np.zeros((2, self.features.numeric_columns), np.float32),
                }
            )

    def tables(self) -> list[tuple[keras.Variable, Callable | None]]:
        """The embedding tables, each with the gradient of its rows' penalty or None."""
        return [table for layer in self._embeddings() for table in layer.tables()]

    def predict_step(self, data):
        """Probabilities (values of a regression) of one batch, by task."""
        inputs, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        return self.probabilities(self(inputs, training=False))

    def probabilities(self, heads: Heads) -> dict[str, tf.Tensor]:
        """Turns logits into probabilities, calibrated if so; the values of regressions pass."""
        plain = {
            task.name: tf.sigmoid(heads[task.name]) if task.kind == "binary" else heads[task.name]
            for task in self.tasks
        }
        return plain if self.calibration is None else self.calibration(heads, plain)

    def calibrate(self, calibration: Callable[[Heads, Heads], dict[str, tf.Tensor]] | None) -> None:
        """Makes predictions what `calibration` gives for the heads and the plain probabilities."""
        self.calibration, self.predict_function = calibration, None  # Keras would keep the old graph

    def _embeddings(self) -> list[FeatureEmbedding]:
        return [layer for layer in self._flatten_layers() if isinstance(layer, FeatureEmbedding)]
