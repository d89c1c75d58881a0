"""What options of layers may say: names of activations, and FuxiCTR's notation of regularizers."""

import re

ACTIVATIONS = (
    "relu",
    "sigmoid",
    "tanh",
    "gelu",
    "silu",
    "swish",
    "elu",
    "selu",
    "leaky_relu",
    "leakyrelu",
    "prelu",
    "linear",
)
_CALL = re.compile(r"(l1|l2|l1_l2)\(([^()]*)\)")


def activation(name: str) -> None:
    """Refuses what is no name of an activation; FuxiCTR's spellings such as ``ReLU`` are.

    Raises:
        ValueError: It is none.
    """
    if name.lower().replace("leakyrelu", "leaky_relu") not in ACTIVATIONS:
        raise ValueError(f"{name!r} is unknown. Known: {', '.join(ACTIVATIONS)}.")


def penalty(notation: float | str | None) -> tuple[float, float]:
    """The strengths (l1, l2) of the penalty ``l1 ||w||_1 + l2/2 ||w||_2^2``.

    Args:
        notation: A number is the strength of L2; None and 0 are no penalty. Else ``l1(x)``, ``l2(x)`` or
            ``l1_l2(a,b)``.

    Raises:
        ValueError: The notation cannot be read, or a strength is negative.
    """
    if notation is None or isinstance(notation, (int, float)):
        strengths = (0.0, float(notation or 0))
    else:
        strengths = _parse(notation)
    if min(strengths) < 0:
        raise ValueError(f"regularizer {notation!r} is negative.")
    return strengths


def _parse(notation: str) -> tuple[float, float]:
    text = notation.replace(" ", "")
    match = _CALL.fullmatch(text)
    try:
        if match is None:
            return 0.0, float(text)
        values = [float(value) for value in match[2].split(",")]
        if len(values) == (2 if match[1] == "l1_l2" else 1):
            return {"l1": (values[0], 0.0), "l2": (0.0, values[0])}.get(match[1]) or (values[0], values[1])
    except ValueError:
        pass
    raise ValueError(
        f"regularizer {notation!r}: write a number, 'l1(1e-5)', 'l2(1e-5)' or 'l1_l2(1e-5,1e-5)'."
    )
