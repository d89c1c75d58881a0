"""Memory by the number of rows: rows that are made, a process that is watched, a limit, and the table."""

import json
import os

import polars as pl
import pytest

from benchmarks import memory
from fuxi_mtl.config import load_experiment
from fuxi_mtl.registry import import_zoo

TAKES = "import numpy as np, time; x = np.ones(50 << 20, np.uint8); time.sleep(0.3)"


def test_rows_have_the_shape_that_is_asked_for_and_a_configuration(tmp_path):
    shape = memory.Shape(1000, 25, 60_000, 0.25)
    assert shape.tables == 60_000 * 16 * 4 * 3
    rows = memory.made_rows(tmp_path, shape)
    assert pl.read_parquet(rows).shape == (1000, 27)
    import_zoo()
    experiment = load_experiment(memory._config(tmp_path, rows, shape), "MMoE")
    assert experiment.training.shuffle_window_gb == 0.25
    assert experiment.dataset.valid_size == 100


def test_the_memory_of_a_process_is_that_of_no_file(tmp_path):
    found = memory.watched(["-c", TAKES], tmp_path, None)
    assert 50 <= found["anonymous_mb"] < 150
    assert found.keys() == {"anonymous_mb", "mapped_mb", "seconds", "processor"}
    with pytest.raises(RuntimeError, match=r"-c raise SystemExit\(3\) ended with 3"):
        memory.watched(["-c", "raise SystemExit(3)"], tmp_path, None)


def test_what_needs_more_than_its_limit_is_killed_and_a_limit_without_a_group_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "GROUPS", tmp_path / "nowhere")
    with pytest.raises(RuntimeError, match=r"no memory group under .*nowhere.*a limit needs root"):
        memory.watched(["-c", ""], tmp_path, 1 << 20)
    monkeypatch.undo()
    if os.geteuid() != 0 or not (memory.GROUPS / "memory" / "memory.limit_in_bytes").exists():
        pytest.skip("a memory group is not to be had here")
    found = memory.watched(["-c", TAKES], tmp_path, 200 << 20)
    assert 50 <= found["group_mb"] < found["limit_mb"] == 200
    with pytest.raises(RuntimeError, match="ended with -9"):
        memory.watched(["-c", TAKES], tmp_path, 30 << 20)


def test_each_number_of_rows_has_its_stages_in_the_table(tmp_path, monkeypatch):
    found = {"anonymous_mb": 900, "mapped_mb": 1200, "seconds": 10.0, "processor": 20.0}
    limited = {"limit_mb": 3000, "group_mb": 2500, "at_limit": 7}
    monkeypatch.setattr(memory, "_stages", lambda shape, beside, cache: dict.fromkeys(memory.STAGES, found))
    memory.measure_memory([1000, 3000], 25, 1_000_000, 2.0, None, tmp_path, tmp_path)
    monkeypatch.setattr(memory, "_stages", lambda shape, beside, cache: {"train": found | limited})
    content = memory.measure_memory([1000], 25, 1_000_000, 2.0, 2.0, tmp_path, tmp_path)
    assert len(json.loads((tmp_path / "memory.json").read_text())["cells"]) == 3
    text = "\n".join(memory.section(content))
    assert "| 1,000 | 25 | 1,000,000 | 2 | none | encode | 900 | 1,200 | 10 | 50 | – |" in text
    assert (
        "| 1,000 | 25 | 1,000,000 | 2 | 2 GB beside 183 MB | train | 900 | 1,200 | 10 | 50 | 2,500 |" in text
    )
