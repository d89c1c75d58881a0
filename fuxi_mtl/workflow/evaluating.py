"""Metrics of labelled rows that a finished run has not seen."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fuxi_mtl.config import Experiment, load_resolved
from fuxi_mtl.dataset import Encoder
from fuxi_mtl.dataset.csv_reading import CsvFormat
from fuxi_mtl.dataset.inputs import meta_columns
from fuxi_mtl.dataset.labelled import encode_labelled
from fuxi_mtl.dataset.sources import copies_of, read_file
from fuxi_mtl.evaluation.evaluate import Scores, log_lines
from fuxi_mtl.evaluation.measure import check_finite, measure
from fuxi_mtl.files.remote import as_path, check_url, is_url, uploaded
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.runs import Run
from fuxi_mtl.workflow.breakdown import breakdown, breakdown_lines
from fuxi_mtl.workflow.experiment import load_run
from fuxi_mtl.workflow.thresholds import chosen_thresholds

logger = logging.getLogger(__name__)


def evaluate_run(
    folder: str | Path,
    input: str | Path,  # noqa: A002 - as on the command line
    by: str | None = None,
    output: str | Path | None = None,
    sep: str | None = None,
) -> None:
    """Tells the metrics of a file of labelled rows by a run's model, as the end of a training does.

    Args:
        folder: The run.
        input: A csv, parquet, npz or h5 file, by its suffix, with the labels of the run's data.
        by: A categorical feature or meta column, for each of whose values metrics are told too.
        output: A JSON file for the same numbers.
        sep: Separator of a csv file.

    Raises:
        ValueError: The run cannot be loaded, the rows cannot be measured, or the output cannot be written.
    """
    check_url("input", str(input))
    if output is not None and is_url(output):
        with uploaded(output, "output") as local:
            evaluate_run(folder, input, by, local, sep)
        return
    run = Run(Path(folder))
    experiment = load_resolved(run.config, run.expid)
    model, encoder = load_run(folder, precision=experiment.evaluation.eval_precision)
    trained_on = experiment.dataset
    csv = CsvFormat(quote_char=trained_on.quote_char, encoding=trained_on.encoding)
    rows = read_file("input", as_path(input).expanduser(), csv, sep, copies_of(trained_on))
    scores, found = evaluate_rows(run, experiment, model, encoder, rows, by, str(input))
    for line in log_lines(experiment.outputs, scores):
        logger.info("%s", line)
    for line in breakdown_lines(found, experiment) if found else ():
        logger.info("%s", line)
    if output is not None:
        content = {"expid": run.expid, "input": str(input), "metrics": scores.values, "metrics_by": found}
        run.write_json(Path(output).expanduser(), {**content, "undefined": scores.undefined})


def evaluate_rows(
    run: Run,
    experiment: Experiment,
    model: MultiTaskModel,
    encoder: Encoder,
    rows: Any,
    by: str | None = None,
    key: str = "rows",
) -> tuple[Scores, Mapping[str, Any] | None]:
    """The metrics of rows with labels, and those for each value of a column.

    Args:
        run: Whose decision thresholds, chosen on validation rows, are taken.
        experiment: The experiment of the run.
        model: Its model.
        encoder: The encoder of its inputs.
        rows: See :func:`fuxi_mtl.dataset.frames.as_frame`.
        by: A categorical feature or meta column.
        key: What errors call the rows.
    """
    options = replace(experiment.evaluation, metrics_by=by)
    experiment = replace(experiment, evaluation=options)
    metas = {meta.name for meta in meta_columns(experiment.dataset)}
    needed = [name for name in (options.group_id, by if by in metas else None) if name]
    split = encode_labelled(rows, experiment.dataset, experiment.tasks, encoder, needed, key)
    scores, predictions = measure(
        model, split, experiment.outputs, options, chosen_thresholds(run, experiment)
    )
    check_finite(predictions, "rows")
    found = None
    if by is not None:
        found = breakdown(split, encoder, experiment, predictions, scores, model.parts(predictions))
    return scores, found
