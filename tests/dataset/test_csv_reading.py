"""Csv files: every field of every row is parsed, and what is not as it should be is counted or refused."""

import gzip
import threading

import polars as pl
import pytest

from fuxi_mtl.dataset import csv_reading
from fuxi_mtl.dataset.csv_reading import CsvFormat, CsvNotes, blocks, header
from fuxi_mtl.dataset.errors import DataError


def read(path, content, *columns, **form) -> tuple[dict, CsvNotes]:
    """The columns of a file with this content, and what is to be said of it."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    notes = CsvNotes()
    frames = list(blocks(path, CsvFormat(**form), columns, notes))
    frame = pl.concat(frames) if frames else pl.DataFrame({name: [] for name in columns})
    return frame.to_dict(as_series=False), notes


@pytest.fixture
def file(tmp_path):
    return tmp_path / "train.csv"


ROWS = [("u1", "a", "1"), ("u2", "b", "0"), ("u3", "c", "1")]


def text(*rows: str) -> str:
    return "\n".join(["user,title,click", *rows]) + "\n"


def test_a_quote_inside_an_unquoted_field_is_text_used_or_not(file):
    content = text('u1,15 inch" screen,1', "u2,5'4\",0", "u3,plain,1")
    assert read(file, content, "user", "click")[0] == {"user": ["u1", "u2", "u3"], "click": ["1", "0", "1"]}
    assert read(file, content, "title")[0] == {"title": ['15 inch" screen', "5'4\"", "plain"]}


@pytest.mark.parametrize("columns", [("user", "click"), ("user", "title", "click"), ("click",)])
def test_a_separator_too_many_or_a_field_too_few_names_the_row(file, columns):
    with pytest.raises(
        DataError, match=r"train.csv, row 2: 4 fields, the header has 3: 'u2,Salt, b,0'. Quote"
    ):
        read(file, text("u1,a,1", "u2,Salt, b,0", "u3,c,1"), *columns)
    with pytest.raises(DataError, match=r"train.csv, row 2: 2 fields, the header has 3: 'u2,b'"):
        read(file, text("u1,a,1", "u2,b", "u3,c,1"), *columns)


def test_a_file_that_is_cut_in_its_last_line_is_refused(file):
    with pytest.raises(DataError, match=r"row 3: 2 fields, the header has 3: 'u3,c'"):
        read(file, text("u1,a,1", "u2,b,0", "u3,c").removesuffix("\n"), "user")


def test_a_quote_that_opens_and_is_never_closed_is_told_as_such(file):
    with pytest.raises(DataError, match=r"row 2: .*A quote opens here and ends in another line, or never"):
        read(file, text("u1,a,1", 'u2,"b,0', "u3,c,1"), "user", "click")
    columns, _ = read(file, text("u1,a,1", 'u2,"b,0', "u3,c,1"), "title", quote_char=None)
    assert columns == {"title": ["a", '"b', "c"]}


def test_bad_rows_can_be_left_out_and_are_counted_and_shown(file):
    rows = ["u1,a,1", "u2,b", "u3,c,1", "u4,d,0,9", "u5,e", "u6,f", "u7,g,0"]
    columns, notes = read(file, text(*rows), "user", bad_rows="skip")
    assert columns == {"user": ["u1", "u3", "u7"]}
    assert (notes.bad, notes.blank, notes.inside) == (4, 0, 0)
    (told,) = notes.sentences(file)
    assert "4 bad rows are left out: row 2 has 2 fields; row 4 has 4 fields; row 5 has 2 fields." in told


def test_a_bad_row_that_swallows_lines_says_how_many(file):
    columns, notes = read(file, text("u1,a,1", 'u2,"b,0', "u3,c,1", "u4,d,0"), "user", bad_rows="skip")
    assert columns == {"user": ["u1"]}
    assert notes.lines_of_bad == 3
    assert "1 bad rows over 3 lines are left out" in next(notes.sentences(file))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_blank_lines_are_no_rows_and_line_breaks_in_quotes_are_counted(file, end):
    content = end.join(["user,title,click", "", "u1,a,1", "", "   ", 'u2,"b', 'b",0', "u3,c,1", "", ""])
    columns, notes = read(file, content, "user", "click")
    assert columns == {"user": ["u1", "u2", "u3"], "click": ["1", "0", "1"]}
    assert (notes.blank, notes.inside, notes.bad) == (4, 1, 0)
    told = list(notes.sentences(file))
    assert "4 blank lines are skipped" in told[0]
    assert "1 line breaks lie inside quoted fields" in told[1]


def test_a_last_line_without_an_end_is_a_row_like_any_other(file):
    columns, notes = read(file, text("u1,a,1", "u2,b,0").removesuffix("\n"), "user")
    assert columns == {"user": ["u1", "u2"]}
    assert notes == CsvNotes()


def test_an_empty_field_is_missing_and_a_quoted_one_is_empty_text(file):
    assert read(file, text("u1,,1", 'u2,"",0'), "title")[0] == {"title": [None, ""]}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gbk", "latin-1"])
def test_other_encodings_and_marks_are_read(file, encoding):
    word = "né" if encoding == "latin-1" else "价格"
    content = f"user,{word},click\nu1,{word},1\n".encode(encoding)
    form = {} if encoding == "utf-8-sig" else {"encoding": encoding}
    assert read(file, content, word, "click", **form)[0] == {word: [word], "click": ["1"]}


def test_bytes_of_another_encoding_are_told_with_column_and_row(file):
    content = text("u1,a,1", "u2,x,0").encode().replace(b"x", "价格".encode("gbk"))
    with pytest.raises(DataError, match=r"column 'title', row 2: the bytes are no utf-8. Set encoding"):
        read(file, content, "title")
    assert read(file, content, "title", encoding="gbk")[0] == {"title": ["a", "价格"]}
    with pytest.raises(DataError, match=r"train.csv begins as UTF-16 does: set encoding: utf-16"):
        read(file, text("u1,a,1").encode("utf-16"), "user")
    with pytest.raises(DataError, match=r"is no gbk .*Set encoding"):
        read(file, text("u1,\ud0ff,1").encode("utf-8", "surrogatepass"), "title", encoding="gbk")


def test_a_nul_byte_is_refused_with_its_line(file):
    with pytest.raises(DataError, match=r"train.csv, line 3: a NUL byte"):
        read(file, text("u1,a,1", "u2,b\0,0", "u3,c,1"), "user")


def test_a_name_that_comes_twice_is_refused_where_it_is_needed(file):
    content = "user,x,x,click\nu1,a,b,1\n"
    assert read(file, content, "user", "click")[0] == {"user": ["u1"], "click": ["1"]}
    with pytest.raises(DataError, match=r"has 2 columns called 'x': rename them"):
        read(file, content, "x")


def test_packed_files_are_read(tmp_path):
    path = tmp_path / "train.csv.gz"
    assert read(path, gzip.compress(text("u1,a,1", "u2,b,0").encode()), "user")[0] == {"user": ["u1", "u2"]}


def test_rows_longer_than_a_block_are_read_with_larger_ones_and_no_row_comes_twice(file, monkeypatch):
    monkeypatch.setattr(csv_reading, "_BLOCK_BYTES", 64)
    titles = ["x" * (500 if number == 40 else 3) for number in range(60)]
    content = text(*(f"u{number},{title},1" for number, title in enumerate(titles)))
    columns, _ = read(file, content, "user", "title")
    assert columns == {"user": [f"u{number}" for number in range(60)], "title": titles}


@pytest.mark.parametrize("content", ["", "user,title,click", "user,title,click\n\n"])
def test_a_file_without_rows_gives_none(file, content):
    assert read(file, content, *(["user"] if content else []))[0].get("user", []) == []


def test_a_header_behind_blank_lines_is_found(file):
    file.write_text("\n\nuser,title\nu1,a\n")
    assert header(file, CsvFormat()) == ["user", "title"]
    assert read(file, "\n\nuser,title\nu1,a\n", "user")[0] == {"user": ["u1"]}


def test_what_is_skipped_is_among_the_warnings_of_the_dataset(load, tmp_path):
    rows = [f"{'xy'[number % 2]},{number % 3 % 2}" for number in range(12)]
    path = tmp_path / "part.csv"
    path.write_text("\n".join(["city,click", *rows[:6], "", *rows[6:], "z", ""]))
    dataset = load(
        {"city": ["x", "y"] * 6, "click": [0, 1, 0] * 4},
        [{"name": "city"}],
        valid_data=str(path),
        bad_rows="skip",
    )
    assert dataset.valid.rows == 12
    told = [warning for warning in dataset.warnings if "part.csv" in warning]
    assert [each.split("part.csv: ")[1].split(" are ")[0] for each in told] == ["1 bad rows", "1 blank lines"]


@pytest.mark.parametrize(
    ("content", "plain"),
    [
        (text("u1,a,1", "u2,b,0"), True),
        (text("u1,a,1", "u2,b,0").removesuffix("\n"), True),
        (text(), True),
        (text("u1,a,1", "", "u2,b,0"), False),
        ("\n" + text("u1,a,1"), False),
        (text("u1,a,1", "   ", "u2,b,0"), False),
        (text('u1,"a\nb",1', "u2,b,0"), False),
        (text("u1,a,1", "u2,b,0").replace("\n", "\r\n"), False),
    ],
)
@pytest.mark.parametrize("part", [3, 1 << 22])
def test_rows_are_counted_as_they_are_read_with_or_without_parsing(file, monkeypatch, content, plain, part):
    monkeypatch.setattr(csv_reading, "_PART_BYTES", part)
    columns, _ = read(file, content, "user")
    assert csv_reading.count_rows(file, CsvFormat()) == len(columns["user"])
    assert (csv_reading._plain_lines(file, CsvFormat()) is not None) == plain


def test_a_reader_that_stops_early_leaves_no_thread_behind(file):
    before = threading.active_count()
    file.write_text(text(*(f"u{number},a,1" for number in range(50))))
    first = next(iter(blocks(file, CsvFormat(), ["user"], None)))
    assert first.height == 50
    assert threading.active_count() == before
