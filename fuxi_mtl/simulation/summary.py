"""Summaries of simulated data: rates and means of each split, summed block by block."""

from collections import defaultdict

import numpy as np
import polars as pl


class FunnelSummary:
    """Rates of one split of the funnel, and how much inverse propensities have to work with."""

    def __init__(self) -> None:
        self._sums: defaultdict[str, float] = defaultdict(float)
        self._least, self._most = 1.0, 0.0

    def add(self, frame: pl.DataFrame) -> None:
        """Counts some rows in."""
        columns = {
            name: frame[name].to_numpy().astype(np.float64) for name in frame.columns if name != "tags"
        }
        click, outcome, propensity = columns["click"], columns["outcome_cvr"], columns["truth_ctr"]
        weights = click / propensity
        self._sums["rows"] += frame.height
        for name in ("click", "cart", "conversion", "outcome_cvr", "truth_ctr", "truth_cvr", "truth_ctcvr"):
            self._sums[name] += float(columns[name].sum())
        self._sums["clicked_truth_cvr"] += float((click * columns["truth_cvr"]).sum())
        self._sums["unclicked_outcome"] += float(((1 - click) * outcome).sum())
        self._sums["weights"] += float(weights.sum())
        self._sums["squared_weights"] += float((weights**2).sum())
        self._least = min(self._least, float(propensity.min()))
        self._most = max(self._most, float(propensity.max()))

    def result(self) -> dict[str, float | None]:
        """Numbers by name; None where there was no row to divide by."""
        sums = self._sums
        rows, clicks = sums["rows"], sums["click"]
        return {
            "rows": rows,
            "clicks_per_exposure": _ratio(clicks, rows),
            "carts_per_click": _ratio(sums["cart"], clicks),
            "conversions_per_click": _ratio(sums["conversion"], clicks),
            "conversions_per_exposure": _ratio(sums["conversion"], rows),
            "outcomes_per_exposure": _ratio(sums["outcome_cvr"], rows),
            "outcomes_per_unclicked_exposure": _ratio(sums["unclicked_outcome"], rows - clicks),
            "mean_truth_ctr": _ratio(sums["truth_ctr"], rows),
            "mean_truth_cvr": _ratio(sums["truth_cvr"], rows),
            "mean_truth_cvr_of_clicked": _ratio(sums["clicked_truth_cvr"], clicks),
            "mean_truth_ctcvr": _ratio(sums["truth_ctcvr"], rows),
            "least_propensity": self._least,
            "greatest_propensity": self._most,
            # (Σw)² / Σw² of w = 1 / P(click | x) over clicked rows, as a share of them.
            "effective_share_of_clicks": _ratio(sums["weights"] ** 2, clicks * sums["squared_weights"]),
        }


class RegressionSummary:
    """Moments of one split of the regressions."""

    def __init__(self) -> None:
        self._rows = 0
        self._sums, self._products = np.zeros(4), np.zeros((4, 4))

    def add(self, frame: pl.DataFrame) -> None:
        """Counts some rows in."""
        values = frame.select("y1", "y2", "truth_y1", "truth_y2").to_numpy().astype(np.float64)
        self._rows += len(values)
        self._sums += values.sum(0)
        self._products += values.T @ values

    def result(self) -> dict[str, float | None]:
        """Numbers by name."""
        means = self._sums / self._rows
        covariance = self._products / self._rows - np.outer(means, means)
        deviations = np.sqrt(np.diag(covariance))
        return {
            "rows": self._rows,
            "mean_y1": float(means[0]),
            "mean_y2": float(means[1]),
            "deviation_y1": float(deviations[0]),
            "deviation_y2": float(deviations[1]),
            "correlation_of_labels": _ratio(float(covariance[0, 1]), float(deviations[0] * deviations[1])),
        }


def _ratio(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None
