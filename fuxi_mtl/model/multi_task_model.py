"""The base class of every model: network in, one weighted and clipped step out."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from fuxi_mtl.cluster.replicas import replicas
from fuxi_mtl.cluster.workers import together
from fuxi_mtl.decoders import DECODERS, Decoder
from fuxi_mtl.features import FeatureMap, RowReader
from fuxi_mtl.layers import folded, lookup_of
from fuxi_mtl.layers.over_rows import BatchNormalization
from fuxi_mtl.layers.penalties import recorded_penalties
from fuxi_mtl.metrics import Parts
from fuxi_mtl.model.per_id import PerId
from fuxi_mtl.model.prediction import ROWS_PER_STEP, Prediction, batches_of, needs_no_loop, trace_predictions
from fuxi_mtl.model.recipe import Recipe, recorded
from fuxi_mtl.model.step_means import StepMeans, sum_in_order
from fuxi_mtl.model.step_strategies import Step, StepStrategy, strategies_of
from fuxi_mtl.model.values import (
    check_products,
    check_shapes,
    decoded,
    decoders_of,
    learnt,
    measured_parts,
    scalars_of,
    unit_of,
    with_products,
)
from fuxi_mtl.objectives import Heads, Losses, Objective, losses_over_replicas, supervised
from fuxi_mtl.objectives.imbalance import Imbalance
from fuxi_mtl.optimizers import split_of, summed_before, with_rows
from fuxi_mtl.surgery import Surgery
from fuxi_mtl.surgery.backward import Backward
from fuxi_mtl.tasks import Task
from fuxi_mtl.weighting import Equal, Weighting


class MultiTaskModel(keras.Model):
    """A network with a named head for each task, trained on a weighted sum of objectives.

    A subclass is one paper. Its constructor builds the network; it must give :meth:`heads`, and says
    what is the last shared layer (:meth:`shared_variables`). What it learns from is data
    (:meth:`objectives`), so every weighting works on every model::

        features -> embed -> heads -> objectives -> weighting -> one step

    ``model(batch)`` is the encoded batch ``{"ids", "numeric"}`` to heads, as the training step calls it;
    :meth:`predict` and :meth:`logits` take raw rows, too. What is set on an object before it has variables
    is lost when :func:`fuxi_mtl.fit` makes them; call :meth:`build` first.

    Args:
        features: The inputs.
        tasks: What to predict.

    Example:
        >>> model = fm.MMoE(data.features, data.tasks)  # a subclass of it
        >>> model.predict(frame).columns.tolist()
        ['ctr', 'cvr']
        >>> ids, numeric = model.features.reader.encode(frame)
        >>> sorted(model({"ids": ids, "numeric": numeric}))
        ['ctr', 'cvr']
    """

    built: bool
    recipe: Recipe
    steps_per_execution: int
    embedding: keras.layers.Layer  # set by a subclass, unless it embeds in a way of its own

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__init__" in vars(cls):
            cls.__init__ = recorded(cls.__init__)  # type: ignore[method-assign]

    def __init__(self, features: FeatureMap, tasks: Sequence[Task]):
        super().__init__()
        self.features = features
        self.tasks = tuple(tasks)
        self.decoders: dict[str, Decoder] = decoders_of(self.tasks, features)
        self.expected: tuple[Task, ...] = ()
        self.calibration: Callable[[Heads, Heads], dict[str, tf.Tensor]] | None = None
        self.prediction: Prediction | None = None
        self.bilevel_optimizer: keras.optimizers.Optimizer | None = None
        self.weighting: Weighting = Equal({})
        self.imbalance = Imbalance()
        self.surgery: Surgery | None = None
        self.representation_columns = "all"
        self.strategies: tuple[StepStrategy, ...] = ()
        self.means = StepMeans()

    # ---- what a subclass says -------------------------------------------------------------------

    def embed(self, inputs: Mapping[str, tf.Tensor]) -> Any:
        """The representation that all heads start from; ``(batch, width)`` unless overridden."""
        return self.embedding(inputs)

    def embedding_layers(self) -> Any:
        """The layer whose output :meth:`embed` gives; if that is a mapping, those of its parts by name."""
        return self.embedding

    def heads(self, x: Any, training: bool = False) -> dict[str, tf.Tensor]:
        """The float32 head of each task, ``(batch,)``: a logit, or a regression in its label's unit.

        A head of several raw numbers (:attr:`head_widths`) is ``(batch, numbers)``.
        """
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
        return [supervised(t, self.decoders.get(t.name)) for t in self.supervised_tasks(self.tasks)]

    @property
    def head_widths(self) -> dict[str, int]:
        """How many raw numbers a head ends in, of those with more than one, by task."""
        return {name: decoder.outputs for name, decoder in self.decoders.items() if decoder.outputs > 1}

    def refuse_wide_heads(self, reason: str) -> None:
        """Refuses decoders of several raw numbers.

        Args:
            reason: Why the model cannot have them, of a clause's form.

        Raises:
            ValueError: A head has more than one.
        """
        for name, width in self.head_widths.items():
            single = [each.name for each in DECODERS.members if each.load().outputs == 1]
            raise ValueError(
                f"the head of {name!r} ends in {width} numbers, but {type(self).__name__} {reason}. Decoders "
                f"of one number: {', '.join(single)}."
            )

    def alternating_steps(self) -> list[tuple[Sequence[str], Sequence[keras.Variable]]]:
        """Alternating minimisation: names of objectives and the variables that these move, turn by turn.

        Step t belongs to turn ``t mod n``: what is not of that turn stays as it is, moments of the optimizer
        and the count behind their bias correction included; the learning rate follows all steps. None: every
        step moves everything.
        """
        return []

    def prepare(self, labels: Mapping[str, np.ndarray], batches: Callable[[int], tf.data.Dataset]) -> None:
        """Called once before training, on a built model: to start biases at base rates, say.

        What it fits belongs into variables: a training that was interrupted goes on with these, and only a
        model that keeps more, in attributes, is prepared again.

        Args:
            labels: ``(rows,)`` labels of the training data, by task; NaN where not defined.
            batches: ``batches(epochs)`` gives shuffled batches of them: inputs, labels, sample weights.
        """

    def fitted_beforehand(self) -> list[keras.layers.Layer]:
        """Layers that :meth:`prepare` fits as a whole and that no step moves; none."""
        return []

    def variables_by_id(self) -> list[PerId]:
        """Variables that have a part for each id of a feature and are no tables; none."""
        return []

    def bilevel_variables(self) -> list[keras.Variable]:
        """Variables that are learnt on validation batches, by an optimizer of their own; none.

        They are the upper level of a problem of two levels (Liu et al., DARTS, ICLR 2019, first order): each
        training step moves everything else on a batch of training rows, and then these, and nothing else,
        on a batch of validation rows. They must not be trainable, so that no other step can move them.
        """
        return []

    # ---- from inputs to probabilities -----------------------------------------------------------------

    def call(self, inputs, training=False, representation=False):
        """The heads of a batch; with `representation`, what gradients are compared on, and the heads."""
        x = counts = self.embed(inputs)
        if representation and self.representation_columns == "learnt":
            counts, x = self._learnt_parts(x)
        heads = self.heads(x, training=training)
        return (counts, heads) if representation else heads

    def build(self, input_shape: Any = None) -> None:
        """Creates every variable, from the feature map alone."""
        if self.built:
            return
        self.built = True
        with self.recipe.drawing():
            heads = self(
                {
                    "ids": np.zeros((2, self.features.id_columns), np.int32),
                    "numeric": np.zeros((2, self.features.numeric_columns), np.float32),
                }
            )
        check_shapes(type(self).__name__, heads, self.head_widths)

    def count_params(self) -> int:
        """The numbers of all variables; of tables that are spread over workers, those of all of them."""
        spread = ((v, lookup.shard) for v in self.variables if (lookup := lookup_of(v)) and lookup.shard)
        return super().count_params() + sum((shard.rows - shard.held) * v.shape[1] for v, shard in spread)

    def tables(self) -> list[keras.Variable]:
        """The embedding tables that are trained."""
        return [variable for variable in self.trainable_variables if lookup_of(variable) is not None]

    def predict_step(self, data):
        """Probabilities (values of a regression) of one batch, by task."""
        inputs, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        return self.probabilities(self(inputs, training=False), inputs)

    def probabilities(
        self, heads: Heads, inputs: Mapping[str, tf.Tensor] | None = None
    ) -> dict[str, tf.Tensor]:
        """Turns logits into probabilities, calibrated if so, and regressions into the unit of the data.

        Args:
            heads: Raw heads by task.
            inputs: The batch, for decoders that look at it.

        Returns:
            ``(batch,)`` by task, and what decoders serve beside their values by its own name.
        """
        plain = decoded(self.tasks, self.decoders, self.features.label_units, heads, inputs or {})
        found = plain if self.calibration is None else self.calibration(heads, plain)
        return with_products(found, self.expected)

    @property
    def outputs(self) -> tuple[Task, ...]:
        """What is served and measured: the tasks, and what is expected of them."""
        return (*self.tasks, *self.expected)

    def expect(self, expected: Sequence[Task]) -> None:
        """Serves products of predictions, too, by graphs made anew: Keras would keep the old one.

        Args:
            expected: As :func:`fuxi_mtl.config.expected.expected_task` makes them.

        Raises:
            ValueError: One has the name of something else that is served, or is no expectation.
        """
        check_products(expected, self.decoders)
        self.expected, self.predict_function, self.prediction = tuple(expected), None, None

    @property
    def served_columns(self) -> dict[str, str]:
        """The columns that are served, each with its name among :meth:`probabilities`."""
        parts = [f"{name}_{end}" for name, each in self.decoders.items() for end in each.part_names]
        return {f"{task.name}_pred": task.name for task in self.outputs} | {name: name for name in parts}

    def parts(self, predicted: Mapping[str, np.ndarray]) -> dict[str, Parts]:
        """What metrics see of predictions beside the values, by task: chances of classes, quantiles.

        Args:
            predicted: ``(rows,)`` by name, as :meth:`predict` gives them.
        """
        return measured_parts(self.decoders, predicted)

    def scalars(self, predicted: Heads) -> dict[str, Any]:
        """One number a row for each task that has one: of classes the expected value, else the prediction.

        Args:
            predicted: As :meth:`probabilities` or :meth:`predict` gives them.
        """
        return scalars_of(self.outputs, self.decoders, predicted)

    def calibrate(self, calibration: Callable[[Heads, Heads], dict[str, tf.Tensor]] | None) -> None:
        """Makes predictions what `calibration` gives for the heads and the plain probabilities."""
        if calibration is not self.calibration:  # Keras would keep the old graph
            self.calibration, self.predict_function, self.prediction = calibration, None, None

    # ---- training -------------------------------------------------------------------------------

    def training_objectives(self) -> list[Objective]:
        """The objectives as they are trained on, with what is done about rare positives."""
        return self.imbalance.apply(self.objectives(), self.tasks, self.step)

    def compile(
        self,
        optimizer="adam",
        weighting: Weighting | None = None,
        imbalance: Imbalance | None = None,
        surgery: Surgery | None = None,
        bilevel_optimizer: keras.optimizers.Optimizer | None = None,
        representation_columns: str = "all",
        batch_norm_statistics: str = "global",
        **keras_options,
    ):
        """Sets how the model is trained.

        Args:
            optimizer: A `SplitOptimizer`, or a Keras optimizer or its name: the tables then get its
                counterpart for rows.
            weighting: Weights of the objectives; equal unless said.
            imbalance: What is done about rare positives; nothing unless said.
            surgery: Which way shared variables go when objectives disagree; along the sum unless said.
            bilevel_optimizer: Moves the :meth:`bilevel_variables` on validation batches, so that
                training takes pairs of batches; without it they stay as they are.
            representation_columns: Whether gradients that are compared on what :meth:`embed` gives count in
                ``all`` columns or in the ``learnt`` ones, with a trained variable behind them.
            batch_norm_statistics: On several devices, whose rows a step is normalised by: those of all,
                ``global``, or each device by its own, ``local``.
            **keras_options: Such as ``steps_per_execution``.
        """
        self.build()
        self.imbalance = imbalance or Imbalance()
        objectives = self.training_objectives()
        self.weighting = weighting or Equal({o.name: o.kind for o in objectives})
        self.surgery, self.bilevel_optimizer = surgery, bilevel_optimizer
        self.representation_columns = representation_columns
        for layer in self._flatten_layers():
            if isinstance(layer, BatchNormalization):
                layer.statistics = batch_norm_statistics
        self.strategies = strategies_of(self)
        watched = [name for strategy in self.strategies for name in strategy.watched]
        self.means = StepMeans(objectives, self.weighting.needs_norms, watched)
        expected = tuple(objective.name for objective in objectives)
        if self.weighting.names != expected:
            raise ValueError(
                f"the weighting is for {', '.join(self.weighting.names)}, "
                f"but the objectives are {', '.join(expected)}."
            )
        optimizer = with_rows(keras.optimizers.get(optimizer))
        split_of(optimizer).summed_before = True
        split_of(optimizer).take_turns([variables for _, variables in self.alternating_steps()])
        super().compile(optimizer=optimizer, jit_compile=False, **keras_options)
        self.optimizer.build(self.trainable_variables)
        if bilevel_optimizer is not None:
            bilevel_optimizer.build(self.bilevel_variables())
            summed_before(bilevel_optimizer)

    def apply_deferred_updates(self) -> None:
        """Makes the moves that rows of tables have put off until they are looked up; few optimizers do."""
        if self.compiled:
            split_of(self.optimizer).apply_deferred_updates()

    def evaluate(self, *args, **kwargs):
        """See `keras.Model.evaluate`; rows make their deferred moves first."""
        self.apply_deferred_updates()
        return super().evaluate(*args, **kwargs)

    def predict(self, x: Any, batch_size: int | None = None, **kwargs: Any) -> Any:
        """Probabilities (values of a regression) by task.

        Args:
            x: Raw rows: a frame of pandas or polars, an arrow table, or ``{column: array}``, for a model that
                knows the data of its features. Or encoded ones, ``{"ids", "numeric"}``, as arrays or batches.
            batch_size: Rows in a step.
            **kwargs: See `keras.Model.predict`.

        Returns:
            A frame of the kind of the rows, with a column a task; of encoded rows ``{task: array}``.

        Raises:
            ValueError: A column is missing, or an entry cannot be read.
        """
        inputs, reader = self._encoded(x)
        if reader is not None:
            predicted = self.predict(inputs, batch_size=batch_size or ROWS_PER_STEP, verbose=0)
            return reader.like(x, predicted)
        self.build()
        if isinstance(x, Mapping) and not len(x["ids"]):  # of no rows Keras makes an error of its own
            return self._nothing()
        self.apply_deferred_updates()
        if together(self) is not None or needs_no_loop(self, x, kwargs):
            return self._predict_here(batches_of(x, batch_size) if isinstance(x, Mapping) else x)
        # One batch a call: several would run one after another all the same, and what is left be traced anew.
        several, self.steps_per_execution = self.steps_per_execution, 1
        try:
            with folded(self):
                trace_predictions(self, x)
                return super().predict(x, batch_size=batch_size, **kwargs)
        finally:
            self.steps_per_execution = several

    def logits(self, x: Any, batch_size: int = ROWS_PER_STEP) -> Any:
        """The raw heads by task: logits, and regressions in the unit of a normalizer; not calibrated.

        Args:
            x: Rows, as :meth:`predict` takes them.
            batch_size: Rows in a step.

        Returns:
            As :meth:`predict`.
        """
        inputs, reader = self._encoded(x)
        self.build()
        self.apply_deferred_updates()
        batches = inputs if isinstance(inputs, tf.data.Dataset) else batches_of(inputs, batch_size)
        parts = [self(batch, training=False) for batch in batches]
        heads = {
            task.name: np.concatenate([np.asarray(part[task.name], np.float32) for part in parts])
            for task in self.tasks
        }
        return heads if reader is None else reader.like(x, heads)

    def _predict_here(self, batches: Any) -> dict[str, np.ndarray]:
        """Predictions of this process and device alone; Keras would give all workers the rows of all."""
        if self.prediction is None:
            self.prediction = Prediction(self.predict_step, self.run_eagerly)
        with folded(self):
            return self.prediction(batches) or self._nothing()

    def _nothing(self) -> dict[str, np.ndarray]:
        return {name: np.zeros(0, np.float32) for name in self.served_columns.values()}

    def _encoded(self, x: Any) -> tuple[Any, RowReader | None]:
        """Raw rows encoded, with what read them; encoded rows as they came, and None."""
        reader = self.features.reader
        if isinstance(x, Mapping) and {"ids", "numeric"} <= set(x):
            return x, None
        if reader is not None and reader.reads(x):
            ids, numeric = reader.encode(x)
            return {"ids": ids, "numeric": numeric}, reader
        if isinstance(x, Mapping) or hasattr(x, "columns"):
            raise ValueError(
                f"{type(self).__name__} was made on features that do not know their data, so it cannot "
                "encode rows: make it on those of fm.Dataset, or load a run. Encoded rows are "
                "{'ids', 'numeric'}."
            )
        return x, None

    def predict_on_batch(self, x):
        """See `keras.Model.predict_on_batch`; prepared as :meth:`predict`, whose graph it may run."""
        self.apply_deferred_updates()
        with folded(self):
            return super().predict_on_batch(x)

    @property
    def step(self) -> tf.Tensor:
        """Optimizer steps taken: an int64 scalar, 0 before :meth:`compile`. Checkpoints hold it."""
        if not self.compiled:
            return tf.constant(0, tf.int64)
        return tf.cast(tf.convert_to_tensor(split_of(self.optimizer).iterations), tf.int64)

    @property
    def metrics(self) -> list[keras.Metric]:
        """Means since the last evaluation: losses, weights, what objectives watch, gradient norms."""
        return self.means.metrics

    def train_step(self, data):
        """One step on one batch: ``(inputs, labels)`` or ``(inputs, labels, sample_weight)``.

        A strategy may ask for more: with a bilevel optimizer, the data are a pair of such batches.
        """
        kept = {}
        for strategy in self.strategies:
            data, kept[strategy] = strategy.take(data)
        inputs, labels, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        objectives = self.training_objectives()
        with tf.GradientTape(persistent=any(each.asks_again for each in self.strategies)) as tape:
            with recorded_penalties() as recorded:
                x, heads = self(inputs, training=True, representation=True)
            penalties = self._penalties(recorded)
            losses, rows, shares = self.losses_of(objectives, heads, labels, sample_weight, inputs)
            # Replicas are added up; each has its share of what all of them have in common.
            common = [each / replicas() for each in penalties] if replicas() > 1 else penalties
        scale = self.optimizer.scale_loss(tf.constant(1.0))  # keeps float16 gradients from vanishing
        backward = Backward(tape, shares, common, scale)
        last_layer = [variable.value for variable in self.shared_variables()]
        step = Step(objectives, x, losses, rows, backward, last_layer)
        for strategy in self.strategies:
            strategy.before_weighting(step)
        step.weights = self._reweight(step)
        for strategy, own in kept.items():
            strategy.move(step, own)
        total = sum_in_order([step.weights[name] * losses[name] for name in losses] + penalties)
        for objective in objectives:
            step.watched |= objective.seen(heads, labels, sample_weight)
        return self.means.update(total, losses, rows, step.weights, step.norms, step.watched)

    def test_step(self, data):
        """The losses of one batch, without a step."""
        inputs, labels, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        objectives, heads = self.training_objectives(), self(inputs, training=False)
        losses, rows, _ = self.losses_of(objectives, heads, labels, sample_weight, inputs)
        weights = self._scaled(objectives)
        total = sum_in_order([weights[name] * losses[name] for name in losses])
        return self.means.update(total, losses, rows, weights, None, {})

    def losses_of(self, objectives, heads, labels, sample_weight, inputs) -> Losses:
        """The losses of the objectives on a batch, over the rows of all replicas."""
        labels = self.labels_learnt(labels, inputs)
        return losses_over_replicas(objectives, heads, labels, sample_weight)

    def _penalties(self, recorded: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """All penalties of a forward pass as one, if there are any.

        Raises:
            ValueError: On several replicas, a layer has added one past :func:`add_penalty`.
        """
        found = [*self.losses, *recorded]
        if replicas() > 1:
            kept = [layer.name for layer in self._flatten_layers() if layer._losses]
            if kept:
                raise ValueError(
                    f"layer {kept[0]!r} adds to the loss by add_loss, which mixes up the devices. On "
                    "several, use fuxi_mtl.layers.penalties.add_penalty(layer, value)."
                )
        return [tf.add_n(found)] if found else []

    def labels_learnt(
        self, labels: Mapping[str, tf.Tensor], inputs: Mapping[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """Labels by task as they are learnt: in the unit of a normalizer, or as a decoder has them."""
        units = {task.name: unit_of(task, self.features.label_units) for task in self.tasks}
        return {
            name: self.decoders[name].learnt(label, inputs)
            if name in self.decoders
            else learnt(label, units.get(name))
            for name, label in labels.items()
        }

    def observed(
        self, losses: Mapping[str, tf.Tensor], rows: Mapping[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """Losses as a weighting hears of them: NaN where no row of the batch counts."""
        return {name: tf.where(rows[name] > 0, loss, np.nan) for name, loss in losses.items()}

    def _learnt_parts(self, x: Any) -> tuple[Any, Any]:
        """What :meth:`embed` gave without bare numbers and frozen vectors, and whole, made of that."""
        layers = self.embedding_layers()
        if not isinstance(x, Mapping):
            return layers.learnt_parts(x)
        if not isinstance(layers, Mapping):
            raise ValueError(
                f"representation_columns: learnt needs the embeddings in what {type(self).__name__}.embed "
                "gives: let embedding_layers() return the layer of each part by its name, or use all."
            )
        pairs = {name: layer.learnt_parts(x[name]) for name, layer in layers.items()}
        counts, whole = ({name: pair[i] for name, pair in pairs.items()} for i in (0, 1))
        return {**x, **counts}, {**x, **whole}

    def _reweight(self, step: Step) -> dict[str, tf.Tensor]:
        """Tells the weighting what came and returns the factors of the losses after its update."""
        self.weighting.update(self.observed(step.losses, step.rows), step.norms)
        return self._scaled(step.objectives)

    def _scaled(self, objectives) -> dict[str, tf.Tensor]:
        """The weighting's weights times the objectives' own factors."""
        weights = self.weighting.weights()
        return {o.name: weights[o.name] if o.scale == 1 else o.scale * weights[o.name] for o in objectives}
