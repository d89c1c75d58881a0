# ruff: noqa: N802 - tests are named after their entries in the list of regressions
"""A configuration folder as people write it for FuxiCTR trains unmodified."""

import shutil

import command_line
import graphs
import pytest

EXPIDS = ("MMoE_test", "MMoE_with_UW", "MMoE_with_GN", "MMoE_with_manual", "PLE_test", "ShareBottom_test")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folder copied as it is, and everything in it trained."""
    place = tmp_path_factory.mktemp("fuxictr") / "config"
    shutil.copytree(command_line.REPOSITORY / "tests" / "config" / "fuxictr_folder", place)
    with pytest.MonkeyPatch.context() as patch, graphs.as_traced():
        patch.chdir(place)
        whole = command_line.call("run", "--config", ".", "--gpu", "-1", "--expid", EXPIDS[0])
        # The others are not exported: a SavedModel of a folder like this one is the first one's.
        rest = command_line.call("run", "--config", ".", "--expid", *EXPIDS[1:], "--set", "export=false")
    assert (whole.status, whole.err, rest.status, rest.err) == (0, "", 0, "")
    root = place / "checkpoints" / "tiny_fuxictr"
    assert (root / EXPIDS[0] / "seed_2023" / "saved_model" / "saved_model.pb").exists()
    outs = {EXPIDS[0]: whole.out} | dict.fromkeys(EXPIDS[1:], rest.out)
    return {expid: command_line.Trained(root / expid / "seed_2023", out) for expid, out in outs.items()}


@pytest.mark.parametrize("expid", EXPIDS)
def test_C20_every_multi_task_model_trains_from_fuxictrs_own_stanzas(runs, expid):
    metrics = runs[expid].read("metrics.json")
    assert {"click_AUC", "conversion_AUC", "AUC", "click_logloss", "logloss"} <= set(metrics["test"])
    assert metrics["test"]["AUC"] == pytest.approx(
        (metrics["test"]["click_AUC"] + metrics["test"]["conversion_AUC"]) / 2
    )


@pytest.mark.parametrize(
    ("expid", "weights"), [("MMoE_test", (1, 1)), ("MMoE_with_manual", (1, 2)), ("PLE_test", (1, 1))]
)
def test_C1_fixed_weights_are_those_of_the_stanza(runs, expid, weights):
    (evaluation,) = runs[expid].evaluations
    assert evaluation["weights"] == dict(zip(("click", "conversion"), weights, strict=True))


def test_C1_gradnorm_moves_its_weights_from_the_first_epoch_and_says_so(runs):
    (evaluation,) = runs["MMoE_with_GN"].evaluations
    assert sum(evaluation["weights"].values()) == pytest.approx(2, abs=1e-5)
    assert evaluation["weights"]["click"] != 1
    assert all(norm > 0 for norm in evaluation["gradient_norms"].values())


def test_C1_uncertainty_weighting_moves_its_weights(runs):
    (evaluation,) = runs["MMoE_with_UW"].evaluations
    assert evaluation["weights"]["click"] != evaluation["weights"]["conversion"]


def test_the_monitor_is_the_weighted_sum_of_the_stanza(runs):
    run = runs["MMoE_with_UW"]
    valid = run.read("metrics.json")["valid"]
    assert f"Save best model: monitor(max)={2 * valid['AUC'] - valid['logloss']:.6f}" in run.out


def test_a_stanza_that_nobody_completed_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.chdir(command_line.REPOSITORY / "tests" / "config" / "fuxictr_folder")
    done = command_line.call("run", "--config", ".", "--expid", "MMoE_default")
    assert done.status == 1
    assert "no dataset is called 'TBD'" in done.err
