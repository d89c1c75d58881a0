"""Text columns that a parquet file has numbered: the same entries as when each row is read."""

from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fuxi_mtl.dataset import dictionaries, reading
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


def test_a_number_without_a_text_is_an_error_with_its_column(tmp_path):
    path = written(tmp_path, compression="none", use_dictionary=["few"], write_statistics=False)
    chunk, content = pq.read_metadata(path).row_group(1).column(0), bytearray(path.read_bytes())
    content[chunk.dictionary_page_offset + chunk.total_compressed_size - 2] |= 0xFF  # of three bits each
    path.write_bytes(content)
    with pytest.raises(
        DataError, match=r"rows\.parquet cannot be read as parquet: column 'few': Dictionary indices invalid"
    ):
        read(path, ["few"])


def test_a_text_that_stands_twice_is_read_from_its_rows_where_the_writer_is_not_known(tmp_path):
    # pyarrow takes one out, and numbers behind it stay.
    texts = [f"u{number}" for number in np.random.default_rng(1).integers(1, 9, ROWS)]
    frame = FRAME.with_columns(few=pl.Series(texts))
    path = written(tmp_path, frame, compression="none", use_dictionary=["few"], write_statistics=False)
    content, metadata = path.read_bytes(), pq.read_metadata(path)
    for number in range(metadata.num_row_groups):
        chunk = metadata.row_group(number).column(0)
        page = slice(chunk.dictionary_page_offset, chunk.data_page_offset)
        content = content[: page.start] + content[page].replace(b"u3", b"u1") + content[page.stop :]
    path.write_bytes(content.replace(b"parquet-cpp-arrow", b"somebody-or-other"))
    found, numbered = read(path, ["few"])
    assert numbered == set()
    assert found["few"].to_list() == [text.replace("u3", "u1") for text in texts]


def test_a_column_of_many_texts_is_read_from_its_rows(tmp_path):
    frame = FRAME.with_columns(many=pl.Series([f"{number:0>300}" for number in range(ROWS)]))
    limits = {"dictionary_pagesize_limit": 10_000, "data_page_size": 10_000, "row_group_size": ROWS}
    found, numbered = read(written(tmp_path, frame, **limits), ["few", "many"])
    assert numbered == {
        "few"
    }  # of many later rows are texts again, which pyarrow would number for each block
    assert found.equals(frame)


def test_types_that_pyarrow_does_not_know_are_read_as_ever(tmp_path, monkeypatch):
    frame = FRAME.with_columns(wide=pl.lit(1, pl.Int128))
    frame.write_parquet(tmp_path / "rows.parquet", row_group_size=300)
    monkeypatch.setattr(reading, "_BLOCKS_AHEAD", 1)  # the file is longer than what is read ahead
    assert read(tmp_path / "rows.parquet", ["few"])[0].equals(FRAME)


def test_a_name_that_is_a_path_within_another_column_is_read_from_its_rows(tmp_path):
    inner = pl.Series("a", [{"b": "other", "c": 1}] * ROWS)
    frame = FRAME.select(pl.col("few").alias("a.b"), "number").with_columns(inner)
    [(first, found), *_] = numbered_blocks(written(tmp_path, frame), ["a.b", "number"], ["a.b"], ROWS)
    assert not found
    assert first["a.b"].to_list() == FRAME["few"].head(len(first)).to_list()


def test_a_source_cuts_them_with_its_rows(tmp_path):
    source = source_of("input", written(tmp_path), block_rows=128)
    object.__setattr__(source, "n_rows", 450)
    blocks = list(source.blocks(FRAME.columns, texts=["few"]))
    texts = pl.concat([block.texts["few"].values.gather(block.texts["few"].rows) for block in blocks])
    assert texts.equals(FRAME["few"].head(450))
    assert sum(len(block.rows) for block in blocks) == 450
