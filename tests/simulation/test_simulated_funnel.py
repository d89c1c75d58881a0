"""The click funnel: its rates, its truth, and which assumption holds under which setting."""

import numpy as np
import polars as pl
import pytest

from fuxi_mtl.simulation import funnel, make_settings
from fuxi_mtl.simulation.decisions import Decisions, Intercepts, Logits
from fuxi_mtl.simulation.funnel import Funnel
from fuxi_mtl.simulation.world import correlated, make_world, stream, task_weights, whitened


def rows_of(rows=200_000, **given):
    # As many users as requests: rows are then nearly independent, and standard errors are those of coins.
    settings = make_settings(given={"rows": rows, "users": 20_000, "items": 2_000, **given})
    return pl.concat(list(Funnel.of(settings).frames()))


def columns(frame):
    return {name: frame[name].to_numpy().astype(float) for name in frame.columns if name != "tags"}


def error(values):
    """Standard error of a mean."""
    return values.std() / np.sqrt(len(values))


SETTINGS = {
    "plain": {},
    "hard": {"selection": 1.5, "confounding": 1.0, "task_correlation": 0.3, "noise": 0.1, "drift": 1.0},
}


@pytest.fixture(scope="module", params=SETTINGS.values(), ids=SETTINGS)
def simulated(request):
    return columns(rows_of(**request.param))


def test_the_observed_rates_are_those_of_the_settings(simulated):
    clicked = simulated["click"] == 1
    for values, rate in (
        (simulated["click"], 0.1),
        (simulated["cart"][clicked], 0.2),
        (simulated["conversion"][clicked], 0.1),
    ):
        # Three percent for the users that happened to come more often than their share.
        assert values.mean() == pytest.approx(rate, abs=4 * error(values) + 0.03 * rate)


def test_true_probabilities_are_the_means_of_what_happens(simulated):
    click = simulated["click"]
    happened = {
        "truth_ctr": click,
        "truth_propensity": click,
        "truth_cart": simulated["outcome_cart"],
        "truth_cvr": simulated["outcome_cvr"],
        "truth_ctavr": click * simulated["cart"],
        "truth_ctcvr": click * simulated["conversion"],
    }
    for name, event in happened.items():
        _calibrated(simulated[name], event, name)
    for name, rows in {
        "truth_cvr_clicked": click == 1,
        "truth_cvr_cart": simulated["outcome_cart"] == 1,
        "truth_cvr_other": simulated["outcome_cart"] == 0,
    }.items():
        _calibrated(simulated[name][rows], simulated["outcome_cvr"][rows], name)


def _calibrated(chance, event, name):
    """In each fifth of the probabilities the event happens as often as they say, to 4.5 standard errors."""
    order = np.argsort(chance)
    for rows in np.array_split(order, 5):
        expected = np.sqrt((chance[rows] * (1 - chance[rows])).sum()) / len(rows)
        assert abs(event[rows].mean() - chance[rows].mean()) < 4.5 * expected, name


def test_the_log_shows_outcomes_of_clicked_rows_only(simulated):
    click = simulated["click"]
    np.testing.assert_array_equal(simulated["cart"], click * simulated["outcome_cart"])
    np.testing.assert_array_equal(simulated["conversion"], click * simulated["outcome_cvr"])


def test_without_selection_clicked_rows_convert_like_all_rows():
    found = columns(rows_of())
    clicked = found["click"] == 1
    assert abs(_gap(found["outcome_cvr"], clicked)) < 3 * error(found["outcome_cvr"][clicked])
    assert abs(_gap(found["truth_cvr"], clicked)) < 3 * error(found["truth_cvr"][clicked])
    np.testing.assert_allclose(found["truth_cvr_clicked"], found["truth_cvr"], rtol=1e-5)


@pytest.mark.parametrize("given", [{"selection": 1.0}, {"task_correlation": 0.9}])
def test_selection_by_features_changes_the_rate_but_not_the_probability_of_a_row(given):
    found = columns(rows_of(40_000, **given))
    clicked = found["click"] == 1
    assert _gap(found["outcome_cvr"], clicked) > 5 * error(found["outcome_cvr"][clicked])
    np.testing.assert_allclose(found["truth_cvr_clicked"], found["truth_cvr"], rtol=1e-5)
    # So inverse propensities give back the mean of all rows.
    weights = found["click"] / found["truth_ctr"]
    estimates = weights * found["conversion"]
    assert abs(estimates.mean() - found["truth_cvr"].mean()) < 4 * error(estimates)


@pytest.mark.parametrize("sign", [1, -1])
def test_confounding_is_not_explained_by_features(sign):
    found = columns(rows_of(50_000, confounding=1.5 * sign))
    assert (sign * (found["truth_cvr_clicked"] - found["truth_cvr"]) > 0).all()
    estimates = found["click"] / found["truth_ctr"] * found["conversion"]
    assert sign * (estimates.mean() - found["truth_cvr"].mean()) > 5 * error(estimates)
    # The propensity that knows the hidden factor repairs it.
    estimates = found["click"] / found["truth_propensity"] * found["conversion"]
    assert abs(estimates.mean() - found["truth_cvr"].mean()) < 4 * error(estimates)


def _gap(values, clicked):
    return values[clicked].mean() - values.mean()


def test_averages_over_the_hidden_factor_are_integrals():
    settings = make_settings(given={"confounding": 2.0, "noise": 0.2, "cart_effect": 1.5})
    logits = Logits(np.array([-3.0, 0.5]), np.array([0.2, -1.0]), np.array([-2.0, 1.0]))
    true = Decisions(settings, logits, Intercepts(-1.0, -0.5, -1.5)).truth()
    hidden = np.linspace(-12, 12, 100_001)[:, None]
    density = np.exp(-(hidden**2) / 2)
    density /= density.sum()

    def chance(logit, rate):
        return 0.8 / (1 + np.exp(-logit)) + 0.2 * rate

    click = chance(logits.click - 1.0 + 2 * hidden, 0.1)
    cart = chance(logits.cart - 0.5 + 2 * hidden, 0.2)
    with_cart = chance(logits.conversion - 1.5 + 1.5 + 2 * hidden, 0.1)
    without = chance(logits.conversion - 1.5 + 2 * hidden, 0.1)
    conversion = cart * with_cart + (1 - cart) * without
    expected = {
        "truth_ctr": click,
        "truth_cart": cart,
        "truth_cvr": conversion,
        "truth_ctavr": click * cart,
        "truth_ctcvr": click * conversion,
    }
    integrals = {name: (density * values).sum(0) for name, values in expected.items()}
    integrals["truth_cvr_cart"] = (density * cart * with_cart).sum(0) / integrals["truth_cart"]
    integrals["truth_cvr_other"] = (density * (1 - cart) * without).sum(0) / (1 - integrals["truth_cart"])
    integrals["truth_cvr_clicked"] = integrals["truth_ctcvr"] / integrals["truth_ctr"]
    assert set(integrals) == set(true)
    for name, values in integrals.items():
        np.testing.assert_allclose(true[name], values, rtol=1e-5, err_msg=name)


def test_noise_bounds_the_propensity_from_below():
    found = columns(rows_of(20_000, noise=0.5, selection=3.0))
    assert found["truth_ctr"].min() >= 0.5 * 0.1 - 1e-7


def test_the_same_seed_gives_the_same_rows_and_another_seed_others():
    assert rows_of(2_000).equals(rows_of(2_000))
    assert not rows_of(2_000).equals(rows_of(2_000, seed=1))


def test_blocks_do_not_depend_on_one_another_or_on_the_number_of_rows(monkeypatch):
    monkeypatch.setattr(funnel, "BLOCK", 1_000)
    long = Funnel.of(make_settings(given={"rows": 3_500}))
    assert [frame.height for frame in long.frames()] == [1_000, 1_000, 1_000, 500]
    assert long.block(3).equals(long.block(3))
    short = Funnel.of(make_settings(given={"rows": 1_500}))
    # Without drift only the column that says how far we are depends on the end.
    whole = pl.concat(list(long.frames())).drop("time").head(1_500)
    assert pl.concat(list(short.frames())).drop("time").equals(whole)


def test_drift_turns_the_tastes_by_its_angle():
    settings = make_settings(given={"drift": np.pi / 2, "rows": 5_000})
    world = make_world(settings)
    shown = funnel.draw_evenly(stream(0), world, 20_000)
    at = [
        funnel.scores(world, shown._replace(time=np.full(20_000, time)), settings.drift)[:, 0]
        for time in (0.0, 0.5, 1.0)
    ]
    # Taste has .45 of the variance; a quarter turn leaves nothing of it in common.
    for scores, angle in zip(at, (0, np.pi / 4, np.pi / 2), strict=True):
        assert np.corrcoef(at[0], scores)[0, 1] == pytest.approx(0.55 + 0.45 * np.cos(angle), abs=0.02)


def test_the_scores_have_the_correlation_of_the_settings_in_the_drawn_world():
    for correlation in (0.0, 0.7, -0.4):
        world = make_world(make_settings(given={"task_correlation": correlation}))
        shown = funnel.draw_evenly(stream(0), world, 100_000)
        click, conversion, _ = funnel.scores(world, shown, 0.0).T
        assert click.std() == pytest.approx(1, abs=0.02)
        assert np.corrcoef(click, conversion)[0, 1] == pytest.approx(correlation, abs=0.02)


def test_task_weights_have_their_cosine_exactly():
    for cosine in (-1.0, 0.0, 0.3, 1.0):
        weights = task_weights(stream(1), cosine)
        expected = [[1, cosine, 0], [cosine, 1, 0], [0, 0, 1]]
        np.testing.assert_allclose(weights.T @ weights, expected, atol=1e-12)


def test_whitened_columns_are_uncorrelated_under_their_weights():
    draws = stream(1)
    weights = draws.random(40)
    weights /= weights.sum()
    columns = whitened(draws.standard_normal((40, 3)) @ draws.standard_normal((3, 3)) + 5, weights)
    np.testing.assert_allclose(weights @ columns, 0, atol=1e-12)
    np.testing.assert_allclose(columns.T @ (weights[:, None] * columns), np.eye(3), atol=1e-12)
    turned = correlated(columns[:, :2], 0.6)
    np.testing.assert_allclose(turned.T @ (weights[:, None] * turned), [[1, 0.6], [0.6, 1]], atol=1e-12)


def test_a_request_is_ten_exposures_to_one_user_in_one_hour():
    frame = rows_of(1_000)
    requests = frame.group_by("request_id").agg(
        pl.col("user_id", "hour").n_unique(), pl.col("position").sort()
    )
    assert requests.height == 100
    assert requests["user_id"].to_list() == [1] * 100
    assert requests["hour"].to_list() == [1] * 100
    assert requests["position"].to_list() == [list(range(1, 11))] * 100
    assert frame["tags"].str.contains(r"^\d+(\^\d+)*$").all()
