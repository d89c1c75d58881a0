"""Columns of an encoded batch: the contract between data and network.

A batch is a dict of three arrays, row i of each being exposure i:

    ``ids``      (batch, id columns) int32: one column a categorical feature, ``max_len`` columns a
                 sequence. Ids are per feature: 0 is padding, ``vocab_size - 1`` is unknown (OOV).
    ``numeric``  (batch, numeric columns) float32: normalised numbers, dense vectors and the weights
                 of weighted bags. A missing number is already filled.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

import numpy as np

PAD = 0


@dataclass(frozen=True)
class Feature:
    """One input of the network.

    Attributes:
        name: The feature's name; also the name of its input in the exported SavedModel.
        type: ``categorical`` (one id), ``sequence`` (a bag of ids), ``numeric`` (one number) or
            ``embedding`` (a dense vector that comes with the data).
        source: Free text that groups features ("user", "item").
        vocab_size: Number of ids, padding and OOV included; 0 for numbers.
        max_len: Ids in a bag, or length of a dense vector; 1 otherwise.
        num_remainder_buckets: Remainders of an embedding composed of two rows, quotient and remainder of the
            id; None means a row for each id.
        embedding_dim: Width of this feature's embedding; None means the model's.
        share_embedding: Name of the feature whose table this one reads; None means its own.
        pooling: How a bag becomes one vector, over its true length.
        order: How the ids of a sequence come, ``oldest_first`` or ``newest_first``; None if nothing says it.
        weighted: Whether each id of the bag comes with a weight (numeric columns ``weight_start``...).
        pretrained: File of the pretrained rows in the encoded dataset's folder, or None.
        trainable: False keeps pretrained rows as they are.
        start: First column in ``ids`` (categorical, sequence) or in ``numeric`` (the others).
        weight_start: First column in ``numeric`` of a weighted bag's weights, else None.

    Example:
        >>> Feature("recent", "sequence", vocab_size=50, max_len=5).columns
        slice(0, 5, None)
    """

    name: str
    type: str
    source: str = ""
    vocab_size: int = 0
    max_len: int = 1
    num_remainder_buckets: int | None = None
    embedding_dim: int | None = None
    share_embedding: str | None = None
    pooling: str = "mean"
    order: str | None = None
    weighted: bool = False
    pretrained: str | None = None
    trainable: bool = True
    start: int = 0
    weight_start: int | None = None

    @property
    def has_ids(self) -> bool:
        """Whether the feature is looked up in a table."""
        return self.type in ("categorical", "sequence")

    @property
    def parts(self) -> tuple[int, ...]:
        """Rows of its table, or of its remainders and its quotients; the first of each part is padding."""
        if self.num_remainder_buckets is None:
            return (self.vocab_size,)
        # Ids from 1 to vocab_size - 1.
        quotients = -(-(self.vocab_size - 1) // self.num_remainder_buckets)
        return (self.num_remainder_buckets + 1, quotients + 1)

    @property
    def columns(self) -> slice:
        """Its columns in ``ids`` or in ``numeric``."""
        return slice(self.start, self.start + self.max_len)


@dataclass(frozen=True)
class LabelUnit:
    """The unit in which a regression label is learnt: ``(f(y) - offset) / scale``.

    Attributes:
        offset: Mean of f(y) over the training rows, or its least value.
        scale: Its standard deviation, or its range.
        log: Whether f is ``log(1 + y)``.
    """

    offset: float = 0.0
    scale: float = 1.0
    log: bool = False


class RowReader(Protocol):
    """What turns raw rows into a batch, and predictions into what the rows came in."""

    def reads(self, rows: Any) -> bool:
        """Whether these are raw rows."""

    def encode(self, rows: Any) -> tuple[np.ndarray, np.ndarray]:
        """``ids`` and ``numeric`` of raw rows."""

    def like(self, rows: Any, columns: Mapping[str, np.ndarray]) -> Any:
        """Columns as a frame of the kind of these rows."""


@dataclass(frozen=True)
class FeatureMap:
    """All inputs of one encoded dataset, and its label columns.

    Attributes:
        dataset_id: Name of the dataset's stanza.
        features: The inputs, in the order of ``feature_cols``.
        labels: Label columns, in the order of ``label_col``.
        label_units: The unit of each label that has a normalizer.
        label_classes: The classes of each label that has some, by their ids from 0.
        folder: Where the encoded data lie (pretrained files are relative to it).
        reader: Encodes raw rows, where that is known.

    Example:
        >>> user, price = Feature("user", "categorical", vocab_size=9), Feature("price", "numeric")
        >>> FeatureMap("shop", (user, price)).id_columns
        1
    """

    dataset_id: str
    features: tuple[Feature, ...]
    labels: tuple[str, ...] = ()
    label_units: Mapping[str, LabelUnit] = field(default_factory=dict, hash=False)
    label_classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    folder: str = field(default="", compare=False)
    reader: RowReader | None = field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, dataset_id: str, features: Iterable[Feature], labels: Iterable[str] = ()) -> "FeatureMap":
        """A map of features that take their columns in the order in which they come.

        >>> columns = [Feature("item", "categorical", vocab_size=9), Feature("price", "numeric")]
        >>> features = FeatureMap.of("shop", columns)
        >>> features.id_columns, features.numeric_columns
        (1, 1)
        """
        return cls(dataset_id, assign_columns(list(features)), tuple(labels))

    @property
    def id_columns(self) -> int:
        """Width of ``ids``."""
        return sum(f.max_len for f in self.features if f.has_ids)

    @property
    def numeric_columns(self) -> int:
        """Width of ``numeric``, the weights of bags included."""
        dense = sum(f.max_len for f in self.features if not f.has_ids)
        return dense + sum(f.max_len for f in self.features if f.weighted)

    @property
    def total_features(self) -> int:
        """Number of ids over all tables, as FuxiCTR counts it."""
        return sum(f.vocab_size for f in self.features if f.has_ids and f.share_embedding is None)

    def __iter__(self) -> Iterator[Feature]:
        return iter(self.features)

    def __getitem__(self, name: str) -> Feature:
        for feature in self.features:
            if feature.name == name:
                return feature
        raise KeyError(name)

    def owner(self, feature: Feature) -> Feature:
        """The feature whose table `feature` reads: itself, or the end of its ``share_embedding`` chain.

        Raises:
            ValueError: The chain runs in a circle.
        """
        seen = [feature.name]
        while feature.share_embedding is not None:
            feature = self[feature.share_embedding]
            if feature.name in seen:
                raise ValueError(f"feature {seen[0]!r} has no table: share_embedding goes in a circle.")
            seen.append(feature.name)
        return feature

    def to_json(self) -> dict:
        """FuxiCTR's ``feature_map.json``, with our keys in each feature's entry."""
        units, classes = self.label_units.items(), self.label_classes.items()
        return {
            "dataset_id": self.dataset_id,
            "num_fields": len(self.features),
            "total_features": self.total_features,
            "input_length": self.id_columns + self.numeric_columns,
            "labels": list(self.labels),
            **({"label_units": {name: asdict(unit) for name, unit in units}} if units else {}),
            **({"label_classes": {name: list(each) for name, each in classes}} if classes else {}),
            "features": [
                {f.name: {**{k: v for k, v in asdict(f).items() if k != "name"}, "padding_idx": PAD}}
                for f in self.features
            ],
        }

    @classmethod
    def from_json(cls, content: dict, folder: str = "") -> "FeatureMap":
        """Reads what :meth:`to_json` wrote."""
        features = []
        for entry in content["features"]:
            ((name, attributes),) = entry.items()
            attributes = {k: v for k, v in attributes.items() if k != "padding_idx"}
            features.append(Feature(name=name, **attributes))
        units = {name: LabelUnit(**unit) for name, unit in content.get("label_units", {}).items()}
        classes = {name: tuple(each) for name, each in content.get("label_classes", {}).items()}
        labels = tuple(content["labels"])
        return cls(content["dataset_id"], tuple(features), labels, units, classes, folder)


def assign_columns(features: list[Feature]) -> tuple[Feature, ...]:
    """Gives each feature its columns: ids in order, then numbers, then the weights of bags."""
    placed, ids, numeric = [], 0, 0
    for feature in features:
        if feature.has_ids:
            placed.append(replace(feature, start=ids))
            ids += feature.max_len
        else:
            placed.append(replace(feature, start=numeric))
            numeric += feature.max_len
    for i, feature in enumerate(placed):
        if feature.weighted:
            placed[i] = replace(feature, weight_start=numeric)
            numeric += feature.max_len
    return tuple(placed)
