"""Histories: the columns of a declared group, put together and encoded."""

from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf

from fuxi_mtl.features import PAD, FeatureMap
from fuxi_mtl.layers.brick import Brick
from fuxi_mtl.layers.sequences.base import make_encoder
from fuxi_mtl.layers.sequences.places import (
    TARGET_TIME,
    RowTable,
    cut_to_shortest,
    newer_events,
    newest,
    sinusoids,
)
from fuxi_mtl.options.blocks import SequenceGroup
from fuxi_mtl.options.values import block


@keras.saving.register_keras_serializable("fuxi_mtl")
class History(Brick):
    """One vector a row of the columns of one group: events, target, places, encoder.

    Args:
        features: The inputs.
        group: The group, a mapping as a stanza has it, or such a dataclass.
        widths: Width of the vectors of each feature with ids.
        **kwargs: Options of any Keras layer: ``name``, ``trainable``, ``dtype``.

    Shapes:
        A dict of ``events``, see :meth:`events`, and ``vectors``: ``(batch, length, width)`` by the key of a
        column (:attr:`keys`) and ``(batch, width)`` by the name of a target, both float32, to ``(batch,
        output width)``.

    Raises:
        ValueError: The group names what is no input or does not fit; see ``check_group``.
    """

    def __init__(self, features: FeatureMap, group: SequenceGroup | Mapping, widths: Mapping, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.features, self.group = features, block(SequenceGroup, group, "sequences")
        self.widths = widths
        columns, self.targets = self._columns()
        self.columns = [features[name] for name in columns]
        self.first = features[next(iter(self.group.columns))]
        length = self.first.max_len
        kept = min(self.group.max_len or length, length)
        self.keep = min(self.group.filter.keep, kept) if self.group.filter else kept
        self.selects = self.keep < length or self.group.filter is not None
        # What is read whole is read once for all histories.
        self.keys = {each: f"{self.name}/{each}" if self.selects else each for each in columns}
        self.newest_first = self.first.order == "newest_first"
        self.encoder = make_encoder(self.group.encoder, name="encoder", dtype=self.dtype_policy)
        self.piece_widths = [widths[name] for name in columns]
        self.project = None
        if self.group.combine == "project":
            self.project = keras.layers.Dense(self.group.combine_dim, use_bias=False, dtype="float32")
            self.project.build((None, sum(self.piece_widths)))
            self.piece_widths = [self.group.combine_dim]
        elif self.group.combine == "sum":
            self.piece_widths = self.piece_widths[:1]
        self.query_width = self._query_width()
        adds = self.group.join == "add"
        width = sum(self.piece_widths)
        # The row of position 0 is the target's where this is an event itself.
        places = length + self.encoder.joins
        self.times = self.positions = self.sinusoids = self.bias = None
        self.lapse = None if self.group.time is None else features[self.group.time]
        if self.lapse is not None:
            rows = max(self.lapse.vocab_size, TARGET_TIME + 1)
            self.times = RowTable(rows, width if adds else self.group.time_dim, name="times")
            if self.encoder.bias_width:
                self.bias = RowTable(rows, self.encoder.bias_width, "zeros", name="time_bias")
        elif self.encoder.bias_width:
            raise ValueError(
                f"sequences.{self.name}.encoder: time_bias is of how long ago events were, and the group has "
                "no time. Name its column, or leave time_bias out."
            )
        if self.group.position == "learned":
            self.positions = RowTable(places, width if adds else self.group.position_dim, name="positions")
        elif self.group.position == "sinusoid":
            self.sinusoids = sinusoids(places, width if adds else self.group.position_dim)
        if not adds:
            self.piece_widths += [self.group.position_dim] if self.group.position != "none" else []
            self.piece_widths += [self.group.time_dim] if self.times is not None else []
        self.width = sum(self.piece_widths)
        if self.encoder.joins:
            self.query_width = self.width
        try:
            self.encoder.check(self.width, self.query_width)
        except ValueError as error:
            raise ValueError(f"sequences.{self.name}.encoder: {error}") from error
        self.output_width = self.encoder.width_at(self.keep, self.width, self.query_width)

    def _columns(self) -> tuple[list[str], list[str]]:
        """The columns that are looked up, those with a counterpart first; and the counterparts."""
        matched = {name: target for name, target in self.group.columns.items() if target is not None}
        rest = [name for name, target in self.group.columns.items() if target is None]
        return [*matched, *rest, *self.group.extra], list(matched.values())

    def _query_width(self) -> int | None:
        if not self.targets:
            return None
        if self.project is not None:
            return self.group.combine_dim
        widths = [self.widths[name] for name in self.targets]
        return widths[0] if self.group.combine == "sum" else sum(widths)

    @property
    def pieces(self) -> list[int]:
        """Widths of what stands side by side in the output, each like a vector of a feature."""
        return self.piece_widths if self.encoder.keeps_columns else [self.output_width]

    def build(self, input_shape=None):
        """Creates the encoder."""
        query = {} if self.query_width is None else {"query": (None, self.query_width)}
        shapes = {"keys": (None, self.keep, self.width), "present": (None, self.keep), **query}
        self.encoder.build(shapes)

    def events(self, ids: tf.Tensor) -> dict:
        """The events that are read, which are chosen before anything is looked up.

        Args:
            ids: ``(batch, id columns)``.

        Returns:
            ``present`` and ``newer``, ``(batch, length)``; ``ids``, those of each column by its key; and
            ``times``, the ids of the gaps, where there are any.
        """
        columns = {name: ids[:, self.features[name].columns] for name in self.group.consumed}
        if self.group.on_ragged == "cut":
            columns = cut_to_shortest(columns, cuts_front=not self.newest_first)
        present = columns[self.first.name] != PAD
        newer = newer_events(present, self.newest_first)
        read = present
        if self.group.filter is not None:
            name = self.group.filter.column
            read = present & self._of_the_target(ids, name, columns[name])
        chosen = newest(read, newer, self.keep) if self.selects else None

        def of_events(x: tf.Tensor) -> tf.Tensor:
            return x if chosen is None else tf.gather(x, chosen, batch_dims=1)

        found = {"present": of_events(read), "newer": of_events(newer)}
        found["ids"] = {self.keys[each.name]: of_events(columns[each.name]) for each in self.columns}
        if self.lapse is not None:
            found["times"] = of_events(columns[self.lapse.name])
        return found

    def call(self, inputs, training=False):
        """The encoded history of each row."""
        events, vectors = inputs["events"], inputs["vectors"]
        keys = self._combined([vectors[self.keys[column.name]] for column in self.columns])
        places = self._places(events["newer"] + int(self.encoder.joins))
        if self.times is not None:
            places.append(self.times(events["times"]))
        content = {"keys": self._joined(keys, places), "present": events["present"]}
        if self.bias is not None:
            content["bias"] = self.bias(events["times"])
        if self.encoder.ordered and self.newest_first:
            content = {name: tf.reverse(each, axis=[1]) for name, each in content.items()}
        if self.targets:
            content["query"] = self._query([vectors[name] for name in self.targets], keys.shape[-1])
        return self.encoder(content, training=training)

    def _of_the_target(self, ids: tf.Tensor, name: str, column: tf.Tensor) -> tf.Tensor:
        """Which positions of a column hold the target's id, which must be a known one."""
        target = self.features[str(self.group.columns[name])]
        wanted = ids[:, target.start, None]
        known = (wanted != PAD) & (wanted != self.features.owner(target).vocab_size - 1)
        return known & (column == wanted)

    def _combined(self, parts: Sequence[tf.Tensor]) -> tf.Tensor:
        if self.group.combine == "sum":
            return tf.add_n(list(parts))
        x = parts[0] if len(parts) == 1 else tf.concat(parts, axis=-1)
        return x if self.project is None else self.project(x)

    def _places(self, newer: tf.Tensor) -> list[tf.Tensor]:
        """The vectors of positions, if there are any."""
        if self.positions is not None:
            return [self.positions(newer)]
        return [] if self.sinusoids is None else [tf.gather(self.sinusoids, newer)]

    def _joined(self, x: tf.Tensor, places: list[tf.Tensor]) -> tf.Tensor:
        if self.group.join == "add":
            return tf.add_n([x, *places])
        return tf.concat([x, *places], axis=-1) if places else x

    def _query(self, parts: Sequence[tf.Tensor], width: int) -> tf.Tensor:
        """The target as the encoder compares it; as an event it has all columns, a place and a time."""
        whole = sum(self.widths[column.name] for column in self.columns)
        if self.group.combine == "sum":
            x = tf.add_n(list(parts))
        else:
            x = parts[0] if len(parts) == 1 else tf.concat(parts, axis=-1)
        if self.project is not None:
            x = self.project(tf.pad(x, ((0, 0), (0, whole - x.shape[-1]))))
        if not self.encoder.joins:
            return x
        x = tf.pad(x, ((0, 0), (0, width - x.shape[-1])))
        nowhere = tf.zeros_like(x[:, 0], tf.int32)
        places = self._places(nowhere)
        if self.times is not None:
            places.append(self.times(nowhere + TARGET_TIME))
        return self._joined(x, places)

    def compute_output_shape(self, input_shape):
        """See the class."""
        return (input_shape["events"]["present"][0], self.output_width)
