"""Labels of several classes as ids: of a list that the stanza declares, or of the training rows' own."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from fuxi_mtl.dataset import raw
from fuxi_mtl.dataset.errors import BadEntryError, DataError, shortened
from fuxi_mtl.options import LabelOptions
from fuxi_mtl.options.tokens import token_of

MOST_CLASSES = 1000


@dataclass
class LabelClasses:
    """The classes of one label; an id is the place of its class in the list, from 0.

    A class that is not in a declared list is an error. Where classes are learnt, rows are read before all of
    them are known: ids are then given in the order of their coming, :meth:`settle` orders those of the
    training rows (numbers by size, else as texts are sorted), and any other is missing, and counted.

    Attributes:
        label: Name of the label.
        tokens: The classes.
        declared: Whether the stanza has them.
        learning: Whether new ones get an id.
        mask: The class that means missing.
        training: Ids of classes that training rows hold, while they are learnt.
        unknown: Entries by class that is none.
    """

    label: str
    tokens: list[str] = field(default_factory=list)
    declared: bool = False
    learning: bool = False
    mask: str | None = None
    training: set[int] = field(default_factory=set)
    unknown: Counter[str] = field(default_factory=Counter)
    _settled: np.ndarray | None = None
    _provisional: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, label: LabelOptions, known: Sequence[str] | None = None) -> "LabelClasses":
        """Those of a label.

        Args:
            label: Its entry in ``label_col``.
            known: The classes that an earlier reading has learnt.

        Raises:
            DataError: A declared class stands twice, or there is one only.
        """
        block = label.decoder if isinstance(label.decoder, dict) else {}
        declared = block.get("classes")
        mask = None if label.mask_value is None else token_of(label.mask_value)
        if declared is None:
            return cls(label.name, list(known or ()), learning=known is None, mask=mask)
        tokens = [token_of(each) for each in declared]
        twice = [each for each, count in Counter(tokens).items() if count > 1]
        if twice or len(tokens) < 2:
            what = f"{twice[0]!r} twice" if twice else f"{len(tokens)} of them"
            raise DataError(f"label {label.name!r}: classes has {what}. Give two or more, each once.")
        return cls(label.name, tokens, declared=True, mask=mask)

    def read(self, entries: pl.Series) -> np.ndarray:
        """Ids as float32, NaN where missing.

        Raises:
            BadEntryError: An entry is none of the declared classes.
            DataError: There are more classes than a head has numbers.
        """
        values, rows = raw.distinct(entries)
        ids = np.full(len(values), np.nan, np.float32)
        place = {token: i for i, token in enumerate(self.tokens)}
        for i, token in enumerate(raw.tokens(values, "str").to_list()):
            if token in (raw.MISSING, self.mask):
                continue
            if token not in place and self.learning:
                place[token] = len(place)
                self.tokens.append(token)
            if token in place:
                ids[i] = place[token]
            elif self.declared:
                index = int(np.argmax(rows == i))
                known = f"one of its classes, {shortened(self.tokens)}, or missing"
                raise BadEntryError(self.label, index, entries[index], known)
            else:
                self.unknown[token] += int(np.count_nonzero(rows == i))
        self._check_count()
        return ids[rows]

    def _check_count(self) -> None:
        if len(self.tokens) > MOST_CLASSES:
            raise DataError(
                f"label {self.label!r} has more than {MOST_CLASSES:,} classes, such as "
                f"{self.tokens[MOST_CLASSES]!r}. Is it a number (kind: value)?"
            )

    def add(self, other: "LabelClasses") -> np.ndarray | None:
        """Takes in what another reader has seen of the rows behind these.

        Args:
            other: It began with the classes that were known before the first row.

        Returns:
            The id here of each of its ids, float32; None where ids are the same.

        Raises:
            DataError: There are more classes than a head has numbers.
        """
        self.unknown.update(other.unknown)
        if not self.learning:
            return None
        place = {token: i for i, token in enumerate(self.tokens)}
        for token in other.tokens:
            if token not in place:
                place[token] = len(place)
                self.tokens.append(token)
        self._check_count()
        self.training |= {place[other.tokens[i]] for i in other.training}
        return np.array([place[token] for token in other.tokens], np.float32)

    def observe(self, ids: np.ndarray) -> None:
        """Takes in the ids of training rows."""
        if self.learning:
            self.training |= set(np.unique(ids[~np.isnan(ids)]).astype(int).tolist())

    def settle(self) -> None:
        """Ends the learning.

        Raises:
            DataError: The training rows hold fewer than two classes.
        """
        if not self.learning:
            return
        found = sorted((self.tokens[i] for i in self.training), key=_order_of(self.tokens, self.training))
        if len(found) < 2:
            what = f"one class, {found[0]!r}" if found else "no class"
            raise DataError(
                f"label {self.label!r} has {what} in the training rows; a task needs two or more."
            )
        places = {token: i for i, token in enumerate(found)}
        self._settled = np.array([places.get(token, np.nan) for token in self.tokens], np.float32)
        self._provisional, self.tokens, self.learning = self.tokens, found, False

    def settled(self, ids: np.ndarray) -> np.ndarray:
        """Ids that were read while classes were learnt, as they are now; NaN and counted where unknown."""
        if self._settled is None:
            return ids
        known = ~np.isnan(ids)
        found = ids.copy()
        found[known] = self._settled[ids[known].astype(np.int64)]
        for i, count in Counter(ids[known & np.isnan(found)].astype(int).tolist()).items():
            self.unknown[self._provisional[i]] += count
        return found

    def warnings(self) -> list[str]:
        """How many labels are of no class."""
        if not self.unknown:
            return []
        names = shortened([repr(token) for token, _ in self.unknown.most_common()], 5)
        told = (
            f"label {self.label!r}: {self.unknown.total()} entries are of classes that no training row has "
            f"({names}): they are read as missing. Declare classes in the decoder if they are to count."
        )
        return [told]

    def state(self) -> dict[str, Any]:
        """What a savepoint keeps."""
        return {
            "tokens": self.tokens,
            "training": sorted(self.training),
            "unknown": dict(self.unknown),
            "provisional": self._provisional,
            "settled": self._settled,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from a savepoint."""
        self.tokens, self.training = list(state["tokens"]), set(state["training"])
        self.unknown = Counter(state["unknown"])
        self._provisional, self._settled = list(state["provisional"]), state["settled"]
        self.learning = self.learning and self._settled is None


def _order_of(tokens: Sequence[str], places: Collection[int]):
    """The order of some tokens: by size if all of them are numbers, else as texts."""
    try:
        numbers = {tokens[i]: float(tokens[i]) for i in places}
    except ValueError:
        return str
    return numbers.__getitem__
