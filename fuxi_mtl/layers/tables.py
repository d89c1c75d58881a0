"""Embedding tables: the rows of all features of one width in one variable."""

import functools
import logging
import math
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import keras
import numpy as np
import tensorflow as tf

from fuxi_mtl.cluster.replicas import own_variables
from fuxi_mtl.features import PAD, Feature, FeatureMap
from fuxi_mtl.layers.absent_rows import absent, are_elsewhere, has_rows
from fuxi_mtl.layers.pooling import pool
from fuxi_mtl.layers.shards import Shard, shard_of

logger = logging.getLogger(__name__)

GIB = 2**30
DEVIATION = 0.01  # of a vector's numbers at the start
CHUNK = 2**18  # rows that are made at a time: a table is never held twice


@dataclass
class Lookup:
    """What a variable whose rows are looked up says of itself, as its attribute ``lookup``.

    Optimizers of rows know their tables by it, whatever the model and wherever it was loaded from.

    Attributes:
        penalty: Rows ``(rows, width)`` to the gradient of their regularizer; None without one.
        before: Told the variable and the row numbers of each lookup in training, before it, or None; an
            optimizer sets it.
        distinct: Whether a row's gradients may be added up before the optimizer, which sets it, sees them.
        shard: Which rows the variable holds of a table that is spread over workers; None if it holds all.
    """

    penalty: Callable[[tf.Tensor], tf.Tensor] | None = None
    before: Callable[[keras.Variable, tf.Tensor], None] | None = None
    distinct: bool = True
    shard: Shard | None = None


def lookup_of(variable: keras.Variable) -> Lookup | None:
    """What a variable says of its rows; None for one that is no table."""
    return getattr(variable, "lookup", None)


@dataclass(frozen=True)
class Kind:
    """What features have in common that are looked up and pooled in one operation.

    Attributes:
        pooling: That of bags; None for single ids.
        length: Ids of a feature.
        weighted: Whether the ids come with weights.
        composed: Whether a vector is the product of two rows.
    """

    pooling: str | None
    length: int
    weighted: bool
    composed: bool


class Table(keras.layers.Layer):
    """All features of one width: each that owns rows has a block of them, so that a step gathers once.

    Features that are looked up and pooled alike are so in one operation. The vector of id ``i > 0`` is row
    ``i``; where a feature has ``num_remainder_buckets``, ``m``, it is the product of two rows, element by
    element, and ``(i - 1) mod m`` and ``(i - 1) div m`` choose them (Shi et al., KDD 2020)::

        e(i) = remainder_rows[1 + (i - 1) mod m] * quotient_rows[1 + (i - 1) div m]

    Args:
        features: The inputs.
        members: Those of this width, of which bags come after the others in the output.
        width: Numbers in a row.
        lookup: What the variable says of itself.
        targets: Members with single ids whose own vectors are asked for, too.
        reads: Members of histories, with the number of ids that are read of each, by the key of what reads
            them: they are not pooled, and take no part in the rest of the output.

    Shapes:
        ``{"ids": (batch, id columns), "numeric": (batch, numeric columns)}`` to a
        ``(batch, features x width)`` for each kind of feature, and a dict of float32 vectors: ``(batch,
        width)`` by the name of a target, and ``(batch, length, width)`` by the key of what is read. The ids
        that are read come with the input, ``"reads"``: ``(batch, length)`` by key.
    """

    def __init__(
        self,
        features: FeatureMap,
        members: Sequence[Feature],
        width: int,
        lookup: Lookup,
        targets: Collection[str] = (),
        reads: Mapping[str, tuple[Feature, int]] = MappingProxyType({}),
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.width = width
        self.starts: dict[str, int] = {}  # first row of each feature that owns rows
        # The same by part, first row and the one behind the last: (name,), or (name, part) of a composed one.
        self.row_ranges: dict[tuple[str, ...], tuple[int, int]] = {}
        rows = 0
        for owner in map(features.owner, members):
            if owner.name not in self.starts:
                self.starts[owner.name] = rows
                names = ("remainders", "quotients") if len(owner.parts) == 2 else ()
                for part, count in enumerate(owner.parts):
                    part_name = (owner.name, *names[part : part + 1])
                    self.row_ranges[part_name] = (rows, rows + count)
                    rows += count
        # Beyond that an int32, which ids are, cannot name a row of the table.
        self.row_type = tf.int32 if rows < 2**31 else tf.int64
        lookup.shard = shard = shard_of(rows, width, self.trainable)
        here = nullcontext() if shard is None else own_variables()
        with absent(rows, width) if are_elsewhere() else here:
            self.rows = self.add_weight(
                shape=(rows if shard is None else shard.held, width),
                initializer="zeros",
                name="rows",
                # A cast of the whole table under mixed precision would make its gradient dense.
                autocast=False,
                dtype="float32",
            )
        self.rows.lookup = lookup
        # Reads rows of a copy of the table in their place, in a model that is exported.
        self.read_rows: Callable[[tf.Tensor], tf.Tensor] | None = None
        for name, start in self.starts.items() if has_rows(self.rows.value) else ():
            for first, values in _initial_rows(features[name], width, features.folder):
                self._begin_with(start + first, values)
        kinds: dict[Kind, list[Feature]] = {}
        unpooled = {feature.name for feature, _ in reads.values()}
        pooled = [each for each in members if each.name not in unpooled]
        for feature in sorted(pooled, key=lambda each: each.type):  # categorical, then sequence
            kind = _kind(feature, features.owner(feature))
            kinds.setdefault(kind, []).append(feature)
        self.targets = set(targets)
        self.reads = {
            key: _Group(
                replace(_kind(feature, features.owner(feature)), length=length),
                [feature],
                [features.owner(feature)],
                self.starts,
                self.row_type,
            )
            for key, (feature, length) in reads.items()
        }
        self.groups = [
            _Group(kind, alike, [features.owner(f) for f in alike], self.starts, self.row_type)
            for kind, alike in kinds.items()
        ]
        columns = [column for group in self.groups for column in group.columns]
        whole = columns == list(range(features.id_columns))
        self.columns = None if whole else np.array(columns, np.int32)

    def _begin_with(self, first: int, values: np.ndarray) -> None:
        """Sets rows of the table from one of them on.

        All workers are given the same numbers, so that a row does not depend on how many they are.
        """
        begin, end, shard = first, first + len(values), self.rows.lookup.shard
        if shard is not None:
            values = values[shard.first_of(first) :: shard.size]
            begin, end = shard.range_of(begin, end)
        places = tf.range(begin, end, dtype=self.row_type)
        self.rows.value.scatter_update(tf.IndexedSlices(values, places))

    @property
    def side_by_side(self) -> list[Feature]:
        """The features whose vectors stand side by side in the output."""
        return [feature for group in self.groups for feature in group.features]

    @property
    def num_features(self) -> int:
        """How many these are."""
        return len(self.side_by_side)

    def call(self, inputs, training=False):
        """Vectors of single ids side by side and pooled bags, kind by kind; and what is handed out."""
        ids = inputs["ids"] if self.columns is None else tf.gather(inputs["ids"], self.columns, axis=1)
        members = tf.split(ids, [len(group.columns) for group in self.groups], axis=1) if self.groups else []
        rows = [rows for group, part in zip(self.groups, members, strict=True) for rows in group.rows(part)]
        rows += [rows for key, group in self.reads.items() for rows in group.rows(inputs["reads"][key])]
        vectors = iter(self._look_up(rows, training))
        batch = tf.shape(ids)[0]
        parts: list[tf.Tensor] = []
        handed_out: dict[str, tf.Tensor] = {}
        for group, part in zip(self.groups, members, strict=True):
            x = next(vectors) * next(vectors) if group.kind.composed else next(vectors)
            if group.kind.pooling is not None:
                shape = (batch, len(group.features), group.kind.length)
                weights = None
                if group.kind.weighted:
                    weights = tf.reshape(tf.gather(inputs["numeric"], group.weights, axis=1), shape)
                present = tf.reshape(part, shape) != PAD
                x = pool(tf.reshape(x, (*shape, self.width)), present, group.kind.pooling, weights)
            x = tf.reshape(x, (batch, len(group.features) * self.width))
            for i, feature in enumerate(group.features):
                if feature.name in self.targets:
                    handed_out[feature.name] = x[:, i * self.width : (i + 1) * self.width]
            parts.append(tf.cast(x, self.compute_dtype))
        for key, group in self.reads.items():
            x = next(vectors) * next(vectors) if group.kind.composed else next(vectors)
            handed_out[key] = tf.reshape(x, (batch, group.kind.length, self.width))
        return parts, handed_out

    def _look_up(self, rows: Sequence[tf.Tensor], training: bool) -> list[tf.Tensor]:
        """The vectors of each tensor of rows ``(rows in it, width)``: one gather for all."""
        flat = [tf.reshape(each, [-1]) for each in rows]
        joined = tf.concat(flat, axis=0)
        lookup = lookup_of(self.rows) or Lookup()
        before = None
        if training and lookup.before is not None:
            before = functools.partial(lookup.before, self.rows)
        if self.read_rows is not None:
            found = self.read_rows(joined)
        elif not has_rows(self.rows.value) and tf.executing_eagerly():
            found = tf.zeros((tf.size(joined), self.width))
        elif lookup.shard is not None:
            found = lookup.shard.look_up(self.rows.value, joined, lookup.distinct, before)
        else:
            if before is not None:
                before(joined)
            found = tf.gather(self.rows.value, joined)
        # Along its first axis a tensor is split without copying.
        return tf.split(found, tf.stack([tf.size(each) for each in flat]), num=len(flat))


def check_memory(owners: Iterable[tuple[Feature, int]], least: bool = False, shares: float = 1) -> None:
    """Says what large tables take, and refuses those that the machine cannot hold.

    Args:
        owners: The features that have rows, each with the width of a row.
        least: Whether some features may turn out larger.
        shares: How many workers share the tables.

    Raises:
        ValueError: They are larger than the memory; the message names the largest feature.
    """
    sizes = [(4 * width * sum(feature.parts) / shares, width, feature) for feature, width in owners]
    size, memory = sum(each for each, _, _ in sizes), memory_of_machine()
    rows = sum(sum(feature.parts) for _, _, feature in sizes)
    each = f" in each of {shares} workers" if shares > 1 else ""
    told = f"tables of {'at least ' if least else ''}{rows:,} rows take {size / GIB:,.1f} GiB{each}"
    if size > memory:
        taken, width, largest = max(sizes, key=lambda each: each[0])
        raise ValueError(
            f"{told}, and this machine has {memory / GIB:,.1f}. Feature {largest.name!r} has "
            f"{largest.vocab_size:,} ids, {taken / GIB:,.1f} GiB at embedding_dim {width}: raise its "
            "min_categr_count, lower num_buckets or vocab_size, set compositional: quotient_remainder, "
            "take a smaller embedding_dim, or spread the tables over processes: embedding_sharding: row."
        )
    if 3 * size > memory:
        logger.warning(
            "Embeddings: %s, the moments of Adam twice that again, and this machine has %s GiB.",
            told,
            f"{memory / GIB:,.1f}",
        )
    elif size > GIB:
        logger.info("Embeddings: %s; the moments of Adam take twice that again.", told)


def memory_of_machine() -> float:
    """Bytes that the process may use, a container's bound included; without an answer there is no bound."""
    try:
        memory = float(os.sysconf("SC_PAGE_SIZE")) * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # no such question on this system
        return math.inf
    try:
        return min(memory, float(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):  # no bound, which is written as "max"
        return memory


class _Group:
    """Features of one kind, and where their columns and rows are.

    Args:
        kind: What they have in common.
        features: The features.
        owners: Those whose rows they read.
        starts: First row of each owner.
        row_type: Of the numbers of rows.
    """

    def __init__(
        self,
        kind: Kind,
        features: Sequence[Feature],
        owners: Sequence[Feature],
        starts: dict[str, int],
        row_type: tf.DType,
    ):
        self.row_type = row_type
        self.kind = kind
        self.features = features
        places = range(kind.length)
        self.columns = [feature.start + place for feature in features for place in places]
        self.weights = [(feature.weight_start or 0) + place for feature in features for place in places]
        number = row_type.as_numpy_dtype
        self.starts = np.repeat(np.array([starts[o.name] for o in owners], number), kind.length)
        if kind.composed:
            self.remainders = np.repeat(np.array([o.parts[0] - 1 for o in owners], number), kind.length)

    def rows(self, ids: tf.Tensor) -> list[tf.Tensor]:
        """The rows of ids ``(batch, columns)``; of composed ids that of the remainder and the quotient's."""
        ids = tf.cast(ids, self.row_type)
        if not self.kind.composed:
            return [ids + self.starts]
        from_zero = tf.maximum(ids - 1, 0)
        real = tf.cast(ids != PAD, self.row_type)  # padding is the first row of both parts
        remainder = real * (1 + from_zero % self.remainders)
        quotient = real * (1 + from_zero // self.remainders)
        return [remainder + self.starts, quotient + self.starts + self.remainders + 1]


def _kind(feature: Feature, owner: Feature) -> Kind:
    pooling = feature.pooling if feature.type == "sequence" else None
    return Kind(pooling, feature.max_len, feature.weighted, owner.num_remainder_buckets is not None)


def _initial_rows(feature: Feature, width: int, folder: str) -> Iterator[tuple[int, np.ndarray]]:
    """Small random rows, or the pretrained ones, a chunk at a time with its first place; padding is zero."""
    pretrained = None
    if feature.pretrained is not None:
        pretrained = np.load(Path(folder) / feature.pretrained, mmap_mode="r")
        if pretrained.shape != (feature.vocab_size, width):
            raise ValueError(
                f"feature {feature.name!r}: pretrained rows in {feature.pretrained} have shape "
                f"{pretrained.shape}, but its table is {(feature.vocab_size, width)}. "
                f"Set its embedding_dim to {pretrained.shape[1]}."
            )
    # The product of two parts starts as wide as a single row.
    deviation = DEVIATION ** (1 / len(feature.parts))
    start = 0
    for part_number, part in enumerate(feature.parts):
        for first in range(0, part, CHUNK):
            last = min(first + CHUNK, part)
            if pretrained is None:
                # A new initializer for each chunk: one Keras initializer gives the same values again.
                initializer = keras.initializers.RandomNormal(stddev=deviation)
                rows = np.array(initializer((last - first, width), dtype="float32"))
            else:
                rows = np.array(pretrained[first:last], np.float32)
            # A single column has no padding, but an id 0 where it holds ids already: a product of two rows of
            # zeros would never leave zero.
            if first == PAD and (part_number == 0 or feature.type == "sequence"):
                rows[PAD] = 0.0
            yield start + first, rows
        start += part
