"""Checks of encoded histories: columns of the same events, their order, and targets among their own past."""

import logging
from collections.abc import Iterator, Mapping

import numpy as np

from fuxi_mtl.dataset.errors import DataError
from fuxi_mtl.features import PAD, FeatureMap
from fuxi_mtl.options.blocks.sequences import SequenceGroup, as_groups

logger = logging.getLogger(__name__)

ROWS = 2**16  # that are looked at at a time
NOW = 1  # the id of an event that lies less than a second back, or not at all


def check_histories(
    ids: np.ndarray, features: FeatureMap, sequences: Mapping | None, rows: str = "training"
) -> None:
    """Warns where the newest events may have been cut, and where targets are events of their own history.

    Args:
        ids: ``(rows, id columns)``.
        features: The inputs.
        sequences: The groups of columns by name, as a stanza or a program has them; None for none.
        rows: Which rows they are; of others than those of training only the lengths are looked at.

    Raises:
        DataError: Columns of the same events have several lengths in a row.
    """
    for name, group in as_groups(sequences).items():
        for told in _of_group(ids, features, name, group, rows):
            logger.warning("%s", told)


def _of_group(
    ids: np.ndarray, features: FeatureMap, name: str, group: SequenceGroup, rows: str
) -> Iterator[str]:
    first, *others = group.consumed
    full = leaks = ragged = 0
    for start in range(0, len(ids), ROWS):
        block = ids[start : start + ROWS]
        present = block[:, features[first].columns] != PAD
        uneven = np.zeros(len(block), bool)
        for other in others:
            there = block[:, features[other].columns] != PAD
            differs = (there != present).any(axis=1)
            uneven |= differs
            bad = np.flatnonzero(differs)
            if len(bad) and group.on_ragged == "raise":
                row = int(bad[0])
                counts = f"{first!r} has {present[row].sum()} events and {other!r} has {there[row].sum()}"
                raise DataError(
                    f"sequences.{name}: in {rows} row {start + row}, counted from 0, {counts}. Columns of "
                    "the same events are as long as each other, padded on one side, without empty entries: "
                    "give these a token. on_ragged: cut takes the first events of such rows."
                )
        ragged += int(uneven.sum())
        full += int(present.all(axis=1).sum())
        leaks += int(_leaking(block[~uneven], features, group).sum())
    if ragged:
        yield (
            f"sequences.{name}: in {ragged} of {len(ids)} {rows} rows the columns differ in length and are "
            "cut to the shortest, from the first event on. An entry that is missing in the middle shifts "
            "those behind it: give it a token."
        )
    if rows != "training":
        return
    if features[first].order is None and full and features[first].max_len > 1:
        yield (
            f"sequences.{name}: {full} of {len(ids)} training rows fill all {features[first].max_len} places "
            f"of {first!r}. What is beyond is cut where its padding says: post cuts the end, which is the "
            "newest of a history written oldest first. order: oldest_first or newest_first in feature_cols "
            "cuts the oldest."
        )
    if leaks:
        share = f"{leaks} of {len(ids)} training rows ({leaks / len(ids):.1%})"
        yield (
            f"sequences.{name}: in {share} the target is an event of its own history that does not lie "
            f"before the request ({group.time} below a second): the label may be among the inputs. Build "
            "histories of what came before."
        )


def _leaking(block: np.ndarray, features: FeatureMap, group: SequenceGroup) -> np.ndarray:
    """The rows whose target is an event of its own history at the request or behind it."""
    found = np.zeros(len(block), bool)
    pairs = [(column, target) for column, target in group.columns.items() if target is not None]
    if group.time is None or not pairs:
        return found
    now = block[:, features[group.time].columns] == NOW
    column, target = pairs[0]
    wanted = block[:, features[target].start, None]
    known = (wanted != PAD) & (wanted != features.owner(features[target]).vocab_size - 1)
    return (known & now & (block[:, features[column].columns] == wanted)).any(axis=1)
