"""The benchmarks measure what they say: rows, clock, statistics, memory, and our own contestant."""

import itertools
import json
import math
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import plots, quality, runner
from benchmarks.__main__ import ALL, main
from benchmarks.contestants import BARE, BARE_TABLE, CONTESTANTS, LIMITS, OURS, Cell
from benchmarks.environments import python_of
from benchmarks.machine import commit_of
from benchmarks.markdown import number
from benchmarks.measure import summarised
from benchmarks.peers import limits, ours
from benchmarks.peers.protocol import (
    Clock,
    Finished,
    Request,
    answer,
    measure_predictions,
    measure_training,
)
from benchmarks.report import goals
from benchmarks.runner import Job, Summary
from benchmarks.tables import AXES, TABLES, Settings, growth, training
from benchmarks.workload import Columns, Workload, columns, load, prepare, zipf_ids
from fuxi_mtl.options import SURGERIES, SURGERY_MODES, WEIGHTINGS

SMALL = Workload(vocabulary=2_000, rows=4_096, held=1_024)


# ---- rows ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("vocabulary", [10_000, 1_490_266, 10_000_000])
def test_field_sizes_add_up_and_small_fields_stay_small(vocabulary):
    sizes = Workload(vocabulary=vocabulary).sizes
    assert sum(sizes) == vocabulary
    assert len(sizes) == 23
    assert sizes[1:9] == (98, 14, 4, 8, 4, 4, 4, 5)


def test_more_fields_share_the_same_vocabulary():
    assert sum(Workload(fields=92).sizes) == Workload().vocabulary


def test_a_vocabulary_too_small_for_its_fields_is_refused():
    with pytest.raises(ValueError, match=r"vocabulary is 100; 23 fields need \d+ ids"):
        _ = Workload(vocabulary=100).sizes


def test_more_labels_than_names_are_refused():
    with pytest.raises(ValueError, match="tasks is 9; it can be 1 to 8"):
        _ = Workload(tasks=9).labels


def test_ids_follow_zipfs_law():
    ids = zipf_ids(np.random.default_rng(1), 1_002, 200_000)
    assert ids.min() == 1
    assert ids.max() <= 1_000  # 0 is padding, the last one is unknown
    counts = Counter(ids.tolist())
    assert counts[1] / counts[8] == pytest.approx(8**1.05, rel=0.05)
    assert counts[1] / counts[64] == pytest.approx(64**1.05, rel=0.15)


def test_a_batch_of_the_reference_looks_up_as_many_different_rows_as_ali_ccp():
    random = np.random.default_rng(3)
    unique = sum(len(np.unique(zipf_ids(random, size, 4_096))) for size in Workload().sizes)
    assert unique == pytest.approx(23_000, rel=0.03)  # of 94,208 lookups


def test_labels_have_their_rates_and_conversions_need_clicks():
    workload = Workload(vocabulary=2_000, rows=40_000, held=10_000, conversion_rate=0.1, tasks=3)
    made = columns(workload)
    assert made["click"].mean() == pytest.approx(0.0402, abs=1e-4)
    assert made["like"].mean() == pytest.approx(0.0402, abs=1e-4)
    assert made["conversion"].sum() == pytest.approx(0.1 * made["click"].sum(), abs=2)
    assert not made["conversion"][made["click"] == 0].any()


def test_the_same_description_gives_the_same_rows_and_another_seed_others():
    first, again, other = columns(SMALL), columns(SMALL), columns(Workload(2_000, 4_096, 1_024, seed=1))
    assert all((first[name] == again[name]).all() for name in first)
    assert (first["C1"] != other["C1"]).any()


def test_labels_can_be_learned():
    made = columns(SMALL)
    assert np.corrcoef(made["N1"], made["click"])[0, 1] > 0.05


def test_a_prepared_workload_is_read_back(tmp_path):
    folder = prepare(SMALL, tmp_path)
    assert load(folder) == SMALL
    stored, made = Columns(folder, rows=100), columns(SMALL)
    assert list(stored) == list(made)
    assert (stored["C2"] == made["C2"][:100]).all()
    before = (folder / "rows.npz").stat().st_mtime_ns
    assert prepare(SMALL, tmp_path) == folder
    assert (folder / "rows.npz").stat().st_mtime_ns == before


# ---- clock and statistics ------------------------------------------------------------------------


def _run_out(clock: Clock) -> int:
    """Steps until the clock has seen enough."""
    for step in range(100):
        try:
            clock.step()
        except Finished:
            return step
    raise AssertionError("the clock never ends")


def test_the_clock_counts_from_the_end_of_the_warm_up():
    times = itertools.count(0.0, 1.0)  # each look at the clock is a second later
    clock = Clock(Request(seconds=5, warmup_seconds=3, warmup_steps=2), now=lambda: next(times))
    steps = _run_out(clock)
    # Warm-up: looks at 0, 1, 2, 3. The count starts at the fourth step with a look of its own, at 4.
    assert clock.steps == 5
    assert clock.seconds == 5.0
    assert steps == 8


def test_the_warm_up_has_its_least_number_of_steps():
    times = itertools.count(0.0, 10.0)
    clock = Clock(Request(seconds=0, warmup_seconds=0, warmup_steps=5), now=lambda: next(times))
    _run_out(clock)
    assert clock.steps == 1


def test_a_summary_is_median_and_range():
    found = Summary.of([3.0, 1.0, 2.0, 10.0])
    assert (found.median, found.low, found.high) == (2.5, 1.0, 10.0)


def test_a_quotient_is_taken_round_by_round():
    # The machine was half as fast in the second round: the ratio does not see it.
    found = runner.quotient(Summary.of([40.0, 20.0, 44.0]), Summary.of([20.0, 10.0, 20.0]))
    assert (found.median, found.low, found.high) == (2.0, 2.0, 2.2)


def test_contestants_take_turns_and_one_that_fails_is_not_run_again(capsys):
    order = []

    def start(job):
        order.append(job.module)
        return {"error": "broken", "peak_mb": 1.0} if job.module == "b" else {"peak_mb": 1.0}

    jobs = {name: Job(Path("python"), name, Request()) for name in ("a", "b", "c")}
    results = runner.in_turns(jobs, 3, start=start)
    assert "".join(order) == "abcacac"
    assert [len(each) for each in results.values()] == [3, 1, 3]
    assert "broken" in capsys.readouterr().out


def test_a_cell_keeps_measures_versions_and_the_error():
    rounds = [{"rows_per_second": 1.0, "versions": {"x": "1"}}, {"rows_per_second": 3.0}, {"error": "broken"}]
    cell = summarised(rounds)
    assert cell["rows_per_second"]["median"] == 2.0
    assert cell["versions"] == {"x": "1"}
    assert cell["error"] == "broken"


def test_a_contestant_that_fails_says_why():
    result = runner.run(Job(Path(sys.executable), "no_such_contestant", Request()))
    assert "no_such_contestant" in result["error"]


def test_memory_counts_what_a_process_holds():
    before = runner.memory_mb(runner.os.getpid())
    held = np.ones(30_000_000, np.float32)  # 120 MB
    assert runner.memory_mb(runner.os.getpid()) >= min(before, 100)
    assert held.nbytes == 120_000_000


def test_digits_are_cut_to_what_is_known():
    assert [number(x) for x in (0.4567, 4.567, 45.67, 4567.0, 123456.0)] == [
        "0.457",
        "4.57",
        "45.7",
        "4,570",
        "123,000",
    ]


# ---- tables --------------------------------------------------------------------------------------


def test_every_table_is_made_of_known_contestants():
    for name, make in TABLES.items():
        for axis in AXES if name == "growth" else ("vocabulary",):
            table = make(Settings(axis=axis))
            assert {cell.contestant for cell in table.cells} <= set(CONTESTANTS)
            assert len({cell.name for cell in table.cells}) == len(table.cells)


def test_everything_can_be_prepared_and_the_report_reads_what_everything_measures(monkeypatch, tmp_path):
    prepared = []
    monkeypatch.setattr(Cell, "job", lambda self, cache: prepared.append(self))
    assert main(["prepare", "--cache", str(tmp_path)]) == 0
    assert {cell.contestant for cell in prepared} == set(CONTESTANTS) - {*BARE, *BARE_TABLE}
    names = {TABLES[name](replace(Settings(), **changes)).name for name, changes in ALL}
    assert len(names) == len(ALL)
    # The bars are read from files of these names.
    assert {"train_1490266_4096", "train_1490266_1024", "train_10000000_4096", "flat", "weighting"} <= names
    assert {"predict_4096", "preprocess_2000000", "metrics", "input"} <= names


def test_every_weighting_and_every_surgery_in_every_mode_has_a_cell():
    weightings = {cell.request["loss_weight"] for cell in TABLES["weighting"](Settings()).cells}
    assert weightings == set(WEIGHTINGS)
    stanzas = [cell.request["options"]["stanza"] for cell in TABLES["surgery"](Settings()).cells]
    assert {stanza["surgery"] for stanza in stanzas} == set(SURGERIES)
    pairs = {(s["surgery"], s["surgery_mode"]) for s in stanzas if s["surgery"] != "none"}
    of_some = {("moco", "representation"), ("graddrop", "last_layer"), ("graddrop", "full")}
    assert pairs == set(itertools.product(set(SURGERIES) - {"none"}, SURGERY_MODES)) - of_some


def test_every_contestant_but_the_limits_has_a_colour_of_its_own():
    assert set(plots.COLOURS) == set(CONTESTANTS) - {*LIMITS, *BARE, *BARE_TABLE}
    assert len(set(plots.COLOURS.values())) == len(plots.COLOURS)


def test_every_request_can_go_through_a_command_line():
    for cell in training(Settings()).cells:
        request = Request(folder="x", **{**CONTESTANTS[cell.contestant].request, **cell.request})
        assert Request.parse(request.dumps()) == request


def test_every_batch_of_the_growth_divides_the_rows():
    assert all(Workload().rows % size == 0 for size in AXES["batch"])
    cells = growth(Settings(axis="batch")).cells
    assert {cell.request["batch"] for cell in cells} == set(AXES["batch"])


def test_unknown_names_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"there is no axis 'colour'. Axes: vocabulary"):
        growth(Settings(axis="colour"))
    with pytest.raises(ValueError, match=r"there is no contestant 'TorchRec'. Contestants: fuxi_mtl"):
        Cell("TorchRec").job(tmp_path)
    with pytest.raises(ValueError, match=r"there is no environment 'jax'. Environments: deepctr, torch"):
        python_of("jax", tmp_path)


def test_an_environment_needs_its_python(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match=r"python3.11 is not on the PATH"):
        python_of("torch", tmp_path)


# ---- the whole way -------------------------------------------------------------------------------


def test_our_own_contestant_trains_and_predicts_through_the_front_rooms(tmp_path):
    folder = prepare(Workload(vocabulary=2_000, rows=2_048, held=256), tmp_path)
    request = Request(folder=str(folder), batch=32, seconds=0.05, warmup_seconds=0.0, expert_units=(8, 4))
    trained = measure_training(ours.train, request)
    assert trained["steps"] % 16 == 0  # steps_per_execution is what a stanza gets by default
    assert trained["rows_per_second"] == pytest.approx(trained["steps"] * 32 / trained["seconds"])
    assert measure_predictions(ours.predict, request)["rows_per_second"] > 0
    assert ours.shuffled_input(request)["rows_per_second"] > 0


def test_a_training_that_ends_early_and_an_unknown_measure_are_errors(tmp_path):
    request = Request(folder=str(prepare(SMALL, tmp_path)))
    with pytest.raises(RuntimeError, match="the training ended before the clock"):
        measure_training(lambda request, workload, columns, clock: None, request)
    with pytest.raises(ValueError, match="does not know the measure 'taste'"):
        answer(replace(request, measure="taste"), None, None, {})


def test_a_result_is_the_last_line_of_a_contestant(tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho a library talks\nsleep 0.5\necho '{\"rows_per_second\": 7.0}'\n")
    python.chmod(0o755)
    result = runner.run(Job(python, "anything", Request()))
    assert result["rows_per_second"] == 7.0
    assert 0 < result["peak_mb"] < 50


def test_a_command_leaves_a_table_a_report_and_a_picture(tmp_path, capsys, monkeypatch):
    def result(job):
        return {"rows_per_second": 2.0 * len(job.module), "peak_mb": 5.0, "versions": {"keras": "3"}}

    monkeypatch.setattr(runner, "run", result)
    monkeypatch.setattr(Cell, "_encode", lambda self, job: None)
    results = tmp_path / "results"
    common = ["--cache", str(tmp_path / "cache"), "--results", str(results)]
    small = ["--vocabulary", "2000", "--training-rows", "64", "--batch", "32"]
    assert main(["train", *common, *small, "--rounds", "2", "--contestants", *OURS]) == 0
    content = json.loads((results / "train_2000_32.json").read_text())
    assert [cell["rows_per_second"]["rounds"] for cell in content["cells"]] == [[8.0, 8.0]] * 2
    assert content["machine"]["cores"] > 0
    assert main(["report", *common]) == 0
    assert "| fuxi_mtl | 8 (8 to 8) |" in (tmp_path / "RESULTS.md").read_text()
    assert (tmp_path / "pictures" / "train_2000_32.png").stat().st_size > 1_000


def test_our_data_are_encoded_once_and_what_fails_there_is_told(tmp_path, monkeypatch):
    asked = []

    def encode(job):
        asked.append(job.request.measure)
        (Path(job.request.folder) / "encoded").mkdir(exist_ok=True)
        return {}

    monkeypatch.setattr(runner, "run", encode)
    cell = Cell("fuxi_mtl", {}, Workload(vocabulary=2_000, rows=64, held=8))
    cell.job(tmp_path)
    cell.job(tmp_path)
    assert asked == ["encode"]
    monkeypatch.setattr(runner, "run", lambda job: {"error": "x", "log": "no space"})
    with pytest.raises(RuntimeError, match="encoding .* failed: no space"):
        Cell("fuxi_mtl", {}, Workload(vocabulary=2_000, rows=128, held=8)).job(tmp_path)


def test_a_mistake_on_the_command_line_is_told_in_one_line(tmp_path, capsys):
    arguments = ["train", "--cache", str(tmp_path), "--results", str(tmp_path), "--contestants", "TorchRec"]
    assert main(arguments) == 1
    assert capsys.readouterr().err.startswith("ValueError: there is no contestant 'TorchRec'.")


def _cell(who: str, median: float, what: str = "rows_per_second", **at) -> dict:
    return {"contestant": who, "at": at, what: Summary.of([median] * 3).plain()}


def test_the_bars_are_ratios_to_the_best_peer_and_a_dash_where_nothing_was_measured():
    cells = [_cell("fuxi_mtl", 50.0), _cell("DeepCTR", 20.0), _cell("FuxiCTR", 10.0)]
    cells += [_cell("limit PyTorch", 80.0), _cell("limit TensorFlow", 100.0)]
    cells += [_cell("fuxi_mtl bfloat16", 90.0), _cell("limit PyTorch bfloat16", 120.0)]
    flat = [
        _cell("fuxi_mtl", 12.0, "step_ms", vocabulary=10_000_000),
        _cell("fuxi_mtl", 10.0, "step_ms", vocabulary=10_000),
    ]
    results = {
        "train_1490266_4096": {"name": "train", "cells": cells},
        "flat": {"name": "flat", "cells": flat},
    }
    rows = {row[0]: row[3] for row in goals(results)}
    assert rows["Training, 1.5 M ids, batch 4096, float32, against the best peer"] == "2.5"
    assert rows["Share of the limit, batch 4096, float32"] == "0.5"
    assert rows["Share of the limit, batch 4096, bfloat16"] == "0.75"
    assert rows["Share of the limit, 10 M ids, float32"] == "–"
    assert rows["Step time, 10 M against 10 k ids, fuxi_mtl"] == "1.2"
    assert rows["The same, 10 M ids, bfloat16"] == "–"


def test_a_difference_is_within_seed_noise_up_to_twice_its_standard_error():
    plain, other = [0.80, 0.82], [0.83, 0.85]  # variances 2e-4 each, se = sqrt(4e-4 / 2)
    cells = [
        {"data": "clicks", "contestant": "plain Keras", "auc": {"click": plain}},
        {"data": "clicks", "contestant": "fuxi_mtl", "auc": {"click": other}},
    ]
    row = quality.differences({"cells": cells})[1]
    assert row["difference"] == pytest.approx(0.03)
    assert row["error"] == pytest.approx(math.sqrt(2e-4))
    assert not row["within"]


class _Counting:
    """A library that counts what it is asked to multiply; a matrix is its shape."""

    def __init__(self):
        self.products, self.looked_up = [], []

    def matrix(self, shape, precision):
        return shape

    table = rows = lambda self, *size: size

    def together(self, calls):
        return lambda: [call() for call in calls]

    def product(self, a, b, transpose_a=False, transpose_b=False):
        (rows, inner), (other, columns) = a[:: -1 if transpose_a else 1], b[:: -1 if transpose_b else 1]
        assert inner == other
        self.products.append(rows * inner * columns)

    def look_up(self, table, rows):
        self.looked_up.append((table, rows[1]))


def test_a_limit_is_every_product_of_the_reference_step_and_two_accesses_to_each_row():
    request, workload, library = Request(batch=10), Workload(), _Counting()
    clock = Clock(Request(seconds=0.0, warmup_seconds=0.0, warmup_steps=1))
    with pytest.raises(Finished):
        limits.trainer(library)(request, workload, None, clock)
    # 23 fields of 16 numbers and 5 numeric columns, 4 experts of 256 and 128 units, gates and towers of 64.
    width, tasks = 23 * 16 + workload.numbers, workload.tasks
    forward = 10 * (width * 4 * 256 + width * 4 * tasks + 4 * 256 * 128 + tasks * (128 * 64 + 64))
    steps = len(library.looked_up) // 2
    assert sum(library.products) == steps * 3 * forward
    assert set(library.looked_up) == {(((sum(workload.sizes), 16),), 10 * 23)}
    once = _Counting()
    limits.predictor(once)(replace(request, options={"rows": 35}), workload, None)()
    assert sum(once.products) == 3 * forward  # whole batches
    assert len(once.looked_up) == 3


# ---- where a number is from ----------------------------------------------------------------------


def test_a_commit_is_marked_where_more_than_results_and_texts_differ(tmp_path):
    def git(*words):
        own = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        subprocess.run(["git", *own, *words], cwd=tmp_path, check=True, capture_output=True)

    code, result = tmp_path / "code.py", tmp_path / "benchmarks" / "results" / "zoo.json"
    result.parent.mkdir(parents=True)
    assert commit_of(tmp_path) is None
    for file in (code, result):
        file.write_text("1")
    git("init", "-q")
    git("add", "-A")
    git("commit", "-q", "-m", "first")
    result.write_text("2")
    clean = commit_of(tmp_path)
    assert len(clean) == 7
    code.write_text("2")
    assert commit_of(tmp_path) == f"{clean}-dirty"
