"""Weights & Biases, on the disk unless the user asks for more."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

from fuxi_mtl.options import option
from fuxi_mtl.training.tracking.tracker import Outcome, Tracked, Tracker


class WandB(Tracker):
    """A run of Weights & Biases; offline, in the folder wandb, unless it is told to go online."""

    package: ClassVar[str] = "wandb"

    def __init__(
        self,
        *,
        wandb_mode: Annotated[
            str,
            option(
                "Whether W&B sends anything; auto is what WANDB_MODE says, else offline.",
                choices=("auto", "offline", "online"),
            ),
        ] = "auto",
        wandb_project: Annotated[
            str | None, option("W&B's project; the dataset's name unless said.", example="shop")
        ] = None,
        wandb_entity: Annotated[
            str | None, option("W&B's team or user; that of the login unless said.", example="ads")
        ] = None,
        wandb_dir: Annotated[str, option("Folder in which W&B makes its folder wandb.")] = ".",
    ):
        self._mode = wandb_mode if wandb_mode != "auto" else os.environ.get("WANDB_MODE") or "offline"
        self._project, self._entity, self._dir = wandb_project, wandb_entity, wandb_dir
        self._run: Any = None

    def begin(self, training: Tracked) -> str:
        """Makes a run with its parameters, or goes on with the one it knows."""
        if self._mode != "online":  # offline, too, it tells its makers of errors and use
            os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        going_on: dict[str, Any] = {"id": training.known_as, "resume": "allow"} if training.known_as else {}
        self._run = wandb.init(
            project=self._project or training.dataset_id,
            entity=self._entity,
            name=training.name,
            group=training.expid,
            config={**training.parameters, "lineage": dict(training.lineage)},
            dir=self._dir,
            mode=self._mode,
            reinit="create_new",
            settings=wandb.Settings(silent=True, console="off"),
            **going_on,
        )
        return str(self._run.id)

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """A point of each curve."""
        self._run.log(dict(numbers), step=step)

    def end(self, outcome: Outcome) -> None:
        """Metrics into the summary, files beside them, and how it ended."""
        for name, value in outcome.metrics.items():
            self._run.summary[f"final/{name}"] = value
        folder = Path(self._run.dir) / "fuxi_mtl"  # W&B has a config.yaml of its own
        folder.mkdir(exist_ok=True)
        for file in outcome.files:  # as copies: what the command names may be gone when they are sent
            shutil.copy(file, folder)
        self._run.finish(exit_code=0 if outcome.status == "finished" else 1)
