"""Torch-RecHub 0.9.0: its MMOE, its `MTLTrainer` and its `DataGenerator`.

Its MLPs, gates included, always have batch normalisation; that is left as it is.
"""

import tempfile

import torch
from torch.utils.data import DataLoader
from torch_rechub.basic.features import DenseFeature, SparseFeature
from torch_rechub.models.multi_task import MMOE
from torch_rechub.trainers import MTLTrainer
from torch_rechub.utils.data import DataGenerator, PredictDataset

from benchmarks.peers.protocol import ENDLESS, Clock, Request, inputs_of, labels_of, serve
from benchmarks.workload import Columns, Workload


def _trainer(request: Request, workload: Workload, folder: str) -> MTLTrainer:
    fields = zip(workload.field_names, workload.sizes, strict=True)
    features = [SparseFeature(name, vocab_size=size, embed_dim=request.dim) for name, size in fields]
    features += [DenseFeature(name) for name in workload.number_names]
    model = MMOE(
        features,
        ["classification"] * workload.tasks,
        n_expert=request.experts,
        expert_params={"dims": list(request.expert_units)},
        tower_params_list=[{"dims": list(request.tower_units)} for _ in workload.labels],
    )
    return MTLTrainer(
        model,
        ["classification"] * workload.tasks,
        optimizer_params={"lr": 1e-3, "weight_decay": 0},
        n_epoch=ENDLESS,
        device="cpu",
        model_path=folder,
    )


def train(request: Request, workload: Workload, columns: Columns, clock: Clock) -> None:
    """Its own epoch over its own loader."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        trainer = _trainer(request, workload, folder)
        trainer.optimizer.register_step_post_hook(lambda *_: clock.step())
        generator = DataGenerator(inputs_of(workload, columns), labels_of(workload, columns))
        trainer.fit(generator.generate_dataloader(batch_size=request.batch)[0], None)


def predict(request: Request, workload: Workload, columns: Columns):
    """Its own `predict` over its own rows to predict."""
    trainer = _trainer(request, workload, tempfile.mkdtemp())
    loader = DataLoader(PredictDataset(inputs_of(workload, columns)), batch_size=request.batch)
    return lambda: trainer.predict(trainer.model, loader)


if __name__ == "__main__":
    serve(("torch-rechub", "torch", "numpy"), train, predict)
