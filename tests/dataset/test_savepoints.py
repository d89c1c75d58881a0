"""An encoding that was stopped goes on behind the files that were done, to the byte."""

import logging
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import polars as pl
import pytest

from fuxi_mtl.dataset import building, load_dataset, savepoints
from fuxi_mtl.dataset.coding import CodedRows
from fuxi_mtl.dataset.growing import Growth
from fuxi_mtl.dataset.savepoints import Savepoints
from fuxi_mtl.dataset.second_pass import SecondPass
from fuxi_mtl.dataset.sources import Source
from fuxi_mtl.dataset.writing import CarriedFile
from fuxi_mtl.options import DatasetOptions, FeatureOptions, LabelOptions
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


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Five training files with something for everything that is counted, and two for validation."""
    folder = tmp_path_factory.mktemp("files")
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

    for name, count in (("part", FILES), ("valid", 2)):
        for number in range(count):
            text = pl.DataFrame(columns(ROWS)).write_csv()
            # A blank line is a note of its file.
            (folder / f"{name}_{number}.csv").write_text(text + "\n" * (number % 2))
    return folder


@pytest.fixture
def stanza(files, tmp_path):
    return stanza_of(files, tmp_path / "encoded")


def stanza_of(files, root):
    return DatasetOptions(
        data_root=str(root),
        data_format="csv",
        train_data=str(files / "part_*.csv"),
        valid_data=str(files / "valid_*.csv"),
        test_size=0.2,
        sample_weight="weight",
        data_block_size=16,
        feature_cols=[FeatureOptions(**feature) for feature in FEATURES],
        label_col=[LabelOptions(**label) for label in LABELS],
    )


@pytest.fixture(scope="module")
def whole(files, tmp_path_factory):
    """The folder of an undisturbed encoding, and how many blocks were encoded."""
    with mock.patch.object(
        building.Encoder, "encode", autospec=True, side_effect=building.Encoder.encode
    ) as encode:
        return load(stanza_of(files, tmp_path_factory.mktemp("whole"))), encode.call_count


@pytest.fixture
def undisturbed(whole):
    return whole[0]


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


@pytest.mark.parametrize("left", [33, 26, 7, 4, 1])
def test_rows_that_were_encoded_are_not_encoded_again(stanza, whole, always, read, monkeypatch, left):
    """Blocks of five files, divided into training and test rows; then those of two files for validation."""
    encoded, encode = [], building.Encoder.encode
    monkeypatch.setattr(building.Encoder, "encode", lambda *given: encoded.append(1) or encode(*given))
    others, (undisturbed, total) = 2 * BLOCKS, whole
    (place,) = interrupted(stanza, monkeypatch, total - left, building.Encoder, "encode")
    assert any(place.glob("coded/*.npz")) == (left >= others)
    read.clear()
    encoded.clear()
    assert content(load(stanza)) == content(undisturbed)
    assert read == []
    # Of coded rows the block is done again where it was, of others the file.
    lost = len(encoded) - (left + 1)
    assert 0 <= lost < (2 if left >= others else BLOCKS)


@pytest.mark.parametrize("owner", ["closing", "checking"])
def test_what_is_encoded_whole_is_only_completed(stanza, undisturbed, always, monkeypatch, caplog, owner):
    place = {"closing": (CarriedFile, "close"), "checking": (building, "_check")}[owner]
    interrupted(stanza, monkeypatch, 1, *place)
    monkeypatch.setattr(building.Encoder, "encode", None)
    caplog.set_level(logging.INFO)
    assert content(load(stanza)) == content(undisturbed)
    assert f"small: goes on behind {(FILES + 2) * ROWS} encoded rows." in caplog.text


@pytest.mark.parametrize(
    "name",
    [
        "train.ids.npy",
        "test.weights.npy",
        "coded/train.meta.arrow",
        "fitted/texts.npz",
        "fitted/encoders.json",
    ],
)
def test_damage_of_what_was_encoded_is_said_and_all_is_read_again(
    stanza, undisturbed, always, read, monkeypatch, caplog, name
):
    (place,) = interrupted(stanza, monkeypatch, 31, building.Encoder, "encode")
    file = place / name
    damaged = bytearray(file.read_bytes())
    damaged[-9] ^= 4
    file.write_bytes(damaged)
    read.clear()
    assert content(load(stanza)) == content(undisturbed)
    assert len(read) == FILES * BLOCKS
    assert "small: the savepoint cannot be used (" in caplog.text or "was changed" in caplog.text


def test_savepoints_of_the_second_pass_need_none_of_the_first(stanza, undisturbed, monkeypatch):
    """Such as where the training rows were read in less than the time between two."""
    clock = [0.0]
    monkeypatch.setattr(savepoints.time, "monotonic", lambda: clock[0])
    open_split = SecondPass._open

    def later(self, split, *state):
        clock[0] += 999 * (split == "valid")
        open_split(self, split, *state)

    monkeypatch.setattr(SecondPass, "_open", later)
    (place,) = interrupted(stanza, monkeypatch, 34, building.Encoder, "encode")
    assert {each.name for each in (place / "coded").iterdir()} == {
        f"{s}.meta.arrow" for s in ("train", "valid", "test")
    }
    assert content(load(stanza)) == content(undisturbed)


def test_an_extended_encoding_goes_on_too(stanza, tmp_path, always, monkeypatch):
    known = load_dataset(replace(stanza, min_categr_count=3), TASKS, "small", progress=False).encoder
    grown = {"known": known, "growth": Growth("2026-11-08")}
    whole = load_dataset(
        replace(stanza, data_root=str(tmp_path / "g")), TASKS, "small", progress=False, **grown
    )
    with monkeypatch.context() as patch:
        stop(patch, building.Encoder, "encode", 33)
        with pytest.raises(KeyboardInterrupt):
            load_dataset(stanza, TASKS, "small", progress=False, **grown)
    again = load_dataset(stanza, TASKS, "small", progress=False, **grown)
    assert content(again.folder) == content(whole.folder)
    assert again.grown == whole.grown
    assert again.encoder.identity == whole.encoder.identity


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
    from fuxi_mtl.dataset import Encoder, load_dataset, savepoints
    from fuxi_mtl.dataset.coding import CodedRows
    from fuxi_mtl.options import DatasetOptions, FeatureOptions, LabelOptions
    from fuxi_mtl.tasks import parse_task

    files, root, *kill = sys.argv[1:]
    savepoints.EVERY = 0.0
    calls = []
    def counted(owner, name):
        real = getattr(owner, name)
        def call(*arguments):
            calls.append(name)
            if [name, str(calls.count(name))] == kill:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments)
        setattr(owner, name, call)
    counted(CodedRows, "add")
    counted(Encoder, "encode")
    options = DatasetOptions(
        data_root=root, train_data=f"{files}/part_*.csv", valid_data=f"{files}/valid_*.csv",
        feature_cols=[FeatureOptions("item"), FeatureOptions("user"), FeatureOptions("user", type="meta")],
        label_col=[LabelOptions("click")],
    )
    load_dataset(options, [parse_task("click", "click")], "small", progress=False)
    print(calls.count("add"), calls.count("encode"))
"""


def test_a_killed_encoding_goes_on(files, tmp_path):
    def run(*kill, root="killed"):
        command = [sys.executable, "-c", textwrap.dedent(SCRIPT), files, tmp_path / root, *kill]
        cwd = Path(__file__).parents[2]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)

    whole = run(root="whole")
    assert whole.stdout.split() == [str(FILES), str(FILES + 2)], whole.stderr
    assert run("add", "4").returncode == -9
    assert run("encode", "3").returncode == -9  # of the two that are left, the second has been added then
    assert run("encode", "5").returncode == -9  # behind the fifth coded block comes the second other file
    done = run()
    assert done.stdout.split() == ["0", "1"], done.stderr
    folders = [next((tmp_path / root / "small").glob("encoded-*/")) for root in ("killed", "whole")]
    assert content(folders[0]) == content(folders[1])
    assert {each.name for each in folders[0].parent.iterdir()} <= {folders[0].name, "sources.json"}
