"""A pair of optimizers behind one face: one for the tables, another for everything else."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from fuxi_mtl.cluster.replicas import Gradient, global_gradients, global_sum, is_own, replicas
from fuxi_mtl.layers import lookup_of
from fuxi_mtl.optimizers.dense import by_few_operations
from fuxi_mtl.optimizers.rows import LazyAdam, RowAdagrad, RowFtrl, RowOptimizer, RowSGD, sum_duplicates

_COUNTERPARTS = {
    keras.optimizers.Adagrad: RowAdagrad,
    keras.optimizers.SGD: RowSGD,
    keras.optimizers.Ftrl: RowFtrl,
}


def row_counterpart(dense: keras.optimizers.Optimizer) -> type[RowOptimizer]:
    """The optimizer of the tables beside a Keras optimizer of the rest.

    Adagrad, SGD and FTRL have their own; lazy Adam stands beside Adam and all of its kin.
    """
    return next((rows for kind, rows in _COUNTERPARTS.items() if isinstance(dense, kind)), LazyAdam)


def rate_of(optimizer: keras.optimizers.Optimizer) -> float:
    """The learning rate as a number, on however many devices it lies."""
    return float(keras.ops.convert_to_numpy(optimizer.learning_rate))


def schedule_of(optimizer: keras.optimizers.Optimizer):
    """The learning rate as another optimizer may have it: its schedule, or else a number."""
    rate = optimizer._learning_rate  # the property gives the schedule's value of now
    return rate if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule) else rate_of(optimizer)


def is_scheduled(optimizer: keras.optimizers.Optimizer) -> bool:
    """Whether the learning rate follows a schedule, which no callback may change."""
    dense = getattr(split_of(optimizer), "dense", optimizer)
    return isinstance(dense._learning_rate, keras.optimizers.schedules.LearningRateSchedule)


def split_of(optimizer: keras.optimizers.Optimizer) -> "SplitOptimizer":
    """The pair inside an optimizer that may scale losses."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def summed_before(optimizer: keras.optimizers.Optimizer) -> None:
    """Has an optimizer take gradients as they are: those of all replicas, and not one replica's."""
    optimizer._all_reduce_sum_gradients = list


def with_rows(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """The optimizer with one of rows beside it for the tables; Keras's own would be wrong and slow.

    >>> import keras
    >>> type(with_rows(keras.optimizers.SGD(0.1)).rows).__name__
    'RowSGD'
    """
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        optimizer.inner_optimizer = with_rows(optimizer.inner_optimizer)
        return optimizer
    if isinstance(optimizer, SplitOptimizer):
        return optimizer
    rows = row_counterpart(optimizer)(schedule_of(optimizer))
    return SplitOptimizer(optimizer, rows, optimizer.global_clipnorm)


@keras.saving.register_keras_serializable("fuxi_mtl")
class SplitOptimizer(keras.optimizers.Optimizer):
    """Gives tables to a :class:`RowOptimizer` and all other variables to a Keras optimizer.

    Tables are the variables of a :class:`~fuxi_mtl.layers.FeatureEmbedding`: they say so themselves
    (:class:`~fuxi_mtl.layers.Lookup`), so that the optimizer finds them in any Keras model and after loading.
    Gradients of tables are summed by row first, the regularizer of the rows of the batch is added, and
    all gradients together are clipped by one global norm. Weight decay reaches kernels only: not tables, and
    no variable of one axis, which is a bias or the gain of a norm. To Keras it is one optimizer: one learning
    rate that callbacks may set (that of the tables keeps its ratio), one count of steps, one list of
    variables; a `keras.optimizers.LossScaleOptimizer` may stand around it.

    On several replicas gradients are summed over them before they are clipped and penalised, rows of tables
    as rows; a step that has done so itself (:meth:`over_replicas`) says it by :attr:`summed_before`.

    The one count of steps is that of every schedule, also in a step without a gradient of any table. It is
    that of Adam's bias correction, too, unless variables are moved in different steps: :meth:`take_turns`.

    Args:
        dense: Moves everything but the tables.
        rows: Moves the tables.
        global_clipnorm: Largest global norm of all gradients; None does not clip.
        clips_tables: False neither counts nor clips the gradients of tables.
        name: Name of the optimizer.

    >>> import keras
    >>> from fuxi_mtl.optimizers import LazyAdam
    >>> optimizer = SplitOptimizer(keras.optimizers.AdamW(1e-3), LazyAdam(1e-2), global_clipnorm=10.0)
    >>> SplitOptimizer.from_config(optimizer.get_config()).rows.get_config()["second_moment"]
    'squared_sum'
    """

    def __init__(
        self,
        dense: keras.optimizers.Optimizer,
        rows: RowOptimizer,
        global_clipnorm: float | None = None,
        clips_tables: bool = True,
        name: str = "split_optimizer",
    ):
        super().__init__(learning_rate=0.0, global_clipnorm=global_clipnorm, name=name)
        self.dense = dense
        self.rows = rows
        self.clips_tables = clips_tables
        rate = rate_of(dense)
        self.ratio = rate_of(rows) / rate if rate else 1.0
        # Summed here already, unless single squares come together in the step.
        self.sums = rows.second_moment == "squared_sum"
        self.summed_before = False
        self.pairs: dict[str, tuple[keras.optimizers.Optimizer, RowOptimizer]] = {}
        self._turns: dict[int, str] = {}

    def take_turns(self, turns: Sequence[Sequence[keras.Variable]]) -> None:
        """Has variables that are moved in different steps count their own updates; before :meth:`build`.

        Variables of the same turns get a pair of optimizers of their own, like this one but for its slots and
        its count, from which Adam corrects the bias of moments. The rate of all follows the common count.

        Checkpoints hold the state of every turn; a ``.keras`` file does not.

        Args:
            turns: The variables of each; no turn leaves all as it is.
        """
        of: dict[int, list[str]] = {}
        for number, variables in enumerate(turns):
            for variable in variables:
                of.setdefault(id(variable), []).append(str(number))
        self._turns = {key: "+".join(numbers) for key, numbers in of.items()}

    def build(self, variables):
        """Creates the slots of both."""
        if self.built:
            return
        super().build(variables)
        for name in dict.fromkeys(map(self._pair_of, variables)):
            dense, rows = self.dense, self.rows
            if name:
                dense, rows = _follower(dense), _follower(rows)
            self.pairs[name] = dense, rows
            mine = [v for v in variables if self._pair_of(v) == name]
            others = [v for v in mine if lookup_of(v) is None]
            dense.exclude_from_weight_decay([v for v in others if len(v.shape) < 2])
            dense.build(others)
            by_few_operations(dense)
            rows.penalised_before, rows.repeated = True, not self.sums
            for each in (dense, rows):
                summed_before(each)
            rows.build([v for v in mine if lookup_of(v) is not None])

    def _pair_of(self, variable: keras.Variable) -> str:
        """The name of the pair that moves a variable."""
        return self._turns.get(id(variable), "none") if self._turns else ""

    def get_config(self) -> dict[str, Any]:
        """Both optimizers as Keras serializes them."""
        return {
            "name": self.name,
            "dense": keras.optimizers.serialize(self.dense),
            "rows": keras.optimizers.serialize(self.rows),
            "global_clipnorm": self.global_clipnorm,
            "clips_tables": self.clips_tables,
        }

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], custom_objects: Mapping | None = None
    ) -> "SplitOptimizer":
        """The optimizer of such a configuration, without slots."""
        both = {
            part: keras.optimizers.deserialize(config[part], custom_objects) for part in ("dense", "rows")
        }
        return cls(**{**config, **both})

    def save_own_variables(self, store) -> None:
        """Nothing: Keras saves both optimizers."""

    def load_own_variables(self, store) -> None:
        """Nothing."""

    @property
    def variables(self) -> list[keras.Variable]:
        """The state of both, and of those of single turns."""
        own = {id(each): each for pair in [(self.dense, self.rows), *self.pairs.values()] for each in pair}
        return [variable for each in own.values() for variable in each.variables]

    @property
    def iterations(self):
        """Steps taken."""
        return self.dense.iterations

    @property
    def learning_rate(self):
        """Of everything but the tables."""
        return self.dense.learning_rate

    @learning_rate.setter
    def learning_rate(self, value):
        self.dense.learning_rate = value
        self.rows.learning_rate = value * self.ratio

    def apply(self, grads, trainable_variables=None):
        """One step; see `keras.optimizers.Optimizer`."""
        variables = self._trainable_variables if trainable_variables is None else list(trainable_variables)
        self.build(variables)
        grads, variables = self._filter_empty_gradients(grads, variables)
        if not self.summed_before:
            grads = self.over_replicas(grads, variables)
        grads, norms = self._by_row(grads, variables)
        grads = self._clipped(grads, norms, variables)
        moved: dict[keras.optimizers.Optimizer, list] = {}
        for gradient, variable in zip(grads, variables, strict=True):
            dense, rows = self.pairs[self._pair_of(variable)]
            mover = dense if lookup_of(variable) is None else rows
            moved.setdefault(mover, []).append((gradient, variable))
        for optimizer, pairs in moved.items():
            optimizer.apply_gradients(pairs)
        for optimizer in (self.dense, self.rows):
            if optimizer not in moved:
                optimizer.iterations.assign_add(1)

    def over_replicas(
        self, gradients: Sequence[Gradient], variables: Sequence[keras.Variable]
    ) -> list[Gradient]:
        """The gradients of all replicas, of which these are one's; its rows are summed before they travel.

        Those of a table that is spread over replicas are of all rows already. If one of them is not finite,
        none is anywhere, so that a step is skipped by all or by none.
        """
        if replicas() == 1:
            return list(gradients)
        found: list[Any] = [
            sum_duplicates(g) if self.sums and isinstance(g, tf.IndexedSlices) else g for g in gradients
        ]
        spread = [at for at, each in enumerate(variables) if is_own(each) and found[at] is not None]
        if not spread:
            return global_gradients(found)
        flaw = tf.add_n([0 * tf.reduce_sum(found[at].values) for at in spread])  # zero, or NaN
        *found, flaw = global_gradients([*found, flaw], variables)
        for at in spread:
            found[at] = tf.IndexedSlices(found[at].values + flaw, found[at].indices, found[at].dense_shape)
        return found

    def apply_deferred_updates(self) -> None:
        """Makes the moves that rows of tables have put off; see :class:`RowOptimizer`."""
        if self.built:
            for _, rows in self.pairs.values():
                rows.apply_deferred_updates()

    def _clipped(self, grads: list, norms: list[tf.Tensor], variables: Sequence[keras.Variable]) -> list:
        """The gradients, those that are clipped scaled so that their global norm is not above the largest."""
        counts = [self.clips_tables or lookup_of(v) is None for v in variables]
        if not self.global_clipnorm or not any(counts):
            return grads
        pairs = zip(norms, variables, strict=True)
        norm = _global_norm([pair for pair, count in zip(pairs, counts, strict=True) if count])
        factor = self.global_clipnorm / tf.maximum(norm, self.global_clipnorm)
        return [_times(g, factor) if count else g for g, count in zip(grads, counts, strict=True)]

    def _by_row(self, grads: Sequence, variables: Sequence[keras.Variable]) -> tuple[list, list[tf.Tensor]]:
        """The gradients with those of tables by row and penalised, and the values whose norm counts."""
        result: list = []
        norms: list[tf.Tensor] = []
        for gradient, variable in zip(grads, variables, strict=True):
            if not isinstance(gradient, tf.IndexedSlices):
                result.append(gradient)
                norms.append(gradient)
                continue
            summed, parts = sum_duplicates(gradient), [gradient]
            lookup = lookup_of(variable)
            if lookup is not None and lookup.penalty is not None:
                added = lookup.penalty(tf.gather(variable.value, summed.indices))
                parts.append(tf.IndexedSlices(added, summed.indices))
                summed = tf.IndexedSlices(summed.values + added, summed.indices, summed.dense_shape)
            result.append(summed if self.sums else _joined(parts))
            norms.append(summed.values)
        return result, norms


def _follower(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """The same optimizer without slots and with a count of its own, always at the rate of the first."""
    config = {**optimizer.get_config(), "learning_rate": lambda: optimizer.learning_rate}
    return type(optimizer).from_config(config)


def _joined(parts: Sequence[tf.IndexedSlices]) -> tf.IndexedSlices:
    values = tf.concat([part.values for part in parts], axis=0)
    return tf.IndexedSlices(values, tf.concat([part.indices for part in parts], axis=0), parts[0].dense_shape)


def _global_norm(values: Sequence[tuple[tf.Tensor, keras.Variable]]) -> tf.Tensor:
    """The norm of gradients of some variables; the squares of rows that are spread over workers add up."""
    everywhere = [value for value, variable in values if not is_own(variable)]
    spread = [value for value, variable in values if is_own(variable)]
    norm = tf.linalg.global_norm(everywhere) if everywhere else tf.constant(0.0)
    if not spread:
        return norm
    return tf.sqrt(tf.square(norm) + global_sum(tf.square(tf.linalg.global_norm(spread))))


def _times(gradient: tf.Tensor | tf.IndexedSlices, factor: tf.Tensor) -> tf.Tensor | tf.IndexedSlices:
    if isinstance(gradient, tf.IndexedSlices):
        return tf.IndexedSlices(gradient.values * factor, gradient.indices, gradient.dense_shape)
    return gradient * factor
