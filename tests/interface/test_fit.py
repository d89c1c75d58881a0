"""Training, measuring and comparing from a program: the same as by a stanza, and without a trace."""

import dataclasses
import json
import logging
import random

import graphs
import keras
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import tensorflow as tf
from interface_world import TINY, small_data, small_model, small_rows, tiny_data
from keras.src.backend.common import global_state

import fuxi_mtl as fm
from fuxi_mtl.interface import fitting
from fuxi_mtl.model.recipe import make_again
from fuxi_mtl.options import WEIGHTINGS
from fuxi_mtl.weighting import Equal

SMALL = {"batch_size": 32, "learning_rate": 0.01, "epochs": 1, "steps_per_execution": 1}
STANZA = {
    "metrics": ["AUC", "logloss"],
    "loss_weight": "EQ",
    "optimizer": "adam",
    "learning_rate": 5e-3,
    "batch_size": 1000,
    "epochs": 1,
    "monitor": "AUC",
    "monitor_mode": "max",
}


@pytest.fixture(scope="module")
def of_stanza(tmp_path_factory) -> fm.Run:
    """MMoE_test, as its stanza says but for the size of a batch: few steps, taken eagerly."""
    changes = {f"{name}_data": str(TINY / f"{name}.csv") for name in ("train", "valid", "test")}
    changes |= {"data_root": str(tmp_path_factory.mktemp("data")), "batch_size": STANZA["batch_size"]}
    with graphs.without_graphs():
        return fm.experiment("MMoE_test", config=TINY.parents[1] / "config", **changes).fit()


@pytest.fixture(scope="module")
def of_frames(tiny_frames) -> fm.Run:
    """The same in Python, from pandas."""
    data = tiny_data(tiny_frames["train"], tiny_frames["valid"], tiny_frames["test"])
    options = {"num_experts": 4, "expert_hidden_units": [32, 16], "gate_hidden_units": [8]}
    options |= {"embedding_dim": 8, "tower_hidden_units": [16]}
    with graphs.without_graphs():
        return fm.fit(fm.MMoE(data.features, data.tasks, **options), data, **STANZA)


def test_frames_and_a_stanza_give_the_same_metrics_to_the_last_digit(of_frames, of_stanza):
    assert of_frames.metrics == of_stanza.metrics
    assert len(of_frames.history) == 1
    for one, other in zip(of_frames.history, of_stanza.history, strict=True):
        assert {key: one[key] for key in one if "second" not in key} == {
            key: other[key] for key in other if "second" not in key
        }


def test_rows_are_measured_as_the_run_measured_them(of_frames, tiny_frames):
    measured = of_frames.evaluate(tiny_frames["test"])
    assert measured == {key: of_frames.metrics["test"][key] for key in measured}
    assert of_frames.evaluate(TINY / "test.csv") == measured


def test_predictions_are_the_same_from_the_model_the_run_and_the_folder(of_frames, tiny_frames, tmp_path):
    frame = tiny_frames["test"].set_index("request_id")
    predicted = of_frames.predict(frame)
    assert isinstance(predicted, pd.DataFrame)
    assert predicted.index.equals(frame.index)
    assert list(predicted) == ["click", "cart", "conversion", "watch_time"]
    pd.testing.assert_frame_equal(of_frames.model.predict(frame), predicted)
    pd.testing.assert_frame_equal(fm.load_run(of_frames.folder).predict(frame), predicted)
    expected = predicted["click"].to_numpy()
    for rows, kind in (
        (pl.from_pandas(frame), pl.DataFrame),
        (pa.Table.from_pandas(frame), pa.Table),
        ({name: frame[name].to_numpy() for name in frame}, dict),
        (TINY / "test.csv", pl.DataFrame),
    ):
        again = fm.predict(of_frames, rows)
        assert isinstance(again, kind)
        np.testing.assert_array_equal(np.asarray(again["click"]), expected)


def test_logits_are_what_probabilities_are_made_of(of_frames, tiny_frames):
    frame = tiny_frames["test"].head(50)
    logits, predicted = of_frames.model.logits(frame, batch_size=20), of_frames.predict(frame)
    for task in ("click", "cart", "conversion"):
        np.testing.assert_allclose(1 / (1 + np.exp(-logits[task])), predicted[task], rtol=1e-5)
    np.testing.assert_allclose(logits["watch_time"], predicted["watch_time"], rtol=1e-5)
    ids, numeric = of_frames.model.features.reader.encode(frame)
    heads = of_frames.model({"ids": ids, "numeric": numeric})
    np.testing.assert_allclose(heads["click"], logits["click"], rtol=1e-5)
    encoded = of_frames.model.logits({"ids": ids, "numeric": numeric})
    np.testing.assert_allclose(encoded["click"], logits["click"], rtol=1e-5)


def test_a_wrong_column_says_which(fitted, frame):
    with pytest.raises(ValueError, match="rows: there is no column 'price'"):
        fitted.predict(frame.drop(columns="price"))
    with pytest.raises(ValueError, match="column 'price', row 2: 'dear' is not a number"):
        fitted.model.predict(frame.assign(price=["1", "dear", *["2"] * (len(frame) - 2)]))
    with pytest.raises(ValueError, match="rows: there is no column 'click'"):
        fitted.evaluate(frame.drop(columns="click"))
    with pytest.raises(ValueError, match="rows: there is no column 'session_id'"):
        fitted.evaluate(frame.drop(columns="session_id"))
    with pytest.raises(ValueError, match="rows are list. They can be"):
        fitted.predict([1, 2])


def test_no_row_is_predicted_and_cannot_be_measured(fitted, frame):
    assert len(fitted.predict(frame.head(0))) == 0
    with pytest.raises(ValueError, match="there is no row to measure"):
        fitted.evaluate(frame.head(0))


def weights_of(model) -> list[np.ndarray]:
    return [np.array(weight) for weight in model.get_weights()]


def assert_same(one: list, other: list) -> None:
    for left, right in zip(one, other, strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.usefixtures("eagerly")
def test_the_first_call_makes_the_variables_that_fit_would_make(data, frame):
    random.seed(77)  # of the program, and nobody else's
    called, built = small_model(data), small_model(data)
    called.predict(frame)
    random.seed(78)
    built.build()
    assert_same(weights_of(called), weights_of(built))
    # Steps of no length leave fit's initial values.
    still = small_model(data)
    fm.fit(still, data, **SMALL | {"learning_rate": 1e-30}, optimizer="sgd", reduce_lr_on_plateau=False)
    for still_there, made in zip(weights_of(still), weights_of(called), strict=True):
        np.testing.assert_allclose(still_there, made, atol=1e-25)
    other = small_model(data)
    fm.fit(other, data, **SMALL | {"learning_rate": 1e-30}, optimizer="sgd", seed=7)
    assert any((abs(a - b) > 1e-3).any() for a, b in zip(weights_of(other), weights_of(called), strict=True))


@pytest.mark.usefixtures("eagerly")
def test_a_trained_model_goes_on_and_its_first_run_stays_what_it_was(data, frame):
    model = small_model(data)
    first = fm.fit(model, data, **SMALL)
    before, predicted = weights_of(model), first.predict(frame)
    second = fm.fit(model, data, **SMALL | {"learning_rate": 1e-30}, optimizer="sgd")
    assert_same(weights_of(model), before)  # none of them is so small
    third = fm.fit(model, data, **SMALL)
    assert (third.predict(frame) != predicted).all(axis=None)
    pd.testing.assert_frame_equal(first.predict(frame), predicted)
    pd.testing.assert_frame_equal(second.predict(frame), predicted)


@pytest.mark.usefixtures("eagerly")
def test_a_seed_that_fails_takes_no_other_run_with_it(data, monkeypatch):
    train_run = fitting.train_run

    def trained(checked, *rest):
        if checked.training.seed == 7:
            raise ValueError("no room")
        return train_run(checked, *rest)

    monkeypatch.setattr(fitting, "train_run", trained)
    told = r"^1 of 2 runs failed; the others are whole:\n  .*, seed 7: no room$"
    with pytest.raises(fm.SweepError, match=told) as found:
        fm.fit(small_model(data), data, seeds=[7, 2026], **SMALL)
    (run,) = found.value.runs
    assert (run.seed, set(run.metrics)) == (2026, {"valid", "test"})


@pytest.mark.usefixtures("eagerly")
def test_several_seeds_train_anew_and_leave_the_model_as_it_is(data, tmp_path):
    model = small_model(data)
    runs = fm.fit(model, data, seeds=[2026, 7], folder=tmp_path, **SMALL)
    assert not model.built
    assert [run.seed for run in runs] == [2026, 7]
    assert [run.folder for run in runs] == [tmp_path / "seed_2026", tmp_path / "seed_7"]
    assert runs[0].metrics == fm.fit(model, data, **SMALL).metrics
    assert runs[0].metrics != runs[1].metrics
    (row,) = fm.compare(runs).tables[0].rows
    assert row.seeds == (2026, 7)
    with pytest.raises(ValueError, match=r"seeds are \[1, 1\]: give one or more, each once"):
        fm.fit(model, data, seeds=[1, 1])


@pytest.mark.usefixtures("eagerly")
def test_a_folder_holds_the_run_and_without_one_nothing_is_left(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kept = fm.fit(small_model(data), data, folder="mine", expid="first try", **SMALL)
    assert kept.folder.resolve() == tmp_path / "mine"
    assert fm.load_run("mine").expid == "first try"
    assert fm.load_run("mine").metrics == kept.metrics
    passing = fm.fit(small_model(data), data, **SMALL)
    folder = passing.folder
    assert folder.is_dir()
    del passing
    assert not folder.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    with pytest.raises(ValueError, match="metrics.json"):
        fm.load_run(tmp_path)


@pytest.mark.usefixtures("eagerly")
def test_only_a_run_or_an_empty_folder_is_replaced(data, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="is there and is no run: name another one"):
        fm.fit(small_model(data), data, folder=tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    for _ in range(2):
        fm.fit(small_model(data), data, folder=tmp_path / "empty", **SMALL | {"batch_size": 96})


@pytest.mark.parametrize("name", ["NaiveIPW", "MultiDR", "PLE", "KnowledgeTransfer"])
def test_a_model_starts_as_its_stanza_does(name, data):
    cls = getattr(fm, name)
    called = cls(data.features, data.tasks, embedding_dim=4)
    called.build()
    keras.utils.set_random_seed(2026)
    bare = dataclasses.replace(data.features, reader=None)
    of_stanza = cls(bare, cls.plan_tasks(data.tasks), embedding_dim=4)
    of_stanza.build()
    assert_same(weights_of(called), weights_of(of_stanza))
    again = cls(data.features, data.tasks, embedding_dim=4)
    keras.utils.set_random_seed(2026)
    make_again(again, data.features, of_stanza.tasks)  # as fit does
    again.build()
    assert_same(weights_of(again), weights_of(of_stanza))
    assert [weight.name for weight in again.weights] == [weight.name for weight in of_stanza.weights]


def drawn() -> tuple:
    """The next number of every generator that a program may use."""
    legacy = np.random.rand()  # noqa: NPY002
    return random.random(), legacy, float(tf.random.uniform([])), float(keras.random.uniform([]))


def seed_all(seed: int) -> None:
    """Starts every such generator; older Keras does not start its own again by itself."""
    keras.utils.set_random_seed(seed)
    global_state.set_global_attribute("global_seed_generator", None)


@pytest.mark.usefixtures("seed_of_tensorflow")
def test_nothing_global_is_changed(data, frame, tmp_path):
    name = keras.layers.Dense(1).name
    seed_all(5)
    expected = [drawn() for _ in range(9)]
    seed_all(5)
    keras.config.set_dtype_policy("mixed_bfloat16")
    root = logging.getLogger()
    before = (root.level, list(root.handlers), logging.raiseExceptions)
    kept = {}

    def numbers_are_right(step: int) -> None:
        assert drawn() == expected[step]
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
        assert (root.level, list(root.handlers), logging.raiseExceptions) == before

    try:
        for step, call in enumerate(
            (
                lambda: kept.setdefault("model", small_model(data)),
                lambda: kept.setdefault("run", fm.fit(kept["model"], data, **SMALL, folder=tmp_path / "run")),
                lambda: kept["run"].predict(frame),
                lambda: kept["run"].evaluate(frame),
                lambda: kept["run"].export(tmp_path / "served"),
                lambda: fm.load_run(tmp_path / "run").predict(frame),
                lambda: fm.compare([kept["run"]]),
                lambda: small_model(data).logits(frame),
            )
        ):
            call()
            numbers_are_right(step)
        with pytest.raises(ValueError, match="unknown key 'epoch'"):
            fm.fit(kept["model"], data, epoch=1)
        numbers_are_right(8)
        assert kept["model"].dtype_policy.name == "float32"
        assert keras.layers.Dense(1).name != name
    finally:
        keras.config.set_dtype_policy("float32")


@pytest.mark.usefixtures("eagerly")
def test_a_precision_is_that_of_the_variables(data):
    model = small_model(data)
    fm.fit(model, data, precision="mixed_bfloat16", **SMALL)
    assert model.embedding.compute_dtype == "bfloat16"
    with pytest.raises(
        ValueError, match="precision is float32, but the variables of this model were made in"
    ):
        fm.fit(model, data, precision="float32")


WRONG = {
    "an unknown key": ({"epoch": 2}, "fit: unknown key 'epoch' .*Did you mean 'epochs'"),
    "a wrong type": ({"epochs": "two"}, "fit: epochs expects a whole number, not 'two'"),
    "a bound": ({"batch_size": 0}, "batch_size is 0; the least is 1"),
    "a block": ({"aux_focal": {"gama": 1}}, "unknown key 'gama' .*Did you mean 'gamma'"),
    "a monitor": ({"monitor": "ctr_AUX"}, "ctr_AUX"),
    "an option of the model": (
        {"num_experts": 2},
        "fit: num_experts is no option of training: give it to MMoE",
    ),
    "an option of the data": ({"valid_size": 0.1}, "valid_size is no option of training: give it to Dataset"),
    "a search": (
        {"pareto": {}},
        "pareto is no option of training: give it to a stanza, for the command pareto",
    ),
    "a root": ({"model_root": "x"}, "model_root is no option of training: give it to fit, as folder="),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_option_is_told_as_in_a_stanza(what, data):
    options, message = WRONG[what]
    with pytest.raises(ValueError, match=message):
        fm.fit(small_model(data), data, **options)


def test_all_wrong_options_are_told_at_once(data):
    wrong = {"num_experts": 2, "valid_size": 0.1, "epochs": "two", "epoch": 2, "monitor": "ctr_AUX"}
    with pytest.raises(ValueError, match="^5 mistakes:") as caught:
        fm.fit(small_model(data), data, **wrong)
    assert all(f"  fit: {key}" in str(caught.value) for key in ("num_experts", "valid_size", "epochs"))
    assert all(text in str(caught.value) for text in ("unknown key 'epoch'", "ctr_AUX"))


@pytest.mark.usefixtures("eagerly")
def test_an_option_of_a_weighting_of_ones_own_is_a_keyword_that_is_checked(data, monkeypatch):
    monkeypatch.setattr(WEIGHTINGS, "_members", dict(WEIGHTINGS._members))
    given = []

    @fm.register_weighting
    class Mine(Equal):
        def __init__(self, objectives, *, mine_rate: float = 0.5):
            super().__init__(objectives)
            given.append(mine_rate)

    fm.fit(small_model(data), data, loss_weight="Mine", mine_rate=0.25, **SMALL)
    assert set(given) == {0.25}
    for options, message in (
        ({"loss_weight": "Mine", "mine_rat": 1}, "fit: unknown key 'mine_rat' .*Did you mean 'mine_rate'"),
        ({"loss_weight": "Mine", "mine_rate": "high"}, "fit: mine_rate expects a number, not 'high'"),
        ({"mine_rate": 1.0}, "fit: mine_rate has an effect only with loss_weight: Mine"),
    ):
        with pytest.raises(ValueError, match=message):
            fm.fit(small_model(data), data, **options)


def test_a_wrong_option_of_a_model_is_told(data):
    with pytest.raises((TypeError, ValueError), match="num_expert"):
        fm.MMoE(data.features, data.tasks, num_expert=2)


def test_a_model_of_other_data_or_of_nobody_is_refused(data, fitted):
    with pytest.raises(ValueError, match="are for other data: user_id differ there"):
        fm.fit(fitted.model, small_data(small_rows(80, seed=3)), **SMALL)

    class Nobodys(fm.MMoE):
        pass

    with pytest.raises(ValueError, match="Nobodys is not registered. Write @fm.register above its class"):
        fm.fit(Nobodys(data.features, data.tasks), data)


def test_a_model_on_bare_features_takes_encoded_rows_only(data, frame):
    bare = fm.MMoE(dataclasses.replace(data.features, reader=None), data.tasks, num_experts=2)
    with pytest.raises(ValueError, match="MMoE was made on features that do not know their data"):
        bare.predict(frame)
    with pytest.raises(ValueError, match="made on features that do not know their data"):
        bare.logits({"price": [1.0]})
    ids, numeric = data.features.reader.encode(frame)
    assert set(bare.predict({"ids": ids, "numeric": numeric}, verbose=0)) == {"ctr", "cvr"}


def test_an_error_is_registered_for_a_kind_of_task():
    with pytest.raises(ValueError, match="register_error: kind is 'count'. Kinds: binary, regression"):
        fm.register_error(lambda z, y: z, kind="count")


@pytest.mark.usefixtures("eagerly")
def test_plain_labels_are_planned_by_the_model(frame):
    rows = small_rows()
    data = fm.Dataset(
        rows,
        valid_size=0.3,
        features=[fm.Categorical("item_id")],
        labels=["click", "buy"],
        dataset_id="plain",
    )
    model = fm.ESMM(data.features, data.tasks, embedding_dim=4, tower_hidden_units=[4])
    run = fm.fit(model, data, **SMALL)
    assert list(run.predict(frame)) == ["ctr", "cvr", "ctcvr"]


@pytest.mark.usefixtures("eagerly")
def test_a_regression_and_weights_are_said_of_columns(frame):
    rows = small_rows() | {"weight": np.linspace(0.5, 1.5, 160)}
    data = fm.Dataset(
        rows,
        valid_size=0.3,
        features=[fm.Categorical("item_id")],
        labels=[fm.Label("spend", kind="regression")],
        tasks={"ctr": "click", "value": "spend | click"},
        sample_weight="weight",
    )
    run = fm.fit(fm.ShareBottom(data.features, data.tasks, bottom_hidden_units=[4]), data, **SMALL)
    assert {"ctr_AUC", "value_RMSE"} <= set(run.metrics["valid"])
    assert set(run.evaluate(frame)) == set(run.metrics["valid"])
    # A model of some of the tasks.
    (one, _) = data.tasks
    alone = fm.fit(fm.SingleTask(data.features, [one], tower_hidden_units=[4]), data, **SMALL)
    assert list(alone.predict(frame)) == ["ctr"]


@pytest.mark.usefixtures("eagerly")
def test_a_run_is_written_back_as_a_stanza_that_trains_the_same(tmp_path):
    pl.DataFrame(small_rows()).write_parquet(tmp_path / "rows.parquet")
    data = small_data(tmp_path / "rows.parquet", dataset_id="mine", data_root=tmp_path / "data")
    run = fm.fit(small_model(data), data, expid="Mine", loss_weight="UW", **SMALL)
    text = run.stanza(tmp_path / "config")
    assert "loss_weight: UW" in text
    assert "early_stop_patience" not in text
    again = fm.experiment("Mine", config=tmp_path / "config")
    assert repr(again) == "<Experiment 'Mine': MMoE on 'mine'>"
    assert again.fit().metrics == run.metrics
    with pytest.raises(ValueError, match=r"Mine.yaml is there already"):
        run.stanza(tmp_path / "config")


def test_a_stanza_takes_changes_and_tells_its_mistakes():
    config = TINY.parents[1] / "config"
    assert (
        fm.experiment("MMoE_test", config=config, learning_rate=1e-7).config.optimizer.learning_rate == 1e-7
    )
    with pytest.raises(ValueError, match="no expid is called 'MMoE_tset'. Did you mean 'MMoE_test'"):
        fm.experiment("MMoE_tset", config=config)
    with pytest.raises(ValueError, match="MMoE_test: unknown key 'epoch'"):
        fm.experiment("MMoE_test", config=config, epoch=2)


def test_runs_of_one_name_are_told_apart(fitted, of_stanza):
    table = fm.compare([fitted, fitted, of_stanza, str(of_stanza.folder)])
    assert table.to_pandas()["expid"].tolist() == ["MMoE", "MMoE (2)", "MMoE_test", "MMoE_test (2)"]
    assert table.to_polars()["ctr_AUC"].to_list()[:2] == [fitted.metrics["test"]["ctr_AUC"]] * 2
    assert "| MMoE (2) |" in table.to_markdown()
    assert "MMoE (2)" in str(table)
    assert repr(table) == "<Comparison of MMoE, MMoE (2), MMoE_test, MMoE_test (2)>"
    assert table.to_html().startswith("<!doctype html>")
    html = table._repr_html_()
    assert "<td>MMoE (2)</td>" in html


@pytest.mark.usefixtures("eagerly")
def test_names_are_escaped_where_a_notebook_shows_them(data):
    run = fm.fit(small_model(data), data, expid="<b>|bold", **SMALL)
    assert "&lt;b&gt;|bold" in fm.compare([run])._repr_html_()


def test_an_exported_run_is_served_from_raw_columns(fitted, frame, tmp_path):
    folder = fm.export(fitted, tmp_path / "served")
    served = tf.saved_model.load(str(folder)).signatures["serving_default"]
    inputs = {
        "user_id": tf.constant(frame["user_id"].tolist()),
        "item_id": tf.constant(frame["item_id"].astype(str).tolist()),
        "price": tf.constant(frame["price"], tf.float32),
    }
    np.testing.assert_allclose(served(**inputs)["ctr_pred"], fitted.predict(frame)["ctr"], rtol=1e-5)


def test_a_run_says_what_it_is(fitted):
    assert repr(fitted).startswith("<Run 'MMoE', seed 2026; test: ctr_AUC 0.")
    assert json.loads((fitted.folder / "metrics.json").read_text())["seed"] == fitted.seed


@pytest.mark.usefixtures("eagerly")
def test_calibration_fusion_and_surgery_are_keywords_as_in_a_stanza(data, frame):
    options = {"calibration": "platt", "fusion": {"method": "product"}, "surgery": "pcgrad"}
    run = fm.fit(small_model(data), data, metrics_by="item_id", **options, **SMALL)
    predicted = run.predict(frame)
    assert list(predicted) == ["ctr", "cvr", "fused_score"]
    pd.testing.assert_frame_equal(fm.load_run(run.folder).predict(frame), predicted)
    assert "surgery: pcgrad" in run.stanza()


@pytest.mark.usefixtures("eagerly")
def test_debug_mode_looks_at_few_rows(data):
    run = fm.fit(small_model(data), data, debug_mode=True, **SMALL | {"epochs": 5})
    assert len(run.history) == 1


def test_what_is_no_model_or_no_data_is_told(data, frame):
    model = small_model(data)
    for wrong, what in ((fm.MMoE, "the class MMoE"), ("MMoE", "str"), (data, "Dataset")):
        with pytest.raises(ValueError, match=f"fit: model is {what}. It is a model object, such as fm.MMoE"):
            fm.fit(wrong, data)
    with pytest.raises(ValueError, match="fit: data is DataFrame. It is a fm.Dataset"):
        fm.fit(model, frame)
    with pytest.raises(ValueError, match=r"seeds is 3: give a list, such as \[1, 2, 3\]"):
        fm.fit(model, data, seeds=3)


def test_a_model_takes_the_features_and_tasks_of_a_dataset(data):
    columns, tasks = [fm.Categorical("user_id")], {"ctr": "click"}
    with pytest.raises(ValueError, match=r"MMoE: features is list. Give data.features, a FeatureMap"):
        fm.MMoE(columns, data.tasks)
    with pytest.raises(ValueError, match=r"MMoE: tasks is dict. Give data.tasks, or a list of Task"):
        fm.MMoE(data.features, tasks)
    with pytest.raises(ValueError, match="MMoE: features is Dataset"):
        fm.MMoE(data)
    with pytest.raises(ValueError, match="A layer takes the names of its heads"):
        fm.SharedBottom(data.features, data.tasks)
    assert [each.name for each in data.features] == ["user_id", "item_id", "price"]


def test_one_run_is_compared_alone_and_what_is_no_run_is_told(fitted):
    for one in (fitted, fitted.folder, str(fitted.folder)):
        assert [row.expid for table in fm.compare(one).tables for row in table.rows] == [fitted.expid]
    with pytest.raises(ValueError, match="compare: int is no run. Give what fm.fit returned"):
        fm.compare([fitted, 1])
    with pytest.raises(ValueError, match="nowhere holds no finished run: metrics.json is missing"):
        fm.load_run("nowhere")


@pytest.mark.usefixtures("eagerly")
def test_fit_starts_from_a_run(data, fitted):
    model = fm.ShareBottom(data.features, data.tasks, embedding_dim=4)
    tables = fm.fit(model, data, init_from=fitted, init_with="embeddings", **SMALL | {"learning_rate": 1e-12})
    for mine, other in zip(tables.model.embedding.weights, fitted.model.embedding.weights, strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-9)
    with pytest.raises(ValueError, match="parts of the model do not fit"):
        fm.fit(fm.ShareBottom(data.features, data.tasks, embedding_dim=4), data, init_from=fitted, **SMALL)


@pytest.mark.usefixtures("eagerly")
def test_fit_goes_on_with_an_interrupted_training_of_its_folder(data, tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    def killing(self):
        if self._state.position.step == 2:
            self.save()
            self.wait()
            raise Killed

    options = {**SMALL, "eval_steps": 3, "max_train_steps": 5, "epochs": 2}
    whole = fm.fit(small_model(data), data, folder=tmp_path / "whole", **options)
    with monkeypatch.context() as patch:
        patch.setattr("fuxi_mtl.training.state.saving.Saving.pause", killing)
        with pytest.raises(Killed):
            fm.fit(small_model(data), data, folder=tmp_path / "cut", **options)
    assert [each.name for each in (tmp_path / "cut.training").iterdir()] == ["state_2"]
    model = small_model(data)
    run = fm.fit(model, data, folder=tmp_path / "cut", resume=True, **options)
    assert run.history == whole.history
    assert run.metrics["test"] == whole.metrics["test"]
    assert not (tmp_path / "cut.training").exists()
    with pytest.raises(
        ValueError, match="fit: resume goes on with the training of a folder: give folder, too"
    ):
        fm.fit(model, data, resume=True, **options)
