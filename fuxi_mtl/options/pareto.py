"""Options of a search among preferences."""

from dataclasses import dataclass

from fuxi_mtl.options.declaring import option

RULES = ("fairness", "least_misery", "weighted")


@dataclass(frozen=True)
class ParetoOptions:
    """``pareto``: which preferences `python -m fuxi_mtl pareto` tries, and how it chooses among the runs."""

    by: str = option(
        "weights", "What a preference is: weights of losses, or pe_ltr_bounds.", ("weights", "bounds")
    )
    vectors: int | list[dict[str, float]] | None = option(
        None,
        "A number of evenly spread preferences (at least 5 unless said), or each by objective.",
        example="[{ctr: 0.2, cvr: 1.8}, {ctr: 1, cvr: 1}]",
    )
    total: float = option(
        0.8, "Sum of evenly spread bounds; what is left to 1 is PE-LTR's to give.", above=0, most=1
    )
    metrics: list[str] | None = option(
        None,
        "What is traded off, on validation; the first metric of each task unless said.",
        example="[ctr_AUC, cvr_AUC]",
    )
    reference: dict[str, float] | None = option(
        None, "Corner of the hypervolume, by metric; 0.5 for an AUC and the worst run for others unless said."
    )
    choose: str = option("fairness", "Rule that chooses a run of the front.", RULES)
    importance: dict[str, float] | None = option(
        None, "weighted: weights of the metrics; equal unless said.", example="{ctr_AUC: 1, cvr_AUC: 3}"
    )


@dataclass(frozen=True)
class ParetoSection:
    """The block as a key of a stanza."""

    pareto: ParetoOptions = option(
        ParetoOptions(),
        "Which preferences `python -m fuxi_mtl pareto` tries, and how it chooses among the runs.",
        example="{vectors: 5, choose: fairness}",
    )
