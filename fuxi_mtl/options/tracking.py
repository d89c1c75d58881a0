"""Trackers of trainings."""

from fuxi_mtl.options.family import Family

TRACKERS = Family(
    "tracker",
    "trackers",
    {
        "tensorboard": "fuxi_mtl.training.tracking.on_tensorboard:TensorBoard",
        "mlflow": "fuxi_mtl.training.tracking.on_mlflow:MLflow",
        "wandb": "fuxi_mtl.training.tracking.on_wandb:WandB",
        "swanlab": "fuxi_mtl.training.tracking.on_swanlab:SwanLab",
    },
    given=(),
)
