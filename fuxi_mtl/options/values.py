"""Conversion of values by the type of the option they go to.

``1e-3`` is text to YAML 1.1; it becomes a number where a number is wanted and stays text elsewhere.
A whole number may stand for a fractional one, never the other way round, and true is not 1.
"""

import dataclasses
import math
import re
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar

from fuxi_mtl.files.remote import without_secrets
from fuxi_mtl.hints import did_you_mean
from fuxi_mtl.options.declaring import Option
from fuxi_mtl.options.family import OWN, Family, Names
from fuxi_mtl.options.mistakes import Mistakes
from fuxi_mtl.options.source_location import Located, SourceLocation

_EXPONENT = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+")
_SINGULAR = {str: "text", bool: "true or false", int: "a whole number", float: "a number", Any: "anything"}
_PLURAL = {str: "texts", bool: "true or false", int: "whole numbers", float: "numbers", Any: "values"}
_NONE = type(None)
_FREE = Option("")
NOWHERE = SourceLocation("")
Block = TypeVar("Block")
Options = TypeVar("Options")


def convert(entry: Located, expected: Any, key: str, declared: Option = _FREE) -> Any:
    """The plain value of `entry`, of the expected type.

    Args:
        entry: What was written.
        expected: A type annotation: a scalar type, a union, a list or mapping of such, a `Literal`, or
            a dataclass of options.
        key: The key, for the error.
        declared: Choices and bounds, of the value or of the members of a list or mapping.

    Raises:
        ConfigError: The value has another type, is none of the choices, or is out of bounds; or all that is
            wrong with the members of a list, a mapping or a block.
    """
    alternatives = _alternatives(expected)
    if entry.value is None and (_NONE in alternatives or Any in alternatives):
        return None
    for alternative in _fitting(entry.value, alternatives):
        others = [each for each in alternatives if each not in (alternative, _NONE)]
        return _as(entry, alternative, key, declared, others)
    if alternatives == [_NONE]:
        raise entry.error(f"{key} is code, which is never run. Prepare the column in the data instead.")
    hint = f" Write [{show(entry.value)}]." if _wants_list_of(entry.value, alternatives) else ""
    if entry.value == "None" and _NONE in alternatives:
        hint = " YAML writes None as null."
    elif str in alternatives and isinstance(entry.value, (bool, int, float)):
        texts = ", ".join(map(str, declared.choices))
        hint = f" As text it can be {texts}." if texts else " In quotes it is text."
    raise entry.error(f"{key} expects {describe(expected)}, not {show(entry.value)}.{hint}")


def converted_fields(entry: Located, options: Any, key: str) -> dict[str, Any]:
    """The fields of a dataclass that a mapping gives: one entry of ``feature_cols``, for example.

    Raises:
        ConfigError: All unknown keys and wrong values.
    """
    fields = {spelled(field.name): field for field in dataclasses.fields(options)}
    hints = typing.get_type_hints(options)
    name = entry.value.get("name")
    label = f"{key} ({name.value})" if name and isinstance(name.value, str) else key
    foreign = getattr(options, "foreign", {})
    given = {}
    mistakes = Mistakes()
    for each, value in entry.value.items():
        with mistakes.noted():
            if each in foreign:
                raise value.error(f"{label}.{each}: {foreign[each]}")
            if each not in fields:
                raise value.error(
                    f"{label}: unknown key {each!r} (value {show(value)}).{did_you_mean(each, fields)} "
                    f"Keys: {', '.join(fields)}."
                )
            field = fields[each]
            path = f"{label}.{each}" if label else each
            declared = field.metadata.get("option", _FREE)
            given[field.name] = convert(value, hints[field.name], path, declared)
    mistakes.tell()
    return given


def checked(options: Options) -> Options:
    """The same options with every value checked and converted as if it stood in a stanza.

    Args:
        options: An instance of a dataclass of options that a program has made.

    Raises:
        ConfigError: All that is wrong with them, without a location.
    """
    return type(options)(**converted_fields(located(options), type(options), ""))


def located(value: Any) -> Located:
    """What a program gives, to be converted like what a file says; its errors have no location."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {spelled(field.name): getattr(value, field.name) for field in dataclasses.fields(value)}
        return Located({key: located(each) for key, each in fields.items()}, NOWHERE)
    if hasattr(value, "tolist"):  # numbers and arrays of numpy
        value = value.tolist()
    if isinstance(value, Mapping):
        return Located({key: located(each) for key, each in value.items()}, NOWHERE)
    if isinstance(value, (list, tuple)):
        return Located([located(each) for each in value], NOWHERE)
    return Located(value, NOWHERE)


def block(kind: type[Block], given: Any, key: str) -> Block:
    """A dataclass of options from a mapping, or from such a dataclass, checked; None is its defaults.

    Raises:
        ConfigError: An unknown key, or a wrong value.
    """
    return convert(located({} if given is None else given), kind, key)


def spelled(field: str) -> str:
    """A field as YAML spells it: ``lambda`` is no name in Python, so the field is called ``lambda_``."""
    return field.removesuffix("_")


def plain(entry: Located) -> Any:
    """The value without its places; numbers such as 1e-3 are read as numbers."""
    if isinstance(entry.value, dict):
        return {key: plain(value) for key, value in entry.value.items()}
    if isinstance(entry.value, list):
        return [plain(value) for value in entry.value]
    return float(entry.value) if _is_exponent(entry.value) else entry.value


def show(value: Any) -> str:
    """A value as an error shows it, in the spelling of YAML."""
    if isinstance(value, Located):
        return show(value.value)
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, list):
        text = f"[{', '.join(map(show, value))}]"
    elif isinstance(value, dict):
        text = f"{{{', '.join(f'{key}: {show(each)}' for key, each in value.items())}}}"
    else:
        text = without_secrets(repr(value))
    return text if len(text) <= 80 else f"{text[:77]}..."


def describe(expected: Any) -> str:
    """A type in words: ``a number or null``."""
    return " or ".join(dict.fromkeys(_words(each) for each in _alternatives(expected)))


def _words(expected: Any) -> str:
    if expected is _NONE:
        return "null"
    if typing.get_origin(expected) is Literal:
        return f"one of {', '.join(map(show, typing.get_args(expected)))}"
    if _is_list(expected):
        return f"a list of {_PLURAL.get(_element(expected), 'mappings')}"
    if _is_mapping(expected):
        return f"a mapping of names to {_PLURAL.get(_element(expected), 'values')}"
    if dataclasses.is_dataclass(expected):
        return "a mapping"
    return _SINGULAR.get(expected, str(expected))


def _alternatives(expected: Any) -> list:
    if typing.get_origin(expected) not in (typing.Union, types.UnionType):
        return [_NONE if expected is None else expected]
    members = list(typing.get_args(expected))
    if any(map(dataclasses.is_dataclass, members)):  # a mapping is then how a program may write the block
        return [each for each in members if each not in (dict, Mapping)]
    return members


def _fitting(value: Any, alternatives: list) -> list:
    """The alternatives whose form fits; numbers first, so that 1e-6 is no text for ``float | str``."""
    order = {bool: 0, int: 1, float: 2, str: 3}
    return [each for each in sorted(alternatives, key=lambda a: order.get(a, 4)) if _fits(value, each)]


def _fits(value: Any, expected: Any) -> bool:
    if expected is Any:
        return True
    if typing.get_origin(expected) is Literal:
        return type(value) in map(type, typing.get_args(expected))
    if _is_list(expected):
        # FuxiCTR writes a single label as a mapping.
        return isinstance(value, list) or (isinstance(value, dict) and _holds_options(expected))
    if _is_mapping(expected) or dataclasses.is_dataclass(expected):
        return isinstance(value, dict)
    if expected is str:
        return isinstance(value, str)
    if expected is bool:
        return isinstance(value, bool)
    if expected in (int, float):
        number = _number(value)
        return number is not None and (expected is float or number == math.floor(number))
    return not isinstance(expected, type) or isinstance(value, expected)


def _number(value: Any) -> float | None:
    """A finite number; infinity and NaN are no setting of anything."""
    if isinstance(value, bool) or not (isinstance(value, (int, float)) or _is_exponent(value)):
        return None
    try:
        number = float(value)
    except OverflowError:  # a whole number beyond 1e308
        return None
    return number if math.isfinite(number) else None


def _is_exponent(value: Any) -> bool:
    return isinstance(value, str) and _EXPONENT.fullmatch(value) is not None


def _as(entry: Located, expected: Any, key: str, declared: Option, others: Sequence) -> Any:
    value = entry.value
    if expected is Any:
        return plain(entry)
    if isinstance(expected, type) and dataclasses.is_dataclass(expected):
        return _block(entry, expected, key)
    if _is_list(expected):
        element = _element(expected)
        items = enumerate(value if isinstance(value, list) else [entry])
        members = {i: (each, f"{key}[{i}]") for i, each in items}
        return list(_members(members, element, declared).values())
    if _is_mapping(expected):
        if isinstance(declared.choices, Family) and declared.choices.in_block:
            return _member(entry, declared.choices, key)
        element = _element(expected)
        members = {name: (each, f"{key}.{name}") for name, each in value.items()}
        return _members(members, element, declared)
    if typing.get_origin(expected) is Literal:
        return _chosen(entry, value, key, Option("", typing.get_args(expected)), others)
    if expected not in _SINGULAR:  # a class of the program's own
        return plain(entry)
    if expected is float or (expected is int and not isinstance(value, int)):
        value = expected(float(value))
    _judge(entry, value, key, declared)
    if not any(type(each) is type(value) for each in declared.choices):
        return value
    return _chosen(entry, value, key, declared, others)


def _judge(entry: Located, value: Any, key: str, declared: Option) -> None:
    """Raises for what is out of bounds, or wrong in a way that type, bounds and choices do not tell."""
    problem = declared.problem(value)
    if problem is not None:
        shown = f"{value:g}" if isinstance(value, float) else show(value)
        raise entry.error(f"{key} is {shown}; {problem}.")
    if declared.check is not None:
        try:
            declared.check(value)
        except ValueError as error:
            raise entry.error(f"{key}: {error}") from error


def _members(entries: Mapping[Any, tuple[Located, str]], element: Any, declared: Option) -> dict:
    """The members of a list or mapping by index or name, from each with its path."""
    converted = {}
    mistakes = Mistakes()
    for name, (entry, path) in entries.items():
        with mistakes.noted():
            converted[name] = convert(entry, element, path, declared)
    mistakes.tell()
    return converted


def _block(entry: Located, kind: Any, key: str) -> Any:
    given = converted_fields(entry, kind, key)
    missing = [
        each.name
        for each in dataclasses.fields(kind)
        if each.name not in given and each.default is each.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise entry.error(f"{key} needs the key {spelled(missing[0])!r}.")
    try:
        return kind(**given)
    except ValueError as error:  # what its fields cannot tell one by one
        raise entry.error(f"{key}.{error}") from error


def _member(entry: Located, family: Family, key: str) -> dict[str, Any]:
    """A block that chooses a member of a family by its ``type``, beside the member's options."""
    if "type" not in entry.value:
        raise entry.error(f"{key} needs the key 'type'. Choices: {', '.join(family)}.")
    kind = entry.value["type"]
    name = _chosen(kind, kind.value, f"{key}.type", Option("", family))
    options, given = family[name].options, {"type": name}
    mistakes = Mistakes()
    for each, value in entry.value.items():
        with mistakes.noted():
            if each != "type" and each not in options:
                raise value.error(
                    f"{key}: unknown key {each!r} (value {show(value)}) of {name}."
                    f"{did_you_mean(each, options)} Keys: {', '.join(['type', *options])}."
                )
            if each != "type":
                declared = options[each]
                given[each] = convert(value, declared.type, f"{key}.{each}", declared.option)
    mistakes.tell()
    return given


def _chosen(entry: Located, value: Any, key: str, declared: Option, others: Sequence = ()) -> Any:
    """One of the choices; an error tells the other types that would do, too.

    FuxiCTR also takes Adam for adam, and layers.MaskedAveragePooling().
    """
    name = value.lower().removeprefix("layers.").removesuffix("()") if isinstance(value, str) else value
    for choice in declared.choices:
        if name == (choice.lower() if isinstance(choice, str) else choice):
            return choice
    choices = ", ".join(map(str, declared.choices))
    for each in others:
        bounds = f" {declared.bounds}" if each in (int, float) and declared.bounds else ""
        choices += f", or {describe(each)}{bounds}"
    near = did_you_mean(value, declared.choices)
    own = OWN if isinstance(declared.choices, Family | Names) and not near else ""
    raise entry.error(f"{key} is {show(value)}.{near} Choices: {choices}.{own}")


def _is_list(expected: Any) -> bool:
    origin = typing.get_origin(expected) or expected
    return isinstance(origin, type) and issubclass(origin, Sequence) and origin is not str


def _is_mapping(expected: Any) -> bool:
    origin = typing.get_origin(expected) or expected
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _holds_options(expected: Any) -> bool:
    return dataclasses.is_dataclass(_element(expected))


def _element(expected: Any) -> Any:
    """The type of a list's elements or of a mapping's values."""
    arguments = [each for each in typing.get_args(expected) if each is not Ellipsis]
    return arguments[-1] if arguments else Any


def _wants_list_of(value: Any, alternatives: list) -> bool:
    return any(_is_list(each) and _fits(value, _element(each)) for each in alternatives)
