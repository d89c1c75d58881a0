"""The part of the report about training: curves in windows, gates as heat maps."""

import json
import math

import numpy as np
import pytest
from synthetic_runs import write_run
from test_report import Outline

from fuxi_mtl.comparison import compare, read_run, stored_runs
from fuxi_mtl.report import diagnostics, render
from fuxi_mtl.report.pictures.training import windows
from fuxi_mtl.training.diagnostics import GradientConflict, Products


def conflict_of(cosines):
    """What a training of two objectives with these cosines on dense parameters leaves; NaN is skipped."""
    found = GradientConflict(["ctr", "ctcvr"])
    for step, cosine in enumerate(cosines):
        counted = np.array([True, not math.isnan(cosine)])
        products = np.array([[[4.0, 2 * np.nan_to_num(cosine)], [2 * np.nan_to_num(cosine), 1.0]]])
        found.add(step, Products(products, np.zeros(1, bool), counted))
    return found.content()


def gates_of(dead):
    """Two gates over three experts at two steps."""
    gates = [
        {
            "name": name,
            "experts": ["expert_0", "expert_1", "expert_2"],
            "weight": [[0.4, 0.3, 0.3], [0.75, 0.249, 0.001]],
            "top_share": [[0.4, 0.3, 0.3], [0.8, 0.2, 0.0]],
            "entropy": [0.9, 0.5],
            "kl": [0.01, 0.5],
        }
        for name in ("ctr", "cvr")
    ]
    divergence = [{"gates": ["ctr", "cvr"], "js": [0.0, 0.1]}]
    return {
        "steps": [50, 100],
        "groups": [{"name": "experts", "gates": gates, "divergence": divergence, "dead": dead}],
    }


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    for seed, cosines in enumerate(([0.5, -0.5, math.nan, 0.25], [0.5, 0.5, 0.5, 0.25]), 1):
        content = {"gradients": conflict_of(cosines), "gates": gates_of(["expert_2"])}
        text = json.dumps(content).replace("NaN", "null")
        (write_run(root, "MMoE_<toy>", seed) / "diagnostics.json").write_text(text)
    write_run(root, "Single_toy", 1)
    return root


def test_the_table_adds_batches_and_averages_the_rest_over_seeds(root):
    runs = stored_runs(root)
    lines = {texts[1:]: dict(zip(diagnostics.NUMBERS, n, strict=True)) for texts, n in
             diagnostics.conflict_lines(runs)}  # fmt: skip
    assert set(lines) == {("ctr · ctcvr", "dense"), ("ctr · ctcvr", "all")}  # no table was shared
    numbers = lines["ctr · ctcvr", "dense"]
    assert (numbers["batches"], numbers["skipped"]) == (7, 1)
    assert numbers["cosine"] == pytest.approx((0.25 / 3 + 1.75 / 4) / 2)
    assert numbers["conflicts"] == pytest.approx(1 / 6)
    assert numbers["strength"] == pytest.approx(-0.5)  # of the one seed that has negative cosines
    assert numbers["ratio"] == pytest.approx(0.5)


def test_the_page_shows_gradients_and_gates_and_still_asks_for_nothing(root):
    page = render(compare(stored_runs(root)), "html")
    outline = Outline()
    outline.feed(page)
    assert outline.open == []
    assert len(outline.ids) == len(set(outline.ids))
    assert all(link.startswith(("#", "data:")) for link in outline.links)
    for text in ("Gradient conflict between objectives", "Cosine of gradients", "Conflict rate over steps",
                 "Ratio of gradient norms", "Gates at the end of training", "Entropy of gates",
                 "Jensen-Shannon divergence", "ctr · ctcvr, dense", "expert_2 (dead)", "0.75",
                 "MMoE_&lt;toy&gt;, experts"):  # fmt: skip
        assert text in page, text


def test_a_page_of_runs_without_measurements_says_nothing_of_them(root):
    runs = stored_runs(root, ["Single_toy"])
    assert diagnostics.conflict_lines(runs) == []
    assert not any(picture.panels for picture in diagnostics.pictures(runs, ["Single_toy"]))


def test_a_damaged_file_is_named(root, tmp_path):
    folder = write_run(tmp_path, "broken")
    (folder / "diagnostics.json").write_text('{"gradients": ')
    with pytest.raises(ValueError, match=r"diagnostics\.json cannot be read .*: run the experiment again\."):
        read_run(folder).diagnostics  # noqa: B018 - reading is the point


def test_noisy_values_are_drawn_in_windows_of_at_least_twenty():
    steps, values = list(range(0, 400, 2)), [float(i % 2) for i in range(200)]
    found = windows(steps, values)
    assert len(found) == 10
    assert found[0][0] == pytest.approx(np.mean(steps[:20]))
    assert [part.mean() for _, part in found] == [0.5] * 10
    assert len(windows(steps, values, noisy=False)) == 30


def test_few_values_have_windows_of_their_own_and_skipped_ones_none():
    assert [(step, part.tolist()) for step, part in windows([1, 2, 3], [0.5, None, 0.25])] == [
        (1, [0.5]),
        (3, [0.25]),
    ]
    assert windows([1], [None]) == []
