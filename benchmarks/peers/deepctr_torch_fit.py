"""DeepCTR-Torch 0.3.0: its MMOE, its `fit` and its `predict`."""

import numpy as np
import torch
from deepctr_torch.inputs import DenseFeat, SparseFeat
from deepctr_torch.models import MMOE

from benchmarks.peers.protocol import ENDLESS, Clock, Request, inputs_of, labels_of, serve
from benchmarks.workload import Columns, Workload


def _model(request: Request, workload: Workload) -> MMOE:
    fields = zip(workload.field_names, workload.sizes, strict=True)
    features = [SparseFeat(name, size, embedding_dim=request.dim) for name, size in fields]
    features += [DenseFeat(name, 1) for name in workload.number_names]
    model = MMOE(
        features,
        num_experts=request.experts,
        expert_dnn_hidden_units=request.expert_units,
        gate_dnn_hidden_units=(),
        tower_dnn_hidden_units=request.tower_units,
        l2_reg_linear=0,
        l2_reg_embedding=0,
        l2_reg_dnn=0,
        task_types=("binary",) * workload.tasks,
        task_names=workload.labels,
        device="cpu",
    )
    model.compile(
        torch.optim.Adam(model.parameters(), lr=1e-3), loss=["binary_crossentropy"] * workload.tasks
    )
    return model


def train(request: Request, workload: Workload, columns: Columns, clock: Clock) -> None:
    """Its documented way: `fit` on a dict of arrays, shuffled."""
    torch.manual_seed(0)
    model = _model(request, workload)
    model.optim.register_step_post_hook(lambda *_: clock.step())
    labels = labels_of(workload, columns)
    model.fit(inputs_of(workload, columns), labels, batch_size=request.batch, epochs=ENDLESS, verbose=0)


def predict(request: Request, workload: Workload, columns: Columns):
    """Its own `predict`."""
    model, inputs = _model(request, workload), inputs_of(workload, columns)
    return lambda: np.asarray(model.predict(inputs, batch_size=request.batch))


if __name__ == "__main__":
    serve(("deepctr-torch", "torch", "numpy"), train, predict)
