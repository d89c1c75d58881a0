import numpy as np
import polars as pl
import pytest

from fuxi_mtl.dataset import DataError, load_dataset
from fuxi_mtl.dataset.csv_reading import COMMAS
from fuxi_mtl.dataset.reading import _spans, blocks
from fuxi_mtl.dataset.sources import find_sources
from fuxi_mtl.options import DatasetOptions
from fuxi_mtl.tasks import parse_task

FEATURES = [
    {"name": "city"},
    {"name": "age", "dtype": "int"},
    {"name": "price", "type": "numeric", "dtype": "float"},
]
COLUMNS = {
    "city": ["Rome", "Oslo", "Rome", "Bonn", "Oslo", "Rome"],
    "age": [3, 40, 3, 5, 40, 3],
    "price": [1.5, 2.25, 0.0, -4.0, 8.0, 1.0],
    "click": [1, 0, 1, 0, 0, 1],
}
FORMATS = ("csv", "parquet", "npz", "h5")


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("block", [1, 4, 1000])
def test_every_format_and_block_size_gives_the_same_rows_in_order(load, suffix, block):
    dataset = load(COLUMNS, FEATURES, file=f"train.{suffix}", data_block_size=block)
    assert dataset.encoder.tokens == {"city": ("Rome", "Oslo", "Bonn"), "age": ("3", "40", "5")}
    assert dataset.train.ids.tolist() == [[1, 1], [2, 2], [1, 1], [3, 3], [2, 2], [1, 1]]
    assert dataset.train.numeric[:, 0].tolist() == COLUMNS["price"]
    assert dataset.train.events[:, 0].tolist() == COLUMNS["click"]


def test_h5_and_npz_hold_padded_sequences_and_vectors(load):
    columns = {
        "tags": np.array([["a", "b"], ["b", ""]]),
        "vector": np.array([[1.0, 2.0], [3.0, 4.0]]),
        "click": [0, 1],
    }
    features = [
        {"name": "tags", "type": "sequence"},
        {"name": "vector", "type": "embedding", "dtype": "float"},
    ]
    for suffix in ("npz", "h5"):
        dataset = load(columns, features, file=f"train.{suffix}")
        assert dataset.train.ids.tolist() == [[2, 1], [1, 0]]
        assert dataset.train.numeric.tolist() == [[1, 2], [3, 4]]


def test_fixed_width_bytes_are_text(load):
    dataset = load({"city": np.array([b"Rome", b"Oslo"]), "click": [0, 1]}, FEATURES[:1], file="train.npz")
    assert dataset.encoder.tokens["city"] == ("Oslo", "Rome")


def test_a_pattern_reads_its_files_in_order(load, write, options, tmp_path):
    write("part_2.csv", {"city": ["b"], "click": [1]})
    write("part_1.csv", {"city": ["a"], "click": [0]})
    dataset = load({"city": ["z"], "click": [1]}, FEATURES[:1], valid_data=str(tmp_path / "part_*.csv"))
    assert dataset.valid.events[:, 0].tolist() == [0, 1]


def test_n_rows_reads_only_the_first_rows(load):
    for block in (2, 1000):
        dataset = load(COLUMNS, FEATURES, n_rows=3, data_block_size=block)
        assert dataset.train.rows == 3
    assert load(COLUMNS, FEATURES, n_rows=4, split_type="sequential", test_size=1).train.rows == 3


def test_a_byte_order_mark_and_quoted_text_are_read(load, tmp_path):
    path = tmp_path / "odd.csv"
    path.write_bytes('\ufeffcity,click\n"a, or\nb",1\nc,0\n'.encode())
    dataset = load({"city": ["c"], "click": [1]}, FEATURES[:1], valid_data=str(path), n_rows=None)
    assert dataset.valid.events[:, 0].tolist() == [1, 0]
    assert dataset.valid.ids[:, 0].tolist() == [2, 1]


def test_a_missing_column_is_named_with_its_file_and_the_nearest_name(load):
    with pytest.raises(
        DataError, match=r"train.csv has no column 'cities'. Did you mean 'city'\? Its columns: city, age"
    ):
        load(COLUMNS, [{"name": "cities"}])


def test_a_missing_column_of_a_later_file_is_named(load, write):
    valid = write("valid.csv", {"city": ["a"]})
    with pytest.raises(DataError, match=r"valid_data: .*valid.csv has no column 'click'"):
        load(COLUMNS, FEATURES[:1], valid_data=str(valid))


def test_a_wrong_separator_is_recognised(load, write, options):
    path = write("semicolon.csv", COLUMNS, separator=";")
    with pytest.raises(DataError, match=r"single column when split at sep ','.*';' \(semicolon\). Set sep"):
        load(COLUMNS, FEATURES, valid_data=str(path))
    dataset = load(pl.DataFrame({"city": ["a;b"], "click": ["1"]}), FEATURES[:1])
    assert dataset.encoder.tokens["city"] == ("a;b",)


@pytest.mark.parametrize("content", ["", "city,age,price,click\n"])
def test_an_empty_file_is_an_error(tmp_path, options, content):
    path = tmp_path / "empty.csv"
    path.write_text(content)
    with pytest.raises(
        DataError, match="is empty" if not content else "train_data: .*empty.csv has no row for train"
    ):
        load_dataset(options(path, FEATURES), [parse_task("click", "click")], "small", progress=False)
    assert not list(tmp_path.glob("encoded/small/encoded-*"))


def test_a_file_that_does_not_exist_is_named_with_the_nearest(load, tmp_path):
    with pytest.raises(
        DataError, match=r"test_data: .*tran.csv is no file, seen from .* Did you mean 'train.csv'"
    ):
        load(COLUMNS, FEATURES, test_data=str(tmp_path / "tran.csv"))


def test_a_folder_is_its_files_of_the_format_in_the_order_of_their_names(load, tmp_path, write):
    parts = tmp_path / "parts"
    parts.mkdir()
    for name in ("part-1.csv", "part-0.csv"):
        write(f"parts/{name}", COLUMNS | {"price": [int(name[5])] * 6})
    (parts / "_SUCCESS").touch()
    dataset = load(COLUMNS, FEATURES, valid_data=str(parts))
    prices = dataset.valid.numeric[:, 0]
    np.testing.assert_array_equal(prices, [0] * 6 + [1] * 6)


def test_a_folder_without_a_file_of_the_format_says_so(load, tmp_path):
    (tmp_path / "parts").mkdir()
    with pytest.raises(
        DataError, match=r"valid_data: the folder .*parts has no file \*\.csv\. Set data_format"
    ):
        load(COLUMNS, FEATURES, valid_data=str(tmp_path / "parts"))


def test_text_in_a_numeric_column_is_named_with_row_and_value(load):
    columns = COLUMNS | {"price": ["1", "2", "", "n/a", "5", "6"]}
    with pytest.raises(DataError, match=r"train.csv, column 'price', row 4: 'n/a' is not a number"):
        load(columns, FEATURES, data_block_size=3)


def test_text_in_a_numeric_column_of_the_test_file_is_named_too(load, write):
    test = write("test.csv", COLUMNS | {"age": ["1", "2", "x", "4", "5", "6"]})
    with pytest.raises(DataError, match=r"test.csv, column 'age', row 3: 'x' is not a number"):
        load(COLUMNS, FEATURES, test_data=str(test))


def test_rows_are_numbered_in_the_file_after_a_split(load):
    columns = COLUMNS | {"price": ["1", "2", "3", "4", "oops", "6"]}
    with pytest.raises(DataError, match=r"column 'price', row 5: 'oops'"):
        load(columns, FEATURES, split_type="random", valid_size=2, test_size=2)


def test_a_file_of_another_format_is_an_error(load, write, tmp_path):
    path = tmp_path / "train2.parquet"
    path.write_text("city,click\na,1\n")
    with pytest.raises(DataError, match=r"train2.parquet cannot be read as parquet"):
        load(COLUMNS, FEATURES, file="train.parquet", valid_data=str(path))


def test_arrays_that_need_pickle_are_refused(load, tmp_path):
    with pytest.raises(DataError, match="array 'city' holds Python objects"):
        load({"city": np.array(["a", None], object), "click": [0, 1]}, FEATURES[:1], file="train.npz")


def test_arrays_stored_by_columns_are_refused(load):
    columns = {"tags": np.asfortranarray(np.ones((2, 3))), "click": [0, 1]}
    with pytest.raises(DataError, match="stored by columns"):
        load(columns, [{"name": "tags", "type": "sequence"}], file="train.npz")


def test_arrays_of_different_lengths_are_an_error(load):
    for suffix in ("npz", "h5"):
        with pytest.raises(DataError, match="differ in length: city 2, click 3"):
            load({"city": ["a", "b"], "click": [0, 1, 1]}, FEATURES[:1], file=f"train.{suffix}")


def test_an_empty_validation_file_is_an_error(load, tmp_path):
    path = tmp_path / "empty.csv"
    path.write_text("city,age,price,click\n")
    with pytest.raises(DataError, match="valid_data: .*empty.csv has no row for valid"):
        load(COLUMNS, FEATURES, valid_data=str(path))


def test_a_split_column_without_training_rows_is_an_error(load):
    with pytest.raises(DataError, match="train_data: .*train.csv has no row for train"):
        load(COLUMNS | {"part": ["test"] * 6}, FEATURES, split_type="column", split_col="part")


def test_train_data_must_be_given():
    with pytest.raises(DataError, match="train_data is not given"):
        find_sources(DatasetOptions())


def test_a_parquet_file_is_read_in_parts_of_whole_groups_beyond_which_nobody_reads_ahead(tmp_path):
    file, frame = tmp_path / "rows.parquet", pl.DataFrame({"x": range(100), "y": range(100, 200)})
    frame.write_parquet(file, row_group_size=15)
    assert list(_spans(file, 100)) == [(0, None)]
    assert list(_spans(file, 40)) == [(0, 30), (30, 30), (60, 40)]
    assert list(_spans(file, 10)) == [(start, min(15, 100 - start)) for start in range(0, 100, 15)]
    found = list(blocks(file, "parquet", COMMAS, ["y"], 8))
    assert max(map(len, found)) == 8
    assert pl.concat(found).equals(frame.select("y"))
