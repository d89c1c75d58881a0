"""Columns of a dataset: name lists spelled out, ``feature_specs`` and ``use_features`` applied."""

from collections.abc import Iterable
from dataclasses import fields, replace
from typing import Any

from fuxi_mtl.config.stanzas import Settings
from fuxi_mtl.hints import did_you_mean
from fuxi_mtl.options import POOLING_OF_ENCODER, DatasetOptions, ExperimentOptions, FeatureOptions
from fuxi_mtl.options.mistakes import Mistakes
from fuxi_mtl.options.source_location import Located
from fuxi_mtl.options.values import converted_fields

_PRETRAINED = ("pretrain_dim", "pretrain_usage", "freeze_emb")
_WITH_IDS = ("categorical", "sequence")


def select_columns(
    settings: Settings, dataset: DatasetOptions, experiment: ExperimentOptions
) -> DatasetOptions:
    """The dataset with the columns that this experiment uses, one entry a column.

    Inactive columns are dropped. ``use_features`` selects inputs and leaves meta columns alone.

    Raises:
        ConfigError: A column is named twice or is unknown, or its options contradict each other.
    """
    features = _spelled_out(settings, dataset.feature_cols)
    for key in ("feature_specs", "feature_config"):
        features = _respecified(settings, key, features)
    features = {key: entry for key, entry in features.items() if entry[0].active}
    if experiment.use_features is not None:
        features = _used(settings, experiment.use_features, features)
    mistakes = Mistakes()
    for feature, location in features.values():
        with mistakes.noted(("feature", location.location)):
            _check_feature(feature, location)
        with mistakes.noted(("ids", location.location)):
            _check_ids(feature, location, dataset)
        with mistakes.noted(("shared", location.location)):
            _check_shared(feature, location, [each for each, _ in features.values()])
    mistakes.tell()
    if not any(feature.type != "meta" for feature, _ in features.values()):
        raise settings.error("feature_cols", "feature_cols has no active input.")
    return replace(dataset, feature_cols=[feature for feature, _ in features.values()])


_Columns = dict[tuple[str, bool], tuple[FeatureOptions, Located]]  # key: name and whether it is meta


def _items(settings: Settings, key: str) -> list[Located]:
    entry = settings.entries.get(key)
    if entry is None or entry.value is None:
        return []
    return entry.value if isinstance(entry.value, list) else [entry]


def _names(feature: FeatureOptions, entry: Located, key: str) -> list[str]:
    names = [feature.name] if isinstance(feature.name, str) else list(feature.name)
    if not names or not all(names):
        raise entry.error(f"{key} has an entry without a name.")
    for name in names:
        if any(not mark.isprintable() for mark in name):
            raise entry.error(f"{key}: the name {name!r} holds control characters. Rename the column.")
    return names


def _spelled_out(settings: Settings, entries: Iterable[FeatureOptions]) -> _Columns:
    columns: _Columns = {}
    for feature, entry in zip(entries, _items(settings, "feature_cols"), strict=True):
        for name in _names(feature, entry, "feature_cols"):
            # A column may be an input and be carried along as it is, but nothing twice.
            key = (name, feature.type == "meta")
            if key in columns:
                raise entry.error(
                    f"feature_cols names {name!r} twice; the first is in {columns[key][1].location}."
                )
            columns[key] = (replace(feature, name=name), entry)
    return columns


def _respecified(settings: Settings, key: str, features: _Columns) -> _Columns:
    changed = dict(features)
    for entry in _items(settings, key):
        given = converted_fields(entry, FeatureOptions, key)
        for name in _names(FeatureOptions(name=given.pop("name", "")), entry, key):
            targets = [each for each in features if each[0] == name]
            if not targets:
                raise entry.error(_unknown(key, name, features))
            for target in targets:
                feature, location = changed[target]
                changed[target] = (replace(feature, **given), location)
    return changed


def _used(settings: Settings, names: Iterable[str], features: _Columns) -> _Columns:
    inputs = {key[0]: key for key in features if not key[1]}
    for name in names:
        if name not in inputs:
            raise settings.error("use_features", _unknown("use_features", name, inputs.values()))
    wanted = {inputs[name] for name in names}
    return {key: entry for key, entry in features.items() if key[1] or key in wanted}


def _unknown(key: str, name: str, features: Iterable[tuple[str, bool]]) -> str:
    known = [each for each, _ in features]
    what = "active feature" if key == "use_features" else "feature"
    return (
        f"{key} names {name!r}, which is no {what}.{did_you_mean(name, known)} Features: {', '.join(known)}."
    )


def _check_feature(feature: FeatureOptions, entry: Located) -> None:
    name = f"feature_cols ({feature.name})"
    default: dict[str, Any] = {each.name: each.default for each in fields(FeatureOptions)}
    if feature.pretrained_emb is None:
        for key in _PRETRAINED:
            if getattr(feature, key) != default[key]:
                raise entry.error(f"{name}: {key} has no effect without pretrained_emb, the file.")
    if feature.num_buckets is not None and feature.category_processor is None:
        raise entry.error(f"{name}: num_buckets has no effect without category_processor.")
    is_log = feature.category_processor == "log2_bucket"
    if feature.clip_negative_gaps and not is_log:
        raise entry.error(
            f"{name}: clip_negative_gaps has no effect without category_processor: log2_bucket."
        )
    if is_log and feature.num_buckets is not None:
        raise entry.error(f"{name}: num_buckets has no effect with log2_bucket, which has 32.")
    if is_log and feature.type not in ("sequence", "numeric"):
        raise entry.error(f"{name}: log2_bucket is for numbers: type sequence or numeric.")
    if feature.category_processor is not None and not is_log and feature.num_buckets is None:
        raise entry.error(f"{name}: category_processor {feature.category_processor} needs num_buckets.")
    encoded = POOLING_OF_ENCODER.get(feature.feature_encoder or "")
    if encoded and feature.pooling and encoded != feature.pooling:
        raise entry.error(
            f"{name}: feature_encoder {feature.feature_encoder} is {encoded} pooling, "
            f"but pooling is {feature.pooling}. Remove one."
        )


def _check_ids(feature: FeatureOptions, entry: Located, dataset: DatasetOptions) -> None:
    """A column that already holds ids says how many there are."""
    if feature.type not in _WITH_IDS or feature.vocab_size is not None or feature.share_embedding:
        return
    for key, encodes in (("remap", feature.remap), ("rebuild_dataset", dataset.rebuild_dataset)):
        if not encodes:
            raise entry.error(
                f"feature_cols ({feature.name}): {key}: false says that the column holds ids; "
                "vocab_size must say how many."
            )


def _check_shared(feature: FeatureOptions, entry: Located, features: Iterable[FeatureOptions]) -> None:
    target = feature.share_embedding
    if target is None:
        return
    tables = [str(f.name) for f in features if f.type in _WITH_IDS and f.name != feature.name]
    if target not in tables:
        raise entry.error(
            f"feature_cols ({feature.name}): share_embedding names {target!r}, which is no other active "
            f"categorical or sequence feature.{did_you_mean(target, tables)} "
            f"Features: {', '.join(tables) or 'none'}."
        )
