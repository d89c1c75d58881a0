"""The yardstick: what a good engineer writes by hand in PyTorch. One fused table, sparse Adam, bfloat16.

It is not a library: no weighting, no metrics, no checkpoints, no vocabulary.
"""

import itertools

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks.peers.protocol import Clock, Request, labels_of, serve
from benchmarks.workload import Columns, Workload


class MMoE(nn.Module):
    """The reference model, its experts' first layers and gates as wide products."""

    def __init__(self, request: Request, workload: Workload):
        super().__init__()
        self.experts, self.tasks = request.experts, workload.tasks
        self.table = nn.Embedding(sum(workload.sizes), request.dim, sparse=True)
        nn.init.normal_(self.table.weight, std=0.01)
        width = workload.fields * request.dim + workload.numbers
        first, *rest = request.expert_units
        self.first = nn.Linear(width, request.experts * first)
        self.rest = nn.ModuleList(_tower(first, rest, nn.ReLU()) for _ in range(request.experts))
        self.gates = nn.Linear(width, request.experts * workload.tasks)
        self.towers = nn.ModuleList(
            nn.Sequential(
                _tower(request.expert_units[-1], request.tower_units, nn.ReLU()),
                nn.Linear(request.tower_units[-1], 1),
            )
            for _ in range(workload.tasks)
        )

    def forward(self, ids: torch.Tensor, numbers: torch.Tensor) -> list[torch.Tensor]:
        """The logits of each task."""
        x = torch.cat([self.table(ids).flatten(1), numbers], dim=1)
        hidden = functional.relu(self.first(x)).chunk(self.experts, dim=1)
        experts = torch.stack([rest(h) for rest, h in zip(self.rest, hidden, strict=True)], dim=1)
        gates = self.gates(x).view(-1, self.tasks, self.experts).softmax(2).to(experts.dtype)
        mixed = torch.bmm(gates, experts)  # (batch, tasks, units)
        return [tower(mixed[:, k]).squeeze(1) for k, tower in enumerate(self.towers)]


def _tower(width: int, units, activation: nn.Module) -> nn.Sequential:
    layers = []
    for unit in units:
        layers += [nn.Linear(width, unit), activation]
        width = unit
    return nn.Sequential(*layers)


class _Rows:
    """The whole workload as three tensors; ids are rows of the fused table."""

    def __init__(self, workload: Workload, columns: Columns):
        starts = np.concatenate([[0], np.cumsum(workload.sizes)[:-1]])
        ids = np.stack([columns[n] for n in workload.field_names], axis=1) + starts.astype(np.int32)
        self.ids = torch.from_numpy(ids.astype(np.int32))
        self.numbers = torch.from_numpy(np.stack([columns[n] for n in workload.number_names], axis=1))
        self.labels = torch.from_numpy(labels_of(workload, columns))


def train(request: Request, workload: Workload, columns: Columns, clock: Clock) -> None:
    """Shuffled batches by index, one backward pass, two optimizers."""
    torch.manual_seed(0)
    rows, model = _Rows(workload, columns), MMoE(request, workload)
    dense = [p for name, p in model.named_parameters() if not name.startswith("table")]
    optimizers = [
        torch.optim.SparseAdam([model.table.weight], lr=1e-3),
        torch.optim.Adam(dense, lr=1e-3, fused=True),
    ]
    for _ in itertools.count():
        order = torch.randperm(workload.rows)
        for start in range(0, workload.rows - request.batch + 1, request.batch):
            chosen = order[start : start + request.batch]
            with torch.autocast("cpu", torch.bfloat16, enabled=request.precision != "float32"):
                logits = model(rows.ids[chosen], rows.numbers[chosen])
            labels = rows.labels[chosen]
            loss = sum(
                functional.binary_cross_entropy_with_logits(logit.float(), labels[:, k])
                for k, logit in enumerate(logits)
            )
            for optimizer in optimizers:
                optimizer.zero_grad(set_to_none=True)
            loss.backward()
            for optimizer in optimizers:
                optimizer.step()
            clock.step()


def predict(request: Request, workload: Workload, columns: Columns):
    """A plain loop without gradients."""
    rows, model = _Rows(workload, columns), MMoE(request, workload)

    def run() -> np.ndarray:
        parts = []
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, request.precision != "float32"):
            for start in range(0, len(rows.ids), request.batch):
                part = slice(start, start + request.batch)
                logits = model(rows.ids[part], rows.numbers[part])
                parts.append(torch.sigmoid(torch.stack(logits, dim=1).float()).numpy())
        return np.concatenate(parts)

    return run


if __name__ == "__main__":
    serve(("torch", "numpy"), train, predict)
