"""On which columns of the embeddings' output gradients are compared."""

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny

from fuxi_mtl import DRJL, DeepFM_MMoE, M3oE, MMoE, NaiveIPW, SingleTask
from fuxi_mtl.config import load_resolved
from fuxi_mtl.dataset import Encoder
from fuxi_mtl.features import FeatureMap, assign_columns
from fuxi_mtl.runs import Run
from fuxi_mtl.surgery import Surgery
from fuxi_mtl.training.step_plan import StepPlan
from fuxi_mtl.training.train import compile_model
from fuxi_mtl.weighting import GradNorm
from fuxi_mtl.workflow.experiment import make_model

BARE = ("price", "vector")


def made(cls: type, columns: str = "learnt", features: FeatureMap = tiny.FEATURES, **options):
    tasks = next(iter(tiny.plans(cls).values()))
    model = cls(features, tasks, **tiny.options_of(cls))
    model.compile(keras.optimizers.SGD(0.1), representation_columns=columns, run_eagerly=True, **options)
    return model, tiny.batch(tasks)


def losses(model, heads, batch):
    _, labels, weight = batch
    return {each.name: each.loss(heads, labels, weight)[0] for each in model.objectives()}


def gradients(model, batch):
    """``{objective: gradient}`` on the whole output of the embeddings."""
    found = {}
    for name in model.objective_names(model.tasks):
        with tf.GradientTape() as tape:
            x = model.embed(batch[0])
            tape.watch(x)
            loss = losses(model, model.heads(x, training=True), batch)[name]
        found[name] = tape.gradient(loss, x)
    return found


def learnt(layer) -> list[int]:
    return [c for name, (a, b) in layer.column_ranges.items() if name not in BARE for c in range(a, b)]


@pytest.mark.parametrize("cls", [MMoE, SingleTask, M3oE, DeepFM_MMoE, NaiveIPW, DRJL])
def test_bare_numbers_do_not_count_and_the_heads_stay_what_they_are(cls):
    model, batch = made(cls)
    with tf.GradientTape() as tape:
        counts, heads = model(batch[0], representation=True)
        total = tf.add_n([tf.reduce_sum(head) for head in heads.values()])
    for name, head in model(batch[0]).items():
        np.testing.assert_array_equal(heads[name], head)
    whole, layers = model.embed(batch[0]), model.embedding_layers()
    parts = [(counts, whole, layers)] if cls is MMoE else [(counts[n], whole[n], layers[n]) for n in layers]
    for part, x, layer in parts:
        assert len(learnt(layer)) == x.shape[1] - 3  # a price and a vector of two
        np.testing.assert_array_equal(tf.concat(part, axis=1), tf.gather(x, learnt(layer), axis=1))
    assert any(gradient is not None for gradient in tape.gradient(total, tf.nest.flatten(counts)))


@pytest.mark.parametrize("columns", ["all", "learnt"])
def test_gradnorm_and_surgery_see_the_columns_that_were_chosen(columns):
    names, seen = ("click", "buy"), []

    def solve(gram, names, step):
        seen.append(gram)
        return np.ones(2)

    options = {"weighting": GradNorm(dict.fromkeys(names, "binary")), "surgery": Surgery(names, solve)}
    model, batch = made(MMoE, columns, **options)
    model.shared_variables = list  # as in a model without a shared layer
    single = gradients(model, batch)
    chosen = learnt(model.embedding) if columns == "learnt" else slice(None)
    rows = np.stack([single[name].numpy()[:, chosen].ravel() for name in names])
    logs = model.train_step(batch)
    norms = [float(logs[f"norm_{name}"]) for name in names]
    np.testing.assert_allclose(norms, np.linalg.norm(rows, axis=1), rtol=1e-4)
    weights = np.array([float(logs[f"weight_{name}"]) for name in names])
    np.testing.assert_allclose(seen[0], rows @ rows.T * np.outer(weights, weights), rtol=1e-3)


def test_vectors_that_are_frozen_do_not_count():
    user, *others = tiny.FEATURES.features
    features = FeatureMap("frozen", assign_columns([replace(user, trainable=False), *others]))
    model, batch = made(MMoE, features=features)
    counts, _ = model(batch[0], representation=True)
    first, last = model.embedding.column_ranges["user"]
    assert sum(part.shape[1] for part in counts) == model.embed(batch[0]).shape[1] - 3 - (last - first)


def test_without_a_trained_vector_there_is_nothing_to_look_at():
    numbers = [each for each in tiny.FEATURES.features if each.name in BARE]
    model, batch = made(MMoE, features=FeatureMap("numbers", assign_columns(numbers)))
    with pytest.raises(ValueError, match="looks at trained embeddings, and no feature has one: use all"):
        model({"numeric": batch[0]["numeric"][:, :3]}, representation=True)


class Parted(MMoE):
    """A model of a user's own that gives its embeddings in parts, and does not say whose."""

    def embed(self, inputs):
        return {"own": self.embedding(inputs)}


def test_a_model_that_gives_parts_must_say_whose_they_are():
    model, batch = made(MMoE)
    model.__class__ = Parted
    with pytest.raises(ValueError, match=r"learnt needs the embeddings in what Parted.embed gives"):
        model(batch[0], representation=True)


@pytest.mark.parametrize("columns", ["all", "learnt"])
def test_a_stanza_chooses_the_columns(columns):
    run = Run(Path(__file__).parents[1] / "cli" / "old_runs" / "runs" / "shop" / "MMoE_weighted" / "seed_1")
    stanza = load_resolved(run.config, "MMoE_weighted")  # which does not name them
    if columns == "learnt":
        stanza = replace(stanza, surgery=replace(stanza.surgery, representation_columns="learnt"))
    model = make_model(stanza, Encoder.load(run.features).feature_map)
    compile_model(model, stanza, StepPlan.of(400, stanza))
    assert model.representation_columns == columns
