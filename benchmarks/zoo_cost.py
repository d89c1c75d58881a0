"""What a training step of each row of the zoo's tables costs beside the reference's.

All networks live in one process and take a few steps each in turns: what slows the machine down meanwhile
slows all of them alike, and ratios are taken turn by turn.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import zoo
from benchmarks.measure import rounded, write
from benchmarks.runner import Summary, quotient
from benchmarks.zoo_rows import REFERENCE
from fuxi_mtl.config import Experiment

STEPS = 4  # in one call of the graph
CALLS = 2  # in a turn
WARM = 2  # turns before the clock is read
ENDLESS = 10**6  # passes over the data


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
    from fuxi_mtl.training.devices import use_devices, use_precision

    use_devices([-1])
    use_precision("float32")
    for name, experiments in zoo.experiments(data, rows and [REFERENCE, *rows], cache).items():
        known = zoo.read_cost(cache, name)
        write(zoo.cost_file(cache, name), known | cost(experiments, turns))
        if (cache / "zoo" / "runs" / name).is_dir():
            zoo.store(name, cache, results)


def cost(experiments: Mapping[str, Experiment], turns: int) -> dict[str, dict[str, Any]]:
    """By row, the seconds of its steps over the reference's: median, least, greatest and every turn.

    Args:
        experiments: By row, on one data set; the reference is among them.
        turns: How often each takes its steps.
    """
    import keras

    keras.utils.clear_session()
    steps = {}
    for name, experiment in experiments.items():
        print(f"cost: {name}", flush=True)
        steps[name] = stepper(experiment)
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(WARM + turns):
        for name, take in steps.items():
            start = time.perf_counter()
            for _ in range(CALLS):
                take()
            if turn >= WARM:
                seconds[name].append(time.perf_counter() - start)
    reference = Summary.of(seconds[REFERENCE])
    found = {name: quotient(Summary.of(each), reference) for name, each in seconds.items()}
    return {
        name: Summary.of([rounded(ratio) for ratio in each.rounds]).plain() for name, each in found.items()
    }


def stepper(experiment: Experiment) -> Callable[[], object]:
    """A function that takes :data:`STEPS` training steps of an experiment, and returns the means so far."""
    import keras

    from fuxi_mtl.dataset import load_dataset, training_batches
    from fuxi_mtl.objectives.imbalance import Imbalance
    from fuxi_mtl.training.bilevel import beside, rows_of_both
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
    model.prepare(split.labels(experiment.tasks), batches)
    compile_model(model, experiment, plan)
    model.steps_per_execution = STEPS
    trained_on = batches(ENDLESS)
    if bilevel_rows is not None:
        trained_on = beside(trained_on, bilevel_rows, experiment, plan.batch_size)
    model.make_train_function()
    iterator = iter(trained_on)

    return lambda: {name: float(value) for name, value in model.train_function(iterator).items()}
