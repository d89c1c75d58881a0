"""The bricks that networks are built of."""

from fuxi_mtl.layers.bottoms import (
    ExtractionLevels,
    GatedExperts,
    SharedBottom,
    SharedEmbedding,
    make_bottom,
)
from fuxi_mtl.layers.conditioned import ConditionedEmbedding
from fuxi_mtl.layers.embedding import FeatureEmbedding
from fuxi_mtl.layers.experts import Experts, Gate, mix
from fuxi_mtl.layers.folding import folded
from fuxi_mtl.layers.generated import GeneratedMLP
from fuxi_mtl.layers.generation import generation
from fuxi_mtl.layers.mlp import MLP, Towers
from fuxi_mtl.layers.regularizers import penalty, regularizer
from fuxi_mtl.layers.transfer import AttendedTransfer, GatedTransfer, InformationTransfer

__all__ = [
    "MLP",
    "AttendedTransfer",
    "ConditionedEmbedding",
    "Experts",
    "ExtractionLevels",
    "FeatureEmbedding",
    "Gate",
    "GatedExperts",
    "GatedTransfer",
    "GeneratedMLP",
    "InformationTransfer",
    "SharedBottom",
    "SharedEmbedding",
    "Towers",
    "folded",
    "generation",
    "make_bottom",
    "mix",
    "penalty",
    "regularizer",
]
