"""Blocks of models: options that are mappings, each a dataclass that a signature names."""

from fuxi_mtl.options.blocks.deepfm import Backbone, Head, HeadAdd, Mixture
from fuxi_mtl.options.blocks.fusion_start import FusionStart
from fuxi_mtl.options.blocks.gates import GateStabilize
from fuxi_mtl.options.blocks.generation import Generation
from fuxi_mtl.options.blocks.propensity import PropensityWeights
from fuxi_mtl.options.blocks.routing import SparseRouting
from fuxi_mtl.options.blocks.sequences import SequenceFilter, SequenceGroup

__all__ = [
    "Backbone",
    "FusionStart",
    "GateStabilize",
    "Generation",
    "Head",
    "HeadAdd",
    "Mixture",
    "PropensityWeights",
    "SequenceFilter",
    "SequenceGroup",
    "SparseRouting",
]
