"""Products of predictions: served, measured and stored beside the tasks they are made of."""

import numpy as np
import polars as pl
import pytest
import tensorflow as tf

import fuxi_mtl as fm
from fuxi_mtl.runs import Run

CLICK, BUY, SPEND = (np.array(each) for each in ([0.5, 0.4], [0.5, 0.4], [10.0, 30.0]))
TRUTH = CLICK * BUY * SPEND  # what an exposure of each item is worth
CHAIN = {"ctr": "click", "cvr": "buy | click", "spend": "spend | buy"}


def rows(count, seed):
    rng = np.random.default_rng(seed)
    item = rng.integers(0, 2, count)
    click = rng.random(count) < CLICK[item]
    buy = click & (rng.random(count) < BUY[item])
    spend = SPEND[item] * np.exp(rng.normal(-0.5 * 0.6**2, 0.6, count))
    return pl.DataFrame(
        {
            "item": item,
            "click": click.astype(int),
            "buy": buy.astype(int),
            "spend": np.where(buy, spend, np.nan),
            "truth_value": TRUTH[item],
        }
    )


def data(**label):
    return fm.Dataset(
        rows(12_000, 0),
        valid_data=rows(1000, 1),
        features=[fm.Categorical("item")],
        labels=["click", "buy", fm.Label("spend", kind="value", given="buy", **label)],
        tasks=CHAIN,
        meta=["truth_value"],
    )


@pytest.fixture(scope="module")
def run():
    dataset = data(decoder="ziln")
    model = fm.ESMM(dataset.features, dataset.tasks, embedding_dim=4, tower_hidden_units=[8])
    options = {"epochs": 6, "batch_size": 400, "learning_rate": 0.02, "final_weights": "last"}
    return fm.fit(model, dataset, expected={"value": "ctr * cvr * spend"}, verbose=0, **options)


def test_the_value_of_an_exposure_is_that_of_a_simulation_whose_mean_is_known(run):
    predicted = run.predict(pl.DataFrame({"item": [0, 1]}))
    np.testing.assert_allclose(predicted["value"], TRUTH, rtol=0.1)
    assert abs(run.metrics["valid"]["value_bias"]) < 0.1 * TRUTH.mean()


def test_a_product_is_that_of_its_columns_in_predictions_and_the_saved_model(run, tmp_path):
    frame = pl.DataFrame({"item": [0, 1, 1]})
    predicted = run.predict(frame)
    assert predicted.columns == ["ctr", "cvr", "click_and_buy", "spend", "spend_prob", "value"]
    product = predicted["ctr"] * predicted["cvr"] * predicted["spend"]
    np.testing.assert_array_equal(predicted["value"], product)
    served = tf.saved_model.load(str(run.export(tmp_path / "served"))).signatures["serving_default"]
    outputs = served(item=tf.constant(["0", "1", "1"]))
    np.testing.assert_allclose(outputs["value_pred"], predicted["value"], rtol=1e-5)
    again = fm.load_run(run.folder).predict(frame)
    np.testing.assert_array_equal(again["value"], predicted["value"])


def test_its_label_is_the_product_of_the_labels_and_is_stored(run):
    scores, raw = Run(run.folder).read_scores("valid"), rows(1000, 1)
    label = np.where(raw["buy"] == 1, raw["spend"], 0).astype(np.float32)
    np.testing.assert_array_equal(scores.label("value"), label)
    error = np.abs(scores.prediction("value") - label).mean()
    assert run.metrics["valid"]["value_MAE"] == pytest.approx(error, rel=1e-5)
    found = run.evaluate(rows(1000, 1))
    assert found["value_MAE"] == pytest.approx(error, rel=1e-5)
    stored = Run(run.folder).read_json(Run(run.folder).metrics)
    assert stored["tasks"]["value"] == "ctr * cvr * spend"


def test_a_wrong_product_of_a_stanza_is_told_with_its_key():
    dataset = data()
    model = fm.ShareBottom(dataset.features, dataset.tasks)
    with pytest.raises(ValueError, match="expected 'expected': no task is called 'cvrr'. Did you mean 'cvr'"):
        fm.fit(model, dataset, expected="ctr * cvrr")


def test_a_value_that_no_event_is_given_is_no_end_of_a_chain():
    with pytest.raises(ValueError, match="'spend' .spend. is a regression: .* 'spend | buy'"):
        fm.ESMM.plan_tasks([fm.Task("ctr", ("buy",)), fm.Task("spend", ("spend",), kind="regression")])
    with pytest.raises(ValueError, match="'act' .act. is one of several classes"):
        fm.ESMM.plan_tasks([fm.Task("ctr", ("buy",)), fm.Task("act", ("act",), kind="classes")])


def test_three_labels_of_a_chain_become_its_rates_and_the_value():
    labels = [fm.Task("click", ("click",)), fm.Task("buy", ("buy",))]
    planned = fm.ESMM.plan_tasks([*labels, fm.Task("spend", ("spend",), ("buy",), "regression")], False)
    assert [task.name for task in planned] == ["ctr", "cvr", "ctcvr", "spend"]
    assert fm.ESMM.objective_names(planned) == ("ctr", "ctcvr", "spend")


@pytest.mark.parametrize("library", ["pandas", "pyarrow", "polars"])
def test_raw_numbers_of_a_head_of_several_are_columns_of_a_frame(library):
    features = data(decoder="ziln")
    model = fm.ShareBottom(features.features, features.tasks, embedding_dim=2)
    few = rows(5, 2)
    found = model.logits({"pandas": few.to_pandas, "pyarrow": few.to_arrow, "polars": few.clone}[library]())
    names = found.column_names if library == "pyarrow" else list(found.columns)
    assert names == ["ctr", "cvr", "spend_0", "spend_1", "spend_2"]
    plain = model.logits({"item": few["item"].to_numpy()})
    np.testing.assert_allclose(np.asarray(found["spend_1"]), plain["spend"][:, 1], rtol=1e-6)
