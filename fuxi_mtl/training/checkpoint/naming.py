"""Names of everything that a checkpoint holds of a model."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from fuxi_mtl.layers import FeatureEmbedding
from fuxi_mtl.layers.shards import Shard
from fuxi_mtl.layers.tables import Table
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.optimizers import split_of

CHUNK = 2**15  # rows that are read or written at a time: a few MB, which stay in the cache


@dataclass(frozen=True)
class Part:
    """A variable, or those rows of it that belong to one feature.

    Attributes:
        variable: The variable.
        rows: First row and the one behind the last; None for the whole variable.
        feature: Whose rows they are.
        shard: The share of this worker, of a table that is spread over several.
        of_table: Of such a table the feature's first row and the one behind its last.
    """

    variable: Any
    rows: tuple[int, int] | None = None
    feature: str = ""
    shard: Shard | None = None
    of_table: tuple[int, int] = (0, 0)

    @classmethod
    def of_feature(cls, table: Table, feature: str, rows: tuple[int, int]) -> "Part":
        """The rows of a feature in a table, as far as this process has them."""
        shard = table.rows.lookup.shard
        if shard is None:
            return cls(table.rows.value, rows, feature)
        return cls(table.rows.value, shard.range_of(*rows), feature, shard, rows)

    @property
    def shape(self) -> tuple[int, ...]:
        """Its own, not that of the variable; of a table that is spread, that of this worker's rows."""
        shape = tuple(self.variable.shape)
        return shape if self.rows is None else (self.rows[1] - self.rows[0], *shape[1:])

    @property
    def whole_shape(self) -> tuple[int, ...]:
        """The same of all workers together."""
        count = self.of_table[1] - self.of_table[0]
        return self.shape if self.shard is None else (count, *self.shape[1:])

    @property
    def first(self) -> int:
        """The first of the feature's rows that is this worker's."""
        return 0 if self.shard is None else self.shard.first_of(self.of_table[0])

    @property
    def dtype(self) -> np.dtype:
        """In which it is stored: NumPy has no bfloat16, and float32 holds it."""
        own = tf.as_dtype(self.variable.dtype)
        return np.dtype(np.float32 if own == tf.bfloat16 else own.as_numpy_dtype)

    @property
    def bytes(self) -> int:
        """What it takes here."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def whole_bytes(self) -> int:
        """What it takes of all workers together."""
        return math.prod(self.whole_shape) * self.dtype.itemsize

    def of(self, variable: keras.Variable) -> "Part":
        """The same rows of another variable."""
        return replace(self, variable=variable.value)

    def held(self, copies: Mapping[int, np.ndarray]) -> "Part":
        """The same part of a copy of the variable, which is found by its id."""
        return replace(self, variable=copies[id(self.variable)])

    def chunks(self) -> Iterator[Any]:
        """Where to look, piece by piece: ``...`` for all of it, or slices of its rows."""
        if self.rows is None:
            yield ...
            return
        for first in range(0, self.shape[0], CHUNK):
            yield slice(first, min(first + CHUNK, self.shape[0]))

    def read(self, chunk: Any) -> np.ndarray:
        """The numbers of a chunk; a table is never copied whole."""
        if self.rows is None:
            return np.asarray(tf.convert_to_tensor(self.variable), self.dtype, order="C")
        if isinstance(self.variable, np.ndarray):
            start = self.rows[0]
            return np.asarray(self.variable[start + chunk.start : start + chunk.stop], self.dtype)
        return np.asarray(tf.gather(self.variable, self._places(chunk)), self.dtype)

    def write(self, chunk: Any, values: np.ndarray) -> None:
        """Sets the numbers of a chunk."""
        numbers = tf.cast(values, self.variable.dtype)
        if self.rows is None:
            self.variable.assign(numbers)
        else:
            self.variable.scatter_update(tf.IndexedSlices(numbers, self._places(chunk)))

    def write_rows(self, rows: np.ndarray, values: np.ndarray) -> None:
        """Sets some of its rows; of a table that is spread, those that are this worker's.

        Args:
            rows: Their numbers among those of all workers.
            values: ``(rows, ...)``.
        """
        start = self.rows[0] if self.rows else 0
        if self.shard is not None:
            mine = (rows - self.first) % self.shard.size == 0
            rows, values = (rows[mine] - self.first) // self.shard.size, values[mine]
        numbers = tf.cast(values, self.variable.dtype)
        self.variable.scatter_update(tf.IndexedSlices(numbers, tf.constant(rows + start)))

    def _places(self, chunk: slice) -> tf.Tensor:
        start = self.rows[0] if self.rows else 0
        return tf.range(start + chunk.start, start + chunk.stop)


def parts_of(model: MultiTaskModel) -> dict[str, Part]:
    """Everything that is saved, by its name; the network alone of a model that is not compiled."""
    network: dict[int, dict[str, Part]] = {}  # by variable: one part, or one for each feature
    seeds: dict[str, Part] = {}
    for path, layer in layers_of(model):
        below = {id(v) for child in _children(layer) for v in child.variables}
        weights = {id(v) for v in layer.weights}
        for variable in (v for v in layer.variables if id(v) not in below | network.keys()):
            whole = Part(variable.value)
            if id(variable) not in weights:
                seeds[_free(path, seeds)] = whole
            elif isinstance(layer, Table):
                network[id(variable)] = {
                    _joined(path, quoted(name), *place): Part.of_feature(layer, name, rows)
                    for (name, *place), rows in layer.row_ranges.items()
                }
            else:
                taken = {name for parts in network.values() for name in parts}
                network[id(variable)] = {_free(_joined(path, _name_of(variable)), taken): whole}
    parts = {f"network/{name}": part for each in network.values() for name, part in each.items()}
    if model.compiled:
        parts |= {f"seeds/{name}": part for name, part in seeds.items()}
        parts |= _optimizer_parts(model.optimizer, network)
        if model.bilevel_optimizer is not None:
            parts |= _slots("optimizer/bilevel", model.bilevel_optimizer, network)
        for name, module in _balancers(model).items():
            state = module._flatten(predicate=lambda v: isinstance(v, tf.Variable), with_path=True)
            parts |= {_joined(name, *map(str, keys)): Part(variable) for keys, variable in state}
    return parts


def _balancers(model: MultiTaskModel) -> dict[str, Any]:
    """What balances the objectives and has a state."""
    found = {"weighting": model.weighting, "surgery": model.surgery}
    return {name: module for name, module in found.items() if module is not None and module.variables}


def orders_of(model: MultiTaskModel) -> dict[str, list[str]]:
    """The order of names behind what the network and the balancing know by position only."""
    orders = {
        f"network/{path}": layer.order
        for path, layer in layers_of(model)
        if isinstance(layer, FeatureEmbedding)
    }
    if model.compiled:
        orders |= {name: list(module.names) for name, module in _balancers(model).items()}
    return orders


def layers_of(layer: keras.Layer, path: str = "") -> Iterator[tuple[str, keras.Layer]]:
    """The layer and all below it, each with the names of the attributes that lead there.

    A layer in a list goes by its own name if it was given one, else by its position: names that Keras
    makes depend on how many layers the process made before. Tables have the path of what they are part of,
    since which features share one is nobody's business.
    """
    yield path, layer
    attributes: dict[int, str] = {}
    for attribute, value in vars(layer).items():
        # Keras and TensorFlow list them once more for themselves.
        if attribute != "_layers" and not attribute.startswith("_self_"):
            for name, child in _inside(attribute, value):
                attributes.setdefault(id(child), name)
    taken: set[str] = set()
    for position, child in enumerate(_children(layer)):
        name = _free(attributes.get(id(child), f"layers/{position}"), taken)
        taken.add(name)
        yield from layers_of(child, path if isinstance(child, Table) else _joined(path, name))


def _children(layer: keras.Layer) -> Sequence[keras.Layer]:
    return layer._flatten_layers(include_self=False, recursive=False)


def _inside(name: str, value: Any) -> Iterator[tuple[str, keras.Layer]]:
    """The layers in an attribute, which may be in lists and dicts."""
    if isinstance(value, keras.Layer):
        yield name, value
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from _inside(f"{name}/{quoted(str(key))}", each)
    elif isinstance(value, (list, tuple)):
        for position, each in enumerate(value):
            named = isinstance(each, keras.Layer) and not _has_automatic_name(each)
            yield from _inside(f"{name}/{each.name if named else position}", each)


def _has_automatic_name(layer: keras.Layer) -> bool:
    """Whether Keras made it: the class in snake case, and a number."""
    words = re.sub(r"([a-z])([A-Z])", r"\1_\2", re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", type(layer).__name__))
    return re.fullmatch(rf"{re.escape(words.lower())}(_\d+)?", layer.name) is not None


def _optimizer_parts(
    optimizer: keras.optimizers.Optimizer, network: dict[int, dict[str, Part]]
) -> dict[str, Part]:
    split = split_of(optimizer)
    parts: dict[str, Part] = {}
    for prefix, first in (("optimizer/dense", split.dense), ("optimizer/rows", split.rows)):
        parts |= _slots(prefix, first, network)
    for turns, (dense, rows) in split.pairs.items():
        if turns:
            parts |= _slots("optimizer/dense", dense, network, f"optimizer/dense/turns/{turns}")
            parts |= _slots("optimizer/rows", rows, network, f"optimizer/rows/turns/{turns}")
    if optimizer is not split:
        inner = {id(variable) for variable in split.variables}
        own = [variable for variable in optimizer.variables if id(variable) not in inner]
        parts |= _single("optimizer/scale", optimizer, own)
    return parts


def _slots(
    prefix: str,
    optimizer: keras.optimizers.Optimizer,
    network: dict[int, dict[str, Part]],
    once: str | None = None,
) -> dict[str, Part]:
    """Its slots, by the variable and the attribute of the optimizer that lists them, and what it has once.

    Args:
        prefix: Before the names of slots.
        optimizer: Whose they are.
        network: The parts of each variable.
        once: Before the names of what it has once; the same prefix unless said.
    """
    moved = optimizer._trainable_variables
    # Keras's Nadam does not list all that it has.
    own = [value for value in vars(optimizer).values() if isinstance(value, keras.Variable)]
    rest = {id(variable): variable for variable in (*optimizer.variables, *own)}
    parts: dict[str, Part] = {}
    for attribute, slots in vars(optimizer).items():
        if attribute == "_variables" or not isinstance(slots, list) or len(slots) != len(moved):
            continue
        for variable, slot in zip(moved, slots, strict=True):
            if rest.pop(id(slot), None) is not None:
                for name, part in network[id(variable)].items():
                    parts[f"{prefix}/{name}/{attribute.lstrip('_')}"] = part.of(slot)
    return parts | _single(once or prefix, optimizer, rest.values())


def _single(
    prefix: str, optimizer: keras.optimizers.Optimizer, variables: Iterable[keras.Variable]
) -> dict[str, Part]:
    """What an optimizer has but once, by the attribute."""
    attributes = {id(value): attribute.lstrip("_") for attribute, value in vars(optimizer).items()}
    parts: dict[str, Part] = {}
    for variable in variables:
        name = attributes.get(id(variable)) or _name_of(variable)
        parts[_free(f"{prefix}/{name}", parts)] = Part(variable.value)
    return parts


def _name_of(variable: keras.Variable) -> str:
    """The name it was given; one that Keras made loses its number."""
    return re.sub(r"^variable_\d+$", "variable", variable.name)


def _joined(*names: str) -> str:
    return "/".join(name for name in names if name)


def quoted(name: str) -> str:
    """The name of a feature, as names of parts have it: without the slash, which separates names.

    A dot alone is no name to HDF5.
    """
    return "%2E" if name == "." else name.replace("%", "%25").replace("/", "%2F")


def _free(name: str, taken: Any) -> str:
    """The name, with a number behind it if another has it."""
    numbered = (f"{name}_{number}" for number in range(1, len(taken) + 2))
    return name if name not in taken else next(each for each in numbered if each not in taken)
