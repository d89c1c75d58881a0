"""Types of arguments."""

import argparse
import math
from collections.abc import Callable

from fuxi_mtl.files.remote import is_url, without_secrets


def whole(least: float = -math.inf, most: float = math.inf) -> Callable[[str], int]:
    """A type: whole numbers between two, or from one on.

    >>> whole(1)("3")
    3
    """
    bounds = (
        "" if least == -math.inf else f", {least} or more" if most == math.inf else f" from {least} to {most}"
    )

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number{bounds}")
        return value

    return read


def number(text: str) -> float:
    """A number.

    Raises:
        ArgumentTypeError: It is none.
    """
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None


def folder_here(text: str) -> str:
    """A folder of this machine.

    Raises:
        ArgumentTypeError: It is a URL.
    """
    if is_url(text):
        raise argparse.ArgumentTypeError(
            f"{without_secrets(text)} is a URL: name a folder of this machine, and copy it from there."
        )
    return text
