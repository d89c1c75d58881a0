"""The least a training step or a prediction can take on this machine: its matrix products and table accesses.

Each product of the step alone at the rate of the best library (oneDNN, through PyTorch), plus one gather and,
in training, one update of every looked-up row at the rate of random access to the table. No elementwise work,
no optimizer of the dense part, no framework. bfloat16 products with ``precision: mixed_bfloat16``.
"""

import itertools
from collections.abc import Callable

import torch

from benchmarks.peers.protocol import Clock, Request, serve
from benchmarks.workload import Columns, Workload


def products(request: Request, workload: Workload) -> list[tuple[int, int, int]]:
    """How often, and from how wide to how wide, each layer of the reference model multiplies."""
    width = workload.fields * request.dim + workload.numbers
    first, *rest = request.expert_units
    layers = [(1, width, request.experts * first), (1, width, request.experts * workload.tasks)]
    for above, below in zip((first, *rest), rest, strict=False):
        layers.append((request.experts, above, below))
    tower = (request.expert_units[-1], *request.tower_units, 1)
    layers += [(workload.tasks, above, below) for above, below in itertools.pairwise(tower)]
    return layers


def train(request: Request, workload: Workload, columns: Columns, clock: Clock) -> None:
    """Runs the bare step again and again: forward, and the gradients of inputs and kernels."""
    dtype = torch.float32 if request.precision == "float32" else torch.bfloat16
    layers = [
        (count, *(torch.randn(shape).to(dtype) for shape in ((request.batch, a), (a, b), (request.batch, b))))
        for count, a, b in products(request, workload)
    ]
    table = torch.zeros(sum(workload.sizes), request.dim)
    ids = [torch.randint(len(table), (request.batch * workload.fields,)) for _ in range(16)]
    for step in itertools.count():
        for count, x, kernel, gradient in layers:
            for _ in range(count):
                torch.mm(x, kernel)
                torch.mm(gradient, kernel.T)
                torch.mm(x.T, gradient)
        # Reading and writing a row both cost a random access; writing it alone is slower in PyTorch.
        for again in (0, 1):
            torch.index_select(table, 0, ids[(2 * step + again) % len(ids)])
        clock.step()


def predict(request: Request, workload: Workload, columns: Columns) -> Callable[[], None]:
    """Gives the forward products and the gathers of one pass over the rows."""
    dtype = torch.float32 if request.precision == "float32" else torch.bfloat16
    layers = [
        (count, torch.randn(request.batch, above).to(dtype), torch.randn(above, below).to(dtype))
        for count, above, below in products(request, workload)
    ]
    table = torch.zeros(sum(workload.sizes), request.dim)
    ids = [torch.randint(len(table), (request.batch * workload.fields,)) for _ in range(16)]
    rows = min(request.options.get("rows", workload.rows), workload.rows)

    def run() -> None:
        for batch in range(rows // request.batch):
            torch.index_select(table, 0, ids[batch % len(ids)])
            for count, x, kernel in layers:
                for _ in range(count):
                    torch.mm(x, kernel)

    return run


if __name__ == "__main__":
    serve(("torch", "numpy"), train, predict)
