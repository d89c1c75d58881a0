"""Labels as float32 with NaN for missing, and rows that contradict themselves."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import polars as pl

from fuxi_mtl.dataset import raw
from fuxi_mtl.dataset.errors import BadEntryError, DataError
from fuxi_mtl.dataset.label_classes import LabelClasses
from fuxi_mtl.dataset.sources import Block
from fuxi_mtl.dataset.statistics import Moments, MomentsOfBlocks, Numbers
from fuxi_mtl.features import LabelUnit
from fuxi_mtl.options import LabelOptions
from fuxi_mtl.tasks import Task, required_events

MASK_VALUE = -1.0  # what is missing in a label of 0 and 1, as FuxiCTR's users write it


@dataclass
class LabelReader:
    """Reads the label columns of a block.

    Attributes:
        labels: The entries of ``label_col``.
        binary: Label columns that must be 0, 1 or missing.
        required: The events without which an event cannot happen.
        inconsistent: What to do with a row whose event lacks its required event.
        changed: Rows dropped or zeroed so far, by what was wrong.
        masked: Entries so far that were not missing but hold the mask_value, by label.
        learnt: The regressions whose label has a normalizer.
        numbers: What labels that are no event have shown so far.
        classes: The classes of labels that have some.
    """

    labels: tuple[LabelOptions, ...]
    binary: frozenset[str]
    required: Mapping[str, tuple[str, ...]]
    inconsistent: str
    changed: dict[str, int] = field(default_factory=dict)
    masked: dict[str, int] = field(default_factory=dict)
    learnt: tuple[Task, ...] = ()
    numbers: dict[str, Numbers] = field(default_factory=dict)
    classes: dict[str, LabelClasses] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        labels: Iterable[LabelOptions],
        tasks: Iterable[Task],
        inconsistent: str,
        known: Mapping[str, Sequence[str]] = MappingProxyType({}),
    ) -> "LabelReader":
        """The reader that these tasks need.

        Args:
            labels: ``label_col``.
            tasks: What is predicted.
            inconsistent: What to do with a row whose event lacks its required event.
            known: Classes that were learnt already, by label.
        """
        labels, tasks = tuple(labels), tuple(tasks)
        numbers = {task.event[0] for task in tasks if task.kind == "regression"}
        numbers |= {label.name for label in labels if label.kind == "regression"}
        used = {column for task in tasks for column in task.columns}
        unknown = used - {label.name for label in labels}
        if unknown:
            named = ", ".join(label.name for label in labels)
            raise DataError(
                f"a task reads the label {min(unknown)!r}, which label_col does not name: {named}."
            )
        for label in labels:
            if label.normalizer and label.decoder:
                raise DataError(
                    f"label {label.name!r} has the normalizer {label.normalizer} and a decoder, which both "
                    "say in which unit it is learnt: leave one of them out."
                )
            if label.normalizer and label.name not in numbers:
                raise DataError(
                    f"label {label.name!r}: normalizer {label.normalizer} is for a regression (kind: "
                    "regression); a label of 0 and 1 stays what it is."
                )
        normalized = {label.name for label in labels if label.normalizer}
        learnt = tuple(each for each in tasks if each.kind == "regression" and each.event[0] in normalized)
        several = {
            label.name: LabelClasses.of(label, known.get(label.name))
            for label in labels
            if label.kind == "classes"
        }
        binary = frozenset(used - numbers - set(several))
        return cls(labels, binary, required_events(tasks), inconsistent, learnt=learnt, classes=several)

    def fresh(self, known: Mapping[str, Sequence[str]] | None = None) -> "LabelReader":
        """The same reader before its first row.

        Args:
            known: Classes that were learnt already, by label; none unless said.
        """
        found = {
            label.name: LabelClasses.of(label, (known or {}).get(label.name))
            for label in self.labels
            if label.name in self.classes
        }
        return replace(self, changed={}, masked={}, numbers={}, classes=found)

    def settle(self) -> dict[str, tuple[str, ...]]:
        """Ends the learning of classes.

        Returns:
            The classes by label.

        Raises:
            DataError: The training rows hold fewer than two classes of a label.
        """
        for each in self.classes.values():
            each.settle()
        return {name: tuple(each.tokens) for name, each in self.classes.items()}

    def settled(self, events: np.ndarray) -> np.ndarray:
        """Labels of rows that were read while classes were learnt, with the ids that these have now."""
        if not self.classes:
            return events
        found = events.copy()
        for i, label in enumerate(self.labels):
            if label.name in self.classes:
                found[:, i] = self.classes[label.name].settled(events[:, i])
        return found

    @property
    def declared(self) -> dict[str, list[str] | None]:
        """What the ids of classes depend on, beside the rows: the declared ones by label, None for learnt."""
        return {name: each.tokens if each.declared else None for name, each in self.classes.items()}

    @property
    def identity(self) -> dict[str, list[Any]]:
        """What the units of labels depend on, beside the rows: normalizers and conditions by label."""
        return {
            label.name: [label.normalizer, sorted(task.given for task in self.learnt_from(label))]
            for label in self.labels
            if label.normalizer
        }

    def learnt_from(self, label: LabelOptions) -> list[Task]:
        """The regressions on a label that has a normalizer."""
        return [task for task in self.learnt if task.event[0] == label.name]

    def read(self, block: Block) -> tuple[np.ndarray, np.ndarray]:
        """The events of a block and the rows to keep.

        Returns:
            ``(rows, labels)`` float32, and ``(rows,)`` booleans.

        Raises:
            BadEntryError: A label is no number, or the label of a binary task is not 0, 1 or missing.
            DataError: An event happened without its required event, and ``inconsistent`` is raise.
        """
        events = np.empty((block.frame.height, len(self.labels)), np.float32)
        for i, label in enumerate(self.labels):
            events[:, i] = self._column(label, block.frame[label.name])
        return events, self._consistent(events, block)

    def of_file(self, known: Mapping[str, Sequence[str]] | None = None) -> "LabelReader":
        """A reader of a file of several, for :meth:`add`; `known` as in :meth:`fresh`."""
        found = self.fresh(known)
        plain = [each.name for each in self.labels if each.name not in (*self.binary, *self.classes)]
        found.numbers.update({name: Numbers.of_blocks() for name in plain})
        return found

    def add(self, other: "LabelReader") -> dict[int, np.ndarray]:
        """Takes in what :meth:`of_file` has read of the rows behind these.

        Returns:
            By the place of a label whose classes are learnt, the id here of each id there.

        Raises:
            DataError: There are more classes than a head has numbers.
        """
        for mine, theirs in ((self.changed, other.changed), (self.masked, other.masked)):
            for name, count in theirs.items():
                mine[name] = mine.get(name, 0) + count
        for name, numbers in other.numbers.items():
            self.numbers.setdefault(name, Numbers()).add(numbers)
        found = {
            i: self.classes[label.name].add(other.classes[label.name])
            for i, label in enumerate(self.labels)
            if label.name in self.classes
        }
        return {i: ids for i, ids in found.items() if ids is not None}

    def state(self) -> dict[str, Any]:
        """What a savepoint keeps."""
        numbers = {name: asdict(each) for name, each in self.numbers.items()}
        classes = {name: each.state() for name, each in self.classes.items()}
        return {"changed": self.changed, "masked": self.masked, "numbers": numbers, "classes": classes}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from a savepoint."""
        self.changed.update(state["changed"])
        self.masked.update(state["masked"])
        self.numbers.update({name: Numbers.restored(each) for name, each in state["numbers"].items()})
        for name, classes in self.classes.items():
            classes.restore(state["classes"][name])

    def warnings(self) -> list[str]:
        """What was dropped, zeroed or masked."""
        action = "left out" if self.inconsistent == "drop" else "set to 0"
        told = [f"{what} in {count} rows: {action}." for what, count in self.changed.items()]
        marks = {label.name: self._mask_value(label) for label in self.labels}
        told += [
            f"label {name!r}: {count} entries are {marks[name]:g}, which means missing (mask_value)."
            for name, count in self.masked.items()
            if count
        ]
        told += [warning for each in self.classes.values() for warning in each.warnings()]
        for name, numbers in self.numbers.items():
            left, distinct = numbers.distinct()
            if left < distinct:
                told.append(
                    f"label {name!r}: float32 tells {left} of {distinct} distinct numbers apart, near "
                    f"{numbers.double.mean:.10g}. Subtract what they have in common before."
                )
        return told

    def _mask_value(self, label: LabelOptions) -> float | None:
        if label.mask_value is None and label.name in self.binary:
            return MASK_VALUE
        return label.mask_value

    def _column(self, label: LabelOptions, entries: pl.Series) -> np.ndarray:
        if label.name in self.classes:
            return self.classes[label.name].read(entries)
        values, mask = raw.doubles(entries), self._mask_value(label)
        if mask is not None:
            masked = values == mask
            self.masked[label.name] = self.masked.get(label.name, 0) + int(masked.sum())
            values[masked] = np.nan
        good = ~raw.infinite(values)
        if label.name in self.binary:
            good = np.isnan(values) | (values == 0) | (values == 1)
        elif label.normalizer == "log1p":
            good &= ~(values <= -1)
        if not good.all():
            index = int(np.argmin(good))
            wanted = "a finite number, of at most 3.4e38"
            if label.normalizer == "log1p":
                wanted = "a finite number above -1, as normalizer: log1p asks; mask_value marks missing ones"
            if label.name in self.binary:
                wanted = f"0, 1 or missing (empty, or {mask:g}); kind: regression takes any number"
            raise BadEntryError(label.name, index, entries[index], wanted)
        if label.name not in self.binary:
            self.numbers.setdefault(label.name, Numbers()).observe(values, rounded=False)
        return values.astype(np.float32)

    def _consistent(self, events: np.ndarray, block: Block) -> np.ndarray:
        place = {label.name: i for i, label in enumerate(self.labels)}
        kept = np.ones(len(events), bool)
        # Once for each link of the longest chain: zeroing a cart can leave its conversion without one.
        for _ in self.required:
            for event, needed in self.required.items():
                for other in needed:
                    bad = (events[:, place[event]] == 1) & (events[:, place[other]] == 0) & kept
                    if bad.any():
                        self._settle(f"{event} = 1 with {other} = 0", bad, events, place[event], kept, block)
        return kept

    def _settle(
        self, what: str, bad: np.ndarray, events: np.ndarray, column: int, kept: np.ndarray, block: Block
    ) -> None:
        count = int(bad.sum())
        if self.inconsistent == "raise":
            first, last = block.rows[0] + 1, block.rows[-1] + 1
            raise DataError(
                f"{block.file}: {what} in {count} of rows {first} to {last}, first in row "
                f"{block.rows[np.argmax(bad)] + 1}. Set inconsistent: drop (leave such rows out) or "
                "inconsistent: zero (the event did not happen)."
            )
        self.changed[what] = self.changed.get(what, 0) + count
        if self.inconsistent == "drop":
            kept &= ~bad
        else:
            events[bad, column] = 0


@dataclass
class LabelUnits:
    """The units in which regressions are learnt, from the training rows where their tasks are defined.

    Attributes:
        reader: Knows the labels and what is learnt from them.
    """

    reader: LabelReader
    _moments: dict[str, Moments] = field(default_factory=dict)

    def observe(self, events: np.ndarray) -> None:
        """Takes in the labels of a block of training rows, ``(rows, labels)``."""
        for i, each in enumerate(self.reader.labels):
            if each.name in self.reader.classes:
                self.reader.classes[each.name].observe(events[:, i])
        columns = {label.name: events[:, i] for i, label in enumerate(self.reader.labels)}
        for label in self.reader.labels:
            if label.normalizer in (None, "log1p"):
                continue
            defined = [~np.isnan(task.label(columns)) for task in self.reader.learnt_from(label)]
            values = columns[label.name]
            if defined:
                values = np.where(np.logical_or.reduce(defined), values, np.nan)
            self._moments.setdefault(label.name, Moments()).observe(values)

    @classmethod
    def of_file(cls, reader: LabelReader) -> "LabelUnits":
        """Units that see a file of several, for :meth:`add`."""
        scaled = [label.name for label in reader.labels if label.normalizer not in (None, "log1p")]
        return cls(reader, {name: MomentsOfBlocks() for name in scaled})

    def add(self, other: "LabelUnits") -> None:
        """Takes in what :meth:`of_file` has seen of the rows behind these."""
        for name, moments in other._moments.items():
            for block in moments.blocks if isinstance(moments, MomentsOfBlocks) else ():
                self._moments.setdefault(name, Moments()).add(block)

    def state(self) -> dict[str, Any]:
        """What a savepoint keeps."""
        return {name: asdict(moments) for name, moments in self._moments.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from a savepoint."""
        self._moments = {name: Moments(**moments) for name, moments in state.items()}

    def fitted(self) -> dict[str, LabelUnit]:
        """The unit of each label that has a normalizer."""
        return {
            label.name: LabelUnit(log=True)
            if label.normalizer == "log1p"
            else LabelUnit(*self._moments[label.name].scaling(label.normalizer))
            for label in self.reader.labels
            if label.normalizer
        }
