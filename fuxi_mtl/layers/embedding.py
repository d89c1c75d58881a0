"""Embedding of ids and numbers as one dense vector a row."""

import functools
import itertools
from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf

from fuxi_mtl.features import Feature, FeatureMap
from fuxi_mtl.layers.brick import Brick
from fuxi_mtl.layers.checks import check_range
from fuxi_mtl.layers.interactions import Interaction, make_interaction
from fuxi_mtl.layers.regularizers import penalty_gradient
from fuxi_mtl.layers.sequences.history import History
from fuxi_mtl.layers.shards import most_shares
from fuxi_mtl.layers.tables import Lookup, Table, check_memory
from fuxi_mtl.options.blocks.sequences import SequenceGroup, as_groups, check_group
from fuxi_mtl.options.layers import penalty as penalty_strengths


@keras.saving.register_keras_serializable("fuxi_mtl")
class FeatureEmbedding(Brick):
    """Looks up every id, pools the bags, encodes the histories, and puts the numbers beside.

    An interaction, if there is one, makes one vector of all of that.

    Features of one width share one table, each with its own block of rows, so a step needs one gather
    and one sparse update a width however many features there are. Gradients name only the rows of the
    batch. Pretrained features that are frozen lie in a table of their own that is not trained.

    An optimizer that knows rows, such as :class:`~fuxi_mtl.optimizers.SplitOptimizer`, finds the tables by
    what their variables say, and it is the one that adds the penalty's gradient: other optimizers move
    tables without it.

    Args:
        features: The inputs.
        embedding_dim: Width of the features that name none of their own.
        penalty: Regularizer of the rows of the batch, in FuxiCTR's notation.
        names: The features that it embeds; all unless said.
        sequences: Groups of columns that are encoded as one vector each, by name: blocks of a stanza, or
            :class:`~fuxi_mtl.options.blocks.SequenceGroup`. With `names` bags stay bags.
        interaction: A name of :data:`~fuxi_mtl.options.interactions.INTERACTIONS`, or a block with that
            ``type`` and its options. With `names` there is none.
        mlp: Options of :class:`~fuxi_mtl.layers.MLP`, for the stacks of the interaction.
        **kwargs: Options of any Keras layer: ``name``, ``trainable``, ``dtype``.

    Shapes:
        ``{"ids": (batch, id columns), "numeric": (batch, numeric columns)}`` to ``(batch, width)``.

    Raises:
        ValueError: A group of `sequences` or the interaction does not fit the features.

    >>> import tensorflow as tf
    >>> from fuxi_mtl.features import Feature, FeatureMap, assign_columns
    >>> columns = [Feature("user", "categorical", vocab_size=9), Feature("price", "numeric")]
    >>> embedding = FeatureEmbedding(FeatureMap("shop", assign_columns(columns)), embedding_dim=4)
    >>> tuple(embedding({"ids": tf.constant([[1], [8]]), "numeric": tf.constant([[0.5], [2.0]])}).shape)
    (2, 5)
    >>> embedding.column_ranges
    {'user': (0, 4), 'price': (4, 5)}
    """

    def __init__(
        self,
        features: FeatureMap,
        embedding_dim: int,
        penalty: float | str | None = None,
        names: Sequence[str] | None = None,
        sequences: Mapping | None = None,
        interaction: str | Mapping | None = None,
        mlp: Mapping | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_range("embedding_dim", embedding_dim, 1)
        self.features = features
        groups = as_groups(sequences if names is None else None)
        consumed = {column for group in groups.values() for column in group.consumed}
        looked_up = {column for group in groups.values() for column in (*group.columns, *group.extra)}
        targets = {target for group in groups.values() for target in group.columns.values() if target}
        self.members = [each for each in features.features if names is None or each.name in names]
        embedded = [each for each in self.members if each.name not in consumed - looked_up]
        self.members = [each for each in self.members if each.name not in consumed]
        penalised = any(penalty_strengths(penalty))  # what cannot be read is refused here, not in a step
        gradient = functools.partial(penalty_gradient, notation=penalty) if penalised else None
        widths: dict[tuple[int, bool], list[Feature]] = {}
        for feature in embedded:
            if feature.has_ids:
                owner = features.owner(feature)
                key = (owner.embedding_dim or embedding_dim, owner.trainable)
                widths.setdefault(key, []).append(feature)
        owned = {
            features.owner(each).name: width for (width, _), members in widths.items() for each in members
        }
        check_memory(((features[name], width) for name, width in owned.items()), shares=most_shares())
        self.vector_widths = {each.name: width for (width, _), members in widths.items() for each in members}
        self.histories = self._histories(groups)
        reads = {
            history.keys[column.name]: (column, history.keep)
            for history in self.histories.values()
            for column in history.columns
        }
        self.blocks = [
            Table(
                features,
                members,
                width,
                Lookup(gradient),
                targets & {each.name for each in members},
                {key: read for key, read in reads.items() if read[0] in members},
                trainable=trainable,
                name=f"table_{width}" + ("" if trainable else "_frozen"),
                dtype=self.dtype_policy,
            )
            for (width, trainable), members in widths.items()
        ]
        self.dense_columns = [
            column
            for feature in self.members
            if not feature.has_ids
            for column in range(feature.columns.start, feature.columns.stop)
        ]
        self.interaction = self.interaction_behind(interaction if names is None else None, mlp)

    def build(self, input_shape=None):
        """Creates encoders of histories and the interaction; tables need no input to know their shape."""
        for history in self.histories.values():
            history.build()
        if self.interaction is not None:
            self.interaction.build((None, self._width))

    def call(self, inputs):
        """All embeddings, then the histories, then the numbers; or what the interaction makes of them."""
        events = {name: history.events(inputs["ids"]) for name, history in self.histories.items()}
        if self.histories:
            reads = {key: ids for read in events.values() for key, ids in read["ids"].items()}
            inputs = {**inputs, "reads": reads}
        found = [block(inputs) for block in self.blocks]
        parts = [part for pooled, _ in found for part in pooled]
        vectors = {name: x for _, handed_out in found for name, x in handed_out.items()}
        for name, history in self.histories.items():
            parts.append(history({"events": events[name], "vectors": vectors}))
        if self.dense_columns:
            parts.append(
                tf.cast(tf.gather(inputs["numeric"], self.dense_columns, axis=1), self.compute_dtype)
            )
        x = tf.concat(parts, axis=1)
        return x if self.interaction is None else self.interaction(x)

    def compute_output_shape(self, input_shape):
        """See the class."""
        width = self._width if self.interaction is None else self.interaction.output_width
        return (next(iter(input_shape.values()))[0], width)

    @property
    def _width(self) -> int:
        *_, (_, width) = self.column_ranges.values()
        return width

    @property
    def bare_numbers(self) -> list[str]:
        """The features without ids."""
        return [feature.name for feature in self.members if not feature.has_ids]

    def keras_inputs(self) -> dict[str, keras.KerasTensor]:
        """What this layer is called with in a functional model."""
        widths = {
            "ids": (self.features.id_columns, "int32"),
            "numeric": (self.features.numeric_columns, "float32"),
        }
        return {
            name: keras.Input((width,), dtype=dtype, name=name)
            for name, (width, dtype) in widths.items()
            if width
        }

    @property
    def order(self) -> list[str]:
        """The features and histories in the order of their vectors and numbers in the output."""
        return [
            *(feature.name for block in self.blocks for feature in block.side_by_side),
            *self.histories,
            *self.bare_numbers,
        ]

    def interaction_behind(
        self, spec: str | Mapping | None, mlp: Mapping | None, columns: Mapping | None = None
    ) -> Interaction | None:
        """An interaction of what this layer gives, or of some of it.

        Args:
            spec: See the class.
            mlp: See the class.
            columns: Where the features are in what it is given; as in the output unless said.
        """
        columns = columns or self.column_ranges
        numbers = [name for name in self.bare_numbers if name in columns]
        return make_interaction(spec, columns, numbers, mlp, name="interaction", dtype=self.dtype_policy)

    def _histories(self, groups: Mapping[str, SequenceGroup]) -> dict[str, History]:
        """What encodes each group."""
        histories = {}
        for name, group in groups.items():
            if name in (each.name for each in self.members):
                raise ValueError(f"sequences.{name} is called like a feature. Give the group another name.")
            check_group(name, group, self.features, self.vector_widths)
            histories[name] = History(
                self.features, group, self.vector_widths, name=name, dtype=self.dtype_policy
            )
        return histories

    @property
    def column_ranges(self) -> dict[str, tuple[int, int]]:
        """The first column of each feature or history and the one behind its last, in order.

        They are those of the output, or of what the interaction is given.
        """
        widths = self.vector_widths | {name: history.output_width for name, history in self.histories.items()}
        column_ranges, start = {}, 0
        for name in self.order:
            end = start + (widths[name] if name in widths else self.features[name].max_len)
            column_ranges[name] = (start, end)
            start = end
        return column_ranges

    def learnt_parts(self, x: tf.Tensor) -> tuple[list[tf.Tensor], tf.Tensor]:
        """Parts of an output of this layer, and the output made of all of its parts.

        A trained variable lies behind each part: those of bare numbers and frozen vectors are left out. What
        an interaction gives is one part.

        Raises:
            ValueError: There is no such part.
        """
        if self.interaction is not None:
            return [x], x
        widths = [(block.num_features * block.width, block.trainable) for block in self.blocks]
        widths += [(each.output_width, self._is_learnt(each)) for each in self.histories.values()]
        widths += [(len(self.dense_columns), False)] if self.dense_columns else []
        widths = [(width, is_learnt) for width, is_learnt in widths if width]
        if not any(is_learnt for _, is_learnt in widths):
            raise ValueError(
                "representation_columns: learnt looks at trained embeddings, and no feature has one: use all."
            )
        parts = tf.split(x, [width for width, _ in widths], axis=1)
        learnt = [part for part, (_, is_learnt) in zip(parts, widths, strict=True) if is_learnt]
        return learnt, tf.concat(parts, axis=1)

    def _is_learnt(self, history: History) -> bool:
        """Whether a trained variable lies behind an encoded history."""
        tables = (block for block in self.blocks if block.trainable)
        read = set(history.keys.values())
        return bool(history.trainable_variables or any(read & set(block.reads) for block in tables))

    def field_counts(self) -> dict[int, int]:
        """The number of features with ids, by the width of their vectors; columns of histories among them."""
        counts: dict[int, int] = {}
        for block in self.blocks:
            counts[block.width] = counts.get(block.width, 0) + block.num_features
        for width in self._pieces():
            counts[width] = counts.get(width, 0) + 1
        return {width: count for width, count in counts.items() if count}

    def _pieces(self) -> list[int]:
        """Widths of the vectors in the encoded histories, in their order."""
        return list(itertools.chain(*(history.pieces for history in self.histories.values())))

    def fields(self, x: tf.Tensor) -> dict[int, tf.Tensor]:
        """The vectors of the features with ids in an output of this layer without interaction, by width.

        Args:
            x: ``(batch, width)``.

        Returns:
            ``(batch, features, width of a vector)`` tensors.
        """
        found: dict[int, list[tf.Tensor]] = {}
        start = 0
        for block in self.blocks:
            end = start + block.num_features * block.width
            vectors = tf.reshape(x[:, start:end], (-1, block.num_features, block.width))
            if block.num_features:
                found.setdefault(block.width, []).append(vectors)
            start = end
        for width in self._pieces():
            found.setdefault(width, []).append(x[:, None, start : start + width])
            start += width
        return {width: tf.concat(vectors, axis=1) for width, vectors in found.items()}

    def numbers(self, x: tf.Tensor) -> tf.Tensor:
        """The numbers in an output of this layer, ``(batch, numbers)``, without interaction."""
        return x[:, x.shape[1] - len(self.dense_columns) :]


def check_tables(model: keras.Model, features: FeatureMap, shares: int = 1) -> None:
    """Refuses a model that would be too large with inputs of at least these sizes.

    Args:
        model: The same model on inputs of the smallest size.
        features: Its inputs.
        shares: How many workers share its tables.

    Raises:
        ValueError: Its tables would be larger than the memory.
    """
    tables = [layer for layer in model._flatten_layers() if isinstance(layer, Table)]
    check_memory([(features[name], table.width) for table in tables for name in table.starts], True, shares)
