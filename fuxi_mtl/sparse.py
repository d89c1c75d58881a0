"""Updates that touch only the table rows of the batch.

The gradient of an embedding table is a `tf.IndexedSlices`: one row a lookup, the same id as often as
it was looked up. Keras optimizers square such rows before they are summed, which is wrong, and decay
the moments of every row of the table, which costs time in proportion to the vocabulary.
"""

import keras
import tensorflow as tf


def sum_duplicates(gradient: tf.IndexedSlices) -> tf.IndexedSlices:
    """The same gradient with every row named once."""
    indices, position = tf.unique(gradient.indices)
    values = tf.math.unsorted_segment_sum(gradient.values, position, tf.size(indices))
    return tf.IndexedSlices(values, indices, gradient.dense_shape)


class LazyAdam(keras.optimizers.Adam):
    """Adam whose sparse gradients move only the rows they name.

    A row that is not in the batch keeps its value and its moments; the bias correction counts all
    steps. A row that is in every batch moves as under Adam. Dense gradients are Adam's own.
    """

    def update_step(self, gradient, variable, learning_rate):
        """One step on one variable; see `keras.optimizers.Optimizer`."""
        if not isinstance(gradient, tf.IndexedSlices):
            super().update_step(gradient, variable, learning_rate)
            return
        # Under tf.distribute the replicas' slices were joined: the same row may come twice again.
        gradient = sum_duplicates(gradient)
        rows, values = gradient.indices, tf.cast(gradient.values, variable.dtype)
        step = tf.cast(self.iterations + 1, variable.dtype)
        rate = tf.cast(learning_rate, variable.dtype)
        rate *= tf.sqrt(1 - tf.pow(self.beta_2, step)) / (1 - tf.pow(self.beta_1, step))
        index = self._get_variable_index(variable)
        first = self._moment(self._momentums[index], rows, values, self.beta_1)
        second = self._moment(self._velocities[index], rows, tf.square(values), self.beta_2)
        move = rate * first / (tf.sqrt(second) + self.epsilon)
        variable.scatter_sub(tf.IndexedSlices(move, rows))

    @staticmethod
    def _moment(slot: keras.Variable, rows: tf.Tensor, values: tf.Tensor, decay: float) -> tf.Tensor:
        moment = decay * tf.gather(slot.value, rows) + (1 - decay) * values
        slot.value.scatter_update(tf.IndexedSlices(moment, rows))
        return moment

    def _clip_gradients(self, grads):
        # Keras would turn the slices of a table into a dense gradient to take its norm.
        if self.global_clipnorm and self.global_clipnorm > 0:
            grads, _ = tf.clip_by_global_norm(grads, self.global_clipnorm)
            return list(grads)
        return super()._clip_gradients(grads)
