"""Comparing many runs: what is written by hand is compared like runs, both checkouts in turns."""

import pytest

from benchmarks import comparing
from fuxi_mtl.comparison import compare, stored_runs


def test_runs_written_by_hand_have_values_that_their_scores_give(tmp_path):
    assert comparing.written_runs(tmp_path, 6) == 49_881
    (table,) = compare(stored_runs(tmp_path), resamples=20)
    assert (table.baseline, table.rows[0].seeds) == ("SingleTask_000", (1,))
    differences = table.rows[0].differences.values()
    assert not any(each.reason for each in differences)
    assert all(each.low < each.value < each.high for each in differences)


def test_both_checkouts_write_both_formats_in_turns(tmp_path, monkeypatch):
    before, asked = tmp_path / "earlier", []
    (before / "fuxi_mtl").mkdir(parents=True)

    def compared(checkout, root, style):
        asked.append((style, checkout == before))
        return (8.0, 10.0, 900, "made") if checkout == before else (2.0, 2.5, 400, "made")

    monkeypatch.setattr(comparing, "written_runs", lambda root, runs: 49_881)
    monkeypatch.setattr(comparing, "_compared", compared)
    content = comparing.measure_comparing(before, 300, 2, tmp_path)
    assert asked == 2 * [("csv", True), ("csv", False), ("html", True), ("html", False)]
    text = "\n".join(comparing.section(content))
    assert "300 runs of two tasks, five seeds an experiment, 49,881 test rows" in text
    assert "| html | now | 2 (2 to 2) | 2.5 (2.5 to 2.5) | 0.25 | 400 |" in text
    assert "What was written is the same to the last byte." in text
    with pytest.raises(ValueError, match="nowhere is no checkout of fuxi_mtl"):
        comparing.measure_comparing(tmp_path / "nowhere", 300, 1, tmp_path)
