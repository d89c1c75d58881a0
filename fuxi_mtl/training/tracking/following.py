"""Trackers beside a training: what they are told, and what becomes of one that fails."""

import importlib.util
import logging
import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import keras

from fuxi_mtl.comparison import read_run
from fuxi_mtl.config import Experiment
from fuxi_mtl.evaluation.evaluate import Scores
from fuxi_mtl.files import write_text
from fuxi_mtl.options.tracking import TRACKERS
from fuxi_mtl.report import run_page
from fuxi_mtl.runs import Run, environment
from fuxi_mtl.training.callbacks import Evaluation
from fuxi_mtl.training.diagnostics import Diagnostics
from fuxi_mtl.training.tracking.tracker import Outcome, Tracked, Tracker

logger = logging.getLogger(__name__)

EXTRAS = ("tensorboard", "mlflow", "wandb", "swanlab")
_COLUMNS = ("feature_cols", "label_col")


def names_of(experiment: Experiment) -> list[str]:
    """The trackers that a stanza asks for; ``tensorboard: true`` is one more name."""
    first = ["tensorboard"] if experiment.training.tensorboard else []
    return list(dict.fromkeys([*first, *experiment.training.trackers]))


def check_trackers(experiment: Experiment) -> None:
    """Raises if the package of a tracker is missing, which is to be known before anything is trained.

    Raises:
        ValueError: With what to install.
    """
    for name in names_of(experiment):
        package = TRACKERS[name].load().package
        if package and importlib.util.find_spec(package) is None:
            what = f"'fuxi-mtl[{name}]'" if name in EXTRAS else package
            raise ValueError(f"trackers: {name} needs the package {package}: pip install {what}.")


class Tracking(keras.callbacks.Callback):
    """Tells trackers of a training; one that fails is left out from then on, and that is said once.

    Args:
        trackers: By name.
        training: What is trained.
    """

    def __init__(self, trackers: Mapping[str, Tracker], training: Tracked):
        super().__init__()
        self._trackers, self._training = dict(trackers), training
        self._known_as: dict[str, str] = {}
        self._evaluation: Evaluation | None = None
        self._diagnostics: Diagnostics | None = None
        self._begun = False

    @classmethod
    def of(cls, experiment: Experiment, folder: Path, data_key: str, parent: Mapping[str, Any]) -> "Tracking":
        """The trackers of an experiment.

        Args:
            experiment: Names them, and has their options.
            folder: Where the run will lie.
            data_key: Hash of its data.
            parent: What it starts from, empty without.

        Raises:
            ValueError: The package of one is missing.
        """
        check_trackers(experiment)
        names = names_of(experiment)
        made = {name: TRACKERS[name].make(experiment.member_options) for name in names}
        parameters = {k: v for k, v in experiment.resolved().items() if k not in _COLUMNS}
        said = environment(data_key) if names else {}
        lineage = {
            "model": experiment.options.model,
            "data_key": data_key,
            "git_commit": said.get("git_commit") or "",
            "fuxi_mtl": said.get("packages", {}).get("fuxi_mtl") or "",
            "machine": said.get("machine", ""),
            "folder": str(folder),
            **{f"parent_{key}": str(value) for key, value in parent.items()},
        }
        training = Tracked(
            experiment.expid,
            experiment.options.dataset_id,
            experiment.training.seed,
            parameters,
            {key: value for key, value in lineage.items() if value},
            folder,
            folder / "tensorboard",
        )
        return cls(made, training)

    def beside(self, evaluation: Evaluation, diagnostics: Diagnostics, summaries: Path) -> "Tracking":
        """Itself, once it is known who measures and where files of trackers go until the run is whole."""
        self._evaluation, self._diagnostics = evaluation, diagnostics
        self._training = replace(self._training, summaries=summaries)
        return self

    def get_state(self) -> dict[str, Any]:
        """What the trackers call the training."""
        return {"known_as": dict(self._known_as)}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on with those."""
        self._known_as = dict(state["known_as"])

    def on_train_begin(self, logs=None):
        """Begins, behind what restores a training that is gone on with.

        Raises:
            ValueError: A tracker cannot begin, which costs nothing yet.
        """
        for name, tracker in self._trackers.items():
            try:
                found = tracker.begin(replace(self._training, known_as=self._known_as.get(name)))
            except Exception as error:  # whatever their libraries raise
                self._trackers = {}
                raise ValueError(
                    f"trackers: {name} cannot begin ({_line(error)}). Mend it, or train without it."
                ) from error
            if found:
                self._known_as[name] = found
        self._begun = True

    def on_epoch_end(self, epoch, logs=None):
        """Tells of an evaluation."""
        if self._trackers and self._evaluation is not None and self._evaluation.history:
            record = self._evaluation.history[-1]
            numbers = _finite({**_logged(record), **_health(self._diagnostics)})
            self._each(f"at step {record['step']}", lambda tracker: tracker.log(record["step"], numbers))

    def on_train_end(self, logs=None):
        """The last step is taken."""
        self._each("behind the last step", lambda tracker: tracker.pause())

    @contextmanager
    def until_whole(self) -> Iterator[None]:
        """Tells how it ended where the run does not become whole inside."""
        try:
            yield
        except KeyboardInterrupt:
            self._end(Outcome("interrupted"))
            raise
        except BaseException:
            self._end(Outcome("failed"))
            raise

    def finish(self, run: Run, scores: Mapping[str, Scores]) -> None:
        """Tells that a run is whole, with its small files.

        Args:
            run: The run, all of whose files are written.
            scores: What its splits are worth.
        """
        if not self._trackers:
            return
        numbers = {f"{name}/{key}": v for name, split in scores.items() for key, v in split.values.items()}
        with TemporaryDirectory() as folder:
            page = Path(folder) / "report.html"
            files = [run.config, run.metrics, run.history, run.environment, run.diagnostics, page]
            write_text(page, run_page.html(read_run(run.folder)))
            there = [file for file in files if file.is_file()]
            self._end(Outcome("finished", _finite(numbers), there))

    def _end(self, outcome: Outcome) -> None:
        if self._begun:
            self._each("at the end", lambda tracker: tracker.end(outcome))
        self._trackers = {}

    def _each(self, when: str, tell: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._trackers.items()):
            try:
                tell(tracker)
            except Exception as error:  # noqa: BLE001 - a training is worth more than who follows it
                del self._trackers[name]
                logger.warning(
                    "trackers: %s failed %s (%s); the training goes on without it.", name, when, _line(error)
                )


def _logged(record: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of an evaluation."""
    numbers = {"loss": record["loss"], "learning_rate": record["learning_rate"], "epoch": record["epoch"]}
    for kind, prefix in (
        ("losses", "losses"),
        ("weights", "weights"),
        ("gradient_norms", "gradient_norms"),
        ("watched", "watched"),
        ("metrics", "valid"),
    ):
        numbers |= {f"{prefix}/{name}": value for name, value in (record.get(kind) or {}).items()}
    return numbers


def _health(diagnostics: Diagnostics | None) -> dict[str, Any]:
    """The newest gradient conflict and gate health, if they are measured."""
    numbers: dict[str, Any] = {}
    content = diagnostics.content() if diagnostics is not None else {}
    for pair in content.get("gradients", {}).get("pairs", []):
        summary, name = pair["parts"]["all"]["summary"], "-".join(pair["objectives"])
        for key in ("cosine", "conflict_rate", "norm_ratio"):
            numbers[f"gradients/{name}/{key}"] = summary[key]
    for group in content.get("gates", {}).get("groups", []):
        numbers[f"gates/{group['name']}/dead"] = len(group["dead"])
        for gate in group["gates"]:
            name = f"gates/{group['name']}/{gate['name']}"
            numbers[f"{name}/entropy"] = gate["entropy"][-1]
            weights = zip(gate["experts"], gate["weight"][-1], strict=True)
            numbers |= {f"{name}/{expert}": weight for expert, weight in weights}
    return numbers


def _finite(numbers: Mapping[str, Any]) -> dict[str, float]:
    """Those that are numbers; what is undefined is no point of a curve."""
    return {name: float(v) for name, v in numbers.items() if v is not None and math.isfinite(v)}


def _line(error: Exception) -> str:
    """An error as one line that is not too long."""
    text = re.sub(r"\s+", " ", str(error)).strip()
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__
