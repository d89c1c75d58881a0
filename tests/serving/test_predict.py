"""Predictions for files: the same in blocks as at once, in order, and whole or not at all."""

import logging
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from fuxi_mtl.dataset import DataError, Encoder, dictionaries
from fuxi_mtl.dataset.csv_reading import CsvFormat
from fuxi_mtl.registry import import_zoo
from fuxi_mtl.serving.predict import predict_file
from tests import raw_rows

import_zoo()

TASKS = ["ctr_pred", "cvr_pred", "ctcvr_pred"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Encoder:
    return raw_rows.fitted(tmp_path_factory.mktemp("raw"))


@pytest.fixture(scope="module")
def model(encoder):
    return raw_rows.model_for(encoder)


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    """Without labels."""
    return raw_rows.frame(103, seed=4, unseen=True).drop("click", "buy")


@pytest.fixture(scope="module")
def expected(model, encoder, rows) -> dict[str, np.ndarray]:
    ids, numeric = encoder.encode(rows)
    scores = model.predict({"ids": ids, "numeric": numeric}, verbose=0)
    return {f"{name}_pred": values for name, values in scores.items()}


@pytest.fixture
def file(rows, tmp_path) -> Path:
    rows.write_csv(tmp_path / "rows.csv")
    return tmp_path / "rows.csv"


def assert_scores(frame: pl.DataFrame, expected: dict[str, np.ndarray]) -> None:
    for name, values in expected.items():
        np.testing.assert_allclose(frame[name].cast(pl.Float32).to_numpy(), values, rtol=0, atol=1e-6)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("block_rows", [10, 100_000])
def test_blocks_give_the_rows_in_order_beside_the_kept_columns(
    suffix, block_rows, model, encoder, file, rows, expected, tmp_path
):
    output = tmp_path / f"scores{suffix}"
    count = predict_file(
        model, encoder, file, output, ["request", "age"], batch_size=32, block_rows=block_rows
    )
    scores = pl.read_csv(output, infer_schema=False) if suffix == ".csv" else pl.read_parquet(output)
    assert count == len(rows) == len(scores)
    assert scores.columns == ["request", "age", *TASKS]
    # The texts of the file, as they were: 00007 stays 00007.
    assert scores["request"].to_list() == rows["request"].to_list()
    assert scores["age"].to_list() == rows["age"].to_list()
    assert_scores(scores, expected)


def test_nothing_is_carried_over_unless_asked_for(model, encoder, file, tmp_path):
    predict_file(model, encoder, file, tmp_path / "scores.parquet")
    scores = pl.read_parquet(tmp_path / "scores.parquet")
    assert scores.schema == dict.fromkeys(TASKS, pl.Float32)


def test_a_column_named_twice_is_carried_over_once(model, encoder, file, tmp_path):
    predict_file(model, encoder, file, tmp_path / "scores.csv", ["user", "user"])
    assert pl.read_csv(tmp_path / "scores.csv").columns == ["user", *TASKS]


def test_every_format_of_the_input_gives_the_same(model, encoder, rows, expected, tmp_path):
    rows.write_csv(tmp_path / "rows.tsv", separator="\t")
    rows.write_csv(tmp_path / "bars.txt", separator=";")
    rows.write_parquet(tmp_path / "rows.parquet")
    np.savez(
        tmp_path / "rows.npz",
        **{name: rows[name].fill_null("").to_numpy().astype(str) for name in rows.columns},
    )
    for name, sep in (("rows.tsv", None), ("bars.txt", ";"), ("rows.parquet", None), ("rows.npz", None)):
        predict_file(model, encoder, tmp_path / name, tmp_path / "scores.parquet", ["request"], sep=sep)
        scores = pl.read_parquet(tmp_path / "scores.parquet")
        assert scores["request"].to_list() == rows["request"].to_list()
        assert_scores(scores, expected)


@pytest.mark.parametrize("keep", [[], ["device"]])
def test_texts_that_a_parquet_file_has_numbered_give_the_same_and_the_same_examples(
    keep, model, encoder, rows, tmp_path, monkeypatch, caplog
):
    rows.with_columns(user=pl.lit("nobody")).write_parquet(tmp_path / "rows.parquet", row_group_size=30)
    found = []
    for worth_rows in (0, len(rows) + 1):
        monkeypatch.setattr(dictionaries, "_WORTH_ROWS", worth_rows)
        with caplog.at_level(logging.INFO):
            predict_file(
                model, encoder, tmp_path / "rows.parquet", tmp_path / "scores.parquet", keep, block_rows=40
            )
        found.append((pl.read_parquet(tmp_path / "scores.parquet"), caplog.messages.copy()))
        caplog.clear()
    (numbered, told), (plain, told_of_plain) = found
    assert numbered.equals(plain)
    assert told == told_of_plain
    assert any("'user': 100% of its entries in the input are unknown" in each for each in told)
    assert any("such as 'nobody'" in each for each in told)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_file_with_a_header_only_gives_a_header_only(suffix, model, encoder, rows, tmp_path):
    rows[:0].write_csv(tmp_path / "rows.csv")
    output = tmp_path / f"scores{suffix}"
    assert predict_file(model, encoder, tmp_path / "rows.csv", output, ["request"]) == 0
    scores = pl.read_csv(output) if suffix == ".csv" else pl.read_parquet(output)
    assert scores.columns == ["request", *TASKS]
    assert len(scores) == 0


def test_an_older_output_is_replaced_when_the_new_one_is_whole(model, encoder, file, rows, tmp_path):
    output = tmp_path / "scores.csv"
    output.write_text("older")
    predict_file(model, encoder, file, output)
    assert len(pl.read_csv(output)) == len(rows)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.csv", "scores.csv"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input": "row.csv"}, r"input: .*row\.csv is no file, seen from .* Did you mean 'rows.csv'\?"),
        ({"input": "nowhere/row.csv"}, r"input: .*nowhere/row\.csv is no file, seen from [^?]*$"),
        ({"input": "rows.xlsx"}, r"input: .*rows\.xlsx has the suffix '\.xlsx'\. Suffixes: \.csv, .*\.h5\."),
        ({"input": "empty.csv"}, r"input: .*empty\.csv is empty"),
        ({"sep": ";"}, r"input: .*rows\.csv has a single column when split at sep ';'.* Set sep"),
        (
            {"output": "scores.json"},
            r"output: .*scores\.json has the suffix '\.json'\. Suffixes: \.csv, \.parquet\.",
        ),
        ({"output": "rows.csv"}, r"output: .*rows\.csv is the input itself"),
        ({"output": "none/scores.csv"}, r"output: .*none does not exist"),
        ({"output": "folder.csv"}, r"output: .*folder\.csv is a folder"),
        ({"keep": ["requests"]}, r"input: .*rows\.csv has no column 'requests'\. Did you mean 'request'\?"),
        ({"keep": ["ctr_pred"]}, r"keep: 'ctr_pred' is the name of a prediction"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_written(changes, message, model, encoder, file):
    folder = file.parent
    (folder / "folder.csv").mkdir()
    (folder / "empty.csv").write_text("")
    (folder / "rows.xlsx").write_text("x")
    before = sorted(folder.iterdir())
    names = {"input": "rows.csv", "output": "scores.csv"} | changes
    paths = {key: folder / names.pop(key) for key in ("input", "output")}
    with pytest.raises(DataError, match=message):
        predict_file(model, encoder, **paths, **names)
    assert sorted(folder.iterdir()) == before


def test_a_missing_column_is_named_with_its_file_and_the_nearest(model, encoder, rows, tmp_path):
    rows.rename({"age": "ages"}).write_csv(tmp_path / "rows.csv")
    with pytest.raises(DataError, match=r"rows\.csv has no column 'age'\. Did you mean 'ages'\?"):
        predict_file(model, encoder, tmp_path / "rows.csv", tmp_path / "scores.csv")


def test_an_entry_that_cannot_be_read_is_named_with_its_row_and_nothing_is_left(
    model, encoder, rows, tmp_path
):
    ages = [*rows["age"][:60], "old", *rows["age"][61:]]
    rows.with_columns(age=pl.Series(ages)).write_csv(tmp_path / "rows.csv")
    (tmp_path / "scores.csv").write_text("older")
    with pytest.raises(DataError, match=r"rows\.csv, column 'age', row 61: 'old' is not a number"):
        predict_file(model, encoder, tmp_path / "rows.csv", tmp_path / "scores.csv", block_rows=10)
    assert (tmp_path / "scores.csv").read_text() == "older"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_bad_row_is_refused_though_training_left_bad_rows_out(model, encoder, file, tmp_path):
    file.write_text(file.read_text() + "one field\n")
    with pytest.raises(DataError, match="row 104: 1 fields, the header has"):
        predict_file(model, encoder, file, tmp_path / "scores.csv", csv=CsvFormat(bad_rows="skip"))
    assert not (tmp_path / "scores.csv").exists()


def test_lists_go_into_a_parquet_file_but_not_into_a_csv_file(model, encoder, rows, tmp_path):
    lists = rows["recent"].str.split("^").cast(pl.List(pl.String))
    rows.with_columns(shown=lists).write_parquet(tmp_path / "rows.parquet")
    predict_file(model, encoder, tmp_path / "rows.parquet", tmp_path / "scores.parquet", ["shown"])
    assert pl.read_parquet(tmp_path / "scores.parquet")["shown"].to_list() == lists.to_list()
    with pytest.raises(DataError, match="keep: column 'shown' holds lists"):
        predict_file(model, encoder, tmp_path / "rows.parquet", tmp_path / "scores.csv", ["shown"])
    assert not (tmp_path / "scores.csv").exists()


def test_a_full_disk_is_told_with_the_file_and_nothing_is_left(model, encoder, file, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pl.DataFrame, "write_csv", full)
    with pytest.raises(DataError, match=r"output: cannot write .*scores\.csv \(No space left on device\)"):
        predict_file(model, encoder, file, file.parent / "scores.csv")
    assert [path.name for path in file.parent.iterdir()] == ["rows.csv"]
