"""Resumption of runs: each is trained with a log of its own, or kept if there is nothing to do."""

import logging
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from fuxi_mtl.config import Experiment, load_resolved
from fuxi_mtl.dataset import data_key, verify_files
from fuxi_mtl.files import DamagedError, LockedError, remove_leavings, removed
from fuxi_mtl.lineage import days_of
from fuxi_mtl.runs import Run, held_run
from fuxi_mtl.serving.export import check_saved_model
from fuxi_mtl.training.initial import InitialRun
from fuxi_mtl.training.state import training_folder
from fuxi_mtl.workflow.amending import fuse_run, measure_run
from fuxi_mtl.workflow.chief import KEPT, begin_run, tell_workers
from fuxi_mtl.workflow.experiment import as_planned, export_run, folder_of, run_experiment
from fuxi_mtl.workflow.interrupted import goes_on, identity_of
from fuxi_mtl.workflow.keys import changed_keys, measured_keys, told_changes, training_keys
from fuxi_mtl.workflow.log_file import log_file

logger = logging.getLogger(__name__)


def run_or_resume(
    experiment: Experiment,
    gpus: Sequence[int] = (-1,),
    resume: bool = False,
    restart: bool = False,
    keeps: str = "",
) -> Run:
    """Trains one experiment with one seed, with its log beside the run.

    Args:
        experiment: What to do, checked.
        gpus: GPUs to use; -1 is the CPU.
        resume: Whether a run that is finished and would be the same is kept, and a training that was
            interrupted is gone on with.
        restart: Whether a training that was interrupted and cannot be gone on with begins anew.
        keeps: How one says that both are to stay, where a run is replaced by another.

    Raises:
        ValueError: The interrupted training is another one, and nobody said to begin anew.
        LockedError: Another process trains it.
    """
    found = finished_run(experiment) if resume else None
    if found is not None:
        tell_workers(KEPT)
        tidy(found.folder)
        complete(found, as_planned(experiment))
        return found
    folder = folder_of(experiment)
    with held_run(folder):
        on = resume and goes_on(folder, _identity(as_planned(experiment)), restart)
        begin_run(experiment)
        with log_file(folder.with_suffix(".log"), keeps=folder.is_dir(), appends=on):
            if folder.is_dir():
                changed = differences(folder, experiment)
                told = f"they differ in {', '.join(changed)}" if changed else "both have the same stanza"
                logger.info(
                    "%s stays until this run is whole and then takes its place; %s%s.",
                    folder,
                    told,
                    f". {keeps}" if changed and keeps else "",
                )
                days = [day.name for day in days_of(folder)[1:]]
                if days:
                    logger.warning("Its updates (%s) will be none of the new run.", ", ".join(days))
            return run_experiment(experiment, tuple(gpus), on)


def tidy(folder: Path) -> None:
    """Removes what killed processes left beside a finished run, unless another one is at work there."""
    with suppress(LockedError), held_run(folder):
        for left in remove_leavings(folder, alone=True):
            logger.info("%s, which a process that is gone has left, is removed.", left)
        states = training_folder(folder)
        if states.is_dir():  # of one that was killed when the run was whole
            removed(states)


def _identity(experiment: Experiment) -> dict[str, Any]:
    """What the training of an experiment is known by."""
    key = data_key(experiment.dataset, experiment.tasks, experiment.options.dataset_id)
    return identity_of(experiment, key, InitialRun.of(experiment))


def complete(run: Run, experiment: Experiment) -> None:
    """Makes what a finished run lacks but its training.

    These are metrics and checks that are asked for otherwise than they were measured, the calibration, the
    scores, the fusion, and the SavedModel.

    Args:
        run: Trained as the experiment says.
        experiment: What it is to have.
    """
    stored, wanted = load_resolved(run.config, run.expid), experiment.fusion
    changed = changed_keys(measured_keys(stored), measured_keys(experiment))
    chosen_by = "valid" in run.read_json(run.metrics)
    if experiment.evaluation.save_predictions and chosen_by and not run.scores("valid").exists():
        changed = [*changed, "save_predictions"]
    if changed:
        logger.info(
            "%s is finished: its model stays, and is measured anew (%s).", run.folder, ", ".join(changed)
        )
        measure_run(run, experiment, calibrate=bool({"calibration", "value_calibration"} & {*changed}))
    else:
        logger.info("%s is finished: it stays as it is.", run.folder)
    if wanted.fusion and not (run.fusion.exists() and stored.fusion == wanted):
        fuse_run(run.folder, wanted)
    if experiment.evaluation.export and not _is_exported(run):
        export_run(run.folder, run.saved_model)


def _is_exported(run: Run) -> bool:
    """Whether there is a SavedModel that holds what was written."""
    if not run.saved_model.exists():
        return False
    try:
        check_saved_model(run.saved_model)
    except DamagedError as error:
        logger.warning("%s This is done now.", error)
        return False
    return True


def finished_run(experiment: Experiment) -> Run | None:
    """The stored run of an experiment, if it is whole and another one would be trained the same way.

    The seed, the data and what the stanza says of training count; the version of the code does not, nor
    what is only measured or made of the trained model: see :func:`complete`.

    Args:
        experiment: What would be run.
    """
    experiment = as_planned(experiment)
    run = Run(folder_of(experiment))
    if not run.config.is_file():
        return None
    try:
        stored, known = load_resolved(run.config, run.expid), run.read_json(run.metrics)
        key, parent = known["data_key"], known.get("parent")
    except (ValueError, LookupError) as error:
        logger.warning("%s is trained again: %s", run.folder, error)
        return None
    if training_keys(stored) != training_keys(experiment):
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
    return told_changes(stored, experiment.resolved())


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
