"""Optimizers that touch only the table rows of a batch.

The gradient of an embedding table is a `tf.IndexedSlices`: one row a lookup, the same id as often as
it was looked up. Keras optimizers square such rows before they are summed, which is wrong, and decay
the moments of every row of the table, which costs time in proportion to the vocabulary.

Each class here is Keras's own for dense gradients. For slices it sums what belongs to one row, gathers
the row and its slots, takes one step, and scatters them back: a row that is not in the batch keeps its
value and its slots to the last bit.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import keras
import tensorflow as tf
from keras.src.backend.tensorflow.optimizer import TFOptimizer

from fuxi_mtl.cluster.replicas import is_own, own_variables
from fuxi_mtl.cluster.row_sums import row_sums
from fuxi_mtl.layers import lookup_of
from fuxi_mtl.options.optimizer import SECOND_MOMENTS


def sum_duplicates(gradient: tf.IndexedSlices) -> tf.IndexedSlices:
    """The same gradient with every row named once."""
    indices, position = tf.unique(gradient.indices)
    values = row_sums(gradient.values, position, tf.size(indices))
    return tf.IndexedSlices(values, indices, gradient.dense_shape)


class _Filled(keras.initializers.Constant):
    """The same values at once: Keras's own multiplies as many ones, and what they took is not given back."""

    def __call__(self, shape, dtype=None):
        return tf.fill(shape, tf.cast(self.value, dtype or "float32"))


class RowOptimizer(keras.optimizers.Optimizer):
    """A Keras optimizer whose sparse gradients move only the rows they name.

    Stands before a Keras optimizer in the bases of a class, which gives :meth:`row_slots` and
    :meth:`step`.

    Args:
        second_moment: The square of a row that was looked up n times, with gradients ``g_1 ... g_n``:
            ``squared_sum`` is ``(g_1 + ... + g_n)^2``, that of the batch's gradient, as a dense optimizer
            has it; ``sum_of_squares`` is ``g_1^2 + ... + g_n^2``, smaller for rows of one sign.
        **keras_options: Those of the Keras optimizer.

    Attributes:
        moves_tables_only: Whether it cannot move what is no table.
        penalised_before: Whether gradients have the penalty of their rows already.
        repeated: Whether a gradient may name a row twice; False spares the search for duplicates.
        before_lookup: What must be told the table and its rows before training reads them, or None.

    Raises:
        ValueError: Unknown `second_moment`; or, alone in a model, it meets what only a
            :class:`~fuxi_mtl.optimizers.SplitOptimizer` can do: tables with a penalty, or variables that
            are no tables.

    >>> class SignDescent(RowOptimizer, keras.optimizers.SGD):
    ...     def row_slots(self, index):
    ...         return []
    ...
    ...     def step(self, rows, gradient, square, slots, rate):
    ...         return rows - rate * tf.sign(gradient), []
    >>> rows = keras.Variable([[1.0], [1.0]])
    >>> gradient = tf.IndexedSlices(tf.constant([[3.0], [4.0]]), tf.constant([1, 1]), tf.constant([2, 1]))
    >>> _ = SignDescent(0.5).apply_gradients([(gradient, rows)])
    >>> rows.numpy().tolist()
    [[1.0], [0.5]]
    """

    before_lookup: Callable[[keras.Variable, tf.Tensor], None] | None = None
    moves_tables_only = False

    def __init__(self, *args, second_moment: str = "squared_sum", **keras_options):
        super().__init__(*args, **keras_options)
        if second_moment not in SECOND_MOMENTS:
            raise ValueError(
                f"second_moment is {second_moment!r}. It may be one of: {', '.join(SECOND_MOMENTS)}."
            )
        self.second_moment = second_moment
        self.repeated = True
        self.penalised_before = False

    def build(self, var_list):
        """Creates the slots, and has lookups in tables told what they must be told."""
        if not self.built:
            self.meet(var_list)
        super().build(var_list)

    def meet(self, variables: Sequence[keras.Variable]) -> None:
        """Checks that it can move some variables, and has their lookups told what they must be told."""
        lookups = [lookup for lookup in map(lookup_of, variables) if lookup is not None]
        unable = None
        if self.moves_tables_only and any(len(variable.shape) != 2 for variable in variables):
            unable = "moves tables only"
        if not self.penalised_before and any(lookup.penalty is not None for lookup in lookups):
            unable = "does not add the penalty of embedding rows"
        if unable:
            name = type(self).__name__
            raise ValueError(f"{name} alone {unable}. Use SplitOptimizer(dense, {name}(...)).")
        for lookup in lookups:
            lookup.before = self.before_lookup
            lookup.distinct = self.second_moment == "squared_sum"

    def add_variable_from_reference(self, reference_variable, name=None, initializer="zeros"):
        """See `keras.optimizers.Optimizer`; the slot of rows that one worker has lies beside them."""
        if isinstance(initializer, keras.initializers.Constant):
            initializer = _Filled(initializer.value)
        if not is_own(reference_variable):
            return super().add_variable_from_reference(reference_variable, name, initializer)
        with own_variables():  # past what asks the strategy, which does not know the variable
            return super(TFOptimizer, self).add_variable_from_reference(reference_variable, name, initializer)

    def add_row_variable(self, variable: keras.Variable, initializer: Any, name: str) -> keras.Variable:
        """A slot with one number for each row of a variable, and beside it."""
        with own_variables() if is_own(variable) else nullcontext():
            return self.add_variable((variable.shape[0], 1), initializer, name=name)

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        """Keras's own, but for rows of one worker, which the strategy cannot update."""
        pairs = list(zip(grads, trainable_variables, strict=True))
        for gradient, variable in pairs:
            if is_own(variable):
                self.update_step(gradient, variable.value, learning_rate)
        others = [(gradient, variable) for gradient, variable in pairs if not is_own(variable)]
        if others:
            super()._backend_update_step(*map(list, zip(*others, strict=True)), learning_rate)

    def get_config(self) -> dict[str, Any]:
        """Keras's own, and `second_moment`."""
        return {**super().get_config(), "second_moment": self.second_moment}

    def row_slots(self, index: int) -> list[keras.Variable]:
        """The slots of the variable at a position, a row for each of its rows."""
        raise NotImplementedError

    def step(
        self,
        rows: tf.Tensor,
        gradient: tf.Tensor,
        square: tf.Tensor,
        slots: Sequence[tf.Tensor],
        rate: tf.Tensor,
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """One step of some rows.

        Args:
            rows: ``(rows, width)``, as they are.
            gradient: ``(rows, width)``.
            square: ``(rows, width)``, the gradient's square in the sense of `second_moment`.
            slots: The slots of these rows.
            rate: Learning rate.

        Returns:
            The rows and their slots after the step.
        """
        raise NotImplementedError

    def apply_deferred_updates(self) -> None:
        """Makes the moves that rows have put off, before all are read; most optimizers put off none."""

    def update_step(self, gradient, variable, learning_rate):
        """One step on one variable; see `keras.optimizers.Optimizer`."""
        if not isinstance(gradient, tf.IndexedSlices):
            super().update_step(gradient, variable, learning_rate)
            return
        values = tf.cast(gradient.values, variable.dtype)
        indices, square = gradient.indices, tf.square(values)
        if self.repeated:
            indices, position = tf.unique(indices)
            values = row_sums(values, position, tf.size(indices))
            if self.second_moment == "sum_of_squares":
                square = row_sums(square, position, tf.size(indices))
            else:
                square = tf.square(values)
        slots = [slot.value for slot in self.row_slots(self._get_variable_index(variable))]
        held = [tf.gather(each, indices) for each in (variable, *slots)]
        rate = tf.cast(learning_rate, variable.dtype)
        rows, stepped = self.step(held[0], values, square, held[1:], rate)
        for each, moved in zip((variable, *slots), (rows, *stepped), strict=True):
            each.scatter_update(tf.IndexedSlices(moved, indices))


@keras.saving.register_keras_serializable("fuxi_mtl")
class LazyAdam(RowOptimizer, keras.optimizers.Adam):
    """Adam (Kingma and Ba, ICLR 2015, algorithm 1); the bias correction counts the steps of the table.

    ``m <- b1 m + (1 - b1) g``, ``v <- b2 v + (1 - b2) g^2``,
    ``w <- w - rate sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + eps)``. A row in every batch moves as under
    Adam. Between two batches that have it a row stands still, where Adam would let it coast on ``m``;
    :class:`~fuxi_mtl.optimizers.catching_up.DenseEquivalentAdam` makes up for it.

    >>> import keras
    >>> import tensorflow as tf
    >>> rows = keras.Variable([[1.0], [1.0]])
    >>> gradient = tf.IndexedSlices(tf.constant([[3.0], [1.0]]), tf.constant([1, 1]), tf.constant([2, 1]))
    >>> _ = LazyAdam(0.5).apply_gradients([(gradient, rows)])
    >>> rows.numpy().round(4).tolist()
    [[1.0], [0.5]]
    """

    def row_slots(self, index):
        """Both moments."""
        return [self._momentums[index], self._velocities[index]]

    def step(self, rows, gradient, square, slots, rate):
        """See the class."""
        rate = self.corrected(rate)
        first = self.beta_1 * slots[0] + (1 - self.beta_1) * gradient
        second = self.beta_2 * slots[1] + (1 - self.beta_2) * square
        return rows - rate * first / (tf.sqrt(second) + self.epsilon), [first, second]

    def corrected(self, rate: tf.Tensor) -> tf.Tensor:
        """The rate of the next step after the correction of both moments' bias."""
        time = tf.cast(self.iterations + 1, rate.dtype)
        return rate * tf.sqrt(1 - tf.pow(self.beta_2, time)) / (1 - tf.pow(self.beta_1, time))


@keras.saving.register_keras_serializable("fuxi_mtl")
class RowAdagrad(RowOptimizer, keras.optimizers.Adagrad):
    """Adagrad (Duchi et al., JMLR 2011): ``a <- a + g^2``, ``w <- w - rate g / sqrt(a + eps)``; as if dense.

    >>> import keras
    >>> from fuxi_mtl.optimizers import SplitOptimizer
    >>> optimizer = SplitOptimizer(keras.optimizers.Adagrad(0.1), RowAdagrad(0.1))
    >>> type(optimizer.rows).__name__
    'RowAdagrad'
    """

    def row_slots(self, index):
        """The sums of squares."""
        return [self._accumulators[index]]

    def step(self, rows, gradient, square, slots, rate):
        """See the class."""
        accumulator = slots[0] + square
        return rows - rate * gradient / tf.sqrt(accumulator + self.epsilon), [accumulator]


@keras.saving.register_keras_serializable("fuxi_mtl")
class RowWiseAdagrad(RowAdagrad):
    """Adagrad with one number a row: ``a <- a + mean(g^2)``, ``w <- w - rate g / sqrt(a + eps)``.

    Its slots take 1/width of Adagrad's memory (Gupta et al., "Training recommender systems at scale").

    >>> import keras
    >>> from fuxi_mtl.optimizers import SplitOptimizer
    >>> optimizer = SplitOptimizer(keras.optimizers.Adam(0.1), RowWiseAdagrad(0.1))
    >>> type(optimizer.rows).__name__
    'RowWiseAdagrad'
    """

    moves_tables_only = True

    def build(self, var_list):
        """Creates one slot a row of each table."""
        if self.built:
            return
        self.meet(var_list)
        keras.optimizers.Optimizer.build(self, var_list)
        initial = _Filled(self.initial_accumulator_value)
        self._accumulators = [
            self.add_row_variable(variable, initial, f"accumulator_{i}")
            for i, variable in enumerate(var_list)
        ]

    def step(self, rows, gradient, square, slots, rate):
        """See the class."""
        return super().step(rows, gradient, tf.reduce_mean(square, axis=1, keepdims=True), slots, rate)


@keras.saving.register_keras_serializable("fuxi_mtl")
class RowSGD(RowOptimizer, keras.optimizers.SGD):
    """``w <- w - rate g``, without momentum; the same as dense descent.

    >>> import keras
    >>> from fuxi_mtl.optimizers import SplitOptimizer
    >>> optimizer = SplitOptimizer(keras.optimizers.SGD(0.1), RowSGD(0.1))
    >>> type(optimizer.rows).__name__
    'RowSGD'
    """

    def row_slots(self, index):
        """None."""
        return []

    def step(self, rows, gradient, square, slots, rate):
        """See the class."""
        return rows - rate * gradient, []


@keras.saving.register_keras_serializable("fuxi_mtl")
class RowFtrl(RowOptimizer, keras.optimizers.Ftrl):
    """FTRL-proximal (McMahan et al., KDD 2013, algorithm 1): rows with little evidence become zero.

    ``n <- n + g^2``, ``z <- z + g - (sqrt(n_new) - sqrt(n)) / rate w``, then ``w = 0`` where
    ``|z| <= l1``, else ``-(z - sign(z) l1) / ((beta + sqrt(n_new)) / rate + 2 l2)``. The same as dense FTRL.

    >>> import keras
    >>> from fuxi_mtl.optimizers import SplitOptimizer
    >>> optimizer = SplitOptimizer(keras.optimizers.Ftrl(0.1), RowFtrl(0.1, l1_regularization_strength=1e-3))
    >>> type(optimizer.rows).__name__
    'RowFtrl'
    """

    def row_slots(self, index):
        """The sums of squares and the linear terms."""
        return [self._accumulators[index], self._linears[index]]

    def step(self, rows, gradient, square, slots, rate):
        """See the class."""
        accumulator = slots[0] + square
        sigma = (tf.sqrt(accumulator) - tf.sqrt(slots[0])) / rate
        linear = slots[1] + gradient - sigma * rows
        quadratic = (self.beta + tf.sqrt(accumulator)) / rate + 2 * self.l2_regularization_strength
        l1 = self.l1_regularization_strength
        return (tf.clip_by_value(linear, -l1, l1) - linear) / quadratic, [accumulator, linear]
