"""Checks of labels before anybody trains on them."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import numpy as np

from fuxi_mtl.dataset.errors import DataError
from fuxi_mtl.dataset.splits import Split
from fuxi_mtl.features import Feature
from fuxi_mtl.metrics import auc
from fuxi_mtl.options import DatasetOptions

LEAK_AUC = 0.98
LEAK_ROWS = 50_000  # Rows of each class that a leak is sought in.
LEAST_ROWS = 10  # Rows of each class below which an AUC says nothing.
_BLOCK = 2**20  # Rows whose places are in memory at once.


def check_names(options: DatasetOptions, inputs: Iterable[str]) -> None:
    """No input is a label.

    Raises:
        DataError: A label, or nothing at all, would be predicted from itself.
    """
    labels = [label.name for label in options.label_col]
    if not labels:
        raise DataError("label_col names no label.")
    both = [name for name in inputs if name in labels]
    if both:
        raise DataError(
            f"{both[0]!r} is a label and an input too: the model would read the answer. Remove it from "
            "feature_cols."
        )


def check_weight(sample_weight: str | None, binary: Collection[str]) -> None:
    """The weight of a row is no label of 0 and 1.

    Raises:
        DataError: All rows in which the event did not happen would count nothing.
    """
    if sample_weight in binary:
        raise DataError(
            f"sample_weight: {sample_weight!r} is a label of 0 and 1, so only its positives would count. "
            "Name the column with the weights of the rows."
        )


def weight_warnings(split: Split, label: bool) -> Iterator[str]:
    """Says what weights of a split do that hardly anybody wants.

    Args:
        split: The rows.
        label: Whether the weight is a label too.

    Raises:
        DataError: No training row counts.
    """
    if split.sample_weight is None:
        return
    if split.name == "train" and label:
        yield "sample_weight is a label too: rows in which it is 0 do not count in the loss."
    if not np.any(split.sample_weight):
        if split.name == "train":
            raise DataError(f"sample_weight is 0 in all {split.rows} training rows: nothing can be learned.")
        yield f"sample_weight is 0 in all {split.rows} rows of {split.name}."


def label_warnings(split: Split, binary: Iterable[str]) -> Iterator[str]:
    """Says which labels of a split are of one class, or one number.

    Raises:
        DataError: A label of the training rows is missing everywhere.
    """
    for i, name in enumerate(split.event_names):
        column = split.events[:, i]
        known = ~np.isnan(column)
        rows = np.count_nonzero(known)
        if not rows:
            if split.name == "train":
                raise DataError(f"label {name!r} is missing in all {split.rows} training rows.")
            yield f"label {name!r} is missing in all rows of {split.name}: its metrics are undefined there."
            continue
        value = column[known.argmax()]
        if not np.array_equal(column == value, known):
            continue
        if name in binary:
            effect = (
                "nothing can be learned from it" if split.name == "train" else "its AUC is undefined there"
            )
            yield f"label {name!r} is {value:g} in all {rows} rows of {split.name} that have it: {effect}."
        elif split.name == "train":
            told = f"all {rows} rows of train that have it: nothing can be learned from it."
            yield f"label {name!r} is {value:.10g} in {told}"


def leak_warnings(
    split: Split, features: Sequence[Feature], binary: Iterable[str], required: Mapping[str, tuple[str, ...]]
) -> Iterator[str]:
    """Names features that alone tell a label: mostly outcomes that were logged with it.

    Args:
        split: Training rows.
        features: The inputs.
        binary: Labels with two classes.
        required: Events without which a label's event cannot happen: it is judged where they happened.
    """
    for label, feature, score in single_aucs(split, features, binary, required):
        if score > LEAK_AUC:
            yield (
                f"feature {feature!r} alone has an AUC of {score:.3f} against label {label!r}: "
                "is it known before the outcome?"
            )


def single_aucs(
    split: Split, features: Sequence[Feature], binary: Iterable[str], required: Mapping[str, tuple[str, ...]]
) -> Iterator[tuple[str, str, float]]:
    """What each feature alone tells of each label: label, feature and AUC, either way round.

    A number is judged by its rank. Ids are judged by the mean label of each id, learned on one half of the
    rows and scored on the other, so that an id that occurs once tells nothing. Rows are a sample of each
    class, which leaves the AUC as it is.

    Args:
        split: Training rows.
        features: See :func:`leak_warnings`.
        binary: See there.
        required: See there.
    """
    for name in sorted(binary):
        column = split.events[:, split.event_names.index(name)]
        defined = ~np.isnan(column)
        for other in required.get(name, ()):
            defined &= split.events[:, split.event_names.index(other)] == 1
        rows = _sample(column, defined)
        labels = np.asarray(column[rows])
        if min(labels.sum(), (1 - labels).sum()) < 2 * LEAST_ROWS:
            continue
        ids, numeric = _read(split.ids, rows), _read(split.numeric, rows)
        for feature in features:
            yield name, feature.name, _single_auc(feature, ids if feature.has_ids else numeric, labels)


def _sample(column: np.ndarray, defined: np.ndarray) -> np.ndarray:
    """Rows of both classes, in a seeded random order."""
    rng = np.random.default_rng(0)
    chosen = []
    for value in (0, 1):
        of_class = defined & (column == value)
        rows = np.count_nonzero(of_class)
        ranks = rng.choice(rows, LEAK_ROWS, replace=False) if rows > LEAK_ROWS else np.arange(rows)
        chosen.append(_places(of_class, ranks))
    return rng.permutation(np.concatenate(chosen))


def _places(which: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """``np.flatnonzero(which)[ranks]``, without the place of each of many rows in memory."""
    found, before = np.empty(len(ranks), np.int64), 0
    for start in range(0, len(which), _BLOCK):
        places = np.flatnonzero(which[start : start + _BLOCK])
        here = (ranks >= before) & (ranks < before + len(places))
        found[here] = start + places[ranks[here] - before]
        before += len(places)
    return found


def _read(array: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """``array[rows]``, read in the file's order: larger than memory, it would be read over and over else."""
    found = np.empty((len(rows), *array.shape[1:]), array.dtype)
    order = np.argsort(rows)
    found[order] = array[rows[order]]
    return found


def _single_auc(feature: Feature, array: np.ndarray, labels: np.ndarray) -> float:
    """The best AUC of the feature's columns, either way round."""
    best = 0.0
    for place in range(feature.columns.start, feature.columns.stop):
        values = array[:, place]
        if feature.has_ids:
            half, number = len(labels) // 2, feature.vocab_size
            if number > len(values):  # a vocabulary may have billions
                different, values = np.unique(values, return_inverse=True)
                number = len(different)
            scores = _mean_labels(values[:half], labels[:half], number)[values[half:]]
            score = auc(labels[half:], scores)
        else:
            score = auc(labels, values)
        best = max(best, score, 1 - score)
    return best


def _mean_labels(ids: np.ndarray, labels: np.ndarray, number: int) -> np.ndarray:
    """Mean label of each of `number` ids, drawn towards the mean of all by one row."""
    counts = np.bincount(ids, minlength=number)
    return (np.bincount(ids, labels, number) + labels.mean()) / (counts + 1)
