"""The block of checks: which heads it takes, what it says, and what it says where there is nothing to say."""

import json

import numpy as np
import pytest

from fuxi_mtl.evaluation.conversion_checks import (
    CHECKS,
    check_conversions,
    conversion_pairs,
    covariates,
    level,
)
from fuxi_mtl.features import Feature, FeatureMap, assign_columns
from fuxi_mtl.options import ConversionOptions
from fuxi_mtl.tasks import parse_task


def tasks(**expressions):
    return [parse_task(name, expression) for name, expression in expressions.items()]


PAIR = conversion_pairs(tasks(ctr="click", cvr="buy | click"))
OPTIONS = ConversionOptions(matches=[1, 3], resamples=50)


@pytest.mark.parametrize(
    ("expressions", "pairs"),
    [
        ({"a": "click", "b": "buy | click", "c": "click & buy"}, [("b", "a")]),
        ({"b": "buy | click", "like": "like | click", "a": "click"}, [("b", "a"), ("like", "a")]),
        ({"a": "click", "both": "cart & click", "b": "buy | click & cart"}, [("b", "both")]),
        ({"a": "click", "b": "buy | click & !cart"}, []),
        ({"cvr": "buy | click", "ctcvr": "click & buy"}, []),
        ({"ctr": "click", "cvr": "buy"}, []),
    ],
)
def test_heads_are_found_by_their_events(expressions, pairs):
    assert list(conversion_pairs(tasks(**expressions))) == pairs


def test_a_clicked_row_whose_conversion_is_not_known_is_no_zero():
    nan = float("nan")
    found = level([0.1, 0.2, 0.6, 0.4], [True, True, True, False], [1, nan, 0, nan])
    assert (found.rate, found.clicks) == (0.5, pytest.approx(0.3))
    assert (found.exposures, found.nonclicks) == (pytest.approx(0.325), 0.4)


def exposures(rows=6000, seed=0):
    """Clicks and conversions that both rise with x; the predictions are the truth."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=rows)
    click_rate, conversion_rate = 1 / (1 + np.exp(2 - x)), 1 / (1 + np.exp(1 - x))
    click = (rng.random(rows) < click_rate).astype(np.float32)
    buy = np.where(click == 1, rng.random(rows) < conversion_rate, np.nan).astype(np.float32)
    return x, {"ctr": click, "cvr": buy}, {"ctr": click_rate, "cvr": conversion_rate}


def test_effects_are_those_of_the_rows_whose_outcome_is_known():
    _, labels, predictions = exposures()
    lost = (labels["ctr"] == 1) & (np.arange(6000) % 3 == 0)
    labels["cvr"] = np.where(lost, np.nan, labels["cvr"])
    left = [{name: column[~lost] for name, column in each.items()} for each in (labels, predictions)]
    found, expected = (
        check_conversions(PAIR, *each, OPTIONS, ["effect"])["values"]
        for each in ((labels, predictions), left)
    )
    assert found == pytest.approx(expected)
    assert not any(map(np.isnan, found.values()))


def test_a_model_that_knows_the_truth_passes_the_checks():
    x, labels, predictions = exposures(40_000)
    block = check_conversions(PAIR, labels, predictions, OPTIONS, covariates=lambda: [("x", x)])
    values = block["values"]
    assert values["cvr_IEB.PCOC"] == pytest.approx(1, abs=0.03)
    assert values["cvr_IEB.bias"] < 0  # clicked exposures convert more often
    assert values["cvr_CRR.1"] == pytest.approx(1, abs=0.01)
    assert values["cvr_SMD.before"] > 0.5
    assert values["cvr_SMD.weighted"] < 0.1
    assert values["cvr_SMD.matched"] < 0.02
    assert values["cvr_KS.weighted"] < values["cvr_KS.before"]
    # The effect of a click on converting is the mean of the truth.
    truth = predictions["cvr"].mean()
    errors = block["pairs"]["cvr"]["effect"]["standard_errors"]
    for name in ("IPW", "SNIPW", "AIPW"):
        assert abs(values[f"cvr_effect.{name}"] - truth) < 3 * errors[name]
    assert block["undefined"] == {}
    assert len(block["caveats"]) == len(CHECKS)
    json.dumps(block, allow_nan=False)


def test_a_prediction_that_sees_more_than_the_propensity_has_another_risk_ratio():
    rng = np.random.default_rng(3)
    _, labels, predictions = exposures(20_000)
    seen = labels["ctr"] == 1
    predictions["cvr"] = np.where(seen, 0.3, 0.2) + 0.01 * rng.random(20_000)
    block = check_conversions(PAIR, labels, predictions, OPTIONS, ["pip"])
    assert block["values"]["cvr_CRR.3"] == pytest.approx(0.305 / 0.205, abs=1e-3)
    ratio = block["pairs"]["cvr"]["risk_ratio"]["3"]
    assert ratio["low"] < ratio["value"] < ratio["high"]
    assert set(block["values"]) == {"cvr_CRR.1", "cvr_CRR.3"}


def test_rows_without_a_known_click_do_not_count():
    x, labels, predictions = exposures()
    whole = check_conversions(PAIR, labels, predictions, OPTIONS, covariates=lambda: [("x", x)])
    more = {name: np.r_[each, np.full(500, np.nan)] for name, each in labels.items()}
    longer = {name: np.r_[each, np.full(500, 0.9)] for name, each in predictions.items()}
    again = check_conversions(
        PAIR, more, longer, OPTIONS, covariates=lambda: [("x", np.r_[x, np.full(500, 9.0)])]
    )
    assert again == whole


def test_whole_groups_widen_the_interval():
    _, labels, predictions = exposures()
    few = np.arange(6000) % 6
    predictions["cvr"] = predictions["cvr"] * (1 + 0.5 * few)
    rows, groups = (
        check_conversions(PAIR, labels, predictions, OPTIONS, ["pip"], groups=each)["pairs"]["cvr"]
        for each in (None, few)
    )
    width = [each["risk_ratio"]["1"]["high"] - each["risk_ratio"]["1"]["low"] for each in (rows, groups)]
    assert width[1] > 2 * width[0]


@pytest.mark.parametrize(
    ("change", "key", "reason"),
    [
        ({"ctr": np.zeros(8)}, "CRR.1", "0 of 8 rows are clicked"),
        ({"ctr": np.ones(8)}, "SMD.before", "8 of 8 rows are clicked"),
        ({"ctr": np.r_[np.ones(6), 0, 0]}, "CRR.3", "3 matches are wanted of 2 unclicked rows"),
        ({"cvr": np.zeros(8)}, "IEB.PCOC", "no clicked row converts"),
        ({"cvr": np.full(8, np.nan)}, "effect.IPW", "no row to measure it on"),
    ],
)
def test_what_cannot_be_measured_says_why(change, key, reason):
    labels = {"ctr": np.r_[np.ones(4), np.zeros(4)], "cvr": np.r_[1, 0, 0, 1, [np.nan] * 4], **change}
    predictions = {"ctr": np.linspace(0.2, 0.8, 8), "cvr": np.linspace(0.1, 0.4, 8)}
    block = check_conversions(PAIR, labels, predictions, OPTIONS, covariates=lambda: [("x", np.arange(8.0))])
    assert np.isnan(block["values"][f"cvr_{key}"])
    assert block["undefined"][f"cvr_{key}"] == reason
    assert all(np.isnan(block["values"][key]) for key in block["undefined"])


def test_other_reasons_are_told_too():
    labels = {"ctr": np.r_[np.ones(4), np.zeros(4)], "cvr": np.r_[1, 0, 0, 1, [np.nan] * 4]}
    apart = {"ctr": np.r_[np.full(4, 0.9), np.full(4, 0.1)], "cvr": np.full(8, 0.5)}
    told = check_conversions(PAIR, labels, apart, OPTIONS)["undefined"]
    assert told["cvr_CRR.1"] == "no clicked row has a match within the caliper"
    assert told["cvr_KS.before"] == "no numeric feature and no id that is frequent"
    lost = {**apart, "cvr": np.full(8, np.nan)}
    assert (
        check_conversions(PAIR, labels, lost, OPTIONS)["undefined"]["cvr_IEB.bias"] == "a prediction is NaN"
    )


def test_covariates_are_numbers_and_the_most_frequent_ids():
    features = FeatureMap(
        "toy",
        assign_columns(
            [
                Feature("item", "categorical", vocab_size=5),
                Feature("tags", "sequence", vocab_size=5, max_len=2, share_embedding="item"),
                Feature("shop", "categorical", vocab_size=4),
                Feature("price", "numeric"),
                Feature("picture", "embedding", max_len=2),
            ]
        ),
    )
    ids = np.array([[2, 0, 0, 1], [2, 1, 1, 1], [4, 1, 1, 1], [1, 2, 0, 1]], np.int32)
    numeric = np.array([[0.5, 9, 9], [1, 9, 9], [2, 9, 9], [3, 9, 9]], np.float32)
    found = dict(covariates(features, ids, numeric, {"item": ("tea", "milk", "rice")}, indicators=3))
    # Every row has the same shop: there is nothing to compare.
    assert list(found) == ["item=milk", "item=tea", "item=unknown", "price"]
    assert found["item=milk"].tolist() == [True, True, False, False]
    assert found["price"].tolist() == [0.5, 1, 2, 3]
    assert list(dict(covariates(features, ids, numeric, {}, indicators=1))) == ["item=id 2", "price"]
    assert list(dict(covariates(features, ids, numeric, {}, indicators=0))) == ["price"]
