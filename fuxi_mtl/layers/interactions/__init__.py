"""Interactions of features: from the vectors of a row to one vector that all of them have gone into."""

from fuxi_mtl.layers.interactions.base import Interaction, make_interaction
from fuxi_mtl.layers.interactions.cross import CrossNetwork
from fuxi_mtl.layers.interactions.mask import MaskedBlocks
from fuxi_mtl.layers.interactions.mixer import TokenMixer
from fuxi_mtl.layers.interactions.streams import TwoStreams

__all__ = [
    "CrossNetwork",
    "Interaction",
    "MaskedBlocks",
    "TokenMixer",
    "TwoStreams",
    "make_interaction",
]
