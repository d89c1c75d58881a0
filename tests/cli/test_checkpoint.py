"""A checkpoint is whole, or the error says what is wrong with it."""

import shutil

import h5py
import keras
import numpy as np
import pytest
import tiny
from command_line import by_hand

from fuxi_mtl import ShareBottom
from fuxi_mtl.config import load_resolved
from fuxi_mtl.training import checkpoint
from fuxi_mtl.training.checkpoint import CheckpointError
from fuxi_mtl.training.checkpoint.naming import Part
from fuxi_mtl.weighting import GradNorm
from fuxi_mtl.workflow.experiment import load_run

TASKS = tiny.PLAIN["two"]


def make(units=(6, 5)):
    model = ShareBottom(tiny.FEATURES, TASKS, embedding_dim=4, bottom_hidden_units=units)
    model.build()
    return model


def compiled(**options):
    keras.utils.set_random_seed(1)
    model = make(**options)
    model.compile(
        keras.optimizers.Adam(0.01), GradNorm({task.name: "binary" for task in TASKS}), run_eagerly=True
    )
    return model


@pytest.fixture
def stored(tmp_path):
    """A trained model and its checkpoint."""
    model = compiled()
    for seed in range(2):
        model.train_step(tiny.batch(TASKS, seed=seed))
    checkpoint.save(model, tmp_path / "checkpoint")
    return model, tmp_path / "checkpoint"


@pytest.fixture
def damaged(toy_run, tmp_path):
    """A run of its own, to be damaged."""
    return shutil.copytree(toy_run.folder, tmp_path / "Toy" / "seed_1")


def test_a_restored_model_goes_on_as_if_nothing_had_happened(stored):
    model, folder = stored
    other = compiled()
    other.train_step(tiny.batch(TASKS, seed=7))
    checkpoint.restore(other, folder)
    batch = tiny.batch(TASKS, seed=9)
    for each in (model, other):
        each.train_step(batch)
    for one, two in zip(model.trainable_variables, other.trainable_variables, strict=True):
        np.testing.assert_array_equal(one.numpy(), two.numpy())
    np.testing.assert_array_equal(model.weighting.weight.numpy(), other.weighting.weight.numpy())
    assert int(other.optimizer.iterations) == 3


def test_a_model_that_only_predicts_takes_the_network_alone(stored):
    model, folder = stored
    other = make()
    checkpoint.restore(other, folder)
    inputs = tiny.tensors(tiny.inputs())
    for name, head in model(inputs).items():
        np.testing.assert_array_equal(head, other(inputs)[name])


def test_saving_replaces_the_older_checkpoint(stored):
    model, folder = stored
    model.train_step(tiny.batch(TASKS, seed=5))
    checkpoint.save(model, folder)
    other = compiled()
    checkpoint.restore(other, folder)
    assert int(other.optimizer.iterations) == 3
    assert [path.name for path in folder.parent.iterdir()] == ["checkpoint"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("No space left")])
def test_a_full_disk_keeps_the_older_checkpoint(stored, monkeypatch, error):
    model, folder = stored
    create = h5py.Group.create_dataset

    def fails_after_a_while(self, name, *args):
        if name.startswith("optimizer"):
            raise error
        return create(self, name, *args)

    monkeypatch.setattr(h5py.Group, "create_dataset", fails_after_a_while)
    with pytest.raises(CheckpointError, match="cannot be written .*No space left.* Make room"):
        checkpoint.save(model, folder)
    assert [path.name for path in folder.parent.iterdir()] == ["checkpoint"]
    checkpoint.restore(compiled(), folder)


def test_a_model_of_another_shape_is_named(stored):
    _, folder = stored
    kernel = "network/bottom/stack/hidden/1/kernel"
    for units, what in {
        (6, 4): rf"{kernel} is \(6, 4\) here and \(6, 5\) there",
        (6,): r"network/towers/stacks/click_tower/hidden/0/kernel is \(6, 64\) here and \(5, 64\) there",
        (6, 5, 5): r"network/bottom/stack/hidden/2/kernel is \(5, 5\) here and missing there",
    }.items():
        with pytest.raises(CheckpointError, match=f"damaged, or of another model .*{what}"):
            checkpoint.restore(make(units=units), folder)


def test_an_error_without_a_message_is_named_by_its_type(stored, monkeypatch):
    model, folder = stored

    def write(self, chunk, values):
        raise RuntimeError

    monkeypatch.setattr(Part, "write", write)
    with pytest.raises(CheckpointError, match="(RuntimeError)"):
        checkpoint.restore(model, folder)


def test_a_checkpoint_of_numbered_variables_is_named(stored):
    _, folder = stored
    (folder / "state.h5").rename(folder / "state.index")
    with pytest.raises(CheckpointError, match="fuxi_mtl 0.1.0 wrote this checkpoint.* Train .* again, or"):
        checkpoint.restore(make(), folder)


def test_a_missing_checkpoint_is_named(damaged):
    shutil.rmtree(damaged / "checkpoint")
    with pytest.raises(CheckpointError, match=r"checkpoint: no checkpoint there. Train the experiment again"):
        load_run(damaged)


def flip(content: bytes) -> bytes:
    middle = len(content) // 2
    return (
        content[:middle]
        + bytes(255 - byte for byte in content[middle : middle + 64])
        + content[middle + 64 :]
    )


@pytest.mark.parametrize(
    "damage",
    [flip, lambda content: content[: len(content) // 2], lambda content: b""],
    ids=["flip", "half", "empty"],
)
def test_a_damaged_checkpoint_is_an_error(damaged, damage):
    file = damaged / "checkpoint" / "state.h5"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(CheckpointError, match="damaged, or of another model") as raised:
        load_run(damaged)
    assert len(str(raised.value)) < 600


def test_a_single_number_that_was_changed_is_an_error(damaged):
    names = []
    with h5py.File(damaged / "checkpoint" / "state.h5", "r+") as file:
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        name = next(name for name in names if name.startswith("network/"))
        file[name][(-1,) * file[name].ndim] += 1
    with pytest.raises(CheckpointError, match=f"the numbers of {name} are not those that were written"):
        load_run(damaged)


@pytest.mark.parametrize("name", ["config.yaml", "features/encoders.json", "features/feature_map.json"])
@pytest.mark.parametrize("damage", ["truncated", "removed"])
def test_any_other_damage_is_an_error_that_names_the_file(damaged, name, damage):
    file = damaged / name
    if damage == "removed":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(ValueError, match=name.partition("/")[0]):
        load_run(damaged)


def test_a_stored_stanza_of_another_shape_is_an_error(damaged):
    config = damaged / "config.yaml"
    by_hand(config, ("bottom_hidden_units:\n- 8", "bottom_hidden_units:\n- 9"))
    assert list(load_resolved(config, "Toy").model_options["bottom_hidden_units"]) == [9]
    with pytest.raises(CheckpointError, match="of another model"):
        load_run(damaged)


def test_a_loaded_model_computes_in_float32_whatever_the_policy_is(damaged):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model, _ = load_run(damaged)
    finally:
        keras.config.set_dtype_policy("float32")
    assert {layer.compute_dtype for layer in model._flatten_layers()} == {"float32"}


def test_a_run_with_another_seed_is_another_folder(toy_run):
    from fuxi_mtl.workflow.experiment import folder_of

    experiment = load_resolved(toy_run.folder / "config.yaml", "Toy")
    assert folder_of(experiment) == toy_run.folder
    assert folder_of(experiment.with_seed(2)).name == "seed_2"
