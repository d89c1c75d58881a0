"""The decoders of heads that predict a value or one of several classes, by the name of their type."""

from fuxi_mtl.options.family import Family

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
