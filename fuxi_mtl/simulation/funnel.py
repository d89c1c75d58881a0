r"""Exposure → click → (cart | other) → conversion, with the truth of every exposure.

**Features.** A request is ten exposures to one user in one hour. Row n shows user u, item i, hour h and
position k, at time t = n / rows. The scores of the tasks j = click, conversion and an own one of the cart
are, with tastes p, r and leanings b of the user, signs q of the item (its appeal e) and s of the hour, ∘ the
product by entries::

    score_j(x) = √.45 w_j·R(t)(p_u ∘ q_i) + √.15 v_j·(r_u ∘ s_h) + √.2 b_uj + √.2 e_ij          variance 1

Weights w_j and v_j are unit vectors; ``task_correlation`` is their cosine, and the correlation of b and e,
between click and conversion, so it is the correlation of the two scores. R(t) turns pairs of factors by
``drift`` · t. The cart's score is .8 score_conversion + .6 score_own, its own one having tastes only.
Everything in x is a function of observed columns (the ids tell u and i); traits, price, category and tags
show a part of it to models that have not seen an id often. The share ``arrivals`` of the items arrives one by
one, evenly in time; until then another item is shown in the place of each. With ``drift`` x includes the
time, which the stanzas carry along but do not feed to models.

**Decisions.** With σ the logistic function, η ~ N(0, 1) of each exposure in no column, c = ``confounding``,
and λ_rate(z) = (1 - ``noise``) σ(z) + ``noise`` · rate::

    P(click | x, η)                         = λ(α + click_signal · score_click + .3 place_k
                                                + selection · score_conversion + |c| η)
    P(cart | do(click), x, η)               = λ(β + conversion_signal · score_cart + c η)
    P(conversion | do(click), cart, x, η)   = λ(γ + conversion_signal · score_conversion + cart_effect + c η)
    P(conversion | do(click), other, x, η)  = λ(γ + conversion_signal · score_conversion + c η)

α, β and γ are solved for such that the *observed* rates (clicks per exposure, carts and conversions per
click) are the settings'. The position acts on the click only.

**Outcomes.** For every exposure cart and conversion are drawn once as if it had been clicked
(``outcome_cart``, ``outcome_cvr``), with its own η. The log has them where the row was clicked, and 0
elsewhere.

**Truth.** What depends on η is averaged over it (Gauss-Hermite), so that it is a function of x alone, the
best that any model of the columns can predict: ``truth_cvr`` = E_η P(conversion | do(click), x, η). See
:data:`TRUTH`.

**Assumptions.**

- ``selection`` = ``task_correlation`` = ``confounding`` = 0: clicks tell nothing of conversions; clicked rows
  are a random sample for them, and P(conversion | click) = P(conversion | do(click)), for all rows together
  too.
- ``selection`` or ``task_correlation`` ≠ 0: clicked rows convert at another rate than all would (they are
  selected, in the literature's word "missing not at random"), but x explains it: *unconfoundedness given the
  features* holds, P(conversion | click, x) = P(conversion | do(click), x), and so inverse propensities by
  P(click | x) are unbiased.
- ``confounding`` ≠ 0: it does not hold given x (only given x and η): truth_ctcvr ≠ truth_ctr · truth_cvr. No
  method that sees x alone can be unbiased; ``truth_cvr_clicked`` is what it converges to.
- *Positivity*, 0 < P(click | x), holds always, but is strained by large ``click_signal`` and ``selection``;
  ``noise`` bounds propensities from below by ``noise`` · ``click_rate``. The settings file has the least
  propensity and the effective sample size of inverse propensities.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl

from fuxi_mtl.simulation.decisions import Decisions, Intercepts, Logits, calibrate
from fuxi_mtl.simulation.settings import POSITIONS, FunnelSettings
from fuxi_mtl.simulation.world import HOURS, World, make_world, stream

BLOCK = 100_000  # rows; fixed, so that what is drawn does not depend on memory
SHARES = {"taste": 0.45, "rhythm": 0.15, "leaning": 0.2, "appeal": 0.2}
PLACE_EFFECT = 0.3
OWN_CART = 0.6
_CALIBRATION_ROWS = 200_000

TRUTH = {
    "truth_ctr": "P(click | x)",
    "truth_cart": "P(cart | do(click), x)",
    "truth_cvr": "P(conversion | do(click), x)",
    "truth_ctavr": "P(click, cart | x)",
    "truth_ctcvr": "P(click, conversion | x)",
    "truth_cvr_cart": "P(conversion | do(click), cart, x)",
    "truth_cvr_other": "P(conversion | do(click), no cart, x)",
    "truth_cvr_clicked": "P(conversion | click, x); not truth_cvr under confounding",
    "truth_propensity": "P(click | x and the hidden factor)",
    "outcome_cart": "the cart, had the row been clicked",
    "outcome_cvr": "the conversion, had the row been clicked",
}


class Exposures(NamedTuple):
    """What is shown to whom, ``(rows,)`` each.

    Attributes:
        user: Number of the user.
        item: Number of the item.
        hour: 0 to 23.
        position: 1 to 10.
        time: Share of the rows that came before.
        hidden: The factor η that no column shows.
    """

    user: np.ndarray
    item: np.ndarray
    hour: np.ndarray
    position: np.ndarray
    time: np.ndarray
    hidden: np.ndarray


@dataclass(frozen=True)
class Funnel:
    """A world and its intercepts: the generator of any number of blocks.

    Attributes:
        settings: As given.
        world: Users, items, hours.
        intercepts: Solved for.
    """

    settings: FunnelSettings
    world: World
    intercepts: Intercepts

    @classmethod
    def of(cls, settings: FunnelSettings) -> "Funnel":
        """The funnel of these settings."""
        world = make_world(settings)
        shown = draw_evenly(stream(settings.seed, 1), world, _CALIBRATION_ROWS)
        return cls(settings, world, calibrate(settings, make_logits(settings, world, shown), shown.hidden))

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return -(-self.settings.rows // BLOCK)

    def block(self, index: int) -> pl.DataFrame:
        """One block of rows: features, labels, truth. It depends on the settings and its number only."""
        settings = self.settings
        first = index * BLOCK
        rows = min(BLOCK, settings.rows - first)
        draws = stream(settings.seed, 2, index)
        time = np.arange(first, first + BLOCK) / settings.rows
        shown = draw_exposures(draws, self.world, time)
        if settings.arrivals:
            shown = shown._replace(item=self._there(shown))
        luck = draws.random((3, BLOCK))
        decisions = Decisions(settings, make_logits(settings, self.world, shown), self.intercepts)
        chances = decisions.given(shown.hidden)
        click, cart = luck[0] < chances.click, luck[1] < chances.cart
        conversion = luck[2] < np.where(cart, chances.conversion_with_cart, chances.conversion_without)
        columns = {
            "request_id": (first + np.arange(BLOCK)) // POSITIONS,
            "time": time,
            **self._features(shown),
            "click": click.astype(np.int8),
            "cart": (click & cart).astype(np.int8),
            "conversion": (click & conversion).astype(np.int8),
            **{name: values.astype(np.float32) for name, values in decisions.truth().items()},
            "truth_propensity": chances.click.astype(np.float32),
            "outcome_cart": cart.astype(np.int8),
            "outcome_cvr": conversion.astype(np.int8),
        }
        return pl.DataFrame(columns).head(rows)

    def _there(self, shown: Exposures) -> np.ndarray:
        """The items shown; one that has not arrived yet gives its place to another that was there first."""
        settings = self.settings
        order = stream(settings.seed, 3).permutation(settings.items)
        there = order[int(settings.arrivals * settings.items) :]
        arrival = np.zeros(settings.items)
        late = order[: settings.items - len(there)]
        arrival[late] = (np.arange(len(late)) + 1) / (len(late) + 1)
        return np.where(arrival[shown.item] <= shown.time, shown.item, there[shown.item % len(there)])

    def frames(self) -> Iterator[pl.DataFrame]:
        """All blocks in order."""
        return (self.block(index) for index in range(self.blocks))

    def _features(self, shown: Exposures) -> dict[str, np.ndarray | pl.Series]:
        users, items = self.world.users, self.world.items
        traits = users.traits.astype(np.float32)
        return {
            "user_id": shown.user.astype(np.int32),
            "item_id": shown.item.astype(np.int32),
            "category": items.category.astype(np.int8)[shown.item],
            "hour": shown.hour.astype(np.int8),
            "position": shown.position.astype(np.int8),
            **{f"user_trait_{k + 1}": traits[:, k][shown.user] for k in range(traits.shape[1])},
            "log_price": items.log_price.astype(np.float32)[shown.item],
            "tags": items.tags.gather(shown.item),
        }


def draw_exposures(draws: np.random.Generator, world: World, time: np.ndarray) -> Exposures:
    """Users and hours of requests, items of exposures, and the hidden factor."""
    rows = len(time)
    requests = -(-rows // POSITIONS)
    user = _pick(world.users.shown, draws.random(requests))
    hour = draws.integers(0, HOURS, requests)
    item = _pick(world.items.shown, draws.random(rows))
    # Drawn whatever the confounding is: the other numbers of the block stay the same.
    hidden = draws.standard_normal(rows)
    user, hour = (np.repeat(each, POSITIONS)[:rows] for each in (user, hour))
    return Exposures(user, item, hour, np.arange(rows) % POSITIONS + 1, time, hidden)


def draw_evenly(draws: np.random.Generator, world: World, rows: int) -> Exposures:
    """Exposures with every user, item and hour as often as it is shown on average: little error in means."""

    def even() -> np.ndarray:
        return (draws.permutation(rows) + draws.random(rows)) / rows

    user, item = _pick(world.users.shown, even()), _pick(world.items.shown, even())
    hour, position = (even() * HOURS).astype(int), (even() * POSITIONS).astype(int) + 1
    return Exposures(user, item, hour, position, even(), draws.standard_normal(rows))


def _pick(running_sums: np.ndarray, luck: np.ndarray) -> np.ndarray:
    return np.searchsorted(running_sums, luck * running_sums[-1])


def scores(world: World, shown: Exposures, drift: float) -> np.ndarray:
    """The scores of click, conversion and the cart's own, ``(rows, 3)``."""
    users, items = world.users, world.items
    match = users.taste[shown.user] * items.signs[shown.item]  # (rows, factors)
    if drift:
        angle = (drift * shown.time)[:, None]
        even, odd = match[:, ::2], match[:, 1::2]
        turned = np.empty_like(match)
        turned[:, ::2] = np.cos(angle) * even + np.sin(angle) * odd
        turned[:, 1::2] = np.cos(angle) * odd - np.sin(angle) * even
        match = turned
    found = np.sqrt(SHARES["taste"]) * match @ world.weights
    found += (
        np.sqrt(SHARES["rhythm"]) * (users.rhythm[shown.user] * world.hours[shown.hour]) @ world.hour_weights
    )
    found[:, :2] += np.sqrt(SHARES["leaning"]) * users.leaning[shown.user]
    found[:, :2] += np.sqrt(SHARES["appeal"]) * items.appeal[shown.item]
    return found


def make_logits(settings: FunnelSettings, world: World, shown: Exposures) -> Logits:
    """The logits of the equations above, without α, β, γ and η."""
    click, conversion, own = scores(world, shown, settings.drift).T
    # Of ten positions: mean 0, standard deviation 1, the first one best.
    place = ((POSITIONS + 1) / 2 - shown.position) / np.sqrt((POSITIONS**2 - 1) / 12)
    cart = np.sqrt(1 - OWN_CART**2) * conversion + OWN_CART * own
    return Logits(
        settings.click_signal * click + PLACE_EFFECT * place + settings.selection * conversion,
        settings.conversion_signal * cart,
        settings.conversion_signal * conversion,
    )
