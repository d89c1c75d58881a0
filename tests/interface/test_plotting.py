"""Pictures on matplotlib's axes."""

import json

import numpy as np
import pytest
from matplotlib.figure import Figure
from synthetic_runs import write_run

import fuxi_mtl as fm

GATE = {"name": "ctr", "experts": ["e0", "e1"], "weight": [[0.5, 0.5], [0.9, 0.1]]}
GROUP = {"name": "experts", "dead": ["e1"], "divergence": [], "gates": [GATE]}
GATE.update(top_share=[[0.5, 0.5], [0.8, 0.2]], entropy=[1.0, 0.5])


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    entry = {"rows": 10, "positives": {}, "metrics": {"ctr_AUC": 0.7}, "undefined": {}}
    block = {"column": "tab", "split": "test", "values": {"a": entry, "b": entry}}
    made = [write_run(root, expid, metrics_by=block, weights=(1.4, 0.6)) for expid in (r"$\frac{$", "B")]
    (made[0] / "diagnostics.json").write_text(json.dumps({"gates": {"steps": [1, 2], "groups": [GROUP]}}))
    return made


@pytest.mark.parametrize(
    ("name", "titles"),
    [
        ("metrics", ["ctr_AUC", "ctr_logloss", "cvr_AUC", "cvr_logloss", "AUC", "logloss"]),
        ("history", ["ctr_AUC", "cvr_AUC", "AUC", "ctr_logloss", "cvr_logloss", "logloss"]),
        ("roc", ["ctr", "cvr"]),
        ("precision_recall", ["ctr", "cvr"]),
        ("calibration", ["ctr", "cvr"]),
        ("gates", [r"$\frac{$, experts"]),
    ],
)
def test_a_figure_has_the_panels_of_the_page(folders, name, titles):
    figure = getattr(fm.plot, name)(folders)
    figure.canvas.draw()  # the $ of a name is no formula
    assert [axes.get_title(loc="left") for axes in figure.axes if axes.get_visible()] == titles


def test_one_panel_goes_on_axes_of_ones_own_with_the_stored_values(folders):
    axes = Figure().subplots()
    assert fm.plot.history(folders, "losses", only="cvr", axes=axes) is axes.figure
    stored = json.loads((folders[1] / "history.json").read_text())["evaluations"]
    assert np.allclose(axes.lines[1].get_ydata(), [each["losses"]["cvr"] for each in stored])
    assert axes.lines[1].get_label() == "B"
    assert fm.plot.groups(folders[0], only="ctr_AUC").axes[0].lines[0].get_xdata().tolist() == [0.7]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda runs: fm.plot.history(runs, "loss"), "no 'loss' is logged. Did you mean 'losses'"),
        (lambda runs: fm.plot.roc(runs, only="cvrr"), "has no panel 'cvrr'. Did you mean 'cvr'"),
        (lambda runs: fm.plot.roc(runs, axes=Figure().subplots()), "give only one of ctr, cvr"),
        (fm.plot.conflict, "nothing for 'Cosine of gradients over steps'"),
        (lambda runs: fm.plot.metrics(3), "plot: int is no run"),
        (lambda runs: fm.plot.metrics([]), "of one dataset are drawn together, not of none"),
    ],
)
def test_what_cannot_be_drawn_is_said(folders, call, said):
    with pytest.raises(ValueError, match=said.replace("(", r"\(")):
        call(folders)
