"""Nested options of a layer, such as ``gate_stabilize: {temperature: 1.2}``, read by a dataclass."""

import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any, TypeVar

from fuxi_mtl.hints import did_you_mean

Block = TypeVar("Block")
_WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    dict: "a mapping",
    Mapping: "a mapping",
}


def read_block(
    kind: type[Block], block: Mapping | None, where: str, without: Mapping[str, str] | None = None
) -> Block:
    """The instance of a dataclass that a mapping describes.

    Args:
        kind: The dataclass; its fields are the keys, its annotations their types.
        block: What was written; None is the same as an empty mapping.
        where: The block's key, for errors.
        without: Keys that other projects have there, each with what to write instead.

    Raises:
        ValueError: An unknown key, or a value of another type.
    """
    if block is not None and not isinstance(block, Mapping):
        raise ValueError(f"{where} expects a mapping, not {block!r}.")
    given = dict(block or {})
    hints = typing.get_type_hints(kind)
    for key in given:
        if key in (without or {}):
            raise ValueError(f"{where}.{key}: {(without or {})[key]}")
    check_names(where, given, [field.name for field in fields(kind)])  # type: ignore[arg-type]
    check_types(where, given, hints)
    return kind(**given)


def check_types(where: str, given: Mapping[str, Any], hints: Mapping[str, Any]) -> None:
    """Every value is of the type that is annotated.

    Raises:
        ValueError: One is of another.
    """
    for key, value in given.items():
        alternatives = typing.get_args(hints[key]) if _is_union(hints[key]) else (hints[key],)
        if not any(_fits(value, each) for each in alternatives):
            words = " or ".join(_words(each) for each in alternatives)
            raise ValueError(f"{where}.{key} expects {words}, not {value!r}.")


def check_names(where: str, given: Iterable[str], known: Sequence[str]) -> None:
    """Every name is known.

    Raises:
        ValueError: With the nearest name and all of them.
    """
    for key in given:
        if key not in known:
            near = did_you_mean(key, known)
            raise ValueError(f"{where} has no option {key!r}.{near} Options: {', '.join(known) or 'none'}.")


def check_choice(where: str, value: str, choices: Sequence[str]) -> None:
    """A text is one of some.

    Raises:
        ValueError: It is none of them.
    """
    if value not in choices:
        near = did_you_mean(value, choices)
        raise ValueError(f"{where} is {value!r}.{near} Choices: {', '.join(choices)}.")


def check_range(where: str, value: float, least: float, most: float | None = None) -> None:
    """A number is not too small, and not too large.

    Raises:
        ValueError: It is.
    """
    if value < least or (most is not None and value > most):
        bounds = f"the least is {least:g}" if most is None else f"it lies from {least:g} to {most:g}"
        raise ValueError(f"{where} is {value:g}; {bounds}.")


def check_widths(where: str, units: Sequence[int], needed: bool = False) -> None:
    """Layers have at least one unit each, and where one is needed there is one.

    Raises:
        ValueError: There is none, or one has no unit.
    """
    if needed and not units:
        raise ValueError(f"{where} is empty; the least is one layer.")
    for width in units:
        check_range(where, width, 1)


def _is_union(hint: Any) -> bool:
    return hint is not None and type(None) in typing.get_args(hint)


def _fits(value: Any, expected: Any) -> bool:
    if typing.get_origin(expected) is not None:  # a list of one type
        (element,) = typing.get_args(expected)
        return isinstance(value, (list, tuple)) and all(_fits(each, element) for each in value)
    if expected in (int, float) and isinstance(value, bool):
        return False
    return isinstance(value, (int, float) if expected is float else expected)


def _words(expected: Any) -> str:
    if typing.get_origin(expected) is not None:
        return "a list of texts" if typing.get_args(expected) == (str,) else "a list of whole numbers"
    return "null" if expected is type(None) else _WORDS[expected]
