"""Decoders: what makes the served value of a head's raw numbers, and the error that it is trained on."""

from fuxi_mtl.decoders.base import Decoder, make_decoder
from fuxi_mtl.options.decoders import DECODERS

__all__ = ["DECODERS", "Decoder", "make_decoder"]
