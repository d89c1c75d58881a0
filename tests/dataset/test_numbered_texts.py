"""Text columns that a parquet file has numbered: the same entries as when each row is read."""

from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fuxi_mtl.dataset import dictionaries
from fuxi_mtl.dataset.errors import DataError
from fuxi_mtl.dataset.reading import numbered_blocks
from fuxi_mtl.dataset.sources import source_of

ROWS, TEXTS = 1000, ["few", "many", "gaps", "number"]
_RANDOM = np.random.default_rng(1)
FRAME = pl.DataFrame(
    {
        "few": _RANDOM.choice(["a", "bc", "", None, "3.0", "3"], ROWS).tolist(),
        "many": [f"text number {i}" for i in _RANDOM.integers(0, 900, ROWS)],
        "gaps": [None] * ROWS,
        "number": _RANDOM.integers(0, 5, ROWS),
        "other": _RANDOM.choice(["x", "y"], ROWS).tolist(),
    },
    schema_overrides={"gaps": pl.String},
)


@pytest.fixture(autouse=True)
def small_files_too(monkeypatch):
    monkeypatch.setattr(dictionaries, "_WORTH_ROWS", 0)


def written(folder: Path, frame: pl.DataFrame = FRAME, **options) -> Path:
    pq.write_table(frame.to_arrow(), folder / "rows.parquet", **{"row_group_size": 300, **options})
    return folder / "rows.parquet"


def read(path: Path, texts: list[str], block_rows: int = 128) -> tuple[pl.DataFrame, set[str]]:
    """All rows, and which columns came as their different texts."""
    parts, numbered = [], set()
    for frame, found in numbered_blocks(path, FRAME.columns, texts, block_rows):
        numbered |= found.keys()
        as_they_are = [pl.Series(name, values.gather(rows)) for name, (values, rows) in found.items()]
        parts.append(frame.with_columns(as_they_are).select(FRAME.columns))
        assert all(len(rows) == frame.height for _, rows in found.values())
        assert all(len(np.unique(rows)) == len(values) for values, rows in found.values())
    return pl.concat(parts), numbered


@pytest.mark.parametrize("block_rows", [1, 128, 300, 5000])
def test_entries_are_those_of_each_row_gaps_and_empty_ones_included(tmp_path, block_rows):
    found, numbered = read(written(tmp_path, FRAME.select(reversed(FRAME.columns))), TEXTS, block_rows)
    assert found.equals(FRAME)
    assert numbered == {"few", "many", "gaps"}


@pytest.mark.parametrize("writer", ["polars", "pandas", "arrow's large texts"])
def test_files_of_other_writers(tmp_path, writer):
    if writer == "polars":
        FRAME.write_parquet(tmp_path / "rows.parquet", row_group_size=300)
    elif writer == "pandas":
        FRAME.to_pandas().to_parquet(tmp_path / "rows.parquet", row_group_size=300)
    else:
        written(tmp_path, FRAME.cast({"few": pl.String}))
    found, numbered = read(tmp_path / "rows.parquet", ["few", "many"])
    assert found.equals(FRAME)
    assert "few" in numbered


@pytest.mark.parametrize(
    ("options", "numbered"),
    [
        ({"use_dictionary": ["few"]}, {"few"}),
        ({"use_dictionary": False}, set()),
        ({"use_dictionary": ["few"], "column_encoding": {"many": "DELTA_BYTE_ARRAY"}}, {"few"}),
        ({"dictionary_pagesize_limit": 100, "data_page_size": 100}, {"few", "many"}),  # the rest plainly
    ],
)
def test_only_what_the_file_has_numbered_comes_so(tmp_path, options, numbered):
    found, there = read(written(tmp_path, **options), ["few", "many"])
    assert found.equals(FRAME)
    assert there == numbered


def test_a_file_of_texts_alone_keeps_a_column_as_it_is(tmp_path):
    path = written(tmp_path)
    [(frame, found), *_] = numbered_blocks(path, ["few", "other"], ["few", "other"], 5000)
    assert frame.columns == ["other"]
    assert list(found) == ["few"]


def test_categories_and_lists_are_read_as_ever(tmp_path):
    frame = FRAME.with_columns(pl.col("few").cast(pl.Categorical), many=pl.concat_list("many"))
    found, numbered = read(written(tmp_path, frame), ["few", "many"])
    assert numbered == set()
    assert found["few"].cast(pl.String).equals(FRAME["few"])


def test_bytes_that_are_no_text_are_an_error_with_their_file(tmp_path):
    texts = pa.array([b"good", b"\xff\xfe"], pa.binary()).dictionary_encode()
    bad = pa.DictionaryArray.from_arrays(texts.indices, texts.dictionary.view(pa.string()))
    table = pa.table({"few": bad, "number": [1, 2]}).cast(
        pa.schema({"few": pa.dictionary(pa.int32(), pa.string()), "number": pa.int64()})
    )
    path = tmp_path / "rows.parquet"
    pq.write_table(table, path, store_schema=False)
    with pytest.raises(DataError, match=r"rows\.parquet cannot be read as parquet: .*UTF"):
        list(numbered_blocks(path, ["few", "number"], ["few"], 10))


def test_a_source_cuts_them_with_its_rows(tmp_path):
    source = source_of("input", written(tmp_path), block_rows=128)
    object.__setattr__(source, "n_rows", 450)
    blocks = list(source.blocks(FRAME.columns, texts=["few"]))
    texts = pl.concat([block.texts["few"].values.gather(block.texts["few"].rows) for block in blocks])
    assert texts.equals(FRAME["few"].head(450))
    assert sum(len(block.rows) for block in blocks) == 450
