"""Resumption of runs: each is trained with a log of its own, or kept if there is nothing to do."""

import logging
from collections.abc import Sequence
from pathlib import Path

from fuxi_mtl.config import Experiment, load_resolved
from fuxi_mtl.dataset import data_key, verify_files
from fuxi_mtl.runs import Run
from fuxi_mtl.workflow.experiment import export_run, folder_of, fuse_run, run_experiment, shortened
from fuxi_mtl.workflow.log_file import log_file

logger = logging.getLogger(__name__)


def run_or_resume(experiment: Experiment, gpus: Sequence[int] = (-1,), resume: bool = False) -> Run:
    """Trains one experiment with one seed, with its log beside the run.

    Args:
        experiment: What to do, checked.
        gpus: GPUs to use; -1 is the CPU.
        resume: Whether a run that is finished and would be the same is kept.
    """
    found = finished_run(experiment) if resume else None
    if found is not None:
        logger.info("%s is finished: it stays as it is.", found.folder)
        complete(found, experiment)
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
    """Makes what a finished run lacks but its training: the fusion that is asked for, and the SavedModel.

    Args:
        run: Trained as the experiment says.
        experiment: What it is to have.
    """
    wanted = experiment.fusion
    fused = run.fusion.exists() and load_resolved(run.config, run.expid).fusion == wanted
    if wanted.fusion and not fused:
        fuse_run(run.folder, wanted)
    if experiment.evaluation.export and not run.saved_model.exists():
        export_run(run.folder, run.saved_model)


def finished_run(experiment: Experiment) -> Run | None:
    """The stored run of an experiment, if it is whole and another one would be trained the same way.

    The stanza, the seed and the data count; the version of the code does not, nor does the block
    ``fusion``, of which training knows nothing.

    Args:
        experiment: What would be run.
    """
    if experiment.training.debug_mode:
        experiment = shortened(experiment)
    run = Run(folder_of(experiment))
    if not run.config.is_file():
        return None
    try:
        stored, key = (
            load_resolved(run.config, run.expid).resolved(),
            run.read_json(run.metrics)["data_key"],
        )
    except (ValueError, LookupError) as error:
        logger.warning("%s is trained again: %s", run.folder, error)
        return None
    if {**stored, "fusion": None} != {**experiment.resolved(), "fusion": None}:
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
