# ruff: noqa: N802 - tests are named after their entries in the sheet of methods
"""Diagnostics of a training: they change nothing, are kept with the run, and shown in the report."""

import h5py
import numpy as np
import pytest
from command_line import call, train

from fuxi_mtl.comparison import read_run
from fuxi_mtl.report import diagnostics

BOTTOM = "bottom={type: MMoE, num_experts: 2, expert_hidden_units: [4]}"
SETTINGS = (BOTTOM, "net_dropout=0.5", "loss_weight=UW", "save_best_only=false")
ASKED = ("grad_diag_enabled=true", "log_health_metrics=true")


@pytest.fixture(scope="module")
def watched(in_place, tmp_path_factory):
    """A funnel over a mixture of experts with dropout, measured at each call, which is two steps."""
    root = tmp_path_factory.mktemp("watched")
    return train(root, *SETTINGS, *ASKED, "steps_per_execution=2", expid="ToyFunnel")


def tensors(run, folder):
    """Network, seeds, optimizer and weighting as they were saved."""
    found = {}

    def keep(name, item):
        if isinstance(item, h5py.Dataset):
            found[name] = item[()]

    with h5py.File(run.folder / folder / "state.h5") as file:
        file.visititems(keep)
    return found


def test_S4_a_training_is_the_same_to_the_last_bit_with_diagnostics_and_without(watched, tmp_path):
    alone = train(tmp_path, *SETTINGS, "steps_per_execution=2", expid="ToyFunnel")
    assert not (alone.folder / "diagnostics.json").exists()
    for folder in ("checkpoint", "checkpoint_last"):
        one, other = tensors(watched, folder), tensors(alone, folder)
        assert len(one) > 40
        assert any("seeds" in name for name in one)
        for name, value in one.items():
            assert np.asarray(value).tobytes() == np.asarray(other[name]).tobytes(), name
    assert watched.evaluations == alone.evaluations


def test_what_was_measured_lies_with_the_run(watched):
    found = watched.read("diagnostics.json")
    assert found["gradients"]["steps"] == list(range(2, 21, 2))
    assert found["gates"]["steps"] == list(range(2, 21, 2))
    (pair,) = found["gradients"]["pairs"]
    assert pair["objectives"] == ["ctr", "ctcvr"]
    for part in ("dense", "sparse", "all"):
        cosines = pair["parts"][part]["cosine"]
        assert len(cosines) == pair["parts"][part]["summary"]["measured"] == 10
        assert all(-1 <= cosine <= 1 for cosine in cosines)
        assert all(norm > 0 for norm in found["gradients"]["norms"][part]["ctr"])
    (group,) = found["gates"]["groups"]
    assert [gate["name"] for gate in group["gates"]] == ["ctr", "cvr"]
    assert group["gates"][0]["experts"] == ["expert_0", "expert_1"]
    assert np.sum(group["gates"][0]["weight"], axis=1) == pytest.approx(np.ones(10), abs=1e-5)
    assert found["seconds"] > 0


def test_the_log_says_what_was_found_and_what_it_took(watched):
    assert "about 10 measurements in 20 steps (2 steps a call of the graph)" in watched.out
    for part in ("dense", "sparse", "all"):
        assert f"Gradients of ctr and ctcvr ({part}): cosine " in watched.out
    assert "10 batches, 0 skipped" in watched.out
    assert "Gate cvr (gated_experts): entropy " in watched.out
    assert "Divergence of gates (gated_experts): ctr · cvr " in watched.out
    assert "Diagnostics took " in watched.out


def test_the_report_shows_it(watched):
    run = read_run(watched.folder)
    assert len(diagnostics.conflict_lines([run])) == 3
    drawn = diagnostics.pictures([run], [run.expid])
    assert len(drawn) == 6
    assert all(picture.panels for picture in drawn)


def test_more_tasks_to_share_than_there_are_is_refused_before_any_data_are_read():
    settings = ("grad_diag_enabled=true", "grad_diag_min_tasks=3", "train_data=no.csv")
    done = call("run", "--expid", "Toy", "--set", *settings)
    assert done.status != 0
    assert "grad_diag_min_tasks is 3, but the objectives are 2: click, buy. Use 2." in done.out + done.err


@pytest.mark.usefixtures("eagerly")
def test_one_objective_alone_is_a_warning_and_a_network_without_gates_a_note(tmp_path):
    one = "tasks={click: click}"
    run = train(tmp_path, one, *ASKED, "epochs=1", "batch_size=160", "steps_per_execution=1")
    assert "grad_diag_enabled: click is the only objective: nothing to compare." in run.out
    assert "log_health_metrics: the network has no gates." in run.out
    assert not (run.folder / "diagnostics.json").exists()
