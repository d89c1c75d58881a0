"""SwanLab, on the disk unless the user asks for more."""

import os
import shutil
from collections.abc import Mapping
from glob import escape
from pathlib import Path
from typing import Annotated, Any, ClassVar

from fuxi_mtl.options import option
from fuxi_mtl.training.tracking.tracker import Outcome, Tracked, Tracker

_STATE = {"finished": "success", "failed": "crashed", "interrupted": "aborted"}


class SwanLab(Tracker):
    """A run of SwanLab; on the disk, in the folder swanlog, unless it is told to go online."""

    package: ClassVar[str] = "swanlab"

    def __init__(
        self,
        *,
        swanlab_mode: Annotated[
            str,
            option(
                "Whether SwanLab sends anything; auto is what SWANLAB_MODE says, else offline.",
                choices=("auto", "offline", "online", "local"),
            ),
        ] = "auto",
        swanlab_project: Annotated[
            str | None, option("SwanLab's project; the dataset's name unless said.", example="shop")
        ] = None,
        swanlab_dir: Annotated[str, option("Folder for SwanLab's files.")] = "./swanlog",
    ):
        self._mode = swanlab_mode if swanlab_mode != "auto" else os.environ.get("SWANLAB_MODE") or "offline"
        self._project, self._dir = swanlab_project, swanlab_dir
        self._run: Any = None

    def begin(self, training: Tracked) -> str:
        """Makes a run with its parameters; one that is online is gone on with."""
        import swanlab

        going_on: dict[str, Any] = {}
        if training.known_as and self._mode == "online":
            going_on = {"id": training.known_as, "resume": "allow"}
        self._run = swanlab.init(
            project=self._project or training.dataset_id,
            name=training.name,
            group=training.expid,
            description=", ".join(f"{key} {value}" for key, value in training.lineage.items()),
            config={**training.parameters, "lineage": dict(training.lineage)},
            log_dir=self._dir,
            mode=self._mode,
            reinit=True,
            **going_on,
        )
        return str(self._run.id)

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """A point of each curve."""
        self._run.log(dict(numbers), step=step)

    def end(self, outcome: Outcome) -> None:
        """Metrics, the stanza and what else is small, and how it ended."""
        if outcome.metrics:
            self._run.log({f"final/{name}": value for name, value in outcome.metrics.items()})
        folder = Path(self._run.dir) / "fuxi_mtl"  # SwanLab keeps links, and has a config.yaml of its own
        folder.mkdir(exist_ok=True)
        for file in outcome.files:  # as copies: what the command names may be gone when they are sent
            shutil.copy(file, folder)
            self._run.save(escape(str(folder / file.name)), base_path=self._run.dir, policy="now")
        self._run.finish(state=_STATE[outcome.status])
