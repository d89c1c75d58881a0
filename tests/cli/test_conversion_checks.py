"""The checks of a conversion model, from its stanza to the table of a comparison."""

import json
import shutil

import pytest
from command_line import call, train


@pytest.fixture(scope="module")
def checked(tmp_path_factory, in_place):
    root = tmp_path_factory.mktemp("checked")
    return root, train(
        root,
        "epochs=1",
        "conversion_checks=true",
        "conversion_settings={matches: [1], resamples: 20}",
        "group_id=user",
        "static_pos_weight={ctr: 2}",
        expid="ToyFunnel",
    )


def test_a_run_keeps_and_logs_the_checks_of_its_test_rows(checked):
    _, run = checked
    block = run.read("metrics.json")["conversion_checks"]
    assert block["split"] == "test"
    assert list(block["pairs"]) == ["cvr"]
    assert block["pairs"]["cvr"]["propensity"] == "ctr"
    names = {each["name"] for each in block["pairs"]["cvr"]["balance"]}
    assert "price" in names
    assert {name.partition("=")[0] for name in names} == {"price", "item"}
    assert "Positives were weighted in training: pCTR and pCVR are too high" in block["caveats"][-1]
    assert f"[Conversion check] cvr_IEB.bias: {block['values']['cvr_IEB.bias']:.6f}" in run.out


def test_calibrating_a_run_makes_its_checks_anew(checked, tmp_path):
    root, run = checked
    shutil.copytree(root, tmp_path / "runs")
    done = call(
        "calibrate", "--expid", "ToyFunnel", "--set", f"model_root={tmp_path / 'runs'}", "--method", "platt"
    )  # fmt: skip
    assert (done.status, done.err) == (0, "")
    block = run._replace(folder=tmp_path / "runs" / run.folder.relative_to(root)).read("metrics.json")[
        "conversion_checks"
    ]
    before = run.read("metrics.json")["conversion_checks"]
    assert block["values"]["cvr_IEB.bias"] != before["values"]["cvr_IEB.bias"]
    assert block["caveats"] == before["caveats"][:-1]


def test_the_table_shows_the_checks_on_request(checked):
    root, run = checked
    value = run.read("metrics.json")["conversion_checks"]["values"]["cvr_CRR.1"]
    shown = call("compare", "--model_root", root, "--checks", "--format", "json")
    assert json.loads(shown.out)[0]["rows"][0]["metrics"]["cvr_CRR.1"]["mean"] == value
    plain = call("compare", "--model_root", root, "--format", "json")
    assert "cvr_CRR.1" not in plain.out


def test_asking_for_checks_that_no_run_has_says_what_to_do(toy_run):
    done = call("compare", "--model_root", toy_run.folder.parents[2], "--checks")
    assert done.status == 1
    assert "no run has conversion checks. Run an experiment with conversion_checks: true" in done.err


def test_a_stanza_without_such_tasks_is_refused_before_training(tmp_path):
    done = call(
        "run",
        "--expid",
        "Toy",
        "--set",
        f"model_root={tmp_path}",
        "conversion_checks=[ieb]",
        "tasks={click: click}",
    )
    assert done.status == 1
    assert "conversion_checks compares clicked with unclicked exposures" in done.err
