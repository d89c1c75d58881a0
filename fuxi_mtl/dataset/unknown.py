"""Counts of entries that no vocabulary knows: by feature, in training, validation, test and predictions."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from fuxi_mtl.dataset.encoding import Encoder
from fuxi_mtl.dataset.raw import Distinct
from fuxi_mtl.dataset.rules import Ids, Rule, Vocabulary
from fuxi_mtl.features import PAD

logger = logging.getLogger(__name__)

_FAR = 0.5  # A share of unknown ids this far above validation's is a warning.
_SHOWN = 3


@dataclass
class UnknownIds:
    """Counts the ids of features with a vocabulary, or with ids of their own, block by block.

    Args:
        encoder: Encoded the blocks.
    """

    encoder: Encoder
    _entries: dict[str, int] = field(default_factory=dict)
    _unknown: dict[str, int] = field(default_factory=dict)
    _examples: dict[str, list[str]] = field(default_factory=dict)

    def observe(
        self, frame: pl.DataFrame, ids: np.ndarray, texts: Mapping[str, Distinct] | None = None
    ) -> None:
        """Takes in a block.

        Args:
            frame: The raw rows, for examples; columns may be missing.
            ids: Their ids, ``(rows, id columns)``.
            texts: Columns as their different texts, for examples, too.
        """
        # All columns at once: to look at one alone takes as long.
        unknown = (ids == self._last).sum(axis=0)
        for feature, column in zip(self.encoder.feature_map.features, self.encoder.columns, strict=True):
            if not _has_unknown(column.rule):
                continue
            name, own = feature.name, feature.columns
            entries = len(ids) * (own.stop - own.start)
            if column.bag is not None:
                entries -= int(np.count_nonzero(ids[:, own] == PAD))
            self._entries[name] = self._entries.get(name, 0) + entries
            count = int(unknown[own].sum())
            self._unknown[name] = self._unknown.get(name, 0) + count
            if count and name not in self._examples:
                rows = np.flatnonzero((ids[:, own] == feature.vocab_size - 1).any(axis=1))[:_SHOWN]
                if texts and column.name in texts:
                    values, numbers = texts[column.name]
                    self._examples[name] = [repr(values[int(numbers[row])]) for row in rows]
                elif column.name in frame.columns:
                    self._examples[name] = [repr(frame[column.name][int(row)]) for row in rows]

    @cached_property
    def _last(self) -> np.ndarray:
        """``(id columns,)`` the id of unknown entries."""
        last = np.zeros(self.encoder.feature_map.id_columns, np.int32)
        for feature in self.encoder.feature_map.features:
            if feature.has_ids:
                last[feature.columns] = feature.vocab_size - 1
        return last

    def add(self, state: Mapping[str, Any]) -> None:
        """Takes in the :meth:`state` of counts of the rows behind these."""
        for mine, theirs in ((self._entries, state["entries"]), (self._unknown, state["unknown"])):
            for name, count in theirs.items():
                mine[name] = mine.get(name, 0) + count
        self._examples = {**state["examples"], **self._examples}

    def state(self) -> dict[str, Any]:
        """What a savepoint keeps."""
        return {"entries": self._entries, "unknown": self._unknown, "examples": self._examples}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from a savepoint."""
        self._entries.update(state["entries"])
        self._unknown.update(state["unknown"])
        self._examples.update(state["examples"])

    def shares(self) -> dict[str, float]:
        """The share of unknown entries by feature; padding does not count."""
        return {name: self._unknown[name] / count for name, count in self._entries.items() if count}

    def log(self, split: str) -> None:
        """Says the shares above zero, in one line."""
        shares = sorted(self.shares().items(), key=lambda each: -each[1])
        told = ", ".join(f"{name} {share:.2%}" for name, share in shares if share)
        if told:
            logger.info("%s: unknown ids: %s.", split, told)

    def tell(self, rows: str) -> None:
        """Logs the shares of new rows, and warns of those that are far from validation's."""
        self.log(rows)
        for warning in self.warnings(rows, self.encoder.unknown):
            logger.warning("%s", warning)

    def warnings(self, split: str, expected: Mapping[str, float]) -> Iterator[str]:
        """Features that are not known at all, or far less than in validation.

        Args:
            split: What the rows are called.
            expected: Shares of validation rows; empty if these are they.
        """
        for name, share in self.shares().items():
            usual = expected.get(name)
            if share < 1 and (usual is None or share - usual < _FAR):
                continue
            if share == 1 and usual == 1:
                continue  # said of validation already
            owner = self.encoder.feature_map.owner(self.encoder.feature_map[name]).name
            tokens = self.encoder.tokens.get(owner)
            if tokens is None:
                known = f"ids from 0 to {self.encoder.feature_map[name].vocab_size - 2}"
            elif not tokens:
                continue  # a vocabulary without a token is said where it is made
            else:
                known = ", ".join(map(repr, tokens[:_SHOWN]))
            usually = "" if usual is None else f" ({usual:.1%} in validation)"
            examples = self._examples.get(name)  # none where only the numbers of texts are left
            such = f", such as {', '.join(examples)}" if examples else ""
            yield (
                f"feature {name!r}: {share:.0%} of its entries in {split} are unknown{usually}{such}; "
                f"training knows {known}. Are they written alike?"
            )


def _has_unknown(rule: Rule) -> bool:
    """Whether an id of its own says that an entry is unknown; of ids of version 0.1.0 the last may be one."""
    return isinstance(rule, Vocabulary) or (isinstance(rule, Ids) and rule.unknown == rule.count)
