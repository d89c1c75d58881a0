"""Options about rare positives: weighted positives, a focal term, auxiliary losses, sampling."""

from collections.abc import Sequence
from dataclasses import dataclass

from fuxi_mtl.options.declaring import option
from fuxi_mtl.options.errors import has_default_error
from fuxi_mtl.options.family import Family
from fuxi_mtl.tasks import Task, root_of

_MAPS = "fuxi_mtl.evaluation.calibration.maps"
CALIBRATIONS = Family(
    "calibration",
    "calibration",
    {
        "none": None,
        "closed_form": f"{_MAPS}:Unweighted",
        "platt": f"{_MAPS}:Platt",
        "isotonic": f"{_MAPS}:Isotonic",
    },
    has_options=False,
)
CVR_AUX = "cvr_aux"  # the objective that lambda_cvr_aux adds


@dataclass(frozen=True)
class AuxFocalOptions:
    """``aux_focal``: a focal term beside a task's cross-entropy. A key that Python reserves ends in ``_``."""

    enabled: bool = option(False, "Whether the focal term is added.")
    warmup_steps: int = option(2000, "Optimizer steps at the start without the focal term.", least=0)
    target_head: str = option("ctcvr", "Task that gets the focal term.")
    lambda_: float = option(0.1, "Factor of the focal term.", least=0)
    gamma: float = option(1.0, "Power of the focal factor: how fast easy rows fade.", least=0)
    use_alpha: bool = option(False, "Weigh positives by alpha and negatives by 1 - alpha.")
    alpha: float = option(0.25, "use_alpha: weight of positives.", least=0, most=1)
    detach_p_for_weight: bool = option(True, "Let no gradient flow through the focal factor.")
    compute_fp32: bool = option(True, "False computes the focal factor in the precision of the network.")
    log_components: bool = option(True, "Log the cross-entropy and the focal term separately.")


@dataclass(frozen=True)
class ClipScheduleOptions:
    """``pos_weight_clip_schedule``: a clip that depends on the step."""

    enabled: bool = option(False, "Whether the plan replaces the clip of its target.")
    target: str = option("ctcvr", "Task whose clip it is; both: every task with a weight.")
    type: str = option("piecewise", "Steps or a ramp.", ("piecewise", "linear"))
    milestones: list[int] = option(
        [0], "piecewise: the steps from which the values count; the first is 0.", least=0, example="[0, 8000]"
    )
    values: list[float] = option(
        [], "piecewise: the clip from each milestone on.", above=0, example="[300, 30]"
    )
    start_step: int = option(0, "linear: until here the clip is start_value.", least=0)
    end_step: int = option(0, "linear: from here on the clip is end_value.", least=0)
    start_value: float = option(0.0, "linear: the clip at the start.", least=0)
    end_value: float = option(0.0, "linear: the clip at the end.", least=0)


@dataclass(frozen=True)
class ImbalanceOptions:
    """What is done about rare positives."""

    static_pos_weight: dict[str, float] | None = option(
        None, "Weight of positives in the loss, by task.", above=0, example="{ctr: 24.7, ctcvr: 4800}"
    )
    pos_weight_dynamic: bool = option(
        False, "Weight of positives in the loss: negatives over positives of the batch."
    )
    pos_weight_clip: dict[str, float] | None = option(
        None, "Largest weight of positives, by task.", above=0, example="{ctr: 30, ctcvr: 300}"
    )
    pos_weight_clip_schedule: ClipScheduleOptions = option(
        ClipScheduleOptions(),
        "A largest weight of positives that depends on the step.",
        example="{enabled: true, milestones: [0, 8000], values: [300, 30]}",
    )
    aux_focal: AuxFocalOptions = option(
        AuxFocalOptions(),
        "A focal term beside the loss of one task.",
        example="{enabled: true, target_head: ctcvr, lambda: 0.05}",
    )
    negative_sampling: str = option(
        "none",
        "Leave out negative training rows: with the kept ones weighted in their stead, or plainly.",
        ("none", "reweighted", "plain"),
    )
    neg_keep_prob_train: float = option(
        1.0, "negative_sampling: share of negatives kept in each pass.", above=0, most=1
    )
    calibration: str = option(
        "none",
        "How predictions are calibrated: undo weights in closed form, or fit the validation rows.",
        CALIBRATIONS,
    )
    value_calibration: str = option(
        "none",
        "How values of regressions are fitted to the validation rows: mean label over mean prediction in ten "
        "bins, or a function that never falls.",
        ("none", "ratio", "isotonic"),
    )
    lambda_ctr: float = option(1.0, "Factor of the loss of ctr.", least=0)
    lambda_ctcvr: float = option(1.0, "Factor of the loss of ctcvr.", least=0)
    lambda_cvr_aux: float = option(
        0.0, "Factor of an additional loss of cvr on the rows of its condition; 0 leaves it out.", least=0
    )
    cvr_aux_normalize: str = option(
        "clicks", "What that loss is divided by: its rows, or all of the batch.", ("clicks", "batch")
    )


def why_not_closed_form(
    options: ImbalanceOptions, tasks: Sequence[Task], others: Sequence[str] = ()
) -> str | None:
    """Why the optimum of the loss has no closed form; None if it has one.

    Args:
        options: The keys.
        tasks: What is predicted.
        others: Names of the objectives that are no loss of a task on its labels.
    """
    focal = options.aux_focal
    replaced = [task.loss for task in tasks if task.kind == "binary" and not has_default_error(task)]
    if replaced:
        return f"loss {replaced[0]} has no weight that could be undone"
    changed = bool(options.static_pos_weight) or (focal.enabled and focal.lambda_ > 0)
    if options.pos_weight_dynamic:
        return "pos_weight_dynamic has no weight that could be undone"
    if focal.enabled and focal.lambda_ > 0 and not focal.detach_p_for_weight:
        return "aux_focal has a closed form only with detach_p_for_weight"
    if changed and options.lambda_cvr_aux:
        return "lambda_cvr_aux pulls cvr away from what the other losses want"
    if changed and others:
        return f"{', '.join(others)} would learn from probabilities that the other losses distort"
    if options.negative_sampling == "plain" and root_of(tasks) is None:
        return "negative_sampling plain has one for a single task or a funnel from one event"
    return None
