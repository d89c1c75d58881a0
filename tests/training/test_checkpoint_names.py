"""A checkpoint holds every feature's rows and every variable under a name, and they find their way back."""

from dataclasses import replace

import h5py
import keras
import numpy as np
import pytest
import tiny

from fuxi_mtl import ShareBottom
from fuxi_mtl.features import Feature, FeatureMap, assign_columns
from fuxi_mtl.layers import FeatureEmbedding
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.training import checkpoint
from fuxi_mtl.training.checkpoint import CheckpointError, naming
from fuxi_mtl.weighting import Equal, Uncertainty

TASKS = tiny.PLAIN["two"]
BUCKETS = 4  # remainders of the composed feature: 4 + padding, and ceil(9 / 4) quotients + padding

USER = Feature("user", "categorical", vocab_size=12)
ITEM = Feature("item", "categorical", vocab_size=10, num_remainder_buckets=BUCKETS)
HISTORY = Feature("history", "sequence", vocab_size=12, max_len=2, share_embedding="user")
SHOP = Feature("shop", "categorical", vocab_size=5, embedding_dim=3)
PRICE = Feature("price", "numeric")


def features(*given: Feature) -> FeatureMap:
    return FeatureMap("named", assign_columns(list(given or (USER, ITEM, HISTORY, SHOP, PRICE))))


def make(inputs: FeatureMap, seed: int = 1, tasks=TASKS, **options) -> ShareBottom:
    keras.utils.set_random_seed(seed)
    model = ShareBottom(
        inputs, tasks, embedding_dim=4, bottom_hidden_units=(6,), tower_hidden_units=(), **options
    )
    model.build()
    return model


def compiled(inputs: FeatureMap, seed: int = 1, tasks=TASKS, optimizer="adam", weighting=Uncertainty):
    model = make(inputs, seed, tasks, net_dropout=0.1)
    model.compile(optimizer, weighting({task.name: "binary" for task in tasks}), run_eagerly=True)
    return model


def batch(inputs: FeatureMap, rows: int = 16):
    random = np.random.default_rng(0)
    arrays = {
        "ids": random.integers(1, 5, (rows, inputs.id_columns)).astype(np.int32),
        "numeric": random.normal(size=(rows, inputs.numeric_columns)).astype(np.float32),
    }
    labels = {task.name: random.integers(0, 2, rows).astype(np.float32) for task in TASKS}
    return tiny.tensors(arrays), tiny.tensors(labels), np.ones(rows, np.float32)


def contents(folder) -> dict[str, np.ndarray]:
    found = {}
    with h5py.File(folder / "state.h5") as file:
        file.visititems(lambda name, item: found.update({name: item[()]} if hasattr(item, "shape") else {}))
    return found


def numbers(model) -> list[np.ndarray]:
    optimizer = model.optimizer.variables if model.compiled else []
    return [variable.numpy() for variable in (*model.variables, *optimizer)]


@pytest.fixture
def stored(tmp_path):
    """A trained model and its checkpoint."""
    model = compiled(features())
    model.train_step(batch(features()))
    checkpoint.save(model, tmp_path / "checkpoint")
    return model, tmp_path / "checkpoint"


def test_everything_has_a_name_that_people_read(stored):
    dense = {
        "bottom/stack/hidden/0/kernel": (16, 6),
        "bottom/stack/hidden/0/bias": (6,),
        "towers/outputs/click_head/kernel": (6, 1),
        "towers/outputs/click_head/bias": (1,),
        "towers/outputs/buy_head/kernel": (6, 1),
        "towers/outputs/buy_head/bias": (1,),
    }
    tables = {
        "embedding/user": (12, 4),
        "embedding/item/remainders": (5, 4),
        "embedding/item/quotients": (4, 4),
        "embedding/shop": (5, 3),
    }
    expected = {f"network/{name}": shape for name, shape in (dense | tables).items()}
    for kind, variables in {"dense": dense, "rows": tables}.items():
        for name, shape in variables.items():
            expected |= {f"optimizer/{kind}/{name}/{slot}": shape for slot in ("momentums", "velocities")}
        expected |= {f"optimizer/{kind}/iterations": (), f"optimizer/{kind}/learning_rate": ()}
    expected |= {"seeds/bottom/stack/dropout": (2,), "weighting/log_variance": (2,)}
    expected |= {f"seeds/towers/stacks/{head}_tower/dropout": (2,) for head in ("click", "buy")}
    assert {name: np.shape(values) for name, values in contents(stored[1]).items()} == expected


def test_rows_of_a_feature_are_those_of_its_block_in_the_table(stored):
    model, folder = stored
    table, slots = model.embedding.blocks[0], model.optimizer.rows
    found = contents(folder)
    first = table.starts["item"]
    rows = table.rows.numpy()
    np.testing.assert_array_equal(found["network/embedding/item/remainders"], rows[first : first + 5])
    np.testing.assert_array_equal(found["network/embedding/item/quotients"], rows[first + 5 : first + 9])
    np.testing.assert_array_equal(
        found["optimizer/rows/embedding/item/quotients/velocities"],
        slots._velocities[0].numpy()[first + 5 : first + 9],
    )
    assert np.abs(found["optimizer/rows/embedding/user/momentums"][1:5]).max() > 0


@pytest.mark.parametrize("chunk", [3, 2**15])
def test_features_in_another_order_get_their_rows_and_a_warning(stored, monkeypatch, caplog, tmp_path, chunk):
    monkeypatch.setattr(naming, "CHUNK", chunk)
    other = compiled(features(PRICE, SHOP, ITEM, HISTORY, USER), seed=2)
    assert other.embedding.blocks[1].starts != stored[0].embedding.blocks[0].starts
    checkpoint.restore(other, stored[1])
    assert "must be trained again" in caplog.text
    checkpoint.save(other, tmp_path / "again")
    found = contents(tmp_path / "again")
    for name, values in contents(stored[1]).items():
        np.testing.assert_array_equal(found[name], values)


def test_features_in_tables_cut_otherwise_get_their_rows(stored, caplog):
    model, folder = stored
    # A frozen feature lies in a table of its own.
    other = make(features(replace(USER, trainable=False), ITEM, HISTORY, SHOP, PRICE), seed=2)
    assert len(other.embedding.blocks) == 3
    checkpoint.restore(other, folder)
    rows = model.embedding.blocks[0].rows.numpy()
    np.testing.assert_array_equal(other.embedding.blocks[0].rows.numpy(), rows[:12])
    np.testing.assert_array_equal(other.embedding.blocks[1].rows.numpy(), rows[12:])


def test_a_frozen_feature_has_rows_and_no_slots(tmp_path):
    model = compiled(features(replace(USER, trainable=False), SHOP))
    checkpoint.save(model, tmp_path / "checkpoint")
    found = contents(tmp_path / "checkpoint")
    assert [name for name in found if "embedding/user" in name] == ["network/embedding/user"]
    assert len([name for name in found if "embedding/shop" in name]) == 3


def test_a_mismatch_names_the_feature_and_both_shapes_and_changes_nothing(stored):
    _, folder = stored
    larger = replace(SHOP, vocab_size=6)
    for change, what in {
        (USER, ITEM, HISTORY, larger, PRICE): r"feature 'shop' .* is \(6, 3\) here and \(5, 3\) there",
        (USER, ITEM, HISTORY, replace(SHOP, name="store"), PRICE): r"feature 'store' .* and missing there",
        (USER, ITEM, HISTORY, SHOP, replace(PRICE, name="cost")): r"of user, .* cost here .* price there",
    }.items():
        for model in (make(features(*change), seed=2), compiled(features(*change), seed=2)):
            before = numbers(model)
            with pytest.raises(CheckpointError, match=what):
                checkpoint.restore(model, folder)
            for one, other in zip(before, numbers(model), strict=True):
                np.testing.assert_array_equal(one, other)


def test_what_a_model_has_no_place_for_is_named(tmp_path):
    checkpoint.save(make(features(), batch_norm=True), tmp_path / "checkpoint")
    norm = "network/bottom/stack/norms/0"
    with pytest.raises(CheckpointError, match=rf"it has 4 variables more: {norm}/beta \(6,\), {norm}/gamma"):
        checkpoint.restore(make(features()), tmp_path / "checkpoint")


def test_a_number_that_was_changed_is_found_before_anything_is_restored(stored):
    _, folder = stored
    with h5py.File(folder / "state.h5", "r+") as file:
        file["weighting/log_variance"][1] = 0.25
    model = compiled(features(), seed=2)
    before = numbers(model)
    with pytest.raises(CheckpointError, match="numbers of weighting/log_variance are not those"):
        checkpoint.restore(model, folder)
    for one, other in zip(before, numbers(model), strict=True):
        np.testing.assert_array_equal(one, other)


def test_objectives_in_another_order_are_refused_where_the_weighting_goes_by_position(stored, tmp_path):
    with pytest.raises(CheckpointError, match="weighting is of buy, click here and of click, buy there"):
        checkpoint.restore(compiled(features(), tasks=TASKS[::-1]), stored[1])
    plain = compiled(features(), weighting=Equal)
    checkpoint.save(plain, tmp_path / "plain")
    other = compiled(features(), seed=2, tasks=TASKS[::-1], weighting=Equal)
    checkpoint.restore(other, tmp_path / "plain")
    for one, two in zip(plain.towers.outputs, other.towers.outputs[::-1], strict=True):
        np.testing.assert_array_equal(one.kernel.numpy(), two.kernel.numpy())


@pytest.mark.parametrize("optimizer", ["sgd", "ftrl", "nadam"])
def test_every_optimizer_is_restored_whole(optimizer, tmp_path):
    model, other = (compiled(features(), seed, optimizer=optimizer) for seed in (1, 2))
    model.train_step(batch(features()))
    checkpoint.save(model, tmp_path / "checkpoint")
    checkpoint.restore(other, tmp_path / "checkpoint")
    for one, two in zip(numbers(model), numbers(other), strict=True):
        np.testing.assert_array_equal(one, two)


def test_the_scale_of_losses_is_restored(tmp_path):
    scaled = [keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.01)) for _ in range(2)]
    model, other = (compiled(features(), seed, optimizer=each) for seed, each in enumerate(scaled))
    model.optimizer.dynamic_scale.assign(64.0)
    checkpoint.save(model, tmp_path / "checkpoint")
    assert contents(tmp_path / "checkpoint")["optimizer/scale/dynamic_scale"] == 64
    checkpoint.restore(other, tmp_path / "checkpoint")
    assert float(other.optimizer.dynamic_scale) == 64


class Unusual(MultiTaskModel):
    """Layers in dicts, in lists, shared, of one name; weights of one name; bfloat16; two embeddings."""

    def __init__(self, inputs, tasks):
        super().__init__(inputs, tasks)
        self.first = FeatureEmbedding(inputs, 2)
        self.second = FeatureEmbedding(inputs, 3)
        self.stacks = {"a/b": [keras.layers.Dense(2), keras.layers.Dense(2, name="same")]}
        self.others = [keras.layers.Dense(2, name="same"), keras.layers.Dense(2, name="same")]
        self.again = self.stacks["a/b"][0]
        self.small = keras.layers.Dense(1, dtype="bfloat16")
        self.inner = keras.Sequential([keras.layers.Dense(2), keras.layers.Dense(2)])
        self.scales = [self.add_weight(shape=(), initializer="ones", name="scale") for _ in range(2)]
        self.unnamed = [self.add_weight(shape=(), initializer="ones") for _ in range(2)]

    def heads(self, x, training=False):
        for layer in (*self.stacks["a/b"], *self.others, self.inner, self.small):
            x = layer(x)
        return {task.name: x[:, 0] for task in self.tasks}

    def embed(self, inputs):
        return keras.ops.concatenate([self.first(inputs), self.second(inputs)], axis=1)


def test_unusual_models_have_names_for_everything(tmp_path):
    named = [Feature(name, "categorical", vocab_size=4) for name in ("user/id", ".", "..", "a/./b")]
    slashed = features(*named, PRICE)
    model, other = (Unusual(slashed, TASKS[:1]) for _ in range(2))
    for each in (model, other):
        each.build()
    checkpoint.save(model, tmp_path / "checkpoint")
    found = set(contents(tmp_path / "checkpoint"))
    assert len(found) == len(model.weights) + 2 * 3  # a table has a part for each feature
    assert found >= {
        "network/first/user%2Fid",
        "network/second/user%2Fid",
        "network/first/%2E",
        "network/first/..",
        "network/first/a%2F.%2Fb",
        "network/stacks/a%2Fb/0/kernel",
        "network/stacks/a%2Fb/same/kernel",
        "network/others/same/kernel",
        "network/others/same_1/kernel",
        "network/scale",
        "network/scale_1",
        "network/variable",
        "network/variable_1",
        "network/small/kernel",
    }
    checkpoint.restore(other, tmp_path / "checkpoint")
    for one, two in zip(model.weights, other.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), two.numpy())


def test_names_do_not_depend_on_what_the_process_made_before():
    one, other = (Unusual(features(PRICE, SHOP), TASKS[:1]) for _ in range(2))
    for each in (one, other):
        each.build()
    assert list(naming.parts_of(one)) == list(naming.parts_of(other))
