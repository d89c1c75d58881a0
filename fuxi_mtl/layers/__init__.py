"""The bricks that networks are built of."""

from fuxi_mtl.layers.bottoms import (
    ExtractionLevels,
    GatedExperts,
    SharedBottom,
    SharedEmbedding,
    make_bottom,
)
from fuxi_mtl.layers.embedding import FeatureEmbedding
from fuxi_mtl.layers.experts import Experts, Gate, mix
from fuxi_mtl.layers.mlp import MLP, Towers
from fuxi_mtl.layers.regularizers import penalty, regularizer
from fuxi_mtl.layers.transfer import InformationTransfer

__all__ = [
    "MLP",
    "Experts",
    "ExtractionLevels",
    "FeatureEmbedding",
    "Gate",
    "GatedExperts",
    "InformationTransfer",
    "SharedBottom",
    "SharedEmbedding",
    "Towers",
    "make_bottom",
    "mix",
    "penalty",
    "regularizer",
]
