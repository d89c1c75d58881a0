"""Rows in memory are read as files are: the same ids, numbers and labels, or an error with the column."""

import datetime as dt

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from interface_world import TINY, small_data, small_rows, tiny_data

import fuxi_mtl as fm
from fuxi_mtl.config import load_experiment
from fuxi_mtl.dataset import load_dataset
from fuxi_mtl.dataset.frames import FrameSource


def lists_of(frame: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """The frame with lists in the place of texts such as ``a^b``."""
    return frame.assign(
        **{
            name: [text.split("^") if isinstance(text, str) else None for text in frame[name]]
            for name in columns
        }
    )


KINDS = {
    "pandas": lambda frame: frame,
    "pandas with categories, lists and nullable integers": lambda frame: lists_of(
        frame, "tags", "recent_items"
    ).astype({"category": "category", "hour": "Int64", "click": "boolean", "item_id": "category"}),
    "polars": pl.from_pandas,
    "lazy polars": lambda frame: pl.from_pandas(frame).lazy(),
    "arrow": lambda frame: pa.Table.from_pandas(frame, preserve_index=False),
    "dict of arrays": lambda frame: {name: frame[name].to_numpy() for name in frame},
    "dict of lists": lambda frame: {name: frame[name].tolist() for name in frame},
}


@pytest.mark.parametrize("n_rows", [None, 7])
def test_blocks_of_rows_in_memory_follow_one_another(n_rows):
    source = FrameSource("train_data", pl.DataFrame({"x": range(10), "y": range(10)}), n_rows, block_rows=3)
    blocks, rows = list(source.blocks(["x"])), list(range(n_rows or 10))
    assert [block.start for block in blocks] == rows[::3]
    assert np.concatenate([block.rows for block in blocks]).tolist() == rows
    assert [row for block in blocks for row in block.frame["x"]] == rows
    assert source.count_rows() == len(rows)


def arrays_of(encoded) -> dict[str, np.ndarray]:
    splits = (encoded.train, encoded.valid, encoded.test)
    return {
        f"{split.name}.{part}": np.asarray(getattr(split, part))
        for split in splits
        for part in ("ids", "numeric", "events")
    }


@pytest.fixture(scope="module")
def from_csv(tmp_path_factory):
    """The stanza's own encoding of the files."""
    root = tmp_path_factory.mktemp("encoded")
    config = TINY.parents[1] / "config"
    changes = {f"{name}_data": str(TINY / f"{name}.csv") for name in ("train", "valid", "test")}
    experiment = load_experiment(config, "MMoE_test", changes=changes)
    return load_dataset(experiment.dataset, experiment.tasks, "tiny_mtl", progress=False, root=root)


@pytest.fixture(scope="module", autouse=True)
def zoo():
    fm.list_models()


@pytest.mark.parametrize("kind", KINDS)
def test_a_stanza_and_the_same_rows_in_memory_encode_alike(kind, tiny_frames, from_csv):
    made = KINDS[kind]
    data = tiny_data(*(made(tiny_frames[name]) for name in ("train", "valid", "test")))
    encoded = data.encoded(data.tasks)
    expected = arrays_of(from_csv)
    for name, array in arrays_of(encoded).items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)
    assert encoded.encoder.tokens == from_csv.encoder.tokens
    assert encoded.encoder.columns == from_csv.encoder.columns
    assert encoded.feature_map == from_csv.feature_map


def test_files_and_patterns_are_read_by_their_suffix(tmp_path, from_csv):
    for name in ("train", "valid", "test"):
        pl.read_csv(TINY / f"{name}.csv").write_parquet(tmp_path / f"{name}.parquet")
    data = tiny_data(tmp_path / "tr*.parquet", tmp_path / "valid.parquet", str(tmp_path / "test.parquet"))
    np.testing.assert_array_equal(data.encoded(data.tasks).train.ids, from_csv.train.ids)


def test_whole_numbers_with_gaps_are_the_integers_that_they_were():
    items = [10049.0, float("nan"), 10050.0, 10049.0]
    rows = {"item": np.array(items), "bag": [[1.0, None], None, [2.0], []], "click": [0, 1, 0, 1]}
    frame = pd.DataFrame(rows)
    features = [fm.Categorical("item"), fm.Sequence("bag")]
    data = fm.Dataset(frame, valid_data=frame, features=features, tasks={"ctr": "click"})
    tokens = data.encoded(data.tasks).encoder.tokens
    assert tokens["item"] == ("10049", "", "10050")
    assert tokens["bag"] == ("1", "2")


def data_of(column, feature: fm.Categorical | None = None, **options) -> fm.Dataset:
    rows = {"x": column, "click": [0, 1]}
    features = [feature or fm.Categorical("x")]
    return fm.Dataset(rows, valid_data=rows, features=features, tasks={"ctr": "click"}, **options)


REFUSED = {
    "fractional categories": ([1.5, 2.0], None, "fractional numbers, such as 1.5: their text is open"),
    "floats as exact texts": ([3.0, 2.0], fm.Categorical("x", dtype="text"), "such as 3.0: their text is"),
    "times as categories": ([dt.datetime(2026, 1, 1)] * 2, None, "more than one text. Give the text"),
    "times as numbers": ([dt.datetime(2026, 1, 1)] * 2, fm.Numeric("x"), "which is no number"),
    "bytes that are no text": ([b"a", b"\xff"], None, "holds bytes that are no text in UTF-8"),
    "mixed entries": ([1, "a"], None, r"entries are not of one type .*frame\['x'\].astype\(str\)"),
    "a cube": (np.zeros((2, 2, 2)), fm.Embedding("x"), r"shape \(2, 2, 2\) is no column"),
    "complex numbers": (np.zeros(2, complex), fm.Numeric("x"), "dtype complex128 is no column"),
    "another length": ([1, 2, 3], None, "differ in length: x 3, click 2"),
    "a text as a number": (["1", "one"], fm.Numeric("x"), "column 'x', row 2: 'one' is not a number"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_a_column_cannot_mean_is_refused_with_its_name(what):
    column, feature, message = REFUSED[what]
    with pytest.raises(ValueError, match=message):
        _ = data_of(column, feature).features


def test_dates_are_their_iso_texts_and_booleans_are_texts():
    dates = data_of([dt.date(2026, 1, 2), dt.date(2026, 1, 1)])
    assert dates.encoded(dates.tasks).encoder.tokens == {"x": ("2026-01-01", "2026-01-02")}


def test_arrays_of_other_machines_masks_and_bytes_are_read():
    for column in (np.array([1, 2], ">i4"), np.ma.masked_array([1, 7], [False, True]), np.array([b"1", b""])):
        data = data_of(column)
        tokens = data.encoded(data.tasks).encoder.tokens["x"]
        assert "1" in tokens
        assert "7" not in tokens  # which is masked
    vectors = data_of(np.array([[1, 2], [3, 4]], np.float16), fm.Embedding("x"))
    assert vectors.encoded(vectors.tasks).train.numeric.tolist() == [[1, 2], [3, 4]]


def test_a_missing_column_is_told_with_the_nearest():
    rows = {name.replace("user_id", "userid"): column for name, column in small_rows().items()}
    with pytest.raises(ValueError, match="train_data: there is no column 'user_id'. Did you mean 'userid'"):
        _ = small_data(rows).features


def test_two_columns_of_one_name_are_refused():
    frame = pd.DataFrame([[1, 2, 0], [3, 4, 1]], columns=["x", "x", "click"])
    with pytest.raises(ValueError, match="train_data has two columns called 'x'"):
        _ = fm.Dataset(frame, valid_data=frame, features=[fm.Numeric("x")], tasks={"ctr": "click"}).features


def test_only_the_columns_that_are_needed_are_looked_at():
    rows = {**small_rows(), "comment": [object()] * 160}
    assert small_data(pd.DataFrame(rows)).features == small_data().features


def test_rows_of_an_unknown_kind_are_refused():
    with pytest.raises(ValueError, match="train_data is list. It can be: a frame of pandas"):
        fm.Dataset([1, 2], features=[fm.Numeric("x")], tasks={"ctr": "click"})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"valid_sise": 0.1}, "Dataset: unknown key 'valid_sise'.*Did you mean 'valid_size'"),
        ({"split_type": "randm"}, "split_type is 'randm'. Did you mean 'random'"),
        ({"valid_size": object()}, "object is no value of an option"),
        ({"label_col": []}, r"label_col is a stanza's word; here it is labels=\[...\]"),
        ({"features": [fm.Numeric("x", normalizer="Standard")]}, "normalizer is 'Standard'"),
        ({"valid_size": 0}, "there is no validation data"),
        ({"tasks": {"ctr": "click |"}}, "cannot read 'click |'"),
    ],
)
def test_a_mistake_in_the_description_is_told_as_a_stanzas_is(options, message):
    given = {"features": [fm.Numeric("x")], "tasks": {"ctr": "click"}, "valid_size": 0.1} | options
    with pytest.raises(ValueError, match=message):
        fm.Dataset({"x": [1.0, 2.0], "click": [0, 1]}, **given)


def test_a_temporary_encoding_is_gone_with_the_data_and_one_in_data_root_stays(tmp_path):
    data = small_data()
    folder = data.encoded(data.tasks).folder
    assert folder.is_dir()
    del data
    assert not folder.exists()
    kept = small_data(data_root=tmp_path)
    assert kept.encoded(kept.tasks).folder.is_relative_to(tmp_path)
    # Equal rows are found again by another object, other rows are not.
    again, other = small_data(data_root=tmp_path), small_data(small_rows(seed=9), data_root=tmp_path)
    assert again.encoded(again.tasks).key == kept.encoded(kept.tasks).key
    assert other.encoded(other.tasks).key != kept.encoded(kept.tasks).key


def test_splits_of_frames_are_those_of_files(tmp_path):
    frame = pl.DataFrame(small_rows())
    frame.write_csv(tmp_path / "rows.csv")
    for options in ({}, {"split_type": "user", "split_col": "user_id"}, {"n_rows": 100}):
        of_frame, of_file = (small_data(rows, **options) for rows in (frame, tmp_path / "rows.csv"))
        one, other = (data.encoded(data.tasks) for data in (of_frame, of_file))
        np.testing.assert_array_equal(one.valid.ids, other.valid.ids)
        np.testing.assert_array_equal(one.test.events, other.test.events)


def test_a_dataset_shows_what_it_is():
    assert repr(small_data()) == (
        "<Dataset 'data': train_data=dict of 160 rows; ctr: click, cvr: buy | click>"
    )


LONE = {"features": "x", "labels": "click", "meta": "x"}


@pytest.mark.parametrize("word", LONE)
def test_a_lone_name_is_no_list_of_columns(word):
    given = {"features": [fm.Numeric("x")], "tasks": {"ctr": "click"}} | {word: LONE[word]}
    with pytest.raises(ValueError, match=rf"Dataset: {word} is '{LONE[word]}'. It is a list: {word}=\[...\]"):
        fm.Dataset({"x": [1.0, 2.0], "click": [0, 1]}, valid_size=0.5, **given)


def test_what_a_column_is_and_what_a_task_is_must_be_said():
    rows = {"x": [1.0, 2.0], "click": [0, 1]}
    with pytest.raises(ValueError, match=r"features has 'x'. Say what it is: fm.Categorical\('x'\)"):
        fm.Dataset(rows, valid_size=0.5, features=["x"], tasks={"ctr": "click"})
    with pytest.raises(ValueError, match=r"tasks is \['click'\]. It says what each is: \{\"ctr\": \"click\""):
        fm.Dataset(rows, valid_size=0.5, features=[fm.Numeric("x")], tasks=["click"])


def test_a_misspelt_keyword_of_a_column_is_told_with_the_nearest():
    with pytest.raises(TypeError, match="Sequence has no option 'max_lenn'. Did you mean 'max_len'?"):
        fm.Sequence("recent_items", max_lenn=3)
    with pytest.raises(TypeError, match="Label has no option 'knd'. Did you mean 'kind'?"):
        fm.Label("spend", knd="regression")
    with pytest.raises(TypeError, match="Numeric has no option 'type'"):
        fm.Numeric("price", type="categorical")
