"""Resumption of runs: each is trained with a log of its own, or kept if there is nothing to do."""

import logging
from collections.abc import Sequence

from fuxi_mtl.config import Experiment, load_resolved
from fuxi_mtl.runs import Run
from fuxi_mtl.workflow.experiment import (
    differences,
    export_run,
    finished_run,
    folder_of,
    fuse_run,
    run_experiment,
)
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
