"""Base classes of conversion models: a click, a conversion given the click, and both."""

from fuxi_mtl.conversion_model.base import ConversionModel
from fuxi_mtl.conversion_model.frozen import FrozenPropensityModel

__all__ = ["ConversionModel", "FrozenPropensityModel"]
