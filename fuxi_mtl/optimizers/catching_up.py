"""Adam of rows that ends where dense Adam ends, at the cost of the rows of the batch."""

import math
from collections.abc import Sequence

import keras
import tensorflow as tf

from fuxi_mtl.cluster.replicas import gathered_rows, is_own, replicas
from fuxi_mtl.optimizers.rows import LazyAdam, RowOptimizer

CHUNK = 2**18  # rows that are brought up to date at a time when all are


@keras.saving.register_keras_serializable("fuxi_mtl")
class DenseEquivalentAdam(LazyAdam):
    """Adam whose rows catch up, when they are next looked up, with the moves they have missed.

    Under dense Adam a row that is not in the batch has gradient 0: its moments decay and it coasts on
    them. With ``r = b1 / sqrt(b2)`` and ``rate_i`` the rate of step i after bias correction, a row that
    was last in the batch of step s, with moments m and v, has by step t made the moves ::

        w <- w - m / (sqrt(v) + eps) c(s, t)      c(s, t) = sum_{i = s+1}^{t} rate_i r^(i - s)
        m <- b1^(t-s) m                           v <- b2^(t-s) v

    ``c`` is the same for all rows that were last looked up in one step: a vector with one number a step
    holds it, so any schedule of the rate is followed exactly. A step changes only its last few hundred
    numbers, as r^(i - s) vanishes.

    Differs from dense Adam by where epsilon stands: dense Adam moves by ``rate m b1^k / (sqrt(v b2^k) +
    eps)``, this class by ``rate m b1^k / ((sqrt(v) + eps) sqrt(b2^k))``, since only so the sum is the same
    for every row. A missed move is larger by a factor of ``b2^(-k/2)`` at most, and only where epsilon
    outweighs sqrt(v): half a percent of what a row coasts, at Keras's defaults.

    Rows must be brought up to date before they are read: :meth:`before_lookup` for those of a batch,
    :meth:`apply_deferred_updates` for all of them, before evaluation; in plain Keras :class:`DeferredUpdates`
    sees to it. On several devices those of the whole batch are brought up to date on each, so that all have
    the same table; of a table that is spread over workers each has the rows that any of them asks for.

    Args:
        steps: After how many steps all rows catch up, unless they did before: the length of c.
        **options: Those of :class:`LazyAdam`.

    Raises:
        ValueError: ``beta_1 >= sqrt(beta_2)``, under which rows would coast for ever.

    >>> import keras
    >>> from fuxi_mtl.optimizers import SplitOptimizer
    >>> optimizer = SplitOptimizer(keras.optimizers.Adam(0.1), DenseEquivalentAdam(1e-3))
    >>> type(optimizer.rows).__name__
    'DenseEquivalentAdam'
    """

    moves_tables_only = True

    def __init__(self, *args, steps: int = 2**14, **options):
        super().__init__(*args, **options)
        ratio = self.beta_1 / math.sqrt(self.beta_2)
        if ratio >= 1:
            raise ValueError(
                f"beta_1 is {self.beta_1} and beta_2 {self.beta_2}: "
                "catching up needs beta_1 below sqrt(beta_2)."
            )
        self.steps = steps
        self.ratio = ratio
        # Beyond this many steps a row no longer moves in float32.
        self.reach = max(1, math.ceil(math.log(1e-9) / math.log(ratio))) if ratio else 1

    def get_config(self):
        """That of lazy Adam, and `steps`."""
        return {**super().get_config(), "steps": self.steps}

    def build(self, var_list):
        """Creates the moments, the step in which each row was last up to date, and c."""
        if self.built:
            return
        super().build(var_list)
        # Steps count from the last time that all rows caught up, in which float32 is exact.
        self._now = self.add_variable((), "zeros", name="now")
        self._coasts = self.add_variable((self.steps,), "zeros", name="coasts")
        self._lasts = [
            self.add_row_variable(variable, "zeros", f"last_{i}") for i, variable in enumerate(var_list)
        ]

    def row_slots(self, index):
        """Both moments, and the step in which they were up to date."""
        return [*super().row_slots(index), self._lasts[index]]

    def step(self, rows, gradient, square, slots, rate):
        """Adam's step on rows that are up to date."""
        rows, moments = super().step(rows, gradient, square, slots[:2], rate)
        return rows, [*moments, tf.zeros_like(slots[2]) + self._now + 1]

    def update_step(self, gradient, variable, learning_rate):
        """One step on one variable; see `keras.optimizers.Optimizer`."""
        super().update_step(gradient, variable, learning_rate)
        if not isinstance(gradient, tf.IndexedSlices):
            last = self._lasts[self._get_variable_index(variable)]
            last.assign(tf.zeros_like(last) + self._now + 1)

    def apply(self, grads, trainable_variables=None):
        """One step; see `keras.optimizers.Optimizer`."""
        rate = self.corrected(tf.cast(self.learning_rate, tf.float32))
        super().apply(grads, trainable_variables)
        now = tf.cast(self._now.value, tf.int32) + 1
        since = tf.range(tf.maximum(now - self.reach, 0), now)
        travelled = rate * tf.pow(self.ratio, tf.cast(now - since, tf.float32))
        self._coasts.value.scatter_add(tf.IndexedSlices(travelled, since))
        self._now.assign_add(1.0)
        tf.cond(now + 1 >= self.steps, self._catch_up_all, lambda: False)

    def before_lookup(self, variable: keras.Variable, rows: tf.Tensor) -> None:
        """Makes the moves that some rows have missed.

        Args:
            variable: A table.
            rows: Their numbers, in any shape and as often as may be.
        """
        rows = tf.unique(tf.reshape(rows, [-1])).y
        if replicas() > 1 and not is_own(variable):
            rows = tf.unique(gathered_rows(rows)).y
        self._catch_up(variable, rows)

    def apply_deferred_updates(self) -> None:
        """Makes the moves that any row has missed; free if there was no step since the last time."""
        tf.cond(self._now.value > 0, self._catch_up_all, lambda: False)

    def _catch_up_all(self) -> bool:
        for variable, last in zip(self._trainable_variables, self._lasts, strict=True):
            count = variable.shape[0]

            def chunk(start, variable=variable, count=count):
                self._catch_up(variable, tf.range(start, tf.minimum(start + CHUNK, count)))
                return [start + CHUNK]

            tf.while_loop(lambda start, count=count: start < count, chunk, [tf.constant(0)])
            last.assign(tf.zeros_like(last))
        self._coasts.assign(tf.zeros_like(self._coasts))
        self._now.assign(0.0)
        return True

    def _catch_up(self, variable: keras.Variable, indices: tf.Tensor) -> None:
        slots = [slot.value for slot in self.row_slots(self._get_variable_index(variable))]
        held = [tf.gather(each, indices) for each in (variable.value, *slots)]
        for each, moved in zip((variable.value, *slots), self._caught_up(held), strict=True):
            each.scatter_update(tf.IndexedSlices(moved, indices))

    def _caught_up(self, held: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        rows, first, second, last = held
        missed = self._now - last
        coast = tf.gather(self._coasts.value, tf.cast(last, tf.int32))
        rows -= coast * first / (tf.sqrt(second) + self.epsilon)
        first *= tf.pow(self.beta_1, missed)
        second *= tf.pow(self.beta_2, missed)
        return [rows, first, second, tf.zeros_like(last) + self._now]


class DeferredUpdates(keras.callbacks.Callback):
    """Makes all deferred moves of rows before a plain Keras model is evaluated or predicts, and after fit.

    For models of :class:`~fuxi_mtl.model.MultiTaskModel` it is not needed.

    >>> callbacks = [DeferredUpdates()]  # of fit, evaluate and predict
    """

    def on_test_begin(self, logs=None):
        """See the class."""
        self._apply()

    def on_predict_begin(self, logs=None):
        """See the class."""
        self._apply()

    def on_train_end(self, logs=None):
        """See the class."""
        self._apply()

    def _apply(self) -> None:
        optimizer = self.model.optimizer
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # of one that scales losses
        if isinstance(optimizer, RowOptimizer) or hasattr(optimizer, "rows"):
            optimizer.apply_deferred_updates()
