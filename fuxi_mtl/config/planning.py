"""The tasks of an experiment, from its labels and ``tasks``."""

from collections.abc import Mapping, Sequence
from typing import Any

from fuxi_mtl.config.stanzas import Settings
from fuxi_mtl.hints import did_you_mean
from fuxi_mtl.options import DEFAULT_ERROR, ERRORS, ExperimentOptions, LabelOptions
from fuxi_mtl.options.mistakes import UNJUDGED, Mistakes
from fuxi_mtl.options.source_location import ConfigError, SourceLocation
from fuxi_mtl.options.values import show
from fuxi_mtl.tasks import Task, event_of, parse_task

_KINDS = {
    "binary_classification": "binary",
    "regression": "regression",
    "multiclass_classification": "classes",
}


def plan(
    settings: Settings,
    experiment: ExperimentOptions,
    labels: Sequence[LabelOptions],
    model: Any,
    own: Mapping[str, Any],
) -> tuple[Task, ...]:
    """The tasks: those of ``tasks``, else one for each label, as the model plans them.

    Args:
        settings: For the locations of errors.
        experiment: ``tasks``, ``task``, ``loss`` and ``num_tasks``.
        labels: ``label_col``.
        model: The model's class.
        own: The errors' own options by key.

    Raises:
        ConfigError: An unknown label, a list of the wrong length, or tasks that the model cannot serve.
    """
    known = _labels_by_name(settings, labels)
    explicit = experiment.tasks is not None
    expressions = _expressions(settings, experiment, known)
    count = len(expressions)
    kinds = _per_task(settings, "task", experiment.task, list(expressions))
    losses = _per_task(settings, "loss", experiment.loss, list(expressions))
    tasks = []
    mistakes = Mistakes()
    for (name, expression), kind, loss in zip(expressions.items(), kinds, losses, strict=True):
        label = metrics = UNJUDGED
        with mistakes.noted():
            location = (
                settings.entries["tasks"].value[name].location
                if explicit
                else settings.location_of("label_col", name)
            )
            task = _parsed(location, name, expression)
            _check_labels(location, task, known)
            label = known[task.event[0]] if len(task.event) == 1 else None
            metrics = tuple(label.metrics) if label is not None and label.metrics is not None else None
        with mistakes.noted(None if isinstance(experiment.task, list) else "task"):
            settled = UNJUDGED
            settled = _kind(settings, name, _KINDS.get(kind or ""), label)
        with mistakes.noted(None if isinstance(experiment.loss, list) else "loss"):
            _check_loss(settings, name, settled, loss)
            options = _loss_options(settled, loss, own)
            attributes = {"kind": settled, "loss": loss, "loss_options": options, "metrics": metrics}
            attributes["threshold"] = label.threshold if label is not None else None
            if label is not None and label.decoder is not None:
                _check_classes(settings, label)
                attributes["decoder"], attributes["decoder_options"] = _decoder(label.decoder)
            tasks.append(_parsed(location, name, expression, **attributes))
    mistakes.tell()
    with settings.at("tasks" if explicit else "model"):
        planned = tuple(model.plan_tasks(tuple(tasks), explicit))
    _check_own_losses(settings, planned, model)
    if experiment.num_tasks not in (None, count, len(planned)):
        raise settings.error(
            "num_tasks",
            f"num_tasks is {experiment.num_tasks}, but there are {len(planned)} tasks: "
            f"{', '.join(task.name for task in planned)}. The key may be left out.",
        )
    return planned


def _labels_by_name(settings: Settings, labels: Sequence[LabelOptions]) -> dict[str, LabelOptions]:
    known: dict[str, LabelOptions] = {}
    for label in labels:
        if not label.name:
            raise settings.error("label_col", "label_col has an entry without a name.")
        if label.name in known:
            raise settings.error("label_col", f"label_col names {label.name!r} twice.")
        known[label.name] = label
    if not known:
        raise settings.error(
            "label_col", "label_col is missing: write label_col: [{name: click, dtype: float}]."
        )
    return known


def _expressions(
    settings: Settings, experiment: ExperimentOptions, labels: dict[str, LabelOptions]
) -> dict[str, str]:
    if experiment.tasks is None:
        return {name: f"{name} | {each.given}" if each.given else name for name, each in labels.items()}
    if not experiment.tasks:
        raise settings.error("tasks", "tasks is empty. Write tasks: {ctr: click, cvr: conversion | click}.")
    return experiment.tasks


def _per_task(settings: Settings, key: str, value: Any, tasks: list[str]) -> list:
    """One value for every task, from one value or a list."""
    if not isinstance(value, list):
        return [value] * len(tasks)
    if len(value) != len(tasks):
        raise settings.error(
            key,
            f"{key} has {len(value)} entries for {len(tasks)} tasks: {', '.join(tasks)}. "
            "Give one a task, or a single value for all.",
        )
    return value


def _parsed(location: SourceLocation, name: str, expression: str, **attributes: Any) -> Task:
    try:
        return parse_task(name, expression, **attributes)
    except ValueError as error:
        raise ConfigError(location, str(error)) from error


def _check_labels(location: SourceLocation, task: Task, labels: dict[str, LabelOptions]) -> None:
    for column in task.columns:
        if column not in labels:
            raise ConfigError(
                location,
                f"task {task.name!r} names {column!r}, which is no label.{did_you_mean(column, labels)} "
                f"Labels: {', '.join(labels)}.",
            )
    several = next((each for each in task.columns if labels[each].kind == "classes"), None)
    if several is not None and (len(task.event) > 1 or several != task.event[0]):
        raise ConfigError(
            location,
            f"task {task.name!r} is {task.expression!r}, but {several!r} is one of several classes, which "
            "neither happens nor fails to: conditions and joint events are of labels of 0 and 1.",
        )
    declared = labels[task.event[0]].given if len(task.event) == 1 else None
    needed = {part.replace(" ", "") for part in declared.split("&")} if declared else set()
    if not needed <= set(task.given) | {event_of(literal) for literal in task.given}:
        raise ConfigError(
            location,
            f"task {task.name!r} is {task.expression!r}, but label_col says that {task.event[0]!r} is given "
            f"{declared!r}. Write '{task.event[0]} | {declared}', or take 'given' out of label_col.",
        )


def _kind(settings: Settings, name: str, wanted: str | None, label: LabelOptions | None) -> str:
    declared = label.kind if label is not None else None
    if wanted and declared and wanted != declared:
        raise settings.error(
            "task", f"task says that {name!r} is {wanted}, but label_col says {declared}. Remove one of them."
        )
    if wanted == "classes" and declared is None:
        raise settings.error(
            "task", f"task says that {name!r} is of classes: say kind: classes of its label in label_col."
        )
    return wanted or declared or "binary"


def _decoder(block: Any) -> tuple[str, tuple[tuple[str, Any], ...]]:
    """Type and own options of a decoder, as a task holds them."""
    options = {key: tuple(value) if isinstance(value, list) else value for key, value in block.items()}
    kind = str(options.pop("type"))
    return kind, tuple(options.items())


def _check_classes(settings: Settings, label: LabelOptions) -> None:
    """What is said class by class names the classes: those of the data have an order of their own."""
    block = label.decoder if isinstance(label.decoder, dict) else {}
    if label.kind != "classes" or block.get("classes") is not None:
        return
    for key in ("values", "class_weights"):
        if block.get(key) is not None:
            raise ConfigError(
                settings.location_of("label_col", label.name),
                f"label {label.name!r}: the decoder has {key}, a number for each class, but no classes. Name "
                "them in the same order: classes: [none, like].",
            )


def _check_loss(settings: Settings, name: str, kind: str, loss: str | None) -> None:
    if kind == "classes" and loss is not None:
        raise settings.error(
            "loss",
            f"loss {show(loss)} does not fit task {name!r}, which is of classes: its decoder brings one.",
        )
    if loss is not None and loss not in ERRORS[kind]:
        raise settings.error(
            "loss",
            f"loss {show(loss)} does not fit task {name!r}, which is {kind}. Losses of a binary task: "
            f"{', '.join(ERRORS['binary'])}; of a regression: {', '.join(ERRORS['regression'])}. "
            "Give a list, one a task.",
        )


def _loss_options(kind: str, loss: str | None, own: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """The own options of a task's error, as a task holds them."""
    if kind == "classes":  # the decoder brings its error
        return ()
    options = ERRORS[kind][loss or DEFAULT_ERROR[kind]].options
    return tuple((key, tuple(own[key]) if isinstance(own[key], list) else own[key]) for key in options)


def _check_own_losses(settings: Settings, tasks: Sequence[Task], model: Any) -> None:
    """No task has an error of its own that the model would not use."""
    trained = {task.name for task in model.supervised_tasks(tasks)}
    for task in tasks:
        if task.loss not in (None, *DEFAULT_ERROR.values()) and task.name not in trained:
            raise settings.error(
                "loss",
                f"loss {show(task.loss)} of {task.name!r} has no effect: {model.__name__} does not train it "
                f"on its own label. Tasks with a loss of their own: {', '.join(trained) or 'none'}.",
            )
