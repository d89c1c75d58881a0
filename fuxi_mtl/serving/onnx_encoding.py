"""The fitted encoding as ONNX operators: raw columns in, ids and numbers out."""

import re
from collections.abc import Mapping, Sequence
from functools import cached_property, reduce
from typing import Any

import numpy as np
import onnx
import polars as pl
from onnx import TensorProto, helper, numpy_helper

from fuxi_mtl.dataset import Column, Encoder
from fuxi_mtl.dataset.bags import Bag
from fuxi_mtl.dataset.encoding import known_ids
from fuxi_mtl.dataset.raw import MISSING, MISSING_INTEGER
from fuxi_mtl.dataset.rules import Buckets, HashBuckets, Number, Rule, Vocabulary
from fuxi_mtl.features import PAD, Feature
from fuxi_mtl.serving import PADDED, TEXT

OPSET, OPSET_ML = 18, 2  # what tf2onnx writes
OPSET_OF_TEXTS = 20  # the first that splits texts
IDS, NUMERIC = "encode/ids", "encode/numeric"
_INTEGER = re.compile(r"[-+]?[0-9]+")
_TYPES = {
    "string": TensorProto.STRING,
    "int64": TensorProto.INT64,
    "float32": TensorProto.FLOAT,
    "float64": TensorProto.DOUBLE,
}


class Nodes:
    """ONNX nodes and constants; each value is known by its name."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: Any, dtype: type = np.int64) -> str:
        """A number or an array."""
        name = f"encode/constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def add(self, operator: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        """The output of an operator, which is known by the name if there is one."""
        output = name or f"encode/{operator}_{len(self.nodes)}"
        domain = "ai.onnx.ml" if operator == "LabelEncoder" else ""
        self.nodes.append(
            helper.make_node(operator, inputs, [output], name=output, domain=domain, **attributes)
        )
        return output

    def split(self, texts: str, splitter: str) -> tuple[str, str]:
        """Members of texts ``(batch, most members)``, ``""`` at the end, and their number ``(batch,)``."""
        members, lengths = (f"encode/StringSplit_{len(self.nodes)}{part}" for part in ("", "_lengths"))
        self.nodes.append(
            helper.make_node("StringSplit", [texts], [members, lengths], name=members, delimiter=splitter)
        )
        return members, lengths

    def cast(self, value: str, to: int) -> str:
        """A value in another type."""
        return self.add("Cast", value, to=to)

    def all_of(self, *conditions: str) -> str:
        """Where all of them are true."""
        return reduce(lambda left, right: self.add("And", left, right), conditions)


class OnnxEncoder:
    """From raw columns to ids and numbers, as :class:`fuxi_mtl.serving.GraphEncoder` computes them.

    Bags and their weights are padded lists ``(batch, length)``. A hashed column has no operator: it comes as
    ids, int64, 0 being padding and ids beyond the buckets unknown. Operators that refuse an entry do it by a
    look-up beside the end of an array; the node's name says what is wrong.

    Args:
        encoder: The fitted encoding.
        names: The name of each raw column as an input.
        bags: ``padded``, or ``text`` for bags and weights that are split at their splitter; those of hashed
            columns are lists of ids even so.
    """

    def __init__(self, encoder: Encoder, names: Mapping[str, str], bags: str = PADDED):
        self._encoder, self._names, self._texts = encoder, names, bags == TEXT
        self._nodes = Nodes()
        self._inputs: list[onnx.ValueInfoProto] = []

    @property
    def opset(self) -> int:
        """The version of the operators."""
        return OPSET_OF_TEXTS if self._texts else OPSET

    @property
    def hashed(self) -> list[str]:
        """Columns that come as ids because they are hashed."""
        return [column.name for column in self._encoder.columns if isinstance(column.rule, HashBuckets)]

    def graph(self) -> onnx.GraphProto:
        """The whole: inputs by name, outputs :data:`IDS` int32 and :data:`NUMERIC` float32."""
        ids: list[str] = []
        numeric: list[str] = []
        weights: list[str] = []
        for column, feature in zip(self._encoder.columns, self._encoder.feature_map.features, strict=True):
            if column.bag is not None and feature.has_ids:
                bag, placed = self._bag(column, column.bag, feature)
                ids.append(bag)
                weights += placed
                continue
            entries = self._input(column.name, _type(column), feature.max_len if column.bag else None)
            encoded = self._apply(column, entries)
            columns = self._nodes.add("Reshape", encoded, self._nodes.constant([-1, feature.max_len]))
            (ids if feature.has_ids else numeric).append(columns)
        features = self._encoder.feature_map
        outputs = [
            self._joined(ids, IDS, TensorProto.INT32, features.id_columns),
            self._joined(numeric + weights, NUMERIC, TensorProto.FLOAT, features.numeric_columns),
        ]
        return helper.make_graph(
            self._nodes.nodes, "encoding", self._inputs, outputs, initializer=self._nodes.constants
        )

    def _input(self, column: str, dtype: str, length: int | str | None = None) -> str:
        name = self._names[column]
        shape: list[int | str] = ["batch"] if length is None else ["batch", length]
        self._inputs.append(helper.make_tensor_value_info(name, _TYPES[dtype], shape))
        return name

    def _joined(self, parts: Sequence[str], name: str, dtype: int, width: int) -> onnx.ValueInfoProto:
        nodes = self._nodes
        if not parts:  # as many rows as the first input has, and no column
            rows = nodes.add("Shape", self._inputs[0].name, start=0, end=1)
            parts = [nodes.add("Expand", nodes.constant(np.zeros((1, 0))), self._pair(rows, 0))]
        joined = nodes.add("Concat", *parts, axis=1)
        nodes.add("Cast", joined, name=name, to=dtype)
        return helper.make_tensor_value_info(name, dtype, ["batch", width])

    def _apply(self, column: Column, entries: str) -> str:
        """The column's rule on each entry: int64 ids or float32 numbers, in the shape of the entries."""
        rule = column.rule
        if isinstance(rule, Number):
            return self._number(column.name, rule, entries)
        if isinstance(rule, Buckets):
            return self._buckets(column.name, rule, entries)
        if isinstance(rule, Vocabulary):
            return self._vocabulary(rule, entries)
        if isinstance(rule, HashBuckets):
            return self._known(entries, 1, rule.buckets + 1, rule.buckets + 1)
        if rule.fill_na is not None:
            missing = self._nodes.add("Equal", entries, self._nodes.constant(MISSING_INTEGER))
            entries = self._nodes.add("Where", missing, self._nodes.constant(rule.fill_na), entries)
        return self._known(entries, 0, rule.count, rule.unknown)

    def _known(self, ids: str, least: int, end: int, unknown: int) -> str:
        """Ids from the least to before the end; the unknown id in the place of others."""
        nodes = self._nodes
        high = nodes.add("Less", ids, nodes.constant(end))
        low = nodes.add("GreaterOrEqual", ids, nodes.constant(least))
        return nodes.add("Where", nodes.all_of(low, high), ids, nodes.constant(unknown))

    def _vocabulary(self, rule: Vocabulary, entries: str) -> str:
        tokens = self._encoder.tokens[rule.owner]
        ids = known_ids(tokens)
        unknown = len(tokens) + 1
        missing = ids.get(MISSING if rule.fill_na is None else rule.fill_na, unknown)
        keys: dict[str, Any]
        if rule.dtype == "int":
            found = {int(token): number for token, number in ids.items() if token != MISSING}
            found[MISSING_INTEGER] = missing
            keys = {"keys_int64s": list(found), "values_int64s": list(found.values())}
        else:
            texts = ids if rule.dtype == "text" else {**ids, **_other_spellings(ids)}
            texts = {**texts, MISSING: missing}
            keys = {"keys_strings": list(texts), "values_int64s": list(texts.values())}
        return self._nodes.add("LabelEncoder", entries, default_int64=unknown, **keys)

    def _filled(self, rule: Number | Buckets, x: str) -> str:
        """Numbers with ``fill_na``, or NaN, where they are missing or too large for float32."""
        nodes, dtype = self._nodes, _numpy(rule)
        single = nodes.cast(x, TensorProto.FLOAT) if rule.double else x
        filling = nodes.constant(np.nan if rule.fill_na is None else rule.fill_na, dtype)
        return nodes.add("Where", self._finite(single), x, filling)

    def _finite(self, x: str) -> str:
        either = self._nodes.add("Or", self._nodes.add("IsNaN", x), self._nodes.add("IsInf", x))
        return self._nodes.add("Not", either)

    def _number(self, column: str, rule: Number, entries: str) -> str:
        nodes, dtype = self._nodes, _numpy(rule)
        x = self._filled(rule, entries)
        if rule.log:
            wide = nodes.cast(x, TensorProto.DOUBLE)
            bad = nodes.add("LessOrEqual", wide, nodes.constant(-1, np.float64))
            scaled = nodes.add("Log", nodes.add("Add", wide, nodes.constant(1, np.float64)))
            allowed = nodes.cast(self._refuse(bad, f"{column}: an entry is not above -1"), TensorProto.DOUBLE)
            scaled = nodes.add("Add", scaled, allowed)
        else:
            moved = nodes.add("Sub", x, nodes.constant(rule.offset, dtype))
            scaled = nodes.add("Div", moved, nodes.constant(rule.scale, dtype))
        single = nodes.cast(scaled, TensorProto.FLOAT)
        return nodes.add("Where", self._finite(single), single, nodes.constant(0, np.float32))

    def _buckets(self, column: str, rule: Buckets, entries: str) -> str:
        nodes, dtype = self._nodes, _numpy(rule)
        x = self._filled(rule, entries)
        wide = nodes.add("Unsqueeze", x, nodes.constant([-1]))
        reached = nodes.add("GreaterOrEqual", wide, nodes.constant(rule.boundaries, dtype))
        number = nodes.add(
            "ReduceSum", nodes.cast(reached, TensorProto.INT64), nodes.constant([-1]), keepdims=0
        )
        ids = nodes.add("Add", number, nodes.constant(1))
        ids = nodes.add("Where", nodes.add("IsNaN", x), nodes.constant(len(rule.boundaries) + 2), ids)
        if rule.least is None:
            return ids
        bad = nodes.add("Less", x, nodes.constant(rule.least, dtype))
        return nodes.add("Add", ids, self._refuse(bad, f"{column}: a time is below {rule.least:g}"))

    def _refuse(self, bad: str, reason: str) -> str:
        """Zero in the shape of the entries, and an error under the reason's name where one is bad."""
        return self._nodes.add(
            "Gather", self._nodes.constant([0]), self._nodes.cast(bad, TensorProto.INT64), name=reason
        )

    def _bag(self, column: Column, bag: Bag, feature: Feature) -> tuple[str, list[str]]:
        """Ids ``(batch, max_len)`` int64, and weights ``(batch, max_len)`` if the bag has them."""
        nodes = self._nodes
        entries, lengths = self._members(column.name, _type(column), bag, column.rule)
        given = self._given(column, entries)
        present = given
        if not bag.zeros:
            present = nodes.all_of(given, nodes.add("Not", nodes.add("Equal", entries, nodes.constant(0))))
        taking = self._up_to_the_last(given, lengths) if bag.gaps else present
        place, number = self._places(taking, bag)
        ids = nodes.add("Where", given, self._apply(column, entries), nodes.constant(PAD))
        placed = self._scattered(ids, place, nodes.constant(0), bag.max_len)
        if bag.fill_na is not None:
            empty = nodes.add("Equal", number, nodes.constant(0))
            filling = nodes.constant(self._blank[:, feature.columns])
            placed = nodes.add("Where", empty, filling, placed)
        if not bag.weights:
            return placed, []
        weights = self._weights(column.name, bag.weights, bag, entries, lengths)
        one = nodes.constant(1, np.float32)
        known = nodes.add("Where", self._finite(weights), weights, one)
        laid_out = self._scattered(known, place, one, bag.max_len)
        padding = nodes.add("Equal", placed, nodes.constant(PAD))
        return placed, [nodes.add("Where", padding, nodes.constant(0, np.float32), laid_out)]

    def _members(self, column: str, dtype: str, bag: Bag, rule: Rule) -> tuple[str, str | None]:
        """The members ``(batch, length)``, and of texts the number in each, ``(batch,)``."""
        if not self._texts or isinstance(rule, HashBuckets):
            return self._input(column, dtype, f"{self._names[column]}_length"), None
        return self._split(column, bag, dtype)

    def _split(self, column: str, bag: Bag, dtype: str) -> tuple[str, str]:
        """Texts as members of a type, missing ones at the end, and how many there are."""
        nodes = self._nodes
        members, lengths = nodes.split(self._input(column, "string"), bag.splitter)
        if dtype == "string":
            return members, lengths
        missing = str(MISSING_INTEGER) if dtype == "int64" else "NaN"
        absent = nodes.add("Equal", members, nodes.constant(MISSING, object))
        filled = nodes.add("Where", absent, nodes.constant(missing, object), members)
        return nodes.cast(filled, _TYPES[dtype]), lengths

    def _weights(self, column: str, weights: str, bag: Bag, entries: str, lengths: str | None) -> str:
        """The weights of a bag in the shape of its members, NaN where one is missing."""
        nodes = self._nodes
        if lengths is None:
            return self._input(weights, "float32", f"{self._names[column]}_length")
        given, numbers = self._split(weights, bag, "float32")
        absent = nodes.add("LessOrEqual", numbers, nodes.constant(1))
        alike = nodes.add("Or", absent, nodes.add("Equal", numbers, lengths))
        bad = nodes.add("Not", alike)
        checked = self._refuse(bad, f"{weights}: a row has not as many weights as members")
        checked = nodes.add("Unsqueeze", nodes.cast(checked, TensorProto.FLOAT), nodes.constant([1]))
        blank = nodes.add(
            "Cast",
            nodes.add("Expand", nodes.constant(np.nan, np.float32), nodes.add("Shape", entries)),
            to=TensorProto.FLOAT,
        )
        width = nodes.add("Shape", entries, start=1, end=2)
        joined = nodes.add("Concat", nodes.add("Add", given, checked), blank, axis=1)
        return nodes.add("Slice", joined, nodes.constant([0]), width, nodes.constant([1]))

    def _given(self, column: Column, entries: str) -> str:
        """Which members are there."""
        nodes = self._nodes
        if _type(column) == "string":
            label = nodes.add(
                "LabelEncoder", entries, keys_strings=[MISSING], values_int64s=[0], default_int64=1
            )
            return nodes.cast(label, TensorProto.BOOL)
        missing = PAD if isinstance(column.rule, HashBuckets) else MISSING_INTEGER
        return nodes.add("Not", nodes.add("Equal", entries, nodes.constant(missing)))

    def _up_to_the_last(self, given: str, lengths: str | None) -> str:
        """Places up to the last member that is given; of a text, up to its end."""
        nodes = self._nodes
        if lengths is not None:
            one = nodes.cast(nodes.add("Or", given, nodes.add("Not", given)), TensorProto.INT64)
            number = nodes.add("CumSum", one, nodes.constant(1))
            return nodes.add("LessOrEqual", number, nodes.add("Unsqueeze", lengths, nodes.constant([1])))
        behind = nodes.add("CumSum", nodes.cast(given, TensorProto.INT64), nodes.constant(1), reverse=1)
        return nodes.add("Greater", behind, nodes.constant(0))

    def _places(self, taking: str, bag: Bag) -> tuple[str, str]:
        """The column of each member, ``max_len`` for one that has none, and the number of members."""
        nodes = self._nodes
        counted = nodes.cast(taking, TensorProto.INT64)
        place = nodes.add("Sub", nodes.add("CumSum", counted, nodes.constant(1)), nodes.constant(1))
        number = nodes.add("ReduceSum", counted, nodes.constant([1]), keepdims=1)
        free = nodes.add("Sub", nodes.constant(bag.max_len), number)  # below 0 where members are cut
        if bag.cuts_front:
            place = nodes.add("Add", place, nodes.add("Min", free, nodes.constant(0)))
        inside = nodes.all_of(
            taking,
            nodes.add("GreaterOrEqual", place, nodes.constant(0)),
            nodes.add("Less", place, nodes.constant(bag.max_len)),
        )
        if bag.padding == "pre":
            place = nodes.add("Add", place, nodes.add("Max", free, nodes.constant(0)))
        return nodes.add("Where", inside, place, nodes.constant(bag.max_len)), number

    def _scattered(self, values: str, place: str, filling: str, width: int) -> str:
        """Values at their places in rows of a width; what has no place falls into a column behind them."""
        nodes = self._nodes
        rows = nodes.add("Shape", values, start=0, end=1)
        blank = nodes.add("Expand", filling, self._pair(rows, width + 1))
        full = nodes.add("ScatterElements", blank, place, values, axis=1)
        ends = [nodes.constant([x]) for x in (0, width, 1)]
        return nodes.add("Slice", full, *ends)

    def _pair(self, rows: str, width: int) -> str:
        return self._nodes.add("Concat", rows, self._nodes.constant([width]), axis=0)

    @cached_property
    def _blank(self) -> np.ndarray:
        """The ids of a row without entries, ``(1, id columns)``."""
        blank = pl.DataFrame({name: [None] for name in self._encoder.raw_columns})
        return self._encoder.encode(blank.cast(pl.String))[0]


def _type(column: Column) -> str:
    rule = column.rule
    if isinstance(rule, (Number, Buckets)):
        return "float64" if rule.double else "float32"
    return "string" if isinstance(rule, Vocabulary) and rule.dtype != "int" else "int64"


def _other_spellings(ids: Mapping[str, int]) -> dict[str, int]:
    """Whole numbers as a column with gaps spells them, which are the same tokens."""
    spelled = {f"{token}.0": number for token, number in ids.items() if _INTEGER.fullmatch(token)}
    return spelled | ({"-0.0": ids["0"]} if "0" in ids else {})


def _numpy(rule: Number | Buckets) -> type:
    return np.float64 if rule.double else np.float32
