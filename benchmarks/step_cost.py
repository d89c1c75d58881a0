"""What a training step of one network costs beside another's.

All networks live in one process and take a few steps each in turns: what slows the machine down meanwhile
slows all of them alike, and ratios are taken turn by turn.
"""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.measure import rounded
from benchmarks.runner import Summary, quotient
from fuxi_mtl.config import Experiment

STEPS = 4  # in one call of the graph
CALLS = 2  # in a turn
WARM = 2  # turns before the clock is read
ENDLESS = 10**6  # passes over the data


def cost(
    experiments: Mapping[str, Experiment],
    reference: str,
    turns: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, dict[str, Any]]:
    """By name, the seconds of its steps over the reference's: median, least, greatest and every turn.

    Args:
        experiments: By name; the reference is among them.
        reference: The one whose cost is one.
        turns: How often each takes its steps.
        clock: What tells seconds; ``time.process_time`` tells those of the processor, which depend less on
            what else the machine does.
    """
    import keras

    from fuxi_mtl.training.devices import use_devices
    from fuxi_mtl.training.precision import use_precision

    use_devices([-1])
    use_precision("float32")
    keras.utils.clear_session()
    steps = {}
    for name, experiment in experiments.items():
        print(f"cost: {name}", flush=True)
        steps[name] = stepper(experiment)
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(WARM + turns):
        for name, take in steps.items():
            start = clock()
            for _ in range(CALLS):
                take()
            if turn >= WARM:
                seconds[name].append(clock() - start)
    one = Summary.of(seconds[reference])
    found = {name: quotient(Summary.of(each), one) for name, each in seconds.items()}
    return {
        name: Summary.of([rounded(ratio) for ratio in each.rounds]).plain() for name, each in found.items()
    }


def stepper(experiment: Experiment) -> Callable[[], object]:
    """A function that takes :data:`STEPS` training steps of an experiment, and returns the means so far."""
    import keras

    from fuxi_mtl.dataset import load_dataset, training_batches
    from fuxi_mtl.objectives.imbalance import Imbalance
    from fuxi_mtl.training.bilevel import beside, rows_of_both
    from fuxi_mtl.training.decoding import fit_decoders
    from fuxi_mtl.training.loop import steps_at_once
    from fuxi_mtl.training.step_plan import StepPlan
    from fuxi_mtl.training.train import compile_model
    from fuxi_mtl.workflow.experiment import make_model

    training = experiment.training
    dataset = load_dataset(
        experiment.dataset, experiment.tasks, experiment.options.dataset_id, progress=False
    )
    keras.utils.set_random_seed(training.seed)
    model = make_model(experiment, dataset.feature_map)
    split, bilevel_rows = rows_of_both(model, dataset, experiment)
    plan = StepPlan.of(split.rows, experiment)

    def batches(epochs: int):
        return training_batches(split, experiment.tasks, plan.batch_size, epochs=epochs, seed=training.seed)

    model.imbalance = Imbalance(experiment.imbalance)
    labels = split.labels(experiment.tasks)
    model.prepare(labels, batches)
    if model.decoders:
        fit_decoders(model, labels, split.numeric)
    compile_model(model, experiment, plan, labels)
    model.steps_per_execution = STEPS
    trained_on = batches(ENDLESS)
    if bilevel_rows is not None:
        trained_on = beside(trained_on, bilevel_rows, experiment, plan.batch_size)
    take, iterator = steps_at_once(model), iter(trained_on)

    return lambda: {name: float(value) for name, value in take(iterator).items()}


def read_costs(file: Path) -> dict[str, Any]:
    """What :func:`cost` found, as it was written; empty if it was not measured."""
    return json.loads(file.read_text()) if file.exists() else {}
