"""The inputs of a split as covariates: its numbers, and its most frequent ids as indicators."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from fuxi_mtl.features import Feature, FeatureMap


def covariates(
    features: FeatureMap,
    ids: np.ndarray,
    numeric: np.ndarray,
    tokens: Mapping[str, Sequence[str]],
    indicators: int = 3,
) -> Iterator[tuple[str, np.ndarray]]:
    """Name and ``(rows,)`` values of one covariate after the other.

    Args:
        features: What the columns mean.
        ids: ``(rows, id columns)``.
        numeric: ``(rows, numeric columns)``, encoded.
        tokens: The vocabulary of each table; token i has the id i + 1.
        indicators: How many ids of a categorical feature count, the most frequent of these rows; a sequence
            and a dense vector that comes with the data count for nothing.
    """
    for feature in features.features:
        if feature.type == "numeric":
            yield feature.name, np.asarray(numeric[:, feature.start], np.float64)
        elif feature.type == "categorical":
            column = np.asarray(ids[:, feature.start])
            for each in _most_frequent(column, indicators):
                yield f"{feature.name}={_token(features, feature, each, tokens)}", column == each


def _most_frequent(column: np.ndarray, count: int) -> list[int]:
    rows = np.bincount(column)
    order = np.argsort(-rows, kind="stable")[:count]
    return [int(each) for each in order if 0 < rows[each] < len(column)]


def _token(features: FeatureMap, feature: Feature, each: int, tokens: Mapping[str, Sequence[str]]) -> str:
    known = tokens.get(features.owner(feature).name, ())
    if 0 < each <= len(known):
        return str(known[each - 1])
    return "unknown" if known and each == feature.vocab_size - 1 else f"id {each}"
