"""The base class of every model: network in, one weighted and clipped step out."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from fuxi_mtl.features import FeatureMap
from fuxi_mtl.layers import FeatureEmbedding
from fuxi_mtl.objectives import Heads, Objective, supervised
from fuxi_mtl.optimizers import SplitOptimizer, row_counterpart, schedule_of, split_of
from fuxi_mtl.tasks import Task
from fuxi_mtl.weighting import Equal, Weighting


class MultiTaskModel(keras.Model):
    """A network with a named head for each task, trained on a weighted sum of objectives.

    A subclass is one paper. Its constructor builds the network; it must give :meth:`heads`, and says
    what is the last shared layer (:meth:`shared_variables`). What it learns from is data
    (:meth:`objectives`), so every weighting works on every model::

        features -> embed -> heads -> objectives -> weighting -> one step

    Args:
        features: The inputs.
        tasks: What to predict.
    """

    built: bool
    embedding: FeatureEmbedding  # set by a subclass, unless it embeds in a way of its own

    def __init__(self, features: FeatureMap, tasks: Sequence[Task]):
        super().__init__()
        self.features = features
        self.tasks = tuple(tasks)
        self.weighting: Weighting = Equal({})
        # Keras locks a built model, so the means for the log exist from the start.
        names = self.objective_names(self.tasks)
        kinds = ["loss", *(f"{kind}_{name}" for kind in ("loss", "weight", "norm") for name in names)]
        self.trackers = {name: keras.metrics.Mean(name=name) for name in kinds}

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

    # ---- what the base class does ---------------------------------------------------------------

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

    def compile(self, optimizer="adam", weighting: Weighting | None = None, **keras_options):
        """Sets how the model is trained.

        Args:
            optimizer: A `SplitOptimizer`, or a Keras optimizer or its name: the tables then get its
                counterpart for rows.
            weighting: Weights of the objectives; equal unless said.
            **keras_options: Such as ``steps_per_execution``.
        """
        self.build()
        objectives = self.objectives()
        self.weighting = weighting or Equal({o.name: o.kind for o in objectives})
        expected = tuple(objective.name for objective in objectives)
        if self.weighting.names != expected:
            raise ValueError(
                f"the weighting is for {', '.join(self.weighting.names)}, "
                f"but the objectives are {', '.join(expected)}."
            )
        optimizer = self._split(keras.optimizers.get(optimizer))
        super().compile(optimizer=optimizer, jit_compile=False, **keras_options)
        self.optimizer.build(self.trainable_variables)
        for layer in self._embeddings():
            layer.before_lookup(split_of(self.optimizer).rows.before_lookup)

    def settle(self) -> None:
        """Makes the moves that rows of tables have put off until they are looked up; few optimizers do."""
        if self.compiled:
            split_of(self.optimizer).rows.settle()

    def evaluate(self, *args, **kwargs):
        """See `keras.Model.evaluate`; all rows are settled first."""
        self.settle()
        return super().evaluate(*args, **kwargs)

    def predict(self, *args, **kwargs):
        """See `keras.Model.predict`; all rows are settled first."""
        self.settle()
        return super().predict(*args, **kwargs)

    @property
    def metrics(self) -> list[keras.Metric]:
        """Means since the last evaluation: losses, weights and, where used, gradient norms."""
        unused = () if self.weighting.needs_norms else ("norm_",)
        return [tracker for name, tracker in self.trackers.items() if not name.startswith(unused)]

    def train_step(self, data):
        """One step on one batch: ``(inputs, labels)`` or ``(inputs, labels, sample_weight)``."""
        inputs, labels, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape(persistent=self.weighting.needs_norms) as tape:
            x, heads = self(inputs, training=True, representation=True)
            losses, rows = self._objective_losses(heads, labels, sample_weight)
            penalties = [tf.add_n(self.losses)] if self.losses else []
        norms = self._shared_norms(tape, losses, x) if self.weighting.needs_norms else None
        weights = self._reweight(losses, rows, norms)
        # The weights enter as gradients of the losses: one backward pass for the weighted sum.
        scale = self.optimizer.scale_loss(tf.constant(1.0)) / self._replicas()
        gradients = tape.gradient(
            [*losses.values(), *penalties],
            [v.value for v in self.trainable_variables],
            output_gradients=[*(scale * weights[name] for name in losses), *(scale for _ in penalties)],
        )
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        total = tf.add_n([weights[name] * losses[name] for name in losses] + penalties)
        return self._track(total, losses, rows, weights, norms)

    def test_step(self, data):
        """The losses of one batch, without a step."""
        inputs, labels, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        losses, rows = self._objective_losses(self(inputs, training=False), labels, sample_weight)
        weights = self.weighting.weights()
        total = tf.add_n([weights[name] * losses[name] for name in losses])
        return self._track(total, losses, rows, weights, None)

    def predict_step(self, data):
        """Probabilities (values of a regression) of one batch, by task."""
        inputs, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        return self.probabilities(self(inputs, training=False))

    def probabilities(self, heads: Heads) -> dict[str, tf.Tensor]:
        """Turns logits into probabilities; the values of regressions pass."""
        return {
            task.name: tf.sigmoid(heads[task.name]) if task.kind == "binary" else heads[task.name]
            for task in self.tasks
        }

    # ---- parts of the step ----------------------------------------------------------------------

    def _objective_losses(self, heads, labels, sample_weight):
        """Each objective's loss, and the weight of the rows behind it over all replicas."""
        losses, rows = {}, {}
        for objective in self.objectives():
            loss, rows[objective.name] = objective.loss(heads, labels, sample_weight)
            losses[objective.name] = tf.debugging.check_numerics(loss, f"objective {objective.name}")
        if self._replicas() == 1:
            return losses, rows
        # The mean over replicas must be the mean over the rows of all of them.
        everywhere = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, rows)
        shares = {
            name: tf.math.divide_no_nan(rows[name] * self._replicas(), everywhere[name]) for name in rows
        }
        return {name: shares[name] * loss for name, loss in losses.items()}, everywhere

    def _shared_norms(self, tape: tf.GradientTape, losses: Mapping[str, tf.Tensor], x: Any):
        """``||grad L_k||`` on the last shared layer, of the unweighted losses (those of one replica)."""
        shared: list = [variable.value for variable in self.shared_variables()]
        sources = shared or tf.nest.flatten(x)
        scale = self.optimizer.scale_loss(tf.constant(1.0))  # keeps float16 gradients from vanishing
        norms = {}
        for name, loss in losses.items():
            gradients = tape.gradient(loss, sources, output_gradients=scale)
            present = [tf.cast(g, tf.float32) / scale for g in gradients if g is not None]
            norms[name] = tf.linalg.global_norm(present) if present else tf.constant(0.0)
        return norms

    def _reweight(self, losses, rows, norms) -> dict[str, tf.Tensor]:
        """Tells the weighting what came and returns its weights, those after the update."""
        seen = {name: tf.where(rows[name] > 0, loss, np.nan) for name, loss in losses.items()}
        if self._replicas() > 1:
            context = tf.distribute.get_replica_context()
            seen, norms = context.all_reduce(tf.distribute.ReduceOp.MEAN, (seen, norms or {}))
        self.weighting.update(seen, norms)
        return self.weighting.weights()

    def _split(self, optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
        """The optimizer with one of rows beside it for the tables; Keras's own would be wrong and slow."""
        if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            optimizer.inner_optimizer = self._split(optimizer.inner_optimizer)
            return optimizer
        if isinstance(optimizer, SplitOptimizer):
            return optimizer
        rows = row_counterpart(optimizer)(schedule_of(optimizer))
        return SplitOptimizer(optimizer, rows, self.tables(), optimizer.global_clipnorm)

    def _embeddings(self) -> list[FeatureEmbedding]:
        return [layer for layer in self._flatten_layers() if isinstance(layer, FeatureEmbedding)]

    def _replicas(self) -> int:
        return tf.distribute.get_strategy().num_replicas_in_sync

    def _track(self, total, losses, rows, weights, norms) -> dict[str, tf.Tensor]:
        self.trackers["loss"].update_state(total)
        for name, loss in losses.items():
            self.trackers[f"loss_{name}"].update_state(loss, tf.cast(rows[name] > 0, tf.float32))
            self.trackers[f"weight_{name}"].update_state(weights[name])
            if norms is not None:
                self.trackers[f"norm_{name}"].update_state(norms[name])
        return {tracker.name: tracker.result() for tracker in self.metrics}
