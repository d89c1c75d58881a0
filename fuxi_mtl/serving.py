"""The fitted encoding of raw rows, as TensorFlow operations.

:class:`GraphEncoder` computes in a graph what :class:`fuxi_mtl.dataset.Encoder` computes with polars and
numpy, from the same rules, so that a SavedModel takes raw features. Its functions carry the names of their
counterparts in :mod:`fuxi_mtl.dataset.raw`.

A missing text is ``""`` and a missing number is NaN. A missing integer is the smallest int64, which is also
what numpy makes of NaN.
"""

from collections.abc import Iterator, Mapping

import tensorflow as tf

from fuxi_mtl.dataset import Column, Encoder
from fuxi_mtl.dataset.bags import Bag
from fuxi_mtl.dataset.encoding import OOV_TOKEN
from fuxi_mtl.dataset.raw import MISSING
from fuxi_mtl.dataset.rules import Buckets, HashBuckets, Ids, Number, Rule, Vocabulary
from fuxi_mtl.features import PAD, Feature

MISSING_INTEGER = tf.int64.min
TEXT, PADDED, RAGGED = "text", "padded", "ragged"


class GraphEncoder(tf.Module):
    """From raw rows to ids and numbers inside a graph.

    Args:
        encoder: The fitted encoding.
    """

    def __init__(self, encoder: Encoder):
        super().__init__(name="encoding")
        self._encoder = encoder
        # As a constant TensorFlow would replace the division by a multiplication, which rounds another way.
        self.scales = {
            column.name: tf.Variable(column.rule.scale, trainable=False)
            for column in encoder.columns
            if isinstance(column.rule, Number)
        }
        self.tables = {owner: _table(tokens) for owner, tokens in encoder.tokens.items()}

    @property
    def has_bags(self) -> bool:
        """Whether any input is a list of ids."""
        return any(feature.type == "sequence" for feature in self._encoder.feature_map.features)

    @property
    def encoded_specs(self) -> dict[str, tf.TensorSpec]:
        """What an encoded batch looks like."""
        features = self._encoder.feature_map
        return {
            "ids": tf.TensorSpec([None, features.id_columns], tf.int32),
            "numeric": tf.TensorSpec([None, features.numeric_columns], tf.float32),
        }

    def _inputs(self) -> Iterator[tuple[Column, Feature]]:
        return zip(self._encoder.columns, self._encoder.feature_map.features, strict=True)

    def specs(self, bags: str) -> dict[str, tf.TypeSpec]:
        """What each raw column looks like, ``(batch,)`` unless it is a list or a vector.

        Args:
            bags: ``text`` for bags as in a csv file (``a^b^c``), ``padded`` for ``(batch, length)``, ``ragged``
                for ragged tensors.
        """
        specs = {}
        for column, feature in self._inputs():
            dtype = _dtype(column.rule)
            if column.bag is None:
                specs[column.name] = tf.TensorSpec([None], dtype)
                continue
            if not feature.has_ids:
                specs[column.name] = tf.TensorSpec([None, feature.max_len], dtype)
                continue
            specs[column.name] = _bag_spec(bags, dtype)
            if column.bag.weights:
                specs[column.bag.weights] = _bag_spec(bags, tf.float32)
        return specs

    def __call__(self, raw: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Encodes a batch.

        Args:
            raw: Tensors by raw column, as :meth:`specs` describes them for any form of bags.

        Returns:
            ``ids`` (batch, id columns) int32 and ``numeric`` (batch, numeric columns) float32.
        """
        first = next(iter(raw.values()))
        rows = first.nrows() if isinstance(first, tf.RaggedTensor) else tf.shape(first)[0]
        parts: dict[str, list[tf.Tensor]] = {"ids": [tf.zeros([rows, 0], tf.int32)], "numeric": [tf.zeros([rows, 0])]}
        weights = []
        for column, feature in self._inputs():
            entries = raw[column.name]
            if feature.type == "sequence":
                members = lists(_filled_bag(entries, column.bag, column.rule), column.bag.splitter)
                encoded = self._bag(column, feature, members)
                if column.bag.weights:
                    weights.append(_weights(raw[column.bag.weights], column, members, encoded))
            else:
                encoded = tf.reshape(self._apply(column, entries), [-1, feature.max_len])
            kind = "ids" if feature.has_ids else "numeric"
            parts[kind].append(encoded)
        # The order of `features.place`: the weights of bags come last.
        parts["numeric"] += weights
        return {
            kind: tf.ensure_shape(tf.concat(parts[kind], 1), spec.shape) for kind, spec in self.encoded_specs.items()
        }

    def _bag(self, column: Column, feature: Feature, members: tf.RaggedTensor) -> tf.Tensor:
        """Ids ``(batch, max_len)``; a missing member is padding."""
        index, kept = layout(members, column.bag)
        entries = tf.boolean_mask(members.values, kept)
        values = tf.where(is_missing(entries), PAD, self._apply(column, entries))
        return tf.scatter_nd(index, values, [members.nrows(), feature.max_len])

    def _apply(self, column: Column, entries: tf.Tensor) -> tf.Tensor:
        """The column's rule on each entry: int32 ids, or float32 numbers."""
        rule = column.rule
        if isinstance(rule, Number):
            x = (_filled(numbers(entries), rule.fill_na) - rule.offset) / self.scales[column.name]
            return tf.where(tf.math.is_finite(x), x, 0.0)
        if isinstance(rule, Vocabulary):
            found = self.tables[rule.owner].lookup(tokens(entries, rule.dtype, rule.fill_na))
        elif isinstance(rule, HashBuckets):
            found = 1 + tf.strings.to_hash_bucket_fast(tokens(entries, rule.dtype, rule.fill_na), rule.buckets)
        elif isinstance(rule, Buckets):
            x = _filled(numbers(entries), rule.fill_na)
            below = tf.searchsorted(tf.constant(rule.boundaries, tf.float32), x, side="right", out_type=tf.int64)
            found = tf.where(tf.math.is_nan(x), tf.constant(len(rule.boundaries) + 2, tf.int64), 1 + below)
        else:
            found = _known_ids(rule, integers(entries))
        return tf.cast(found, tf.int32)


def tokens(entries: tf.Tensor, dtype: str, fill_na: str | None) -> tf.Tensor:
    """Entries as text, ``fill_na`` or ``""`` where missing."""
    if dtype == "int":
        whole = integers(entries)
        entries = tf.where(whole == MISSING_INTEGER, MISSING, tf.strings.as_string(whole))
    return entries if fill_na is None else tf.where(entries == MISSING, fill_na, entries)


def integers(entries: tf.Tensor) -> tf.Tensor:
    """Entries as int64; a text may be written as ``3.0``."""
    if entries.dtype != tf.string:
        return tf.cast(entries, tf.int64)
    text = tf.strings.strip(entries)
    plain = tf.strings.regex_full_match(text, r"[+-]?[0-9]+")
    whole = tf.strings.to_number(tf.where(plain, text, "0"), tf.int64)
    other = tf.strings.to_number(tf.where(plain | (text == MISSING), "nan", text), tf.float64)
    missing = tf.math.is_nan(other)
    other = tf.where(missing, tf.constant(0, tf.float64), other)
    tf.debugging.assert_equal(other, tf.round(other), "An entry of an integer column is no integer.")
    other = tf.where(missing, tf.constant(MISSING_INTEGER, tf.int64), tf.cast(other, tf.int64))
    return tf.where(plain, whole, other)


def numbers(entries: tf.Tensor) -> tf.Tensor:
    """Entries as float32, NaN where missing or infinite."""
    if entries.dtype == tf.string:
        text = tf.strings.strip(entries)
        # By way of float64, as the training data were read: direct parsing may round another way.
        entries = tf.strings.to_number(tf.where(text == MISSING, "nan", text), tf.float64)
    x = tf.cast(entries, tf.float32)
    return tf.where(tf.math.is_finite(x), x, float("nan"))


def lists(entries: tf.Tensor | tf.RaggedTensor, splitter: str) -> tf.RaggedTensor:
    """Bags as a ragged tensor: texts are split, and missing members at the end of padded rows are dropped."""
    if isinstance(entries, tf.RaggedTensor):
        return entries
    if entries.shape.rank == 1:
        return tf.strings.split(entries, splitter)
    places = tf.range(1, tf.shape(entries)[1] + 1)
    lengths = tf.reduce_max(tf.where(is_missing(entries), 0, places), axis=1)
    # The largest of no numbers is the smallest there is.
    return tf.RaggedTensor.from_tensor(entries, lengths=tf.maximum(lengths, 0))


def layout(members: tf.RaggedTensor, bag: Bag) -> tuple[tf.Tensor, tf.Tensor]:
    """Where the members go.

    Returns:
        Row and column of each member that is kept, ``(kept, 2)``, and for every member whether it is kept.
    """
    rows = members.value_rowids()
    places = tf.range(tf.size(rows, tf.int64)) - tf.gather(members.row_starts(), rows)
    if bag.padding == "pre":
        places += bag.max_len - tf.gather(members.row_lengths(), rows)
    kept = (places >= 0) & (places < bag.max_len)
    return tf.boolean_mask(tf.stack([rows, places], 1), kept), kept


def is_missing(entries: tf.Tensor) -> tf.Tensor:
    """Which entries are missing."""
    if entries.dtype == tf.string:
        return entries == MISSING
    return tf.math.is_nan(entries) if entries.dtype.is_floating else entries == MISSING_INTEGER


def _table(known: tuple[str, ...]) -> tf.lookup.StaticHashTable:
    """Token i of the list has id i + 1. The OOV token keeps the table of an empty vocabulary from being empty."""
    unknown = len(known) + 1
    keys = tf.constant([*known, OOV_TOKEN], tf.string)
    values = tf.range(1, unknown + 1, dtype=tf.int64)
    return tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, values), unknown)


def _dtype(rule: Rule) -> tf.DType:
    """How one entry arrives."""
    if isinstance(rule, (Number, Buckets)):
        return tf.float32
    return tf.int64 if isinstance(rule, Ids) or rule.dtype == "int" else tf.string


def _bag_spec(bags: str, dtype: tf.DType) -> tf.TypeSpec:
    if bags == TEXT:
        return tf.TensorSpec([None], tf.string)
    return tf.TensorSpec([None, None], dtype) if bags == PADDED else tf.RaggedTensorSpec([None, None], dtype)


def _filled(x: tf.Tensor, fill_na: float | None) -> tf.Tensor:
    return x if fill_na is None else tf.where(tf.math.is_nan(x), fill_na, x)


def _known_ids(rule: Ids, ids: tf.Tensor) -> tf.Tensor:
    unknown = tf.constant(rule.vocab_size - 1, tf.int64)
    if rule.fill_na is not None:
        ids = tf.where(ids == MISSING_INTEGER, tf.constant(rule.fill_na, tf.int64), ids)
    return tf.where((ids < 0) | (ids >= rule.vocab_size), unknown, ids)


def _filled_bag(entries: tf.Tensor | tf.RaggedTensor, bag: Bag, rule: Rule) -> tf.Tensor | tf.RaggedTensor:
    """Puts ``fill_na`` in place of a missing text, or of a list without members."""
    if bag.fill_na is None:
        return entries
    if not isinstance(entries, tf.RaggedTensor) and entries.shape.rank == 1:
        return tf.where(entries == MISSING, bag.fill_na, entries)
    members = lists(entries, bag.splitter)
    fill = tf.constant(bag.fill_na.split(bag.splitter))
    fill = tf.RaggedTensor.from_row_lengths(integers(fill) if _dtype(rule) == tf.int64 else fill, [tf.size(fill)])
    rows = members.nrows()
    chosen = tf.where(members.row_lengths() == 0, rows, tf.range(rows))
    return tf.gather(tf.concat([members, fill], axis=0), chosen)


def _weights(
    entries: tf.Tensor | tf.RaggedTensor, column: Column, members: tf.RaggedTensor, ids: tf.Tensor
) -> tf.Tensor:
    """The weights of a bag ``(batch, max_len)``: 1 where none is given, 0 where there is no id."""
    padded = not isinstance(entries, tf.RaggedTensor) and entries.shape.rank == 2
    if padded:
        given = tf.RaggedTensor.from_tensor(entries, lengths=members.row_lengths())
    else:
        given = lists(entries, column.bag.splitter)
    _check_lengths(given, members, column)
    index, kept = layout(given, column.bag)
    values = numbers(tf.boolean_mask(given.values, kept))
    weights = tf.tensor_scatter_nd_update(
        tf.ones(tf.shape(ids)), index, tf.where(tf.math.is_nan(values), 1.0, values)
    )
    return tf.where(ids == PAD, 0.0, weights)


def _check_lengths(given: tf.RaggedTensor, members: tf.RaggedTensor, column: Column) -> None:
    """Weights that are there are as many as the members."""
    lengths, expected = given.row_lengths(), members.row_lengths()
    missing = tf.math.segment_sum(tf.cast(is_missing(given.values), tf.int64), given.value_rowids())
    missing = tf.pad(missing, [[0, given.nrows() - tf.size(missing, tf.int64)]])
    absent = (lengths == 0) | (lengths == 1) & ((missing == 1) | (expected < 2))
    tf.debugging.Assert(
        tf.reduce_all(absent | (lengths == expected)),
        [f"{column.bag.weights}: a row has not as many weights as {column.name} has members.", lengths, expected],
    )
