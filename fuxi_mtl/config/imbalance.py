"""Checks of options about rare positives, against each other and against the tasks."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

from fuxi_mtl.config.stanzas import Layer, Settings
from fuxi_mtl.hints import did_you_mean
from fuxi_mtl.options import ImbalanceOptions, has_default_error, why_not_closed_form
from fuxi_mtl.tasks import Task

Mistake = tuple[str, str]  # a key and what is wrong with it


def checked_imbalance(
    settings: Settings,
    options: ImbalanceOptions,
    tasks: Sequence[Task],
    supervised: Sequence[Task],
    objectives: Sequence[str],
) -> ImbalanceOptions:
    """The options that fit the tasks; those of Base that are meant for other tasks are left out.

    Args:
        settings: For the locations of errors.
        options: The keys.
        tasks: What the model predicts.
        supervised: The tasks whose heads it trains on their own labels.
        objectives: Names of all that it minimises.

    Raises:
        ConfigError: A contradiction, or a task that cannot have the option.
    """
    settings.tell(_wrong_numbers(options))
    plain = ImbalanceOptions()
    trained = [each.name for each in supervised if _is_binary(each)]
    misplaced = list(_misplaced(options, tasks, trained))
    settings.tell(each for each in misplaced if settings.layer(each[0]) != Layer.BASE)
    options = replace(options, **{key: getattr(plain, key) for key, _ in misplaced})
    others = set(objectives) - {task.name for task in supervised}
    reason = why_not_closed_form(options, tasks, sorted(others))
    if options.calibration == "closed_form" and reason:
        raise settings.error("calibration", f"calibration closed_form: {reason}. Use platt or isotonic.")
    if options.pos_weight_dynamic and options.static_pos_weight:
        raise settings.error(
            "pos_weight_dynamic", "pos_weight_dynamic and static_pos_weight exclude each other. Remove one."
        )
    return options


def _wrong_numbers(options: ImbalanceOptions) -> Iterator[Mistake]:
    how = options.negative_sampling
    if how != "none" and options.neg_keep_prob_train == 1:
        yield "negative_sampling", f"negative_sampling {how} leaves nothing out: neg_keep_prob_train is 1."
    if options.pos_weight_clip_schedule.enabled:
        for message in _wrong_schedule(options):
            yield "pos_weight_clip_schedule", f"pos_weight_clip_schedule: {message}"


def _wrong_schedule(options: ImbalanceOptions) -> Iterator[str]:
    schedule = options.pos_weight_clip_schedule
    steps, values = schedule.milestones, list(schedule.values)
    if schedule.type == "piecewise":
        if len(steps) != len(values) or not values:
            yield f"{len(steps)} milestones and {len(values)} values; give one value from each milestone on."
        elif steps[0] != 0 or any(b <= a for a, b in pairwise(steps)):
            yield f"milestones are {steps}; the first is 0 and each is above the one before."
    else:
        if not 0 <= schedule.start_step < schedule.end_step:
            yield f"start_step is {schedule.start_step}, end_step {schedule.end_step}: they grow from 0 up."
        values = [schedule.start_value, schedule.end_value]
    if any(value <= 0 for value in values):
        yield f"a clip is {min(values):g}; it must be above 0."


def _misplaced(options: ImbalanceOptions, tasks: Sequence[Task], trained: Sequence[str]) -> Iterator[Mistake]:
    """Options of tasks that have no binary loss of their own."""

    def of_loss(key: str, task: str) -> Mistake:
        return key, (
            f"{key} is for {task!r}, which has no binary loss of its own.{did_you_mean(task, trained)} "
            f"Tasks with one: {', '.join(trained) or 'none'}."
        )

    for key in ("static_pos_weight", "pos_weight_clip"):
        yield from (of_loss(key, task) for task in getattr(options, key) or {} if task not in trained)
    if options.aux_focal.enabled and options.aux_focal.target_head not in trained:
        yield of_loss("aux_focal", options.aux_focal.target_head)
    schedule = options.pos_weight_clip_schedule
    if schedule.enabled and schedule.target not in (*trained, "both"):
        yield of_loss("pos_weight_clip_schedule", schedule.target)
    weighted = trained if options.pos_weight_dynamic else [*(options.static_pos_weight or {})]
    for task in options.pos_weight_clip or {}:
        if task in trained and task not in weighted:
            yield "pos_weight_clip", f"pos_weight_clip: the positives of {task!r} have no weight to clip."
    if schedule.enabled and not weighted:
        yield "pos_weight_clip_schedule", "pos_weight_clip_schedule: no positives have a weight to clip."
    for task in ("ctr", "ctcvr"):
        if getattr(options, f"lambda_{task}") != 1 and task not in trained:
            yield of_loss(f"lambda_{task}", task)
    yield from _misplaced_without_labels(options, tasks, trained)


def _misplaced_without_labels(
    options: ImbalanceOptions, tasks: Sequence[Task], trained: Sequence[str]
) -> Iterator[Mistake]:
    """Options that need a certain task, whether it has a loss of its own or not."""
    binary = [task for task in tasks if _is_binary(task)]
    if options.negative_sampling != "none" and not binary:
        yield "negative_sampling", "negative_sampling needs a binary task; there is none."
    conditional = [task.name for task in binary if task.given]
    if options.lambda_cvr_aux and "cvr" not in conditional:
        yield "lambda_cvr_aux", "lambda_cvr_aux needs a task cvr such as 'conversion | click'; there is none."
    elif options.lambda_cvr_aux and "cvr" in trained:
        yield "lambda_cvr_aux", "lambda_cvr_aux: the task cvr has a loss of its own already; use loss_weight."

    for task in binary:
        if not has_default_error(task):
            for key in _weighing(options, task.name):
                yield key, f"{key} is for a cross-entropy, but the loss of {task.name!r} is {task.loss}."


def _weighing(options: ImbalanceOptions, task: str) -> Iterator[str]:
    """The options that change the cross-entropy of a task."""
    if task in (options.static_pos_weight or {}):
        yield "static_pos_weight"
    if options.pos_weight_dynamic:
        yield "pos_weight_dynamic"
    if options.aux_focal.enabled and options.aux_focal.target_head == task:
        yield "aux_focal"


def _is_binary(task: Task) -> bool:
    return task.kind == "binary"
