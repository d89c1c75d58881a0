"""All checks of a split, as one block of plain values: what metrics.json keeps and the report draws."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fuxi_mtl.evaluation.conversion_checks.covariates import BALANCED, balance
from fuxi_mtl.evaluation.conversion_checks.effects import (
    aipw_effect,
    inverse_weights,
    ipw_effect,
    self_normalised_effect,
)
from fuxi_mtl.evaluation.conversion_checks.level import calibration, level
from fuxi_mtl.evaluation.conversion_checks.matching import Matches, match
from fuxi_mtl.evaluation.conversion_checks.pairs import Pair
from fuxi_mtl.evaluation.conversion_checks.risk_ratio import causal_risk_ratio
from fuxi_mtl.options import ConversionOptions
from fuxi_mtl.options.evaluation import CONVERSION_CHECKS

CHECKS = CONVERSION_CHECKS
WEIGHTINGS = ("before", "weighted", "matched")
_BINS = 30
_LEAST = 1e-7  # of a probability whose logit is taken
CAVEATS = {
    "ieb": "The clicked rate bounds the conversion rate over exposures only if clicked exposures convert "
    "more often than unclicked ones would.",
    "pip": "pCVR is a function of the inputs: the risk ratio measures how the inputs of clicked rows still "
    "differ at equal pCTR, not what a click causes.",
    "balance": "At many rows every difference is significant; read the sizes. Below "
    f"{BALANCED:g} an SMD counts as balanced.",
    "effect": "Average effects are right only if the click is as good as random given the inputs, and pCTR "
    "(or, for AIPW, pCVR) is right.",
}


@dataclass(frozen=True)
class _Rows:
    """The rows of a pair whose click is known.

    Attributes:
        clicked: ``(rows,)`` booleans.
        conversions: ``(rows,)`` labels, NaN on unclicked rows and where unknown.
        propensity: ``(rows,)`` pCTR.
        predictions: ``(rows,)`` pCVR.
        groups: ``(rows,)`` or None.
        known: ``(all rows,)`` booleans: which rows these are.
    """

    clicked: np.ndarray
    conversions: np.ndarray
    propensity: np.ndarray
    predictions: np.ndarray
    groups: np.ndarray | None
    known: np.ndarray

    @property
    def logits(self) -> np.ndarray:
        """Of the propensity."""
        chance = np.clip(self.propensity, _LEAST, 1 - _LEAST)
        return np.log(chance / (1 - chance))

    @property
    def trouble(self) -> str:
        """Why clicked and unclicked rows cannot be compared; empty if they can."""
        if np.isnan(self.propensity).any() or np.isnan(self.predictions).any():
            return "a prediction is NaN"
        if self.clicked.all() or not self.clicked.any():
            return f"{int(self.clicked.sum())} of {len(self.clicked)} rows are clicked"
        return ""


@dataclass
class _Found:
    """What the checks of one pair add up to."""

    values: dict[str, float] = field(default_factory=dict)
    undefined: dict[str, str] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)


def check_conversions(
    pairs: Sequence[Pair],
    labels: Mapping[str, np.ndarray],
    predictions: Mapping[str, np.ndarray],
    options: ConversionOptions,
    checks: Sequence[str] = CHECKS,
    *,
    covariates: Callable[[], Iterable[tuple[str, np.ndarray]]] = list,
    groups: np.ndarray | None = None,
) -> dict[str, Any]:
    """Runs checks on the rows of a split.

    Args:
        pairs: From :func:`fuxi_mtl.evaluation.conversion_checks.conversion_pairs`.
        labels: ``(rows,)`` by task, NaN where a task is not defined.
        predictions: ``(rows,)`` probabilities by task, of every row.
        options: How.
        checks: Which of :data:`CHECKS`.
        covariates: Gives names and ``(rows,)`` values, for each pair anew.
        groups: ``(rows,)`` rows that belong together, for the interval of the risk ratio.

    Returns:
        ``values`` by column (``{conversion task}_{number}``), the reasons of those that are ``undefined``,
        ``pairs`` with all details, and ``caveats``.
    """
    block: dict[str, Any] = {"values": {}, "undefined": {}, "pairs": {}}
    for pair in pairs:
        rows = _rows(pair, labels, predictions, groups)
        found = _Found(details={"propensity": pair.click})
        if "ieb" in checks:
            _check_level(rows, found)
        matched = None
        if "pip" in checks or "balance" in checks:
            matched = _check_matches(rows, options, found, shown="pip" in checks)
        if "balance" in checks:
            _check_balance(rows, options, found, covariates(), matched)
        if "effect" in checks:
            _check_effect(rows, options, found)
        for key in found.values:
            if np.isnan(found.values[key]):
                found.undefined.setdefault(key, rows.trouble or "no row to measure it on")
        block["values"] |= {f"{pair.conversion}_{key}": value for key, value in found.values.items()}
        block["undefined"] |= {f"{pair.conversion}_{key}": why for key, why in found.undefined.items()}
        block["pairs"][pair.conversion] = found.details
    block["caveats"] = [CAVEATS[check] for check in CHECKS if check in checks]
    return block


def _rows(
    pair: Pair,
    labels: Mapping[str, np.ndarray],
    predictions: Mapping[str, np.ndarray],
    groups: np.ndarray | None,
) -> _Rows:
    click = np.asarray(labels[pair.click])
    known = ~np.isnan(click)
    return _Rows(
        clicked=click[known] == 1,
        conversions=np.asarray(labels[pair.conversion], np.float64)[known],
        propensity=np.asarray(predictions[pair.click], np.float64)[known],
        predictions=np.asarray(predictions[pair.conversion], np.float64)[known],
        groups=None if groups is None else np.asarray(groups)[known],
        known=known,
    )


def _check_level(rows: _Rows, found: _Found) -> None:
    seen = level(rows.predictions, rows.clicked, rows.conversions)
    found.values |= {
        "IEB.exposures": seen.exposures,
        "IEB.clicks": seen.clicks,
        "IEB.nonclicks": seen.nonclicks,
        "IEB.rate": seen.rate,
        "IEB.bias": seen.bias,
        "IEB.PCOC": seen.clicks / seen.rate if seen.rate > 0 else float("nan"),
    }
    if not np.isnan(rows.predictions).any():
        found.details["calibration"] = calibration(rows.predictions, rows.conversions)
    if seen.rate == 0:
        found.undefined["IEB.PCOC"] = "no clicked row converts"


def _check_matches(rows: _Rows, options: ConversionOptions, found: _Found, shown: bool) -> Matches | None:
    """Adds the risk ratios; returns the matches with the fewest rows each, for the balance."""
    logits, clicked = rows.logits, rows.clicked
    caliper = None if options.caliper is None else options.caliper * float(np.std(logits))
    kept = None
    for count in sorted(set(options.matches)):
        trouble = rows.trouble
        if not trouble and count > (~clicked).sum():
            trouble = f"{count} matches are wanted of {int((~clicked).sum())} unclicked rows"
        if trouble:
            if shown:
                found.values[f"CRR.{count}"] = float("nan")
                found.undefined[f"CRR.{count}"] = trouble
            continue
        matches = match(logits[clicked], logits[~clicked], count, caliper)
        kept = kept or matches
        if shown:
            _add_ratio(rows, options, found, count, matches)
    if shown and not rows.trouble:
        edges = np.histogram_bin_edges(logits, _BINS)
        shares = [np.histogram(logits[group], edges)[0] / group.sum() for group in (clicked, ~clicked)]
        found.details["overlap"] = {
            "edges": edges.tolist(),
            "clicked": shares[0].tolist(),
            "unclicked": shares[1].tolist(),
        }
    return kept


def _add_ratio(rows: _Rows, options: ConversionOptions, found: _Found, count: int, matches: Matches) -> None:
    ratio = causal_risk_ratio(
        rows.predictions[rows.clicked],
        rows.predictions[~rows.clicked],
        matches,
        groups=None if rows.groups is None else rows.groups[rows.clicked],
        resamples=options.resamples,
    )
    found.values[f"CRR.{count}"] = ratio.value
    found.details.setdefault("risk_ratio", {})[str(count)] = vars(ratio)
    if np.isnan(ratio.value):
        found.undefined[f"CRR.{count}"] = "no clicked row has a match within the caliper"


def _check_balance(
    rows: _Rows,
    options: ConversionOptions,
    found: _Found,
    covariates: Iterable[tuple[str, np.ndarray]],
    matches: Matches | None,
) -> None:
    worst = {f"{kind}.{weighting}": float("nan") for kind in ("SMD", "KS") for weighting in WEIGHTINGS}
    found.values |= worst
    if rows.trouble:
        return
    inverse = inverse_weights(rows.propensity, rows.clicked, clip=options.clip)
    matched = np.zeros(len(rows.clicked))
    if matches is not None:
        matched[rows.clicked] = matches.found
        matched[~rows.clicked] = matches.weights()
    named = ((name, np.asarray(values)[rows.known]) for name, values in covariates)
    compared = balance(named, rows.clicked, [None, inverse, matched])
    found.details["balance"] = [
        {
            "name": each.name,
            "smd": dict(zip(WEIGHTINGS, each.smd, strict=True)),
            "ks": dict(zip(WEIGHTINGS, each.ks, strict=True)),
        }
        for each in compared
    ]
    for i, weighting in enumerate(WEIGHTINGS):
        for kind, sizes in (("SMD", [e.smd[i] for e in compared]), ("KS", [e.ks[i] for e in compared])):
            defined = [abs(size) for size in sizes if not np.isnan(size)]
            found.values[f"{kind}.{weighting}"] = max(defined, default=float("nan"))
    if not compared:
        found.undefined |= dict.fromkeys(worst, "no numeric feature and no id that is frequent")


def _check_effect(rows: _Rows, options: ConversionOptions, found: _Found) -> None:
    """The effect of a click on converting: without one nobody converts, so ``mu0`` is 0."""
    names = ("effect.IPW", "effect.SNIPW", "effect.AIPW")
    # A clicked row whose conversion is not known has no outcome.
    use = ~(rows.clicked & np.isnan(rows.conversions))
    if rows.trouble or not (rows.clicked & use).any():
        found.values |= dict.fromkeys(names, float("nan"))
        return
    clicked, chance = rows.clicked[use], rows.propensity[use]
    outcome = np.where(clicked, rows.conversions[use], 0.0)
    nobody = np.zeros(len(outcome))
    effects = [
        ipw_effect(outcome, clicked, chance, clip=options.clip),
        self_normalised_effect(outcome, clicked, chance, clip=options.clip),
        aipw_effect(outcome, clicked, chance, rows.predictions[use], nobody, clip=options.clip),
    ]
    found.values |= {name: effect.value for name, effect in zip(names, effects, strict=True)}
    errors = {name.removeprefix("effect."): effect.error for name, effect in zip(names, effects, strict=True)}
    found.details["effect"] = {
        "standard_errors": errors,
        "clipped": float(((chance < options.clip) | (chance > 1 - options.clip)).mean()),
    }
