"""Calibration of a trained model as its experiment says."""

import logging
from dataclasses import replace
from typing import Any

from fuxi_mtl import registry
from fuxi_mtl.config import Experiment
from fuxi_mtl.dataset import Dataset
from fuxi_mtl.evaluation.calibration import Calibration, closed_form, fitted, fitted_values
from fuxi_mtl.evaluation.measure import predict
from fuxi_mtl.files import DamagedError, read_json
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.objectives.imbalance import Imbalance
from fuxi_mtl.options import CALIBRATIONS, why_not_closed_form
from fuxi_mtl.runs import Run

logger = logging.getLogger(__name__)


def calibrate_model(
    model: MultiTaskModel, dataset: Dataset, experiment: Experiment, run: Run, step: int
) -> None:
    """Calibrates a model, and stores how in its run; without a method, nothing is left of an earlier one.

    Args:
        model: A trained model.
        dataset: Its data; ``platt`` and ``isotonic`` look at the validation rows.
        experiment: With the method.
        run: Where ``calibration.json`` goes.
        step: The optimizer step of the model's weights.
    """
    model.calibrate(None)
    calibration = _calibration(model, dataset, experiment, step)
    if calibration is None:
        run.calibration.unlink(missing_ok=True)
        return
    model.calibrate(calibration)
    run.write_json(run.calibration, calibration.plain())
    resampled = calibration.resampled.tasks if calibration.resampled else ()
    changed = dict.fromkeys((*calibration.maps, *resampled, *calibration.ratios, *calibration.products))
    if calibration.method != "none":
        logger.info("Calibrated by %s: %s.", calibration.method, ", ".join(changed) or "nothing to undo")
    if calibration.values:
        method = experiment.imbalance.value_calibration
        logger.info("Values calibrated by %s: %s.", method, ", ".join(calibration.values))


def load_calibration(run: Run) -> Calibration | None:
    """How a run's predictions are calibrated; None if they are not.

    Raises:
        ValueError: The file is damaged.
    """
    if not run.calibration.exists():
        return None
    try:
        return Calibration.of(read_json(run.calibration, "calibrate the run again."))
    except DamagedError:
        raise
    except ValueError as error:
        raise ValueError(f"{run.calibration}: {error} Calibrate the run again.") from error


def with_method(experiment: Experiment, method: str) -> Experiment:
    """The experiment with another way to calibrate.

    Raises:
        ValueError: There is no such way, or the optimum of its loss has no closed form.
    """
    if method not in CALIBRATIONS:
        raise ValueError(CALIBRATIONS.unknown(method))
    model: Any = registry.model(experiment.options.model)
    tasks = experiment.tasks
    others = set(model.objective_names(tasks)) - {task.name for task in model.supervised_tasks(tasks)}
    reason = why_not_closed_form(experiment.imbalance, tasks, sorted(others))
    if method == "closed_form" and reason:
        raise ValueError(f"calibration closed_form: {reason}. Use platt or isotonic.")
    return replace(experiment, imbalance=replace(experiment.imbalance, calibration=method))


def _calibration(
    model: MultiTaskModel, dataset: Dataset, experiment: Experiment, step: int
) -> Calibration | None:
    """How all that a model predicts is calibrated; None if nothing is."""
    found, method = (
        _of_probabilities(model, dataset, experiment, step),
        experiment.imbalance.value_calibration,
    )
    if method == "none":
        return found
    if dataset.valid is None:
        logger.warning("value_calibration %s: there are no validation rows to fit.", method)
        return found
    predicted = predict(model, dataset.valid, experiment.evaluation.eval_batch_size)
    values = fitted_values(method, model.tasks, dataset.valid.labels(model.tasks), predicted)
    return replace(found or Calibration("none"), values=values)


def _of_probabilities(
    model: MultiTaskModel, dataset: Dataset, experiment: Experiment, step: int
) -> Calibration | None:
    method = experiment.imbalance.calibration
    trained = {task.name for task in model.supervised_tasks(model.tasks)}
    if method == "none":
        return None
    if method == "closed_form":
        # The last update was computed with the weights of the step before it.
        return closed_form(Imbalance(experiment.imbalance), model.tasks, trained, max(step - 1, 0))
    if dataset.valid is None:
        logger.warning("calibration %s: there are no validation rows to fit.", method)
        return None
    probabilities = predict(model, dataset.valid, experiment.evaluation.eval_batch_size)
    return fitted(method, model.tasks, trained, dataset.valid.labels(model.tasks), probabilities)
