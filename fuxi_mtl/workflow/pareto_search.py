"""A search among preferences: a run for each, then the front, kept as ``pareto.json`` beside them."""

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fuxi_mtl import registry
from fuxi_mtl.comparison import StoredRun, Table, compare, read_run
from fuxi_mtl.comparison.pareto import FILE, Front, make_front, preferences_of, stanza_of, traded_metrics
from fuxi_mtl.comparison.pareto.preferences import name_of
from fuxi_mtl.config import Experiment, load_experiment
from fuxi_mtl.files import checked_json, write_text
from fuxi_mtl.files.remote import is_url
from fuxi_mtl.options import CVR_AUX
from fuxi_mtl.report import render
from fuxi_mtl.workflow.experiment import try_model
from fuxi_mtl.workflow.resume import run_or_resume
from fuxi_mtl.workflow.sweep import sweep

logger = logging.getLogger(__name__)

PAGE = "pareto.html"


def search(
    config: str,
    expid: str,
    overrides: Sequence[str] = (),
    seeds: Sequence[int] = (),
    gpus: Sequence[int] = (-1,),
) -> Front:
    """Trains an experiment under several preferences and finds the front.

    Runs that are finished and would be the same are kept, so a search that was stopped goes on.

    Args:
        config: Folder with the stanzas.
        expid: The experiment to vary; its block ``pareto`` says how.
        overrides: ``key=value`` for all runs.
        seeds: Seeds of every run; the stanza's unless said.
        gpus: GPUs to use; -1 is the CPU.

    Raises:
        ValueError: A preference does not fit, a metric that is traded off is undefined, or model_root is a
            URL.
        SweepError: A run failed; the others are whole.
    """
    base = load_experiment(config, expid, overrides)
    if is_url(base.options.model_root):
        raise ValueError(
            f"model_root is {base.options.model_root}: runs of a search stay on this machine. Name a folder."
        )
    options = base.pareto.pareto
    preferences = preferences_of(options, objectives_of(base))
    named = {name_of(expid, options.by, preference): preference for preference in preferences}
    varied = [_varied(config, expid, overrides, name, stanza_of(options.by, p)) for name, p in named.items()]
    for experiment in varied:
        try_model(experiment)
    seeded = [
        experiment.with_seed(seed)
        for experiment in varied
        for seed in dict.fromkeys(seeds) or [experiment.training.seed]
    ]

    def trained(experiment: Experiment) -> StoredRun:
        return read_run(run_or_resume(experiment, gpus, resume=True, restart=True).folder)

    first = trained(seeded[0])
    traded_metrics(options, first)  # What cannot be traded off is known after one run.
    runs = [first, *sweep(seeded[1:], trained, ", and the same command runs only what is missing")]
    front = make_front(expid, options, named, runs)
    folder = Path(base.options.model_root).expanduser() / base.options.dataset_id / expid
    store(front, compare(runs, resamples=0), folder)
    return front


def store(front: Front, tables: Sequence[Table], folder: Path) -> None:
    """Writes the front as JSON, and as a page with its picture above the comparison of the runs."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / FILE, checked_json(front.plain(), 2) + "\n")
    write_text(folder / PAGE, render(tables, "html", fronts=[front]))
    logger.info("The front is in %s, its picture in %s.", folder / FILE, folder / PAGE)


def objectives_of(experiment: Experiment) -> tuple[str, ...]:
    """What an experiment minimises, by name."""
    model: Any = registry.model(experiment.options.model)
    names = model.objective_names(experiment.tasks)
    return (*names, *((CVR_AUX,) if experiment.imbalance.lambda_cvr_aux else ()))


def _varied(config: str, expid: str, overrides: Sequence[str], name: str, keys: dict) -> Experiment:
    """The experiment with the keys of a preference above all others, under its own name."""
    given = [f"{key}={json.dumps(value)}" for key, value in keys.items()]  # JSON is YAML, in one line
    return replace(load_experiment(config, expid, [*overrides, *given]), expid=name)
