"""PLE: private and shared experts in levels; one level is CGC, :mod:`model_zoo.cgc`."""

from typing_extensions import Unpack

from fuxi_mtl.options.shared import ExtractionOptions, NumLevels
from fuxi_mtl.registry import register

from ._extraction import ExtractionModel


@register
class PLE(ExtractionModel):
    """Progressive layered extraction.

    Each level gives every task its own experts beside the shared ones; gates choose among both, and
    between levels the shared stream gathers from all of them (equations 1 to 6; the levels are
    :class:`fuxi_mtl.layers.ExtractionLevels`). In the last level a loss never reaches another task's
    experts.

    Args:
        features: The inputs.
        tasks: What to predict.

    Differs from the paper: gates have a bias. (FuxiCTR's shared gate sees the shared experts only.)

    Example:
        >>> model = fm.PLE(data.features, data.tasks, num_layers=2)
        >>> list(model.logits(frame))
        ['ctr', 'cvr']

    Reference:
        Tang et al. Progressive Layered Extraction (PLE): A Novel Multi-Task Learning Model for
        Personalized Recommendations. RecSys 2020.
    """

    def __init__(
        self,
        features,
        tasks,
        *,
        num_layers: NumLevels = 1,
        **options: Unpack[ExtractionOptions],
    ):
        super().__init__(features, tasks, num_layers=num_layers, **options)
