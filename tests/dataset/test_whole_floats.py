"""Ids that pandas wrote as floats: 3.0 is 3, unless the column is text."""

import json

import numpy as np
import polars as pl
import pytest

from fuxi_mtl.dataset import Encoder, load_dataset, raw
from fuxi_mtl.dataset.errors import DataError
from fuxi_mtl.tasks import parse_task


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        (pl.Series([3.0, None, float("nan"), -4.0, 2.5]), ["3", "", "", "-4", "2.5"]),
        (pl.Series([3, None, -4]), ["3", "", "-4"]),
        (
            pl.Series(["3.0", "3", "-4.0", "-0.0", "2.50", "3.00", "v1.0", "1.0.0", "", None]),
            ["3", "3", "-4", "0", "2.50", "3.00", "v1.0", "1.0.0", "", ""],
        ),
        (pl.Series([2.0**53 - 1, float("inf")]), ["9007199254740991", "inf"]),
        (pl.Series([0.0, -0.0]), ["0", "0"]),
        (pl.Series([True, False]), ["true", "false"]),
    ],
)
def test_a_float_without_fraction_is_its_integer(entries, expected):
    assert raw.tokens(entries, "str").to_list() == expected


def test_text_keeps_what_is_written():
    assert raw.tokens(pl.Series(["3.0", "3"]), "text").to_list() == ["3.0", "3"]
    assert raw.tokens(pl.Series([3.0]), "text").to_list() == ["3.0"]


CLICK = [0, 1, 0, 1]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_files_with_and_without_a_gap_hold_the_same_ids(options, write, tmp_path, suffix):
    write(f"part_1.{suffix}", {"item": [1, 2, 3, 3], "click": CLICK})
    write(f"part_2.{suffix}", {"item": [1.0, 2.0, None, 1.0], "click": CLICK})
    stanza = options(tmp_path / f"part_*.{suffix}", [{"name": "item"}], ["click"], data_format=suffix)
    dataset = load_dataset(stanza, [parse_task("ctr", "click")], "gap", threads=1, progress=False)
    assert set(dataset.encoder.tokens["item"]) == {"1", "2", "3", ""}
    known = dict(zip(dataset.encoder.tokens["item"], range(1, 5), strict=True))
    assert dataset.train.ids[:, 0].tolist() == [known[t] for t in ("1", "2", "3", "3", "1", "2", "", "1")]
    (told,) = [warning for warning in dataset.warnings if "'item'" in warning]
    assert "3 entries of the training rows are whole numbers with a point, such as 3.0" in told


def test_lists_hash_buckets_and_shared_tables_read_them_alike(load):
    columns = pl.DataFrame(
        {
            "item": [1, 2, 3, 3],
            "recent": [[1.0, 2.0], [3.0], [], [2.0]],
            "ad": [7.0, 8.0, None, 7.0],
            "click": CLICK,
        }
    )
    features = [
        {"name": "item"},
        {"name": "recent", "type": "sequence", "dtype": "list", "share_embedding": "item", "max_len": 2},
        {"name": "ad", "category_processor": "hash_bucket", "num_buckets": 1000},
    ]
    mixed = load(columns, features, file="train.parquet", data_format="parquet").train.ids
    whole = columns.with_columns(pl.col("recent").cast(pl.List(pl.Int64)), pl.col("ad").cast(pl.Int64))
    plain = load(whole, features, file="whole.parquet", data_format="parquet").train.ids
    assert np.array_equal(mixed, plain)


def test_an_encoding_of_the_first_format_keeps_its_meaning(load, tmp_path):
    dataset = load({"item": ["1.0", "1", "2.0", "2.0"], "click": CLICK}, [{"name": "item", "dtype": "text"}])
    assert set(dataset.encoder.tokens["item"]) == {"1.0", "1", "2.0"}
    dataset.encoder.save(tmp_path)
    (tmp_path / "checksums.json").unlink()
    content = json.loads((tmp_path / "encoders.json").read_text())["columns"]
    content["item"]["dtype"] = "str"  # as version 0.1.0 wrote it, without a format
    (tmp_path / "encoders.json").write_text(json.dumps(content))
    frame = pl.DataFrame({"item": ["1.0", "1", "2.0", "3.0"]})
    old, new = Encoder.load(tmp_path).encode(frame)[0], dataset.encoder.encode(frame)[0]
    assert np.array_equal(old, new)
    assert len(set(old[:3, 0])) == 3


def test_a_newer_format_is_refused(load, tmp_path):
    load({"item": ["a", "b", "a", "b"], "click": CLICK}, [{"name": "item"}]).encoder.save(tmp_path)
    (tmp_path / "checksums.json").unlink()
    (tmp_path / "encoders.json").write_text(json.dumps({"format": 99, "columns": {}}))
    with pytest.raises(DataError, match=r"encoders.json has format 99, this version reads up to 2"):
        Encoder.load(tmp_path)


@pytest.mark.parametrize("name", ["feature_vocab.json", "encoders.json", "feature_map.json"])
def test_an_encoding_that_was_changed_is_refused(load, tmp_path, name):
    load({"item": ["a", "b", "a", "b"], "click": CLICK}, [{"name": "item"}]).encoder.save(tmp_path)
    content = (tmp_path / name).read_text()
    (tmp_path / name).write_text(content.replace("item", "itom"))
    with pytest.raises(DataError, match=rf"{name} was changed after it was written"):
        Encoder.load(tmp_path)
