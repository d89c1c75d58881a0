"""The limit with TensorFlow's products, in one graph."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf

from benchmarks.peers.limits import predictor, trainer
from benchmarks.peers.protocol import serve


class TensorFlow:
    """A :class:`~benchmarks.peers.limits.Library`."""

    def matrix(self, shape, precision):
        """A variable, which no optimizer of graphs folds."""
        numbers = tf.random.normal(shape)
        return tf.Variable(numbers if precision == "float32" else tf.cast(numbers, tf.bfloat16))

    def table(self, shape):
        """See there."""
        return tf.Variable(tf.zeros(shape))

    def rows(self, below, count):
        """See there."""
        return tf.random.uniform((count,), maxval=below, dtype=tf.int32)

    def together(self, calls):
        """One graph that gives all of their values, so that none is left out."""
        return tf.function(lambda: [call() for call in calls], autograph=False)

    def product(self, a, b, transpose_a=False, transpose_b=False):
        """See there."""
        return tf.matmul(a, b, transpose_a=transpose_a, transpose_b=transpose_b)

    def look_up(self, table, rows):
        """See there."""
        return tf.gather(table, rows)


if __name__ == "__main__":
    serve(("tensorflow", "numpy"), trainer(TensorFlow()), predictor(TensorFlow()))
