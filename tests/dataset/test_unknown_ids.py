"""The share of entries that no vocabulary knows is logged, and a warning where it is not what to expect."""

import json

import polars as pl

from fuxi_mtl.dataset import Encoder
from fuxi_mtl.dataset.unknown import UnknownIds
from fuxi_mtl.interface.data import Reader

CLICK = [0, 1, 0, 1]
FEATURES = [{"name": "item"}, {"name": "tags", "type": "sequence", "max_len": 2}]


def columns(*items):
    return {"item": items, "tags": ["a^b", "a", "", "b"], "click": CLICK}


def test_shares_are_logged_by_feature_and_kept_with_the_encoding(load, write, caplog, tmp_path):
    valid = write("valid.csv", {**columns("x", "new", "y", "z"), "tags": ["a^c", "c^d", "", "b"]})
    with caplog.at_level("INFO", "fuxi_mtl.dataset"):
        dataset = load(columns("x", "y", "x", "y"), FEATURES, valid_data=str(valid))
    assert "small, valid: unknown ids: tags 60.00%, item 50.00%." in caplog.text
    assert dataset.encoder.unknown == {"item": 0.5, "tags": 0.6}
    assert not dataset.warnings
    dataset.encoder.save(tmp_path)
    assert Encoder.load(tmp_path).unknown == dataset.encoder.unknown
    assert json.loads((tmp_path / "encoders.json").read_text())["unknown"] == {"item": 0.5, "tags": 0.6}


def test_a_split_that_is_written_otherwise_is_a_warning_with_examples(load, write):
    valid = write("valid.csv", columns("X", "Y", "X", "Y"))
    dataset = load(columns("x", "y", "x", "y"), FEATURES, valid_data=str(valid))
    (told,) = [each for each in dataset.warnings if "unknown" in each]
    assert told.startswith(
        "feature 'item': 100% of its entries in valid are unknown, such as 'X', 'Y', 'X'; "
    )
    assert told.endswith("training knows 'x', 'y'. Are they written alike?")


def test_far_more_than_in_validation_is_a_warning(load, write):
    valid = write("valid.csv", columns("x", "y", "x", "new"))
    test = write("test.csv", columns("p", "q", "r", "x"))
    dataset = load(columns("x", "y", "x", "y"), FEATURES, valid_data=str(valid), test_data=str(test))
    (told,) = [each for each in dataset.warnings if "unknown" in each]
    assert "75% of its entries in test are unknown (25.0% in validation), such as 'p', 'q', 'r'" in told
    other = write("other.csv", columns("p", "q", "r", "s"))
    dataset = load(columns("x", "y", "x", "y"), FEATURES, valid_data=str(valid), test_data=str(other))
    assert "100% of its entries in test are unknown (25.0% in validation)" in dataset.warnings[0]


def test_new_rows_are_compared_with_validation(load):
    encoder = load(columns("x", "y", "x", "y"), FEATURES).encoder
    frame = pl.DataFrame({"item": ["1.5", "2.5"], "tags": ["a", "b"]})
    found = UnknownIds(encoder)
    found.observe(frame, encoder.encode(frame)[0])
    assert found.shares() == {"item": 1.0, "tags": 0.0}
    assert len(list(found.warnings("the input", {"item": 0.0}))) == 1
    assert list(found.warnings("the input", {"item": 1.0})) == []


def test_rows_in_memory_are_warned_of_too(load, caplog):
    dataset = load(columns("x", "y", "x", "y"), FEATURES)
    with caplog.at_level("INFO", "fuxi_mtl.dataset"):
        Reader(dataset.encoder).encode({"item": ["X", "Y"], "tags": ["a", "q"]})
    assert "the rows: unknown ids: item 100.00%, tags 50.00%." in caplog.text
    assert "feature 'item': 100% of its entries in the rows are unknown, such as 'X', 'Y'" in caplog.text
