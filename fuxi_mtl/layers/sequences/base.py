"""What every encoder of sequences keeps to: padding never counts, and no event is no vector."""

from collections.abc import Mapping
from typing import ClassVar

import tensorflow as tf

from fuxi_mtl.layers.brick import Brick
from fuxi_mtl.options.declaring import Option
from fuxi_mtl.options.encoders import ENCODERS
from fuxi_mtl.options.values import convert, located

LEARNED = "learned"


class SequenceEncoder(Brick):
    """One vector of the events of a history, and of the target that it is read for.

    Which positions are events is told, never guessed from vectors of zeros. What lies at the others changes
    no bit of the output, not even NaN, and gets a gradient of exactly 0. A row without an event is encoded
    as zeros, or as one trained vector. All of it is computed in float32 under every precision policy.

    Args:
        empty: ``zeros``, or ``learned``.
        **kwargs: Options of any Keras layer: ``name``, ``trainable``, ``dtype``.

    Shapes:
        A dict of ``keys`` ``(batch, length, width)``, ``present`` ``(batch, length)`` booleans, ``query``
        ``(batch, width of the query)`` and perhaps ``bias`` ``(batch, length, bias width)`` to ``(batch,
        output width)``. Events of a row are in their order, oldest first, wherever that matters.
    """

    asks: ClassVar[bool] = False  # whether it reads the query
    joins: ClassVar[bool] = False  # whether the query is an event itself, and so as wide as one
    keeps_columns: ClassVar[bool] = False  # whether each column of the output is one of the keys'
    ordered: bool = False  # whether it matters which event comes first
    bias_width: int = 0  # how many numbers of its bias an event adds to its scores

    def __init__(self, empty: str = "zeros", **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.empty = empty

    def build(self, input_shape):
        """Creates the vector of an empty history, and what a subclass needs."""
        (_, length, width), query = input_shape["keys"], (input_shape.get("query") or (None,))[-1]
        self.check(width, query)
        self.create(width, query)
        self.instead = None
        if self.empty == LEARNED:
            shape = (self.width_at(length, width, query),)
            own = {"shape": shape, "dtype": "float32", "autocast": False}
            self.instead = self.add_weight(initializer="zeros", name="empty", **own)

    def check(self, width: int, query: int | None) -> None:
        """Refuses widths that do not fit.

        Args:
            width: Of an event.
            query: Of the query, or None.

        Raises:
            ValueError: They do not fit, or there is no query where one is asked for.
        """
        if self.asks and query is None:
            raise ValueError(f"{type(self).__name__} reads a history for a target, and there is none.")

    def create(self, width: int, query: int | None) -> None:
        """Creates the variables, for such widths; none unless a subclass says so."""

    def output_width(self, width: int, query: int | None) -> int:
        """The width of what comes out, for such widths of events and query."""
        return width

    def width_at(self, length: int | None, width: int, query: int | None) -> int:
        """The same for so many places, which few encoders depend on.

        Raises:
            ValueError: It does, and they are not known.
        """
        return self.output_width(width, query)

    def encode(self, keys: tf.Tensor, present: tf.Tensor, query: tf.Tensor | None, training: bool):
        """The vectors ``(batch, output width)`` of rows with an event; of other rows, anything finite.

        Args:
            keys: ``(batch, length, width)`` float32, zeros where there is no event.
            present: ``(batch, length)`` booleans.
            query: ``(batch, width of the query)`` float32, or None.
            training: Whether the step is one of training.
        """
        raise NotImplementedError(f"{type(self).__name__} must define encode.")

    def encode_biased(
        self,
        keys: tf.Tensor,
        present: tf.Tensor,
        query: tf.Tensor | None,
        bias: tf.Tensor | None,
        training: bool,
    ) -> tf.Tensor:
        """The same with the bias of each event; an encoder that reads one (:attr:`bias_width`) defines it."""
        return self.encode(keys, present, query, training)

    def call(self, inputs, training=False):
        """One vector for each row."""
        present, query = inputs["present"], inputs.get("query")
        keys = tf.where(present[..., None], tf.cast(inputs["keys"], tf.float32), 0.0)
        query = None if query is None else tf.cast(query, tf.float32)
        x = self.encode_biased(keys, present, query, self._bias(inputs), training)
        if not self.joins:
            some = tf.reduce_any(present, axis=1, keepdims=True)
            x = tf.where(some, x, 0.0 if self.instead is None else self.instead)
        return tf.cast(x, self.compute_dtype)

    def _bias(self, inputs: Mapping[str, tf.Tensor]) -> tf.Tensor | None:
        if not self.bias_width:
            return None
        if "bias" not in inputs:
            raise ValueError(f"{type(self).__name__} reads a bias of each event, and there is none.")
        return tf.cast(inputs["bias"], tf.float32)

    def compute_output_shape(self, input_shape):
        """See the class."""
        (batch, length, width), query = input_shape["keys"], (input_shape.get("query") or (None,))[-1]
        return (batch, self.width_at(length, width, query))


def masked_softmax(scores: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
    """Shares along the last axis among what is present; where nothing is, all of them are 0.

    Args:
        scores: ``(..., length)`` float32, finite.
        present: Booleans that broadcast to it.
    """
    highest = tf.reduce_max(tf.where(present, scores, scores.dtype.min), axis=-1, keepdims=True)
    # Chosen before the exponential, which would overflow where nothing is present.
    shifted = tf.where(present, scores - tf.stop_gradient(highest), 0.0)
    powers = tf.where(present, tf.exp(shifted), 0.0)
    return powers / tf.maximum(tf.reduce_sum(powers, axis=-1, keepdims=True), 1e-30)


def make_encoder(spec: str | Mapping, **layer) -> SequenceEncoder:
    """The encoder that an option such as ``encoder: {type: din, hidden_units: [36]}`` describes.

    Args:
        spec: A name of :data:`~fuxi_mtl.options.encoders.ENCODERS`, or a block with that ``type`` and the
            encoder's options.
        **layer: Options of any Keras layer: ``name``, ``trainable``, ``dtype``.

    Raises:
        ValueError: Unknown type or option, or a value of another type.
    """
    given = convert(located(spec), str | dict, "encoder", Option("", choices=ENCODERS))
    options = dict(given) if isinstance(given, dict) else {"type": given}
    return ENCODERS[options.pop("type")].load()(**options, **layer)
