"""What each loss weighs."""

from dataclasses import dataclass

from fuxi_mtl.options.declaring import option

# Weightings by name, each with the prefix of its own keys.
WEIGHTINGS = {"EQ": "", "UW": "uw_", "GN": "gradnorm_", "DWA": "dwa_", "RLW": "", "GLS": "", "NISE": "nise_"}


@dataclass(frozen=True)
class WeightingOptions:
    """How the losses are weighted."""

    loss_weight: str | list[float] | dict[str, float] = option(
        "EQ",
        "EQ, UW, GN, DWA, RLW, GLS, NISE, weights in the order of the objectives, or weights by name.",
    )
    gradnorm_alpha: float = option(1.5, "Strength of the pull towards equal training rates.")
    gradnorm_lr: float = option(0.025, "Learning rate of the weights.")
    gradnorm_init: str = option(
        "first_batch", "What L(0) is.", ("first_batch", "mean_of_first_n", "log_classes")
    )
    gradnorm_init_batches: int = option(10, "The n of mean_of_first_n.")
    uw_form: str = option("kendall", "Uncertainty weighting's penalty.", ("kendall", "revised"))
    uw_lr: float = option(0.025, "Learning rate of the log variances.")
    dwa_temperature: float = option(2.0, "The larger, the closer to equal weights.")
    dwa_period: int | None = option(None, "Steps over which losses are averaged; an epoch unless said.")
    nise_alpha: float = option(1.0, "Weight of the other objectives beside the reference.")
    nise_beta: float = option(10.0, "Largest ratio of the reference's loss to another.")
    nise_reference: str | None = option(None, "Objective that keeps the weight one; the first unless said.")
