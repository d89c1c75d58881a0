"""The base class of every model, the strategies of its training step, and recipes of model objects."""

from fuxi_mtl.model.multi_task_model import MultiTaskModel
from fuxi_mtl.model.per_id import PerId

__all__ = ["MultiTaskModel", "PerId"]
