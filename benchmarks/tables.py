"""The tables: which cells, and what is measured in them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.contestants import LIMITS, OURS, PEERS, YARDSTICKS, Cell
from benchmarks.machine import has_fast_bfloat16
from benchmarks.workload import Workload
from fuxi_mtl.options import SURGERIES, WEIGHTINGS

REFERENCE = Workload().vocabulary
SMALL, LARGE = 10_000, 10_000_000

AXES: dict[str, tuple[int, ...]] = {
    "vocabulary": (SMALL, 100_000, 1_000_000, LARGE),
    "batch": (256, 1024, 4096, 16_384),
    "experts": (2, 4, 8, 16),
    "tasks": (2, 4, 8),
    "fields": (12, 23, 46, 92),
    "rows": (250_000, 500_000, 1_000_000, 2_000_000),
}
METRIC_ROWS, METRIC_GROUPS = 10_000_000, 500_000


@dataclass(frozen=True)
class Settings:
    """What the command line says.

    Attributes:
        seconds: Measured time of each contestant in each round.
        rounds: Number of rounds.
        contestants: Only these; all of the table unless said.
        vocabulary: Ids over all fields.
        batch: Rows in a step.
        rows: Rows of a csv file.
        training_rows: Rows of a workload to train on.
        axis: What grows.
    """

    seconds: float = 15.0
    rounds: int = 3
    contestants: tuple[str, ...] = ()
    vocabulary: int = REFERENCE
    batch: int = 4096
    rows: int = 2_000_000
    training_rows: int = Workload().rows
    axis: str = "vocabulary"

    def chosen(self, names: Sequence[str]) -> list[str]:
        """The contestants of a table."""
        return list(self.contestants or names)

    def workload(self, **changes: int) -> Workload:
        """The reference workload at this vocabulary, or what differs from it."""
        return Workload(**{"vocabulary": self.vocabulary, "rows": self.training_rows, **changes})


@dataclass(frozen=True)
class Table:
    """A table to measure.

    Attributes:
        name: Name of its file in `results`.
        question: What it answers.
        cells: Its measurements, in the order of a round.
    """

    name: str
    question: str
    cells: tuple[Cell, ...]


def training(settings: Settings) -> Table:
    """Training, everyone with its own trainer and loader."""
    workload = settings.workload()
    names = settings.chosen([*OURS, *PEERS, *YARDSTICKS, *LIMITS])
    request = {"batch": settings.batch, "seconds": settings.seconds}
    return Table(
        f"train_{settings.vocabulary}_{settings.batch}",
        f"Training rows a second, {settings.vocabulary:,} ids, batch {settings.batch}",
        tuple(Cell(name, {}, workload, request) for name in names),
    )


def sensible() -> tuple[str, ...]:
    """Our contestants without the one that this processor is no good at."""
    return OURS if has_fast_bfloat16() else OURS[:1]


def weighting(settings: Settings) -> Table:
    """What the weightings cost beside equal weights."""
    workload = settings.workload()
    request = {"batch": settings.batch, "seconds": settings.seconds}
    return Table(
        "weighting",
        f"Training rows a second by weighting, {settings.vocabulary:,} ids, batch {settings.batch}",
        tuple(
            Cell(name, {"weighting": kind}, workload, {**request, "loss_weight": kind})
            for name in settings.chosen(sensible())
            for kind in WEIGHTINGS
        ),
    )


def surgery(settings: Settings) -> Table:
    """What gradient surgery costs beside a plain step, by where it compares gradients."""
    workload = settings.workload()
    methods = [method for method in SURGERIES if method != "none"]
    ways = [{"surgery": name, "mode": mode} for name in methods for mode in SURGERIES[name].load().modes]
    cells = []
    for name in settings.chosen(OURS[:1]):
        for at in ({"surgery": "none", "mode": ""}, *ways):
            stanza = {"surgery": at["surgery"]} | ({"surgery_mode": at["mode"]} if at["mode"] else {})
            request = {"batch": settings.batch, "seconds": settings.seconds, "options": {"stanza": stanza}}
            cells.append(Cell(name, at, workload, request))
    return Table(
        "surgery",
        f"Training rows a second by surgery, {settings.vocabulary:,} ids, batch {settings.batch}",
        tuple(cells),
    )


def flatness(settings: Settings) -> Table:
    """The step at 10 M ids beside the step at 10 k ids."""
    return Table(
        "flat",
        f"Training rows a second at {SMALL:,} and {LARGE:,} ids, batch {settings.batch}",
        tuple(
            Cell(
                name,
                {"vocabulary": size},
                settings.workload(vocabulary=size),
                {"batch": settings.batch, "seconds": settings.seconds},
            )
            for name in settings.chosen(sensible())
            for size in (SMALL, LARGE)
        ),
    )


def predictions(settings: Settings) -> Table:
    """Inference through each one's own predict."""
    workload = settings.workload()
    request = {
        "measure": "predict",
        "batch": settings.batch,
        "seconds": settings.seconds,
        "options": {"rows": 1 << 17},
    }
    names = settings.chosen([*OURS, *PEERS, *YARDSTICKS, *LIMITS])
    return Table(
        f"predict_{settings.batch}",
        f"Predicted rows a second, {settings.vocabulary:,} ids, batch {settings.batch}",
        tuple(Cell(name, {}, workload, request) for name in names),
    )


def shuffled_input(settings: Settings) -> Table:
    """Our shuffled batches without a model."""
    request = {"measure": "input", "batch": settings.batch, "seconds": settings.seconds}
    cell = Cell("fuxi_mtl", {}, settings.workload(), request)
    return Table("input", f"Shuffled rows a second, batch {settings.batch}, no model", (cell,))


def preprocessing(settings: Settings) -> Table:
    """From a csv file to encoded arrays with vocabularies."""
    return Table(
        f"preprocess_{settings.rows}",
        f"Preprocessing a csv file of {settings.rows:,} rows, 23 text and 5 number columns, minimum count 2",
        tuple(_csv_cell(name, settings.rows, {}) for name in settings.chosen(["fuxi_mtl", "FuxiCTR"])),
    )


def _csv_cell(name: str, rows: int, at: dict[str, Any]) -> Cell:
    return Cell(name, at, Workload(rows=rows), {"measure": "preprocess"})


def metrics(settings: Settings) -> Table:
    """AUC and gAUC of many rows."""
    options = {"rows": METRIC_ROWS, "groups": METRIC_GROUPS}
    # FuxiCTR loops over groups in Python: a two-hundredth of the rows and groups tells its speed.
    fewer = {"rows": METRIC_ROWS // 200, "groups": METRIC_GROUPS // 200}
    return Table(
        "metrics",
        f"Seconds for the gAUC of {METRIC_ROWS:,} rows in {METRIC_GROUPS:,} groups, and for the AUC",
        tuple(
            Cell(name, {}, None, {"measure": "metrics", "options": fewer if name == "FuxiCTR" else options})
            for name in settings.chosen(["fuxi_mtl", "FuxiCTR"])
        ),
    )


def growth(settings: Settings) -> Table:
    """Step time and memory along one axis; the other sizes are the reference's."""
    axis, names = settings.axis, settings.chosen([*sensible(), "DeepCTR"])
    if axis not in AXES:
        raise ValueError(f"there is no axis {axis!r}. Axes: {', '.join(AXES)}.")
    if axis == "vocabulary":
        names = settings.chosen([*sensible(), "DeepCTR", "FuxiCTR", YARDSTICKS[0]])
    if axis == "rows":
        names = settings.chosen(["fuxi_mtl", "FuxiCTR"])
    return Table(
        f"growth_{axis}",
        f"Growth with {axis}",
        tuple(_grown(name, axis, value, settings) for value in AXES[axis] for name in names),
    )


def _grown(name: str, axis: str, value: int, settings: Settings) -> Cell:
    at = {axis: value}
    if axis == "rows":
        return _csv_cell(name, value, at)
    request: dict[str, Any] = {"batch": settings.batch, "seconds": settings.seconds, "warmup_seconds": 1.5}
    workload = settings.workload(**(at if axis in ("vocabulary", "tasks", "fields") else {}))
    if axis in ("batch", "experts"):
        request |= at
    return Cell(name, at, workload, request)


TABLES: dict[str, Callable[[Settings], Table]] = {
    "train": training,
    "predict": predictions,
    "weighting": weighting,
    "surgery": surgery,
    "flat": flatness,
    "input": shuffled_input,
    "preprocess": preprocessing,
    "metrics": metrics,
    "growth": growth,
}
RESULTS = Path(__file__).parent / "results"
