"""Encoders of sequences: from the vectors of a history's events to one vector a row."""

from fuxi_mtl.layers.sequences.base import SequenceEncoder, make_encoder
from fuxi_mtl.layers.sequences.dice import Dice
from fuxi_mtl.layers.sequences.din import InterestAttention
from fuxi_mtl.layers.sequences.pooled import MaxSequence, MeanSequence, SumSequence
from fuxi_mtl.layers.sequences.target_attention import TargetAttention
from fuxi_mtl.layers.sequences.transformer import TargetTransformer

__all__ = [
    "Dice",
    "InterestAttention",
    "MaxSequence",
    "MeanSequence",
    "SequenceEncoder",
    "SumSequence",
    "TargetAttention",
    "TargetTransformer",
    "make_encoder",
]
