"""Sweeps: one that fails does not take the others with it."""

from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from fuxi_mtl.workflow.sweep import SweepError, sweep


@dataclass
class Planned:
    """As much of an experiment as a sweep looks at."""

    expid: str
    seed: int
    training: SimpleNamespace = field(init=False)

    def __post_init__(self):
        self.training = SimpleNamespace(seed=self.seed)


ALL = [Planned(expid, seed) for expid in ("A", "B") for seed in (1, 2)]


def failing(*names, error=ValueError):
    def run(planned):
        if (planned.expid, planned.seed) in names:
            raise error(f"no {planned.expid}")
        return f"{planned.expid}{planned.seed}"

    return run


def test_runs_come_in_their_order():
    assert sweep(ALL, failing()) == ["A1", "A2", "B1", "B2"]


def test_a_failed_run_stops_no_other_and_is_told_at_the_end(caplog):
    with pytest.raises(SweepError) as found:
        sweep(ALL, failing(("A", 2), ("B", 1)), ", and so on")
    error = found.value
    assert str(error).splitlines() == [
        "2 of 4 runs failed; the others are whole, and so on:",
        "  A, seed 2: no A",
        "  B, seed 1: no B",
    ]
    assert error.runs == ["A1", "B2"]
    assert {name: str(each) for name, each in error.failures.items()} == {("A", 2): "no A", ("B", 1): "no B"}
    assert "A, seed 2 failed: no A" in caplog.text
    assert "Traceback" not in caplog.text


def test_what_nobody_explained_has_its_traceback_in_the_log(caplog):
    with pytest.raises(SweepError, match=r"^1 of 4 runs failed"):
        sweep(ALL, failing(("A", 1), error=ZeroDivisionError))
    assert "Traceback" in caplog.text


def test_when_all_fail_that_is_said():
    with pytest.raises(SweepError, match=r"^all 2 runs failed:\n  A, seed 1: no A\n  A, seed 2: no A$"):
        sweep(ALL[:2], failing(("A", 1), ("A", 2)))


def test_a_single_run_fails_with_its_own_error():
    with pytest.raises(ValueError, match=r"^no A$"):
        sweep(ALL[:1], failing(("A", 1)))


def test_ctrl_c_ends_a_sweep():
    with pytest.raises(KeyboardInterrupt):
        sweep(ALL, failing(("A", 2), error=KeyboardInterrupt))


def test_what_a_failed_run_held_is_free():
    class Table:
        alive = 0

        def __init__(self):
            Table.alive += 1

        def __del__(self):
            Table.alive -= 1

    def run(planned):
        table = Table()
        try:
            raise KeyError(table.alive)
        except KeyError as error:
            raise ValueError("no") from error

    with pytest.raises(SweepError):
        sweep(ALL, run)
    assert Table.alive == 0
