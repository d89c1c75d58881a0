"""Small trainings of every model, weighting and surgery, to be held against each other after some steps.

The last batch of each pass has one row, which leaves the first or the last of several replicas without any.
"""

import contextlib
import random
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

SIZES = (32, 32, 32, 1)  # rows of the batches of a pass
RATE = 0.1
COLLECTIVES = {"CollectiveReduceV2": "sums", "CollectiveGatherV2": "gathers"}
LEAST = 1e-2  # a difference is held against the largest weight of its variable, or this
TESTS = Path(__file__).parent.parent / "tests"  # where the small features and sizes are


@dataclass(frozen=True)
class Case:
    """One training.

    Attributes:
        name: Of its row.
        model: Name of the model.
        weighting: ``loss_weight``.
        surgery: Options of surgery and its method, by key.
        optimizer: Options of the optimizer, by key.
        options: Of the model, beside its small sizes.
        imbalance: Options of rare positives, by key.
        precision: Keras's dtype policy.
        batch_norm: ``batch_norm_statistics``.
        classes: Whether there is a task of classes, too.
    """

    name: str
    model: str = "ShareBottom"
    weighting: str = "EQ"
    surgery: Mapping[str, Any] = field(default_factory=dict)
    optimizer: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    imbalance: Mapping[str, Any] = field(default_factory=dict)
    precision: str = "float32"
    batch_norm: str = "global"
    classes: bool = False


def cases() -> dict[str, list[Case]]:
    """Every model, weighting and surgery, and what else looks at a whole batch, by title of their table."""
    small()
    from fuxi_mtl import registry
    from fuxi_mtl.options import SURGERIES, WEIGHTINGS

    # Of every mode of surgery one method, and of every method the first of its modes.
    modes = [("mgda", "last_layer"), ("pcgrad", "full"), ("nash", "full"), ("moco", "full")]
    surgeries = {each.name: each.load().modes[0] for each in SURGERIES.members if each.target is not None}
    # Each replica draws for elements of its own rows.
    own = {"graddrop": {"graddrop_signs": "batch"}}
    quiet = {"enabled": True, "noise_std": 0.0, "load_balance_kl_weight": 0.1, "entropy_reg_weight": 0.1}
    trimmed = {"percentile": "winsorise", "lower_percentile": 5, "upper_percentile": 80, "momentum": 0.5}
    of_rows = {"rows": {"columns": {"history": "item"}, "encoder": "din"}}
    aside = {"rows": {"columns": {"history": "item"}, "encoder": {"type": "transformer", "heads": 1}}}
    aside["rows"]["encoder"]["pooling"] = "concat"
    few = {"shared_experts": 1, "own_experts": 1, "balance": 0.5}
    regular = {"embedding_regularizer": 0.05, "net_regularizer": 0.01}
    return {
        "models": [Case(name, name) for name in registry.names()],
        "weightings": [Case(m.name, weighting=m.name) for m in WEIGHTINGS.members if m.name != "manual"],
        "surgeries": [
            *(
                Case(name, surgery={"surgery": name, "surgery_mode": mode, **own.get(name, {})})
                for name, mode in surgeries.items()
            ),
            *(Case(f"{n}, {mode}", surgery={"surgery": n, "surgery_mode": mode}) for n, mode in modes),
        ],
        "optimizers": [
            Case("penalties of rows and kernels", options=regular),
            Case("clipped by the global norm", optimizer={"max_gradient_norm": 0.05}, options=regular),
            Case("Adagrad of rows", optimizer={"embedding_optimizer": "adagrad"}),
            Case("Adagrad of a number a row", optimizer={"embedding_optimizer": "rowwise_adagrad"}),
            Case(
                "Adagrad, sums of squares",
                optimizer={"embedding_optimizer": "adagrad", "embedding_second_moment": "sum_of_squares"},
            ),
            Case("lazy Adam of rows", optimizer={"embedding_optimizer": "adam"}),
            Case("dense-equivalent Adam", optimizer={"embedding_optimizer": "dense_equivalent_adam"}),
            Case("float16, scaled losses", precision="mixed_float16"),
        ],
        "batches": [
            Case("batch norm", options={"batch_norm": True}),
            Case("batch norm, mgda", options={"batch_norm": True}, surgery={"surgery": "mgda"}),
            Case("balanced gates", "MMoE", options={"gate_stabilize": quiet}),
            Case("few experts a row", "MMoE", options={"sparse_routing": few}),
            Case("histories under DIN with Dice", options={"sequences": of_rows}),
            Case("histories side by side", "ESMM", options={"sequences": aside}),
            Case("weighted by propensity percentiles", "ESCM2_DR", options={"ipw": trimmed}),
            Case("self-normalised", "ESCM2_DR", options={"ipw": {"self_normalised": True}}),
            Case("stabilised", "ESCM2_IPS", options={"ipw": {"stabilised": True}}),
            Case("positives weighted by the batch", imbalance={"pos_weight_dynamic": True}),
            Case("turns with batch norm", "DRJL", options={"batch_norm": True}),
            Case("a task of classes", classes=True),
        ],
    }


def chosen(only: Sequence[str]) -> list[tuple[str, Case]]:
    """The cases whose name has one of some parts, each with the title of its table; all if there are none."""
    return [
        (title, case)
        for title, several in cases().items()
        for case in several
        if not only or any(part in case.name for part in only)
    ]


def apart(one: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> float:
    """The largest difference of a weight, over the largest one of its variable; NaN if one is NaN."""
    return float(
        np.max(
            [
                np.abs(np.float64(a) - np.float64(b)).max() / np.maximum(np.abs(a).max(), LEAST)
                for a, b in zip(one, other, strict=True)
                if a.size
            ]
        )
    )


def logs_apart(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    """The largest difference of a number in the log, over itself; NaN if one is NaN."""
    return float(np.max([abs(other[name] - one[name]) / max(abs(one[name]), LEAST) for name in one]))


class Training:
    """A small model and its batches, on one replica or on those of a strategy.

    Args:
        case: Which one.
        strategy: Whose replicas; one replica without it.
        backwards: Whether each batch has its rows in reverse, which changes rounding alone.
        traced: Whether a step is a graph, which takes longer to make than a few steps take without.
    """

    def __init__(self, case: Case, strategy: Any = None, backwards: bool = False, traced: bool = True):
        import keras

        from fuxi_mtl import registry
        from fuxi_mtl.tasks import Task
        from fuxi_mtl.training.loop import Position
        from fuxi_mtl.training.state.training_state import TrainingState

        tiny = small()
        self._strategy = strategy
        model = registry.model(case.model)
        tasks = tiny.named_plan(model)
        if case.classes:
            options = (("classes", ("no", "yes")),)
            tasks = (*tasks, Task("act", ("cart",), kind="classes", decoder_options=options))
        rows = sum(SIZES)
        events = tiny.events(rows, seed=3)
        weights = np.random.default_rng(0).uniform(0.5, 2.0, rows).astype(np.float32)
        labels = {task.name: task.label(events) for task in tasks}
        self._given = (tiny.inputs(rows, seed=3), labels, weights)
        self._columns = self._ordered(backwards)
        keras.config.set_dtype_policy(case.precision)
        try:
            with contextlib.nullcontext() if strategy is None else strategy.scope():
                random.seed(1)  # Keras draws all seeds from here
                self.model = model(tiny.FEATURES, tasks, **tiny.options_of(model) | dict(case.options))
                self.model.build()
                self._check_quiet()
                self._compile(case)
            self._step = self._graph() if traced else self._taken
        finally:
            keras.config.set_dtype_policy("float32")
        state = TrainingState(self.model, Position(), {})
        self._start = [(p, at, p.read(at).copy()) for p in state.parts().values() for at in p.chunks()]

    def _ordered(self, backwards: bool) -> Any:
        import tensorflow as tf

        order = [
            np.arange(end - size, end)[:: -1 if backwards else 1]
            for end, size in zip(np.cumsum(SIZES), SIZES, strict=True)
        ]
        return tf.nest.map_structure(lambda column: column[np.concatenate(order)], self._given)

    def _check_quiet(self) -> None:
        import keras

        for layer in self.model._flatten_layers():
            drawn = isinstance(layer, keras.layers.Dropout) and layer.rate
            if drawn or (isinstance(layer, keras.layers.GaussianNoise) and layer.stddev):
                raise ValueError(f"{layer.path} draws for each row, which alone makes two trainings differ.")

    def _compile(self, case: Case) -> None:
        import keras

        from fuxi_mtl.objectives.imbalance import Imbalance
        from fuxi_mtl.optimizers import make_optimizer
        from fuxi_mtl.options import (
            SURGERIES,
            ImbalanceOptions,
            OptimizerOptions,
            SurgeryOptions,
            WeightingOptions,
        )
        from fuxi_mtl.surgery import make_surgery
        from fuxi_mtl.weighting import make_weighting

        model, imbalance = self.model, Imbalance(ImbalanceOptions(**case.imbalance))
        model.imbalance = imbalance
        kinds = {objective.name: objective.kind for objective in model.training_objectives()}
        optimizer = make_optimizer(
            OptimizerOptions(
                optimizer="sgd", learning_rate=RATE, **{"max_gradient_norm": 0, **case.optimizer}
            )
        )
        if case.precision == "mixed_float16":
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        of_methods = SURGERIES.keys()
        own = {key: value for key, value in case.surgery.items() if key in of_methods}
        asked = {key: value for key, value in case.surgery.items() if key not in own}
        model.compile(
            optimizer,
            make_weighting(WeightingOptions(loss_weight=case.weighting), kinds, epoch_steps=2),
            imbalance,
            make_surgery(SurgeryOptions(**asked), kinds, own=own),
            keras.optimizers.SGD(RATE) if model.bilevel_variables() else None,
            batch_norm_statistics=case.batch_norm,
        )

    def _graph(self) -> Any:
        import tensorflow as tf

        signature = [self._batches(1).element_spec]  # of any number of rows: one graph
        return tf.function(self._taken, signature, autograph=False)

    def restart(self, backwards: bool = False) -> None:
        """Sets all numbers to what they were before the first step, whose graph stays.

        Args:
            backwards: Whether each batch has its rows in reverse from now on.
        """
        for part, chunk, values in self._start:
            part.write(chunk, values)
        self._columns = self._ordered(backwards)

    def run(self, steps: int) -> dict[str, float]:
        """The means over some steps, as they are logged."""
        logs: Mapping[str, Any] = {}
        iterator = self._batches(steps)
        for _ in range(steps):
            logs = self._step(next(iterator))
        first = (lambda x: x) if self._strategy is None else self._first
        return {name: float(first(value)) for name, value in logs.items()}

    def weights(self) -> list[np.ndarray]:
        """Of all variables but the states of generators."""
        self.model.apply_deferred_updates()
        return [v.numpy() for v in self.model.variables if "seed" not in v.path]

    def collectives(self) -> dict[str, int]:
        """How many collective operations a replica has in the graph of a step, by their kind."""
        graph = self._step.get_concrete_function().graph.as_graph_def()
        nodes = [*graph.node, *(node for each in graph.library.function for node in each.node_def)]
        replicas = self._strategy.num_replicas_in_sync
        return {name: sum(node.op == op for node in nodes) // replicas for op, name in COLLECTIVES.items()}

    def _taken(self, batch: Any) -> Any:
        if self._strategy is None:
            return self.model.train_step(batch)
        return self._strategy.run(self.model.train_step, args=(batch,))

    def _first(self, value: Any) -> Any:
        return self._strategy.experimental_local_results(value)[0]

    def whole_batches(self, steps: int) -> Any:
        """The batches of all replicas, as a dataset."""
        return _dataset(self._columns, steps, pairs=self.model.bilevel_optimizer is not None)

    def _batches(self, steps: int) -> Any:
        import tensorflow as tf

        batches = self.whole_batches(steps)
        if self._strategy is not None:
            options = tf.data.Options()
            options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
            batches = self._strategy.experimental_distribute_dataset(batches.with_options(options))
        return iter(batches)


def _dataset(columns: Any, steps: int, pairs: bool) -> Any:
    """Batches of :data:`SIZES`, pass after pass; with `pairs`, each beside itself."""
    import tensorflow as tf

    def taken(rows: slice) -> Any:
        # TensorFlow may write over a slice of what it is given: each batch has memory of its own.
        return tf.nest.map_structure(lambda column: column[rows].copy(), columns)

    def generated() -> Iterable[Any]:
        for number in range(steps):
            place = number % len(SIZES)
            rows = slice(sum(SIZES[:place]), sum(SIZES[: place + 1]))
            yield (taken(rows), taken(rows)) if pairs else taken(rows)

    spec = tf.nest.map_structure(lambda c: tf.TensorSpec([None, *c.shape[1:]], c.dtype), columns)
    return tf.data.Dataset.from_generator(generated, output_signature=(spec, spec) if pairs else spec)


def small() -> Any:
    """The small features and sizes of the tests."""
    if str(TESTS) not in sys.path:
        sys.path.append(str(TESTS))
    import tiny

    from fuxi_mtl.registry import import_zoo

    import_zoo()
    return tiny
