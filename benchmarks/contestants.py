"""Who takes part, and at what size: the cells that a table is made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks import runner
from benchmarks.csv_rows import csv_of
from benchmarks.environments import python_of
from benchmarks.peers.protocol import Request
from benchmarks.workload import Workload, prepare


@dataclass(frozen=True)
class Contestant:
    """A library, or a way to use it.

    Attributes:
        environment: Its environment; None is our own.
        module: Its module in `benchmarks.peers`.
        request: What its requests have in common.
    """

    environment: str | None
    module: str
    request: Mapping[str, Any] = field(default_factory=dict)


CONTESTANTS = {
    "fuxi_mtl": Contestant(None, "ours"),
    "fuxi_mtl bfloat16": Contestant(None, "ours", {"precision": "mixed_bfloat16"}),
    "DeepCTR": Contestant("deepctr", "deepctr_keras"),
    "DeepCTR-Torch": Contestant("torch", "deepctr_torch_fit"),
    "Torch-RecHub": Contestant("torch", "rechub"),
    "FuxiCTR": Contestant("torch", "fuxictr_own"),
    "FuxiCTR parquet": Contestant("torch", "fuxictr_own", {"options": {"loader": "parquet"}}),
    "PyTorch by hand": Contestant("torch", "torch_loop"),
    "PyTorch by hand bfloat16": Contestant("torch", "torch_loop", {"precision": "mixed_bfloat16"}),
    "limit PyTorch": Contestant("torch", "limits_torch"),
    "limit TensorFlow": Contestant(None, "limits_tensorflow"),
    "limit PyTorch bfloat16": Contestant("torch", "limits_torch", {"precision": "mixed_bfloat16"}),
    "limit TensorFlow bfloat16": Contestant(None, "limits_tensorflow", {"precision": "mixed_bfloat16"}),
    "bare TensorFlow": Contestant(None, "bare_tensorflow"),
    "bare TensorFlow bfloat16": Contestant(None, "bare_tensorflow", {"precision": "mixed_bfloat16"}),
    "bare TensorFlow, table": Contestant(None, "bare_tensorflow", {"options": {"table": True}}),
    "bare TensorFlow, table bfloat16": Contestant(
        None, "bare_tensorflow", {"options": {"table": True}, "precision": "mixed_bfloat16"}
    ),
}
OURS = ("fuxi_mtl", "fuxi_mtl bfloat16")
PEERS = ("DeepCTR", "DeepCTR-Torch", "Torch-RecHub", "FuxiCTR", "FuxiCTR parquet")
YARDSTICKS = ("PyTorch by hand", "PyTorch by hand bfloat16")
BARE = ("bare TensorFlow", "bare TensorFlow bfloat16")  # the network alone
BARE_TABLE = ("bare TensorFlow, table", "bare TensorFlow, table bfloat16")  # and its rows
LIMITS = ("limit PyTorch", "limit TensorFlow", "limit PyTorch bfloat16", "limit TensorFlow bfloat16")


def precision_of(contestant: str) -> str:
    """The dtype policy that a contestant computes in."""
    return CONTESTANTS[contestant].request.get("precision", "float32")


@dataclass(frozen=True)
class Cell:
    """One measurement of a table.

    Attributes:
        contestant: A name of `CONTESTANTS`.
        at: Where it lies in the table, such as ``{"batch": 1024}``.
        workload: Its rows; None if it makes its own.
        request: What differs from the reference.
    """

    contestant: str
    at: Mapping[str, Any] = field(default_factory=dict)
    workload: Workload | None = None
    request: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """For the log, and to tell cells apart."""
        return " ".join([self.contestant, *(f"{key}={value}" for key, value in self.at.items())])

    def job(self, cache: Path) -> runner.Job:
        """What to run; makes the environment and the rows if they are not there."""
        if self.contestant not in CONTESTANTS:
            known = ", ".join(CONTESTANTS)
            raise ValueError(f"there is no contestant {self.contestant!r}. Contestants: {known}.")
        who = CONTESTANTS[self.contestant]
        folder = prepare(self.workload, cache) if self.workload else cache
        options = {**who.request.get("options", {}), **self.request.get("options", {})}
        request = Request(folder=str(folder), **{**who.request, **self.request, "options": options})
        job = runner.Job(python_of(who.environment, cache), who.module, request)
        if who.module == "ours" and request.measure in ("train", "predict", "input"):
            self._encode(job)
        if request.measure == "preprocess":
            csv_of(folder)
        return job

    def _encode(self, job: runner.Job) -> None:
        """Our encoded dataset is made before anything is measured, and again after a change of our code."""
        folder = Path(job.request.folder)
        mark = folder / "encoded" / "checked"
        changed = max(file.stat().st_mtime for file in (runner.ROOT / "fuxi_mtl").rglob("*.py"))
        if mark.exists() and mark.stat().st_mtime > changed:
            return
        done = runner.run(replace(job, request=replace(job.request, measure="encode")))
        if "error" in done:
            raise RuntimeError(f"encoding {folder} failed: {done['log']}")
        mark.touch()
