"""The decoders of heads that predict a value, by the name of their type."""

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
    },
    given=("task", "columns"),
    in_block=True,
)
