"""What the command doctor looks at, and what it prints."""

import argparse
from collections.abc import Callable
from pathlib import Path


def examined(options: argparse.Namespace, folder_of_run: Callable[[argparse.Namespace], Path]) -> list[str]:
    """The findings of the command doctor as lines.

    Args:
        options: Its arguments.
        folder_of_run: Finds the run that they name.

    Raises:
        ValueError: The stanza or its data cannot be used, or the run is damaged.
    """
    from fuxi_mtl.config import experiment_on, load_experiment
    from fuxi_mtl.lineage import split_day
    from fuxi_mtl.runs import Run
    from fuxi_mtl.workflow.doctor import examine_data, examine_run, told
    from fuxi_mtl.workflow.experiment import load_data
    from fuxi_mtl.workflow.opening import label_lines

    if options.expid is None:
        experiment = experiment_on(options.config, options.data, options.set)
    else:
        experiment = load_experiment(options.config, split_day(options.expid)[0], options.set)
    dataset = load_data(experiment)
    lines = label_lines(dataset, experiment.tasks)
    findings = examine_data(dataset, experiment.tasks)
    if options.expid is None:
        return [*lines, *told(findings)]
    try:
        folder = folder_of_run(options)
    except ValueError as error:
        return [*lines, f"Only the data were looked at: {error}", *told(findings)]
    return [*lines, f"Run {folder}.", *told([*findings, *examine_run(Run(folder))])]
