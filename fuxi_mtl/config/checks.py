"""What single keys cannot tell: settings that contradict each other, or need each other."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fuxi_mtl.config.stanzas import Layer, Settings
from fuxi_mtl.evaluation.evaluate import metric_keys, metrics_of, monitor_direction
from fuxi_mtl.evaluation.monitor import PRIMARY, primary_terms
from fuxi_mtl.hints import did_you_mean
from fuxi_mtl.metrics import find_metric
from fuxi_mtl.options import (
    DatasetOptions,
    DiagnosticsOptions,
    EvaluationOptions,
    LabelOptions,
    TrainingOptions,
    WeightingOptions,
)
from fuxi_mtl.options.source_location import ConfigError
from fuxi_mtl.options.values import show
from fuxi_mtl.tasks import Task

_LEAST = {  # the smallest sensible value of each number
    "batch_size": 1,
    "data_block_size": 0,
    "early_stop_patience": 1,
    "epochs": 1,
    "eval_batch_size": 1,
    "eval_steps": 1,
    "grad_diag_every": 1,
    "grad_diag_min": 0,
    "grad_diag_min_tasks": 2,
    "grad_diag_target": 1,
    "log_every": 1,
    "max_gradient_norm": 0,
    "max_train_steps": 1,
    "max_valid_steps": 1,
    "min_categr_count": 1,
    "n_rows": 1,
    "num_workers": 0,
    "seed": 0,
    "split_seed": 0,
    "steps_per_execution": 1,
    "test_size": 0,
    "valid_size": 0,
    "weight_decay": 0,
}
_ABOVE_ZERO = (
    "learning_rate",
    "bilevel_learning_rate",
    "epsilon",
    "embedding_epsilon",
)


def check_numbers(settings: Settings, *sections: Any) -> None:
    """Numbers that no run can use, such as a batch of no rows."""
    for section in sections:
        for key, value in vars(section).items():
            if value is None:
                continue
            if key in _LEAST and value < _LEAST[key]:
                raise settings.error(key, f"{key} is {value}; the least is {_LEAST[key]}.")
            if key in _ABOVE_ZERO and value <= 0:
                raise settings.error(key, f"{key} is {value}; it must be above 0.")


def check_weighting(settings: Settings, weighting: WeightingOptions, objectives: Sequence[str]) -> None:
    """Weights that are given are numbers from 0 up, one for each objective.

    Raises:
        ConfigError: With the names of the objectives.
    """
    if not isinstance(weighting.loss_weight, str):
        _check_choice(settings, weighting.loss_weight, objectives)
        _check_weights(settings, weighting.loss_weight)


def _check_choice(settings: Settings, choice: Any, objectives: Sequence[str]) -> None:
    shown = ", ".join(objectives)
    if isinstance(choice, list):
        if len(choice) != len(objectives):
            raise settings.error(
                "loss_weight",
                f"loss_weight has {len(choice)} entries for {len(objectives)} objectives: {shown}.",
            )
    else:
        for name in objectives:
            if name not in choice:
                given = ", ".join(choice)
                raise settings.error(
                    "loss_weight",
                    f"loss_weight has no entry for {name!r}. Given: {given}. Objectives: {shown}.",
                )
        for name in choice:
            if name not in objectives:
                raise settings.error(
                    "loss_weight", f"loss_weight names {name!r}, which is no objective. Objectives: {shown}."
                )


def _check_weights(settings: Settings, choice: Any) -> None:
    weights = choice if isinstance(choice, list) else list(choice.values())
    for weight in weights:
        if weight < 0:
            raise settings.error("loss_weight", f"loss_weight has {weight}; a weight is a number from 0 up.")


def check_diagnostics(settings: Settings, diagnostics: DiagnosticsOptions, objectives: Sequence[str]) -> None:
    """Some variable may be shared by as many objectives as ``grad_diag_min_tasks`` asks for."""
    least, most = diagnostics.grad_diag_min_tasks, max(2, len(objectives))
    if diagnostics.grad_diag_enabled and least > most:
        raise settings.error(
            "grad_diag_min_tasks",
            f"grad_diag_min_tasks is {least}, but the objectives are {len(objectives)}: "
            f"{', '.join(objectives)}. Use {'2' if most == 2 else f'2 to {most}'}.",
        )


def check_metrics(
    settings: Settings, evaluation: EvaluationOptions, tasks: Sequence[Task], dataset: DatasetOptions
) -> None:
    """Every metric is known and fits its task, and takes sample weights where they count.

    Raises:
        ConfigError: With the metrics that exist.
    """
    try:
        for name in evaluation.metrics:
            find_metric(name)
    except ValueError as error:
        raise settings.error("metrics", str(error)) from error
    for task in tasks:
        try:
            metrics_of(task, evaluation)
        except ValueError as error:
            if task.metrics is None:
                raise settings.error("metrics", str(error)) from error
            raise ConfigError(settings.location_of("label_col", task.event[-1]), str(error)) from error
    if not evaluation.eval_sample_weight:
        return
    if dataset.sample_weight is None:
        raise settings.error(
            "eval_sample_weight",
            "eval_sample_weight needs sample_weight, the column of the dataset with the rows' weights.",
        )
    for name in dict.fromkeys(name for task in tasks for name in metrics_of(task, evaluation)):
        if reason := find_metric(name).no_weights:
            raise settings.error(
                "eval_sample_weight",
                f"{reason}, which eval_sample_weight asks for. Leave one of the two out.",
            )


def check_groups(
    settings: Settings, evaluation: EvaluationOptions, tasks: Sequence[Task], dataset: DatasetOptions
) -> None:
    """A metric of groups has a ``group_id``, a meta column: groups are raw values, not encoded ids."""
    group, columns = evaluation.group_id, dataset.feature_cols
    meta = [str(feature.name) for feature in columns if feature.type == "meta"]
    if group is None:
        measured = (find_metric(name) for task in tasks for name in metrics_of(task, evaluation))
        if grouped := next((metric.name for metric in measured if "groups" in metric.inputs), None):
            raise settings.error(
                "metrics",
                f"{grouped} needs group_id, a meta column. Meta columns: {', '.join(meta) or 'none'}.",
            )
    elif group not in meta:
        isa = "an encoded input" if any(f.name == group for f in columns) else "no column of feature_cols"
        raise settings.error(
            "group_id",
            f"group_id {group!r} is {isa}, not a meta column.{did_you_mean(group, meta)} Add "
            f"{{name: {group}, type: meta}} to feature_cols. Meta columns: {', '.join(meta) or 'none'}.",
        )


def checked_monitor(settings: Settings, training: TrainingOptions, tasks: Sequence[Task]) -> TrainingOptions:
    """``monitor: auc_primary`` spelled out as weights by metric.

    Raises:
        ConfigError: It names a task that is not there, or has coefficients but is not watched.
    """
    given = training.auc_primary
    if training.monitor != PRIMARY:
        stated = settings.layer("auc_primary")
        if given is not None and stated > Layer.BASE and stated >= settings.layer("monitor"):
            raise settings.error("auc_primary", "auc_primary has an effect only with monitor: auc_primary.")
        return replace(training, auc_primary=None)
    try:
        terms = primary_terms([task.name for task in tasks], given)
    except ValueError as error:
        raise settings.error("auc_primary" if given is not None else "monitor", str(error)) from error
    return replace(training, monitor=terms, auc_primary=None)


def checked_mode(
    settings: Settings, training: TrainingOptions, evaluation: EvaluationOptions, tasks: Sequence[Task]
) -> str | None:
    """``monitor_mode``, after checking that the monitor is measured and improves that way.

    A mode from a lower layer than the monitor's was meant for another monitor and is left out.

    Raises:
        ConfigError: With what is measured, or with the direction of the metric.
    """
    mode, keys = training.monitor_mode, metric_keys(tasks, evaluation)
    try:
        if mode is not None and settings.layer("monitor_mode") < settings.layer("monitor"):
            own = monitor_direction(training.monitor, None, keys)
            mode = mode if own == mode else None
        monitor_direction(training.monitor, mode, keys)
    except ValueError as error:
        key = "monitor_mode" if "monitor_mode is" in str(error) else "monitor"
        raise settings.error(key, str(error)) from error
    return mode


def check_threshold(
    settings: Settings, evaluation: EvaluationOptions, labels: Sequence[LabelOptions]
) -> None:
    """A number between 0 and 1, or one of two names, for the experiment and each label."""
    use = "Use a number from 0 to 1, base_rate or best_f1."
    if not _is_threshold(evaluation.threshold):
        raise settings.error("threshold", f"threshold is {show(evaluation.threshold)}. {use}")
    for label in labels:
        if label.threshold is not None and not _is_threshold(label.threshold):
            message = f"label_col ({label.name}): threshold is {show(label.threshold)}. {use}"
            raise ConfigError(settings.location_of("label_col", label.name), message)


def _is_threshold(value: float | str) -> bool:
    return value in ("base_rate", "best_f1") if isinstance(value, str) else 0 <= value <= 1


def check_split(settings: Settings, dataset: DatasetOptions) -> None:
    """There is training data, and validation data from a file or a split of it.

    Raises:
        ConfigError: Something is missing or said twice.
    """
    if not dataset.train_data:
        raise settings.error("train_data", "train_data is missing: the training file.")
    by_column = dataset.split_type == "column"
    for part in ("valid", "test"):
        file, size = getattr(dataset, f"{part}_data"), getattr(dataset, f"{part}_size")
        if file and size:
            raise settings.error(
                f"{part}_size",
                f"{part}_size {size:g} and {part}_data {file!r} exclude each other. Remove one.",
            )
        if size > 1 and size != math.floor(size):
            raise settings.error(f"{part}_size", f"{part}_size is {size:g}: a share below 1, or whole rows.")
    if not (dataset.valid_data or dataset.valid_size or by_column):
        raise settings.error(
            "valid_data",
            "there is no validation data: give valid_data, a file, or valid_size, a share of the rows.",
        )
    shares = [size for size in (dataset.valid_size, dataset.test_size) if size < 1]
    if sum(shares) >= 1:
        raise settings.error(
            "valid_size", f"valid_size and test_size take {sum(shares):g} of the rows; none is left."
        )
    if dataset.split_type in ("time", "user", "column") and not dataset.split_col:
        raise settings.error("split_type", f"split_type {dataset.split_type} needs split_col, its column.")
    if dataset.split_col and dataset.split_type in ("random", "sequential"):
        raise settings.error(
            "split_col",
            f"split_col has no effect with split_type {dataset.split_type}. Use time, user or column.",
        )
