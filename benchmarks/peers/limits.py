"""The least a training step or a prediction can take on this machine: its products and table accesses.

Each product of the step alone, plus one gather and, in training, one update of every looked-up row at the
rate of random access to the table. No elementwise work, no optimizer of the dense part. bfloat16 products
with ``precision: mixed_bfloat16``; tables are float32. The libraries differ in the rate of their products,
by processor and type: the limit is that of the faster one.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from benchmarks.peers.protocol import Clock, Predictor, Request, Trainer
from benchmarks.workload import Columns, Workload

ORDERS = 16  # of looked-up rows, so that no step finds those of the last one in the cache

Shape = tuple[int, int]


class Library(Protocol):
    """What a limit needs of a library."""

    def matrix(self, shape: Shape, precision: str) -> Any:
        """Random numbers in the type of a precision."""

    def table(self, shape: Shape) -> Any:
        """Zeros in float32."""

    def rows(self, below: int, count: int) -> Any:
        """Random numbers of rows."""

    def together(self, calls: Sequence[Callable[[], Any]]) -> Callable[[], Any]:
        """All calls, none left out."""

    def product(self, a: Any, b: Any, transpose_a: bool = False, transpose_b: bool = False) -> Any:
        """``a b``, or with transposed factors."""

    def look_up(self, table: Any, rows: Any) -> Any:
        """Rows of a table."""


def shapes(request: Request, workload: Workload) -> list[Shape]:
    """From how wide to how wide each layer of the reference model multiplies, equal ones repeated."""
    width = workload.fields * request.dim + workload.numbers
    first, *rest = request.expert_units
    layers = [(width, request.experts * first), (width, request.experts * workload.tasks)]
    for above, below in itertools.pairwise((first, *rest)):
        layers += [(above, below)] * request.experts
    tower = (request.expert_units[-1], *request.tower_units, 1)
    for above, below in itertools.pairwise(tower):
        layers += [(above, below)] * workload.tasks
    return layers


def trainer(library: Library) -> Trainer:
    """The bare step again and again: forward, and the gradients of inputs and kernels."""

    def train(request: Request, workload: Workload, columns: Columns, clock: Clock) -> None:
        calls = []
        for x, kernel, gradient in _layers(library, request, workload):
            calls += [
                lambda x=x, kernel=kernel: library.product(x, kernel),
                lambda gradient=gradient, kernel=kernel: library.product(gradient, kernel, transpose_b=True),
                lambda x=x, gradient=gradient: library.product(x, gradient, transpose_a=True),
            ]
        step, look_up = library.together(calls), _look_ups(library, request, workload)
        while True:
            step()
            # Reading and writing a row both cost a random access; writing it alone is slower.
            look_up()
            look_up()
            clock.step()

    return train


def predictor(library: Library) -> Predictor:
    """The forward products and the gathers of one pass over the rows."""

    def predict(request: Request, workload: Workload, columns: Columns) -> Callable[[], None]:
        layers = _layers(library, request, workload)
        batch = library.together(
            [lambda x=x, kernel=kernel: library.product(x, kernel) for x, kernel, _ in layers]
        )
        look_up = _look_ups(library, request, workload)
        rows = min(request.options.get("rows", workload.rows), workload.rows)

        def run() -> None:
            for _ in range(rows // request.batch):
                look_up()
                batch()

        return run

    return predict


def _layers(library: Library, request: Request, workload: Workload) -> list[tuple[Any, Any, Any]]:
    """Inputs, kernel and gradient of each product, none of them twice."""
    rows, precision = request.batch, request.precision
    return [
        tuple(library.matrix(shape, precision) for shape in ((rows, a), (a, b), (rows, b)))
        for a, b in shapes(request, workload)
    ]


def _look_ups(library: Library, request: Request, workload: Workload) -> Callable[[], Any]:
    """Looks up the rows of a batch, each time those of another one."""
    ids, table = sum(workload.sizes), library.table((sum(workload.sizes), request.dim))
    orders = itertools.cycle([library.rows(ids, request.batch * workload.fields) for _ in range(ORDERS)])
    return lambda: library.look_up(table, next(orders))
