"""The decoders of heads that predict a value or one of several classes, by the name of their type."""

import re

from fuxi_mtl.options.family import Family

# A whole number as pandas writes it beside a missing one, and what it becomes: one of two groups, so that
# -0.0 is 0 as it is among numbers.
WHOLE = r"^(?:-(0)|([-+]?[0-9]+))\.0$"

_AMOUNTS, _THRESHOLDS = "fuxi_mtl.decoders.amounts", "fuxi_mtl.decoders.thresholds"
DECODERS = Family(
    "decoder",
    "decoder",
    {
        "ziln": f"{_AMOUNTS}:ZeroInflatedLognormal",
        "log1p": f"{_AMOUNTS}:LogSquaredError",
        "poisson": f"{_AMOUNTS}:Poisson",
        "tweedie": f"{_AMOUNTS}:Tweedie",
        "wlr": f"{_AMOUNTS}:WeightedLogistic",
        "d2q": "fuxi_mtl.decoders.duration:DurationQuantile",
        "cread": f"{_THRESHOLDS}:Thresholds",
        "tpm": f"{_THRESHOLDS}:Tree",
        "ordinal": f"{_THRESHOLDS}:Ordinal",
        "quantile": f"{_THRESHOLDS}:Quantiles",
        "softmax": "fuxi_mtl.decoders.classes:Softmax",
    },
    given=("task", "columns"),
    in_block=True,
)


def kind_of(decoder: str) -> str:
    """The kind of the labels that a decoder is for: ``regression`` or ``classes``."""
    if decoder == "softmax":
        return "classes"
    target = DECODERS[decoder].target if decoder in DECODERS else None  # ours are not imported yet
    return str(getattr(target, "labels", "regression"))


def token_of(name: float | str) -> str:
    """A class as it is told apart, which is as entries of files are: a whole number without a point.

    >>> [token_of(each) for each in (1, 1.0, "1.0", "1.5", "like")]
    ['1', '1', '1', '1.5', 'like']
    """
    if isinstance(name, str):
        return re.sub(WHOLE, lambda found: found[1] or found[2], name)
    return str(int(name)) if float(name).is_integer() else repr(float(name))
