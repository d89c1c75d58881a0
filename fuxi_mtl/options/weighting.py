"""Options of loss weighting."""

from dataclasses import dataclass

from fuxi_mtl.options.declaring import option
from fuxi_mtl.options.family import Family

WEIGHTINGS = Family(
    "weighting",
    "loss_weight",
    {
        "EQ": "fuxi_mtl.weighting.base:Equal",
        "UW": "fuxi_mtl.weighting.uncertainty:Uncertainty",
        "GN": "fuxi_mtl.weighting.gradnorm:GradNorm",
        "DWA": "fuxi_mtl.weighting.loss_based:DynamicAverage",
        "RLW": "fuxi_mtl.weighting.loss_based:RandomWeights",
        "GLS": "fuxi_mtl.weighting.loss_based:GeometricMean",
        "NISE": "fuxi_mtl.weighting.loss_based:LossRatio",
        "FAMO": "fuxi_mtl.weighting.famo:FastAdaptive",
        "IMTL_L": "fuxi_mtl.weighting.uncertainty:ImpartialLosses",
        "STCH": "fuxi_mtl.weighting.relative:SmoothTchebycheff",
        "UWSO": "fuxi_mtl.weighting.relative:SoftOptimal",
        "COV": "fuxi_mtl.weighting.relative:CoefficientOfVariation",
        "NE": "fuxi_mtl.weighting.relative:NormalisedEntropy",
    },
    given=("objectives", "epoch_steps", "seed", "constant_losses"),
    also=("a list of weights in the order of the objectives", "or weights by name"),
)


@dataclass(frozen=True)
class WeightingOptions:
    """How the losses are weighted."""

    loss_weight: str | list[float] | dict[str, float] = option(
        "EQ",
        "A weighting by name, weights in the order of the objectives, or weights by name.",
        least=0,
        example="{ctr: 1, cvr: 0.5}",
    )
