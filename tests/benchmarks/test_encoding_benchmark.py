"""Encoding before and now: both checkouts in turns, shares of the processor's time."""

import json
import sys

import pytest

from benchmarks import encode, encode_workers
from benchmarks.__main__ import main
from benchmarks.runner import ROOT


def test_both_checkouts_encode_both_files_in_turns_and_the_report_has_their_shares(tmp_path, monkeypatch):
    before, asked = tmp_path / "earlier", []
    (before / "fuxi_mtl").mkdir(parents=True)

    def encoded(checkout, format_name, file, workload):
        assert file.is_file()
        asked.append((format_name, checkout == before))
        return [3.0, 2.0] if checkout == before else [2.0, 1.5]

    monkeypatch.setattr(encode, "_encoded", encoded)
    content = encode.measure_encoding(before, 50, 2, tmp_path, tmp_path)
    alone = [cell["processor"]["median"] for cell in content["cells"] if cell["contestant"] == encode.ALONE]
    assert len(alone) == 2
    assert min(alone) > 0
    for cell in content["cells"]:
        if cell["contestant"] == encode.ALONE:
            cell["seconds"] = cell["processor"] = {
                "median": 0.5,
                "low": 0.5,
                "high": 0.5,
                "rounds": [0.5, 0.5],
            }
    assert asked == 2 * [("csv", True), ("csv", False), ("parquet", True), ("parquet", False)]
    assert json.loads((tmp_path / "encode.json").read_text())["rows"] == 50
    text = "\n".join(encode.section(content))
    assert "## Encoding 50 rows of 30 columns, before and now" in text
    assert "| csv, 0 MB | now | 2 (2 to 2) | 1.5 (1.5 to 1.5) | 0.75 | 3 |" in text
    assert "| parquet, 0 MB | before | 3 (3 to 3) | 2 (2 to 2) | – | 4 |" in text
    assert "| parquet, 0 MB | polars alone | 0.5 (0.5 to 0.5) | 0.5 (0.5 to 0.5) | – | – |" in text


def test_the_encoding_of_a_file_is_timed_in_a_process_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/echo")  # says last what it is asked
    asked = encode._encoded(ROOT, "csv", tmp_path / "rows.csv", encode.Workload())
    assert (asked["format"], len(asked["fields"]), len(asked["numbers"])) == ("csv", 23, 5)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(RuntimeError, match=r"encoding .*rows\.csv by .* failed"):
        encode._encoded(ROOT, "csv", tmp_path / "rows.csv", encode.Workload())


def test_a_folder_that_is_no_checkout_is_told(tmp_path, capsys):
    folders = ["--cache", str(tmp_path), "--results", str(tmp_path)]
    assert main(["encode", "--before", str(tmp_path / "nowhere"), *folders]) == 1
    assert "nowhere is no checkout of fuxi_mtl: git worktree add makes one." in capsys.readouterr().err


def test_numbers_of_processes_take_turns_and_must_write_the_same(tmp_path, monkeypatch):
    asked, content = [], ["same"]

    def encoded(checkout, format_name, file, workload, workers):
        asked.append((format_name, workers, len(list(file.parent.glob(file.name)))))
        return [4.0 / workers, 4.0 + workers, 100.0, 50.0 * (workers > 1), content[0] or str(workers)]

    monkeypatch.setattr(encode, "_encoded", encoded)
    arguments = ([1, 2], 3, 50, 1, tmp_path, tmp_path)
    text = "\n".join(encode_workers.section(encode_workers.measure_workers(*arguments)))
    assert asked == [(name, workers, 3) for name in ("csv", "parquet") for workers in (1, 2)]
    assert "## Encoding 50 rows of 30 columns in 3 files, side by side" in text
    assert "| csv | 2 | 2 (2 to 2) | 6 (6 to 6) | 0.5 | 100 | 50 |" in text
    content[0] = ""
    with pytest.raises(RuntimeError, match=r"csv: the encoded files of \[1, 2\] processes differ"):
        encode_workers.measure_workers(*arguments)
