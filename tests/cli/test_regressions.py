# ruff: noqa: N802 - tests are named after their entries in the list of regressions
"""What went wrong in FuxiCTR and concerns a whole run; the other entries have tests beside their modules."""

import numpy as np
import polars as pl
import tiny
from command_line import train, write_csv

from fuxi_mtl import PLE


def test_C2_missing_labels_change_nothing_but_their_own_task(tmp_path):
    click = np.arange(320) % 8 != 7
    buy = [None if row % 2 else row % 4 // 2 for row in range(320)]
    masked = [-1 if label is None else label for label in buy]
    first = write_csv(tmp_path / "null.csv", 320, 0, click=click.astype(int), buy=buy)
    second = write_csv(tmp_path / "mask.csv", 320, 0, click=click.astype(int), buy=masked)
    metrics = [
        train(tmp_path / file.stem, f"train_data={file}", f"test_data={file}", "epochs=1").read(
            "metrics.json"
        )
        for file in (first, second)
    ]
    assert metrics[0]["test"] == metrics[1]["test"]
    with np.load(tmp_path / "null/toy/Toy/seed_1/test_scores.npz") as scores:
        assert np.isnan(scores["buy_label"]).sum() == 160
        assert (scores["buy_label"] == 0).sum() == 80


def test_C9_gauc_is_measured_on_the_groups_of_a_raw_column(tmp_path):
    run = train(tmp_path, "group_id=user", "metrics=[AUC, gAUC]", "epochs=1")
    metrics = run.read("metrics.json")
    assert 0 < metrics["test"]["click_gAUC"] < 1
    rows = pl.read_csv("data/toy/test.csv").group_by("user").agg(pl.col("click").n_unique())
    assert metrics["notes"]["test"]["click_gAUC"]["groups"] == (rows["click"] == 2).sum()


def test_C16_C17_data_and_loss_weights_can_be_varied_from_the_command_line(toy_run, tmp_path):
    run = train(tmp_path, "min_categr_count=100", "loss_weight={buy: 0.5, click: 2}", "epochs=1")
    assert run.evaluations[0]["weights"] == {"click": 2, "buy": 0.5}
    assert run.read("metrics.json")["data_key"] != toy_run.read("metrics.json")["data_key"]


def test_C18_the_shared_gate_of_PLE_sees_every_expert_and_the_last_level_has_none():
    tasks = tiny.PLAIN["three"]
    model = PLE(
        tiny.FEATURES,
        tasks,
        num_layers=2,
        num_shared_experts=2,
        num_specific_experts=1,
        expert_hidden_units=[4],
    )
    model.build()
    levels = [layer for layer in model._flatten_layers() if type(layer).__name__ == "ExtractionLevel"]
    last, first = sorted(levels, key=lambda level: level.shared_gate is not None)
    assert first.shared_gate.logits.units == 2 + 3 * 1
    assert last.shared_gate is None


def test_C21_nothing_is_pickled(toy_run):
    for file in toy_run.folder.rglob("*"):
        if file.is_file():
            assert file.suffix not in (".pkl", ".pickle")
            assert not file.read_bytes().startswith(b"\x80\x04")
    with np.load(toy_run.folder / "test_scores.npz", allow_pickle=False) as scores:
        assert all(scores[name].dtype == np.float32 for name in scores.files)


def test_T4_dropout_and_batch_norm_train_and_their_statistics_are_restored(tmp_path):
    settings = ("net_dropout=0.3", "batch_norm=true", "eval_steps=2", "early_stop_patience=99", "epochs=1")
    run = train(tmp_path, *settings, "learning_rate=0.3")
    metrics = run.read("metrics.json")
    best = next(each for each in run.evaluations if each["step"] == metrics["best_step"])
    # Were the moving statistics not restored, an evaluation after the run would differ from the one in it.
    assert metrics["best_step"] < 10
    assert metrics["valid"] == best["metrics"]
