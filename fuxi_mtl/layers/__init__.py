"""The bricks that networks are built of."""

from fuxi_mtl.layers.bottoms import (
    ExtractionLevels,
    GatedExperts,
    SharedBottom,
    SharedEmbedding,
    make_bottom,
)
from fuxi_mtl.layers.conditioned import ConditionedEmbedding
from fuxi_mtl.layers.domains import (
    DomainShares,
    DomainTowers,
    FusionScalars,
    StarDense,
    mixed,
    own_and_others,
)
from fuxi_mtl.layers.embedding import FeatureEmbedding
from fuxi_mtl.layers.experts import Experts, Gate, mix
from fuxi_mtl.layers.folding import folded
from fuxi_mtl.layers.generated import GeneratedMLP
from fuxi_mtl.layers.generation import generation
from fuxi_mtl.layers.mlp import MLP, Towers
from fuxi_mtl.layers.regularizers import penalty, regularizer
from fuxi_mtl.layers.stacked import NormedExperts
from fuxi_mtl.layers.transfer import AttendedTransfer, GatedTransfer, InformationTransfer

__all__ = [
    "MLP",
    "AttendedTransfer",
    "ConditionedEmbedding",
    "DomainShares",
    "DomainTowers",
    "Experts",
    "ExtractionLevels",
    "FeatureEmbedding",
    "FusionScalars",
    "Gate",
    "GatedExperts",
    "GatedTransfer",
    "GeneratedMLP",
    "InformationTransfer",
    "NormedExperts",
    "SharedBottom",
    "SharedEmbedding",
    "StarDense",
    "Towers",
    "folded",
    "generation",
    "make_bottom",
    "mix",
    "mixed",
    "own_and_others",
    "penalty",
    "regularizer",
]
