"""Finding and reading run folders."""

import json

import pytest
from synthetic_runs import TASKS, write_run

from fuxi_mtl.comparison import read_run, stored_runs


def test_runs_are_found_by_expid_and_seed_in_the_order_named(tmp_path):
    for seed in (1, 2):
        write_run(tmp_path, "better", seed)
        write_run(tmp_path, "worse", seed)
    runs = stored_runs(tmp_path, ["worse", "better"], seeds=[2])
    assert [(run.expid, run.seed) for run in runs] == [("worse", 2), ("better", 2)]
    with pytest.raises(ValueError, match="no finished run of expid 'beter' under .* Did you mean 'better'"):
        stored_runs(tmp_path, ["beter"])
    with pytest.raises(ValueError, match="has a seed in \\[7\\]"):
        stored_runs(tmp_path, seeds=[7])
    with pytest.raises(ValueError, match="no finished run under"):
        stored_runs(tmp_path / "toy")


def test_a_damaged_run_is_named(tmp_path):
    folder = write_run(tmp_path, "a")
    run = read_run(folder)
    assert run.tasks == TASKS
    assert len(run.evaluations) == 6
    (folder / "history.json").write_text("{}")
    with pytest.raises(ValueError, match="history.json lacks evaluations"):
        _ = read_run(folder).evaluations
    (folder / "history.json").unlink()
    assert read_run(folder).evaluations == []
    whole = (folder / "test_scores.npz").read_bytes()
    (folder / "test_scores.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="test_scores.npz cannot be read"):
        run.read_test_scores()
    content = json.loads((folder / "metrics.json").read_text())
    (folder / "metrics.json").write_text(json.dumps({**content, "seed": "one"}))
    with pytest.raises(ValueError, match="does not hold a run's metrics"):
        read_run(folder)
    (folder / "metrics.json").write_text('{"expid": "a"}')
    with pytest.raises(ValueError, match="metrics.json lacks dataset_id, model, seed, tasks"):
        read_run(folder)
    (folder / "metrics.json").write_text('{"expid"')
    with pytest.raises(ValueError, match="metrics.json cannot be read"):
        read_run(folder)
    (folder / "metrics.json").unlink()
    with pytest.raises(ValueError, match="holds no finished run: metrics.json is missing"):
        read_run(folder)
