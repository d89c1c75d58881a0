"""What a step costs beside another's: steps of whole experiments, in turns."""

import math
from dataclasses import replace

from benchmarks import step_cost
from fuxi_mtl.config import load_experiment
from fuxi_mtl.registry import import_zoo

import_zoo()


def test_costs_are_ratios_to_the_reference_turn_by_turn(monkeypatch):
    clock = iter(range(1000))
    taken = []

    def stepper(of):
        return lambda: taken.append(of)

    monkeypatch.setattr(step_cost, "stepper", stepper)
    monkeypatch.setattr(step_cost, "WARM", 0)
    found = step_cost.cost({"PLE": "a", "MMoE": "b"}, "MMoE", turns=2, clock=lambda: next(clock) ** 2)
    assert taken == ["a", "a", "b", "b"] * 2
    # The clock shows squares: a step from n to n + 1 takes 2 n + 1.
    assert found["PLE"]["rounds"] == (0.2, 0.69231)  # 1 / 5, 9 / 13
    assert (found["PLE"]["low"], found["PLE"]["high"]) == (0.2, 0.69231)
    assert found["MMoE"]["rounds"] == (1, 1)


def test_a_stepper_trains_on_training_and_validation_batches_as_a_run_does():
    found = load_experiment("config", "M3oE_test")
    steps = step_cost.stepper(replace(found, training=replace(found.training, batch_size=64)))
    first, *_, last = [steps()["loss"] for _ in range(12)]
    assert math.isfinite(first)
    assert last < first
