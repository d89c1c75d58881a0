"""AUC of a whole training, by seed: fuxi_mtl as shipped, and a plain Keras model of the same equations."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.peers.ours import experiment_of
from benchmarks.peers.protocol import Request, serve
from benchmarks.workload import load
from fuxi_mtl.config import Experiment, load_experiment
from fuxi_mtl.dataset import Dataset, Split, load_dataset
from fuxi_mtl.evaluation.measure import predict
from fuxi_mtl.features import FeatureMap
from fuxi_mtl.metrics import auc
from fuxi_mtl.runs import Run
from fuxi_mtl.training.devices import use_devices
from fuxi_mtl.training.precision import use_precision
from fuxi_mtl.training.train import train
from fuxi_mtl.workflow.experiment import make_model

ROOT = Path(__file__).parent.parent.parent
CENSUS = "MMoE_default"  # of config/model_config/census_income.yaml


def quality(request: Request) -> dict[str, Any]:
    """The test AUC of each task for each seed."""
    use_devices([-1])
    experiment = _experiment(request)
    dataset = load_dataset(
        experiment.dataset, experiment.tasks, experiment.options.dataset_id, progress=False
    )
    test = dataset.test or dataset.valid
    labels = test.labels(experiment.tasks)
    run = {"plain": _plain, "plain_dense": _plain_dense, "ours": _ours}[request.options["variant"]]
    scores: dict[str, list[float]] = {task.name: [] for task in experiment.tasks}
    for seed in request.options["seeds"]:
        keras.utils.clear_session()  # forgets the precision too
        use_precision(request.precision)
        keras.utils.set_random_seed(seed)
        predictions = run(experiment.with_seed(seed), dataset, test)
        for name, values in scores.items():
            values.append(auc(labels[name], predictions[name]))
    return {"auc": scores, "seconds": 0.0, "notes": {"test_rows": test.rows}}


def _experiment(request: Request) -> Experiment:
    """As the stanza says, but to the end of the last epoch, with one evaluation there: the last weights."""
    if request.options["data"] == "census":
        os.chdir(ROOT)
        overrides = ["net_dropout=0", "embedding_regularizer=0", f"data_root={request.folder}"]
        overrides += [f"{key}={value}" for key, value in request.options.get("stanza", {}).items()]
        experiment = load_experiment(ROOT / "config", CENSUS, overrides)
    else:
        experiment = experiment_of(request, load(Path(request.folder)))
    changes = {"epochs": request.options["epochs"], "eval_steps": 10**12, "batch_size": request.batch}
    changes |= {"verbose": 0, "precision": request.precision}
    return replace(experiment, training=replace(experiment.training, **changes))


def _ours(experiment: Experiment, dataset: Dataset, test: Split) -> dict[str, np.ndarray]:
    model = make_model(experiment, dataset.feature_map)
    with tempfile.TemporaryDirectory() as folder:
        train(model, dataset, experiment, Run(Path(folder)))
    return predict(model, test, 8192)


class DenseAdam(keras.optimizers.Adam):
    """Adam on the gradients of whole tables; Keras's own squares a row's gradients before it adds them up."""

    def apply(self, grads, trainable_variables=None):
        """See Keras."""
        return super().apply([tf.convert_to_tensor(gradient) for gradient in grads], trainable_variables)


def _plain_dense(experiment: Experiment, dataset: Dataset, test: Split) -> dict[str, np.ndarray]:
    return _plain(experiment, dataset, test, DenseAdam)


def _plain(
    experiment: Experiment, dataset: Dataset, test: Split, optimizer: type = keras.optimizers.Adam
) -> dict[str, np.ndarray]:
    """Keras as its own guides teach it: `fit` on arrays, `Adam`."""
    names = [task.name for task in experiment.tasks]
    options = experiment.model_options
    model = plain_mmoe(
        dataset.feature_map,
        names,
        dim=options["embedding_dim"],
        experts=options["num_experts"],
        expert_units=options["expert_hidden_units"],
        tower_units=options["tower_hidden_units"],
    )
    model.compile(
        optimizer(experiment.optimizer.learning_rate),
        dict.fromkeys(names, "binary_crossentropy"),
    )
    training, split = experiment.training, dataset.train
    model.fit(
        _inputs(split),
        split.labels(experiment.tasks),
        batch_size=training.batch_size,
        epochs=training.epochs,
        verbose=0,
    )
    scores = model.predict(_inputs(test), batch_size=8192, verbose=0)
    return {name: values[:, 0] for name, values in scores.items()}


def _inputs(split: Split) -> dict[str, np.ndarray]:
    inputs = {"ids": np.asarray(split.ids), "numeric": np.asarray(split.numeric)}
    return {name: array for name, array in inputs.items() if array.shape[1]}


def plain_mmoe(
    features: FeatureMap,
    tasks: Sequence[str],
    *,
    dim: int,
    experts: int,
    expert_units: Sequence[int],
    tower_units: Sequence[int],
) -> keras.Model:
    """MMoE without any cleverness: a Keras `Embedding` a field, a stack of Keras `Dense` an expert."""
    layers = keras.layers
    ids = keras.Input((features.id_columns,), dtype="int32", name="ids")
    inputs, parts = {"ids": ids}, []
    for feature in features.features:
        if feature.has_ids:
            table = layers.Embedding(
                feature.vocab_size, dim, embeddings_initializer=keras.initializers.RandomNormal(stddev=0.01)
            )
            parts.append(layers.Flatten()(table(ids[:, feature.columns])))
    if features.numeric_columns:
        inputs["numeric"] = keras.Input((features.numeric_columns,), name="numeric")
        parts.append(inputs["numeric"])
    x = layers.Concatenate()(parts)
    outputs = [_dense(x, expert_units) for _ in range(experts)]
    stacked = keras.ops.stack(outputs, axis=1)  # (batch, experts, units)
    heads = {}
    for name in tasks:
        gate = layers.Dense(experts, activation="softmax")(x)
        mixed = layers.Dot(axes=(1, 1))([gate, stacked])
        heads[name] = layers.Dense(1, activation="sigmoid", name=name)(_dense(mixed, tower_units))
    return keras.Model(inputs, heads)


def _dense(x, units: Sequence[int]):
    for unit in units:
        x = keras.layers.Dense(unit, activation="relu")(x)
    return x


if __name__ == "__main__":
    serve(("fuxi-mtl", "tensorflow", "keras", "numpy"), others={"quality": quality})
