"""The bricks that networks are built of."""

from fuxi_mtl.layers.bottoms import (
    ExtractionLevels,
    GatedExperts,
    SharedBottom,
    SharedEmbedding,
    make_bottom,
)
from fuxi_mtl.layers.brick import Brick
from fuxi_mtl.layers.domains import DomainShares, DomainTowers, StarDense
from fuxi_mtl.layers.embedding import FeatureEmbedding
from fuxi_mtl.layers.experts import Experts, Gate, Mixture, mix
from fuxi_mtl.layers.folding import folded
from fuxi_mtl.layers.generated import GeneratedMLP
from fuxi_mtl.layers.interactions import (
    CrossNetwork,
    Interaction,
    MaskedBlocks,
    TokenMixer,
    TwoStreams,
    make_interaction,
)
from fuxi_mtl.layers.mlp import MLP, Towers
from fuxi_mtl.layers.pooling import BagPooling
from fuxi_mtl.layers.regularizers import regularizer
from fuxi_mtl.layers.sequences import (
    Dice,
    InterestAttention,
    MaxSequence,
    MeanSequence,
    SequenceEncoder,
    SumSequence,
    TargetAttention,
    TargetTransformer,
    make_encoder,
)
from fuxi_mtl.layers.storage import stored_in
from fuxi_mtl.layers.tables import Lookup, lookup_of
from fuxi_mtl.layers.transfer import AttendedTransfer, GatedTransfer, InformationTransfer

__all__ = [
    "MLP",
    "AttendedTransfer",
    "BagPooling",
    "Brick",
    "CrossNetwork",
    "Dice",
    "DomainShares",
    "DomainTowers",
    "Experts",
    "ExtractionLevels",
    "FeatureEmbedding",
    "Gate",
    "GatedExperts",
    "GatedTransfer",
    "GeneratedMLP",
    "InformationTransfer",
    "Interaction",
    "InterestAttention",
    "Lookup",
    "MaskedBlocks",
    "MaxSequence",
    "MeanSequence",
    "Mixture",
    "SequenceEncoder",
    "SharedBottom",
    "SharedEmbedding",
    "StarDense",
    "SumSequence",
    "TargetAttention",
    "TargetTransformer",
    "TokenMixer",
    "Towers",
    "TwoStreams",
    "folded",
    "lookup_of",
    "make_bottom",
    "make_encoder",
    "make_interaction",
    "mix",
    "regularizer",
    "stored_in",
]
