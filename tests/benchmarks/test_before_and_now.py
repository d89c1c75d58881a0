"""Starts and steps of an earlier checkout and of this one, in turns."""

import pytest

from benchmarks import runner, start, steps
from benchmarks.checkouts import checkouts
from benchmarks.runner import ROOT


@pytest.fixture
def before(tmp_path):
    folder = tmp_path / "earlier"
    (folder / "fuxi_mtl").mkdir(parents=True)
    return folder


def test_the_earlier_checkout_comes_first_and_has_to_be_one(before, tmp_path):
    assert checkouts(None) == {"now": ROOT}
    assert list(checkouts(before).items()) == [("before", before), ("now", ROOT)]
    with pytest.raises(ValueError, match="nowhere is no checkout of fuxi_mtl"):
        checkouts(tmp_path / "nowhere")


def test_starts_take_turns_and_parts_are_told_apart(before, tmp_path, monkeypatch):
    monkeypatch.setattr(start, "QUICK", {})
    monkeypatch.setattr(start, "_ORDER", (*start.PARTS, start.FIRST_STEP))
    moments = {before: [4.0, 5.0, 8.0], ROOT: [3.0, 4.0, 6.0]}
    monkeypatch.setattr(start, "_moments", lambda run, root: moments[root])
    content = start.measure_start(before, 2, tmp_path)
    text = "\n".join(start.section(content))
    assert "| tracing and the first step | before | 3 | 3 | 3 |  |" in text
    assert "| tracing and the first step | now | 2 | 2 | 2 | 0.667 |" in text
    assert "| first training step | now | 6 | 6 | 6 | 0.75 |" in text


def test_steps_take_turns_in_both_precisions_by_the_code_of_each_checkout(before, tmp_path, monkeypatch):
    asked = []

    def run(job):
        asked.append((job.request.precision, job.request.batch, job.root == before))
        ms = 4.0 if job.root == before else 3.0
        return {"step_ms": ms, "rows_per_second": 1000 * job.request.batch / ms, "peak_mb": 1.0}

    monkeypatch.setattr(runner, "run", run)
    monkeypatch.setattr(steps.Cell, "job", lambda cell, cache: _job(cell))
    content = steps.measure_steps(before, [256], 2, 1.0, tmp_path, tmp_path)
    ours = [("float32", 256, True), ("float32", 256, False)]
    bare = 2 * ours[1:]  # no code of ours; without and with a table
    every = [*ours, *bare]
    assert sorted(asked[: len(asked) // 2]) == sorted(
        [*every, *(("mixed_bfloat16", *rest) for _, *rest in every)]
    )
    text = "\n".join(steps.section(content))
    assert "| fuxi_mtl | 256 | now | 3 (3 to 3) | 85,300 | 0.75 (0.75 to 0.75) | 1 (1 to 1) |" in text
    assert "| bare TensorFlow | 256 |  | 3 (3 to 3) | 85,300 |  |  |" in text


def _job(cell):
    from benchmarks.contestants import CONTESTANTS
    from benchmarks.peers.protocol import Request

    request = Request(**{**CONTESTANTS[cell.contestant].request, **cell.request})
    return runner.Job(ROOT, "ours", request)
