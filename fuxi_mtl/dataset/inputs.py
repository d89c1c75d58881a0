"""Rules of the inputs, as the entries of ``feature_cols`` ask for them."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from fuxi_mtl.dataset import raw
from fuxi_mtl.dataset.bags import Bag
from fuxi_mtl.dataset.errors import BadEntryError, DataError
from fuxi_mtl.dataset.rules import LOG2_BOUNDARIES, Buckets, HashBuckets, Ids, Number, Rule, Vocabulary
from fuxi_mtl.features import Feature, FeatureMap, assign_columns
from fuxi_mtl.hints import did_you_mean
from fuxi_mtl.options import POOLING_OF_ENCODER, DatasetOptions, FeatureOptions
from fuxi_mtl.options.tokens import token_of

MOST_IDS = 2**31 - 3  # padding and OOV beside them


@dataclass(frozen=True)
class Input:
    """One input of the network before it is fitted.

    Attributes:
        options: Its entry of ``feature_cols``.
        rule: The rule, without what the training rows will tell.
        bag: Its layout, with ``max_len`` 0 if the training rows decide; None for a single entry a row.
        shares: The feature whose table it reads, or None.
        min_count: Rarer tokens are OOV.
        single: Whether numbers are scaled in float32 whatever that loses, as encodings of format 1 were.
    """

    options: FeatureOptions
    rule: Rule
    bag: Bag | None
    shares: str | None
    min_count: int
    single: bool = False

    @property
    def name(self) -> str:
        """Its column."""
        return str(self.options.name)

    @property
    def feature_type(self) -> str:
        """Its type in the feature map; a number in buckets is a category there."""
        if self.options.type == "numeric" and not isinstance(self.rule, Number):
            return "categorical"
        return self.options.type

    @property
    def pooling(self) -> str:
        """How a bag is pooled."""
        return self.options.pooling or POOLING_OF_ENCODER.get(self.options.feature_encoder or "", "mean")

    def feature(self, vocab_size: int, max_len: int) -> Feature:
        """The input as the network knows it, once its sizes are known."""
        remainders = None
        if self.options.compositional:
            remainders = self.options.num_remainder_buckets or math.isqrt(max(vocab_size - 2, 0)) + 1
        return Feature(
            name=self.name,
            type=self.feature_type,
            source=self.options.source,
            vocab_size=vocab_size,
            max_len=max_len,
            num_remainder_buckets=remainders,
            embedding_dim=self.options.embedding_dim,
            share_embedding=self.shares,
            pooling=self.pooling,
            order=self.options.order,
            weighted=bool(self.bag and self.bag.weights),
            trainable=not self.options.freeze_emb,
        )


def single_columns(options: DatasetOptions) -> list[FeatureOptions]:
    """The active entries of ``feature_cols``, one a column."""
    entries = []
    for feature in options.feature_cols:
        names = [feature.name] if isinstance(feature.name, str) else feature.name
        entries += [replace(feature, name=name) for name in names if feature.active]
    return entries


def meta_columns(options: DatasetOptions) -> list[FeatureOptions]:
    """The columns that are carried along."""
    return [feature for feature in single_columns(options) if feature.type == "meta"]


def plan_inputs(options: DatasetOptions) -> tuple[Input, ...]:
    """The inputs in the order of ``feature_cols``.

    Raises:
        DataError: Options of a feature contradict each other.
    """
    features = {str(f.name): f for f in single_columns(options) if f.type != "meta"}
    if not features:
        raise DataError("feature_cols has no active input.")
    inputs = []
    for feature in features.values():
        owner = _owner(feature, features)
        _check_ids(feature, owner)
        rule = _rule(feature, owner, options)
        least = owner.min_categr_count or options.min_categr_count
        shares = None if owner is feature else str(owner.name)
        bag = _bag(feature)
        if bag and isinstance(rule, Ids):
            bag = replace(bag, zeros=False)
        inputs.append(Input(feature, rule, bag, shares, least))
    return tuple(inputs)


def as_in_format_1(given: Input) -> Input:
    """The input as version 0.1.0 encoded it, see :mod:`fuxi_mtl.dataset.encoding`."""
    rule = given.rule
    if isinstance(rule, (Vocabulary, HashBuckets)) and rule.dtype != "int":
        rule = replace(rule, dtype="text")
    elif isinstance(rule, Ids):
        rule = replace(rule, unknown=rule.count - 1)
    return replace(given, rule=rule, bag=given.bag and replace(given.bag, gaps=True, zeros=True), single=True)


def declared_features(options: DatasetOptions, dataset_id: str) -> FeatureMap:
    """The inputs at the sizes that their stanza says, and the smallest where the data will tell.

    Raises:
        DataError: Options of a feature contradict each other.
    """
    features = [
        each.feature(_declared_size(each.rule), (each.bag and each.bag.max_len) or 1)
        for each in plan_inputs(options)
    ]
    return FeatureMap(dataset_id, assign_columns(features), label_classes=_dummy_classes(options))


def _dummy_classes(options: DatasetOptions) -> dict[str, tuple[str, ...]]:
    """The classes of labels as the stanza has them; else the fewest."""
    found = {}
    for label in options.label_col:
        if label.kind == "classes" and isinstance(label.decoder, dict):
            found[label.name] = tuple(map(token_of, label.decoder.get("classes") or (0, 1)))
    return found


def _declared_size(rule: Rule) -> int:
    if isinstance(rule, Number):
        return 0
    if isinstance(rule, HashBuckets):
        return rule.buckets + 2
    if isinstance(rule, Buckets) and rule.boundaries:
        return len(rule.boundaries) + 3
    return rule.unknown + 1 if isinstance(rule, Ids) else 3


def dummy_features(options: DatasetOptions, dataset_id: str) -> FeatureMap:
    """The inputs at the smallest sizes they could have: enough to try a model on before any data are read.

    Raises:
        DataError: Options of a feature contradict each other.
    """
    features = [
        each.feature(_dummy_size(each.rule), (each.bag and each.bag.max_len) or 1)
        for each in plan_inputs(options)
    ]
    return FeatureMap(dataset_id, assign_columns(features), label_classes=_dummy_classes(options))


def _dummy_size(rule: Rule) -> int:
    if isinstance(rule, Buckets) and rule.boundaries:  # those of gaps of time are known beforehand
        return len(rule.boundaries) + 3
    return 0 if isinstance(rule, Number) else 3


def _owner(feature: FeatureOptions, features: dict[str, FeatureOptions]) -> FeatureOptions:
    """The feature at the end of the chain of share_embedding."""
    seen = [str(feature.name)]
    while feature.share_embedding is not None:
        target = feature.share_embedding
        if target not in features:
            raise DataError(
                f"feature {feature.name!r}: share_embedding names {target!r}, which is no active input."
                f"{did_you_mean(target, features)} Inputs: {', '.join(features)}."
            )
        if target in seen:
            raise DataError(f"share_embedding goes in a circle: {' -> '.join([*seen, target])}.")
        seen.append(target)
        feature = features[target]
    return feature


def _check_ids(feature: FeatureOptions, owner: FeatureOptions) -> None:
    """Ids are int32, and only a feature with rows of its own can compose them."""
    for key in ("num_buckets", "vocab_size"):
        if (getattr(owner, key) or 0) > MOST_IDS:
            raise DataError(
                f"feature {owner.name!r}: {key} is {getattr(owner, key)}; the most is {MOST_IDS}, as ids are "
                "int32."
            )
    if feature.compositional and (
        feature.type not in ("categorical", "sequence") or feature.share_embedding or feature.pretrained_emb
    ):
        raise DataError(
            f"feature {feature.name!r}: compositional is for a categorical or sequence feature with an "
            "embedding of its own that is not pretrained."
        )
    if feature.num_remainder_buckets and not feature.compositional:
        raise DataError(
            f"feature {feature.name!r}: num_remainder_buckets has no effect without compositional: "
            "quotient_remainder."
        )


def _rule(feature: FeatureOptions, owner: FeatureOptions, options: DatasetOptions) -> Rule:
    if feature.type == "embedding":
        return Number()
    if feature.type == "numeric" and not feature.category_processor:
        fill, log = _filling(feature, _number), feature.normalizer == "log1p"
        if log and fill is not None and fill <= -1:
            raise DataError(
                f"feature {feature.name!r}: fill_na {fill:g} has no logarithm; normalizer: log1p asks for a "
                "number above -1."
            )
        return Number(fill_na=fill, log=log)
    if "log2_bucket" in (feature.category_processor, owner.category_processor):
        return _logarithms(feature, owner)
    if owner.category_processor and not owner.num_buckets:
        raise DataError(
            f"feature {owner.name!r}: category_processor {owner.category_processor} needs num_buckets."
        )
    text = _filling(feature, lambda entries: str(raw.tokens(entries, feature.dtype)[0]))
    if feature.type == "sequence":
        text = None  # The bag's: it is a whole sequence.
    if owner.category_processor == "quantile_bucket":
        if feature.type == "sequence" or owner is not feature:
            raise DataError(
                f"feature {feature.name!r}: quantile_bucket is for a single number of its own; "
                "use hash_bucket or a vocabulary for sequences and shared tables."
            )
        return Buckets((), fill_na=_filling(feature, _number))
    if owner.category_processor == "hash_bucket":
        return HashBuckets(owner.num_buckets or 0, feature.dtype, text)
    if not (owner.remap and options.rebuild_dataset):
        if owner.vocab_size is None:
            raise DataError(
                f"feature {owner.name!r} already holds ids (remap or rebuild_dataset is false): "
                "vocab_size must say how many."
            )
        fill = None if feature.type == "sequence" else _filling(feature, lambda x: int(raw.integers(x)[0]))
        return Ids(owner.vocab_size, fill)
    return Vocabulary(str(owner.name), feature.dtype, text)


def _logarithms(feature: FeatureOptions, owner: FeatureOptions) -> Rule:
    """The rule of times that have passed."""
    if feature.category_processor != owner.category_processor:
        raise DataError(
            f"feature {feature.name!r}: features that share a table have category_processor log2_bucket "
            f"both, or neither; {owner.name!r} is the other one."
        )
    least = None if feature.clip_negative_gaps else 0.0
    fill = None if feature.type == "sequence" else _filling(feature, _number)
    return Buckets(LOG2_BOUNDARIES, fill_na=fill, double=True, least=least)


def _bag(feature: FeatureOptions) -> Bag | None:
    if feature.weights is not None and feature.type != "sequence":
        raise DataError(
            f"feature {feature.name!r}: weights is for a sequence, but its type is {feature.type}."
        )
    if feature.weights is not None and feature.weights == feature.name:
        raise DataError(
            f"feature {feature.name!r}: weights names its own bag; it is a column with a weight for each id."
        )
    if feature.order is not None and feature.type != "sequence":
        raise DataError(f"feature {feature.name!r}: order is for a sequence, but its type is {feature.type}.")
    if feature.type not in ("sequence", "embedding"):
        return None
    if feature.splitter == "":
        raise DataError(f"feature {feature.name!r}: splitter is empty: nothing would be split.")
    fill = None if feature.fill_na is None else str(feature.fill_na)
    layout = (feature.max_len or 0, feature.splitter or "^", feature.padding)
    return Bag(*layout, feature.weights, fill, gaps=feature.type == "embedding", order=feature.order)


def _number(entries: pl.Series) -> float:
    number = float(raw.doubles(entries)[0])
    return number if np.isfinite(number) else float("nan")


def _filling(feature: FeatureOptions, read: Callable[[pl.Series], object]):
    """``fill_na`` as the column's entries are read; empty text means that there is none."""
    if feature.fill_na is None or feature.fill_na == "":
        return None
    try:
        return read(pl.Series(str(feature.name), [str(feature.fill_na)]))
    except BadEntryError as error:
        raise DataError(
            f"feature {feature.name!r}: fill_na {feature.fill_na!r} is not {error.wanted}, as its dtype asks."
        ) from None
