"""Fused scores beside every single score, on rows that no weight was chosen on."""

from collections.abc import Mapping, Sequence

import numpy as np

from fuxi_mtl.comparison import Cell, Difference, Row, Table
from fuxi_mtl.comparison.bootstrap import interval, replicates, resampling
from fuxi_mtl.comparison.table import Transfer
from fuxi_mtl.fusion.objective import FusionObjective

OBJECTIVE = "objective"
_LEVEL = 0.95


def report(
    dataset_id: str,
    seed: int,
    valid: FusionObjective,
    test: FusionObjective,
    singles: Mapping[str, tuple[np.ndarray, np.ndarray]],
    fused: Mapping[str, tuple[np.ndarray, np.ndarray]],
    groups: np.ndarray | None,
    *,
    notes: Sequence[str] = (),
    seconds: Mapping[str, float] | None = None,
    resamples: int = 1000,
) -> Table:
    """A row for every score: the parts of the objective on the test rows, and the differences to a baseline.

    The baseline is the single score with the best objective on the validation rows. Intervals are of a paired
    bootstrap over requests: all scores see the same resamples.

    Args:
        dataset_id: For the title.
        seed: Of the run.
        valid: The measures on validation rows.
        test: The measures on test rows.
        singles: Scores on validation and test rows, by task.
        fused: The same of fusions, by name.
        groups: Request of each test row.
        notes: What a reader must know.
        seconds: What it took to find a fusion's weights, by name.
        resamples: Number of resamples.
    """
    by_name = {**singles, **fused}
    chosen = {name: valid(scores[0]) for name, scores in singles.items()}
    baseline = max(chosen, key=lambda name: -np.inf if np.isnan(chosen[name]) else chosen[name])
    drawn = resampling(len(by_name[baseline][1]), groups, resamples)
    columns = (*test.coefficients, OBJECTIVE)
    values: dict[str, dict[str, float]] = {}
    samples: dict[str, dict[str, np.ndarray]] = {}
    for name, (_, scores) in by_name.items():
        parts = test.values(scores)
        values[name] = {**parts, OBJECTIVE: test.total(parts)}
        resampled = replicates(test.statistics(scores), drawn)
        samples[name] = {**resampled, OBJECTIVE: test.total(resampled)}
    rows = [
        Row(
            name,
            "fusion" if name in fused else "single score",
            (seed,),
            {column: _cell(values[name][column], seed) for column in columns},
            {}
            if name == baseline
            else {
                column: _difference(
                    values[name][column] - values[baseline][column],
                    samples[name][column] - samples[baseline][column],
                    seed,
                )
                for column in columns
            },
            Transfer(),
            None,
            (seconds or {}).get(name),
            None,
        )
        for name in by_name
    ]
    return Table(
        dataset_id=dataset_id,
        split="test",
        columns=columns,
        rows=tuple(rows),
        best={column: _best(values, column) for column in columns},
        baseline=baseline,
        single_task=None,
        level=_LEVEL,
        resampled=f"{resamples:,} resamples of the {drawn.surplus.shape[1]:,} "
        + ("test rows" if groups is None else "groups of test rows"),
        notes=tuple(notes),
        runs=(),
    )


def _cell(value: float, seed: int) -> Cell:
    return Cell({}, "not defined on these rows") if np.isnan(value) else Cell({seed: value})


def _best(values: Mapping[str, Mapping[str, float]], column: str) -> frozenset[str]:
    top = max((found[column] for found in values.values() if not np.isnan(found[column])), default=None)
    return frozenset(name for name, found in values.items() if found[column] == top)


def _difference(value: float, samples: np.ndarray, seed: int) -> Difference:
    ends = None if np.isnan(value) else interval(samples, _LEVEL)
    if ends is None:
        return Difference(value, seeds=(seed,), reason="not defined on enough resamples")
    return Difference(value, *ends, (seed,))
