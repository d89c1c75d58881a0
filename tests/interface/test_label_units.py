"""Regressions that are learnt in the unit of a normalizer and served in that of the data."""

import numpy as np
import pytest
import tensorflow as tf
from interface_world import small_rows

import fuxi_mtl as fm

ROWS = small_rows(320)
ROWS["spend"] = (ROWS["spend"] * 1000).astype(np.float32)
SMALL = {"epochs": 4, "batch_size": 32, "learning_rate": 0.05}
CLICKED = ROWS["click"] == 1


def fitted(normalizer, folder=None, **options):
    """A run on clicks and the money that they bring, on rows that are all for training."""
    data = fm.Dataset(
        train_data=ROWS,
        valid_data=ROWS,
        features=[fm.Categorical("item_id")],
        labels=[fm.Label("spend", kind="regression", normalizer=normalizer)],
        tasks={"ctr": "click", "value": "spend | click"},
    )
    model = fm.ShareBottom(data.features, data.tasks, embedding_dim=4, bottom_hidden_units=[4])
    return fm.fit(
        model, data, folder=folder, **{"epochs": 4, "batch_size": 32, "learning_rate": 0.05} | options
    )


def in_unit(normalizer, y):
    """The label as the head sees it, by numpy; fitted on the rows that the task is learnt on."""
    known = ROWS["spend"][CLICKED].astype(np.float64)
    if normalizer == "log1p":
        return np.log1p(y)
    if normalizer == "MinMaxScaler":
        return (y - known.min()) / (known.max() - known.min())
    return (y - known.mean()) / known.std()


@pytest.mark.parametrize("normalizer", ["StandardScaler", "MinMaxScaler", "log1p"])
def test_values_are_served_in_the_unit_of_the_data_wherever_a_run_is_asked(normalizer, tmp_path):
    run = fitted(normalizer, tmp_path / "run")
    values = run.predict(ROWS)["value"]
    np.testing.assert_allclose(
        in_unit(normalizer, np.asarray(values, np.float64)),
        run.model.logits(ROWS)["value"],
        rtol=1e-4,
        atol=1e-5,
    )
    error = np.asarray(values)[CLICKED] - ROWS["spend"][CLICKED]
    assert run.metrics["valid"]["value_RMSE"] == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-5)
    assert run.metrics["valid"]["value_RMSE"] > 100  # money, not deviations
    loaded = fm.load_run(tmp_path / "run")
    np.testing.assert_array_equal(loaded.predict(ROWS)["value"], values)
    assert loaded.evaluate(ROWS)["value_RMSE"] == pytest.approx(run.metrics["valid"]["value_RMSE"], rel=1e-6)
    served = tf.saved_model.load(str(loaded.export(tmp_path / "served"))).signatures["serving_default"]
    texts = tf.constant(ROWS["item_id"].astype(str))
    np.testing.assert_allclose(served(item_id=texts)["value_pred"], values, rtol=1e-5)
    with np.load(tmp_path / "run" / "valid_scores.npz") as stored:
        np.testing.assert_allclose(stored["value_pred"], values, rtol=1e-6)
        np.testing.assert_array_equal(stored["value_label"][CLICKED], ROWS["spend"][CLICKED])


def test_losses_are_those_of_the_unit():
    run = fitted("StandardScaler", epochs=1, learning_rate=1e-30, optimizer="sgd", batch_size=320)
    heads = np.asarray(run.model.logits(ROWS)["value"])[CLICKED]
    expected = np.mean((heads - in_unit("StandardScaler", ROWS["spend"][CLICKED])) ** 2)
    assert run.history[0]["losses"]["value"] == pytest.approx(expected, rel=1e-4)


def test_losses_a_thousand_times_apart_are_said_once_with_the_cure(caplog):
    fitted(None, epochs=2)
    told = [r.getMessage() for r in caplog.records if "a thousand times apart" in r.getMessage()]
    assert len(told) == 1
    assert "Give the label 'spend' a normalizer (StandardScaler, MinMaxScaler or log1p)" in told[0]
    caplog.clear()
    fitted("log1p", epochs=1)
    assert "a thousand times apart" not in caplog.text
