"""Runs as the command line makes them: each with a log of its own, or kept if there is nothing to do."""

import logging
from collections.abc import Sequence

from fuxi_mtl.config import Experiment
from fuxi_mtl.experiment import finished_run, folder_of, run_experiment
from fuxi_mtl.log_file import log_file
from fuxi_mtl.runs import Run

logger = logging.getLogger(__name__)


def logged_run(experiment: Experiment, gpus: Sequence[int] = (-1,), resume: bool = False) -> Run:
    """Trains one experiment with one seed, with its log beside the run.

    Args:
        experiment: What to do, checked.
        gpus: GPUs to use; -1 is the CPU.
        resume: Whether a run that is finished and would be the same is kept.
    """
    found = finished_run(experiment) if resume else None
    if found is not None:
        logger.info("%s is finished: it stays as it is.", found.folder)
        return found
    with log_file(folder_of(experiment).with_suffix(".log")):
        return run_experiment(experiment, tuple(gpus))
