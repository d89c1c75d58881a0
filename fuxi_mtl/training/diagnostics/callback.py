"""Measurements at some steps of a training, and their lines in the log."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras

from fuxi_mtl.options import DiagnosticsOptions
from fuxi_mtl.training.diagnostics.conflict import GradientConflict
from fuxi_mtl.training.diagnostics.gates import GateHealth
from fuxi_mtl.training.diagnostics.gradients import Batch, GradientProducts

logger = logging.getLogger(__name__)

GATE_TARGET = 100  # times that gates are looked at: what they choose moves slowly


class Diagnostics(keras.callbacks.Callback):
    """Gradient conflict and gate health over a training, which they do not change.

    Keras calls back when a call of the graph ends, which may stand for several steps: a measurement
    falls due in the first of them and is made after the last. It takes a batch of its own.

    Args:
        options: What to measure, and how often.
        batch: ``batch(n)`` gives the n-th batch to measure on: inputs, labels, weights of the rows.
        steps: Steps between two evaluations, Keras's "epoch".
        total_steps: Steps of the training, if nothing stops it.
    """

    def __init__(
        self, options: DiagnosticsOptions, batch: Callable[[int], Batch], *, steps: int, total_steps: int
    ):
        super().__init__()
        self._options, self._batch, self._steps, self._total = options, batch, steps, total_steps
        self.gradients: GradientConflict | None = None
        self.gates: GateHealth | None = None
        self.seconds, self.first_seconds = 0.0, 0.0  # the first of each kind traces its graph
        self._last = self._start = 0
        self._every = {
            "gradients": options.grad_diag_every or max(1, total_steps // options.grad_diag_target),
            "gates": max(1, total_steps // GATE_TARGET),
        }

    def get_state(self) -> dict[str, Any]:
        """Everything measured until now; None of what is not measured."""
        parts = {"gradients": self.gradients, "gates": self.gates}
        return {
            "last": self._last,
            "seconds": [self.seconds, self.first_seconds],
            **{name: part and part.get_state() for name, part in parts.items()},
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on from there; what is asked for only now begins now."""
        self._last = state["last"]
        self.seconds, self.first_seconds = state["seconds"]
        if self.gradients is not None and state["gradients"]:
            self.gradients.set_state(state["gradients"])
        if self.gates is not None and state["gates"]:
            self.gates.set_state(state["gates"], self._batch(1))

    def goes_on_behind(self, step: int) -> None:
        """Counts from a step on that another process has measured until then."""
        self._last = step

    def on_train_begin(self, logs=None):
        """Makes what is wanted; nothing is traced before training itself is."""
        options = self._options
        names = [objective.name for objective in self.model.objectives()]
        if options.grad_diag_enabled and len(names) > 1:
            self.gradients = GradientConflict(names, options.grad_diag_min_tasks)
            self._products = GradientProducts(self.model)
            self._announce()
        elif options.grad_diag_enabled:
            logger.warning("grad_diag_enabled: %s is the only objective: nothing to compare.", names[0])
        if options.log_health_metrics:
            self.gates = GateHealth(self.model)

    def on_epoch_begin(self, epoch, logs=None):
        """Keras counts steps from the last evaluation."""
        self._start = epoch * self._steps

    def on_train_batch_end(self, batch, logs=None):
        """Measures if it is time."""
        self.measure(self._start + batch + 1)

    def measure(self, step: int) -> None:
        """Measures behind a step, if it is time."""
        conflict, gates = self.gradients, self.gates
        if conflict is not None and self._is_due("gradients", step):
            with self._timed(first=not conflict.steps):
                conflict.add(step, self._products(self._batch(step)))
        if gates is not None and self._is_due("gates", step):
            with self._timed(first=not gates.steps):
                gates.measure(step, self._batch(step))
            if not gates.groups():
                logger.info("log_health_metrics: the network has no gates.")
                self.gates = None
        self._last = step

    def on_epoch_end(self, epoch, logs=None):
        """Says how things stand at each evaluation, on all parameters together."""
        self._log_conflict(("all",))
        if self.gates is not None:
            for line in gate_lines(self.gates):
                logger.info("%s", line)

    def on_train_end(self, logs=None):
        """Tells dense parameters and tables apart, and says what it took."""
        self._log_conflict(("dense", "sparse"))
        if self.seconds:
            logger.info("Diagnostics took %.1f s, and %.1f s to start.", self.seconds, self.first_seconds)

    def content(self) -> dict[str, Any]:
        """Everything, for a file; empty if nothing was to be measured."""
        found: dict[str, Any] = {}
        if self.gradients is not None:
            found["gradients"] = {"every": self._every["gradients"], **self.gradients.content()}
        if self.gates is not None:
            found["gates"] = {"every": self._every["gates"], **self.gates.content()}
        return {**found, "seconds": self.seconds, "first_seconds": self.first_seconds} if found else {}

    def _is_due(self, kind: str, step: int) -> bool:
        return step // self._every[kind] > self._last // self._every[kind]

    @contextmanager
    def _timed(self, first: bool) -> Iterator[None]:
        started = time.perf_counter()
        yield
        seconds = time.perf_counter() - started
        if first:
            self.first_seconds += seconds
        else:
            self.seconds += seconds

    def _log_conflict(self, parts: Sequence[str]) -> None:
        if self.gradients is not None:
            for line in conflict_lines(self.gradients, parts):
                logger.info("%s", line)

    def _announce(self) -> None:
        """A conflict rate of few batches is not worth much; that should be known before it is waited for."""
        several = self.model.steps_per_execution
        count = self._total // max(self._every["gradients"], several)
        if count < self._options.grad_diag_min:
            logger.warning(
                "grad_diag: about %d measurements in %d steps (%d steps a call of the graph); a conflict "
                "rate wants %d (grad_diag_min).",
                *(count, self._total, several, self._options.grad_diag_min),
            )


def conflict_lines(found: GradientConflict, parts: Sequence[str]) -> Iterator[str]:
    """A line for each pair of objectives and part of the shared parameters."""
    for (first, second), summaries in found.summaries().items():
        for part in parts:
            numbers = summaries[part]
            if numbers["measured"]:
                yield (
                    f"Gradients of {first} and {second} ({part}): cosine {numbers['cosine']:.3f} "
                    f"[p10 {numbers['p10']:.3f}, p90 {numbers['p90']:.3f}] - "
                    f"conflict rate {numbers['conflict_rate']:.1%} - "
                    f"norm ratio {numbers['norm_ratio']:.3g} - "
                    f"{numbers['measured']} batches, {numbers['skipped']} skipped"
                )
        skipped = summaries["all"]["skipped"]
        if skipped and not summaries["all"]["measured"]:
            yield f"Gradients of {first} and {second}: nothing to compare in {skipped} batches"


def gate_lines(found: GateHealth) -> Iterator[str]:
    """A line for each gate, and for each group how far its gates differ and which experts are dead."""
    for group in found.content()["groups"]:
        name = group["name"]
        for gate in group["gates"]:
            weights = zip(gate["experts"], gate["weight"][-1], strict=True)
            shown = ", ".join(f"{expert} {weight:.2f}" for expert, weight in weights)
            yield f"Gate {gate['name']} ({name}): entropy {gate['entropy'][-1]:.3f} - {shown}"
        pairs = [f"{' · '.join(pair['gates'])} {pair['js'][-1]:.4f}" for pair in group["divergence"]]
        if pairs:
            yield f"Divergence of gates ({name}): {', '.join(pairs)}"
        if group["dead"]:
            yield f"Dead experts ({name}): {', '.join(group['dead'])}"
