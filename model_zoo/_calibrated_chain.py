"""Objectives of AITM and APG_AITM: the steps of a chain of events, and the calibrator over them."""

from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.objectives import CALIBRATOR, Objective, supervised
from fuxi_mtl.objectives.funnel import as_steps


class CalibratedChain(MultiTaskModel):
    """A model whose tasks are steps, each an event of the one before.

    Attributes:
        calibrator: The objective that asks that no step be more probable than the one before.
    """

    calibrator: Objective  # set by a subclass

    def objectives(self):
        """The steps' losses and the calibrator's."""
        return [*map(supervised, self.tasks), *([self.calibrator] if len(self.tasks) > 1 else [])]

    @classmethod
    def objective_names(cls, tasks):
        """See the base class."""
        return (*(task.name for task in tasks), *([CALIBRATOR] if len(tasks) > 1 else []))

    @classmethod
    def plan_tasks(cls, tasks, explicit=True):
        """Plain labels become the steps of a chain; tasks must be one already."""
        return as_steps(tasks, explicit, cls.__name__)
