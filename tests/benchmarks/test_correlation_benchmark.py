"""The study of related tasks: its rows, sizes, loss and table."""

import json
import types

import pytest

from benchmarks import correlation, plots
from fuxi_mtl.config import load_experiment
from fuxi_mtl.registry import import_zoo

import_zoo()


@pytest.fixture
def small(monkeypatch):
    """Few rows, and networks that are not built."""
    monkeypatch.setattr(correlation, "WORLD", {"rows": 300, "dimensions": 5, "seed": 7})
    monkeypatch.setattr(correlation, "COSINES", (0.0, 1.0))
    monkeypatch.setattr(correlation, "sized", lambda stanza, options, budget, folder: ({}, 14_834))


@pytest.fixture
def measured(small, monkeypatch, tmp_path):
    """What is written when the runs' errors are known: 1 and 3, or a tenth of it at the cosine 1."""

    def run(experiment, resume):
        assert resume
        return types.SimpleNamespace(folder=experiment)

    def read(experiment):
        scale = 0.1 if "/1/" in experiment.options.model_root else 1.0
        errors = {"y1_RMSE": scale * experiment.training.seed, "y2_RMSE": scale * 3.0}
        return types.SimpleNamespace(metrics={"test": errors})

    monkeypatch.setattr("fuxi_mtl.workflow.resume.run_or_resume", run)
    monkeypatch.setattr("fuxi_mtl.comparison.read_run", read)
    return correlation.measure_correlation([1, 2], tmp_path, tmp_path), tmp_path


def test_every_model_is_trained_at_every_cosine_with_every_seed(measured):
    content, folder = measured
    assert json.loads((folder / "correlation.json").read_text()) == content
    cells = {(cell["contestant"], cell["at"]["cosine"]): cell["mse"]["values"] for cell in content["cells"]}
    assert len(cells) == 2 * len(correlation.MODELS)
    assert cells["MMoE", 0.0] == pytest.approx([(1 + 9) / 2, (4 + 9) / 2])
    assert cells["PLE", 1.0] == pytest.approx([0.05, 0.065])


def test_the_table_has_a_line_a_model_and_the_picture_a_line_too(measured):
    content, folder = measured
    lines = correlation.section(content)
    assert "| MMoE | 14,834 | 2 | 5.7500 ± 1.0607 | 0.0575 ± 0.0106 |" in lines
    (folder / "results").mkdir()
    (folder / "correlation.json").rename(folder / "results" / "correlation.json")
    drawn = plots.draw_all(folder / "results", folder / "pictures")
    assert [file.name for file in drawn] == ["correlation.png"]
    assert drawn[0].stat().st_size > 5_000


def test_the_experiments_differ_in_the_network_only(small, tmp_path):
    config, _ = correlation._prepare(tmp_path, 0.5, {})
    experiments = [load_experiment(config, name) for name in correlation.MODELS]
    assert {each.options.model for each in experiments} == {"MMoE", "ShareBottom", "MoE", "PLE"}
    assert len({each.optimizer for each in experiments}) == 1
    assert len({repr(each.training) for each in experiments}) == 1
    assert {task.kind for each in experiments for task in each.tasks} == {"regression"}
