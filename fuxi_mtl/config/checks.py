"""Checks of settings that contradict each other, or need each other."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from fuxi_mtl.config.stanzas import Layer, Settings
from fuxi_mtl.evaluation.evaluate import metric_keys, metrics_of, monitor_direction
from fuxi_mtl.evaluation.monitor import PRIMARY, primary_terms
from fuxi_mtl.files.remote import RemoteError, check_url, is_url
from fuxi_mtl.hints import did_you_mean
from fuxi_mtl.metrics import METRICS, find_metric
from fuxi_mtl.options import (
    WEIGHTINGS,
    DatasetOptions,
    DiagnosticsOptions,
    EvaluationOptions,
    ParetoSection,
    SurgeryOptions,
    TrainingOptions,
    WeightingOptions,
)
from fuxi_mtl.options.blocks.sequences import SequenceGroup, check_group
from fuxi_mtl.options.interactions import check_named
from fuxi_mtl.options.mistakes import Mistakes
from fuxi_mtl.options.source_location import ConfigError
from fuxi_mtl.options.values import block
from fuxi_mtl.options.weighting import wrong_weights
from fuxi_mtl.tasks import Task

Mistake = tuple[str, str]  # a key and what is wrong with it


def check_weighting(
    settings: Settings, weighting: WeightingOptions, surgery: SurgeryOptions, objectives: Sequence[str]
) -> None:
    """There is a weight for each objective where weights are given, and what looks at chosen columns.

    Raises:
        ConfigError: With the names of the objectives.
    """
    given = weighting.loss_weight
    wrong = (
        [] if isinstance(given, str) else [("loss_weight", each) for each in wrong_weights(given, objectives)]
    )
    settings.tell([*wrong, *_unseen_columns(weighting, surgery)])


def _unseen_columns(weighting: WeightingOptions, surgery: SurgeryOptions) -> Iterator[Mistake]:
    name, key = weighting.loss_weight, "representation_columns"
    # Without a shared layer, last_layer is the representation.
    if surgery.representation_columns == "all" or (
        surgery.surgery != "none" and surgery.surgery_mode != "full"
    ):
        return
    if name == "GN" or _is_own(name):
        return
    message = (
        f"{key} is {surgery.representation_columns!r}, but nothing compares gradients on the embeddings' "
        "output: loss_weight: GN does, and a surgery whose surgery_mode is representation. Leave it out."
    )
    yield key, message


def _is_own(weighting: Any) -> bool:
    """Whether it is one of the user's, which may ask for gradient norms."""
    known = isinstance(weighting, str) and weighting in WEIGHTINGS
    return known and not isinstance(WEIGHTINGS[weighting].target, str)


_LOCAL = {
    **dict.fromkeys(
        ("data_root", "remote_cache"), "encoded data and copies lie on this machine: name a folder"
    ),
    "resume_path": "a checkpoint is read from a folder: name the experiment, whose run is fetched from a "
    "model_root that is a URL",
}


def check_urls(settings: Settings) -> None:
    """No value is a URL with a secret in it, and what must lie on this machine is none.

    Raises:
        ConfigError: One is.
    """
    wrong = []
    for key, entry in settings.entries.items():
        if not (isinstance(entry.value, str) and is_url(entry.value)):
            continue
        try:
            check_url(key, entry.value)
        except RemoteError as error:
            wrong.append((key, str(error)))
        else:
            if key in _LOCAL:
                wrong.append((key, f"{key} is {entry.value}, a URL, and {_LOCAL[key]}."))
    settings.tell(wrong)


def check_start(settings: Settings, training: TrainingOptions, dataset: DatasetOptions) -> None:
    """A training starts from a run or goes on with one, and new tokens start as their features can.

    Raises:
        ConfigError: Both, or new tokens whose vectors are made of rows of others.
    """
    if training.init_from is not None and training.resume_path is not None:
        raise settings.error(
            "resume_path",
            "resume_path goes on with a training, and init_from starts another one. Leave one of them out.",
        )
    if training.init_from is None or training.new_rows != "oov":
        return
    composed = [str(f.name) for f in dataset.feature_cols if f.compositional and not f.category_processor]
    if composed:
        raise settings.error(
            "new_rows",
            f"new_rows: oov copies the row of unknown tokens, and feature {composed[0]!r} has no row for a "
            "token: the vector of each is composed of a quotient's and a remainder's, which other tokens "
            "share (compositional: quotient_remainder). Set new_rows: random.",
        )


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
    mistakes = Mistakes()
    for name in evaluation.metrics:
        with mistakes.noted(), settings.at("metrics"):
            find_metric(name)
    mistakes.tell()
    for task in tasks:
        with mistakes.noted("metrics" if task.metrics is None else None):
            try:
                metrics_of(task, evaluation)
            except ValueError as error:
                if task.metrics is None:
                    raise settings.error("metrics", str(error)) from error
                raise ConfigError(settings.location_of("label_col", task.event[-1]), str(error)) from error
    mistakes.tell()
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


def metrics_of_no_task(settings: Settings, evaluation: EvaluationOptions, tasks: Sequence[Task]) -> list[str]:
    """A line for the log where ``metrics`` of the stanza names some that fit no task."""
    if settings.layer("metrics") <= Layer.BASE:
        return []
    measured = {name for task in tasks for name in metrics_of(task, evaluation)}
    left = [each for name in evaluation.metrics if (each := find_metric(name).name) not in measured]
    return [f"metrics: {', '.join(left)} of no task here, and left out"] if left else []


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


def watched_unless_said(
    settings: Settings, training: TrainingOptions, evaluation: EvaluationOptions, tasks: Sequence[Task]
) -> tuple[TrainingOptions, list[str]]:
    """The monitor of a stanza that names none: AUC, or what else is measured where no task has one.

    Returns:
        The options, and a line for the log where something else is watched.
    """
    keys = metric_keys(tasks, evaluation)
    if settings.layer("monitor") > Layer.BASE or training.monitor != "AUC" or "AUC" in keys:
        return training, []
    means = keys[sum(len(metrics_of(task, evaluation)) for task in tasks) :]
    watched = next((key for key in means if METRICS[key].larger_is_better is not None), None)
    if watched is None:
        return training, []
    return replace(training, monitor=watched), [f"no task has an AUC to watch: monitor is {watched}"]


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


def check_split(settings: Settings, dataset: DatasetOptions, final_weights: str) -> None:
    """There is training data, and validation data from a file or a split of it.

    Args:
        settings: Where they are from.
        dataset: The dataset.
        final_weights: ``last`` needs no rows to choose by.

    Raises:
        ConfigError: Something is missing or said twice.
    """
    mistakes = Mistakes()
    for check in (partial(_missing_data, final_weights=final_weights), _wrong_sizes, _wrong_split):
        with mistakes.noted():
            settings.tell(check(dataset))
    mistakes.tell()


def _missing_data(dataset: DatasetOptions, final_weights: str) -> Iterator[Mistake]:
    if not dataset.train_data:
        yield "train_data", "train_data is missing: the training file."
    chosen = final_weights != "last"
    if chosen and not (dataset.valid_data or dataset.valid_size or dataset.split_type == "column"):
        yield (
            "valid_data",
            "there is no validation data: give valid_data, a file, or valid_size, a share of the rows.",
        )


def _wrong_sizes(dataset: DatasetOptions) -> Iterator[Mistake]:
    for part in ("valid", "test"):
        file, size = getattr(dataset, f"{part}_data"), getattr(dataset, f"{part}_size")
        if file and size:
            yield (
                f"{part}_size",
                f"{part}_size {size:g} and {part}_data {file!r} exclude each other. Remove one.",
            )
        if size > 1 and size != math.floor(size):
            yield f"{part}_size", f"{part}_size is {size:g}: a share below 1, or whole rows."
    shares = [size for size in (dataset.valid_size, dataset.test_size) if size < 1]
    if sum(shares) >= 1:
        yield "valid_size", f"valid_size and test_size take {sum(shares):g} of the rows; none is left."


def _wrong_split(dataset: DatasetOptions) -> Iterator[Mistake]:
    if dataset.split_type in ("time", "user", "column") and not dataset.split_col:
        yield "split_type", f"split_type {dataset.split_type} needs split_col, its column."
    if dataset.split_col and dataset.split_type in ("random", "sequential"):
        yield (
            "split_col",
            f"split_col has no effect with split_type {dataset.split_type}. Use time, user or column.",
        )


def check_representation(settings: Settings, options: Mapping[str, Any], dataset: DatasetOptions) -> None:
    """Histories and the interaction of a model fit its inputs.

    Raises:
        ConfigError: With what would work.
    """
    _check_sequences(settings, options, dataset)
    _check_interaction(settings, options, dataset)


def _check_sequences(settings: Settings, options: Mapping[str, Any], dataset: DatasetOptions) -> None:
    """The columns of each group are histories of its targets. Only a model that has groups is looked at.

    Raises:
        ConfigError: With what would work.
    """
    groups = options.get("sequences")
    if not groups:
        return
    from fuxi_mtl.dataset import dummy_features  # with it come readers of files

    try:
        features = dummy_features(dataset, "")
    except ValueError:  # told where the dataset is looked at
        return
    widths = {
        each.name: features.owner(each).embedding_dim or options["embedding_dim"]
        for each in features
        if each.has_ids
    }
    for name, group in groups.items():
        try:
            check_group(name, block(SequenceGroup, group, f"sequences.{name}"), features, widths)
        except ValueError as error:
            raise settings.error("sequences", str(error)) from error


def _check_interaction(settings: Settings, options: Mapping[str, Any], dataset: DatasetOptions) -> None:
    """What the block ``interaction`` names is among the inputs. Only a model that has it is looked at."""
    given = options.get("interaction")
    if not isinstance(given, dict):
        return
    groups = {
        name: block(SequenceGroup, group, f"sequences.{name}")
        for name, group in (options.get("sequences") or {}).items()
    }
    consumed = {column for group in groups.values() for column in group.consumed}
    inputs = [str(each.name) for each in dataset.feature_cols if each.type != "meta"]
    try:
        check_named(given, [*(name for name in inputs if name not in consumed), *groups])
    except ValueError as error:
        raise settings.error("interaction", str(error)) from error


def check_pareto(settings: Settings, section: ParetoSection, objectives: Sequence[str]) -> None:
    """Preferences fit the objectives. Only a stanza that has the block is looked at.

    Raises:
        ConfigError: With what would work.
    """
    if section != ParetoSection():
        from fuxi_mtl.comparison.pareto import preferences_of  # with it come fronts and comparisons of runs

        try:
            preferences_of(section.pareto, objectives)
        except ValueError as error:
            raise settings.error("pareto", f"pareto: {error}") from error
