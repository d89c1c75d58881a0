"""Trainings that are interrupted and gone on with are those that were never interrupted, to the last bit."""

import pytest
from interrupting import assert_equal_runs, interrupted, run

SHORT = ("steps_per_execution=1", "eval_steps=4", "epochs=1", "batch_size=32", "save_best_only=false")


@pytest.mark.parametrize(
    ("expid", "settings"),
    [
        ("Toy", ()),
    ],
)
def test_a_training_that_goes_on_is_one_that_was_never_interrupted(tmp_path, expid, settings):
    settings = (*SHORT, *settings)
    whole = run(tmp_path / "whole", *settings, expid=expid)
    interrupted(tmp_path / "cut", 6, *settings, expid=expid)
    assert_equal_runs(whole, run(tmp_path / "cut", *settings, expid=expid, resume=True))
    assert not (tmp_path / "cut" / "toy" / expid / "seed_1.training").exists()
