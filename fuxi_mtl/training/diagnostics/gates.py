"""Gate health: use of the experts, dead ones among them, and differences between tasks."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from fuxi_mtl.layers.experts import Gate, recorded_gates
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.training.diagnostics.gradients import Batch

DEAD = 0.01  # of an equal share


@dataclass(frozen=True)
class Health:
    """The state of one gate on one batch.

    Attributes:
        weight: ``(experts,)``: mean weight ``m_e = mean_b g_be``.
        top_share: ``(experts,)``: share of the rows in which the expert weighs most.
        entropy: ``mean_b H(g_b) / log E``: 1 is an equal share in each row, 0 one expert a row.
        divergence: ``KL(m || uniform) = sum_e m_e log(E m_e)``, from 0 (balanced over the batch) to log E.
    """

    weight: np.ndarray
    top_share: np.ndarray
    entropy: float
    divergence: float


def health(shares: np.ndarray) -> Health:
    """The state of a gate.

    Args:
        shares: ``(batch, experts)``, each row summing to 1.
    """
    shares = np.asarray(shares, np.float64)
    experts = shares.shape[1]
    mean = shares.mean(axis=0)
    top = np.bincount(shares.argmax(axis=1), minlength=experts) / len(shares)
    entropy = -_plogp(shares).sum(axis=1).mean()
    return Health(
        mean,
        top,
        entropy / np.log(experts) if experts > 1 else np.nan,
        float(_plogp(mean).sum() + mean.sum() * np.log(experts)),
    )


def divergence(first: Mapping[str, float], second: Mapping[str, float]) -> float:
    """Jensen-Shannon divergence of two gates' mean weights, from 0 (the same) to log 2 (nothing in common).

    ``JS = (KL(p || m) + KL(q || m)) / 2`` with ``m = (p + q) / 2``.

    Args:
        first: Mean weight of each expert that the one gate sees.
        second: Those of the other; an expert that a gate does not see has weight 0.
    """
    names = sorted({*first, *second})
    p, q = (np.array([weights.get(name, 0.0) for name in names]) for weights in (first, second))
    return float(_plogp(p).sum() / 2 + _plogp(q).sum() / 2 - _plogp((p + q) / 2).sum())


def dead_experts(weights: Mapping[str, Mapping[str, float]]) -> list[str]:
    """The experts whose mean weight is below a hundredth of an equal share in every gate that sees them.

    One that a single gate leaves out is not dead: tasks are meant to choose differently.

    Args:
        weights: Mean weight of each expert, by gate.
    """
    used = {
        name
        for of_gate in weights.values()
        for name, weight in of_gate.items()
        if weight >= DEAD / len(of_gate)
    }
    return [name for name in dict.fromkeys(itertools.chain(*weights.values())) if name not in used]


class GateHealth:
    """The measurements of all gates of a model during a training, in order.

    Every :class:`Gate` that the network calls is seen, wherever it is. Gates of one layer form a group:
    they mix the same experts. The network is evaluated as when it serves, without noise and dropout.

    Args:
        model: A built model.
    """

    def __init__(self, model: MultiTaskModel):
        self.steps: list[int] = []
        self._model = model
        self._gates: list[Gate] = []
        self._graph = tf.function(self._everywhere, autograph=False)
        self._found: list[list[Health]] = []

    def get_state(self) -> dict[str, Any]:
        """The measurements."""
        return {
            "steps": self.steps,
            "found": [
                [
                    {**vars(each), "weight": each.weight.tolist(), "top_share": each.top_share.tolist()}
                    for each in found
                ]
                for found in self._found
            ],
        }

    def set_state(self, state: Mapping[str, Any], batch: Batch) -> None:
        """Goes on behind these measurements.

        Args:
            state: What :meth:`get_state` gave.
            batch: Any, on which the network is traced to find its gates.
        """
        self.steps = list(state["steps"])
        self._found = [
            [
                Health(np.asarray(e["weight"]), np.asarray(e["top_share"]), e["entropy"], e["divergence"])
                for e in found
            ]
            for found in state["found"]
        ]
        if self.steps:
            self._graph(batch[0])

    def measure(self, step: int, batch: Batch) -> None:
        """One more batch, measured after a step."""
        shares = self._graph(batch[0])
        self.steps.append(step)
        self._found.append([health(each.numpy()) for each in shares])

    def groups(self) -> dict[str, dict[str, int]]:
        """Places of the gates by their names, by group."""
        found: dict[str, dict[str, int]] = {}
        for place, gate in enumerate(self._gates):
            # Such as mmoe/gated_experts and ctr_gate; parts of a network may call their gates alike.
            group, _, name = f"/{gate.path}".rpartition("/")
            found.setdefault(group.strip("/"), {})[name.removesuffix("_gate")] = place
        short = {group: group.rpartition("/")[2] for group in found}
        alike = [name for name in short.values() if list(short.values()).count(name) > 1]
        return {group if short[group] in alike else short[group]: gates for group, gates in found.items()}

    def content(self) -> dict[str, Any]:
        """Everything, for a file; of dead experts, those of the last measurement."""
        groups = self.groups()
        return {
            "steps": self.steps,
            "groups": [self._group(name, gates) for name, gates in groups.items()] if self.steps else [],
        }

    def weights(self, gates: Mapping[str, int], when: int = -1) -> dict[str, dict[str, float]]:
        """Mean weight of each expert, by gate, at a measurement."""
        return {
            name: dict(zip(self._gates[place].experts, self._found[when][place].weight.tolist(), strict=True))
            for name, place in gates.items()
        }

    def _group(self, name: str, gates: Mapping[str, int]) -> dict[str, Any]:
        over_steps = [self.weights(gates, when) for when in range(len(self.steps))]
        # The gate of a shared stream, which sees more experts than a task's, is no task's choice.
        pairs = [
            (a, b)
            for a, b in itertools.combinations(gates, 2)
            if len(over_steps[-1][a]) == len(over_steps[-1][b])
        ]
        return {
            "name": name,
            "gates": [self._gate(each, place) for each, place in gates.items()],
            "divergence": [
                {"gates": [a, b], "js": _short([divergence(each[a], each[b]) for each in over_steps])}
                for a, b in pairs
            ],
            "dead": dead_experts(over_steps[-1]),
        }

    def _gate(self, name: str, place: int) -> dict[str, Any]:
        found = [each[place] for each in self._found]
        return {
            "name": name,
            "experts": self._gates[place].experts,
            "weight": [_short(each.weight) for each in found],
            "top_share": [_short(each.top_share) for each in found],
            "entropy": _short([each.entropy for each in found]),
            "kl": _short([each.divergence for each in found]),
        }

    def _everywhere(self, inputs):
        """Every device computes the same; the first one answers."""
        strategy = tf.distribute.get_strategy()
        shares = strategy.run(self._shares, args=(inputs,))
        return tuple(strategy.experimental_local_results(each)[0] for each in shares)

    def _shares(self, inputs):
        with recorded_gates() as record:
            self._model(inputs, training=False)
        by_gate: dict[Gate, list[tf.Tensor]] = {}
        for gate, shares in record:
            by_gate.setdefault(gate, []).append(shares)
        self._gates = list(by_gate)
        return tuple(tf.concat(shares, axis=0) for shares in by_gate.values())


def _plogp(p: np.ndarray) -> np.ndarray:
    """``p log p``, 0 where p is."""
    return p * np.log(np.where(p > 0, p, 1))


def _short(values: Sequence[float] | np.ndarray) -> list[float]:
    return [float(f"{value:.6g}") for value in values]
