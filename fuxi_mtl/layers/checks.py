"""Checks of the arguments of layers: names, choices and ranges."""

from collections.abc import Collection, Iterable, Sequence

from fuxi_mtl.hints import did_you_mean


def check_names(where: str, given: Iterable[str], known: Sequence[str]) -> None:
    """Every name is known.

    Raises:
        ValueError: With the nearest name and all of them.
    """
    for key in given:
        if key not in known:
            near = did_you_mean(key, known)
            raise ValueError(f"{where} has no option {key!r}.{near} Options: {', '.join(known) or 'none'}.")


def check_choice(where: str, value: str, choices: Collection[str]) -> None:
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
