"""Options of loss weighting."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from fuxi_mtl.hints import no_objective
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
        "EXCESS": "fuxi_mtl.weighting.excess:ExcessRisk",
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


def wrong_weights(weights: Sequence[float] | Mapping[str, float], objectives: Sequence[str]) -> Iterator[str]:
    """What does not fit in weights that are given: there is one for each objective.

    Args:
        weights: In the order of the objectives, or by name.
        objectives: Their names.
    """
    if not isinstance(weights, Mapping):
        if len(weights) != len(objectives):
            shown = ", ".join(objectives)
            yield f"loss_weight has {len(weights)} entries for {len(objectives)} objectives: {shown}."
        return
    for name in objectives:
        if name not in weights:
            given, shown = ", ".join(weights), ", ".join(objectives)
            yield f"loss_weight has no entry for {name!r}. Given: {given}. Objectives: {shown}."
    for name in weights:
        if name not in objectives:
            yield no_objective("loss_weight", name, objectives)
