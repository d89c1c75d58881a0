"""Pictures of the stored results."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from benchmarks.contestants import LIMITS
from benchmarks.report import read_results

# Ours in red, the yardstick in black and grey, the peers in what is left.
COLOURS = {
    "fuxi_mtl": "#c1272d",
    "fuxi_mtl bfloat16": "#f15a24",
    "DeepCTR": "tab:blue",
    "DeepCTR-Torch": "tab:cyan",
    "Torch-RecHub": "tab:green",
    "FuxiCTR": "tab:purple",
    "FuxiCTR parquet": "tab:pink",
    "PyTorch by hand": "black",
    "PyTorch by hand bfloat16": "grey",
}
LABELS = {"vocabulary": "ids over all fields", "batch": "rows in a step", "rows": "rows of the csv file"}


def draw_all(results: Path, pictures: Path) -> list[Path]:
    """A picture of each result that has one; the files."""
    pictures.mkdir(parents=True, exist_ok=True)
    drawn = []
    for name, content in read_results(results).items():
        if name.startswith("growth_"):
            drawn.append(_save(_growth(content), pictures / f"{name}.png"))
        elif name == "correlation":
            drawn.append(_save(_correlation(content), pictures / f"{name}.png"))
        elif name == "days":
            drawn.append(_save(_days(content), pictures / f"{name}.png"))
        elif name.startswith(("train_", "predict_")):
            drawn.append(_save(_bars(content), pictures / f"{name}.png"))
    return drawn


def _save(figure: Any, file: Path) -> Path:
    # Without the date, the same numbers give the same file.
    figure.savefig(file, dpi=100, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)
    return file


def _bars(content: Mapping[str, Any]) -> Any:
    """Rows a second, the fastest on top; a limit is no contestant."""
    cells = [c for c in content["cells"] if "rows_per_second" in c and c["contestant"] not in LIMITS]
    cells.sort(key=lambda cell: cell["rows_per_second"]["median"])
    figure, axes = plt.subplots(figsize=(8, 0.5 + 0.4 * len(cells)))
    for row, cell in enumerate(cells):
        speed = cell["rows_per_second"]
        median, low, high = (speed[key] / 1000 for key in ("median", "low", "high"))
        axes.barh(row, median, color=COLOURS[cell["contestant"]])
        axes.errorbar(median, row, xerr=[[median - low], [high - median]], color="black", capsize=3)
        axes.annotate(f" {median:.1f}", (high, row), va="center", xytext=(4, 0), textcoords="offset points")
    axes.set_yticks(range(len(cells)), [cell["contestant"] for cell in cells])
    axes.set_xlabel("thousand rows a second")
    axes.margins(x=0.1)
    axes.set_title(content["question"], fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _correlation(content: Mapping[str, Any]) -> Any:
    """Test loss over the cosine of the tasks' weight vectors; bars are one standard deviation over seeds."""
    figure, axes = plt.subplots(figsize=(7, 4.2))
    names = list(dict.fromkeys(cell["contestant"] for cell in content["cells"]))
    for place, name in enumerate(names):
        cells = [cell for cell in content["cells"] if cell["contestant"] == name]
        shift = 0.006 * (place - (len(names) - 1) / 2)  # bars of one cosine lie side by side
        at = [cell["at"]["cosine"] + shift for cell in cells]
        losses, spreads = ([cell["mse"][key] for cell in cells] for key in ("mean", "sd"))
        axes.errorbar(at, losses, yerr=spreads, marker="o", capsize=3, label=name, linewidth=1.4)
    axes.set_xlabel("cosine of the tasks' weight vectors")
    axes.set_ylabel("squared error on test rows")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=9)
    return figure


def _days(content: Mapping[str, Any]) -> Any:
    """AUC of each day before it was trained on, by way; bars are one standard deviation over seeds."""
    worlds = list(dict.fromkeys(cell["world"] for cell in content["cells"]))
    figure, panels = plt.subplots(1, len(worlds), figsize=(5.5 * len(worlds), 4), squeeze=False)
    for world, axes in zip(worlds, panels[0], strict=True):
        cells = [cell for cell in content["cells"] if cell["world"] == world]
        days = sorted({cell["day"] for cell in cells})
        for place, way in enumerate(dict.fromkeys(cell["way"] for cell in cells)):
            values = [[c["auc"] for c in cells if (c["way"], c["day"]) == (way, day)] for day in days]
            at = np.array(days) + 0.06 * (place - 1)
            spread = [np.std(v, ddof=1) if len(v) > 1 else 0.0 for v in values]
            axes.errorbar(at, [np.mean(v) for v in values], yerr=spread, marker="o", capsize=3, label=way)
        axes.set_title(world)
        axes.set_xlabel("day")
        axes.set_ylabel("AUC before training on the day")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0][0].legend(fontsize=9)
    return figure


def _growth(content: Mapping[str, Any]) -> Any:
    """Time and memory along the axis, both logarithmic."""
    axis = content["settings"]["axis"]
    time, unit = ("seconds", "seconds") if axis == "rows" else ("step_ms", "milliseconds a step")
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
    for name in dict.fromkeys(cell["contestant"] for cell in content["cells"]):
        cells = [c for c in content["cells"] if c["contestant"] == name and time in c]
        values = [cell["at"][axis] for cell in cells]
        style = {"color": COLOURS[name], "marker": "o", "label": name}
        left.plot(values, [cell[time]["median"] for cell in cells], **style)
        right.plot(values, [cell["peak_mb"]["median"] for cell in cells], **style)
    _dress(left, axis, unit, sorted({cell["at"][axis] for cell in content["cells"]}))
    _dress(right, axis, "peak memory, MB", sorted({cell["at"][axis] for cell in content["cells"]}))
    left.legend(fontsize=8)
    return figure


def _dress(axes: Axes, axis: str, unit: str, values: list[int]) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(values, [f"{value:,}" for value in values])
    low, high = axes.get_ylim()
    axes.set_ylim(low / 1.5, high * 1.5)  # a few percent shall not look like a mountain
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.4g}"))
    for each in (axes.xaxis, axes.yaxis):
        each.set_minor_locator(NullLocator())
    axes.set_xlabel(LABELS.get(axis, axis))
    axes.set_title(unit, fontsize=10)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
