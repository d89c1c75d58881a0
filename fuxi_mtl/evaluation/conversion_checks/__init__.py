"""Checks of conversion models on observed rows, where nobody knows the truth of an unclicked exposure.

    level, calibration          pCVR over exposures, clicks and non-clicks beside the clicked rate (IEB)
    match, causal_risk_ratio    clicked rows beside unclicked ones of the same propensity (PIP)
    balance                     inputs of clicked and unclicked rows, before and after weighting
    ipw_effect, aipw_effect     average effects

They are numpy functions of one-dimensional arrays; :func:`check_conversions` runs them for a split.
"""

from fuxi_mtl.evaluation.conversion_checks.checks import CHECKS, check_conversions
from fuxi_mtl.evaluation.conversion_checks.covariates import Balance, balance
from fuxi_mtl.evaluation.conversion_checks.effects import (
    Effect,
    aipw_effect,
    inverse_weights,
    ipw_effect,
    self_normalised_effect,
    trim,
    winsorise,
)
from fuxi_mtl.evaluation.conversion_checks.inputs import covariates
from fuxi_mtl.evaluation.conversion_checks.level import Level, calibration, level
from fuxi_mtl.evaluation.conversion_checks.matching import Matches, match
from fuxi_mtl.evaluation.conversion_checks.pairs import Pair, conversion_pairs
from fuxi_mtl.evaluation.conversion_checks.risk_ratio import RiskRatio, causal_risk_ratio

__all__ = [
    "CHECKS",
    "Balance",
    "Effect",
    "Level",
    "Matches",
    "Pair",
    "RiskRatio",
    "aipw_effect",
    "balance",
    "calibration",
    "causal_risk_ratio",
    "check_conversions",
    "conversion_pairs",
    "covariates",
    "inverse_weights",
    "ipw_effect",
    "level",
    "match",
    "self_normalised_effect",
    "trim",
    "winsorise",
]
