"""Metrics of one's own: what is refused, and what evaluation and the bootstrap make of them."""

import doctest

import numpy as np
import pytest
from synthetic_runs import write_run

from fuxi_mtl import metrics
from fuxi_mtl.comparison import compare
from fuxi_mtl.comparison.bootstrap import Direct, replicates, resampling, statistic
from fuxi_mtl.evaluation.evaluate import evaluate, metric_keys
from fuxi_mtl.evaluation.measure import sample_weights
from fuxi_mtl.evaluation.monitor import metric_of_key, monitor_direction
from fuxi_mtl.metrics import METRICS, Metric, Observations, add_metric, register_metric
from fuxi_mtl.options import EvaluationOptions
from fuxi_mtl.tasks import parse_task

CTR = parse_task("ctr", "click")


def spread(labels, predictions):
    """Standard deviation of the scores."""
    return predictions.std()


@pytest.fixture(autouse=True)
def _as_before():
    known = dict(METRICS)
    yield
    METRICS.clear()
    METRICS.update(known)


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"name": "my metric"}, "metric name 'my metric' is not a name: use letters, digits and underscores"),
        ({"direction": "up"}, "metric 'spread' has direction 'up'. It can be: max, min, or the number"),
        ({"kinds": "binary"}, "measures tasks of the kinds 'binary'. It can be a tuple of: binary, regr"),
        ({"kinds": ("count",)}, "metric 'spread' measures tasks of the kinds .'count',.. It can be"),
        ({"needs": "clicks"}, "metric 'spread' needs 'clicks'. It can be: row, positive, both"),
        ({"function": lambda labels: 0}, r"metric 'spread': a function takes \(labels, predictions\), then"),
        (
            {"sums": lambda labels, predictions, users: 0},
            "metric 'spread' asks for 'users'. It can ask for: weights, groups, gauc_weight, threshold",
        ),
        (
            {"function": lambda labels, predictions, weights=None: 0, "sums": spread},
            "metric 'spread': its value asks for weights, its sums for nothing. Both need the same",
        ),
    ],
)
def test_what_is_no_metric_is_refused(declared, message):
    with pytest.raises(ValueError, match=message):
        Metric(**{"name": "spread", "function": spread, **declared})


def test_two_metrics_cannot_have_one_name_and_the_same_file_may_come_twice():
    register_metric("spread")(spread)
    register_metric("spread")(spread)
    for name in ("AUC", "binary_crossentropy"):
        with pytest.raises(ValueError, match=r"two metrics are called .*: fuxi_mtl\.metrics.* and .*spread"):
            add_metric(Metric(name, spread))


def test_a_metric_that_gives_no_number_is_told():
    register_metric("pair")(lambda labels, predictions: predictions[:2])
    with pytest.raises(ValueError, match="the metric pair gives array.*, which is no number"):
        METRICS["pair"].measure(Observations.of([1, 0], [0.2, 0.1]))


def test_a_metric_that_fails_is_named():
    @register_metric("picky")
    def picky(labels, predictions):
        """Refuses everything."""
        raise ValueError("I do not like 0.2")

    with pytest.raises(ValueError, match=r"^the metric picky: I do not like 0\.2$"):
        METRICS["picky"].measure(Observations.of([1, 0], [0.2, 0.1]))


def test_a_metric_without_weights_is_refused_where_they_count():
    register_metric("spread")(spread)
    options = EvaluationOptions(metrics=["spread"])
    labels, predictions = {"ctr": np.array([1.0, 0])}, {"ctr": np.array([0.5, 0.1])}
    assert evaluate([CTR], labels, predictions, options).values["ctr_spread"] == pytest.approx(0.2)
    with pytest.raises(ValueError, match="the metric spread takes no sample weights"):
        evaluate([CTR], labels, predictions, options, weights=np.ones(2))


def test_weights_that_the_data_do_not_have_cannot_count(tmp_path):
    class Rows:
        sample_weight = None

    assert sample_weights(Rows, EvaluationOptions()) is None
    with pytest.raises(ValueError, match="eval_sample_weight needs sample_weight, the column"):
        sample_weights(Rows, EvaluationOptions(eval_sample_weight=True))


def test_a_name_with_underscores_is_watched():
    register_metric("mean_gap", direction="min")(spread)
    options = EvaluationOptions(metrics=["mean_gap"])
    assert monitor_direction("ctr_mean_gap", keys=metric_keys([CTR], options)) == "min"
    assert metric_of_key("ctr_mean_gap").name == metric_of_key("mean_gap").name == "mean_gap"


def test_a_function_is_not_asked_about_rows_that_lack_what_it_needs():
    @register_metric("strict", needs="both")
    def strict(labels, predictions):
        """Fails where scikit-learn's metrics do."""
        raise AssertionError

    labels = {"ctr": np.ones(3, np.float32)}
    options = EvaluationOptions(metrics=["strict"])
    scores = evaluate([CTR], labels, {"ctr": np.array([0.1, 0.2, 0.3])}, options)
    assert scores.undefined["ctr_strict"] == "all 3 labels are 1"
    labels = {"ctr": np.array([1, 0, 0.0])}
    scores = evaluate([CTR], labels, {"ctr": np.array([0.1, np.nan, 0.3])}, options)
    assert scores.undefined["ctr_strict"] == "1 of 3 predictions are NaN"


def test_a_value_that_is_nan_without_a_known_reason_still_has_one():
    register_metric("nothing")(lambda labels, predictions: np.nan)
    scores = evaluate(
        [CTR],
        {"ctr": np.array([1.0, 0])},
        {"ctr": np.array([0.5, 0.1])},
        EvaluationOptions(metrics=["nothing"]),
    )
    assert scores.undefined["ctr_nothing"] == "it has no value on these rows"


def test_without_sums_a_metric_is_computed_on_the_rows_of_each_resample():
    """A group that is drawn twice is two groups: of each the best row counts."""

    def best_of_groups(labels, predictions, groups):
        """Mean over groups of the label of the highest score."""
        known = groups[~np.isnan(groups)]
        return np.mean([labels[np.argmax(np.where(groups == g, predictions, -1))] for g in np.unique(known)])

    metric = Metric("best_of_groups", best_of_groups)
    rng = np.random.default_rng(0)
    labels, predictions = (rng.random(300) < 0.4).astype(np.float32), rng.random(300)
    labels[::10] = np.nan
    groups = rng.integers(0, 40, 300)
    built = statistic(metric, labels, predictions, groups=groups)
    assert isinstance(built, Direct)
    drawn = resampling(300, groups, resamples=300)
    values = replicates({"x": built}, drawn)["x"]
    assert values.shape == (200,)
    seen = ~np.isnan(labels)
    best = np.array(
        [labels[seen][np.argmax(np.where(groups[seen] == g, predictions[seen], -1))] for g in range(40)]
    )
    count = drawn.surplus[:200].astype(float) + 1
    np.testing.assert_allclose(values, count @ best / count.sum(axis=1))


def test_weighted_and_plain_metrics_are_not_compared(tmp_path):
    folders = [write_run(tmp_path, "plain"), write_run(tmp_path, "weighted", eval_sample_weight=True)]
    (table,) = compare(folders, "plain")
    difference = table.rows[1].differences["ctr_AUC"]
    assert np.isnan(difference.value)
    assert difference.reason == "sample weights count in one of the two only"
    assert "Sample weights count in the metrics of weighted." in table.notes
    assert table.best["ctr_AUC"] == frozenset()


@pytest.mark.parametrize("documented", [metrics, metrics.register_metric])
def test_the_examples_run(documented):
    names = {**vars(metrics), "np": np}
    finder = doctest.DocTestFinder(recurse=False)
    (found,) = finder.find(documented, "example", module=False, globs=names)
    assert found.examples
    assert doctest.DocTestRunner().run(found).failed == 0
