"""Base classes of conversion models: a click, a conversion given the click, and both."""

from fuxi_mtl.model.conversion.base import ConversionModel
from fuxi_mtl.model.conversion.frozen import FrozenPropensityModel

__all__ = ["ConversionModel", "FrozenPropensityModel"]
