"""What the benchmark of killed commands looks at."""

import json
import subprocess

import polars as pl

from benchmarks import killed, kills


def test_training_rows_lie_in_several_files_in_their_order(tmp_path):
    named = kills.WORLDS["tiny_mtl"].write(tmp_path)
    assert [each.partition("=")[0] for each in named] == ["train_data", "valid_data", "test_data"]
    parts = [pl.read_csv(tmp_path / f"train_{part}.csv", infer_schema=False) for part in range(kills.PARTS)]
    whole = pl.read_csv(kills.ROOT / "data/tiny_mtl/train.csv", infer_schema=False)
    assert pl.concat(parts).equals(whole)


def test_a_kill_is_told_by_the_innermost_phase_that_it_fell_into():
    marks = [["training", 0, "begin", 1.0], ["saving", 0, "begin", 2.0], ["saving", 0, "end", 2.5]]
    assert kills._phase_of(marks[:2]) == "saving"
    assert kills._phase_of(marks) == "training"
    assert kills._phase_of([*marks, ["training", 0, "end", 4.0]]) == "behind training"
    assert list(kills._calls(marks)) == [("saving", 0, 0.5)]


def test_times_are_no_difference():
    content = {"AUC": 0.5, "train_seconds": 3, "parent": {"finished": "now", "expid": "A"}, "crc32": "0"}
    assert kills._timeless(content) == {"AUC": 0.5, "parent": {"expid": "A"}}


def test_what_went_on_is_the_last_line_that_says_so():
    line = "2026-01-31 10:00:00,123 P7 INFO toy: goes on behind 3 files and 9 rows."
    assert kills._said(f"{line}\n2026 P7 INFO done\n") == "toy: goes on behind 3 files and 9 rows."
    assert kills._said("2026 P7 INFO done\n") == "begins anew"


def test_phases_are_watched_wherever_a_function_was_imported(tmp_path, monkeypatch):
    calls, ordered = [], []
    monkeypatch.setattr(killed, "PHASES", {"comparing": ("fuxi_mtl.report", "render")})
    monkeypatch.setattr("fuxi_mtl.report.render", calls.append)
    monkeypatch.setattr(subprocess, "Popen", ordered.append)
    file = tmp_path / "marks.jsonl"
    killed.watch(file, killed.Kill("comparing", 1, 0.25))
    import fuxi_mtl.report

    for number in range(2):
        fuxi_mtl.report.render(number)
    marks = [json.loads(line)[:3] for line in file.read_text().splitlines()]
    assert calls == [0, 1]
    assert marks == [["comparing", call, what] for call in range(2) for what in ("begin", "end")]
    ((_, _, command),) = ordered
    assert command.startswith("sleep 0.2500; kill -9 ")


def test_the_section_counts_what_is_equal_and_what_is_left():
    trials = [
        {
            "world": "census",
            "phase": phase,
            "seconds": 30 + lost,
            "differs": differs,
            "left": 3,
            "remain": remain,
        }
        for phase, lost, differs, remain in (
            ("training", 2.0, [], []),
            ("training", 4.0, ["metrics.json"], ["a"]),
            ("behind training", 1.0, [], []),
        )
    ]
    seconds = {"census": {"run": 30.0, "compare": 5.0}}
    content = {"cells": trials, "parts": {"census": 9}, "undisturbed": seconds}
    text = "\n".join(kills.section(content))
    assert "## 3 commands killed at random moments" in text
    assert "2 of 3 went on to what an undisturbed command makes" in text
    assert "| census, training | 1 of 2 | 6 | 1 | 3 (2 to 4) | 30 |" in text
    assert "| census, behind training | 1 of 1 | 3 | 0 | 1 (1 to 1) | 30 |" in text
