"""The errors of tasks, by the kind of the task."""

from fuxi_mtl.options.family import Family
from fuxi_mtl.tasks import Task

_LOSSES = "fuxi_mtl.objectives.losses"
ERRORS = {
    "binary": Family(
        "binary error",
        "loss",
        {"binary_crossentropy": f"{_LOSSES}:bce_with_logits", "focal": f"{_LOSSES}:focal_error"},
        given=("logits", "labels"),
    ),
    "regression": Family(
        "regression error",
        "loss",
        {
            "mse": f"{_LOSSES}:squared_error",
            "mean_squared_error": f"{_LOSSES}:squared_error",
            "mae": f"{_LOSSES}:absolute_error",
            "mean_absolute_error": f"{_LOSSES}:absolute_error",
            "huber": f"{_LOSSES}:huber_error",
        },
        given=("predictions", "labels"),
    ),
}
DEFAULT_ERROR = {"binary": "binary_crossentropy", "regression": "mse"}


def has_default_error(task: Task) -> bool:
    """Whether a task is trained on the error of its kind: the cross-entropy, or the squared error."""
    return task.loss in (None, DEFAULT_ERROR.get(task.kind))
