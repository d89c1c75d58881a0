"""The runs that a command means: under which name, on this machine or fetched, and uploaded behind it."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fuxi_mtl.config import Experiment
    from fuxi_mtl.runs import Run


def named(experiment: "Experiment", options: argparse.Namespace) -> "Experiment":
    """The experiment under the name that ``--as`` gives it.

    Raises:
        ValueError: It is that of another experiment.
    """
    if not options.name or options.name == experiment.expid:
        return experiment
    from fuxi_mtl.config import available

    if options.name in available(options.config).expids:
        raise ValueError(f"--as {options.name}: an experiment of {options.config} has this name already.")
    return replace(experiment, expid=options.name)


def fetched(experiment: "Experiment", wanted: bool = True) -> "Experiment":
    """The experiment, whose runs are on this machine if they are wanted and model_root is a URL."""
    from fuxi_mtl.workflow.experiment import folder_of
    from fuxi_mtl.workflow.remote_runs import fetch_runs

    if wanted:
        fetch_runs(experiment.options.model_root, folder_of(experiment))
    return experiment


def published(experiment: "Experiment", run: "Run") -> "Run":
    """The run, which is uploaded if model_root is a URL."""
    from fuxi_mtl.workflow.remote_runs import publish_run

    publish_run(experiment.options.model_root, run)
    return run


def folder_of_run(options: argparse.Namespace) -> Path:
    """The folder of the run that is meant."""
    return found_run(options)[1]


def found_run(options: argparse.Namespace) -> "tuple[Experiment, Path]":
    """The experiment and the folder of the run that is meant."""
    from fuxi_mtl.config import load_experiment
    from fuxi_mtl.lineage import chosen_day, split_day
    from fuxi_mtl.workflow.experiment import folder_of

    expid, day = split_day(options.expid)
    experiment = named(load_experiment(options.config, expid, options.set), options)
    if options.seed is not None:
        experiment = experiment.with_seed(options.seed)
    first = folder_of(fetched(experiment))
    return experiment, chosen_day(first, day).folder
