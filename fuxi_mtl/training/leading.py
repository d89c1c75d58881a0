"""The steps of the chief of several workers, who tells the others when to take them."""

from typing import Any

from fuxi_mtl.cluster.workers import Workers
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.optimizers import is_scheduled, rate_of
from fuxi_mtl.training.feed import Feed
from fuxi_mtl.training.loop import Position
from fuxi_mtl.training.shared import STEPS, SharedSteps
from fuxi_mtl.training.state.saving import Saving


class LedSteps:
    """See :class:`~fuxi_mtl.training.loop.Steps`.

    Args:
        model: Compiled.
        feed: What it learns from.
        workers: The workers.
        position: Where the training is.
        saving: Whether it is time to save or to stop; None if nothing is saved.
    """

    def __init__(
        self, model: MultiTaskModel, feed: Feed, workers: Workers, position: Position, saving: Saving | None
    ):
        self._model, self._workers, self._position, self._saving = model, workers, position, saving
        self._steps = SharedSteps(model, feed, workers, position.step)
        self._logs: dict[str, Any] = {}
        self.agreed: tuple[()] | tuple[bool, bool] = ()

    def begin(self, first: int, end: int, resets: bool) -> None:
        """Has the others take the steps of the interval, at the learning rate that is in force."""
        rate = None if is_scheduled(self._model.optimizer) else rate_of(self._model.optimizer)
        self._workers.tell(STEPS, first=first, end=end, resets=resets, learning_rate=rate)
        if resets:
            self._model.reset_metrics()
        self._logs = {}

    def take(self) -> dict[str, Any]:
        """A step of all."""
        saving, step = self._saving, self._position.step + 1
        stops = saving is not None and saving.is_interrupted
        saves = saving is not None and saving.is_due(step)
        self._logs, *agreed = self._steps.take(stops, saves)
        self.agreed = agreed[0], agreed[1]
        return self._logs

    def result(self) -> dict[str, Any]:
        """The means over all workers; what rows have put off is done, as the others do it."""
        if self._logs:
            self._steps.agree(self._logs)
        self._model.apply_deferred_updates()
        self.agreed = ()
        return self._logs or self._steps.means()
