# ruff: noqa: N802 - tests are named after their entries in the list of regressions
"""How long training goes on, what it watches, and what it leaves."""

import math
import re
from dataclasses import replace

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from command_line import call, train, write_csv
from interrupting import Killed

from fuxi_mtl import ShareBottom
from fuxi_mtl.objectives import supervised
from fuxi_mtl.training.train import diverged
from fuxi_mtl.workflow.experiment import load_run

SHORT = ("epochs=1", "batch_size=160")  # two steps

# ---- how many rows a step has --------------------------------------------------------------------


@pytest.mark.usefixtures("eagerly")
def test_the_size_of_a_batch_that_is_kept_is_that_of_the_steps(tmp_path):
    sampled = ("n_rows=70", "negative_sampling=plain", "neg_keep_prob_train=0.05")
    run = train(tmp_path, "batch_size=auto", "epochs=1", *sampled)
    [(size, rows)] = re.findall(r"batch_size: auto is (\d+) for (\d+) training rows", run.out)
    assert int(rows) < 64  # so few are left that they are one step
    assert run.evaluations[-1]["step"] == 1
    assert run.read("metrics.json")["batch_size"] == int(size) == int(rows)


# ---- what is watched ----------------------------------------------------------------------------


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize(
    ("monitor", "direction", "watched"),
    [
        ("buy_AUC", "max", lambda m: m["buy_AUC"]),
        ("logloss", "min", lambda m: m["logloss"]),
        ("{AUC: 2, logloss: -1}", "max", lambda m: 2 * m["AUC"] - m["logloss"]),
    ],
)
def test_any_metric_can_be_watched(tmp_path, monitor, direction, watched):
    run = train(tmp_path, f"monitor={monitor}", "epochs=3", "batch_size=160", "monitor_mode=null")
    values = [watched(each["metrics"]) for each in run.evaluations]
    best = max(values) if direction == "max" else min(values)
    kept = run.read("metrics.json")
    assert f"Save best model: monitor({direction})={best:.6f}" in run.out
    assert kept["best_step"] == run.evaluations[values.index(best)]["step"]
    assert watched(kept["valid"]) == pytest.approx(best, abs=1e-6)


@pytest.mark.usefixtures("eagerly")
def test_C5_an_undefined_monitor_is_never_best_and_still_stops(tmp_path):
    one_class = write_csv(tmp_path / "valid.csv", 40, 9, click=np.ones(40, int), buy=np.zeros(40, int))
    run = train(tmp_path / "runs", f"valid_data={one_class}", "epochs=9", "batch_size=320")
    metrics = run.read("metrics.json")
    assert "Save best model" not in run.out
    assert "AUC: nan (all 40 labels are 1)" in run.out
    assert "Monitor(max)=nan STOP!" in run.out
    assert "********* Epoch=3 early stop *********" in run.out
    assert "The monitor was never defined: keeping the last weights." in run.out
    assert len(run.evaluations) == 3
    assert metrics["valid"]["click_AUC"] is None
    assert metrics["undefined"]["valid"]["click_AUC"] == "all 40 labels are 1"
    assert metrics["best_step"] is None
    assert metrics["test"]["click_AUC"] > 0
    load_run(run.folder)


@pytest.mark.usefixtures("eagerly")
def test_C3_a_task_with_a_single_class_does_not_spoil_the_monitor_of_another(tmp_path):
    never_bought = write_csv(tmp_path / "valid.csv", 160, 1, buy=np.zeros(160, int))
    run = train(tmp_path / "runs", f"valid_data={never_bought}", "monitor=click_AUC", *SHORT)
    assert run.read("metrics.json")["best_step"] == 2
    assert "[Task: buy][Metrics] AUC: nan (all" in run.out


@pytest.mark.usefixtures("eagerly")
def test_an_undefined_part_of_auc_primary_is_no_improvement(tmp_path):
    never_bought = write_csv(tmp_path / "valid.csv", 160, 1, buy=np.zeros(160, int))
    settings = ("monitor=auc_primary", f"valid_data={never_bought}", *SHORT)
    run = train(tmp_path / "runs", *settings, expid="ToyFunnel")
    assert "monitor: ctcvr_AUC rests on 0 positives; small differences are chance." in run.out
    assert "The monitor is undefined, which is no improvement (ctcvr_AUC: all 160 labels are 0;" in run.out
    assert run.read("metrics.json")["best_step"] is None


@pytest.mark.usefixtures("eagerly")
def test_without_validation_rows_the_last_weights_are_kept(tmp_path):
    marked = write_csv(tmp_path / "all.csv", 320, 0, part=["train"] * 200 + ["test"] * 120)
    run = train(
        tmp_path / "runs",
        f"train_data={marked}",
        "valid_data=null",
        "test_data=null",
        "split_type=column",
        "split_col=part",
        "early_stop_patience=1",
        "batch_size=100",
        "epochs=3",
    )
    metrics = run.read("metrics.json")
    assert "(there is no validation data)" in run.out
    assert "early stop" not in run.out
    assert len(run.evaluations) == 3
    assert "valid" not in metrics
    assert metrics["test"]["AUC"] > 0


# ---- when it is measured, and when it ends ------------------------------------------------------


@pytest.mark.usefixtures("eagerly")
def test_patience_ends_a_run_that_does_not_improve(tmp_path):
    # At a rate of nearly zero nothing improves after the first evaluation.
    run = train(tmp_path, "learning_rate=1e-30", "epochs=9", "batch_size=320")
    assert [each["epoch"] for each in run.evaluations] == [1, 2, 3]
    assert run.out.count("STOP!") == 2
    assert "********* Epoch=3 early stop *********" in run.out


@pytest.mark.usefixtures("eagerly")
def test_a_run_goes_on_while_an_error_falls(tmp_path):
    settings = ("monitor=logloss", "monitor_mode=null", "early_stop_patience=1", "epochs=4")
    run = train(tmp_path, *settings, "learning_rate=1e-3", "batch_size=160")
    values = [each["metrics"]["logloss"] for each in run.evaluations]
    assert len(values) == 4
    assert values == sorted(values, reverse=True)


def test_T3_each_evaluation_without_improvement_costs_a_tenth_of_the_rate(tmp_path):
    settings = ("learning_rate=3", "eval_steps=2", "early_stop_patience=99")
    run = train(tmp_path, "monitor=click_logloss", *settings)
    losses = [each["metrics"]["click_logloss"] for each in run.evaluations]
    best, rate, expected = math.inf, 3.0, []
    for loss in losses:
        expected.append(rate)
        rate = rate if loss < best else max(rate / 10, 1e-6)
        best = min(best, loss)
    assert [each["learning_rate"] for each in run.evaluations] == pytest.approx(expected)
    assert expected[-1] < 3
    assert "Reduce learning rate on plateau: 0.300000" in run.out


@pytest.mark.usefixtures("eagerly")
def test_the_learning_rate_stays_where_the_stanza_says_so(tmp_path):
    run = train(tmp_path, "learning_rate=1e-30", "reduce_lr_on_plateau=false", "batch_size=320", "epochs=3")
    assert len(run.evaluations) == 3
    assert "Reduce learning rate" not in run.out


def test_a_planned_rate_follows_the_steps_of_a_run_that_ends_before_its_epochs(tmp_path):
    plan = "lr_scheduler={warmup_steps: 2, min_lr_ratio: 0.1, target: dense}"
    settings = ("max_train_steps=14", "eval_steps=6", "log_every=5", "learning_rate=0.1")
    run = train(tmp_path, plan, *settings, "early_stop_patience=9")
    assert [each["step"] for each in run.evaluations] == [6, 12, 14]

    def rate(t):  # the cosine ends with the run, at step 14
        return 0.1 * (0.1 + 0.45 * (1 + math.cos(math.pi * (t - 2) / 12)))

    found = [each["learning_rate"] for each in run.evaluations]
    assert found == pytest.approx([rate(6), rate(12), rate(14)], rel=1e-5)
    assert "Reduce learning rate" not in run.out
    assert re.findall(r"Step (\d+): loss", run.out) == ["6", "10"]


@pytest.mark.usefixtures("eagerly")
def test_C10_eval_steps_beyond_the_run_evaluate_at_its_end(tmp_path):
    run = train(tmp_path, "batch_size=160", "eval_steps=100000")
    assert [(each["step"], each["epoch"]) for each in run.evaluations] == [(4, 2)]
    assert run.read("metrics.json")["best_step"] == 4


def test_C10_eval_steps_divide_an_epoch_and_the_rest_of_the_run_is_trained_too(tmp_path):
    run = train(tmp_path, "eval_steps=6", "early_stop_patience=9")
    assert [each["step"] for each in run.evaluations] == [6, 12, 18, 20]
    assert [each["epoch"] for each in run.evaluations] == [0.6, 1.2, 1.8, 2]
    lines = [line.partition("INFO ")[2] for line in run.out.splitlines()]
    told = [line for line in lines if "start" in line or line.startswith("Evaluation") or "early" in line]
    assert told == [
        "************ Epoch=1 start ************",
        "Evaluation @epoch 1 - batch 6:",
        "Evaluation @epoch 2 - batch 12:",
        "************ Epoch=2 start ************",
        "Evaluation @epoch 2 - batch 18:",
        "Evaluation @epoch 2 - batch 20:",
    ]


@pytest.mark.usefixtures("eagerly")
def test_a_batch_larger_than_the_data_is_all_of_them(tmp_path):
    run = train(tmp_path, "batch_size=5000")
    assert "batch_size 5000: the training data have only 320 rows." in run.out
    assert [each["step"] for each in run.evaluations] == [1, 2]


def test_batches_without_a_click_train_conditional_tasks(tmp_path):
    rare = (np.arange(60) % 10 == 0).astype(int)
    few = write_csv(tmp_path / "train.csv", 60, 5, click=rare, buy=(np.arange(60) % 20 == 0).astype(int))
    for expid, weight in (("ToyFunnel", "GN"), ("Toy", "UW")):
        run = train(
            tmp_path / weight, f"train_data={few}", "batch_size=2", "epochs=1", f"loss_weight={weight}",
            expid=expid,
        )  # fmt: skip
        last = run.evaluations[-1]
        assert all(math.isfinite(loss) for loss in last["losses"].values())
        assert all(weight > 0 for weight in last["weights"].values())


# ---- what it leaves -----------------------------------------------------------------------------


def test_the_best_weights_are_in_the_run_not_the_last(tmp_path):
    run = train(
        tmp_path,
        "learning_rate=1",
        "eval_steps=1",
        "early_stop_patience=99",
        "epochs=1",
        "save_best_only=false",
    )
    metrics = run.read("metrics.json")
    assert metrics["best_step"] < run.evaluations[-1]["step"]
    best = next(each for each in run.evaluations if each["step"] == metrics["best_step"])
    assert metrics["valid"] == best["metrics"]
    # save_best_only: false keeps the last step's beside them.
    kept = []
    for name in ("checkpoint", "checkpoint_last"):
        with h5py.File(run.folder / name / "state.h5") as file:
            kept.append(file["optimizer/dense/iterations"][()])
    assert kept == [metrics["best_step"], 10]


@pytest.mark.usefixtures("eagerly")
def test_the_last_weights_are_kept_and_measured_where_that_is_asked_for(tmp_path):
    given = ("learning_rate=1", "eval_steps=1", "early_stop_patience=99", "epochs=1", "drop_last=true")
    run = train(tmp_path, *given, "batch_size=60", "final_weights=last")
    metrics = run.read("metrics.json")
    # 320 rows are five batches of 60, and 20 rows that are in none.
    assert [each["step"] for each in run.evaluations] == list(range(1, 6))
    assert metrics["best_step"] == 5
    assert metrics["valid"] == run.evaluations[-1]["metrics"]
    with h5py.File(run.folder / "checkpoint" / "state.h5") as file:
        assert file["optimizer/dense/iterations"][()] == 5


@pytest.mark.usefixtures("eagerly")
def test_only_the_first_validation_rows_are_watched_where_that_is_asked_for(tmp_path):
    run = train(tmp_path, *SHORT, "max_valid_steps=2", "eval_batch_size=16", "metrics=[AUC, logloss]")
    assert "max_valid_steps: the first 32 validation rows are watched." in run.out
    scores = np.load(run.folder / "valid_scores.npz")
    y, p = scores["click_label"].astype(float), scores["click_pred"].astype(float)
    (evaluation,) = run.evaluations
    expected = logloss(y[:32], p[:32])
    assert evaluation["metrics"]["click_logloss"] == pytest.approx(expected, abs=1e-6)
    whole = logloss(y, p)
    assert abs(whole - expected) > 1e-4
    assert run.read("metrics.json")["valid"]["click_logloss"] == pytest.approx(whole, abs=1e-6)


def logloss(y, p):
    return -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))


@pytest.mark.usefixtures("eagerly")
def test_history_has_losses_weights_norms_and_the_rate_of_each_evaluation(tmp_path):
    run = train(tmp_path, "loss_weight=GN", "batch_size=160")
    for each in run.evaluations:
        assert set(each["losses"]) == set(each["weights"]) == set(each["gradient_norms"]) == {"click", "buy"}
        assert sum(each["weights"].values()) == pytest.approx(2, abs=1e-5)
        assert each["learning_rate"] == pytest.approx(0.01)
    assert "Weights: " in run.out
    assert "Gradient norms: " in run.out


@pytest.mark.usefixtures("eagerly")
def test_tensorboard_summaries_hold_what_was_evaluated(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorflow import make_ndarray

    run = train(tmp_path, "tensorboard=true", *SHORT)
    events = EventAccumulator(str(run.folder / "tensorboard")).Reload()
    (last,) = run.evaluations
    (point,) = events.Tensors("losses/click")
    assert (point.step, float(make_ndarray(point.tensor_proto))) == (
        last["step"],
        pytest.approx(last["losses"]["click"]),
    )
    (text,) = events.Tensors("stanza")
    assert b"| learning_rate | 0.01 |" in make_ndarray(text.tensor_proto).item()


@pytest.mark.usefixtures("eagerly")
def test_debug_mode_is_one_epoch_of_few_rows(tmp_path, monkeypatch):
    monkeypatch.setattr("fuxi_mtl.workflow.experiment.DEBUG_ROWS", 100)
    run = train(tmp_path, "debug_mode=true", "epochs=50")
    assert [each["step"] for each in run.evaluations] == [4]
    with np.load(run.folder / "test_scores.npz") as scores:
        assert len(scores["click_pred"]) == 100
    assert "epochs: 1\n" in (run.folder / "config.yaml").read_text()


# ---- when it cannot go on -----------------------------------------------------------------------


def test_predictions_that_are_not_finite_are_named_with_task_rows_and_step():
    from fuxi_mtl.evaluation.measure import check_finite
    from fuxi_mtl.evaluation.memory import TrainingError

    check_finite({"ctr": np.array([0.5, 0.1])}, "test rows")
    with pytest.raises(
        TrainingError, match=r"1 of 2 predictions of 'cvr' for validation rows at step 7 are not"
    ):
        check_finite({"ctr": np.zeros(2), "cvr": np.array([np.inf, 0.1])}, "validation rows at step 7")


def test_parameters_that_are_not_finite_after_the_last_step_are_no_model():
    from fuxi_mtl.evaluation.memory import TrainingError
    from fuxi_mtl.training.train import _check_parameters

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="head")])
    _check_parameters(model, None)
    model.layers[-1].bias.assign([np.nan])
    with pytest.raises(TrainingError, match=r"the parameter .*head/bias is not finite after training"):
        _check_parameters(model, None)


def test_a_loss_that_is_not_finite_stops_with_step_objective_and_advice(tmp_path):
    done = call("run", "--expid", "Toy", "--set", f"model_root={tmp_path}", "learning_rate=1e30")
    assert done.status == 1
    assert done.err.startswith("TrainingError: the loss of objective '")
    for part in (
        "is not finite at step ",
        "learning_rate (now 1e+30)",
        "max_gradient_norm (now 10)",
        "float32",
    ):
        assert part in done.err
    assert len(done.err.splitlines()) == 1
    assert "CRITICAL TrainingError: the loss of objective" in done.out
    assert [path.name for path in (tmp_path / "toy" / "Toy").iterdir()] == ["seed_1.log"]


def test_the_objective_is_named_in_full_where_one_name_begins_another(toy_run):
    class Named:
        def __init__(self, name):
            self.name = name

    class Model:
        optimizer = keras.optimizers.SGD()

        def training_objectives(self):
            return [Named("buy"), Named("buy_again")]

    from fuxi_mtl.config import load_resolved

    experiment = load_resolved(toy_run.folder / "config.yaml", "Toy")
    with pytest.raises(tf.errors.InvalidArgumentError) as raised:
        tf.debugging.check_numerics(tf.constant(np.nan), "objective buy_again")
    error = diverged(raised.value, Model(), experiment)
    assert "objective 'buy_again' is not finite at step 1" in str(error)


def test_another_error_of_tensorflow_is_passed_on(toy_run):
    class Model:
        def training_objectives(self):
            return []

    error = tf.errors.InvalidArgumentError(None, None, "shapes")
    assert diverged(error, Model(), None) is error


def test_too_little_memory_names_the_batch_size(tmp_path, monkeypatch):
    def step(*_, **__):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor\nmore")

    monkeypatch.setattr("fuxi_mtl.training.loop.steps_at_once", step)
    done = call("run", "--expid", "Toy", "--set", f"model_root={tmp_path}")
    assert done.status == 1
    assert done.err == (
        "TrainingError: the memory is not enough for batch_size 32: try a smaller one "
        "(OOM when allocating tensor).\n"
    )


def test_T5_rows_are_shuffled_not_batches(toy_run):
    from fuxi_mtl.config import load_resolved
    from fuxi_mtl.dataset import load_dataset, training_batches

    experiment = load_resolved(toy_run.folder / "config.yaml", "Toy")
    dataset = load_dataset(experiment.dataset, experiment.tasks, "toy", progress=False)
    batches = training_batches(dataset.train, experiment.tasks, 32, epochs=2, shuffle=True, seed=1)
    prices = [inputs["numeric"][:, 0].numpy() for inputs, _, _ in batches]
    position = {float(price): row for row, price in enumerate(dataset.train.numeric[:, 0])}
    spread = [np.ptp([position[float(price)] for price in batch]) for batch in prices]
    assert min(spread) > 100  # a batch of neighbours would span 31 rows
    assert not np.array_equal(prices[0], prices[10])
    first, second = np.concatenate(prices[:10]), np.concatenate(prices[10:])
    np.testing.assert_array_equal(np.sort(first), np.sort(second))


# ---- what a model does around its training ----


@pytest.mark.usefixtures("eagerly")
def test_training_tells_a_model_about_its_data_once_and_stores_what_it_watches(tmp_path, monkeypatch):
    told = []

    def prepare(self, labels, batches):
        inputs, batch_labels, weight = next(iter(batches(1)))
        told.append((self.compiled, labels, batch_labels, inputs["ids"].shape, weight.shape))

    def objectives(self):
        click, *others = (supervised(task) for task in self.tasks)
        return [
            replace(click, watch=lambda h, y: {"clicks": tf.reduce_sum(y["click"])}, watched=("clicks",)),
            *others,
        ]

    monkeypatch.setattr(ShareBottom, "prepare", prepare)
    monkeypatch.setattr(ShareBottom, "objectives", objectives)
    run = train(tmp_path, "model=ShareBottom", *SHORT)
    ((compiled, labels, batch_labels, ids, weight),) = told
    assert not compiled
    assert set(labels) == set(batch_labels)
    assert ids[0] == weight[0]
    per_step = np.nansum(labels["click"]) / run.evaluations[-1]["step"]
    assert run.evaluations[-1]["watched"] == {"clicks": pytest.approx(per_step, rel=1e-5)}
    assert "Watched: clicks: " in run.out


def test_a_seed_decides_how_a_network_starts_and_in_which_order_it_sees_rows(tmp_path, monkeypatch):
    told = []

    def prepare(self, labels, batches):
        inputs, *_ = next(iter(batches(1)))
        told.append((inputs["numeric"].numpy(), [variable.numpy() for variable in self.trainable_variables]))
        raise Killed  # what comes then takes seconds

    monkeypatch.setattr(ShareBottom, "prepare", prepare)
    for number, seed in enumerate((1, 1, 2)):
        with pytest.raises(Killed):
            train(tmp_path / f"{number}", "model=ShareBottom", f"seed={seed}")
    (rows, start), (same_rows, same_start), (other_rows, other_start) = told
    assert np.array_equal(rows, same_rows)
    assert not np.array_equal(rows, other_rows)
    assert all(map(np.array_equal, start, same_start))
    assert not np.array_equal(start[-2], other_start[-2])
