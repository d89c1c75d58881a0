"""Predictions of a finished run for a file."""

from pathlib import Path
from typing import Any

from fuxi_mtl.config import load_resolved
from fuxi_mtl.dataset.csv_reading import CsvFormat
from fuxi_mtl.dataset.sources import copies_of
from fuxi_mtl.files.remote import check_url, is_url, uploaded
from fuxi_mtl.runs import Run
from fuxi_mtl.serving.predict import predict_file
from fuxi_mtl.workflow.experiment import load_run
from fuxi_mtl.workflow.fuse import load_fusion


def predict_run(folder: str | Path, input: str | Path, output: str | Path, **options: Any) -> int:  # noqa: A002
    """Writes a run's predictions for a file, with the fused score if the run has one of single rows.

    Args:
        folder: The run.
        input: See :func:`fuxi_mtl.serving.predict.predict_file`.
        output: See there.
        **options: See there.

    Returns:
        The number of rows.
    """
    check_url("input", str(input))
    if is_url(output):
        with uploaded(output, "output") as local:
            return predict_run(folder, input, local, **options)
    run = Run(Path(folder))
    experiment = load_resolved(run.config, run.expid)
    trained_on = experiment.dataset
    model, encoder = load_run(folder, precision=experiment.evaluation.eval_precision)
    fusion = load_fusion(run, encoder.feature_map, row_by_row=True)
    csv = CsvFormat(quote_char=trained_on.quote_char, encoding=trained_on.encoding)
    given = {"csv": csv, "copies": copies_of(trained_on), **options}
    return predict_file(model, encoder, input, output, fusion=fusion, **given)
