"""A finished run as a place from which its training goes on."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuxi_mtl.config import Experiment, load_resolved
from fuxi_mtl.evaluation.evaluate import is_better, metric_keys, monitor_direction
from fuxi_mtl.evaluation.monitor import monitor_value
from fuxi_mtl.lineage import find_run
from fuxi_mtl.runs import Run
from fuxi_mtl.training import checkpoint
from fuxi_mtl.training.state.training_state import TrainingState

LAST = "checkpoint_last"


@dataclass(frozen=True)
class FinishedTraining:
    """The training behind a checkpoint of a finished run: a state at an evaluation.

    What a run does not keep follows from its history: how long it has not improved, and its best evaluation.

    Attributes:
        run: The run.
        checkpoint: The checkpoint to go on from: of its best evaluation or of its last step.
        experiment: What it was trained as.
        data_key: The key of the data that it was trained on.
        step: Steps taken.
        plain: The plain part of its state.
        best: The checkpoint of its best evaluation until then, if that is kept.
        precision: What it was trained in; None where an older version did not say it.
    """

    run: Run
    checkpoint: Path
    experiment: Experiment
    data_key: str
    step: int
    plain: Mapping[str, Any]
    best: Path
    precision: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, experiment: Experiment) -> "FinishedTraining | None":
        """What ``resume_path`` names, if it names anything.

        Raises:
            ValueError: There is no such run, it is damaged, or its training had stopped and may be no more
                patient.
        """
        options, about = experiment.training, experiment.options
        if options.resume_path is None:
            return None
        named = Path(options.resume_path).expanduser()
        try:
            if named.name in (Run(named).checkpoint.name, LAST):
                folder, found = (
                    find_run(str(named.parent), about.model_root, about.dataset_id, options.seed),
                    named,
                )
            else:
                folder = find_run(options.resume_path, about.model_root, about.dataset_id, options.seed)
                last = folder / LAST
                found = last if last.is_dir() else Run(folder).checkpoint
            return cls._at(Run(folder), found, experiment)
        except ValueError as error:
            raise ValueError(f"resume_path: {error}") from error

    @classmethod
    def _at(cls, run: Run, found: Path, experiment: Experiment) -> "FinishedTraining":
        stored = load_resolved(run.config, run.expid)
        metrics = run.read_json(run.metrics, "data_key", "train_seconds", "best_step")
        history = run.read_json(run.history, "evaluations")["evaluations"]
        last_kept = stored.training.final_weights == "last" or metrics["best_step"] is None
        is_last = found.name == LAST or last_kept
        step = history[-1]["step"] if is_last else metrics["best_step"]
        history = [each for each in history if each["step"] <= step]
        best, waits = _replayed(history, experiment)
        if waits >= experiment.training.early_stop_patience:
            raise ValueError(
                f"the training of {run.folder} had stopped: its monitor had not improved for {waits} "
                f"evaluations. Raise early_stop_patience (now {experiment.training.early_stop_patience})."
            )
        kept = best is not None and (best["step"] == step or not last_kept)
        value = None if best is None else best["monitor"]
        plain = {
            "position": {"step": step, "evaluated": step},
            "prepares_again": True,  # nobody knows
            "members": {
                "Evaluation": {
                    "history": history,
                    "best": best if kept else None,
                    "announced": math.ceil(history[-1]["epoch"]),
                    "seconds_training": metrics["train_seconds"],
                },
                "EarlyStopping": {
                    "wait": waits,
                    "best": value,
                    "best_epoch": 0,
                    "stopped_epoch": 0,
                    "stopped": False,
                },
                "ReduceLROnPlateau": {"wait": 0, "best": value, "cooldown_counter": 0},
                "StepLog": {"last": step},
                "Diagnostics": {"last": step, "seconds": [0.0, 0.0], "gradients": None, "gates": None},
            },
        }
        best_kept = run.checkpoint if kept else Path()
        in_precision = metrics.get("precision")
        return cls(run, found, stored, metrics["data_key"], step, plain, best_kept, in_precision)

    def put_into(self, state: TrainingState) -> None:
        """Sets every number, and the position.

        Raises:
            ValueError: The checkpoint is damaged, or of another model.
        """
        checkpoint.restore(state.model, self.checkpoint)
        vars(state.position).update(self.plain["position"])

    def __str__(self) -> str:
        return f"{self.checkpoint}: step {self.step}"


def _replayed(history: list[dict[str, Any]], experiment: Experiment) -> tuple[dict[str, Any] | None, int]:
    """The best of some evaluations, and how many came behind it."""
    options = experiment.training
    keys = metric_keys(experiment.outputs, experiment.evaluation)
    direction = monitor_direction(options.monitor, options.monitor_mode, keys)
    best, waits = None, 0
    for record in history:
        values = {k: math.nan if v is None else v for k, v in record["metrics"].items()}
        value = monitor_value(options.monitor, values)
        if is_better(value, None if best is None else best["monitor"], direction):
            best, waits = {**record, "monitor": value}, 0
        else:
            waits += 1
    return best, waits
