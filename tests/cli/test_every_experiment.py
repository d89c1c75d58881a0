"""Every experiment on data/tiny_mtl trains and leaves a whole run."""

import json
import re

import numpy as np
import pytest
from command_line import TINY, Trained

from fuxi_mtl import registry
from fuxi_mtl.config import load_experiment, load_resolved
from fuxi_mtl.workflow.experiment import load_run

LOG_LINES = (
    r"Params: {",
    r"Data tiny_mtl: [\d,]+ train, [\d,]+ valid, [\d,]+ test rows\.",
    r"Task \w+ \(.+\): train [\d,]+ of [\d,]+ \(\d+\.\d\d%\), valid ",
    r"Column \w+: [\d,]+ ids",
    r"Total number of parameters: \d+\.",
    r"\*{12} Epoch=1 start \*{12}",
    r"Train loss: \d+\.\d{6}",
    r"Losses: \w+: \d+\.\d{6} - ",
    r"Weights: \w+: 1\.000000 - ",
    r"Evaluation @epoch 1 - batch 63:",
    r"\[Task: \w+\]\[Metrics\] AUC: 0\.\d{6} - logloss: \d\.\d{6}",
    r"\[Metrics\] AUC: 0\.\d{6}",
    r"Save best model: monitor\(max\)=0\.\d{6}",
    r"\*{6} Validation evaluation \*{6}",
    r"\*{8} Test evaluation \*{8}",
)


@pytest.fixture(params=TINY)
def run(request, tiny_runs) -> Trained:
    root, done = tiny_runs
    assert (done.status, done.err) == (0, "")
    return Trained(root / "tiny_mtl" / request.param / "seed_2026", done.out)


def expid(run: Trained) -> str:
    return run.folder.parent.name


def test_a_run_is_whole(run):
    files = {path.relative_to(run.folder).as_posix() for path in run.folder.rglob("*") if path.is_file()}
    assert files == {
        "config.yaml",
        "environment.json",
        "history.json",
        "metrics.json",
        "valid_scores.npz",
        "test_scores.npz",
        "checkpoint/state.h5",
        "features/feature_map.json",
        "features/feature_vocab.json",
        "features/checksums.json",
        "features/encoders.json",
    }
    assert sorted(path.name for path in run.folder.parent.iterdir()) == ["seed_2026", "seed_2026.log"]


def test_the_stored_configuration_is_the_experiment(run):
    stored = load_resolved(run.folder / "config.yaml", expid(run))
    root = run.folder.parent.parent.parent
    assert stored == load_experiment("config", expid(run), [f"model_root={root}", "export=false"])


def test_the_environment_names_versions_code_and_data(run):
    environment = run.read("environment.json")
    assert environment["packages"]["tensorflow"].startswith("2.")
    assert environment["packages"]["keras"].startswith("3.")
    assert set(environment) == {
        "command",
        "python",
        "packages",
        "machine",
        "git_commit",
        "data_key",
        "started",
        "crc32",
    }
    assert environment["data_key"] == run.read("metrics.json")["data_key"]


def test_the_history_names_every_objective(run):
    experiment = load_resolved(run.folder / "config.yaml", expid(run))
    (evaluation,) = run.evaluations
    assert (evaluation["step"], evaluation["epoch"]) == (63, 1)
    assert set(evaluation["losses"]) == set(evaluation["weights"])
    model = registry.model(experiment.options.model)
    assert set(evaluation["losses"]) == set(model.objective_names(experiment.tasks))
    assert np.isfinite(list(evaluation["losses"].values())).all()
    supervised = {task.name for task in model.supervised_tasks(experiment.tasks)}  # a risk may be negative
    assert all(loss > 0 for name, loss in evaluation["losses"].items() if name in supervised)
    assert evaluation["gradient_norms"] is None
    assert evaluation["metrics"] == run.read("metrics.json")["valid"]


def test_the_metrics_name_every_task(run):
    metrics = run.read("metrics.json")
    experiment = load_resolved(run.folder / "config.yaml", expid(run))
    assert list(metrics["tasks"]) == [task.name for task in experiment.tasks]
    for task in experiment.tasks:
        for name in ("AUC", "logloss") if task.kind == "binary" else ("MAE", "RMSE"):
            assert metrics["test"][f"{task.name}_{name}"] > 0
    assert metrics["test"]["AUC"] > 0.5
    assert metrics["undefined"] == {"valid": {}, "test": {}}
    assert (metrics["best_step"], metrics["best_epoch"]) == (63, 1)
    assert metrics["num_parameters"] > 1000
    assert metrics["rows_per_second"] > 0


def test_the_scores_are_those_of_the_stored_model(run):
    experiment = load_resolved(run.folder / "config.yaml", expid(run))
    with np.load(run.folder / "test_scores.npz") as scores:
        assert len(scores["group"]) == 1000
        for task in experiment.tasks:
            assert np.isfinite(scores[f"{task.name}_pred"]).all()
            unclicked = np.nan_to_num(scores["click_label" if "click_label" in scores else "ctr_label"]) == 0
            assert np.isnan(scores[f"{task.name}_label"][unclicked]).all() == bool(task.given)
        model, encoder = load_run(run.folder)
        import polars as pl

        rows = pl.read_csv("data/tiny_mtl/test.csv", infer_schema=False).head(50)
        ids, numeric = encoder.encode(rows)
        found = model.probabilities(model({"ids": ids, "numeric": numeric}))
        for task in experiment.tasks:
            expected = scores[f"{task.name}_pred"][:50]
            np.testing.assert_allclose(found[task.name], expected, rtol=1e-4, atol=1e-6)


def test_the_log_has_the_lines_that_people_know(run):
    log = (run.folder.parent / "seed_2026.log").read_text()
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} P\d+ INFO Params: ", log)
    position = 0
    for line in LOG_LINES:
        found = re.compile(line).search(log, position)
        assert found, line
        position = found.end()


def test_the_results_line_has_validation_and_test(run, place):
    lines = (place / "config.csv").read_text().splitlines()
    (line,) = [each for each in lines if f"[exp_id] {expid(run)}," in each]
    assert re.match(r" \d{8}-\d{6},\[command\] python ", line)
    metrics = run.read("metrics.json")
    for split, name in (("valid", "val"), ("test", "test")):
        assert f"AUC: {metrics[split]['AUC']:.6f}" in line.partition(f"[{name}] ")[2]


def test_several_experiments_are_compared_in_a_table(tiny_runs):
    _, done = tiny_runs
    table = done.out[done.out.rindex("Test evaluation") :]
    assert all(each in table for each in TINY)


def test_parameters_are_in_the_log_file_without_the_columns_and_not_on_the_terminal(tiny_runs):
    root, done = tiny_runs
    assert "Params: " not in done.out
    log = (root / "tiny_mtl" / TINY[0] / "seed_2026.log").read_text()
    text = log[log.index("Params: ") + len("Params: ") :]
    shown, _ = json.JSONDecoder().raw_decode(text)
    assert shown["expid"] == TINY[0]
    assert shown["batch_size"] == 64
    assert "feature_cols" not in shown
