"""Losses so far apart that one objective learns and the others do not."""

import logging
from collections.abc import Mapping, Sequence

from fuxi_mtl.features import LabelUnit
from fuxi_mtl.objectives import Objective

logger = logging.getLogger(__name__)

_FAR = 1000.0


class LossScales:
    """Says once that the weighted losses of two objectives lie a thousand times apart.

    Binary tasks are told apart from regressions only: a rare event has a small loss by its nature, but a
    regression's loss has the unit of its label squared, and what shares its network follows it alone.

    Args:
        objectives: What is trained on.
        units: The units of labels that have a normalizer.
    """

    def __init__(self, objectives: Sequence[Objective], units: Mapping[str, LabelUnit]):
        self._regressions = {o.name: o.task for o in objectives if o.kind == "regression" and o.task}
        self._names = [o.name for o in objectives if o.kind != "fixed"]
        self._units = units
        self._said = False

    def get_state(self) -> dict[str, bool]:
        """Whether it was said."""
        return {"said": self._said}

    def set_state(self, state: Mapping[str, bool]) -> None:
        """Says it no second time."""
        self._said = state["said"]

    def observe(self, losses: Mapping[str, float], weights: Mapping[str, float]) -> None:
        """Takes in the losses of an interval and what they were multiplied with."""
        values = {name: abs(losses[name] * weights[name]) for name in self._names}
        values = {name: value for name, value in values.items() if value > 0}
        if self._said or len(values) < 2:
            return
        pair = max(values, key=values.__getitem__), min(values, key=values.__getitem__)
        regression = next((self._regressions[name] for name in pair if name in self._regressions), None)
        if regression is None or values[pair[0]] < _FAR * values[pair[1]]:
            return
        self._said = True
        label = regression.event[0]
        cure = f"Give the label {label!r} a normalizer (StandardScaler, MinMaxScaler or log1p)"
        if label in self._units:
            cure = f"Although {label!r} has a normalizer, its unit does not fit: try another, or loss: huber"
        logger.warning(
            "The losses lie a thousand times apart: %s %.6g, %s %.6g. The larger one decides alone where the "
            "shared network goes. %s, or set loss_weight.",
            pair[0],
            values[pair[0]],
            pair[1],
            values[pair[1]],
            cure,
        )
