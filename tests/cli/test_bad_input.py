"""Whatever is wrong: one message, a non-zero status, and nothing half-written."""

import errno
import json
import shutil

import numpy as np
import pytest
from command_line import call, write_csv

from fuxi_mtl.cli.commands import main
from fuxi_mtl.workflow.experiment import load_run

ROWS = 60


MISTAKES = {
    "a missing column": ({}, ["use_features=[prise]"], ["prise"]),
    "a label that is not there": ({}, ["label_col=[{name: clique}]"], ["clique", "train.csv"]),
    "an empty file": (None, [], ["train.csv"]),
    "a header alone": ("item,price,user,click,buy\n", [], ["train.csv"]),
    "the wrong separator": ({}, ["sep=;"], ["Set sep."]),
    "a text in a numeric column": ({"price": ["cheap"] * ROWS}, [], ["price", "cheap"]),
    "labels all missing": ({"click": [None] * ROWS, "buy": [None] * ROWS}, [], ["click"]),
    "a label of 2": ({"click": [2] * ROWS}, [], ["click"]),
    "a purchase without a click": (
        {"click": [0] * ROWS, "buy": [1] * ROWS},
        ["dataset_id=toy"],
        ["buy", "click"],
    ),
    "a format that does not fit": ({}, ["data_format=parquet"], ["train.csv"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_data_is_one_message_and_leaves_no_run(tmp_path, mistake):
    columns, settings, parts = MISTAKES[mistake]
    file = tmp_path / "train.csv"
    if isinstance(columns, dict):
        write_csv(file, ROWS, 3, **columns)
    else:
        file.write_text(columns or "")
    done = call(
        "run", "--expid", "Toy", "--set", f"model_root={tmp_path / 'runs'}", f"train_data={file}",
        f"data_root={tmp_path / 'data'}", *settings,
    )  # fmt: skip
    assert done.status == 1, done.out
    for part in parts:
        assert part in done.err
    assert len(done.err.splitlines()) <= 12
    assert "Traceback" not in done.err
    left = [
        path
        for path in tmp_path.rglob("*")
        if path.is_file() and path.suffix not in (".log", ".lock", ".csv")
    ]
    assert left == []


@pytest.mark.parametrize(
    ("expid", "setting", "message"),
    [
        ("Toy", "hidden_activations=dice", "hidden_activations is 'dice'. Choices: relu, sigmoid, "),
        ("Toy", "embedding_regularizer=l3(1)", "embedding_regularizer: regularizer 'l3(1)': write a number"),
        ("ToyFunnel", "bottom={type: MoE}", "bottom.type is 'MoE'. Did you mean 'MMoE'? Choices: shared_"),
        ("ToyFunnel", "bottom={type: MMoE, num_expert: 2}", "Did you mean 'num_experts'?"),
    ],
)
def test_what_a_model_refuses_is_refused_before_any_data_are_read(tmp_path, expid, setting, message):
    settings = ("--set", f"model_root={tmp_path}", f"data_root={tmp_path / 'data'}", setting)
    done = call("run", "--expid", expid, *settings)
    assert done.status == 1
    assert message in done.err
    assert len(done.err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_tables_beyond_the_memory_are_refused_before_any_data_are_read(tmp_path):
    columns = "feature_cols=[{name: item, remap: false, vocab_size: 2000000000}]"
    places = (f"model_root={tmp_path}", f"data_root={tmp_path / 'data'}")
    done = call("run", "--expid", "Toy", "--set", *places, columns, "embedding_dim=4096")
    assert done.status == 1
    assert "Toy: tables of at least 2,000,000,001 rows take 30,517.6 GiB, and this machine has " in done.err
    assert "Feature 'item' has 2,000,000,001 ids, 30,517.6 GiB at embedding_dim 4096: " in done.err
    assert not list(tmp_path.iterdir())


def test_a_feature_without_any_known_token_trains(tmp_path):
    done = call(
        "run", "--expid", "Toy", "--set", f"model_root={tmp_path}", "min_categr_count=100000", "epochs=1"
    )
    assert (done.status, done.err) == (0, "")


def test_a_truncated_cache_is_built_again_with_a_warning(tmp_path):
    settings = ("--set", f"model_root={tmp_path / 'runs'}", f"data_root={tmp_path / 'data'}", "epochs=1")
    assert call("run", "--expid", "Toy", *settings).status == 0
    first = (tmp_path / "runs/toy/Toy/seed_1/test_scores.npz").read_bytes()
    (ids,) = (tmp_path / "data").rglob("train.ids.npy")
    ids.write_bytes(ids.read_bytes()[:100])
    done = call("run", "--expid", "Toy", *settings)
    assert (done.status, done.err) == (0, "")
    assert "is damaged (train.ids.npy): building it again." in done.out
    scores = [np.load(tmp_path / "runs/toy/Toy/seed_1/test_scores.npz")["click_pred"]]
    (tmp_path / "first.npz").write_bytes(first)
    np.testing.assert_array_equal(scores[0], np.load(tmp_path / "first.npz")["click_pred"])


@pytest.mark.parametrize("key", ["model_root", "data_root"])
def test_a_folder_that_cannot_be_written_is_named(tmp_path, key):
    (tmp_path / "taken").write_text("a file")
    others = {
        "model_root": tmp_path / "runs",
        "data_root": tmp_path / "data",
        key: tmp_path / "taken" / "below",
    }
    done = call("run", "--expid", "Toy", "--set", *(f"{name}={path}" for name, path in others.items()))
    assert done.status == 1
    assert key in done.err
    assert str(tmp_path / "taken") in done.err
    assert len(done.err.splitlines()) == 1
    assert (tmp_path / "taken").read_text() == "a file"


@pytest.fixture
def full_disk(monkeypatch):
    """Lets writing some files fail as on a full disk."""

    def fill(target: str):
        def fails(*_, **__):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(target, fails)

    return fill


@pytest.mark.parametrize(
    "writer",
    [
        "h5py.Dataset.__setitem__",
        "fuxi_mtl.runs.write_text",
        "fuxi_mtl.dataset.encoding.Encoder.save",
    ],
)
def test_a_full_disk_is_named_and_leaves_no_run(tmp_path, full_disk, writer):
    full_disk(writer)
    done = call("run", "--expid", "Toy", "--set", f"model_root={tmp_path}", "epochs=1")
    assert done.status == 1
    assert "model_root" in done.err
    assert "full" in done.err or "No space left" in done.err
    assert len(done.err.splitlines()) == 1
    assert [path.name for path in (tmp_path / "toy" / "Toy").iterdir()] == ["seed_1.log"]


def test_a_disk_that_fails_behind_training_loses_nothing_that_was_trained(tmp_path, full_disk):
    full_disk("numpy.savez_compressed")
    done = call("run", "--expid", "Toy", "--set", f"model_root={tmp_path}", "epochs=1")
    place = tmp_path / "toy" / "Toy"
    assert done.status == 1
    assert (
        f"is full: make room, or set model_root to another one. What was trained is kept in {place}"
        in done.err
    )
    assert sorted(path.name for path in place.iterdir()) == ["seed_1.log", "unfinished_seed_1"]
    model, encoder = load_run(place / "unfinished_seed_1")
    assert model.count_params()
    assert encoder.feature_map == model.features
    assert json.loads((place / "unfinished_seed_1" / "history.json").read_text())["evaluations"]


def test_another_failure_of_the_system_is_told_as_it_is(tmp_path, monkeypatch):
    def fails(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("fuxi_mtl.runs.write_text", fails)
    done = call("run", "--expid", "Toy", "--set", f"model_root={tmp_path}", "epochs=1")
    assert (done.status, done.err) == (1, "OSError: [Errno 5] Input/output error\n")
    assert [path.name for path in (tmp_path / "toy" / "Toy").iterdir()] == ["seed_1.log"]


def test_a_run_killed_before_does_not_stand_in_the_way_and_its_leavings_go(tmp_path):
    place = tmp_path / "toy" / "Toy"
    left = place / ".seed_1.partial-12345678"
    left.mkdir(parents=True)
    done = call("run", "--expid", "Toy", "--set", f"model_root={tmp_path}", "epochs=1")
    assert (done.status, done.err) == (0, "")
    assert f"{left}, which a process that is gone has left, is removed" in done.out
    assert sorted(path.name for path in place.iterdir()) == ["seed_1", "seed_1.log"]


def test_a_damaged_run_is_one_message_of_export(toy_run, tmp_path):
    root = toy_run.folder.parent.parent.parent
    shutil.copytree(root, tmp_path / "runs")
    (tmp_path / "runs/toy/Toy/seed_1/checkpoint/state.h5").write_bytes(b"")
    done = call(
        "export",
        "--expid",
        "Toy",
        "--set",
        f"model_root={tmp_path / 'runs'}",
        "--output",
        tmp_path / "served",
    )
    assert done.status == 1
    assert done.err.startswith("CheckpointError: ")
    assert "Train the experiment again." in done.err
    assert not (tmp_path / "served").exists()


@pytest.mark.parametrize("command", ["simulate", "convert"])
def test_a_folder_of_this_machine_is_no_url(command, capsys):
    with pytest.raises(SystemExit):
        main([command, "--output", "s3://data/there"])
    assert "s3://data/there is a URL: name a folder of this machine" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "change", "cure"),
    [
        ("run", "resume_path=s3://runs/a", "name the experiment, whose run is fetched"),
        ("pareto", "model_root=s3://runs/mtl", "Name a folder"),
    ],
)
def test_what_must_lie_on_this_machine_is_told_with_the_cure(command, change, cure):
    told = call(command, "--expid", "Toy", "--set", change)
    assert (told.status, cure in told.err) == (1, True), told.err
