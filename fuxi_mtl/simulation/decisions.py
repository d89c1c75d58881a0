"""Decision probabilities: given the hidden factor, averaged over it, with intercepts that meet rates.

The names are those of :mod:`fuxi_mtl.simulation.funnel`, which has the equations.
"""

from typing import NamedTuple

import numpy as np

from fuxi_mtl.simulation.settings import FunnelSettings

NODES = 40
_WIDEST = 60.0  # Logits of the search for an intercept.


class Logits(NamedTuple):
    """Logits without their intercepts and without the hidden factor, ``(rows,)`` each."""

    click: np.ndarray
    cart: np.ndarray
    conversion: np.ndarray


class Intercepts(NamedTuple):
    """α, β and γ."""

    click: float
    cart: float
    conversion: float


class Chances(NamedTuple):
    """Probabilities given x and the hidden factor, ``(rows,)`` each."""

    click: np.ndarray
    cart: np.ndarray
    conversion_with_cart: np.ndarray
    conversion_without: np.ndarray

    @property
    def conversion(self) -> np.ndarray:
        """P(conversion | do(click), x, η)."""
        return self.conversion_without + self.cart * (self.conversion_with_cart - self.conversion_without)


class Decisions:
    """The decisions on some rows.

    One exponential a row and decision serves every value of the hidden factor: ``σ(z + cη)`` is
    ``1 / (1 + e^-z e^-cη)``.

    Args:
        settings: Of the funnel.
        logits: Of the rows.
        intercepts: Of the funnel.
    """

    def __init__(self, settings: FunnelSettings, logits: Logits, intercepts: Intercepts):
        self.settings = settings
        self._against = Logits(*(np.exp(-(z + c)) for z, c in zip(logits, intercepts, strict=True)))

    def given(self, hidden: np.ndarray | float) -> Chances:
        """Probabilities given the hidden factor: one of each row, or the same of all."""
        settings = self.settings
        to_click = np.exp(-abs(settings.confounding) * hidden)
        to_convert = np.exp(-settings.confounding * hidden)
        without = self._against.conversion * to_convert
        return Chances(
            self._happens(self._against.click * to_click, settings.click_rate),
            self._happens(self._against.cart * to_convert, settings.cart_rate),
            self._happens(without * np.exp(-settings.cart_effect), settings.conversion_rate),
            self._happens(without, settings.conversion_rate),
        )

    def _happens(self, against: np.ndarray, rate: float) -> np.ndarray:
        return (1 - self.settings.noise) / (1 + against) + self.settings.noise * rate

    def truth(self) -> dict[str, np.ndarray]:
        """Probabilities given x alone, by the names of their columns."""
        click = cart = both = bought = buys_with = buys_without = clicked_cart = np.zeros(1)
        for hidden, weight in _hidden_values(self.settings.confounding):
            at = self.given(hidden)
            click = click + weight * at.click
            cart = cart + weight * at.cart
            bought = bought + weight * at.conversion
            both = both + weight * at.click * at.conversion
            clicked_cart = clicked_cart + weight * at.click * at.cart
            buys_with = buys_with + weight * at.cart * at.conversion_with_cart
            buys_without = buys_without + weight * (1 - at.cart) * at.conversion_without
        return {
            "truth_ctr": click,
            "truth_cart": cart,
            "truth_cvr": bought,
            "truth_ctavr": clicked_cart,
            "truth_ctcvr": both,
            "truth_cvr_cart": buys_with / cart,
            "truth_cvr_other": buys_without / (1 - cart),
            "truth_cvr_clicked": both / click,
        }


def _hidden_values(confounding: float) -> list[tuple[float, float]]:
    """Values of N(0, 1) with weights for the mean over it; one value if nothing depends on it."""
    if not confounding:
        return [(0.0, 1.0)]
    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
    # What has no weight costs as much as the rest.
    return [(x, w) for x, w in zip(nodes, weights / weights.sum(), strict=True) if w > 1e-12]


def calibrate(settings: FunnelSettings, logits: Logits, hidden: np.ndarray) -> Intercepts:
    """Intercepts with which these rows have the rates of the settings: per exposure, and per click.

    Random decisions have the base rate already, so they drop out of every equation but as weights of clicks.
    """
    shift = settings.confounding * hidden
    click = _solved(settings.click_rate, logits.click + abs(settings.confounding) * hidden)
    unknown = Intercepts(click, 0.0, 0.0)
    clicks = Decisions(settings, logits, unknown).given(hidden).click
    cart = _solved(settings.cart_rate, logits.cart + shift, clicks)
    carts = Decisions(settings, logits, Intercepts(click, cart, 0.0)).given(hidden).cart
    both = np.concatenate([logits.conversion + shift + settings.cart_effect, logits.conversion + shift])
    shares = np.concatenate([clicks * carts, clicks * (1 - carts)])
    return Intercepts(click, cart, _solved(settings.conversion_rate, both, shares))


def _solved(rate: float, logits: np.ndarray, weights: np.ndarray | None = None) -> float:
    """The intercept that gives the logits this mean probability, by bisection."""
    against = np.exp(-logits)
    low, high = -_WIDEST, _WIDEST
    for _ in range(50):
        middle = (low + high) / 2
        mean = np.average(1 / (1 + against * np.exp(-middle)), weights=weights)
        low, high = (middle, high) if mean < rate else (low, middle)
    return (low + high) / 2
