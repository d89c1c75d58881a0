"""Resumption of runs: each is trained with a log of its own, or kept if there is nothing to do."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fuxi_mtl.config import Experiment, load_resolved
from fuxi_mtl.dataset import data_key, verify_files
from fuxi_mtl.dataset.cache import absolute
from fuxi_mtl.evaluation.evaluate import metrics_of
from fuxi_mtl.evaluation.monitor import watched_keys
from fuxi_mtl.metrics import METRICS
from fuxi_mtl.runs import Run
from fuxi_mtl.training.initial import InitialRun
from fuxi_mtl.workflow.amending import fuse_run, measure_run
from fuxi_mtl.workflow.experiment import export_run, folder_of, run_experiment, shortened
from fuxi_mtl.workflow.log_file import log_file

logger = logging.getLogger(__name__)

# What is made of a trained model: another value is measured on the model that is there.
_MEASURED = (
    *("metrics", "metrics_by", "group_id", "gauc_weight", "threshold"),
    *("conversion_checks", "conversion_settings", "calibration"),
)
# What a trained model and its metrics do not depend on. What files hold is told by the key of the data.
_WITHOUT_EFFECT = (
    *(
        "fusion",
        "verbose",
        "tensorboard",
        "num_workers",
        "log_every",
        "eval_batch_size",
        "pickle_feature_encoder",
    ),
    *("save_predictions", "export", "model_root"),
    *("data_root", "data_block_size", "train_data", "valid_data", "test_data"),
)


def run_or_resume(experiment: Experiment, gpus: Sequence[int] = (-1,), resume: bool = False) -> Run:
    """Trains one experiment with one seed, with its log beside the run.

    Args:
        experiment: What to do, checked.
        gpus: GPUs to use; -1 is the CPU.
        resume: Whether a run that is finished and would be the same is kept.
    """
    found = finished_run(experiment) if resume else None
    if found is not None:
        complete(found, shortened(experiment) if experiment.training.debug_mode else experiment)
        return found
    folder = folder_of(experiment)
    with log_file(folder.with_suffix(".log"), keeps=folder.is_dir()):
        if folder.is_dir():
            changed = differences(folder, experiment)
            logger.info(
                "%s stays until this run is whole and then takes its place; %s.",
                folder,
                f"they differ in {', '.join(changed)}" if changed else "both have the same stanza",
            )
        return run_experiment(experiment, tuple(gpus))


def complete(run: Run, experiment: Experiment) -> None:
    """Makes what a finished run lacks but its training.

    These are metrics and checks that are asked for otherwise than they were measured, the calibration, the
    scores, the fusion, and the SavedModel.

    Args:
        run: Trained as the experiment says.
        experiment: What it is to have.
    """
    stored, wanted = load_resolved(run.config, run.expid), experiment.fusion
    changed = _changed(_measures(stored), _measures(experiment))
    if experiment.evaluation.save_predictions and not run.scores("valid").exists():
        changed = [*changed, "save_predictions"]
    if changed:
        logger.info(
            "%s is finished: its model stays, and is measured anew (%s).", run.folder, ", ".join(changed)
        )
        measure_run(run, experiment, calibrate="calibration" in changed)
    else:
        logger.info("%s is finished: it stays as it is.", run.folder)
    fused = run.fusion.exists() and stored.fusion == wanted
    if wanted.fusion and not fused:
        fuse_run(run.folder, wanted)
    if experiment.evaluation.export and not run.saved_model.exists():
        export_run(run.folder, run.saved_model)


def finished_run(experiment: Experiment) -> Run | None:
    """The stored run of an experiment, if it is whole and another one would be trained the same way.

    The seed, the data and what the stanza says of training count; the version of the code does not, nor
    what is only measured or made of the trained model: see :func:`complete`.

    Args:
        experiment: What would be run.
    """
    if experiment.training.debug_mode:
        experiment = shortened(experiment)
    run = Run(folder_of(experiment))
    if not run.config.is_file():
        return None
    try:
        stored, known = load_resolved(run.config, run.expid), run.read_json(run.metrics)
        key, parent = known["data_key"], known.get("parent")
    except (ValueError, LookupError) as error:
        logger.warning("%s is trained again: %s", run.folder, error)
        return None
    if _training(stored) != _training(experiment):
        return None
    initial = InitialRun.of(experiment)
    if initial is not None and parent != initial.description():
        return None
    now = data_key(experiment.dataset, experiment.tasks, experiment.options.dataset_id)
    return run if key == now else None


def differences(folder: Path, experiment: Experiment) -> list[str]:
    """In which keys a stored run differs from an experiment, each with both values; empty if it is none."""
    run = Run(folder)
    if not run.config.is_file():
        return []
    try:
        stored = load_resolved(run.config, run.expid).resolved()
    except ValueError:
        return []
    wanted = experiment.resolved()
    return [
        f"{key} ({stored.get(key)!r} there, {wanted.get(key)!r} here)"
        for key in {**stored, **wanted}
        if stored.get(key) != wanted.get(key)
    ]


def _training(experiment: Experiment) -> dict[str, Any]:
    """The keys of an experiment that its training depends on, and what of the others decides when it ends."""
    flat = {
        key: value
        for key, value in experiment.resolved().items()
        if key not in (*_MEASURED, *_WITHOUT_EFFECT)
    }
    flat["label_col"] = [_without(entry, "metrics", "threshold") for entry in flat["label_col"]]
    # Where the file with vectors lies is no matter; what it holds is in the key of the data.
    flat["feature_cols"] = [
        {**entry, "pretrained_emb": absolute(entry["pretrained_emb"])}
        if entry.get("pretrained_emb")
        else entry
        for entry in flat["feature_cols"]
    ]
    return {**flat, **_watched(experiment)}


def _watched(experiment: Experiment) -> dict[str, Any]:
    """What the watched number is made of: it chooses the step whose weights are kept."""
    evaluation, training, tasks = experiment.evaluation, experiment.training, experiment.tasks
    measured = {f"{task.name}_{name}": name for task in tasks for name in metrics_of(task, evaluation)}
    terms = watched_keys(training.monitor)
    parts = {key: METRICS[name] for key, name in measured.items() if {key, name} & terms}
    needed = {each for metric in parts.values() for each in metric.inputs}
    found: dict[str, Any] = {"watched": sorted(parts)}
    if needed & {"groups", "gauc_weight"}:
        found |= {"group_id": evaluation.group_id, "gauc_weight": evaluation.gauc_weight}
    if "threshold" in needed:
        found["threshold"] = [
            evaluation.threshold,
            *(each.threshold for each in experiment.dataset.label_col),
        ]
    if training.max_valid_steps is not None:  # so many batches of so many rows are watched
        found["eval_batch_size"] = evaluation.eval_batch_size
    return found


def _measures(experiment: Experiment) -> dict[str, Any]:
    """The keys of an experiment that say what of its predictions is measured."""
    flat = experiment.resolved()
    by_label = {
        f"{key} of {entry['name']}": entry.get(key)
        for entry in flat["label_col"]
        for key in ("metrics", "threshold")
    }
    return {**{key: flat.get(key) for key in _MEASURED}, **by_label}


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [key for key in {**before, **now} if before.get(key) != now.get(key)]


def _without(entry: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key not in keys}


def verify_data(experiment: Experiment) -> None:
    """Reads all files of the data, and says which were changed while size and time stayed as they were.

    Without it size and time are believed, so that a command need not read gigabytes to know that nothing
    has changed.

    Args:
        experiment: With the data.
    """
    changed = verify_files(experiment.dataset, experiment.tasks, experiment.options.dataset_id)
    for file in changed:
        logger.warning("%s was changed, though its size and time are as before: it is encoded again.", file)
    if not changed:
        logger.info("The files of %s are what their sizes and times say.", experiment.options.dataset_id)
