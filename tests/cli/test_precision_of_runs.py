"""The precision of runs that leave it open: chosen once, kept, and that of their predictions."""

import json

import numpy as np
import pytest
from command_line import call
from interrupting import interrupted, run

from fuxi_mtl import load_run
from fuxi_mtl.training.precision import BATCHES
from fuxi_mtl.training.state import folder
from fuxi_mtl.workflow.experiment import load_run as load_model

SHORT = ("steps_per_execution=1", "eval_steps=2", "epochs=1", "batch_size=80", "early_stop_patience=9")
AUTO = (*SHORT, "precision=auto")
ROWS = "data/toy/test.csv"


pytestmark = pytest.mark.usefixtures("in_place", "float32_afterwards", "eagerly")


@pytest.fixture
def gain(monkeypatch):
    """Has products in bfloat16 so many times as fast."""

    def pretend(value):
        monkeypatch.setattr(
            "fuxi_mtl.training.precision._gains", lambda *sides: dict.fromkeys(BATCHES, value)
        )

    return pretend


def kept(folder):
    return json.loads((folder / "metrics.json").read_text())["precision"]


@pytest.mark.parametrize(("value", "policy"), [(2.0, "mixed_bfloat16"), (1.0, "float32")])
def test_auto_trains_in_what_is_faster_as_if_the_stanza_had_named_it(
    tmp_path, gain, caplog, monkeypatch, value, policy
):
    told = []
    monkeypatch.setattr(
        "fuxi_mtl.workflow.precision.tell_workers", lambda what, **content: told.append((what, content))
    )
    gain(value)
    with caplog.at_level("INFO"):
        chosen = run(tmp_path / "auto", *AUTO)
    assert f"precision: auto chose {policy}: a product by " in caplog.text
    assert told == [("precision", {"policy": policy})]  # which they wait for where it is auto
    named = run(tmp_path / "named", *SHORT, f"precision={policy}")
    assert kept(chosen) == {**kept(chosen), "policy": policy, "gains": {"256": value, "4096": value}}
    assert kept(named) == {"policy": policy}
    first, second = (json.loads((each / "metrics.json").read_text())["test"] for each in (chosen, named))
    assert first == second


def test_a_training_that_goes_on_keeps_its_precision_and_one_that_begins_anew_chooses(tmp_path, gain, caplog):
    gain(2.0)
    whole = run(tmp_path / "whole", *AUTO)
    interrupted(tmp_path / "cut", 3, *AUTO)
    gain(1.0)  # another machine, or a busy one
    with caplog.at_level("INFO"):
        gone_on = run(tmp_path / "cut", *AUTO, resume=True)
    assert "precision: auto is mixed_bfloat16, as the training began." in caplog.text
    assert kept(gone_on) == kept(whole)
    longer = run(tmp_path / "longer", *AUTO, f"resume_path={whole}", "epochs=2")
    assert kept(longer) == kept(whole)
    assert kept(run(tmp_path / "whole", *AUTO))["policy"] == "float32"


def test_a_run_predicts_in_float32_unless_its_stanza_says_otherwise(tmp_path, gain):
    gain(2.0)
    scores = {}
    for precision in ("float32", "mixed_bfloat16", "auto"):
        folder = run(tmp_path / precision, *SHORT, f"eval_precision={precision}")
        assert kept(folder) == {"policy": "float32"}  # trained as ever
        output = tmp_path / f"{precision}.csv"
        root = f"model_root={tmp_path / precision}"
        done = call("predict", "--expid", "Toy", "--set", root, "--input", ROWS, "--output", output)
        assert done.status == 0, done.err
        scores[precision] = np.loadtxt(output, delimiter=",", skiprows=1)
        model = load_run(folder).model
        assert model.dtype_policy.name == ("float32" if precision == "float32" else "mixed_bfloat16")
        assert load_model(folder)[0].dtype_policy.name == "float32"  # what is exported
    assert np.array_equal(scores["auto"], scores["mixed_bfloat16"])
    assert not np.array_equal(scores["auto"], scores["float32"])
    assert np.abs(scores["auto"] - scores["float32"]).max() < 0.02  # eight bits of a logit


def test_the_precision_of_a_state_of_an_older_version_is_chosen_anew(tmp_path, gain, monkeypatch):
    gain(2.0)
    interrupted(tmp_path, 3, *AUTO)
    older = folder.read_note
    monkeypatch.setattr(
        folder, "read_note", lambda file: {k: v for k, v in older(file).items() if k != "precision"}
    )
    gain(1.5)
    assert kept(run(tmp_path, *AUTO, resume=True))["gains"] == {"256": 1.5, "4096": 1.5}
