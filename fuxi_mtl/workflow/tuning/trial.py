"""One trial: a stanza with some values, trained with each seed and measured on validation rows alone."""

import logging
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from fuxi_mtl.config import Experiment
from fuxi_mtl.dataset import Dataset
from fuxi_mtl.evaluation.evaluate import is_better, metric_keys, monitor_direction, monitor_value
from fuxi_mtl.evaluation.monitor import metric_of_key
from fuxi_mtl.hints import among
from fuxi_mtl.metrics import canonical_key
from fuxi_mtl.training.precision import use_precision
from fuxi_mtl.workflow.experiment import make_model, train_run
from fuxi_mtl.workflow.log_file import log_file

logger = logging.getLogger(__name__)

_OF_A_SEED = 1_000_000  # evaluations: those of the second seed count from here


class PrunedError(Exception):
    """A trial is not worth going on with."""


class OverError(Exception):
    """The time of the search is over."""


@dataclass(frozen=True)
class Objective:
    """What a trial is judged by.

    Attributes:
        monitor: As the key ``monitor`` of a stanza.
        direction: ``max`` or ``min``.
    """

    monitor: str | Mapping[str, float]
    direction: str

    @property
    def name(self) -> str:
        """``AUC``, or ``2 ctr_AUC + 0.5 cvr_AUC``."""
        if isinstance(self.monitor, str):
            return self.monitor
        return " + ".join(f"{weight:g} {key}" for key, weight in self.monitor.items())

    def of(self, values: Mapping[str, float]) -> float:
        """Its value among those of an evaluation.

        Raises:
            ValueError: It is undefined.
        """
        found = monitor_value(self.monitor, values)
        if math.isnan(found):
            raise ValueError(f"{self.name} is undefined on the validation rows")
        return found


def objective_of(experiment: Experiment) -> Objective:
    """What the stanza itself watches."""
    training, keys = experiment.training, metric_keys(experiment.outputs, experiment.evaluation)
    return Objective(training.monitor, monitor_direction(training.monitor, training.monitor_mode, keys))


def objectives_of(experiment: Experiment, names: Sequence[str]) -> tuple[Objective, ...]:
    """The objectives: those that are named where there are several, else what the stanza watches.

    Args:
        experiment: The stanza.
        names: Metrics.

    Raises:
        ValueError: A metric is not measured, has no direction, or is named twice.
    """
    if not names:
        return (objective_of(experiment),)
    if len({*map(canonical_key, names)}) < len(names):
        raise ValueError(f"tune: objectives are {', '.join(names)}: name each once.")
    if len(names) == 1:
        return (objective_of(experiment),)
    keys = metric_keys(experiment.outputs, experiment.evaluation)
    for name in names:
        if canonical_key(name) not in keys:
            raise ValueError(f"tune: there is no metric {name!r} to be an objective.{among(name, keys)}")
        if (metric := metric_of_key(name)) is None or metric.larger_is_better is None:
            raise ValueError(f"tune: the objective {name} is no better when it is larger or smaller.")
    return tuple(Objective(canonical_key(name), monitor_direction(name, None, keys)) for name in names)


class Watch(keras.callbacks.Callback):
    """Tells the value of each evaluation, which may end the training.

    Args:
        report: Takes the value, the mean with those of finished seeds, and the number of the evaluation; says
            whether to go on.
        before: The results of finished seeds.
        direction: ``max`` or ``min``.
        until: When the time is over, by :func:`time.monotonic`.
    """

    def __init__(
        self,
        report: Callable[[float, int], bool],
        before: Sequence[float],
        direction: str,
        until: float | None,
    ):
        super().__init__()
        self._report, self._before, self._direction, self._until = report, list(before), direction, until
        self._best: float | None = None

    def on_epoch_end(self, epoch, logs=None):
        """Behind the evaluation, which has put the watched value into the logs."""
        if self._until is not None and time.monotonic() > self._until and not self.model.stop_training:
            raise OverError("the time of the search is over")
        value = logs["monitor"]
        if not math.isfinite(value):  # undefined: no number to compare
            return
        if self._best is None or is_better(value, self._best, self._direction):
            self._best = value
        mean = (sum(self._before) + self._best) / (len(self._before) + 1)
        if not self._report(mean, len(self._before) * _OF_A_SEED + epoch):
            raise PrunedError("others were better at this evaluation")


@dataclass(frozen=True)
class Tried:
    """What a trial came to.

    Attributes:
        by_seed: The values of the objectives, by seed.
        best_epochs: Where the kept weights are from, by seed.
        seconds: Of all of it.
        parameters: Of the model.
    """

    by_seed: dict[int, list[float]]
    best_epochs: dict[int, float]
    seconds: float
    parameters: int

    @property
    def values(self) -> list[float]:
        """Means over seeds."""
        columns = zip(*self.by_seed.values(), strict=True)
        return [sum(column) / len(self.by_seed) for column in columns]


def try_values(
    experiment: Experiment,
    load: Callable[[Experiment], Dataset],
    seeds: Sequence[int],
    objectives: Sequence[Objective],
    report: Callable[[float, int], bool],
    folder: Path,
    strategy: tf.distribute.Strategy | None = None,
    until: float | None = None,
) -> Tried:
    """Trains an experiment with each seed; test rows are neither read nor measured.

    Args:
        experiment: The stanza with the values of the trial.
        load: Gives its data.
        seeds: Seeds.
        objectives: What is measured.
        report: Takes the value of each evaluation; see :class:`Watch`.
        folder: Gets the log, and for each seed its stanza, its metrics and its history; no weights.
        strategy: The devices.
        until: When the time is over.

    Raises:
        PrunedError: It was not worth going on.
        OverError: The time was over.
        ValueError: It cannot be trained, or an objective is undefined.
    """
    started = time.monotonic()
    lean = _lean(experiment)
    data = load(lean)
    check_judged(data)
    data = replace(data, test=None)
    by_seed: dict[int, list[float]] = {}
    best_epochs: dict[int, float] = {}
    parameters = 0
    for seed in seeds:
        seeded = lean.with_seed(seed)
        before = [values[0] for values in by_seed.values()]
        watch = Watch(report, before, objectives[0].direction, until)
        keras.utils.clear_session()
        use_precision(seeded.training.precision)
        with _apart(), log_file(folder / f"seed_{seed}.log"):
            run, _, _ = train_run(
                seeded,
                data,
                partial(make_model, seeded),
                folder / f"seed_{seed}",
                strategy,
                watching=[watch],
            )
        stored = run.read_json(run.metrics)
        shutil.rmtree(run.checkpoint, ignore_errors=True)
        record = _kept(run.read_json(run.history)["evaluations"], stored["best_step"])
        by_seed[seed] = [each.of(record) for each in objectives]
        best_epochs[seed], parameters = stored["best_epoch"], stored["num_parameters"]
    return Tried(by_seed, best_epochs, time.monotonic() - started, parameters)


def check_judged(data: Dataset) -> None:
    """There are rows to judge by.

    Raises:
        ValueError: There are none.
    """
    if data.valid is None:
        raise ValueError(
            "tune: there are no validation rows to judge trials by: set valid_size or valid_data."
        )


def _kept(history: Sequence[Mapping[str, Any]], step: int | None) -> dict[str, float]:
    """The metrics, on validation, of the weights that are kept, as the monitor saw them: not calibrated."""
    record = next((each for each in history if each["step"] == step), history[-1])
    return {key: math.nan if value is None else value for key, value in record["metrics"].items()}


def _lean(experiment: Experiment) -> Experiment:
    """The same training, without what is made of a finished one."""
    return replace(
        experiment,
        evaluation=replace(
            experiment.evaluation,
            export=False,
            save_predictions=False,
            metrics_by=None,
            conversion_checks=False,
        ),
        imbalance=replace(experiment.imbalance, calibration="none", value_calibration="none"),
        training=replace(experiment.training, verbose=0, save_best_only=True, tensorboard=False, trackers=[]),
    )


@contextmanager
def _apart() -> Iterator[None]:
    """The lines of a training go into its file alone: a search has a line a trial."""
    others = [each for each in logging.getLogger().handlers if not isinstance(each, logging.FileHandler)]
    levels = [each.level for each in others]
    for each in others:
        each.setLevel(logging.CRITICAL + 1)  # why a trial ended is told by who asked for it
    try:
        yield
    finally:
        for each, level in zip(others, levels, strict=True):
            each.setLevel(level)
