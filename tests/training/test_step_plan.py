"""How many rows a step has where nobody says it."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from fuxi_mtl.options import TrainingOptions
from fuxi_mtl.training.step_plan import StepPlan, rows_in_a_step


@pytest.mark.parametrize(
    ("rows", "expected"),
    [(10, 10), (63, 63), (64, 64), (13_000, 64), (18_101, 64), (18_102, 128), (50_000, 256), (144_815, 512),
     (144_816, 1024), (10**9, 1024)],
)  # fmt: skip
def test_auto_is_the_power_of_two_nearest_to_a_two_hundredth_of_the_rows(rows, expected):
    # The border between 64 and 128 is 200 * 2**6.5, that between 512 and 1024 is 200 * 2**9.5.
    assert rows_in_a_step("auto", rows) == expected


def test_a_size_that_is_named_is_taken_as_far_as_there_are_rows():
    assert rows_in_a_step(4096, 10**6) == 4096
    assert rows_in_a_step(4096, 1000) == 1000


def test_a_plan_says_what_auto_is_and_warns_of_a_named_size_beyond_the_rows(caplog):
    def plan(rows, **options):
        return StepPlan.of(rows, SimpleNamespace(training=replace(TrainingOptions(), **options)))

    with caplog.at_level("INFO"):
        assert plan(26_000).steps == 26_000 // 128 + 1
        assert plan(500, batch_size=1024).steps == 1
        assert plan(500, batch_size=100).steps == 5
    assert caplog.messages == [
        "batch_size: auto is 128 for 26,000 training rows.",
        "batch_size 1024: the training data have only 500 rows.",
    ]
