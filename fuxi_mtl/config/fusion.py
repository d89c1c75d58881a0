"""Checks of the block ``fusion`` against tasks, groups and inputs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from fuxi_mtl.config.stanzas import Layer, Settings
from fuxi_mtl.hints import did_you_mean
from fuxi_mtl.options import (
    DatasetOptions,
    EvaluationOptions,
    FusionOptions,
    FusionSection,
)
from fuxi_mtl.options.fusion import MEASURES
from fuxi_mtl.tasks import Task

KEY = "fusion"


def checked_fusion(
    settings: Settings,
    section: FusionSection,
    tasks: Sequence[Task],
    evaluation: EvaluationOptions,
    dataset: DatasetOptions,
) -> FusionSection:
    """The block, unless Base means it for other tasks.

    Raises:
        ConfigError: A task, measure or input that does not exist or does not fit, or numbers that
            contradict each other.
    """
    options = section.fusion
    if options is None:
        return section
    mistakes = misfits(options, tasks, evaluation, dataset)
    if mistakes and settings.layer(KEY) == Layer.BASE:
        return replace(section, fusion=None)
    settings.tell((KEY, f"{KEY}.{message}") for message in mistakes)
    return section


def misfits(
    options: FusionOptions, tasks: Sequence[Task], evaluation: EvaluationOptions, dataset: DatasetOptions
) -> list[str]:
    """What keeps a fusion from being made of these tasks, groups and inputs; empty if nothing does."""
    inputs = [str(each.name) for each in dataset.feature_cols if each.type != "meta"]
    named = {task.name: task for task in tasks}
    return [*_wrong_numbers(options), *_misplaced(options, named, evaluation, inputs)]


def _wrong_numbers(options: FusionOptions) -> Iterator[str]:
    for key in ("weights", "label"):
        given = getattr(options, key)
        if isinstance(given, dict) and not any(given.values()):
            yield f"{key} is {given}; give numbers from 0 up, at least one above 0."
    if options.objective is not None and not any(options.objective.values()):
        yield f"objective is {options.objective}; at least one weight is not 0."
    search = options.search
    if search.elites > search.samples:
        yield f"search.elites is {search.elites}; there are {search.samples} samples."
    if len(search.least_deviation) != 2:
        yield f"search.least_deviation is {search.least_deviation}; give two numbers from 0 up."


def _misplaced(
    options: FusionOptions, tasks: Mapping[str, Task], evaluation: EvaluationOptions, inputs: Sequence[str]
) -> Iterator[str]:
    weights = options.weights if isinstance(options.weights, dict) else {}
    named = {"scores": options.scores or [], "weights": weights, "label": options.label or {}}
    for key, name in ((key, name) for key, names in named.items() for name in names if name not in tasks):
        near = did_you_mean(name, tasks)
        yield f"{key}: no task is called {name!r}.{near} Tasks: {', '.join(tasks)}."
    if weights and options.scores is not None and set(weights) != set(options.scores):
        yield f"weights are for {', '.join(weights)}, but scores are {', '.join(options.scores)}."
    for name in (name for name in options.ltr.features if name not in inputs):
        near = did_you_mean(name, inputs)
        yield f"ltr.features: {name!r} is no input.{near} Inputs: {', '.join(inputs)}."
    yield from _wrong_scores(options, tasks)
    yield from _wrong_objective(options, tasks)
    yield from _lacking(options, evaluation)


def _lacking(options: FusionOptions, evaluation: EvaluationOptions) -> Iterator[str]:
    """What the method or the search needs, or has no use for."""
    needing = [key for key in options.objective or {} if not key.endswith("_AUC")]
    if options.weights == "online":
        needing.insert(0, "weights: online")
    if options.method in ("rank", "ltr"):
        needing.insert(0, f"method: {options.method}")
    if needing and evaluation.group_id is None:
        yield f"{needing[0]} needs group_id, the column of the requests."
    if options.label is None and (options.method == "ltr" or options.weights == "online"):
        by = "method: ltr" if options.method == "ltr" else "weights: online"
        yield f"{by} needs label, the value of each task's label, such as {{click: 1}}."
    if options.method == "ltr" and options.weights != "cem":
        yield f"weights is {options.weights}, but method: ltr learns its own. Leave it out."
    if not evaluation.save_predictions:
        yield "method: fusion works on stored scores. Leave save_predictions at true."


def _wrong_scores(options: FusionOptions, tasks: Mapping[str, Task]) -> Iterator[str]:
    if options.scores is not None and not options.scores:
        yield "scores is empty; leave it out for all."
    for name in options.scores or (options.weights if isinstance(options.weights, dict) else ()):
        if (
            name in tasks
            and tasks[name].kind == "classes"
            and not dict(tasks[name].decoder_options).get("values")
        ):
            yield (
                f"scores: {name!r} is one of several classes, which is no number. Give its decoder values, a "
                "number for each class: the score is then the expected value."
            )
    if options.method == "rank" or (options.method, options.transform) == ("sum", "identity"):
        return
    chosen = options.scores or (options.weights if isinstance(options.weights, dict) else tasks)
    kinds = {name: tasks[name].kind for name in chosen if name in tasks}
    numbers = [name for name, kind in kinds.items() if kind != "binary"]
    if numbers and (chosen is not tasks or len(numbers) == len(tasks)):
        what = "a regression" if kinds[numbers[0]] == "regression" else "of classes"
        yield f"scores: {numbers[0]!r} is {what}. Use method: rank, or sum with transform: identity."


def _wrong_objective(options: FusionOptions, tasks: Mapping[str, Task]) -> Iterator[str]:
    binary = [name for name, task in tasks.items() if task.kind == "binary"]
    known = [f"{name}_{each}" for name in binary for each in MEASURES] + ["label_NDCG"]
    if not binary:
        yield "objective: a fusion is measured on binary tasks, and there are none."
    for key in options.objective or {}:
        if key not in known:
            yield f"objective: {key!r} is no measure.{did_you_mean(key, known)} Measures: {', '.join(known)}."
        elif key == "label_NDCG" and "label" not in tasks and options.label is None:
            yield "objective: label_NDCG needs label, the value of each task's label."
    for name in options.label or {}:
        if name in tasks and name not in binary:
            what = "a regression" if tasks[name].kind == "regression" else "of classes"
            yield f"label: {name!r} is {what}; labels are of binary tasks."
