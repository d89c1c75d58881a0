"""FuxiCTR 2.3.10: MMoE written on its public `MultiTaskModel` and layers, its loaders, its preprocessing.

Its wheel carries the base class, but no multi-task model. It embeds numbers, clips the gradient over all
tables at each step, and knows equal weights only; all that is its own way and left as it is.
"""

import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from fuxictr.features import FeatureMap
from fuxictr.metrics import evaluate_metrics
from fuxictr.preprocess import FeatureProcessor, build_dataset
from fuxictr.pytorch.dataloaders import RankDataLoader
from fuxictr.pytorch.layers import FeatureEmbedding, MLP_Block
from fuxictr.pytorch.models import MultiTaskModel
from torch import nn

from benchmarks.peers.protocol import ENDLESS, Clock, Request, scored_rows, serve
from benchmarks.workload import Columns, Workload, load

DATASET = "benchmark"


class MMoE(MultiTaskModel):
    """The reference model as FuxiCTR's own zoo writes such models."""

    def __init__(self, feature_map: FeatureMap, request: Request, folder: str):
        tasks = len(feature_map.labels)
        super().__init__(
            feature_map,
            task=["binary_classification"] * tasks,
            num_tasks=tasks,
            verbose=0,
            model_root=folder,
            metrics=["AUC"],
            eval_steps=10**12,
        )
        units, dim = list(request.expert_units), request.dim
        width = feature_map.sum_emb_out_dim()
        self.embedding_layer = FeatureEmbedding(feature_map, dim)
        self.experts = nn.ModuleList(MLP_Block(width, units) for _ in range(request.experts))
        self.gates = nn.ModuleList(nn.Linear(width, request.experts) for _ in range(tasks))
        self.towers = nn.ModuleList(
            MLP_Block(units[-1], list(request.tower_units), output_dim=1) for _ in range(tasks)
        )
        self.compile("adam", "binary_crossentropy", lr=1e-3)
        self.reset_parameters()
        self.model_to_device()

    def forward(self, inputs):
        """Predictions by label."""
        x = self.embedding_layer(self.get_inputs(inputs)).flatten(start_dim=1)
        experts = torch.stack([expert(x) for expert in self.experts], dim=1)  # (batch, experts, units)
        predictions = {}
        for k, label in enumerate(self.feature_map.labels):
            gate = torch.softmax(self.gates[k](x), dim=1).unsqueeze(2)
            mixed = torch.sum(gate * experts, dim=1)
            predictions[f"{label}_pred"] = self.output_activation[k](self.towers[k](mixed))
        return predictions


def _feature_map(request: Request, workload: Workload, folder: str) -> FeatureMap:
    features = [
        {name: {"source": "", "type": "categorical", "padding_idx": 0, "vocab_size": size}}
        for name, size in zip(workload.field_names, workload.sizes, strict=True)
    ]
    features += [{name: {"source": "", "type": "numeric"}} for name in workload.number_names]
    file = Path(folder) / "feature_map.json"
    content = {"dataset_id": DATASET, "labels": list(workload.labels), "features": features}
    file.write_text(json.dumps(content))
    feature_map = FeatureMap(DATASET, folder)
    feature_map.load(str(file), {"embedding_dim": request.dim})
    return feature_map


def _loader(request: Request, feature_map: FeatureMap, data: Path, shuffle: bool):
    return RankDataLoader(
        feature_map,
        stage="train",
        train_data=str(data),
        batch_size=request.batch,
        shuffle=shuffle,
        data_format="parquet" if data.suffix == ".parquet" else "npz",
    )[0]


def _stored(request: Request, columns: Columns, folder: str, rows: int | None = None) -> Path:
    """The workload as FuxiCTR keeps encoded data: its npz is ours; parquet is written from it."""
    stored = Path(request.folder) / "rows.npz"
    if request.options.get("loader") == "parquet":
        import polars as pl

        stored = Path(folder) / "rows.parquet"
        pl.DataFrame(dict(columns)).write_parquet(stored)
    elif rows is not None:
        stored = Path(folder) / "rows.npz"
        np.savez(stored, **columns)
    return stored


def train(request: Request, workload: Workload, columns: Columns, clock: Clock) -> None:
    """Its `fit` over its own loader."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        feature_map = _feature_map(request, workload, folder)
        model = MMoE(feature_map, request, folder)
        model.optimizer.register_step_post_hook(lambda *_: clock.step())
        loader = _loader(request, feature_map, _stored(request, columns, folder), True)
        model.fit(loader, epochs=ENDLESS)


def predict(request: Request, workload: Workload, columns: Columns):
    """Its own `predict` over its own loader."""
    folder = tempfile.mkdtemp()
    feature_map = _feature_map(request, workload, folder)
    model = MMoE(feature_map, request, folder)
    data = _stored(request, columns, folder, len(columns[workload.labels[0]]))
    loader = _loader(request, feature_map, data, False)
    return lambda: model.predict(loader)


def preprocess(request: Request) -> dict:
    """Its `build_dataset`: vocabularies and encoded parquet from the csv file."""
    source = Path(request.folder)
    workload = load(source)
    features = [
        {"name": list(workload.field_names), "active": True, "dtype": "str", "type": "categorical"},
        {"name": list(workload.number_names), "active": True, "dtype": "float", "type": "numeric"},
    ]
    labels = [{"name": name, "dtype": "float"} for name in workload.labels]
    with tempfile.TemporaryDirectory(dir=source) as folder:
        options = {
            "dataset_id": DATASET,
            "data_root": folder,
            "data_format": "csv",
            "train_data": str(source / "rows.csv"),
            "min_categr_count": 2,
        }
        start = time.perf_counter()
        encoder = FeatureProcessor(feature_cols=features, label_col=labels, **options)
        build_dataset(encoder, **options)
        seconds = time.perf_counter() - start
        ids = encoder.feature_map.total_features
    return {"rows_per_second": workload.rows / seconds, "seconds": seconds, "notes": {"ids": ids}}


def metrics(request: Request) -> dict:
    """Its gAUC and AUC."""
    labels, scores, group = scored_rows(request.options["rows"], request.options["groups"])
    start = time.perf_counter()
    evaluate_metrics(labels, scores, ["gAUC"], group)
    seconds = time.perf_counter() - start
    start = time.perf_counter()
    evaluate_metrics(labels, scores, ["AUC"])
    notes = {key: request.options[key] for key in ("rows", "groups")}
    return {
        "rows_per_second": len(labels) / seconds,
        "gauc_seconds": seconds,
        "auc_seconds": time.perf_counter() - start,
        "notes": notes,
    }


def _end_ray() -> None:
    """Its loader and its preprocessing start Ray, whose processes would stay."""
    import ray

    if ray.is_initialized():
        ray.shutdown()


if __name__ == "__main__":
    packages = ("fuxictr", "torch", "polars", "ray", "pyarrow", "pandas", "numpy")
    serve(packages, train, predict, {"preprocess": preprocess, "metrics": metrics}, _end_ray)
