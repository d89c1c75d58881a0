"""One step of training: what enters it, with which weight, under every precision and on two devices."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny

from fuxi_mtl import ESMM, MMoE, ShareBottom, SingleTask
from fuxi_mtl.layers import FeatureEmbedding, Towers
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.tasks import Task
from fuxi_mtl.weighting import Equal, GradNorm, Manual, Uncertainty

TASKS = tiny.PLAIN["regression"]
KINDS = {"click": "binary", "watch": "regression"}


def make(cls=ShareBottom, tasks=TASKS, seed=3, **options):
    keras.utils.set_random_seed(seed)
    options = {"embedding_regularizer": 0, **options}
    model = cls(tiny.FEATURES, tasks, **(tiny.options_of(cls) | options))
    model.build()
    return model


def sgd_step(model, batch, weighting, rate=1.0):
    """How far one step of plain gradient descent moves each variable, divided by the rate."""
    model.compile(keras.optimizers.SGD(rate), weighting, run_eagerly=True)
    before = [v.numpy() for v in model.trainable_variables]
    logs = model.train_step(batch)
    moved = [(old - v.numpy()) / rate for old, v in zip(before, model.trainable_variables, strict=True)]
    return moved, {name: float(value) for name, value in logs.items()}


def gradients_of(model, batch):
    """Gradients of each loss, computed apart from the step, as dense arrays."""
    inputs, labels, sample_weight = batch
    found = {}
    for objective in model.objectives():
        with tf.GradientTape() as tape:
            loss, _ = objective.loss(model(inputs, training=True), labels, sample_weight)
        gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
        found[objective.name] = [0.0 if g is None else tf.convert_to_tensor(g).numpy() for g in gradients]
    return found


def assert_all_close(found, expected, rtol=1e-4, atol=1e-6):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, np.broadcast_to(other, one.shape), rtol=rtol, atol=atol)


# ---- the weights of the step --------------------------------------------------------------------


def test_a_step_is_the_weighted_sum_of_the_gradients():
    model, batch = make(), tiny.batch(TASKS)
    single = gradients_of(model, batch)
    moved, logs = sgd_step(model, batch, Manual(KINDS, {"click": 2.0, "watch": 0.25}))
    expected = [2 * c + 0.25 * w for c, w in zip(single["click"], single["watch"], strict=True)]
    assert_all_close(moved, expected)
    assert logs["loss"] == pytest.approx(2 * logs["loss_click"] + 0.25 * logs["loss_watch"])
    assert (logs["weight_click"], logs["weight_watch"]) == (2, 0.25)


def test_a_step_uses_the_weights_after_the_weightings_update():
    model, batch = make(), tiny.batch(TASKS)
    single = gradients_of(model, batch)
    weighting = Uncertainty(KINDS, uw_lr=0.5)
    moved, logs = sgd_step(model, batch, weighting)
    weights = {name: float(weight) for name, weight in weighting.weights().items()}
    assert weights["click"] != 1
    expected = [weights["click"] * c + weights["watch"] * w for c, w in zip(*single.values(), strict=True)]
    assert_all_close(moved, expected)
    assert logs["weight_click"] == pytest.approx(weights["click"])


@pytest.mark.parametrize("cls", [ShareBottom, MMoE])
def test_gradnorm_measures_each_loss_on_the_last_shared_layer(cls):
    model, batch = make(cls), tiny.batch(TASKS)
    places = [
        i for i, v in enumerate(model.trainable_variables) if any(v is s for s in model.shared_variables())
    ]
    assert len(places) == len(model.shared_variables()) > 0
    single = gradients_of(model, batch)
    _, logs = sgd_step(model, batch, GradNorm(KINDS))
    for name, gradients in single.items():
        expected = np.sqrt(sum((gradients[i] ** 2).sum() for i in places))
        assert logs[f"norm_{name}"] == pytest.approx(expected, rel=1e-4)


def test_gradnorm_measures_on_the_embeddings_where_no_layer_is_shared():
    tasks = tiny.plans(ESMM)["two"]
    model, batch = make(ESMM, tasks), tiny.batch(tasks)
    assert model.shared_variables() == []
    x = model.embed(batch[0])
    for objective in model.objectives():
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss, _ = objective.loss(model.heads(x), *batch[1:])
        expected = float(tf.norm(tape.gradient(loss, x)))
        _, logs = sgd_step(model, batch, GradNorm(dict.fromkeys(["ctr", "ctcvr"], "binary")), rate=1e-9)
        assert logs[f"norm_{objective.name}"] == pytest.approx(expected, rel=1e-4)


def test_gradnorm_measures_private_networks_on_their_own_embeddings():
    model, batch = make(SingleTask), tiny.batch(TASKS)
    _, logs = sgd_step(model, batch, GradNorm(KINDS))
    assert logs["norm_click"] > 0
    assert logs["norm_watch"] > 0


def test_norms_are_logged_only_where_they_are_used():
    model = make()
    _, logs = sgd_step(model, tiny.batch(TASKS), Equal(KINDS))
    assert set(logs) == {"loss", "loss_click", "loss_watch", "weight_click", "weight_watch"}


def test_a_fully_masked_objective_leaves_everything_as_without_it():
    inputs, labels, ones = tiny.batch(TASKS)
    labels = {**labels, "watch": tf.fill([32], np.nan)}
    for weighting in (Equal(KINDS), Uncertainty(KINDS), GradNorm(KINDS)):
        model = make()
        moved, logs = sgd_step(model, (inputs, labels, ones), weighting)
        assert all(np.isfinite(change).all() for change in moved)
        assert logs["loss_watch"] == 0
        untouched = [m for m, v in zip(moved, model.trainable_variables, strict=True) if "watch" in v.path]
        assert untouched
        assert all((change == 0).all() for change in untouched)


def test_sample_weights_may_be_left_out():
    inputs, labels, ones = tiny.batch(TASKS)
    with_ones, _ = sgd_step(make(), (inputs, labels, ones), Equal(KINDS))
    without, _ = sgd_step(make(), (inputs, labels), Equal(KINDS))
    assert_all_close(without, with_ones, rtol=1e-6)


def test_a_row_of_weight_two_counts_as_two_rows():
    inputs, labels, _ = tiny.batch(TASKS, rows=8)
    twice = [0, *range(8)]
    weights = tf.constant([2.0] + [1.0] * 7)
    doubled, _ = sgd_step(
        make(),
        (
            {k: tf.gather(v, twice) for k, v in inputs.items()},
            {k: tf.gather(v, twice) for k, v in labels.items()},
        ),
        Equal(KINDS),
    )
    weighted, _ = sgd_step(make(), (inputs, labels, weights), Equal(KINDS))
    assert_all_close(weighted, doubled)


# ---- penalties ----------------------------------------------------------------------------------

NOTHING = {"click": 0.0, "watch": 0.0}


def test_penalties_of_kernels_stand_outside_the_weighting():
    model = make(net_regularizer="l2(0.1)")
    before = [v.numpy() for v in model.trainable_variables]
    moved, _ = sgd_step(model, tiny.batch(TASKS), Manual(KINDS, NOTHING))
    for variable, old, change in zip(model.trainable_variables, before, moved, strict=True):
        expected = 0.1 * old if "kernel" in variable.path else 0 * old
        np.testing.assert_allclose(change, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("cls", [ShareBottom, SingleTask])
def test_the_embedding_penalty_touches_the_rows_of_the_batch_once(cls):
    model, batch = make(cls, embedding_regularizer="l1_l2(0.01,0.5)"), tiny.batch(TASKS, rows=4)
    before = [v.numpy() for v in model.trainable_variables]
    moved, _ = sgd_step(model, batch, Manual(KINDS, NOTHING))
    user = tf.unique(batch[0]["ids"][:, 0])[0].numpy()
    for variable, old, change in zip(model.trainable_variables, before, moved, strict=True):
        if "table_4" in variable.path:  # rows 0 to 11 are the users', as they come first
            inside = np.isin(np.arange(12), user)
            expected = 0.01 * np.sign(old) + 0.5 * old
            np.testing.assert_allclose(change[:12][inside], expected[:12][inside], rtol=1e-4, atol=1e-7)
            assert (change[:12][~inside] == 0).all()
        elif "table" not in variable.path:
            assert (change == 0).all()


def test_two_embeddings_may_have_different_penalties():
    class TwoTables(SingleTask):
        def __init__(self, features, tasks):
            options = {"embedding_dim": 4, "tower_hidden_units": [4], "embedding_regularizer": 0.0}
            super().__init__(features, tasks, **options)
            self.private_embeddings = [FeatureEmbedding(features, 4, penalty) for penalty in (0.5, 0.0)]

    keras.utils.set_random_seed(0)
    model = TwoTables(tiny.FEATURES, TASKS)
    model.build()
    moved, _ = sgd_step(model, tiny.batch(TASKS), Manual(KINDS, NOTHING))
    for embedding, penalised in zip(model.private_embeddings, (True, False), strict=True):
        for table in embedding.trainable_variables:
            (i,) = (i for i, v in enumerate(model.trainable_variables) if v is table)
            assert (moved[i] != 0).any() == penalised


class Noisy(MultiTaskModel):
    """A user's model that leaves much to Keras: it passes no `training`, and adds a loss as it goes."""

    def __init__(self, features, tasks):
        super().__init__(features, tasks)
        self.embedding = FeatureEmbedding(features, 4)
        self.dropout = keras.layers.Dropout(0.5)
        self.towers = Towers([task.name for task in tasks], [4])

    def heads(self, x, training=False):
        self.add_loss(0.0 * tf.reduce_sum(x) + 7.0)
        return self.towers(self.dropout(x))


def test_keras_tells_layers_whether_they_train():
    keras.utils.set_random_seed(0)
    model = Noisy(tiny.FEATURES, TASKS)
    model.build()
    inputs = tiny.tensors(tiny.inputs())
    first, second = (model(inputs, training=True)["click"].numpy() for _ in range(2))
    assert (first != second).any()
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    losses = {float(model.train_step(tiny.batch(TASKS))["loss"]) for _ in range(2)}
    assert len(losses) == 2


@pytest.mark.parametrize("eager", [True, False])
def test_losses_that_layers_add_enter_each_step_once(eager):
    keras.utils.set_random_seed(0)
    model = Noisy(tiny.FEATURES, TASKS)
    model.compile(keras.optimizers.SGD(0.0), Manual(KINDS, NOTHING), run_eagerly=eager)
    batches = tf.data.Dataset.from_tensors(tiny.batch(TASKS)).repeat(4)
    history = model.fit(batches, epochs=2, steps_per_epoch=2, verbose=0, shuffle=False).history
    assert history["loss"] == [7, 7]


# ---- what can go wrong --------------------------------------------------------------------------


@pytest.mark.parametrize("eager", [True, False])
def test_a_loss_that_is_not_finite_names_its_objective(eager):
    inputs, labels, ones = tiny.batch(TASKS)
    model = make()
    model.compile(keras.optimizers.SGD(1.0), run_eagerly=eager)
    batch = (inputs, {**labels, "watch": tf.fill([32], np.inf)}, ones)
    before = [v.numpy() for v in model.trainable_variables]
    with pytest.raises(tf.errors.InvalidArgumentError, match="objective watch"):
        model.fit(tf.data.Dataset.from_tensors(batch), verbose=0, shuffle=False)
    assert_all_close([v.numpy() for v in model.trainable_variables], before, rtol=0, atol=0)


def test_a_weighting_for_other_objectives_is_an_error():
    with pytest.raises(ValueError, match="the weighting is for a, but the objectives are click, watch"):
        make().compile(weighting=Equal({"a": "binary"}))


def test_a_model_must_say_what_its_heads_are():
    with pytest.raises(NotImplementedError, match=r"Bare must define heads\(x, training\)"):
        type("Bare", (MultiTaskModel,), {})(tiny.FEATURES, TASKS).heads(None)


# ---- evaluation ---------------------------------------------------------------------------------


def test_heads_of_another_shape_are_refused_before_they_are_held_against_every_label():
    class Column(Noisy):
        def heads(self, x, training=False):
            return {name: head[:, None] for name, head in super().heads(x, training=training).items()}

    said = r"Column: heads\(\) gives 'click' as \(batch, 1\); it needs \(batch\)\. Squeeze its last axis\."
    with pytest.raises(ValueError, match=said):
        Column(tiny.FEATURES, TASKS).build()


def test_t2_evaluation_and_prediction_do_not_train():
    model = make(net_dropout=0.5, batch_norm=True)
    model.compile("sgd")
    data = tf.data.Dataset.from_tensors(tiny.batch(TASKS))
    before = [v.numpy() for v in model.variables]
    first, second = (model.evaluate(data, verbose=0, return_dict=True) for _ in range(2))
    assert first == second
    predictions = [model.predict(data.map(lambda x, *_: x), verbose=0) for _ in range(2)]
    for task in TASKS:
        np.testing.assert_array_equal(predictions[0][task.name], predictions[1][task.name])
    after = [v.numpy() for v in model.variables]
    changed = [v.path for v, a, b in zip(model.variables, before, after, strict=True) if (a != b).any()]
    assert all("moving" not in path and "kernel" not in path for path in changed)


def test_predictions_are_probabilities_or_values_by_task():
    model = make()
    model.compile("sgd")
    inputs = tiny.inputs(5)
    heads = model(tiny.tensors(inputs))
    predictions = model.predict(inputs, verbose=0)
    np.testing.assert_allclose(predictions["click"], 1 / (1 + np.exp(-heads["click"].numpy())), rtol=1e-5)
    np.testing.assert_allclose(predictions["watch"], heads["watch"].numpy(), rtol=1e-5)


def test_batches_without_a_row_do_not_dilute_the_logged_loss():
    model = make(tasks=TASKS)
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    inputs, labels, ones = tiny.batch(TASKS)
    once = float(model.train_step((inputs, labels, ones))["loss_watch"])
    empty = {**labels, "watch": tf.fill([32], np.nan)}
    assert float(model.train_step((inputs, empty, ones))["loss_watch"]) == pytest.approx(once)


# ---- precision ----------------------------------------------------------------------------------


@pytest.fixture
def policy(request):
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"], indirect=True)
@pytest.mark.parametrize("cls", [ShareBottom, MMoE, ESMM])
def test_mixed_precision_gives_float32_heads_and_a_finite_step(policy, cls):
    tasks = tiny.plans(cls)["two"]
    model, batch = make(cls, tasks, net_regularizer=1e-3), tiny.batch(tasks)
    heads = model(batch[0])
    assert {head.dtype for head in heads.values()} == {tf.float32}
    assert {v.dtype for v in model.trainable_variables} == {"float32"}
    optimizer = keras.optimizers.Adam(0.01, global_clipnorm=10.0)
    if policy == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    model.compile(optimizer, GradNorm({o.name: o.kind for o in model.objectives()}), run_eagerly=True)
    before = [v.numpy() for v in model.trainable_variables]
    logs = model.train_step(batch)
    assert all(np.isfinite(float(value)) for value in logs.values())
    assert all(float(logs[f"norm_{o.name}"]) > 0 for o in model.objectives())
    for variable, old in zip(model.trainable_variables, before, strict=True):
        assert np.isfinite(variable.numpy()).all()
        assert (variable.numpy() != old).any(), variable.path


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"], indirect=True)
def test_mixed_precision_starts_where_float32_does(policy):
    batch = tiny.batch(TASKS)
    mixed = make()(batch[0])
    keras.config.set_dtype_policy("float32")
    exact = make()(batch[0])
    for name in exact:
        np.testing.assert_allclose(mixed[name], exact[name], atol=0.02)


def test_a_task_may_have_a_name_unlike_its_label():
    tasks = (Task("ctr", ("click",)), Task("minutes", ("watch",), kind="regression"))
    moved, logs = sgd_step(make(tasks=tasks), tiny.batch(tasks), None)
    assert {"loss_ctr", "loss_minutes"} < set(logs)
    assert any((change != 0).any() for change in moved)


def test_a_weighting_hears_nothing_of_an_objective_without_rows():
    losses, rows = ({"a": tf.constant(x), "b": tf.constant(y)} for x, y in ((2.0, 0.0), (3.0, 0.0)))
    seen = make().observed(losses, rows)
    assert seen["a"].numpy() == 2
    assert np.isnan(seen["b"].numpy())
