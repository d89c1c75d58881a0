"""Causal estimators of the conversion risk: propensity weights, and objectives made of them."""

from fuxi_mtl.objectives.causal.chain import Chain, chain_of, plan_chain
from fuxi_mtl.objectives.causal.propensity import InversePropensity
from fuxi_mtl.objectives.causal.risks import (
    Imputation,
    doubly_robust,
    error_imputation,
    heuristic_error,
    imputation_loss,
    inverse_propensity,
)

__all__ = [
    "Chain",
    "Imputation",
    "InversePropensity",
    "chain_of",
    "doubly_robust",
    "error_imputation",
    "heuristic_error",
    "imputation_loss",
    "inverse_propensity",
    "plan_chain",
]
