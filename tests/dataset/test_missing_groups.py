"""Rows without a group: the same in every format, in gAUC, in metrics by value and in splits."""

import numpy as np
import polars as pl
import pytest

from fuxi_mtl.dataset import load_dataset
from fuxi_mtl.evaluation.measure import groups
from fuxi_mtl.tasks import parse_task
from fuxi_mtl.workflow.breakdown import values_of

FEATURES = [{"name": "x"}, {"name": "group", "type": "meta"}]
ROWS = {"x": ["a", "b", "a", "b", "a"], "click": [0, 1, 0, 1, 1]}
NAN = float("nan")
TEXTS = {
    "csv": ["s1", "", "s2", None, "s1"],
    "parquet": ["s1", "", "s2", None, "s1"],
    "npz": ["s1", "", "s2", "", "s1"],
    "h5": ["s1", "", "s2", "", "s1"],
}
NUMBERS = {
    "csv": [1.0, None, 2.0, None, 1.0],
    "parquet": [1.0, NAN, 2.0, None, 1.0],
    "npz": [1.0, NAN, 2.0, NAN, 1.0],
    "h5": [1.0, NAN, 2.0, NAN, 1.0],
}


@pytest.mark.parametrize("suffix", TEXTS)
@pytest.mark.parametrize(
    ("entries", "dtype", "names"),
    [(TEXTS, "str", ["s1", "s2"]), (NUMBERS, "str", ["1", "2"]), (NUMBERS, "float", ["1.0", "2.0"])],
)
def test_neither_nan_nor_null_nor_empty_text_is_a_group(load, suffix, entries, dtype, names):
    features = [FEATURES[0], FEATURES[1] | {"dtype": dtype}]
    dataset = load(ROWS | {"group": entries[suffix]}, features, file=f"train.{suffix}")
    found = groups(dataset.train, "group")
    assert np.isnan(found).tolist() == [False, True, False, True, False]
    assert found[0] == found[4] != found[2]
    by_value = values_of(dataset.train, dataset, "group").to_list()
    assert by_value == [names[0], "(missing)", names[1], "(missing)", names[0]]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("dtype", ["str", "text"])
def test_a_group_that_another_file_writes_with_a_point_is_the_same_unless_it_is_text(
    options, write, tmp_path, suffix, dtype
):
    write(f"part_1.{suffix}", ROWS | {"group": [1, 2, 3, 1, 2]})
    write(f"part_2.{suffix}", ROWS | {"group": pl.Series([1.0, 2.0, None, 1.0, 4.0])})
    features = [FEATURES[0], FEATURES[1] | {"dtype": dtype}]
    stanza = options(tmp_path / f"part_*.{suffix}", features, data_format=suffix)
    dataset = load_dataset(stanza, [parse_task("ctr", "click")], "gap", threads=1, progress=False)
    point = "" if dtype == "str" else ".0"
    names = ["1", "2", "3", "1", "2", f"1{point}", f"2{point}", None, f"1{point}", f"4{point}"]
    assert dataset.train.meta(["group"])["group"].to_list() == names
    told = [each for each in dataset.warnings if "with a point" in each]
    assert [each.startswith("column 'group': 4 entries are") for each in told] == [True] * (dtype == "str")
