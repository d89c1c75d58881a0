"""A search from the command line: a run for each preference, resumed, with its front."""

import json

import command_line
import pytest
from command_line import by_hand

from fuxi_mtl.config import load_experiment, load_resolved
from fuxi_mtl.workflow.resume import finished_run

PREFERENCES = "pareto={vectors: [{click: 0.5, buy: 1.5}, {click: 1.5, buy: 0.5}]}"
NAMES = ("Toy_weights_0.5_1.5", "Toy_weights_1.5_0.5")


@pytest.fixture(scope="module")
def searched(in_place, tmp_path_factory):
    root = tmp_path_factory.mktemp("pareto")
    common = ("pareto", "--expid", "Toy", "--set", f"model_root={root}", "epochs=1", PREFERENCES)
    return root / "toy", common, command_line.call(*common)


def test_every_preference_has_a_run_of_its_own(searched):
    folder, _, done = searched
    assert (done.status, done.err) == (0, "")
    for name, weight in zip(NAMES, ("0.5", "1.5"), strict=True):
        assert f"click: {weight}" in (folder / name / "seed_1" / "config.yaml").read_text()
        assert (folder / name / "seed_1.log").exists()


def test_the_front_is_stored_and_shown(searched):
    folder, _, done = searched
    front = json.loads((folder / "Toy" / "pareto.json").read_text())
    valid = [json.loads((folder / n / "seed_1" / "metrics.json").read_text())["valid"] for n in NAMES]
    assert [p["valid"]["click_AUC"] for p in front["points"]] == [each["click_AUC"] for each in valid]
    assert front["metrics"] == ["click_AUC", "buy_AUC"]
    assert f"Chosen by fairness: {front['chosen']}" in done.out.replace("\n", " ")
    assert "<svg" in (folder / "Toy" / "pareto.html").read_text()


def test_finished_runs_are_kept_and_changed_ones_are_not(searched):
    folder, common, _ = searched
    times = {name: (folder / name / "seed_1" / "metrics.json").stat().st_mtime_ns for name in NAMES}
    (folder / NAMES[1] / "seed_1" / "metrics.json").unlink()
    assert command_line.call(*common).status == 0
    again = {name: (folder / name / "seed_1" / "metrics.json").stat().st_mtime_ns for name in NAMES}
    assert again[NAMES[0]] == times[NAMES[0]]
    assert again[NAMES[1]] != times[NAMES[1]]


def test_run_keeps_a_finished_run_only_if_it_would_be_the_same(toy_run):
    root = toy_run.folder.parent.parent.parent
    file = toy_run.folder / "metrics.json"
    before = file.read_text()
    log = toy_run.folder.with_suffix(".log").read_text()
    common = ("run", "--expid", "Toy", "--resume", "--set", f"model_root={root}")
    done = command_line.call(*common)
    assert done.status == 0
    assert "is finished: it stays as it is" in done.out
    assert file.read_text() == before
    assert toy_run.folder.with_suffix(".log").read_text() == log
    for changed in (["learning_rate=0.1"], ["tower_hidden_units=[3]"], ["epochs=3"]):
        assert finished_run(load_experiment("config", "Toy", [f"model_root={root}", *changed])) is None
    experiment = load_experiment("config", "Toy", [f"model_root={root}"])
    assert finished_run(experiment).folder == toy_run.folder
    assert finished_run(experiment.with_seed(9)) is None


def test_a_run_on_other_data_or_with_damaged_metrics_is_trained_again(searched, caplog):
    folder, _, _ = searched
    file = folder / NAMES[0] / "seed_1" / "metrics.json"
    experiment = load_resolved(file.with_name("config.yaml"), NAMES[0])
    content = file.read_text()
    assert finished_run(experiment).folder == file.parent
    by_hand(file, ('"data_key": "', '"data_key": "other'))
    assert finished_run(experiment) is None
    file.write_text("{")
    assert finished_run(experiment) is None
    assert "is trained again" in caplog.text
    file.write_text(content)


def test_preferences_that_do_not_fit_are_told_before_anything_is_trained(in_place, tmp_path):
    done = command_line.call(
        "pareto", "--expid", "Toy", "--set", f"model_root={tmp_path}", "pareto={vectors: [{like: 1}]}"
    )
    assert done.status == 1
    assert "pareto: a preference names 'like', which is no objective. Objectives: click, buy." in done.err
    assert not any(tmp_path.iterdir())
