"""What a trained model is worth: measured on its splits, checked, and written into its run."""

import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np

from fuxi_mtl.config import Experiment
from fuxi_mtl.dataset import Dataset, Split
from fuxi_mtl.evaluation.conversion_checks import CHECKS, check_conversions, conversion_pairs, covariates
from fuxi_mtl.evaluation.evaluate import Scores, log_lines
from fuxi_mtl.evaluation.measure import groups, measure
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.runs import Run
from fuxi_mtl.training.train import Training
from fuxi_mtl.workflow.breakdown import breakdown, breakdown_lines

logger = logging.getLogger(__name__)


def measure_splits(
    model: MultiTaskModel, dataset: Dataset, experiment: Experiment, run: Run
) -> tuple[dict[str, Scores], dict[str, Any]]:
    """The metrics of each split; of the last one also checks of conversions and metrics by value."""
    scores: dict[str, Scores] = {}
    checks: dict[str, Any] = {}
    for split, title in (
        (dataset.valid, "****** Validation evaluation ******"),
        (dataset.test, "******** Test evaluation ********"),
    ):
        if split is None:
            continue
        logger.info(title)
        thresholds = scores["valid"].thresholds if "valid" in scores else None
        scores[split.name], predictions = measure(
            model, split, experiment.tasks, experiment.evaluation, thresholds
        )
        for line in log_lines(experiment.tasks, scores[split.name]):
            logger.info("%s", line)
        if experiment.evaluation.save_predictions:
            save_scores(run, split, experiment, predictions)
        if experiment.evaluation.metrics_by and split is (dataset.test or dataset.valid):
            checks["metrics_by"] = breakdown(split, dataset, experiment, predictions, scores[split.name])
            for line in breakdown_lines(checks["metrics_by"], experiment):
                logger.info("%s", line)
        if experiment.evaluation.conversion_checks and split is (dataset.test or dataset.valid):
            checks["conversion_checks"] = _check_conversions(split, dataset, experiment, predictions)
    return scores, checks


def _check_conversions(
    split: Split, dataset: Dataset, experiment: Experiment, predictions: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    options, imbalance = experiment.evaluation, experiment.imbalance
    asked, settings = options.conversion_checks, options.conversion_settings
    encoder = dataset.encoder
    block = check_conversions(
        conversion_pairs(experiment.tasks),
        split.labels(experiment.tasks),
        predictions,
        settings,
        asked if isinstance(asked, list) else CHECKS,
        covariates=lambda: covariates(
            dataset.feature_map, split.ids, split.numeric, encoder.tokens, settings.indicators
        ),
        groups=groups(split, experiment.evaluation.group_id),
    )
    weighted = imbalance.static_pos_weight or imbalance.pos_weight_dynamic
    if weighted and imbalance.calibration == "none":
        block["caveats"].append(
            "Positives were weighted in training: pCTR and pCVR are too high until that is undone."
        )
    if imbalance.negative_sampling == "plain" and imbalance.calibration == "none":
        block["caveats"].append("Negatives were left out in training: pCTR is too high until that is undone.")
    for key, value in block["values"].items():
        reason = block["undefined"].get(key)
        logger.info("[Conversion check] %s: %.6f%s", key, value, f" ({reason})" if reason else "")
    return {"split": split.name, **block}


def save_scores(
    run: Run, split: Split, experiment: Experiment, predictions: Mapping[str, np.ndarray]
) -> None:
    """Writes predictions, labels and groups of a split: ``valid_scores.npz`` or ``test_scores.npz``."""
    labels = split.labels(experiment.tasks)
    arrays: dict[str, Any] = {f"{task.name}_pred": predictions[task.name] for task in experiment.tasks}
    arrays |= {f"{task.name}_label": labels[task.name] for task in experiment.tasks}
    for name, truth in split.truth(experiment.tasks).items():
        arrays[f"{name}_truth"] = truth.expected.astype(np.float32)
        if truth.outcome is not None:
            arrays[f"{name}_outcome"] = truth.outcome.astype(np.float32)
    group = groups(split, experiment.evaluation.group_id)
    if group is not None:
        arrays["group"] = group
    np.savez_compressed(run.scores(split.name), **arrays)


def save_results(
    run: Run,
    experiment: Experiment,
    dataset: Dataset,
    model: MultiTaskModel,
    training: Training,
    scores: Mapping[str, Scores],
    checks: Mapping[str, Any],
) -> None:
    """Writes history.json, diagnostics.json and metrics.json."""
    run.write_json("history.json", {"evaluations": training.history})
    if training.diagnostics:
        run.write_json("diagnostics.json", training.diagnostics, indent=None)
    run.write_json(
        "metrics.json",
        {
            "expid": experiment.expid,
            "dataset_id": experiment.options.dataset_id,
            "model": experiment.options.model,
            "seed": experiment.training.seed,
            "tasks": {task.name: task.expression for task in experiment.tasks},
            **measured(experiment, scores, checks),
            "gauc_weight": experiment.evaluation.gauc_weight,
            "num_parameters": model.count_params(),
            "train_seconds": training.seconds,
            "rows_per_second": training.rows_per_second,
            "best_epoch": training.best_epoch,
            "best_step": training.best_step,
            "data_key": dataset.key,
            "finished": datetime.now().isoformat(timespec="seconds"),
        },
    )


def measured(
    experiment: Experiment, scores: Mapping[str, Scores], checks: Mapping[str, Any]
) -> dict[str, Any]:
    """The part of metrics.json that depends on how predictions are calibrated."""
    return {
        **{name: split.values for name, split in scores.items()},
        "undefined": {name: split.undefined for name, split in scores.items()},
        "notes": {name: split.notes for name, split in scores.items()},
        "thresholds": scores["test"].thresholds if "test" in scores else {},
        "conversion_checks": checks.get("conversion_checks", {}),
        "metrics_by": checks.get("metrics_by", {}),
        "calibration": experiment.imbalance.calibration,
    }
