"""Encoding of raw rows as ids and numbers by fitted rules, inside a graph."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import tensorflow as tf

from fuxi_mtl.dataset import Column, Encoder
from fuxi_mtl.dataset.bags import Bag
from fuxi_mtl.dataset.raw import MISSING_INTEGER
from fuxi_mtl.dataset.rules import Buckets, HashBuckets, Ids, Number, Rule, Vocabulary
from fuxi_mtl.features import PAD, Feature, FeatureMap
from fuxi_mtl.options.exported import PADDED, TEXT
from fuxi_mtl.serving.bags import filled_lists, layout, lists, weights
from fuxi_mtl.serving.raw import integers, is_missing, numbers, tokens
from fuxi_mtl.serving.vocabularies import GraphVocabulary

RAGGED = "ragged"
_ONE_A_REQUEST = ("user", "context")  # `source` of features that all items of a request share


class GraphEncoder(tf.Module):
    """From raw rows to ids and numbers inside a graph, as :class:`fuxi_mtl.dataset.Encoder` does it.

    Args:
        encoder: The fitted encoding.
        folder: Where large vocabularies are written as files, which a SavedModel takes along as its assets;
            without it all are constants of the graph.
    """

    def __init__(self, encoder: Encoder, folder: Path | None = None):
        super().__init__(name="encoding")
        self._encoder = encoder
        # As a constant TensorFlow would replace the division by a multiplication, which rounds another way.
        self.scales = {
            column.name: tf.Variable(column.rule.scale, trainable=False, dtype=_dtype(column.rule))
            for column in encoder.columns
            if isinstance(column.rule, Number)
        }
        self.tables = {
            owner: GraphVocabulary(known, folder and folder / f"vocabulary_{number}.tsv")
            for number, (owner, known) in enumerate(encoder.tokens.items())
        }

    @property
    def has_bags(self) -> bool:
        """Whether any input is a list of ids."""
        return any(feature.type == "sequence" for feature in self._encoder.feature_map.features)

    @property
    def once(self) -> set[str]:
        """Raw columns that are the same for all items of a request: those of the user and of the context."""
        shared = [column for column, feature in self._inputs() if feature.source in _ONE_A_REQUEST]
        weights_of_bags = [column.bag.weights for column in shared if column.bag and column.bag.weights]
        return {column.name for column in shared}.union(weights_of_bags)

    def specs(self, bags: str) -> dict[str, tf.TypeSpec]:
        """What each raw column looks like, ``(batch,)`` unless it is a list or a vector.

        Args:
            bags: ``text`` for bags as in a csv file (``a^b^c``), ``padded`` for ``(batch, length)``,
                ``ragged`` for ragged tensors.
        """
        specs = {}
        for column, feature in self._inputs():
            dtype = _dtype(column.rule)
            if column.bag is None:
                specs[column.name] = tf.TensorSpec([None], dtype)
            elif not feature.has_ids:
                specs[column.name] = tf.TensorSpec([None, feature.max_len], dtype)
            else:
                specs[column.name] = _bag_spec(bags, dtype)
                if column.bag.weights:
                    specs[column.bag.weights] = _bag_spec(bags, tf.float32)
        return specs

    def __call__(self, raw: Mapping[str, tf.Tensor], once: Collection[str] = ()) -> dict[str, tf.Tensor]:
        """Encodes a batch.

        Args:
            raw: Tensors by raw column, as :meth:`specs` describes them for any form of bags.
            once: Columns that come with one row, which is encoded once and goes for all rows of the others.

        Returns:
            ``ids`` (batch, id columns) int32 and ``numeric`` (batch, numeric columns) float32.
        """
        first = next(entries for name, entries in raw.items() if name not in once)
        rows = first.nrows() if isinstance(first, tf.RaggedTensor) else tf.shape(first)[0]
        ids, numeric = [tf.zeros([rows, 0], tf.int32)], [tf.zeros([rows, 0])]
        weights_of_bags = []
        for column, feature in self._inputs():
            entries = raw[column.name]
            times = rows if column.name in once else 1
            if column.bag is None or not feature.has_ids:
                encoded = tf.reshape(self._apply(column, entries), [-1, feature.max_len])
                (ids if feature.has_ids else numeric).append(_repeated(encoded, times))
                continue
            members = filled_lists(entries, column.bag)
            bag = self._bag(column, column.bag, members)
            ids.append(_repeated(bag, times))
            if column.bag.weights:
                given = members if column.bag.gaps else lists(entries, column.bag.splitter)
                of_bag = weights(raw[column.bag.weights], column.bag, given, bag)
                weights_of_bags.append(_repeated(of_bag, times))
        # The order of `features.assign_columns`: the weights of bags come last.
        parts = {"ids": ids, "numeric": numeric + weights_of_bags}
        return {
            name: tf.ensure_shape(tf.concat(parts[name], 1), spec.shape)
            for name, spec in encoded_specs(self._encoder.feature_map).items()
        }

    def _inputs(self) -> Iterator[tuple[Column, Feature]]:
        return zip(self._encoder.columns, self._encoder.feature_map.features, strict=True)

    def _bag(self, column: Column, bag: Bag, members: tf.RaggedTensor) -> tf.Tensor:
        """Ids ``(batch, max_len)``; a missing member is padding."""
        index, kept = layout(members, bag)
        entries = tf.gather(members.values, kept)
        values = tf.where(is_missing(entries), PAD, self._apply(column, entries))
        return tf.scatter_nd(index, values, [members.nrows(), bag.max_len])

    def _apply(self, column: Column, entries: tf.Tensor) -> tf.Tensor:
        """The column's rule on each entry: int32 ids, or float32 numbers."""
        rule = column.rule
        if isinstance(rule, Number):
            x = _number(rule, numbers(entries, rule.fill_na, rule.double), self.scales[column.name])
            return tf.where(tf.math.is_finite(x), x, 0.0)
        if isinstance(rule, Vocabulary):
            ids = self.tables[rule.owner].lookup(tokens(entries, rule.dtype, rule.fill_na))
        elif isinstance(rule, HashBuckets):
            text = tokens(entries, rule.dtype, rule.fill_na)
            ids = 1 + tf.strings.to_hash_bucket_fast(text, rule.buckets)
        elif isinstance(rule, Buckets):
            ids = _buckets(rule, numbers(entries, rule.fill_na, rule.double))
        else:
            ids = _known_ids(rule, integers(entries))
        return tf.cast(ids, tf.int32)


def encoded_specs(features: FeatureMap) -> dict[str, tf.TensorSpec]:
    """What an encoded batch looks like."""
    return {
        "ids": tf.TensorSpec([None, features.id_columns], tf.int32),
        "numeric": tf.TensorSpec([None, features.numeric_columns], tf.float32),
    }


def _repeated(encoded: tf.Tensor, times: int | tf.Tensor) -> tf.Tensor:
    return encoded if isinstance(times, int) else tf.repeat(encoded, times, axis=0)


def _number(rule: Number, x: tf.Tensor, scale: tf.Variable) -> tf.Tensor:
    """Float32, scaled in the type of x or as the logarithm of float64."""
    if not rule.log:
        return tf.cast((x - rule.offset) / scale, tf.float32)
    good = (x > -1) | tf.math.is_nan(x)
    tf.debugging.Assert(tf.reduce_all(good), ["An entry is not above -1, as normalizer: log1p asks:", x])
    return tf.cast(tf.math.log1p(tf.cast(x, tf.float64)), tf.float32)


def _buckets(rule: Buckets, x: tf.Tensor) -> tf.Tensor:
    if rule.least is not None:
        good = (x >= rule.least) | tf.math.is_nan(x)
        tf.debugging.Assert(tf.reduce_all(good), [f"A time is below {rule.least:g}:", x])
    boundaries = tf.constant(rule.boundaries, x.dtype)
    ids = 1 + tf.searchsorted(boundaries, x, side="right")
    return tf.where(tf.math.is_nan(x), len(rule.boundaries) + 2, ids)


def _known_ids(rule: Ids, ids: tf.Tensor) -> tf.Tensor:
    unknown = tf.constant(rule.unknown, tf.int64)
    if rule.fill_na is not None:
        ids = tf.where(ids == MISSING_INTEGER, tf.constant(rule.fill_na, tf.int64), ids)
    return tf.where((ids < 0) | (ids >= rule.count), unknown, ids)


def _dtype(rule: Rule) -> tf.DType:
    """How one entry arrives."""
    if isinstance(rule, (Number, Buckets)):
        return tf.float64 if rule.double else tf.float32
    return tf.int64 if isinstance(rule, Ids) or rule.dtype == "int" else tf.string


def _bag_spec(bags: str, dtype: tf.DType) -> tf.TypeSpec:
    if bags == TEXT:
        return tf.TensorSpec([None], tf.string)
    return tf.TensorSpec([None, None], dtype) if bags == PADDED else tf.RaggedTensorSpec([None, None], dtype)
