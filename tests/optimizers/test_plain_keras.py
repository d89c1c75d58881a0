"""Row optimizers in a Keras model of the user's own: fit, save, load, go on."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny

from fuxi_mtl.layers import MLP, FeatureEmbedding
from fuxi_mtl.objectives import WeightedCrossEntropy
from fuxi_mtl.optimizers import (
    DeferredUpdates,
    DenseEquivalentAdam,
    LazyAdam,
    RowAdagrad,
    RowFtrl,
    RowSGD,
    RowWiseAdagrad,
    SplitOptimizer,
    WarmUpThenDecay,
    with_rows,
)
from fuxi_mtl.options import LearningRateOptions

pytestmark = pytest.mark.usefixtures("graphs_as_traced")

PLAN = LearningRateOptions(type="step", warmup_steps=2, step_milestones=[5])
INPUTS, LABELS = tiny.inputs(24), tiny.events(24)["buy"]


def model_of(optimizer, penalty=None) -> keras.Model:
    keras.utils.set_random_seed(0)
    embedding = FeatureEmbedding(tiny.FEATURES, 4, penalty)
    inputs = embedding.keras_inputs()
    hidden = MLP([6], activations="tanh", batch_norm=True)(embedding(inputs))
    model = keras.Model(inputs, keras.layers.Dense(1, dtype="float32")(hidden))
    model.compile(optimizer=optimizer, loss=WeightedCrossEntropy())
    return model


def fit(model, **options):
    return model.fit(INPUTS, LABELS, batch_size=8, shuffle=False, verbose=0, **options)


OPTIMIZERS = {
    "lazy Adam beside AdamW, clipped": lambda: SplitOptimizer(
        keras.optimizers.AdamW(0.01), LazyAdam(0.02, beta_1=0.8), global_clipnorm=0.1
    ),
    "row-wise Adagrad beside a plan, tables not clipped": lambda: SplitOptimizer(
        keras.optimizers.SGD(WarmUpThenDecay(0.1, PLAN, 9)), RowWiseAdagrad(0.1), 0.1, clips_tables=False
    ),
    "rows that catch up": lambda: SplitOptimizer(keras.optimizers.Adam(0.02), DenseEquivalentAdam(0.02)),
    "Adagrad's counterpart": lambda: with_rows(keras.optimizers.Adagrad(0.1)),
    "rows alone": lambda: LazyAdam(0.02, second_moment="sum_of_squares"),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_goes_on_from_a_keras_file_as_if_it_had_not_been_interrupted(name, tmp_path):
    model = model_of(OPTIMIZERS[name](), None if name == "rows alone" else 1e-2)
    fit(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.optimizer.get_config() == model.optimizer.get_config()
    for each in (model, loaded):
        fit(each, epochs=2)
    assert len(model.optimizer.variables) == len(loaded.optimizer.variables)
    for one, other in zip(
        [*model.weights, *model.optimizer.variables],
        [*loaded.weights, *loaded.optimizer.variables],
        strict=True,
    ):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_the_penalty_moves_the_rows_of_the_batch_and_no_others():
    """Under descent and a loss without a gradient a row w that is looked up becomes w - rate (l2 w)."""
    model = model_of(SplitOptimizer(keras.optimizers.SGD(0.0), RowSGD(0.5)), penalty=0.1)
    tables = [variable for variable in model.trainable_variables if "table" in variable.path]
    before = [table.numpy() for table in tables]
    model.fit(INPUTS, np.full(24, np.nan), batch_size=24, verbose=0)
    for old, table in zip(before, tables, strict=True):
        change = table.numpy() / np.where(old, old, 1)
        moved = (table.numpy() != old).any(axis=1)
        assert moved.any()
        assert not moved.all()
        np.testing.assert_allclose(change[moved], 1 - 0.5 * 0.1, rtol=1e-5)


class Densified(keras.optimizers.Adam):
    """Keras's Adam given whole tables, where repeated ids are sums."""

    def apply(self, grads, trainable_variables=None):
        super().apply([tf.convert_to_tensor(g) for g in grads], trainable_variables)


def test_rows_that_catch_up_are_evaluated_and_predict_as_under_dense_adam():
    caught = model_of(SplitOptimizer(keras.optimizers.Adam(0.02), DenseEquivalentAdam(0.02)))
    dense = model_of(Densified(0.02))
    validation = (tiny.inputs(16, seed=5), tiny.events(16, seed=5)["buy"])
    losses = [
        fit(model, epochs=4, validation_data=validation, callbacks=[DeferredUpdates()]).history
        for model in (caught, dense)
    ]
    for key in ("loss", "val_loss"):
        np.testing.assert_allclose(losses[0][key], losses[1][key], rtol=1e-3)
    assert float(caught.optimizer.rows._now) == 0
    found, expected = (
        model.predict(tiny.inputs(16), verbose=0, callbacks=[DeferredUpdates()]) for model in (caught, dense)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("rule", [LazyAdam, RowAdagrad, RowWiseAdagrad, RowSGD, RowFtrl, DenseEquivalentAdam])
def test_a_rule_of_rows_survives_serialization(rule):
    optimizer = rule(0.25, second_moment="sum_of_squares")
    copy = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert type(copy) is rule
    assert copy.get_config() == optimizer.get_config()


@pytest.mark.parametrize(
    ("optimizer", "penalty", "message"),
    [
        (LazyAdam, 0.1, r"LazyAdam alone does not add the penalty.*SplitOptimizer\(dense, LazyAdam"),
        (RowWiseAdagrad, None, "RowWiseAdagrad alone moves tables only"),
        (DenseEquivalentAdam, None, "DenseEquivalentAdam alone moves tables only"),
    ],
)
def test_what_a_rule_of_rows_cannot_do_alone_is_an_error(optimizer, penalty, message):
    model = model_of(optimizer(0.1), penalty)
    with pytest.raises(ValueError, match=message):
        fit(model)
