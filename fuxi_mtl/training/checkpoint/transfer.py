"""Parts of another model's checkpoint put into a model: variables by their names, rows by a map of rows."""

import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import h5py
import numpy as np

from fuxi_mtl.dataset.matching import NEW, Match
from fuxi_mtl.features import PAD, FeatureMap
from fuxi_mtl.model import MultiTaskModel, PerId
from fuxi_mtl.training.checkpoint.files import opened
from fuxi_mtl.training.checkpoint.naming import (
    CHUNK,
    Part,
    orders_of,
    parts_of,
    quoted,
)
from fuxi_mtl.training.checkpoint.numbers import check_numbers

NETWORK = "network/"
_OF_SLOT = re.compile(r"^(optimizer/(?:dense|rows|bilevel))/(.+)/([^/]+)$")
# What a stanza says anew, and what is drawn anew.
_NEVER = re.compile(r"^seeds/|/learning_rate$")


@dataclass(frozen=True)
class TableRows:
    """Where the rows of a feature come from.

    Attributes:
        match: The ids there.
        copied: Rows here that start as a copy of the last row there and share none of its past, by part of
            the table as in :attr:`~fuxi_mtl.dataset.matching.Match.rows`.
    """

    match: Match
    copied: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """Where a part comes from.

    Attributes:
        name: Its name there.
        place: Of a composed table which part of it.
        by_id: The feature of whose ids each has a part of the variable.
        network: The variable's name here, where it has such parts.
    """

    name: str
    place: str = ""
    by_id: str = ""
    network: str = ""


@dataclass
class Transfer:
    """What a checkpoint has for a model.

    Attributes:
        taken: Where each part that is found there comes from.
        problems: Why each of the other parts has none.
        left: Names of the network there that no part takes.
    """

    taken: dict[str, Source] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)


class StoredModel:
    """A checkpoint whose parts go into models that need not be alike.

    Args:
        folder: The checkpoint.

    Raises:
        CheckpointError: There is none, or it is damaged.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    @property
    def steps(self) -> int:
        """Optimizer steps behind it.

        Raises:
            CheckpointError: It is damaged.
        """
        with opened(self.folder) as stored:
            return int(stored.parts["optimizer/dense/iterations"][()])

    def columns(
        self, features: FeatureMap, here: Mapping[str, Mapping[str, tuple[int, int]]]
    ) -> dict[str, dict[str, tuple[int, int]]]:
        """The columns of each feature or history in each layer that embeds, by the name of the layer.

        Args:
            features: The inputs there.
            here: The same of the model here: a history is taken to be as wide there, where its encoder's
                parts are to fit anyway.

        Raises:
            CheckpointError: It is damaged.
        """
        found: dict[str, dict[str, tuple[int, int]]] = {}
        known = {feature.name for feature in features.features}
        with opened(self.folder) as stored:
            for layer, names in stored.orders.items():
                if not layer.startswith(NETWORK[:-1]):
                    continue
                start, found[layer] = 0, {}
                for name in names:
                    if name not in known:
                        first, last = here.get(layer, {}).get(name, (0, 0))
                        found[layer][name] = (start, start + last - first)
                        start += last - first
                        continue
                    feature = features[name]
                    of = next(
                        (
                            f"{layer}/{quoted(owner)}{end}"
                            for owner in (name, features.owner(feature).name)
                            for end in ("", "/remainders")
                            if f"{layer}/{quoted(owner)}{end}" in stored.parts
                        ),
                        "",
                    )
                    width = stored.parts[of].shape[1] if of and feature.has_ids else feature.max_len
                    found[layer][name] = (start, start + width)
                    start += width
        return found

    def trained(self, feature: str) -> bool | None:
        """Whether the last row of a feature, which is OOV's, was ever moved; None where no slot tells.

        Args:
            feature: The feature there.

        Raises:
            CheckpointError: It is damaged.
        """
        with opened(self.folder) as stored:
            slots = [
                dataset
                for name, dataset in stored.parts.items()
                if re.fullmatch(rf"optimizer/rows/(.*/)?{re.escape(quoted(feature))}/[^/]+", name)
            ]
            if not slots:
                return None
            # Padding is never moved: its slots are what slots are at the start.
            return any((dataset[len(dataset) - 1] != dataset[PAD]).any() for dataset in slots)

    def planned(
        self,
        model: MultiTaskModel,
        tables: Mapping[str, TableRows | str],
        wanted: Callable[[str, Part], bool],
        whole: Collection[str] = (),
    ) -> Transfer:
        """What goes where; nothing is changed.

        Args:
            model: A built model, compiled if more than its network is wanted.
            tables: Where the rows of each feature come from, or why from nowhere.
            wanted: Whether a part should come from the checkpoint.
            whole: Paths of layers of which all parts come, or none.

        Raises:
            CheckpointError: It is damaged.
        """
        with opened(self.folder) as stored:
            return _Plan(model, stored.parts, stored.orders, tables).made(wanted, whole)

    def put_into(
        self, model: MultiTaskModel, transfer: Transfer, tables: Mapping[str, TableRows | str]
    ) -> None:
        """Writes what was planned. Everything is checked before anything is changed.

        Args:
            model: The model of the plan.
            transfer: The plan.
            tables: As they were planned.

        Raises:
            CheckpointError: A number there is not what was written.
        """
        parts, per_id = parts_of(model), _per_id(model, parts_of(model))
        with opened(self.folder) as stored:
            for name in dict.fromkeys(source.name for source in transfer.taken.values()):
                check_numbers(stored.parts[name])
            for name, source in transfer.taken.items():
                part, dataset = parts[name], stored.parts[source.name]
                table = tables.get(part.feature or source.by_id)
                if not isinstance(table, TableRows):
                    part.write(..., dataset[...])
                    continue
                if source.by_id:
                    _write_by_id(part, dataset, per_id[source.network], table.match)
                    continue
                rows = table.match.rows[source.place]
                if name.startswith(NETWORK) and source.place in table.copied:
                    rows = rows.copy()
                    rows[table.copied[source.place]] = len(dataset) - 1
                _write_rows(part, dataset, rows)


def _write_rows(part: Part, dataset: h5py.Dataset, rows: np.ndarray) -> None:
    """Writes the rows that have one there, a chunk of the table there at a time."""
    order = np.argsort(rows, kind="stable")
    sources = rows[order]
    for first in range(0, len(dataset), CHUNK):
        last = min(first + CHUNK, len(dataset))
        begin, end = np.searchsorted(sources, [first, last])
        if begin < end:
            part.write_rows(order[begin:end], dataset[first:last][sources[begin:end] - first])


def _per_id(model: MultiTaskModel, parts: Mapping[str, Part]) -> dict[str, PerId]:
    """The variables of the network that have a part for each id of a feature, by their names."""
    known = {id(each.variable.value): each for each in model.variables_by_id()}
    return {
        name: known[id(part.variable)]
        for name, part in parts.items()
        if name.startswith(NETWORK) and id(part.variable) in known
    }


def _write_by_id(part: Part, dataset: h5py.Dataset, per_id: PerId, match: Match) -> None:
    """Writes the parts of ids that are known there."""
    there = np.moveaxis(dataset[...].reshape(per_id.shape_of(match.there.vocab_size - 2)), per_id.axis, 0)
    shape = per_id.shape_of(match.here.vocab_size - 2)
    here = np.moveaxis(part.read(...).reshape(shape).copy(), per_id.axis, 0)
    ids = match.ids[1:-1]
    known = ids != NEW
    here[known] = there[ids[known] - 1]
    part.write(..., np.moveaxis(here, 0, per_id.axis).reshape(part.shape))


class _Plan:
    """The search for a name there of each part here."""

    def __init__(
        self,
        model: MultiTaskModel,
        stored: Mapping[str, h5py.Dataset],
        orders: Mapping[str, list[str]],
        tables: Mapping[str, TableRows | str],
    ):
        self.model, self.stored, self.orders, self.tables = model, stored, orders, tables
        self.parts = parts_of(model)
        self.embeddings = [path for path in orders if path.startswith(NETWORK[:-1])]
        self.per_id = _per_id(model, self.parts)
        trained = {id(variable.value) for variable in model.trainable_variables}
        self.trainable = {name for name, part in self.parts.items() if id(part.variable) in trained}

    def made(self, wanted: Callable[[str, Part], bool], whole: Collection[str]) -> Transfer:
        found = Transfer()
        names = {name: part for name, part in self.parts.items() if wanted(name, part)}
        for name, part in names.items():
            if name.startswith(NETWORK):
                self._add(found, name, self._of_network(name, part))
        for path in whole:
            self._all_or_none(found, f"{NETWORK}{path}/")
        balancing = {name: self._balancing_problem(name) for name in ("weighting", "surgery")}
        for name, part in names.items():
            if name.startswith(NETWORK) or _NEVER.search(name):
                continue
            problem = balancing.get(name.partition("/")[0])
            if problem:
                found.problems[name] = problem
            else:
                self._add(found, name, self._of_state(name, part, found))
        used = {source.name for source in found.taken.values()}
        found.left = [n for n in self.stored if n.startswith(NETWORK) and n not in used]
        return found

    def _add(self, found: Transfer, name: str, source: Source | str) -> None:
        if isinstance(source, Source):
            found.taken[name] = source
        elif source:
            found.problems[name] = source

    def _of_network(self, name: str, part: Part) -> Source | str:
        """Where a variable or the rows of a feature are there, or what is wrong."""
        if part.feature:
            return self._of_table(name, part)
        return self._fitting(self._source(name, name), part)

    def _source(self, name: str, network: str, place: str = "") -> Source:
        """A name there, for a variable here or a slot of it."""
        per_id = self.per_id.get(network)
        return Source(name, place, per_id.feature, network) if per_id else Source(name, place)

    def _of_table(self, name: str, part: Part) -> Source | str:
        table = self.tables[part.feature]
        if isinstance(table, str):
            return f"feature {part.feature!r}: {table}"
        own = f"/{quoted(part.feature)}"
        place = next((word for word in ("remainders", "quotients") if name.endswith(f"{own}/{word}")), "")
        behind = f"/{place}" if place else ""
        # A table of its own, as first orders have it, or that of the feature whose vocabulary it is.
        ends = [f"{own}{behind}", f"/{quoted(table.match.there.name)}{behind}"]
        path = name.removesuffix(ends[0])
        for end in ends:
            if f"{path}{end}" in self.stored:
                return self._fitting(Source(f"{path}{end}", place), part)
        same, end = f"{path}{ends[1]}", ends[1]
        if name not in self.trainable:  # fitted beforehand: no table of another network stands for it
            return f"feature {part.feature!r}: there is no table under this name there"
        others = [f"{group}{end}" for group in self.embeddings if f"{group}{end}" in self.stored]
        fitting = [name for name in others if self.stored[name].shape[1:] == part.shape[1:]]
        if len(fitting) == 1:
            return Source(fitting[0], place)
        if fitting:
            return f"feature {part.feature!r}: there are several tables there, {', '.join(fitting)}"
        return self._fitting(Source(others[0] if others else same), part)

    def _all_or_none(self, found: Transfer, path: str) -> None:
        """Layers that were fitted together: with a part of them missing the others mean nothing."""
        missing = [name for name in found.problems if name.startswith(path)]
        for name in [name for name in found.taken if missing and name.startswith(path)]:
            del found.taken[name]
            found.problems[name] = f"it was fitted together with {missing[0]}"

    def _of_state(self, name: str, part: Part, found: Transfer) -> Source | str:
        """Where a slot is, or what an optimizer or a weighting has but once; nothing where it starts anew."""
        source = Source(name)
        of_slot = _OF_SLOT.match(name)
        if of_slot and f"{NETWORK}{of_slot[2]}" in self.parts:
            network = found.taken.get(f"{NETWORK}{of_slot[2]}")
            if network is None:
                return ""
            there = f"{of_slot[1]}/{network.name.removeprefix(NETWORK)}/{of_slot[3]}"
            source = replace(network, name=there)
        return self._fitting(source, part)

    def _fitting(self, source: Source, part: Part) -> Source | str:
        """The source, or why it is none for this part."""
        what = f"feature {part.feature!r}: " if part.feature else ""
        if source.name not in self.stored:
            return f"{what}there is none there"
        here, there = part.shape, self.stored[source.name].shape
        if source.by_id:
            table = self.tables[source.by_id]
            if isinstance(table, str):
                return f"it has a part for each id of feature {source.by_id!r}: {table}"
            expected = self.per_id[source.network].shape_of(table.match.there.vocab_size - 2)
            same = len(here) == len(there) and math.prod(expected) == math.prod(there)
            return source if same else f"it is {here} here and {there} there"
        if part.feature:
            return source if here[1:] == there[1:] else f"{what}width {here[1]} here and {there[1]} there"
        return source if here == there else f"it is {here} here and {there} there"

    def _balancing_problem(self, name: str) -> str:
        """What its numbers are of is known by position."""
        here, there = orders_of(self.model).get(name), self.orders.get(name)
        if here is None or there is None or here == there:
            return ""
        return f"it is of {', '.join(here)} here and of {', '.join(there)} there"
