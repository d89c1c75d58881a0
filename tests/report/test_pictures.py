"""What pictures show: axes that one bad run does not flatten, curves of scores, slices of errors."""

import json
import re
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.textpath import TextPath
from synthetic_runs import labels_of_test, noisy_scores, write_run

from fuxi_mtl import metrics
from fuxi_mtl.comparison import read_run
from fuxi_mtl.report import run_page, slices
from fuxi_mtl.report.pictures import histories, scores, svg
from fuxi_mtl.report.pictures.panel import Curve, Dots, Panel, tick_text, ticks, within
from fuxi_mtl.runs import StoredScores


@pytest.mark.parametrize(
    ("groups", "better", "expected"),
    [
        ([[0.70], [0.71], [0.50]], "high", (0.67, 0.71)),  # the bad one is cut, four times the rest is left
        ([[0.70], [0.7001], [0.72]], "high", (0.70, 0.72)),  # a good one never is
        ([[0.5], [0.7]], "high", (0.5, 0.7)),  # nobody knows which of two is bad
        ([[0.3, 0.2], [0.4, 0.25], [9.0, 5.0]], "low", (0.2, 1.0)),
        ([[0.9547], [0.95471], [0.9546]], "high", (0.9546, 0.95471)),  # near enough to be seen
        ([[1.0, 1.1], [1.0, 1.2], [-5.0, 7.0]], "", (0.4, 1.8)),
        ([[1.0], [1.0], [3.0]], "", (1.0, 3.0)),
        ([], "", (0.0, 1.0)),
    ],
)
def test_half_of_the_curves_fill_a_quarter_of_an_axis(groups, better, expected):
    assert within(groups, better) == pytest.approx(expected)


def test_what_leaves_the_axes_is_said_below_the_panel():
    curves = [Curve(i, "seed 1", [1, 2], [0.7, 0.7 + i / 100]) for i in range(3)]
    drawn = svg.draw(Panel("AUC", [*curves, Curve(3, "seed 1", [1, 2], [0.1, 0.2])], better="high"), "abcd")
    assert '<div class="cut">Beyond the axis: d seed 1, 0.1</div>' in drawn
    assert "Beyond" not in svg.draw(Panel("AUC", curves, better="high"), "abcd")
    rows = ["a", "b", "tablet", "c", "d"]
    dots = [Dots(0, i, [value]) for i, value in enumerate((0.7, 0.71, 0.72, 0.705, 0.1))]
    assert "Beyond the axis: run d, 0.1<" in svg.draw(
        Panel("AUC", dots=dots, rows=rows, better="high"), ["run"]
    )
    owned = [Dots(each.row, each.row, each.values) for each in dots]
    assert "Beyond the axis: d, 0.1<" in svg.draw(Panel("AUC", dots=owned, rows=rows, better="high"), rows)


@pytest.mark.parametrize(
    "name",
    ["MMoE_Aligned_MTL", "MMoE_MetaBalance", "PLE", "a_name_that_is_much_longer", "WWWWMMMM", "多任务学习"],
)
def test_there_is_room_for_names_of_rows_in_the_widest_font(name):
    drawn = svg.draw(Panel("AUC", rows=[name], dots=[Dots(0, 0, [0.5, 0.6])]), [name])
    left = float(re.search(r'class="in" x="([\d.]+)"', drawn)[1])
    shown = re.search(r'class="e">([^<]+)<title>', drawn)[1]
    if shown.isascii() or "…" in shown:
        needed = TextPath((0, 0), shown, size=11, prop={"family": "DejaVu Sans"}).get_extents().width
    else:
        needed = 11 * len(shown)  # letters of Chinese are squares
    assert needed + 7 <= left < 1.4 * needed + 50


@pytest.mark.parametrize(
    "ends", [(0.9546, 0.95553), (0.9546, 0.9555), (0.97475, 0.9751), (0.0, 1.0), (5000.0, 123456.0)]
)
@pytest.mark.parametrize("name", ["PLE", "MMoE_Aligned_MTL", "a_name_that_is_much_longer"])
def test_ticks_have_room_beside_each_other_and_inside_of_the_picture(name, ends):
    drawn = svg.draw(Panel("AUC", rows=[name], dots=[Dots(0, 0, [*ends])]), [name])
    texts = re.findall(r'<text x="([\d.]+)"[^>]*class="m">([^<]+)</text>', drawn)
    assert len(texts) > 1
    widths = [
        TextPath((0, 0), text, size=11, prop={"family": "DejaVu Sans"}).get_extents().width
        for _, text in texts
    ]
    spans = [
        (float(x) - width / 2, float(x) + width / 2) for (x, _), width in zip(texts, widths, strict=True)
    ]
    assert all(right < left for (_, right), (left, _) in pairwise(spans))
    assert spans[-1][1] <= 330


def test_ticks_are_round_and_told_apart():
    assert ticks(0.612, 0.731) == [0.625, 0.65, 0.675, 0.7, 0.725]
    assert [tick_text(value, [0.625, 0.65]) for value in (0.625, 0.65)] == ["0.625", "0.650"]
    assert [tick_text(value, [0.95465, 0.9547]) for value in (0.95465, 0.9547)] == ["0.95465", "0.95470"]
    assert [tick_text(value, [0, 5000]) for value in (0, 5000)] == ["0", "5k"]
    assert [tick_text(value, [0.25, 0.5], percent=True) for value in (0.25,)] == ["25%"]
    assert ticks(0.03, 40, logarithmic=True) == [0.1, 1, 10]
    assert ticks(0.3, 4, logarithmic=True) == [0.5, 1, 2]


def test_weights_that_never_move_are_not_drawn(tmp_path):
    still, moving = (read_run(write_run(tmp_path, *of)) for of in (("still",), ("moving",)))
    assert not histories.over_steps([still], "weights", ["still", "moving"]).panels
    run = read_run(write_run(tmp_path, "moved", weights=(1.4, 1.0)))
    (panel,) = histories.over_steps([still, moving, run], "weights", ["still", "moving", "moved"]).panels
    assert (panel.title, [curve.owner for curve in panel.curves]) == ("ctr", [2])


def scored(ties=False, weights=None):
    labels = labels_of_test(3000)
    predictions = noisy_scores(labels["cvr"], 1.5, seed=3)
    if ties:
        predictions = np.round(predictions, 1)
    arrays = {"cvr_label": labels["cvr"], "cvr_pred": predictions}
    return scores.Scored.of(StoredScores(arrays | ({} if weights is None else {"weight": weights})), "cvr")


@pytest.mark.parametrize("ties", [False, True])
def test_the_areas_below_the_curves_are_the_metrics(ties):
    found = scored(ties)
    x, y = scores.roc(found)
    area = float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2))
    assert area == pytest.approx(metrics.auc(found.labels, found.predictions), abs=1e-12)
    recall, precision = scores.precision_recall(found)
    at = len(recall) // 2
    threshold = np.sort(np.unique(found.predictions))[::-1][
        len(np.unique(found.predictions)) - len(recall) + at
    ]
    chosen = found.predictions >= threshold
    assert precision[at] == pytest.approx(found.labels[chosen].mean())
    assert recall[at] == pytest.approx(found.labels[chosen].sum() / found.labels.sum())


def test_a_row_of_weight_two_counts_twice_in_curves():
    weights = np.where(np.arange(3000) % 3 == 0, 2, 1).astype(np.float32)
    found = scored(weights=weights)
    twice = scores.Scored(
        *(np.repeat(each, found.weights.astype(int)) for each in (found.labels, found.predictions)),
        np.ones(int(found.weights.sum())),
        found.rows,
    )
    for curve in (scores.roc, scores.precision_recall):
        assert np.allclose(curve(found), curve(twice))


def test_bins_of_calibration_hold_equally_many_rows():
    found = scored()
    predicted, observed = scores.calibration(found)
    parts = np.array_split(np.argsort(found.predictions, kind="stable"), 10)
    assert predicted == pytest.approx([found.predictions[part].mean() for part in parts], abs=2e-3)
    assert observed == pytest.approx([found.labels[part].mean() for part in parts], abs=0.02)


def test_tasks_without_two_classes_have_no_curves():
    labels = np.array([0.5, 0.25, np.nan], np.float32)
    assert scores.Scored.of(StoredScores({"t_label": labels, "t_pred": labels}), "t") is None
    assert scores.Scored.of(StoredScores({"t_label": labels * 0, "t_pred": labels}), "t") is None
    assert scores.Scored.of(StoredScores({}), "t") is None


def test_slices_hold_all_rows_and_all_of_the_error_once():
    labels = labels_of_test(3000)
    group = np.repeat(np.arange(300), np.tile([1, 19], 150))
    stored = StoredScores(
        {"cvr_label": labels["cvr"], "cvr_pred": noisy_scores(labels["cvr"], 1, 3), "group": group}
    )
    known = np.isfinite(labels["cvr"])
    for by in ("prediction", "rows of the group"):
        found = [each for each in slices.slices(stored, "cvr", binary=True) if each.by == by]
        assert sum(each.rows for each in found) == known.sum()
        assert sum(each.share for each in found) == pytest.approx(1)
        error = sum(each.error * each.rows for each in found) / known.sum()
        assert error == pytest.approx(metrics.logloss(labels["cvr"], stored.prediction("cvr")), rel=1e-6)
    assert [each.name for each in found] == ["1", "10 to 49"]


def test_the_page_of_a_run_names_groups_inputs_and_slices(tmp_path):
    entry = {"rows": 10, "positives": {}, "metrics": {"ctr_AUC": 0.7, "cvr_AUC": None}, "undefined": {}}
    block = {"column": "tab", "split": "test", "values": {"<a>": entry, "b": entry}}
    labels = {"ctr": {"rows": 5000, "positives": 1234}, "cvr": {"rows": 1234, "mean": 2.5}}
    about = {"labels": {"train": labels}, "unknown": {"test": {"user": 0.0375}}}
    folder = write_run(tmp_path, "M", metrics_by=block, rows={"train": 5000, "test": 4000})
    content = json.loads((folder / "metrics.json").read_text())
    (folder / "metrics.json").write_text(json.dumps({**content, **about}))
    (folder / "features").mkdir()
    (folder / "features" / "feature_map.json").write_text(
        '{"features": [{"user": {"type": "categorical", "vocab_size": 12345}}, {"age": {"type": "numeric"}}]}'
    )
    page = run_page.html(read_run(folder))
    for text in (
        "Metrics by tab",
        "&lt;a&gt;",
        "12,345",
        "unknown in test",
        "3.75%",
        "1,234 positives",
        "24.68% of 5,000",
        "1,234 with mean 2.5",
        "slice of",
        "Errors by slice",
        "5,000",
    ):
        assert text in page, text
    assert "<a>" not in page
    groups = page[page.index("<h2>Metrics by tab") :]
    heads = re.findall(r'<th colspan="(\d)"[^>]*>(\w*)</th>', groups[: groups.index("</thead>")])
    assert heads == [("2", ""), ("1", "ctr"), ("1", "cvr")], "a task stands once above its metrics"
