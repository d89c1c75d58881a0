"""The limit with PyTorch's products."""

import torch

from benchmarks.peers.limits import predictor, trainer
from benchmarks.peers.protocol import serve


class PyTorch:
    """A :class:`~benchmarks.peers.limits.Library`."""

    def matrix(self, shape, precision):
        """See there."""
        return torch.randn(shape).to(torch.float32 if precision == "float32" else torch.bfloat16)

    def table(self, shape):
        """See there."""
        return torch.zeros(shape)

    def rows(self, below, count):
        """See there."""
        return torch.randint(below, (count,))

    def together(self, calls):
        """See there."""
        return lambda: [call() for call in calls]

    def product(self, a, b, transpose_a=False, transpose_b=False):
        """See there."""
        return torch.mm(a.T if transpose_a else a, b.T if transpose_b else b)

    def look_up(self, table, rows):
        """See there."""
        return torch.index_select(table, 0, rows)


if __name__ == "__main__":
    with torch.inference_mode():
        serve(("torch", "numpy"), trainer(PyTorch()), predictor(PyTorch()))
