"""Several runs one after the other, of which one may fail without taking the others with it."""

import logging
import traceback
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from fuxi_mtl.config import Experiment

logger = logging.getLogger(__name__)

Done = TypeVar("Done")


class SweepError(RuntimeError):
    """Some of several runs failed; the others are whole.

    Attributes:
        runs: Those that are whole, in their order.
        failures: Why the others are not, by ``(expid, seed)``.

    Example:
        >>> failed = fm.SweepError(["whole"], {("MMoE", 7): ValueError("no room")})
        >>> failed.runs
        ['whole']
        >>> print(failed)
        1 of 2 runs failed; the others are whole:
          MMoE, seed 7: no room
    """

    def __init__(self, runs: Sequence[Any], failures: dict[tuple[str, int], Exception], again: str = ""):
        total = len(runs) + len(failures)
        heading = f"{len(failures)} of {total} runs failed; the others are whole{again}:"
        if not runs:
            heading = f"all {total} runs failed:"
        reasons = (f"  {expid}, seed {seed}: {error}" for (expid, seed), error in failures.items())
        super().__init__("\n".join([heading, *reasons]))
        self.runs, self.failures = list(runs), failures


def sweep(
    experiments: Sequence[Experiment],
    run: Callable[[Experiment], Done],
    again: str = "",
    goes_on: bool = True,
) -> list[Done]:
    """Runs experiments one by one, and goes on after one that failed.

    Args:
        experiments: What to run, each with its seed.
        run: Runs one.
        again: What :class:`SweepError` says of running those that failed once more.
        goes_on: Whether to go on after one that failed; its own error ends all otherwise.

    Raises:
        SweepError: Some failed, of several; a single one fails with its own error.
    """
    runs: list[Done] = []
    failures: dict[tuple[str, int], Exception] = {}
    for experiment in experiments:
        try:
            runs.append(run(experiment))
        except Exception as error:
            if len(experiments) == 1 or not goes_on:
                raise
            name = (experiment.expid, experiment.training.seed)
            log = logger.error if isinstance(error, (ValueError, OSError)) else logger.exception
            log("%s, seed %d failed: %s", *name, error)
            let_go(error)
            failures[name] = error
    if failures:
        raise SweepError(runs, failures, again)
    return runs


def let_go(error: BaseException | None) -> None:
    """Frees what the functions held that an error came through, such as models, while others are trained."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
