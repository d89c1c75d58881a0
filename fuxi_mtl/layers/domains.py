"""Layers with a part for each domain of the rows."""

from collections.abc import Callable, Mapping, Sequence

import keras
import tensorflow as tf

from fuxi_mtl.features import FeatureMap
from fuxi_mtl.layers.brick import Brick
from fuxi_mtl.layers.regularizers import regularizer
from fuxi_mtl.layers.stacked import NormedStacks


@keras.saving.register_keras_serializable("fuxi_mtl")
class DomainShares(Brick):
    """How much of each domain a row is: all of its own, or equal parts of all if its domain is not known.

    Args:
        features: The inputs.
        name_of_feature: The categorical feature whose values are the domains.
        unknown_apart: Whether a row whose domain is not known is of none of them: it has a column of its own
            behind theirs.
        **kwargs: Options of any Keras layer: ``name``, ``trainable``, ``dtype``.

    Attributes:
        count: Number of domains: the values in the feature's vocabulary.

    Shapes:
        ``{"ids": (batch, id columns)}`` to ``(batch, domains)`` float32, each row summing to 1; one column
        more with `unknown_apart`.

    Raises:
        ValueError: No such categorical feature, or one without a value.

    >>> import tensorflow as tf
    >>> from fuxi_mtl.features import Feature
    >>> features = FeatureMap.of("shop", [Feature("tab", "categorical", vocab_size=4)])  # two values
    >>> DomainShares(features, "tab")({"ids": tf.constant([[1], [2], [3]])}).numpy().tolist()
    [[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]]
    """

    def __init__(self, features: FeatureMap, name_of_feature: str, unknown_apart: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.unknown_apart = unknown_apart
        categorical = [each.name for each in features.features if each.type == "categorical"]
        if name_of_feature not in categorical:
            raise ValueError(
                f"domain is {name_of_feature!r}, which is no categorical feature of the data. "
                f"Categorical features: {', '.join(categorical) or 'none'}."
            )
        feature = features[name_of_feature]
        self.column = feature.start
        self.count = feature.vocab_size - 2  # padding and unknown are no domains
        if self.count < 1:
            raise ValueError(f"domain is {name_of_feature!r}, which has no value in its vocabulary.")

    def call(self, inputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """The shares of the batch."""
        place = tf.cast(inputs["ids"][:, self.column], tf.int32) - 1
        known = (place >= 0) & (place < self.count)
        if self.unknown_apart:
            return tf.one_hot(tf.where(known, place, self.count), self.count + 1)
        return tf.where(known[:, None], tf.one_hot(place, self.count), 1 / self.count)

    def compute_output_shape(self, input_shape):
        """See the class."""
        return (input_shape["ids"][0], self.count + self.unknown_apart)


@keras.saving.register_keras_serializable("fuxi_mtl")
class StarDense(Brick):
    """``u = x (W_d * W_s) + b_d + b_s`` for a row of domain d; the product of kernels is by element.

    W_d starts at one and b_d at zero, so that all domains start as one Dense layer. A row of no known domain
    takes the mean over all of them, or W_s and b_s alone where its share has a column of its own
    (Sheng et al., CIKM 2021, equation 6).

    Args:
        units: Width of the output.
        domains: Number of domains.
        penalty: Regularizer of W_s, in FuxiCTR's notation.
        **kwargs: Options of any Keras layer: ``name``, ``trainable``, ``dtype``.

    Shapes:
        ``(batch, width)`` and shares, ``(batch, domains)`` or one column more as :class:`DomainShares` has
        it, to ``(batch, units)``.

    >>> import tensorflow as tf
    >>> shares = tf.constant([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
    >>> tuple(StarDense(4, domains=2)(tf.ones((3, 8)), shares).shape)
    (3, 4)
    """

    def __init__(self, units: int, domains: int, penalty: float | str | None = None, **kwargs):
        super().__init__(**kwargs)
        self.units, self.domains, self.penalty = units, domains, penalty

    def build(self, input_shape):
        """Creates the kernels."""
        width = input_shape[-1]
        self.shared_kernel = self.add_weight(
            shape=(width, self.units),
            initializer="glorot_uniform",
            regularizer=regularizer(self.penalty),
            name="shared_kernel",
        )
        self.shared_bias = self.add_weight(shape=(self.units,), initializer="zeros", name="shared_bias")
        shape = (self.domains, width, self.units)
        self.kernels = self.add_weight(shape=shape, initializer="ones", name="kernels")
        # Of one axis: by that, weight decay knows what is no kernel.
        self.biases = self.add_weight(shape=(self.domains * self.units,), initializer="zeros", name="biases")

    def call(self, x, shares):
        """The product of each row with the kernel of its domain."""
        shared_kernel, shared_bias = map(tf.convert_to_tensor, (self.shared_kernel, self.shared_bias))
        kernels = tf.unstack(tf.convert_to_tensor(self.kernels) * shared_kernel)
        biases = tf.reshape(tf.convert_to_tensor(self.biases), (self.domains, self.units))
        biases = tf.unstack(biases + shared_bias)
        if shares.shape[-1] > self.domains:
            kernels.append(shared_kernel)
            biases.append(shared_bias)
        return by_domain(x, shares, lambda d, rows: rows @ kernels[d] + biases[d], (self.units,))

    @property
    def bias(self) -> keras.Variable:
        """What is added in all domains."""
        return self.shared_bias

    def compute_output_shape(self, x_shape, shares_shape):
        """See the class."""
        return (x_shape[0], self.units)


class DomainTowers(NormedStacks):
    """A tower for each head in each domain, ending in one number unless said; float32.

    A row takes what the towers of its domain say, by its shares.

    Args:
        heads: Number of heads.
        domains: Number of domains.
        units: Hidden widths of each tower.
        outputs: Numbers in which each ends.
        **options: Those of :class:`NormedStacks`.

    Shapes:
        ``(batch, heads, width)`` and shares ``(batch, domains)`` to ``(batch, heads)``, or
        ``(batch, heads, outputs)``.
    """

    def __init__(self, heads: int, domains: int, units: Sequence[int], outputs: int = 1, **options):
        super().__init__((domains, heads), units, linear=outputs, dtype="float32", **options)
        self.outputs = outputs

    def call(self, x, shares, training=False):
        """The heads of the batch."""
        by_layer = [list(zip(*map(tf.unstack, layer), strict=True)) for layer in self.parameters()]

        def towers(d: int, x: tf.Tensor) -> tf.Tensor:
            for layer, (kernel, bias, *norm) in enumerate(parameters[d] for parameters in by_layer):
                x = self.after(layer, tf.einsum("btu,tuv->btv", x, kernel) + bias, norm, training)
            return x[..., 0] if self.outputs == 1 else x

        several = () if self.outputs == 1 else (self.outputs,)
        return by_domain(tf.cast(x, tf.float32), shares, towers, (*self.shape[1:], *several))


def by_domain(
    x: tf.Tensor, shares: tf.Tensor, network: Callable[[int, tf.Tensor], tf.Tensor], shape: tuple[int, ...]
) -> tf.Tensor:
    """``sum_d shares_d network_d(x)``, each network on the rows that have a share of its domain.

    Args:
        x: ``(batch, ...)``.
        shares: ``(batch, domains)``, each row summing to 1.
        network: ``network(d, rows of x)``, ``(rows, *shape)``.
        shape: Shape of one output.

    Returns:
        ``(batch, *shape)``. A row of a known domain goes through one network, however many there are.
    """
    parts, places = [], []
    for d, share in enumerate(tf.unstack(shares, axis=1)):
        rows = tf.where(share > 0)[:, 0]
        y = network(d, tf.gather(x, rows))
        weight = tf.reshape(tf.gather(share, rows), (-1, *[1] * len(shape)))
        parts.append(y * tf.cast(weight, y.dtype))
        places.append(rows)
    total = tf.math.unsorted_segment_sum(tf.concat(parts, 0), tf.concat(places, 0), tf.shape(x)[0])
    return tf.ensure_shape(total, (None, *shape))
