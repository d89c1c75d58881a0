# ruff: noqa: N802 - tests are named after their entries
"""What went wrong in FuxiCTR with data, each entry by its number in the list of regressions."""

import logging
import threading

import numpy as np
import polars as pl
import pytest

from fuxi_mtl.dataset import DataError, Encoder, load_dataset, writing
from fuxi_mtl.tasks import parse_task

FEATURES = [{"name": "x"}, {"name": "n", "type": "numeric", "dtype": "float"}]


def columns(rows: int = 100) -> dict:
    rng = np.random.default_rng(0)
    return {
        "x": [f"t{i}" for i in rng.integers(0, 9, rows)],
        "n": rng.normal(size=rows).tolist(),
        "row": list(range(rows)),
        "click": rng.integers(0, 2, rows).tolist(),
    }


def test_C2_missing_labels_stay_missing(load):
    given = columns() | {"click": [None if i % 2 else i % 4 // 2 for i in range(100)]}
    labels = load(given, FEATURES).train.labels([parse_task("click", "click")])["click"]
    assert np.isnan(labels).sum() == 50
    assert (labels == 0).sum() == 25


def test_C6_fewer_inputs_have_narrower_arrays(load):
    widths = [load(columns(), FEATURES[:k]).feature_map for k in (1, 2)]
    assert [(w.id_columns, w.numeric_columns) for w in widths] == [(1, 0), (1, 1)]


def test_C7_one_file_is_divided_by_valid_size_and_test_size(load):
    dataset = load(columns(), FEATURES, valid_size=0.1, test_size=0.2)
    assert [split.rows for split in (dataset.train, dataset.valid, dataset.test)] == [70, 10, 20]


@pytest.mark.parametrize("processor", ["quantile_bucket", "hash_bucket"])
def test_C8_numbers_fall_in_buckets(load, processor):
    feature = FEATURES[1] | {"category_processor": processor, "num_buckets": 4}
    dataset = load(columns(), [feature])
    counts = np.bincount(dataset.train.ids[:, 0], minlength=6)[1:5]
    assert dataset.feature_map["n"].type == "categorical"
    assert counts.sum() == 100
    assert counts.min() >= (25 if processor == "quantile_bucket" else 10)


def test_C9_groups_of_gauc_are_carried_along(load):
    split = load(columns(), [*FEATURES, {"name": "x", "type": "meta"}]).train
    assert split.meta(["x"])["x"].to_list() == columns()["x"]


def test_C11_a_changed_stanza_never_reads_old_data(load):
    assert load(columns(), FEATURES).feature_map["x"].vocab_size == 11
    assert load(columns(), FEATURES, min_categr_count=1000).feature_map["x"].vocab_size == 2


def test_C12_the_feature_map_appears_together_with_the_data(load, tmp_path, monkeypatch):
    append, seen = writing.ArrayFile.append, []

    def watching(self, rows):
        seen.append(list(tmp_path.glob("encoded/small/encoded-*/feature_map.json")))
        append(self, rows)

    monkeypatch.setattr(writing.ArrayFile, "append", watching)
    load(columns(), FEATURES)
    assert seen
    assert not any(seen)
    assert len(list(tmp_path.glob("encoded/small/encoded-*/feature_map.json"))) == 1


def test_C13_a_failed_worker_is_not_swallowed(load, monkeypatch):
    main = threading.get_ident()

    def failing(self, rule, entries):
        assert threading.get_ident() != main
        raise MemoryError("no memory in a worker")

    monkeypatch.setattr(Encoder, "_apply", failing)
    with pytest.raises(MemoryError, match="no memory in a worker"):
        load(columns(), FEATURES)


def test_C14_a_block_may_be_larger_than_the_data(load):
    assert load(columns(), FEATURES, data_block_size=10**9).train.rows == 100


def test_C15_a_vocabulary_may_be_empty(load):
    dataset = load(columns(), [{"name": "x", "min_categr_count": 101}])
    assert dataset.train.ids[:, 0].tolist() == [1] * 100
    assert dataset.warnings[0].startswith(
        "feature 'x': no token is seen 101 times or more in the training rows"
    )


def test_C19_csv_files_are_read_with_the_installed_polars(load):
    assert load(columns(), FEATURES).train.rows == 100, pl.__version__


def test_C22_parallel_encoding_keeps_the_order_of_the_rows(options, write):
    path = write("train.csv", columns(2000))
    meta = {"name": "row", "type": "meta", "dtype": "int"}
    stanza = options(path, [*FEATURES, meta], data_block_size=37, valid_data=str(path))
    dataset = load_dataset(stanza, [parse_task("click", "click")], "small", threads=8, progress=False)
    for split in (dataset.train, dataset.valid):
        assert split.meta()["row"].to_list() == list(range(2000))
        np.testing.assert_array_equal(split.numeric[:, 0], np.float32(columns(2000)["n"]))


def test_C23_an_unknown_data_format_is_an_error(load):
    with pytest.raises(DataError, match=r"data_format 'parqet' is unknown. Did you mean 'parquet'\?"):
        load(columns(), FEATURES, data_format="parqet")


def test_every_feature_may_have_its_own_embedding_dim(load, caplog):
    with caplog.at_level(logging.WARNING):
        dataset = load(columns(), [FEATURES[0] | {"embedding_dim": 4}])
    assert dataset.feature_map["x"].embedding_dim == 4
    assert not caplog.messages
