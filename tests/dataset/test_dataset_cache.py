import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fuxi_mtl.dataset import DataError, building, cache, data_key, load_dataset, verify_files, writing
from fuxi_mtl.files import read_json
from fuxi_mtl.files.processes import this_process
from fuxi_mtl.tasks import parse_task

COLUMNS = {"x": ["a", "b", "a", "c"], "click": [1, 0, 1, 0]}
FEATURES = [{"name": "x"}]
TASKS = [parse_task("click", "click")]


@pytest.fixture
def builds(monkeypatch) -> list[int]:
    """Counts how often data are encoded."""
    counted: list[int] = []
    fit = building.fit

    def counting(*arguments):
        counted.append(1)
        return fit(*arguments)

    monkeypatch.setattr(building, "fit", counting)
    return counted


def encodings(folder: Path) -> list[Path]:
    return sorted(each for each in folder.glob("encoded/small/encoded-*") if each.is_dir())


def test_the_same_options_and_files_are_encoded_once(options, write, builds):
    stanza = options(write("train.csv", COLUMNS), FEATURES)
    first, second = (load_dataset(stanza, TASKS, "small", progress=False) for _ in range(2))
    assert len(builds) == 1
    assert (first.folder, first.key, first.warnings) == (second.folder, second.key, second.warnings)
    np.testing.assert_array_equal(first.train.ids, second.train.ids)


def test_how_files_are_read_is_no_reason_to_encode_again(options, write, builds):
    path = write("train.csv", COLUMNS)
    for block in (1, 2):
        load_dataset(options(path, FEATURES, data_block_size=block), TASKS, "small", progress=False)
    assert len(builds) == 1


@pytest.mark.parametrize("change", ["option", "label", "condition", "content"])
def test_any_change_that_matters_is_encoded_again(options, write, builds, change):
    columns = COLUMNS | {"buy": [1, 0, 0, 0]}
    path = write("train.csv", columns)
    tasks = [*TASKS, parse_task("buy", "buy")]
    labels = ["click", "buy"]
    load_dataset(options(path, FEATURES, labels), tasks, "small", progress=False)
    given = {}
    if change == "option":
        given["min_categr_count"] = 2
    elif change == "label":
        labels = ["click", {"name": "buy", "mask_value": -2}]
    elif change == "condition":
        tasks = [*TASKS, parse_task("buy", "buy | click")]
    else:
        write("train.csv", {name: [*values, values[0]] for name, values in columns.items()})
    load_dataset(options(path, FEATURES, labels, **given), tasks, "small", progress=False)
    assert len(builds) == 2


def test_a_file_of_another_split_is_another_dataset(options, write):
    train, more = write("train.csv", COLUMNS), str(write("more.csv", COLUMNS))
    watched = load_dataset(options(train, FEATURES, valid_data=more), TASKS, "small", progress=False)
    tested = load_dataset(options(train, FEATURES, test_data=more), TASKS, "small", progress=False)
    assert watched.key != tested.key
    assert (watched.test, tested.valid) == (None, None)


def test_every_option_of_reading_is_in_the_key(options, write):
    stanza = options(write("train.parquet", COLUMNS | {"u": [1, 2, 3, 4]}), FEATURES, valid_size=1)
    changes = [
        {},
        {"n_rows": 3},
        {"sep": ";"},
        {"quote_char": None},
        {"encoding": "latin-1"},
        {"bad_rows": "skip"},
        {"valid_size": 2},
        {"valid_size": 0, "test_size": 1},
        {"split_seed": 3},
        {"split_type": "sequential"},
        {"split_type": "user", "split_col": "u"},
        {"min_categr_count": 2},
        {"sample_weight": "u"},
        {"inconsistent": "drop"},
    ]
    keys = [data_key(replace(stanza, **change), TASKS, "small") for change in changes]
    assert len(set(keys)) == len(changes)


def test_equal_bytes_of_another_time_are_not_encoded_again(options, write, builds):
    path = write("train.csv", COLUMNS)
    keys = set()
    for time_of_change in (10**18, 0, None):
        if time_of_change is not None:
            os.utime(path, ns=(time_of_change, time_of_change))
        else:
            write("train.csv", COLUMNS)
        keys.add(load_dataset(options(path, FEATURES), TASKS, "small", progress=False).key)
    assert len(builds) == len(keys) == 1


def test_another_spelling_of_a_path_is_not_encoded_again(options, write, builds, tmp_path, monkeypatch):
    vectors = tmp_path / "vectors.npz"
    np.savez(vectors, key=np.array(["a", "b"]), value=np.zeros((2, 4)))
    path = write("train.csv", COLUMNS)
    monkeypatch.chdir(tmp_path)
    for name in ("{}", "./{}", f"../{tmp_path.name}/{{}}", f"{tmp_path}/{{}}"):
        features = [FEATURES[0] | {"pretrained_emb": name.format("vectors.npz"), "embedding_dim": 4}]
        stanza = replace(options(path, features), train_data=name.format(path.name))
        load_dataset(stanza, TASKS, "small", progress=False)
    assert len(builds) == 1


def test_other_labels_of_the_same_size_and_time_are_found_by_verification(options, write, builds):
    path = write("train.csv", COLUMNS)
    stanza = options(path, FEATURES)
    os.utime(path, ns=(10**18, 10**18))
    before = load_dataset(stanza, TASKS, "small", progress=False)
    assert verify_files(stanza, TASKS, "small") == []
    write("train.csv", COLUMNS | {"click": [0, 1, 0, 1]})
    os.utime(path, ns=(10**18, 10**18))
    # Size and time are all that is looked at: that is said in docs/data.md.
    assert load_dataset(stanza, TASKS, "small", progress=False).key == before.key
    assert verify_files(stanza, TASKS, "small") == [str(path)]
    assert verify_files(stanza, TASKS, "small") == []
    after = load_dataset(stanza, TASKS, "small", progress=False)
    assert after.train.labels(TASKS)["click"].tolist() == [0, 1, 0, 1]
    assert len(builds) == 2


def test_a_file_changed_within_a_tick_of_the_clock_is_read_again(options, write, builds):
    path = write("train.csv", COLUMNS)
    stanza, now = options(path, FEATURES), time.time_ns()
    for clicks in ([1, 0, 1, 0], [0, 1, 0, 1]):
        write("train.csv", COLUMNS | {"click": clicks})
        os.utime(path, ns=(now, now))
        load_dataset(stanza, TASKS, "small", progress=False)
    assert len(builds) == 2


def test_what_dead_readers_and_writers_left_goes_when_data_are_asked_for(options, write, tmp_path):
    stanza = options(write("train.csv", COLUMNS), FEATURES)
    folder = load_dataset(stanza, TASKS, "small", progress=False).folder
    dead = replace(this_process(), start=1).mark
    for name in (f".{folder.name}.used-{dead}-0123abcd", f".sources.json.partial-{dead}-0123abcd"):
        folder.with_name(name).touch()
    data_key(stanza, TASKS, "small")
    assert not list(folder.parent.glob(f".*{dead}-*"))


@pytest.mark.parametrize("content", ["{", "[1]", "null"])
def test_damaged_hashes_of_files_are_made_anew(options, write, builds, tmp_path, content):
    path = write("train.csv", COLUMNS)
    os.utime(path, ns=(10**18, 10**18))
    stanza = options(path, FEATURES)
    load_dataset(stanza, TASKS, "small", progress=False)
    hashes = tmp_path / "encoded/small/sources.json"
    hashes.write_text(content)
    load_dataset(stanza, TASKS, "small", progress=False)
    assert list(read_json(hashes, "")) == [str(path)]
    assert len(builds) == 1


def test_a_key_of_format_1_is_what_it_was(write):
    """Runs of version 0.1.0 hold it: a hash of the options and of path, size and time of every file."""
    path = write("train.csv", COLUMNS)
    os.utime(path, ns=(5, 7))
    marks = cache.by_time([path])
    assert marks == [[str(path.resolve()), path.stat().st_size, 7]]
    text = json.dumps([1, {"a": 1}, [["/data/train.csv", 3, 7]]])
    wanted = hashlib.sha256(text.encode()).hexdigest()[:16]
    assert cache.key_of({"a": 1}, [["/data/train.csv", 3, 7]], 1) == wanted


def test_the_same_bytes_under_another_path_are_another_dataset(options, write, tmp_path, monkeypatch):
    """Folders may give columns: only the path tells day=1/a.csv from day=2/a.csv."""
    keys = set()
    for day in (1, 2):
        folder = tmp_path / f"day={day}"
        folder.mkdir()
        write("train.csv", COLUMNS).rename(folder / "train.csv")
        os.utime(folder / "train.csv", ns=(10**18, 10**18))
        features = [*FEATURES, {"name": "day"}]
        dataset = load_dataset(options(folder / "*.csv", features), TASKS, "small", progress=False)
        assert dataset.encoder.tokens["day"] == (str(day),)
        keys.add(dataset.key)
    assert len(keys) == 2
    for each in (tmp_path / "day=1", tmp_path / "day=2"):
        monkeypatch.chdir(each)
        keys.add(load_dataset(options(Path("train.csv"), FEATURES), TASKS, "small", progress=False).key)
    assert len(keys) == 4


def test_who_waited_for_the_lock_reads_what_was_built_meanwhile(tmp_path, monkeypatch):
    """Without the lock both would build, each removing what the other writes."""
    at_work, most, built = [], [], []

    def build(folder):
        at_work.append(folder)
        most.append(len(at_work))
        built.append((folder / "rows").write_text("1"))
        time.sleep(0.05)
        at_work.pop()
        return {"rows": 1}

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: cache.Cache(tmp_path, "key").get(build), range(4)))
    assert (max(most), len(built)) == (1, 1)
    assert all(each["rows"] == 1 for each in found)


@pytest.mark.parametrize("name", ["train.ids.npy", "feature_vocab.json", "manifest.json", "train.events.npy"])
@pytest.mark.parametrize("damage", ["truncated", "gone"])
def test_a_damaged_cache_is_built_again_with_a_warning(options, write, builds, caplog, name, damage):
    stanza = options(write("train.csv", COLUMNS), FEATURES)
    folder = load_dataset(stanza, TASKS, "small", progress=False).folder
    if damage == "gone":
        (folder / name).unlink()
    else:
        (folder / name).write_bytes((folder / name).read_bytes()[:-3])
    dataset = load_dataset(stanza, TASKS, "small", progress=False)
    assert len(builds) == 2
    assert f"is damaged ({name}): building it again" in caplog.text
    assert dataset.train.ids[:, 0].tolist() == [1, 2, 1, 3]


def test_an_error_leaves_nothing_behind(load, tmp_path):
    with pytest.raises(DataError):
        load(COLUMNS | {"x": ["1", "2", "3", "x"]}, [{"name": "x", "dtype": "int"}])
    assert list((tmp_path / "encoded/small").iterdir()) == []


SCRIPT = """
    import sys
    from pathlib import Path
    from fuxi_mtl.dataset import load_dataset, building
    from fuxi_mtl.options import DatasetOptions, FeatureOptions, LabelOptions
    from fuxi_mtl.tasks import parse_task

    root, action = sys.argv[1:]
    options = DatasetOptions(
        data_root=root + "/encoded", train_data=root + "/train.csv",
        feature_cols=[FeatureOptions("x")], label_col=[LabelOptions("click")],
    )
    if action == "hang":
        import time
        encode = building._encode
        def hang(*arguments):
            encode(*arguments)
            print("encoding", flush=True)
            time.sleep(60)
        building._encode = hang
    dataset = load_dataset(options, [parse_task("click", "click")], "small", progress=False)
    print(dataset.folder.name, dataset.train.ids[:, 0].tolist())
"""


def start(folder: Path, action: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), str(folder), action],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_a_process_that_is_ended_leaves_nothing_that_looks_complete(write, tmp_path, sent):
    write("train.csv", COLUMNS)
    process = start(tmp_path, "hang")
    assert process.stdout.readline() == "encoding\n"
    process.send_signal(sent)
    process.communicate(timeout=30)
    assert process.returncode != 0
    assert not encodings(tmp_path)
    output, _ = start(tmp_path, "load").communicate(timeout=60)
    assert output.endswith("[1, 2, 1, 3]\n")
    assert [path.name for path in (tmp_path / "encoded/small").glob(".building*")] == []


def test_two_processes_build_once_and_read_the_same(write, tmp_path):
    rows = 20_000
    write("train.csv", {"x": [f"t{i % 977}" for i in range(rows)], "click": [i % 2 for i in range(rows)]})
    processes = [start(tmp_path, "load") for _ in range(3)]
    outputs = {process.communicate(timeout=60)[0] for process in processes}
    assert len(outputs) == 1
    assert all(process.returncode == 0 for process in processes)
    assert len(encodings(tmp_path)) == 1


def test_a_folder_that_cannot_be_written_is_named_with_what_to_do(options, write, tmp_path):
    (tmp_path / "file").write_text("")
    stanza = options(write("train.csv", COLUMNS), FEATURES, data_root=tmp_path / "file")
    with pytest.raises(
        OSError, match=r"cannot be written there .*set data_root to another folder.*file/small"
    ):
        load_dataset(stanza, TASKS, "small", progress=False)


def test_a_full_disk_is_named_and_leaves_nothing(options, write, tmp_path, monkeypatch):
    def full(self, rows):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(writing.ArrayFile, "append", full)
    with pytest.raises(
        OSError, match=r"the disk is full \(\d+ MiB are free without .*\): make room"
    ) as error:
        load_dataset(options(write("train.csv", COLUMNS), FEATURES), TASKS, "small", progress=False)
    assert error.value.errno == errno.ENOSPC
    assert not encodings(tmp_path)
    assert not list((tmp_path / "encoded/small").glob(".building*"))


def test_another_error_of_the_system_is_passed_on(options, write, monkeypatch):
    def broken(self, rows):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(writing.ArrayFile, "append", broken)
    with pytest.raises(OSError, match="Input/output error"):
        load_dataset(options(write("train.csv", COLUMNS), FEATURES), TASKS, "small", progress=False)


def test_a_fingerprint_sees_both_ends_and_the_size(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(bytes(300_000))
    marks = [cache.fingerprint(file)]
    for content in (bytes(299_999), b"1" + bytes(299_999), bytes(299_999) + b"1"):
        file.write_bytes(content)
        marks.append(cache.fingerprint(file))
    assert len({tuple(mark) for mark in marks}) == 4
    assert cache.fingerprint(tmp_path / "none") is None


def test_encodings_of_other_options_are_left_alone(load, tmp_path):
    load(COLUMNS, FEATURES)
    time.sleep(0.01)
    load(COLUMNS, FEATURES, min_categr_count=2)
    assert len(encodings(tmp_path)) == 2
