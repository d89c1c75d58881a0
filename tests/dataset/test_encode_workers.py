"""Several processes that encode files give the bytes and the words of one."""

import logging
import os
import pickle
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import fuxi_mtl as fm
from fuxi_mtl.cli.parser import make_parser
from fuxi_mtl.dataset import DataError, load_dataset, loading, savepoints, statistics
from fuxi_mtl.dataset.coding import CodedRows
from fuxi_mtl.dataset.growing import Growth
from fuxi_mtl.dataset.parallel import FileProcesses, LostProcessError
from fuxi_mtl.dataset.parallel.processes import Failed
from fuxi_mtl.interface import data
from fuxi_mtl.tasks import parse_task
from tests.dataset.process_tasks import end

FILES = 4
FEATURES = [
    {"name": "item", "min_categr_count": 2},
    {"name": "user", "dtype": "int"},
    {"name": "shop", "dtype": "text"},
    {"name": "tags", "type": "sequence", "splitter": "^", "share_embedding": "item", "weights": "stress"},
    {"name": "seen", "type": "sequence", "remap": False, "vocab_size": 30},
    {"name": "place", "remap": False, "vocab_size": 20},
    {"name": "price", "type": "numeric", "normalizer": "StandardScaler"},
    {"name": "when", "type": "numeric", "normalizer": "MinMaxScaler"},
    {"name": "spend", "type": "numeric", "normalizer": "log1p"},
    {"name": "age", "category_processor": "quantile_bucket", "num_buckets": 5, "fill_na": 0},
    {"name": "gap", "category_processor": "log2_bucket"},
    {"name": "vector", "type": "embedding", "max_len": 2},
    {"name": "session", "type": "meta", "dtype": "str"},
]
LABELS = [
    {"name": "click"},
    {"name": "buy"},
    {"name": "stay", "kind": "regression", "normalizer": "StandardScaler"},
    {"name": "kind", "kind": "classes"},
]
TASKS = [
    parse_task("click", "click"),
    parse_task("buy", "buy | click"),
    replace(parse_task("stay", "stay | click"), kind="regression"),
    replace(parse_task("kind", "kind"), kind="classes"),
]


def columns(rows: int, seed: int) -> dict[str, list]:
    """Rows with something for everything that is counted; later files bring tokens and classes first."""
    rng = np.random.default_rng(seed)

    def texts(head: str, most: int) -> list[str]:
        return [f"{head}{i}" for i in rng.zipf(1.4, rows) % most]

    bags = [rng.integers(0, 9, rng.integers(1, 4)) for _ in range(rows)]
    click = rng.integers(-1, 2, rows)
    return {
        "item": [each if i % 9 else None for i, each in enumerate(texts("i", 40 + 9 * seed))],
        "user": rng.integers(0, 25, rows) + 10**12,
        "shop": [f"{i}.0" for i in rng.integers(0, 9, rows)],
        "tags": ["^".join(f"i{i}" for i in bag) for bag in bags],
        "stress": ["^".join("0.5" for _ in bag) for bag in bags],
        "seen": ["^".join(map(str, bag)) for bag in bags],
        "place": rng.integers(0, 23, rows),
        "price": rng.lognormal(5 + seed, 2, rows),
        "when": 1.6e9 + rng.random(rows) * 1e6,
        "spend": np.where(rng.random(rows) < 0.1, np.inf, rng.lognormal(size=rows)),
        "age": [None if i % 11 == 0 else each for i, each in enumerate(rng.normal(40, 9, rows))],
        "gap": rng.integers(0, 10**6, rows),
        "vector": ["0.25^1.5"] * rows,
        "session": [f"{i}.0" for i in rng.integers(0, 9, rows)],
        "click": click,
        "buy": np.where(rng.random(rows) < 0.3, 1, 0),
        "stay": rng.normal(5, 2, rows),
        "kind": [f"k{i}" for i in rng.integers(0, 3 + 2 * seed, rows)],
        "weight": rng.random(rows),
    }


@pytest.fixture
def stanza(options, write):
    """Makes files of a format, and the stanza that reads them."""

    def make(suffix: str, **given):
        for number, rows in enumerate((50, 0, 37, 64) if suffix == "csv" else (50, 1, 37, 64)):
            frame = pl.DataFrame(columns(rows or 1, number), strict=False).head(rows)
            path = write(f"part_{number}.{suffix}", frame)
            write(f"valid_{number % 2}.{suffix}", pl.DataFrame(columns(30, 7 + number), strict=False))
            if suffix == "csv" and number % 2 == 0:  # a blank line, and a row with a field too many
                lines = path.read_text().splitlines()
                path.write_text("\n".join([*lines[:20], "", lines[20] + ",more", *lines[21:]]) + "\n")
        plain = {
            "valid_data": str(path.with_name(f"valid_*.{suffix}")),
            "sample_weight": "weight",
            "inconsistent": "drop",
            "bad_rows": "skip",
            "data_block_size": 32,
            "test_size": 0.2,
        }
        made = options(path, FEATURES, LABELS, **(plain | given))
        return replace(made, train_data=str(path.with_name(f"part_*.{suffix}")))

    return make


class Inline(FileProcesses):
    """The same work in this process; what goes to a process and comes back is copied."""

    def map(self, function, tasks: Iterable):
        for _, arguments in tasks:
            kept, given = pickle.loads(pickle.dumps(self._kept)), pickle.loads(pickle.dumps(arguments))
            try:
                found = function(kept, map, *given)
            except (DataError, OSError) as error:
                raise pickle.loads(pickle.dumps(Failed.of(error))).error() from None
            yield pickle.loads(pickle.dumps(found))


@pytest.fixture
def inline(monkeypatch):
    monkeypatch.setattr(loading, "FileProcesses", Inline)


def load(stanza, root, workers=1, **given):
    stanza = replace(stanza, data_root=str(root))
    return load_dataset(stanza, TASKS, "small", threads=2, progress=False, encode_workers=workers, **given)


def content(dataset):
    return {file.name: file.read_bytes() for file in dataset.folder.iterdir()}


def assert_alike(stanza, tmp_path, several=3, **given):
    one, several = (load(stanza, tmp_path / f"by_{n}", n, **given) for n in (1, several))
    assert content(several) == content(one)
    assert several.warnings == one.warnings
    assert several.key == one.key
    return one


@pytest.mark.parametrize(
    ("suffix", "given"),
    [
        ("csv", {}),
        ("parquet", {}),
        ("csv", {"split_type": "time", "split_col": "when"}),
        ("parquet", {"split_type": "user", "split_col": "user", "n_rows": 100}),
        ("csv", {"n_rows": 60}),
        ("csv", {"test_size": 0.0, "n_rows": 50}),
        ("parquet", {"split_type": "sequential", "inconsistent": "zero"}),
    ],
    ids=["csv", "parquet", "by time", "by user", "some rows", "rows of a file", "the last rows"],
)
def test_several_processes_write_the_bytes_of_one(stanza, tmp_path, inline, monkeypatch, suffix, given):
    monkeypatch.setattr(statistics, "SAMPLE_ROWS", 32)
    one = assert_alike(stanza(suffix, **given), tmp_path)
    if suffix == "csv" and not given:
        told = " ".join(one.warnings)
        for said in (
            "bad rows",
            "blank lines",
            "infinite",
            "lie outside",
            "buy = 1 with click = 0",
            "with a point",
        ):
            assert said in told, said


def test_an_encoder_that_is_there_and_one_that_grows_get_the_same_rows(stanza, tmp_path, inline):
    given = stanza("parquet", min_categr_count=3)
    known = load(replace(given, n_rows=50, data_root=str(tmp_path / "known")), tmp_path / "known").encoder
    assert_alike(given, tmp_path / "as_it_is", known=known)
    assert_alike(given, tmp_path / "grown", known=known, growth=Growth("2026-11-08", statistics="update"))


def test_rows_in_memory_are_encoded_as_by_one_process(stanza, tmp_path, inline):
    given = stanza("parquet", bad_rows="raise")
    rows = pl.read_parquet(given.train_data)
    assert_alike(given, tmp_path, frames={"train": rows})


def test_the_error_is_that_of_the_first_file_that_has_one(stanza, tmp_path, inline, write):
    given = stanza("csv", test_size=0.0)
    for number in (3, 2):
        write(f"part_{number}.csv", columns(9, number) | {"user": ["x"] * 9})
    with pytest.raises(DataError) as one:
        load(given, tmp_path / "one")
    with pytest.raises(DataError) as several:
        load(given, tmp_path / "several", 2)
    assert str(several.value) == str(one.value)
    assert "part_2.csv, column 'user', row 1: 'x' is not" in str(one.value)


@pytest.mark.parametrize(
    ("stopped", "goes_on", "call"), [(3, 1, 2), (1, 3, 2), (3, 1, 6), (1, 3, 7), (3, 3, 9)]
)
def test_what_several_left_one_goes_on_with_and_the_other_way_round(
    stanza, tmp_path, inline, monkeypatch, stopped, goes_on, call
):
    """Stopped when so many savepoints were written: behind files, coded rows or files of validation."""
    given = stanza("parquet")
    whole = load(given, tmp_path / "whole")
    monkeypatch.setattr(savepoints, "EVERY", 0.0)
    save, calls = savepoints.Savepoints.save, []

    def saved(self, *arguments):
        save(self, *arguments)
        calls.append(1)
        if len(calls) == call:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(savepoints.Savepoints, "save", saved)
        with pytest.raises(KeyboardInterrupt):
            load(given, tmp_path / "left", stopped)
    read, add = [], CodedRows.add
    monkeypatch.setattr(CodedRows, "add", lambda self, rows: read.append(rows.block.file) or add(self, rows))
    again = load(given, tmp_path / "left", goes_on)
    assert content(again) == content(whole)
    assert again.warnings == whole.warnings
    assert len(set(read)) == max(FILES - call, 0)


def test_processes_write_the_same_and_end(stanza, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    assert_alike(stanza("parquet"), tmp_path, several=2)
    load(
        replace(stanza("parquet", valid_data=None), train_data=str(tmp_path / "part_0.parquet")), tmp_path, 2
    )
    assert "small: one file is encoded by one process (encode_workers)." in caplog.text


def test_a_process_that_is_killed_is_an_error_that_says_where():
    with FileProcesses(2, 2) as processes:
        found = processes.map(os.path.join, [])
        assert list(found) == []
        with pytest.raises(
            LostProcessError, match=r"was killed by SIGKILL; .* at day=1/a.csv. With a smaller"
        ):
            list(processes.map(end, [("day=1/a.csv", (signal.SIGKILL,))]))


SCRIPT = """
from fuxi_mtl.dataset.parallel import FileProcesses
from tests.dataset.process_tasks import own_pid, sleep

with FileProcesses(1, 1) as processes:
    print(*processes.map(own_pid, [("a", ())]), flush=True)
    list(processes.map(sleep, [("a", ())]))
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_no_process_outlives_the_one_that_started_it(number):
    command = [sys.executable, "-c", SCRIPT]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=Path(__file__).parents[2]
    ) as process:
        pid = int(process.stdout.readline())
        process.send_signal(number)
        process.wait(20)
    for _ in range(500):
        if not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2]:
            return
        time.sleep(0.02)
    pytest.fail(f"{pid} is there")


def test_the_command_line_and_python_take_the_number_of_processes(tmp_path, inline, monkeypatch):
    options = make_parser(defaultdict(lambda: None))
    given = options.parse_args(["run", "--expid", "A", "--encode_workers", "3", "--set", "epochs=2"])
    assert given.set == ["encode_workers=3", "epochs=2"]
    assert options.parse_args(["pareto", "--expid", "A"]).set == []
    asked = []
    monkeypatch.setattr(data, "load_dataset", lambda *_, **given: asked.append(given["encode_workers"]))
    rows = {"item": ["a", "b"], "click": [0, 1]}
    named = {"features": [fm.Categorical("item")], "tasks": {"ctr": "click"}, "valid_size": 0.5}
    with pytest.raises(AttributeError):
        fm.Dataset(rows, **named, encode_workers=2).encoded([])
    assert asked == [2]
    with pytest.raises(ValueError, match="encode_workers is 0. It is a number of processes, from 1"):
        fm.Dataset(rows, **named, encode_workers=0)
