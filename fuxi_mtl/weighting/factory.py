"""From the options of a stanza to a weighting."""

from collections.abc import Mapping

from fuxi_mtl.options import WeightingOptions
from fuxi_mtl.weighting.base import Equal, Manual, Weighting
from fuxi_mtl.weighting.gradnorm import GradNorm
from fuxi_mtl.weighting.loss_based import DynamicAverage, GeometricMean, LossRatio, RandomWeights
from fuxi_mtl.weighting.uncertainty import Uncertainty


def make_weighting(
    options: WeightingOptions, objectives: Mapping[str, str], epoch_steps: int = 1, seed: int = 0
) -> Weighting:
    """The weighting that a stanza asks for.

    Args:
        options: Its name and numbers.
        objectives: Kind of each objective, by name.
        epoch_steps: Steps of an epoch.
        seed: Of what is random.

    Raises:
        ValueError: Unknown name, or a list that does not fit the objectives.
    """
    choice = options.loss_weight
    if isinstance(choice, dict):
        return Manual(objectives, choice)
    if isinstance(choice, (list, tuple)):
        if len(choice) != len(objectives):
            raise ValueError(
                f"loss_weight has {len(choice)} entries for {len(objectives)} objectives: "
                f"{', '.join(objectives)}."
            )
        return Manual(objectives, dict(zip(objectives, choice, strict=True)))
    makers = {
        "EQ": lambda: Equal(objectives),
        "UW": lambda: Uncertainty(objectives, options.uw_form, options.uw_lr),
        "GN": lambda: GradNorm(
            objectives,
            options.gradnorm_alpha,
            options.gradnorm_lr,
            options.gradnorm_init,
            options.gradnorm_init_batches,
        ),
        "DWA": lambda: DynamicAverage(objectives, options.dwa_temperature, options.dwa_period or epoch_steps),
        "RLW": lambda: RandomWeights(objectives, seed),
        "GLS": lambda: GeometricMean(objectives),
        "NISE": lambda: LossRatio(objectives, options.nise_alpha, options.nise_beta, options.nise_reference),
    }
    if choice not in makers:
        known = ", ".join(makers)
        raise ValueError(f"loss_weight {choice!r} is unknown. Use {known}, a list, or weights by name.")
    return makers[choice]()
