"""CGC: private and shared experts in one level; levels of it are PLE."""

from typing_extensions import Unpack

from fuxi_mtl.options.shared import ExtractionOptions
from fuxi_mtl.registry import register

from ._extraction import ExtractionModel


@register
class CGC(ExtractionModel):
    """Customized gate control: PLE with a single level.

    ``S^k = [E_k(x), E_s(x)]``, ``g^k = softmax(W_gk x) . S^k``, ``z_k = tower_k(g^k)`` (equations 1 to 4):
    a task mixes its own experts with the shared ones. A loss reaches its own experts and the shared ones,
    never another task's. Without private experts this is MMoE, without shared ones a MoE for each task.

    Args:
        features: The inputs.
        tasks: What to predict.

    Differs from the paper: gates have a bias.

    Example:
        >>> model = fm.CGC(data.features, data.tasks, num_specific_experts=1)
        >>> list(model.logits(frame))
        ['ctr', 'cvr']

    Reference:
        Tang et al. Progressive Layered Extraction (PLE): A Novel Multi-Task Learning Model for
        Personalized Recommendations. RecSys 2020, section 4.1.
    """

    def __init__(self, features, tasks, **options: Unpack[ExtractionOptions]):
        super().__init__(features, tasks, num_layers=1, **options)
