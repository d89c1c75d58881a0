"""What each loss weighs."""

from dataclasses import dataclass

from fuxi_mtl.options.declaring import option


@dataclass(frozen=True)
class WeightingOptions:
    """How the losses are weighted."""

    loss_weight: str | list[float] | dict[str, float] = option(
        "EQ", "EQ, UW, GN, a list of weights in the order of the objectives, or weights by name."
    )
    gradnorm_alpha: float = option(1.5, "Strength of the pull towards equal training rates.")
    gradnorm_lr: float = option(0.025, "Learning rate of the weights.")
    gradnorm_init: str = option(
        "first_batch", "What L(0) is.", ("first_batch", "mean_of_first_n", "log_classes")
    )
    gradnorm_init_batches: int = option(10, "The n of mean_of_first_n.")
    uw_form: str = option("kendall", "Uncertainty weighting's penalty.", ("kendall", "revised"))
    uw_lr: float = option(0.025, "Learning rate of the log variances.")
