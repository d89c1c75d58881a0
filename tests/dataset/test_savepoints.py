"""An encoding that was stopped goes on behind the files that were done, to the byte."""

import logging
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fuxi_mtl.dataset import building, load_dataset, savepoints
from fuxi_mtl.dataset.coding import CodedRows
from fuxi_mtl.dataset.savepoints import Savepoints
from fuxi_mtl.dataset.sources import Source
from fuxi_mtl.tasks import parse_task

FILES, BLOCKS = 5, 3  # blocks of a file
ROWS = 40
FEATURES = [
    {"name": "item"},
    {"name": "tags", "type": "sequence", "splitter": "^"},
    {"name": "price", "type": "numeric", "normalizer": "StandardScaler"},
    {"name": "age", "type": "numeric", "num_buckets": 4},
    {"name": "user", "type": "meta"},
]
LABELS = [{"name": "click"}, {"name": "stay", "kind": "regression", "normalizer": "StandardScaler"}]
TASKS = [parse_task("click", "click"), replace(parse_task("stay", "stay"), kind="regression")]


@pytest.fixture
def stanza(options, write):
    """Five training files with something for everything that is counted, and a file for validation."""
    rng = np.random.default_rng(7)

    def columns(rows):
        return {
            "item": [f"i{i}" for i in rng.zipf(1.5, rows) % 50],
            "tags": ["^".join(f"t{i}" for i in rng.integers(0, 9, rng.integers(1, 4))) for _ in range(rows)],
            "price": rng.lognormal(size=rows),
            "age": rng.normal(40, 9, rows),
            "user": [f"u{i}" for i in rng.integers(0, 9, rows)],
            "click": rng.integers(0, 2, rows),
            "stay": rng.normal(5, 2, rows),
            "weight": rng.random(rows),
        }

    for number in range(FILES):
        path = write(f"part_{number}.csv", columns(ROWS))
        path.write_text(path.read_text() + "\n" * (number % 2))  # a blank line is a note of its file
    valid = write("valid.csv", columns(ROWS))
    given = {"valid_data": str(valid), "test_size": 0.2, "sample_weight": "weight", "data_block_size": 16}
    pattern = str(valid.parent / "part_*.csv")
    return replace(options(Path("x.csv"), FEATURES, LABELS, **given), train_data=pattern)


@pytest.fixture
def undisturbed(stanza, tmp_path):
    return load(replace(stanza, data_root=str(tmp_path / "whole")))


@pytest.fixture
def always(monkeypatch):
    monkeypatch.setattr(savepoints, "EVERY", 0.0)


@pytest.fixture
def read(monkeypatch):
    """The files from which rows are read for fitting."""
    found = []
    add = CodedRows.add

    def noting(coded, rows):
        found.append(Path(rows.block.file).name)
        return add(coded, rows)

    monkeypatch.setattr(CodedRows, "add", noting)
    return found


def load(stanza):
    return load_dataset(stanza, TASKS, "small", progress=False).folder


def stop(monkeypatch, owner, name, call):
    """Ctrl-C at some call of a function."""
    calls, real = [], getattr(owner, name)

    def stopped(*arguments, **keywords):
        calls.append(1)
        if len(calls) == call:
            raise KeyboardInterrupt
        return real(*arguments, **keywords)

    monkeypatch.setattr(owner, name, stopped)


def content(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def interrupted(stanza, monkeypatch, call, owner=CodedRows, name="add"):
    """What is left of an encoding that was stopped."""
    with monkeypatch.context() as patch:
        stop(patch, owner, name, call)
        with pytest.raises(KeyboardInterrupt):
            load(stanza)
    return [each for each in Path(stanza.data_root, "small").iterdir() if each.is_dir()]


@pytest.mark.parametrize("call", [1, 3, 4, 5, 8, 11, 15])
def test_an_encoding_goes_on_at_the_file_where_it_was(
    stanza, undisturbed, always, read, monkeypatch, caplog, call
):
    caplog.set_level(logging.INFO)
    left = interrupted(stanza, monkeypatch, call)
    done = (call - 1) // BLOCKS
    assert [each.name.split("-")[0] for each in left] == [".building"] * (done > 0)
    read.clear()
    folder = load(stanza)
    assert read == [f"part_{number}.csv" for number in range(done, FILES) for _ in range(BLOCKS)]
    assert content(folder) == content(undisturbed)
    assert (f"small: goes on behind {done} files and {done * ROWS} rows." in caplog.text) == (done > 0)
    assert [each for each in folder.parent.iterdir() if each.is_dir()] == [folder]


def test_an_encoding_that_was_read_whole_is_not_read_again(stanza, undisturbed, always, read, monkeypatch):
    interrupted(stanza, monkeypatch, 9, building.Encoder, "encode")
    read.clear()
    assert content(load(stanza)) == content(undisturbed)
    assert read == []


def test_what_was_being_written_when_it_was_stopped_is_no_part_of_the_encoding(
    stanza, undisturbed, always, monkeypatch
):
    (place,) = interrupted(stanza, monkeypatch, 10)
    (place / ".savepoint.partial-0123abcd").mkdir()
    (place / "train.weights.npy").write_text("half")
    (place / "x.pretrained.npy").write_text("half")
    assert content(load(stanza)) == content(undisturbed)


def test_savepoints_come_at_most_every_ten_minutes(stanza, monkeypatch):
    saved = []
    monkeypatch.setattr(Savepoints, "save", lambda self, *_: saved.append(1))
    load(stanza)
    assert saved == []
    assert savepoints.EVERY == 600


@pytest.mark.parametrize(
    "name",
    ["savepoint/state.json", "savepoint/arrays.npz", "coded/0.arrow", "coded/1.npz", "savepoint/*.arrow"],
)
def test_a_damaged_savepoint_is_said_and_not_used(
    stanza, undisturbed, always, read, monkeypatch, caplog, name
):
    (place,) = interrupted(stanza, monkeypatch, 10)
    file = next(place.glob(name))
    damaged = bytearray(file.read_bytes())
    damaged[len(damaged) // 2] ^= 4
    file.write_bytes(damaged)
    read.clear()
    assert content(load(stanza)) == content(undisturbed)
    assert len(read) == FILES * BLOCKS
    assert "cannot be used" in caplog.text


def test_blocks_of_another_size_begin_anew(stanza, undisturbed, always, read, monkeypatch, caplog):
    interrupted(stanza, monkeypatch, 10)
    read.clear()
    load(replace(stanza, data_block_size=7))
    assert len(read) == FILES * 6
    assert "it is of other blocks of rows, or of another version" in caplog.text


def test_texts_that_cannot_have_their_numbers_begin_anew(
    stanza, undisturbed, always, read, monkeypatch, caplog
):
    interrupted(stanza, monkeypatch, 10)
    real = Savepoints.load

    def reversed_texts(self):
        state = real(self)
        texts = state["coded"]["texts"]["item"]
        texts["counts"] = np.append(texts["counts"], 0)
        return state

    monkeypatch.setattr(Savepoints, "load", reversed_texts)
    read.clear()
    assert content(load(stanza)) == content(undisturbed)
    assert "small: the savepoint cannot be used (the texts of 'item' have other numbers)" in caplog.text
    assert len(read) == FILES * BLOCKS


def test_an_error_keeps_no_savepoint(stanza, always, monkeypatch):
    def broken(self, columns, begin):
        yield from real(self, columns, begin)
        raise ValueError("damaged")

    real = Source.blocks
    monkeypatch.setattr(Source, "blocks", broken)
    with pytest.raises(ValueError, match="damaged"):
        load(stanza)
    assert list(Path(stanza.data_root, "small").iterdir()) == []


SCRIPT = """
    import os, signal, sys
    from fuxi_mtl.dataset import load_dataset, savepoints
    from fuxi_mtl.dataset.coding import CodedRows
    from fuxi_mtl.options import DatasetOptions, FeatureOptions, LabelOptions
    from fuxi_mtl.tasks import parse_task

    root, call = sys.argv[1], int(sys.argv[2])
    savepoints.EVERY = 0.0
    calls, add = [], CodedRows.add
    def killed(*arguments):
        calls.append(1)
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return add(*arguments)
    CodedRows.add = killed
    options = DatasetOptions(
        data_root=f"{root}/killed", train_data=f"{root}/part_*.csv",
        feature_cols=[FeatureOptions("item"), FeatureOptions("user")], label_col=[LabelOptions("click")],
    )
    print(len(calls), load_dataset(options, [parse_task("click", "click")], "small", progress=False).folder)
    print(len(calls))
"""


def test_a_killed_encoding_goes_on(stanza, tmp_path):
    def run(call, root="killed"):
        script = textwrap.dedent(SCRIPT).replace("/killed", f"/{root}")
        command, cwd = [sys.executable, "-c", script, tmp_path, str(call)], Path(__file__).parents[2]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)

    assert run(4).returncode == -9
    killed, whole = run(99), run(99, "whole")
    assert [done.stdout.splitlines()[-1] for done in (killed, whole)] == [str(FILES - 3), str(FILES)]
    folders = [next((tmp_path / root / "small").glob("encoded-*/")) for root in ("killed", "whole")]
    assert content(folders[0]) == content(folders[1])
    assert {each.name for each in folders[0].parent.iterdir()} <= {folders[0].name, "sources.json"}
