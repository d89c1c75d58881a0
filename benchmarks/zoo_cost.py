"""What a training step of each row of the zoo's tables costs beside the reference's."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks import step_cost, zoo
from benchmarks.measure import write
from benchmarks.zoo_rows import REFERENCE


def measure_costs(data: Sequence[str], rows: Sequence[str], turns: int, cache: Path, results: Path) -> None:
    """Times the steps of the tables' rows; ``zoo_{data}.json`` is written anew if there are runs.

    Args:
        data: Data sets; all that are there, if none.
        rows: Names of rows; all, if none. The reference is always among them.
        turns: How often each takes its steps.
        cache: Where encoded data and runs lie.
        results: Where the tables go.

    Raises:
        ValueError: An unknown data set or row.
    """
    for name, experiments in zoo.experiments(data, rows and [REFERENCE, *rows], cache).items():
        file = zoo.cost_file(cache, name)
        write(file, step_cost.read_costs(file) | step_cost.cost(experiments, REFERENCE, turns))
        if (cache / "zoo" / "runs" / name).is_dir():
            zoo.store(name, cache, results)
