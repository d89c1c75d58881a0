"""fuxi_mtl by its own modules: a stanza, the encoded dataset, `make_model`, `train` and `predict`.

What `run_expid.py` does, with a clock that reads each call of the graph.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from fuxi_mtl.cli.startup import quiet_start

with quiet_start():  # as the command line starts Keras
    import keras
    import numpy as np
    import yaml

    from fuxi_mtl.registry import import_zoo

    import_zoo()
    from benchmarks.peers.protocol import ENDLESS, Clock, Finished, Request, scored_rows, serve
    from benchmarks.workload import Columns, Workload, load
    from fuxi_mtl.config import Experiment, load_experiment
    from fuxi_mtl.dataset import Dataset, Split, load_dataset, training_batches
    from fuxi_mtl.evaluation.measure import predict as predict_split
    from fuxi_mtl.metrics import auc, gauc
    from fuxi_mtl.model import MultiTaskModel
    from fuxi_mtl.options import FeatureOptions
    from fuxi_mtl.runs import Run
    from fuxi_mtl.training import loop
    from fuxi_mtl.training.devices import use_devices
    from fuxi_mtl.training.precision import use_precision
    from fuxi_mtl.training.train import train as train_model
    from fuxi_mtl.workflow.experiment import make_model

EXPID = "MMoE_benchmark"
DATASET = "benchmark"


def experiment_of(request: Request, workload: Workload) -> Experiment:
    """The experiment of the stanzas that a user would write for this workload."""
    folder = Path(request.folder)
    config = folder / "config"
    config.mkdir(exist_ok=True)
    stanzas = {"dataset": {DATASET: _dataset_stanza(workload, folder)}, "model": {EXPID: _stanza(request)}}
    for name, stanza in stanzas.items():
        partial = config / f"partial-{os.getpid()}"
        partial.write_text(yaml.safe_dump(stanza, sort_keys=False))
        partial.replace(config / f"{name}_config.yaml")
    return load_experiment(config, EXPID)


def _dataset_stanza(workload: Workload, folder: Path) -> dict[str, Any]:
    ids = [
        {"name": name, "type": "categorical", "dtype": "int", "remap": False, "vocab_size": size}
        for name, size in zip(workload.field_names, workload.sizes, strict=True)
    ]
    return {
        "data_root": str(folder / "encoded"),
        "data_format": "npz",
        "train_data": str(folder / "rows.npz"),
        "valid_data": str(folder / "held.npz"),
        "feature_cols": [
            *ids,
            {"name": list(workload.number_names), "type": "numeric", "dtype": "float"},
        ],
        "label_col": [{"name": name, "dtype": "float"} for name in workload.labels],
    }


def _stanza(request: Request) -> dict[str, Any]:
    return request.options.get("stanza", {}) | {
        "model": "MMoE",
        "dataset_id": DATASET,
        "loss_weight": request.loss_weight,
        "optimizer": "adam",
        "learning_rate": 1e-3,
        "embedding_dim": request.dim,
        "embedding_regularizer": 0,
        "num_experts": request.experts,
        "expert_hidden_units": list(request.expert_units),
        "tower_hidden_units": list(request.tower_units),
        "batch_size": request.batch,
        "eval_batch_size": request.batch,
        "epochs": ENDLESS,
        "eval_steps": 10**12,  # never: the peers do not measure their models in between either
        "monitor": "AUC",
        "precision": request.precision,
        "verbose": 0,
        **request.options.get("stanza", {}),
    }


def _opened(request: Request) -> tuple[Experiment, Dataset]:
    experiment = experiment_of(request, load(Path(request.folder)))
    return experiment, load_dataset(experiment.dataset, experiment.tasks, DATASET, progress=False)


def train(request: Request, workload: Workload, columns: Columns, clock: Clock) -> None:
    """`fuxi_mtl.training.train.train`, left by the clock."""
    use_devices([-1])
    keras.utils.clear_session()
    use_precision(request.precision)
    experiment, dataset = _opened(request)
    _read(dataset.train)
    keras.utils.set_random_seed(experiment.training.seed)
    model = make_model(experiment, dataset.feature_map)
    with tempfile.TemporaryDirectory() as folder, _clocked(clock):
        train_model(model, dataset, experiment, Run(Path(folder)))


def _read(split: Split) -> None:
    """Has the mapped files in memory, where the others have loaded theirs before the clock starts."""
    for array in (split.ids, split.numeric, split.events):
        array.sum(dtype=np.float64)


@contextlib.contextmanager
def _clocked(clock: Clock) -> Iterator[None]:
    """Inside, each call of the graph, which stands for several steps, moves the clock."""
    make = loop.steps_at_once

    def made(model: MultiTaskModel) -> Any:
        function, done = make(model), 0

        def stepping(batches: Any) -> Any:
            nonlocal done
            logs = function(batches)
            done += model.steps_per_execution
            clock.tick(done)
            return logs

        return stepping

    with patch.object(loop, "steps_at_once", made):
        yield


def predict(request: Request, workload: Workload, columns: Columns):
    """`fuxi_mtl.evaluation.measure.predict` on the encoded split, as evaluation does it."""
    count = len(columns[workload.labels[0]])
    use_devices([-1])
    use_precision(request.precision)
    experiment, dataset = _opened(request)
    model = make_model(experiment, dataset.feature_map)
    split = dataset.train
    first = replace(split, ids=split.ids[:count], numeric=split.numeric[:count], events=split.events[:count])
    _read(first)
    return lambda: predict_split(model, first, request.batch)


def encode(request: Request) -> dict[str, Any]:
    """Encodes the workload once, so that no measurement does."""
    start = time.perf_counter()
    _, dataset = _opened(request)
    return {"rows": dataset.train.rows, "seconds": time.perf_counter() - start}


def shuffled_input(request: Request) -> dict[str, Any]:
    """Batches as the training takes them, without a model."""
    experiment, dataset = _opened(request)
    batches = iter(
        training_batches(dataset.train, experiment.tasks, request.batch, epochs=ENDLESS, shuffle=True, seed=1)
    )
    clock = Clock(request)
    for _ in _until_finished(clock, batches):
        pass
    return {"rows_per_second": clock.steps * request.batch / clock.seconds, "seconds": clock.seconds}


def _until_finished(clock: Clock, batches: Iterator) -> Iterator:
    with contextlib.suppress(Finished):
        for batch in batches:
            clock.step()
            yield batch


def preprocess(request: Request) -> dict[str, Any]:
    """From the csv file to an encoded dataset with vocabularies, in a new folder."""
    folder = Path(request.folder)
    workload = load(folder)
    experiment = experiment_of(request, workload)
    texts = FeatureOptions(name=list(workload.field_names), type="categorical", dtype="str")
    numbers = [f for f in experiment.dataset.feature_cols if f.type == "numeric"]
    with tempfile.TemporaryDirectory(dir=folder) as encoded:
        options = replace(
            experiment.dataset,
            data_root=encoded,
            data_format="csv",
            train_data=str(folder / "rows.csv"),
            valid_data=None,
            feature_cols=[texts, *numbers],
            min_categr_count=2,
        )
        start = time.perf_counter()
        dataset = load_dataset(options, experiment.tasks, "csv", progress=False)
        seconds = time.perf_counter() - start
        ids = dataset.feature_map.total_features - 2 * workload.fields
        rows = dataset.train.rows
    return {"rows_per_second": rows / seconds, "seconds": seconds, "notes": {"ids": ids}}


def metrics(request: Request) -> dict[str, Any]:
    """AUC and gAUC of random scores."""
    rows, groups = request.options["rows"], request.options["groups"]
    labels, scores, group = scored_rows(rows, groups)
    gauc_seconds, value = _timed(lambda: gauc(labels, scores, group).value)
    auc_seconds, _ = _timed(lambda: auc(labels, scores))
    notes = {"rows": rows, "groups": groups, "gauc": value}
    return {
        "rows_per_second": rows / gauc_seconds,
        "gauc_seconds": gauc_seconds,
        "auc_seconds": auc_seconds,
        "notes": notes,
    }


def _timed(function: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    value = function()
    return time.perf_counter() - start, value


if __name__ == "__main__":
    serve(
        ("fuxi-mtl", "tensorflow", "keras", "numpy", "polars"),
        train,
        predict,
        {"encode": encode, "input": shuffled_input, "preprocess": preprocess, "metrics": metrics},
    )
