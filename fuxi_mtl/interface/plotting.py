"""Pictures of runs for notebooks and papers, drawn on matplotlib's axes."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from fuxi_mtl.comparison import StoredRun
from fuxi_mtl.comparison import compare as tables_of
from fuxi_mtl.hints import among
from fuxi_mtl.interface.comparing import read_runs
from fuxi_mtl.report import diagnostics, run_page
from fuxi_mtl.report.pictures import histories, scores
from fuxi_mtl.report.pictures.panel import Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from fuxi_mtl.interface.run import Run

Runs = Any  # a run or its folder, or several of them


class Plots:
    """The pictures of the pages of ``compare`` and ``report``, as figures of matplotlib.

    Every method takes runs or their folders, one or several of one dataset, and gives a figure with all its
    panels. With ``only`` it is the panel of that name, on ``axes`` if they are given.

    ======================  ==========================================================================
    ``metrics``             each metric by experiment: a dot a seed, a bar at the mean
    ``history``             ``metrics``, ``losses`` or ``weights`` over steps
    ``roc``                 share of positives over that of negatives, by binary task
    ``precision_recall``    precision over recall, by binary task
    ``calibration``         share of positives over mean prediction, by binary task
    ``gates``               mean weight of each expert in each gate (``log_health_metrics: true``)
    ``conflict``            cosine of gradients over steps (``grad_diag_enabled: true``)
    ``groups``              metrics by the values of a column (``metrics_by``), of one run
    ======================  ==========================================================================

    Raises:
        ValueError: Something is no run, the runs are of several datasets, or hold nothing to draw.

    Example:
        >>> figure = fm.plot.history(run, "losses")
        >>> [axes.get_title(loc="left") for axes in figure.axes]
        ['ctr', 'cvr']
    """

    def metrics(self, runs: Runs, only: str = "", axes: "Axes | None" = None) -> "Figure":
        """Each metric by experiment: a dot for each seed, a bar at the mean."""
        (table,) = tables_of(_of_one_dataset(runs), resamples=0)
        return _drawn(histories.metrics_by_experiment(table), [r.expid for r in table.rows], only, axes)

    def history(
        self, runs: Runs, kind: str = "metrics", only: str = "", axes: "Axes | None" = None
    ) -> "Figure":
        """``metrics`` on validation, ``losses`` or ``weights`` over optimizer steps; weights that move."""
        if kind not in histories.KINDS:
            raise ValueError(f"plot.history: no {kind!r} is logged.{among(kind, histories.KINDS)}")
        stored = _of_one_dataset(runs)
        return _drawn(histories.over_steps(stored, kind, _expids(stored)), _expids(stored), only, axes)

    def roc(self, runs: Runs, only: str = "", axes: "Axes | None" = None) -> "Figure":
        """Share of positives above a threshold over that of negatives, on test rows."""
        return _of_scores(runs, 0, only, axes)

    def precision_recall(self, runs: Runs, only: str = "", axes: "Axes | None" = None) -> "Figure":
        """Precision over recall, on test rows."""
        return _of_scores(runs, 1, only, axes)

    def calibration(self, runs: Runs, only: str = "", axes: "Axes | None" = None) -> "Figure":
        """Share of positives over mean prediction in ten bins of equally many test rows."""
        return _of_scores(runs, 2, only, axes)

    def gates(self, runs: Runs, only: str = "", axes: "Axes | None" = None) -> "Figure":
        """Mean weight of each expert in each gate at the end of training, of each experiment's first seed."""
        return _diagnosed(runs, diagnostics.GATES, only, axes)

    def conflict(self, runs: Runs, only: str = "", axes: "Axes | None" = None) -> "Figure":
        """Cosine of the gradients of two objectives over steps, and the band of its middle 80%."""
        return _diagnosed(runs, diagnostics.COSINE, only, axes)

    def groups(self, run: "Run | str | Path", only: str = "", axes: "Axes | None" = None) -> "Figure":
        """The metrics of each value of the column that the stanza's ``metrics_by`` names."""
        (stored,) = read_runs(run, "plot.groups")
        return _drawn(run_page.metrics_by(stored), [stored.expid], only, axes)


plot = Plots()


def _of_one_dataset(runs: Runs) -> list[StoredRun]:
    stored = read_runs(runs, "plot")
    datasets = dict.fromkeys(run.dataset_id for run in stored)
    if len(datasets) != 1:
        raise ValueError(
            f"plot: runs of one dataset are drawn together, not of {', '.join(datasets) or 'none'}."
        )
    return stored


def _expids(stored: Sequence[StoredRun]) -> list[str]:
    return list(dict.fromkeys(run.expid for run in stored))


def _of_scores(runs: Runs, place: int, only: str, axes: "Axes | None") -> "Figure":
    stored = _of_one_dataset(runs)
    split = "test" if any(run.metrics["test"] for run in stored) else "valid"
    picture = scores.pictures(stored, _expids(stored), split, all_seeds=True)[place]
    return _drawn(picture, _expids(stored), only, axes)


def _diagnosed(runs: Runs, heading: str, only: str, axes: "Axes | None") -> "Figure":
    stored = _of_one_dataset(runs)
    (picture,) = [each for each in diagnostics.pictures(stored, _expids(stored)) if each.heading == heading]
    return _drawn(picture, _expids(stored), only, axes)


def _drawn(picture: Picture, expids: Sequence[str], only: str, axes: "Axes | None") -> "Figure":
    from fuxi_mtl.report.pictures import axes as on_axes  # matplotlib loads for a second

    titles = [panel.title for panel in picture.panels]
    if not titles:
        raise ValueError(f"plot: the runs hold nothing for {picture.heading!r}.")
    if only and only not in titles:
        raise ValueError(f"plot: {picture.heading!r} has no panel {only!r}.{among(only, titles)}")
    if axes is not None and not only:
        raise ValueError(f"plot: axes take one panel: give only one of {', '.join(titles)}.")
    panels = [panel for panel in picture.panels if not only or panel.title == only]
    if axes is None:
        return on_axes.figure_of(panels, expids)
    return cast("Figure", on_axes.draw(panels[0], expids, axes).figure)
