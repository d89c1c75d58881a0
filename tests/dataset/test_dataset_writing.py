import io
import sys

import numpy as np
import polars as pl
import pytest

import fuxi_mtl.dataset
from fuxi_mtl.dataset.progress import progress_bar
from fuxi_mtl.dataset.writing import ArrayFile, carried


def test_an_array_file_grows_by_rows(tmp_path):
    file = ArrayFile(tmp_path / "x.npy", np.float32, 3)
    for start in (0, 6):
        file.append(np.arange(start, start + 6).reshape(2, 3))
    file.close()
    array = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert array.dtype == np.float32
    assert array.tolist() == np.arange(12).reshape(4, 3).tolist()


def test_an_array_file_without_rows_can_be_read(tmp_path):
    ArrayFile(tmp_path / "x.npy", np.int32, 2).close()
    assert np.load(tmp_path / "x.npy").shape == (0, 2)


def test_a_header_that_outgrows_its_place_is_an_error(tmp_path):
    file = ArrayFile(tmp_path / "x.npy", np.int32, None)
    file.rows = 10**90
    with pytest.raises(RuntimeError, match="header of a .npy file changed its length"):
        file.close()


@pytest.mark.parametrize(
    ("entries", "dtype", "expected"),
    [
        (["1.5", "", "nan", None], "float", [1.5, None, None, None]),
        (["3.0", "", "7", None], "int", [3, None, 7, None]),
        (["a", "", "3.0", None], "str", ["a", "", "3", None]),
        (["a", "", "3.0", None], "text", ["a", "", "3.0", None]),
        ([[1], [], [2, 3], None], "list", [[1], [], [2, 3], None]),
    ],
)
def test_what_is_missing_is_missing_in_a_column_that_is_carried_along(entries, dtype, expected):
    assert carried(pl.Series("m", entries), dtype).to_list() == expected


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("shown", "stream", "written"),
    [(True, Terminal, True), (False, Terminal, False), (True, io.StringIO, False)],
)
def test_progress_is_shown_on_a_terminal_only(monkeypatch, shown, stream, written):
    stderr = stream()
    monkeypatch.setattr(sys, "stderr", stderr)
    with progress_bar(shown) as advance:
        advance("Fitting", 1234)
        advance("Encoding", 5)
        advance("Fitting", 1)
    assert ("1,235 rows" in stderr.getvalue()) is written


def test_an_unknown_name_of_the_package_is_an_error():
    with pytest.raises(AttributeError, match="has no attribute 'load_datset'"):
        fuxi_mtl.dataset.load_datset  # noqa: B018
