"""What a stanza may say about gradient surgery."""

from collections.abc import Sequence
from dataclasses import dataclass

from fuxi_mtl.options.declaring import option


@dataclass(frozen=True)
class SurgeryOptions:
    """Which way shared variables go when the objectives' gradients disagree."""

    surgery: str = option(
        "none", "Method by gradients, after loss_weight.", ("none", "mgda", "pe_ltr", "pcgrad", "cagrad")
    )
    surgery_mode: str = option(
        "representation",
        "Where gradients are compared: embeddings' output, last shared layer, or all that is shared.",
        ("representation", "last_layer", "full"),
    )
    surgery_normalize: bool = option(
        False, "Compare gradients of length one; least norm favours the shortest, that of the rarest event."
    )
    pe_ltr_solver: str = option(
        "paper", "The paper's projection, or the optimum it comes close to.", ("paper", "exact")
    )
    pe_ltr_bounds: dict[str, float] | None = option(
        None, "Least weights by objective, with a sum of at most 1; 0 unless said."
    )
    pe_ltr_weights: str = option(
        "previous",
        "Weights of a step: of the batch before, as in the paper, or its own.",
        ("previous", "current"),
    )
    cagrad_strength: float = option(0.4, "Reach around the mean gradient, from 0 to below 1.")

    def bounds(self, objectives: Sequence[str]) -> dict[str, float]:
        """The least weight of each objective in PE-LTR.

        Raises:
            ValueError: An unknown objective, a bound outside 0 to 1, or a sum above 1.
        """
        given = self.pe_ltr_bounds or {}
        for name, bound in given.items():
            if name not in objectives:
                known = ", ".join(objectives)
                raise ValueError(f"pe_ltr_bounds names {name!r}, which is no objective. Objectives: {known}.")
            if not 0 <= bound <= 1:
                raise ValueError(f"pe_ltr_bounds of {name!r} is {bound}; a bound is a number from 0 to 1.")
        if sum(given.values()) > 1:
            raise ValueError(f"pe_ltr_bounds add up to {sum(given.values()):g}; weights add up to 1.")
        return {name: float(given.get(name, 0.0)) for name in objectives}
