"""Changes of finished runs: other metrics, another calibration, another fusion; never another training.

A changed run is written beside the old one and takes its place when it is whole, so that a command that is
killed half-way leaves no run whose scores, metrics and SavedModel tell of different things.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from fuxi_mtl.comparison import Table
from fuxi_mtl.config import Experiment, load_resolved
from fuxi_mtl.dataset import Dataset, Encoder, load_as_encoded, load_dataset
from fuxi_mtl.dataset.encoding import format_of
from fuxi_mtl.evaluation.measure import predict
from fuxi_mtl.options import FusionSection
from fuxi_mtl.runs import Run, amended_run
from fuxi_mtl.workflow.calibrate import calibrate_model, with_method
from fuxi_mtl.workflow.experiment import (
    export_run,
    load_run,
    measure_splits,
    measured,
    save_scores,
    show_fusion,
)
from fuxi_mtl.workflow.fuse import fuse_scores

logger = logging.getLogger(__name__)


def measure_run(run: Run, experiment: Experiment, calibrate: bool = False) -> None:
    """Measures a finished run anew: its scores, its metrics, its fusion, and its SavedModel if that changes.

    Args:
        run: Trained as the experiment says.
        experiment: What is measured, and how; the run keeps its fusion.
        calibrate: Whether it is calibrated anew before.

    Raises:
        ValueError: The run or its data are not as they were.
    """
    stored = run.read_json(run.metrics)
    model, _ = load_run(run.folder, precision=experiment.evaluation.eval_precision)
    dataset = _data_of(run, experiment)
    for method in (experiment.imbalance.calibration, experiment.imbalance.value_calibration):
        if calibrate and dataset.valid is None and method not in ("none", "closed_form"):
            raise ValueError(f"{run.folder}: {method} is fitted to validation rows, and the run has none.")
    before = load_resolved(run.config, run.expid)
    experiment = replace(experiment, fusion=before.fusion)
    model.expect(experiment.expected)
    serves_others = experiment.expected != before.expected
    fused = run.fusion.exists() or (calibrate and experiment.fusion.fusion is not None)
    with _amended(run, exports=calibrate or fused or serves_others) as changed:
        if calibrate:
            step = stored["best_step"] or run.read_json(run.history)["evaluations"][-1]["step"]
            calibrate_model(model, dataset, experiment, changed, stored.get("steps_before", 0) + step)
        scores, checks = measure_splits(model, dataset, experiment, changed)
        values = measured(experiment, scores, checks)
        gauc_weight = experiment.evaluation.gauc_weight
        changed.write_json(changed.metrics, {**stored, **values, "gauc_weight": gauc_weight})
        changed.write_config(experiment.resolved())
        if fused and dataset.valid is not None:  # of other scores or groups, it has other weights
            show_fusion(fuse_scores(changed, experiment, lambda: dataset))


def calibrate_run(folder: str | Path, method: str) -> Run:
    """Calibrates a finished run anew: its predictions, its metrics and its SavedModel.

    Args:
        folder: The run.
        method: ``none``, ``closed_form``, ``platt`` or ``isotonic``.

    Raises:
        ValueError: The run or its data are not as they were, or the method does not fit the experiment.
    """
    run = Run(Path(folder))
    measure_run(run, with_method(load_resolved(run.config, run.expid), method), calibrate=True)
    return run


def fuse_run(folder: str | Path, section: FusionSection, compare: bool = False) -> Table | None:
    """Joins the scores of a finished run into one; the SavedModel, if there is one, has it afterwards.

    Args:
        folder: The run.
        section: With the block ``fusion``.
        compare: Also report the other methods.

    Returns:
        The report on test rows; None without any.

    Raises:
        ValueError: The run or its data are not as they were, or the fusion does not fit them.
    """
    run = Run(Path(folder))
    changes: dict[str, Any] = asdict(section)
    anew = not run.scores("valid").exists()  # a run of before validation scores were kept, or without any
    if anew:
        changes["save_predictions"] = True
    experiment = load_resolved(run.config, run.expid, changes)
    with _amended(run, exports=True) as changed:
        if anew:
            model, _ = load_run(folder)
            dataset = _data_of(run, experiment)
            for split in filter(None, (dataset.valid, dataset.test)):
                scores = predict(model, split, experiment.evaluation.eval_batch_size)
                save_scores(changed, split, experiment, model, scores)
        table = fuse_scores(changed, experiment, lambda: _data_of(run, experiment), compare)
        changed.write_config(experiment.resolved())
    return table


@contextmanager
def _amended(run: Run, exports: bool) -> Iterator[Run]:
    """A run that becomes the changed one, its SavedModel included."""
    with amended_run(run.folder) as changed:
        yield changed
        if exports and run.saved_model.exists():
            export_run(changed.folder, changed.saved_model)


def _data_of(run: Run, experiment: Experiment) -> Dataset:
    """The data of a run, unchanged."""
    dataset_id, content = experiment.options.dataset_id, run.read_json(run.metrics)
    if "update" in content:  # its encoding grew over days
        known = Encoder.load(run.features)
        workers = experiment.training.encode_workers
        dataset = load_dataset(
            experiment.dataset, experiment.tasks, dataset_id, known=known, encode_workers=workers
        )
    else:
        number = format_of(run.features)
        dataset = load_as_encoded(experiment.dataset, experiment.tasks, dataset_id, number)
    if dataset.key != content["data_key"]:
        raise ValueError(
            f"{run.folder}: the data are not those it was trained on. Train the experiment again."
        )
    return dataset
