"""Loss weightings: small objects that see numbers and never the network.

Each is told the losses of a step (and, if it asks for them, the gradient norms), and gives weights::

    weighting = GradNorm({"ctr": "binary", "ctcvr": "binary"})
    weighting.update({"ctr": 0.5, "ctcvr": 0.9}, {"ctr": 2.0, "ctcvr": 3.0})
    weighting.weights()          # {"ctr": ..., "ctcvr": ...}

An objective without any row in a batch has loss NaN: it changes nothing of its state. One of kind
``fixed`` keeps the weight one under an adaptive weighting and takes no part in it. The state lies
in plain variables: it is saved with the checkpoint and has no part in the served model. Updates are
closed forms, so there is no second-order gradient and no log-variance inside the model's optimizer.
"""

from fuxi_mtl.weighting.base import Equal, Manual, Numbers, Weighting
from fuxi_mtl.weighting.excess import ExcessRisk
from fuxi_mtl.weighting.factory import make_weighting
from fuxi_mtl.weighting.famo import FastAdaptive
from fuxi_mtl.weighting.gradnorm import GradNorm
from fuxi_mtl.weighting.loss_based import DynamicAverage, GeometricMean, LossRatio, RandomWeights
from fuxi_mtl.weighting.relative import (
    CoefficientOfVariation,
    NormalisedEntropy,
    SmoothTchebycheff,
    SoftOptimal,
)
from fuxi_mtl.weighting.uncertainty import ImpartialLosses, Uncertainty

__all__ = [
    "CoefficientOfVariation",
    "DynamicAverage",
    "Equal",
    "ExcessRisk",
    "FastAdaptive",
    "GeometricMean",
    "GradNorm",
    "ImpartialLosses",
    "LossRatio",
    "Manual",
    "NormalisedEntropy",
    "Numbers",
    "RandomWeights",
    "SmoothTchebycheff",
    "SoftOptimal",
    "Uncertainty",
    "Weighting",
    "make_weighting",
]
