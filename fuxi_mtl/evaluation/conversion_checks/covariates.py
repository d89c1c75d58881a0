"""Balance of covariates between two groups of rows."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from fuxi_mtl.metrics import largest_gaps

NAN = float("nan")
BALANCED = 0.1  # an |SMD| below this counts as balanced


@dataclass(frozen=True)
class Balance:
    """One covariate under several weightings of the rows.

    Attributes:
        name: The covariate.
        smd: Standardised mean difference, by weighting.
        ks: Two-sample KS statistic, by weighting.
    """

    name: str
    smd: tuple[float, ...]
    ks: tuple[float, ...]


def balance(
    covariates: Iterable[tuple[str, np.ndarray]],
    treated: ArrayLike,
    weightings: Sequence[np.ndarray | None],
) -> list[Balance]:
    """Standardised mean difference and KS statistic of each covariate under each weighting.

    ::

        SMD = (mean_T - mean_C) / sqrt((var_T + var_C) / 2)
        D   = max_t |F_T(t) - F_C(t)|,      F(t) = sum_i w_i [x_i <= t] / sum_i w_i

    Means and F are weighted, the variances those of the unweighted rows (n - 1): the ruler stays the same
    before and after weighting. SMD is 0 where nothing varies and the means agree, NaN where nothing varies
    and they differ, or a group has no weight. D is taken at the distinct values, and there is no p-value: at
    a million rows it rejects any difference, whatever its size. A covariate is sorted once, whatever the
    number of weightings; one of two values is not sorted at all.

    Args:
        covariates: Names and ``(rows,)`` values; may be a generator.
        treated: ``(rows,)`` booleans.
        weightings: Each ``(rows,)`` weights, or None for none.

    Raises:
        ValueError: No row or all rows are treated, or a weighting has another length.

    Reference:
        Austin, Multivariate Behavioral Research 46, 2011; |SMD| < 0.1 is the customary rule.
    """
    treated = np.asarray(treated, bool)
    if treated.all() or not treated.any():
        raise ValueError(
            f"balance compares two groups; {int(treated.sum())} of {len(treated)} rows are treated."
        )
    if any(weights is not None and len(weights) != len(treated) for weights in weightings):
        raise ValueError(f"a weighting must have one weight for each of the {len(treated)} rows.")
    masses = [_mass(treated, weights) for weights in weightings]
    found = []
    for name, given in covariates:
        values = np.asarray(given, np.float64)
        spread = _variance(values[treated]), _variance(values[~treated])
        differences = [float(mass @ values) for mass in masses]
        low, high = values.min(), values.max()
        if ((values == low) | (values == high)).all():
            gaps = [abs(d) / (high - low) if high > low else 0.0 for d in differences]
        else:
            gaps = largest_gaps(values, masses)
        smd = tuple(_standardised(each, *spread) for each in differences)
        found.append(Balance(name, smd, tuple(gaps)))
    return found


def _mass(treated: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """Each row's share of its group, negative for the controls."""
    mass = np.empty(len(treated))
    for group, sign in ((treated, 1), (~treated, -1)):
        mass[group] = sign * _shares(int(group.sum()), None if weights is None else weights[group])
    return mass


def _shares(size: int, weights: ArrayLike | None) -> np.ndarray:
    if weights is None:
        return np.full(size, 1 / size if size else NAN)
    given = np.asarray(weights, np.float64)
    total = given.sum()
    return given / total if total > 0 else np.full(size, NAN)


def _variance(values: np.ndarray) -> float:
    return float(values.var(ddof=1)) if len(values) > 1 else 0.0


def _standardised(difference: float, treated_variance: float, control_variance: float) -> float:
    ruler = np.sqrt((treated_variance + control_variance) / 2)
    if ruler > 0:
        return float(difference / ruler)
    return 0.0 if difference == 0 else NAN
