"""Data that nobody prepared: what cannot be read is told with file, column and what to do."""

import bz2
import gzip

import h5py
import numpy as np
import polars as pl
import pytest
import tensorflow as tf

from fuxi_mtl.dataset import DataError, load_dataset, raw
from fuxi_mtl.dataset.sources import source_of
from fuxi_mtl.serving import raw as served
from fuxi_mtl.tasks import parse_task

TASKS = [parse_task("click", "click")]
CLICK = np.array([1, 0, 1, 0])


@pytest.fixture
def load_file(options):
    def load(path, features=({"name": "x"},)):
        return load_dataset(options(path, features), TASKS, "bad", progress=False)

    return load


def h5(path, **columns):
    with h5py.File(path, "w") as file:
        for name, values in columns.items():
            file[name] = values
    return path


@pytest.mark.parametrize(
    ("written", "called", "message"),
    [
        ("a.parquet", "b.csv", "is no csv file, it begins as parquet: set data_format: parquet"),
        ("a.npz", "b.csv", "is no csv file, it begins as npz: set data_format: npz"),
        ("a.npz", "b.parquet", "is no parquet file, it begins as npz: set data_format: npz"),
        ("a.h5", "b.csv", "is no csv file, it begins as h5: set data_format: h5"),
        ("a.gz", "b.csv", "is packed: its name must end in .gz"),
        ("a.bz2", "b.csv", "is packed: its name must end in .bz2"),
    ],
)
def test_a_file_that_is_called_otherwise_than_it_is_written_is_told(
    load_file, write, tmp_path, written, called, message
):
    pack = {"a.gz": gzip.compress, "a.bz2": bz2.compress}.get(written)
    if pack:
        (tmp_path / written).write_bytes(pack(b"x,click\na,1\n"))
    else:
        write(written, {"x": ["a", "b", "a", "b"], "click": CLICK.tolist()})
    path = (tmp_path / written).rename(tmp_path / called)
    with pytest.raises(DataError, match=f"{called} {message}"):
        load_file(path)


def test_a_column_of_a_csv_file_may_be_called_as_parquet_files_begin(load, write):
    assert load({"PAR1": ["a", "b"], "click": [1, 0]}, [{"name": "PAR1"}]).train.rows == 2


def test_bytes_of_an_h5_file_are_utf_8_whatever_it_says_of_them(load_file, tmp_path):
    path = h5(tmp_path / "a.h5", x=np.array([b"a", b"b", b"a", "é".encode()]), click=CLICK)
    assert load_file(path).encoder.tokens["x"] == ("a", "b", "é")
    path = h5(tmp_path / "b.h5", x=np.array([b"a", b"b", b"a", b"\xff"]), click=CLICK)
    with pytest.raises(DataError, match=r"b\.h5, column 'x': the bytes b'\\xff' are no utf-8"):
        load_file(path)


def test_an_array_of_objects_is_told_with_its_file_and_only_where_it_is_used(load_file, tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, x=np.array(["a", 1, None, 2.0], object), y=np.array(list("abab")), click=CLICK)
    with pytest.raises(DataError, match=r"a\.npz: the array 'x' holds Python objects; save it as numbers or"):
        load_file(path)
    assert load_file(path, [{"name": "y"}]).encoder.tokens["y"] == ("a", "b")


def test_a_single_value_is_no_column(load_file, tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, x=np.array("a"), click=CLICK)
    with pytest.raises(DataError, match="the array 'x' is a single value: store one a row"):
        load_file(path)


def test_a_vector_that_is_too_short_is_shown(load_file, write):
    rows = pl.DataFrame({"x": [[1.0, 2.0], [1.0], [3.0, 4.0], None], "click": CLICK})
    vector = [{"name": "x", "type": "embedding", "max_len": 2}]
    with pytest.raises(DataError, match=r"column 'x', row 2: \[1.0\] is not a list of 2"):
        load_file(write("a.parquet", rows), vector)


@pytest.mark.parametrize("weight", [float("inf"), -float("inf"), 1e39])
def test_an_infinite_weight_of_a_bag_is_refused(load_file, write, weight):
    rows = pl.DataFrame({"x": [[1, 2]] * 4, "w": [[1.0, 1.0]] * 3 + [[None, weight]], "click": CLICK})
    bag = [{"name": "x", "type": "sequence", "max_len": 2, "weights": "w"}]
    with pytest.raises(DataError, match=r"column 'w', row 4: .* is not a finite weight"):
        load_file(write("a.parquet", rows), bag)


def test_minus_zero_is_zero_as_a_number_and_as_a_text():
    texts = ["-0.0", "0.0", "0", "-0", "-10.0", "-05.0", "0.00"]
    expected = ["0", "0", "0", "-0", "-10", "-05", "0.00"]
    assert raw.tokens(pl.Series(texts), "str").to_list() == expected
    assert [each.decode() for each in served.tokens(tf.constant(texts), "str", None).numpy()] == expected
    assert raw.tokens(pl.Series([-0.0]), "str").to_list() == ["0"]


def test_a_folder_is_no_input_of_predict(tmp_path):
    with pytest.raises(DataError, match="is a folder: name one file"):
        source_of("input", tmp_path)


def test_a_part_with_a_header_only_and_columns_in_another_order(load_file, tmp_path, write):
    write("part_1.csv", {"x": ["a", "b"], "click": [1, 0]})
    (tmp_path / "part_2.csv").write_text("click,x\n")
    (tmp_path / "part_3.csv").write_text("click,new,x\n1,z,c\n")
    dataset = load_file(tmp_path / "part_*.csv")
    assert dataset.encoder.tokens["x"] == ("a", "b", "c")
    assert dataset.train.labels(TASKS)["click"].tolist() == [1, 0, 1]


def test_tokens_that_differ_in_spaces_only_are_said(load_file, write):
    rows = {"x": ["u1", " u1", "u2", "u2 "], "s": ["a^ b", "b^a", "a", "b"], "click": CLICK.tolist()}
    features = [{"name": "x"}, {"name": "s", "type": "sequence"}]
    (first, second) = (
        told for told in load_file(write("a.csv", rows), features).warnings if "spaces" in told
    )
    assert "feature 'x': 2 tokens differ from others only in spaces around them," in first
    assert "feature 's': 1 tokens differ" in second
    assert "such as ' b'" in second


@pytest.mark.parametrize("value", ["1e39", "-1e39", "inf"])
def test_a_regression_label_beyond_float32_is_refused(options, write, value):
    path = write("a.csv", {"x": ["a", "b"], "spend": ["1.5", value]})
    stanza = options(path, [{"name": "x"}], [{"name": "spend", "kind": "regression"}])
    with pytest.raises(
        DataError, match=r"column 'spend', row 2: '.*' is not a finite number, of at most 3.4e38"
    ):
        load_dataset(stanza, [parse_task("spend", "spend", kind="regression")], "bad", progress=False)


@pytest.mark.filterwarnings("error")
def test_infinite_members_of_vectors_are_missing_and_counted(load_file, write):
    rows = pl.DataFrame({"x": [[1.0, float("inf")], [1.0, 2.0], [3.0, 1e39], [-1e39, 6.0]], "click": CLICK})
    dataset = load_file(write("a.parquet", rows), [{"name": "x", "type": "embedding", "max_len": 2}])
    assert dataset.train.numeric.tolist() == [[1, 0], [1, 2], [3, 0], [0, 6]]
    assert "feature 'x': 3 infinite entries of training rows are read as missing." in dataset.warnings
