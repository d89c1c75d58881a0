"""The block ``ipw``: weights of clicked rows by the inverse of their click probability."""

from dataclasses import dataclass
from typing import Literal

from fuxi_mtl.options.declaring import option


@dataclass(frozen=True)
class PropensityWeights:
    """Weights of clicked rows.

    A row with click probability p weighs, in this order::

        w = 1 / max(p, eps_clip)         clip the probability, not the weight
        w within running percentiles     percentile: winsorise moves it there, trim gives it 0
        w P(click)                       stabilised, with a running click rate
        min(w, max_weight)

    Raises:
        ValueError: Options that exclude each other.
    """

    eps_clip: float = option(
        0.1,
        "Least propensity in a weight. Above the click rate, most weights are the same.",
        least=1e-9,
        most=1,
    )
    max_weight: float | None = option(None, "The largest weight; null for none.", least=1e-9)
    self_normalised: bool = option(
        False, "Divide by the sum of the weights instead of the number of exposures (Hajek)."
    )
    stabilised: bool = option(
        False,
        "Multiply by the click rate: for a risk of clicked rows, a factor that only matters beside other "
        "losses.",
    )
    percentile: Literal["none", "winsorise", "trim"] = option(
        "none", "What is done outside of the percentiles: move weights there, or give them 0."
    )
    lower_percentile: float = option(
        1.0, "Lower percentile of the weights of clicked rows.", least=0, most=100
    )
    upper_percentile: float = option(99.0, "Upper percentile of them.", least=0, most=100)
    momentum: float = option(0.99, "How slowly running numbers follow the batches.", least=0, most=0.999999)
    propensity_stop_gradient: bool = option(
        True,
        "False lets the risk train the propensity: it then falls by calling clicked rows with a large error "
        "likely.",
    )

    def __post_init__(self):
        if self.upper_percentile < self.lower_percentile:
            raise ValueError(
                f"upper_percentile is {self.upper_percentile:g}; it lies from "
                f"{self.lower_percentile:g} to 100."
            )
        if self.self_normalised and not self.propensity_stop_gradient:
            raise ValueError(
                "self_normalised weights are constants, which propensity_stop_gradient: false asks to "
                "differentiate. Leave one of the two out."
            )
