"""The bricks of STAR: a normalisation by domain, and stacks of star layers."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from fuxi_mtl.cluster.replicas import global_sum
from fuxi_mtl.layers import StarDense, Towers
from fuxi_mtl.layers.mlp import Stack
from fuxi_mtl.layers.stacked import EPSILON


class PartitionedNorm(keras.layers.Layer):
    """Batch normalisation over the rows of one domain at a time.

    For a row of domain p::

        z = (gain * gain_p) (x - mean_p) / sqrt(variance_p + eps) + offset + offset_p

    Mean and variance are those of the domain's rows in a training batch, on all devices, and running ones
    otherwise. A domain with fewer than two rows in a batch takes its running ones and leaves them as is.
    A row of no known domain is normalised over all rows, with gain and offset alone.

    Running statistics are means of the batches at first, and follow them with the momentum once there were
    ``1 / (1 - momentum)`` of them: a rare domain would keep what it started with for long.

    Args:
        domains: Number of domains.
        momentum: How slowly running statistics follow the batches.

    Shapes:
        ``(batch, width)`` and shares ``(batch, domains + 1)``, the last of rows of no known domain, to
        ``(batch, width)``; computed in float32.
    """

    def __init__(self, domains: int, momentum: float = 0.99, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.domains, self.momentum = domains, momentum

    def build(self, x_shape, shares_shape=None):
        """Creates gains, offsets and running statistics: of the domains, flat, and of all rows."""
        width = x_shape[-1]

        def add(name: str, size: int, start: str, **own) -> keras.Variable:
            return self.add_weight(
                (size,), start, dtype="float32", name=name, **{"autocast": False, "trainable": True, **own}
            )

        running = {"trainable": False}
        self.gain, self.gains = add("gain", width, "ones"), add("gains", self.domains * width, "ones")
        self.offset, self.offsets = (
            add("offset", width, "zeros"),
            add("offsets", self.domains * width, "zeros"),
        )
        self.mean = add("moving_mean", width, "zeros", **running)
        self.means = add("moving_means", self.domains * width, "zeros", **running)
        self.variance = add("moving_variance", width, "ones", **running)
        self.variances = add("moving_variances", self.domains * width, "ones", **running)
        self.batch, self.batches = (
            add("batch", 1, "zeros", **running),
            add("batches", self.domains, "zeros", **running),
        )

    def call(self, x, shares, training=False):
        """The normalised rows."""
        x, domain = tf.cast(x, tf.float32), tf.argmax(shares, axis=1, output_type=tf.int32)
        means, variances = self._stacked(self.means, self.mean), self._stacked(self.variances, self.variance)
        if training:
            count, *now = self._statistics(x, domain)
            enough = count >= 2
            seen = self._stacked(self.batches, self.batch) + tf.cast(enough, tf.float32)
            self.batches.assign(seen[:-1, 0])
            self.batch.assign(seen[-1])
            share = tf.maximum(1 - self.momentum, 1 / tf.maximum(seen, 1.0))
            for before, found, of_domains, of_all in (
                (means, now[0], self.means, self.mean),
                (variances, now[1], self.variances, self.variance),
            ):
                moved = tf.where(enough, before + share * tf.stop_gradient(found - before), before)
                of_domains.assign(tf.reshape(moved[:-1], [-1]))
                of_all.assign(moved[-1])
            means, variances = tf.where(enough, now[0], means), tf.where(enough, now[1], variances)
        gain, offset = tf.convert_to_tensor(self.gain), tf.convert_to_tensor(self.offset)
        gains = self._stacked(self.gains, tf.ones_like(gain)) * gain
        offsets = self._stacked(self.offsets, tf.zeros_like(offset)) + offset
        x = (x - tf.gather(means, domain)) * tf.gather(gains * tf.math.rsqrt(variances + EPSILON), domain)
        return tf.cast(x + tf.gather(offsets, domain), self.compute_dtype)

    def _stacked(self, of_domains: keras.Variable, of_all: keras.Variable | tf.Tensor) -> tf.Tensor:
        """``(domains + 1, width)``."""
        of_all = tf.convert_to_tensor(of_all)[None]
        return tf.concat([tf.reshape(of_domains, (self.domains, -1)), of_all], axis=0)

    def _statistics(self, x: tf.Tensor, domain: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Rows, mean and variance of each domain, and of all rows at last."""
        own = tf.where(domain < self.domains, domain, -1)  # in no segment
        twice, place = tf.concat([x, x], 0), tf.concat([own, tf.fill(tf.shape(own), self.domains)], 0)

        def total(*values: tf.Tensor) -> list[tf.Tensor]:
            sums = [tf.math.unsorted_segment_sum(each, place, self.domains + 1) for each in values]
            return global_sum(sums)

        count, mean = total(tf.ones_like(twice[:, :1]), twice)
        mean /= tf.maximum(count, 1.0)
        (variance,) = total(tf.square(twice - tf.gather(mean, tf.maximum(place, 0))))
        return count, mean, variance / tf.maximum(count, 1.0)

    def compute_output_shape(self, x_shape, shares_shape=None):
        """See the class."""
        return tuple(x_shape)


class StarStack(Stack):
    """:class:`~fuxi_mtl.layers.MLP` whose layers are :class:`~fuxi_mtl.layers.StarDense`.

    Args:
        units: Width of each layer.
        domains: Number of domains.
        **options: Those of :class:`~fuxi_mtl.layers.mlp.Stack`.

    Shapes:
        ``(batch, width)`` and shares of domains to ``(batch, units[-1])``.
    """

    def __init__(self, units: Sequence[int], domains: int, **options):
        self.domains = domains  # first: the layers are made by the constructor of the base class
        super().__init__(units, **options)

    def layer(self, units: int, penalty: float | str | None) -> StarDense:
        """One of the layers."""
        return StarDense(units, self.domains, penalty, dtype=self.dtype_policy)

    def build(self, x_shape, shares_shape=None):
        """Creates the layers."""
        shape = tuple(x_shape)
        for i, star in enumerate(self.hidden):
            star.build(shape)
            shape = (*shape[:-1], star.units)
            self.build_rest(i, shape)

    def call(self, x, shares, training=False):
        """Applies the layers in order."""
        for i, star in enumerate(self.hidden):
            x = self.after(i, star(x, shares), training)
        return x

    def compute_output_shape(self, x_shape, shares_shape=None):
        """See the class."""
        return (*x_shape[:-1], self.width(x_shape[-1]))


class StarTowers(Towers):
    """:class:`~fuxi_mtl.layers.Towers` of star layers, the heads among them.

    Args:
        names: The heads.
        units: Hidden widths of each tower.
        domains: Number of domains.
        **options: Those of :class:`~fuxi_mtl.layers.Towers`.

    Shapes:
        ``(batch, width)`` and shares of domains to a dict of ``(batch,)`` float32, or ``(batch, outputs)``.
    """

    def __init__(self, names: Sequence[str], units: Sequence[int], domains: int, **options):
        self.domains = domains  # first: the layers are made by the constructor of the base class
        super().__init__(names, units, **options)

    def make_stack(self, units: Sequence[int], **options) -> StarStack:
        """The hidden layers of one tower."""
        return StarStack(units, self.domains, **options)

    def make_head(self, units: int, penalty: float | str | None, **layer) -> StarDense:
        """The layer of one head."""
        return StarDense(units, self.domains, penalty, **layer)

    def build(self, x_shape, shares_shape=None):
        """Creates the layers."""
        super().build(x_shape)

    def call(self, x, shares, training=False):  # type: ignore[override]
        """The heads of the batch, by name."""
        heads = {}
        for name, stack, output in zip(self.names, self.stacks, self.outputs, strict=True):
            hidden = tf.cast(stack(x, shares, training=training), tf.float32)
            raw = output(hidden, shares)
            heads[name] = tf.squeeze(raw, axis=-1) if self.widths[name] == 1 else raw
        return heads

    def compute_output_shape(self, x_shape, shares_shape=None):
        """See the class."""
        return super().compute_output_shape(x_shape)
