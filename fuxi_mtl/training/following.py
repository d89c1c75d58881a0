"""The training of a worker that is not the chief: it does what the chief tells, and writes nothing."""

import logging
from typing import Any

import numpy as np
import tensorflow as tf
from keras.src.random.seed_generator import global_seed_generator

from fuxi_mtl.cluster.workers import Workers
from fuxi_mtl.config import Experiment
from fuxi_mtl.dataset import Dataset
from fuxi_mtl.evaluation.memory import enough_memory
from fuxi_mtl.evaluation.shared import GIVE, PREDICT, give_share, predict_share
from fuxi_mtl.interruption import Interruption
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.objectives.imbalance import Imbalance
from fuxi_mtl.training.checkpoint.naming import Part, parts_of
from fuxi_mtl.training.checkpoint.spread import (
    GO,
    READ,
    WRITE,
    all_finite,
    read_share,
    spread_parts,
    write_share,
)
from fuxi_mtl.training.feed import Feed
from fuxi_mtl.training.initial import InitialRun
from fuxi_mtl.training.loop import Position
from fuxi_mtl.training.shared import BEGIN, CHECK, END, SHARE, STEPS, SharedSteps, common_parts, tell_traffic
from fuxi_mtl.training.state.training_state import TrainingState
from fuxi_mtl.training.train import compile_model, diverged, prepare

logger = logging.getLogger(__name__)


def follow(model: MultiTaskModel, dataset: Dataset, experiment: Experiment, workers: Workers) -> None:
    """Takes part in a training until the chief has trained and measured its model.

    Args:
        model: A built model, not compiled, made under the workers' strategy.
        dataset: The chief's data.
        experiment: The chief's experiment.
        workers: The workers.

    Raises:
        TrainingError: A loss is not finite, or the memory is not enough.
        WorkerError: Another worker is gone or has failed.
        KeyboardInterrupt: The training was interrupted, here or elsewhere.
    """
    feed = Feed.of(model, dataset, experiment)
    model.imbalance = Imbalance(experiment.imbalance)
    _, begun = workers.hear(BEGIN)
    if begun["prepares"]:
        prepare(model, feed)
    compile_model(model, experiment, feed.plan, feed.labels, begun["first_step"])
    initial = InitialRun.of(experiment) if begun["transfers"] and spread_parts(parts_of(model)) else None
    if initial is not None:  # all but the rows that are this worker's are shared afterwards
        initial.put_into(model, dataset.encoder)
    with Interruption() as interruption:
        follower = _Follower(model, dataset, feed, workers, interruption)
        try:
            with enough_memory("batch_size", feed.plan.batch_size):
                while follower.goes_on:
                    what, told = workers.hear(*follower.actions)
                    follower.actions[what](told)
        except tf.errors.InvalidArgumentError as error:
            raise diverged(error, model, experiment) from error


class _Follower:
    """What a worker does at each word of the chief."""

    def __init__(
        self,
        model: MultiTaskModel,
        dataset: Dataset,
        feed: Feed,
        workers: Workers,
        interruption: Interruption,
    ):
        self._model, self._feed, self._workers = model, feed, workers
        splits = (dataset.train, dataset.valid, dataset.test)
        self._splits = {split.name: split for split in splits if split is not None}
        self._interruption = interruption
        self._steps: SharedSteps | None = None
        self._diagnostics = feed.diagnostics()
        self._diagnostics.set_model(model)
        self._own = np.zeros((0, 0), np.float32)
        self._is_spread = bool(spread_parts(parts_of(model)))
        self._asked: dict[str, Any] = {}
        self.goes_on = True
        self.actions = {
            SHARE: self._share,
            STEPS: self._take_steps,
            PREDICT: self._predict,
            GIVE: self._give,
            WRITE: self._write_rows,
            READ: self._read_rows,
            CHECK: self._check_rows,
            GO: lambda _: None,
            END: self._end,
        }

    def _share(self, told: dict[str, Any]) -> None:
        if told["global_seed"]:
            global_seed_generator()
        self._workers.share(common_parts(TrainingState(self._model, Position(), {})))

    def _parts(self) -> dict[str, Part]:
        return TrainingState(self._model, Position(), {}).parts()

    def _write_rows(self, told: dict[str, Any]) -> None:
        write_share(self._parts(), told)

    def _read_rows(self, told: dict[str, Any]) -> None:
        read_share(self._parts(), told)

    def _check_rows(self, told: dict[str, Any]) -> None:
        self._workers.say(all_finite(self._parts()))

    def _take_steps(self, told: dict[str, Any]) -> None:
        if self._steps is None:
            self._steps = SharedSteps(self._model, self._feed, self._workers, told["first"])
            self._diagnostics.on_train_begin()
            self._diagnostics.goes_on_behind(told["first"])
        if told["resets"]:
            self._model.reset_metrics()
        if told["learning_rate"] is not None:
            self._model.optimizer.learning_rate = told["learning_rate"]
        for step in range(told["first"], told["end"]):
            logs, stops, saves = self._steps.take(stops=self._interruption.number is not None, saves=False)
            self._diagnostics.measure(step + 1)  # all workers do, of the same rows
            if stops:
                return
            if saves and self._is_spread:
                self._save()
        if told["end"] > told["first"]:
            self._steps.agree(logs)
        self._model.apply_deferred_updates()

    def _save(self) -> None:
        """Writes its rows, if the chief finds a place for them, before the next step."""
        what, told = self._workers.hear(WRITE, GO)
        while what == WRITE:
            self._write_rows(told)
            what, told = self._workers.hear(WRITE, GO)

    def _predict(self, told: dict[str, Any]) -> None:
        self._own, self._asked = predict_share(self._workers, self._model, self._splits, told), told

    def _give(self, told: dict[str, Any]) -> None:
        give_share(self._workers, self._own, self._asked)
        self._own = self._own[:, :0]

    def _end(self, told: dict[str, Any]) -> None:
        tell_traffic(self._model)
        self.goes_on = False
