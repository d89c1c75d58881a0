"""Types of parquet, npz and h5 files: each gives exact tokens and numbers, or is refused with its column."""

import datetime
from decimal import Decimal

import h5py
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fuxi_mtl.dataset import load_dataset, raw
from fuxi_mtl.dataset.errors import BadEntryError, BadTypeError, DataError, errors_of
from fuxi_mtl.tasks import parse_task

CLICK = [0, 1, 0, 1]
HUGE = [2**63 + i for i in range(4)]


@pytest.fixture
def encoded(options, tmp_path):
    """Encodes four rows of one column; it may be an array for an npz file, or of arrow for a parquet file."""

    def encode(column, **feature):
        if isinstance(column, np.ndarray):
            np.savez(tmp_path / "rows.npz", x=column, click=np.array(CLICK))
            suffix = "npz"
        else:
            pq.write_table(pa.table({"x": column, "click": CLICK}), tmp_path / "rows.parquet")
            suffix = "parquet"
        file = tmp_path / f"rows.{suffix}"
        stanza = options(file, [{"name": "x", **feature}], ["click"], data_format=suffix)
        return load_dataset(stanza, [parse_task("ctr", "click")], "types", threads=1, progress=False)

    return encode


@pytest.mark.parametrize("dtype", ["str", "int"])
@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([Decimal(10**18 + i) for i in range(4)]), [f"{10**18 + i}" for i in range(4)]),
        (pa.array([Decimal(i).scaleb(-2) * 100 for i in range(4)]), ["0", "1", "2", "3"]),
        (pa.array([2**53 + i for i in range(4)]), [f"{2**53 + i}" for i in range(4)]),
        (pa.array([b"1", b"2", b"3", b"4"]), ["1", "2", "3", "4"]),
    ],
)
def test_ids_of_any_type_keep_all_their_digits(encoded, column, expected, dtype):
    assert sorted(encoded(column, dtype=dtype).encoder.tokens["x"]) == expected


def test_unsigned_ids_beyond_64_bits_are_texts_and_no_integers(encoded):
    column = pa.array(HUGE, pa.uint64())
    assert sorted(encoded(column).encoder.tokens["x"]) == [f"{each}" for each in HUGE]
    with pytest.raises(DataError, match=r"column 'x', row 1: 9223372036854775808 .* \(dtype: str\)"):
        encoded(column, dtype="int")


def test_decimals_are_written_without_the_zeros_behind_them_unless_they_are_text():
    entries = pl.Series([Decimal("0.50"), Decimal("100.00"), None, Decimal("-3.25")])
    assert raw.tokens(entries, "str").to_list() == ["0.5", "100", "", "-3.25"]
    assert raw.tokens(entries, "text").to_list() == ["0.50", "100.00", "", "-3.25"]
    with pytest.raises(BadEntryError, match="row 1: .* is not an integer"):
        raw.integers(entries)


@pytest.mark.parametrize("entry", ["9007199254740993.0", " 9007199254740993", "+9007199254740993"])
def test_an_integer_written_with_a_point_or_a_sign_keeps_its_digits(entry):
    assert raw.integers(pl.Series([entry, "1"])).to_list() == [9007199254740993, 1]


def test_a_float_that_may_stand_for_several_ids_is_no_id(encoded):
    for feature in ({}, {"dtype": "int"}, {"type": "sequence"}):
        with pytest.raises(DataError, match=r"column 'x', row 1: .* Store the column as integers or as text"):
            encoded(pa.array([2.0**53] * 4), **feature)


def test_the_smallest_integer_is_missing_as_numpy_makes_it_of_nan():
    assert raw.integers(pl.Series([-(2**63), 5])).to_list() == [None, 5]


@pytest.mark.parametrize(
    ("column", "feature", "expected"),
    [
        (pa.array([["a"]] * 4), {}, "holds lists of String, which is not a category. Store one .* sequence"),
        (pa.array([["a"]] * 4), {"dtype": "int"}, "lists of String, which is not a"),
        (pa.array([[1]] * 4), {"type": "numeric"}, "lists of Int64, which is not a number"),
        (pa.array([[1]] * 4), {"remap": False, "vocab_size": 9}, "lists of Int64, which is not an integer"),
        (pa.array([[[1]]] * 4), {"type": "sequence"}, "holds lists of Int64, which is not a category"),
        (pa.array([datetime.timedelta(1)] * 4), {}, "which is not a category. Store it as a number, such as"),
        (pa.array([[("a", 1)]] * 4, pa.map_(pa.string(), pa.int64())), {}, "which is not a category"),
        (pa.array([{"a": 1}] * 4), {}, "holds mappings, which is not a category. Store one text or number"),
        (pa.array([b"\xff"] * 4), {}, "holds bytes that are no text in UTF-8"),
        (pa.array([datetime.date(2020, 1, 1)] * 4), {"type": "numeric"}, "holds Date, which is not a number"),
        (np.arange(4).reshape(4, 1), {}, r"holds lists of Int64, .*x\[:, 0\]"),
        (np.zeros(4, [("a", "i4")]), {}, " is of dtype .* Save each of its fields as an array"),
        (
            np.zeros(4, complex),
            {"type": "numeric"},
            " is of dtype complex128, of which there is",
        ),
        (np.array([b"\xff"] * 4), {}, " holds bytes that are no text in UTF-8"),
    ],
)
def test_a_type_without_a_token_or_number_is_refused_with_file_and_column(encoded, column, feature, expected):
    with pytest.raises(DataError, match=rf"rows\.(parquet|npz).*'x'.*{expected}"):
        encoded(column, **feature)


def test_h5_arrays_of_lists_and_references_are_no_column(options, tmp_path):
    for dtype in (h5py.vlen_dtype(np.int32), h5py.ref_dtype):
        with h5py.File(tmp_path / "rows.h5", "w") as file:
            file["click"] = CLICK
            file.create_dataset("x", (4,), dtype=dtype)
        stanza = options(tmp_path / "rows.h5", [{"name": "x"}], ["click"], data_format="h5")
        with pytest.raises(DataError, match=r"rows.h5: the array 'x' is of dtype object"):
            load_dataset(stanza, [parse_task("ctr", "click")], "types", threads=1, progress=False)


def test_an_error_of_polars_is_told_as_one_of_the_column():
    with (
        pytest.raises(
            BadTypeError, match=r"column 'x' holds lists of String, which cannot be read here \(no"
        ),
        errors_of("x", pl.List(pl.String)),
    ):
        raise pl.exceptions.ComputeError("no\nwonder")
