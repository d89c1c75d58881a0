"""The base class of every model: network in, one weighted and clipped step out."""

from fuxi_mtl.model.multi_task_model import MultiTaskModel

__all__ = ["MultiTaskModel"]
