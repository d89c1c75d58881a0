"""The description of a metric: its value, direction, needs, and how it is resampled."""

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fuxi_mtl.metrics.ranking import GroupedAUC, gauc
from fuxi_mtl.metrics.rows import NAN, observed
from fuxi_mtl.metrics.sums import Sums
from fuxi_mtl.tasks import KINDS, Task

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
INPUTS = {
    "weights": "sample weights of the rows; None without any",
    "groups": "group of each row, the column group_id",
    "gauc_weight": "exposures or clicks, as in the stanza",
    "threshold": "decision threshold of the task",
    "chances": "probability of each class, (rows, classes), of a task of classes",
    "quantiles": "predicted quantiles, (rows, taus), of the decoder quantile",
    "taus": "which quantiles those are",
}
NEEDS = {
    "row": "a row with a label",
    "positive": "a row with a label above 0",
    "both": "rows with label 1 and with label 0",
    "different": "rows with two different labels",
}


@dataclass(frozen=True)
class Parts:
    """What is predicted of a row beside its value.

    Attributes:
        chances: ``(rows, classes)`` probabilities of the classes, by their ids; None of other tasks.
        quantiles: ``(rows, taus)`` quantiles, ascending; None of other decoders.
        taus: Which quantiles those are.
    """

    chances: np.ndarray | None = None
    quantiles: np.ndarray | None = None
    taus: tuple[float, ...] | None = None

    def take(self, rows: np.ndarray) -> "Parts":
        """Those of some rows."""
        chances, quantiles = (None if each is None else each[rows] for each in (self.chances, self.quantiles))
        return Parts(chances, quantiles, self.taus)

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """What there is, as arrays by name."""
        return {name: np.asarray(each, np.float32) for name, each in vars(self).items() if each is not None}


NO_PARTS = Parts()


@dataclass(frozen=True)
class Observations:
    """The rows on which a task is measured, and what else a metric may ask for.

    Attributes:
        labels: ``(rows,)``, without NaN.
        predictions: ``(rows,)`` probabilities or values.
        weights: ``(rows,)`` float64 sample weights above 0, or None.
        groups: ``(rows,)`` group of each row, or None.
        threshold: From which probability on a row is predicted positive; None where none was chosen.
        gauc_weight: What weighs a group in gAUC.
        parts: What is predicted beside the value.
    """

    labels: np.ndarray
    predictions: np.ndarray
    weights: np.ndarray | None = None
    groups: np.ndarray | None = None
    threshold: float | None = None
    gauc_weight: str = "exposures"
    parts: Parts = NO_PARTS

    @classmethod
    def of(
        cls,
        labels: ArrayLike,
        predictions: ArrayLike,
        *,
        weights: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        threshold: float | None = None,
        gauc_weight: str = "exposures",
        parts: Parts | None = None,
    ) -> "Observations":
        """Those of rows that have a label and a weight above 0."""
        index = None if parts is None else np.arange(len(np.asarray(labels)))
        label_rows, scores, weight_rows, group_rows, kept = observed(
            labels, predictions, weights, groups, index
        )
        weight_rows = None if weight_rows is None else weight_rows.astype(np.float64)
        there = NO_PARTS if parts is None or kept is None else parts.take(kept)
        return cls(label_rows, scores, weight_rows, group_rows, threshold, gauc_weight, there)

    @property
    def chances(self) -> np.ndarray | None:
        """Probabilities of the classes."""
        return self.parts.chances

    @property
    def quantiles(self) -> np.ndarray | None:
        """Predicted quantiles."""
        return self.parts.quantiles

    @property
    def taus(self) -> tuple[float, ...] | None:
        """Which quantiles those are."""
        return self.parts.taus

    @cached_property
    def positives(self) -> int:
        """Number of rows with a label above 0."""
        return int((self.labels > 0).sum())

    @cached_property
    def differ(self) -> bool:
        """Whether two rows have different labels."""
        return bool(len(self.labels)) and self.labels.min() < self.labels.max()

    @cached_property
    def nan_predictions(self) -> int:
        """Number of predictions that are NaN."""
        bad = np.isnan(self.predictions)
        for each in (self.chances, self.quantiles):
            if each is not None:
                bad = bad | np.isnan(each).any(axis=1)
        return int(bad.sum())

    def take(self, rows: np.ndarray, groups: np.ndarray | None) -> "Observations":
        """Some rows, perhaps more than once, with the groups that they have now."""
        return replace(
            self,
            labels=self.labels[rows],
            predictions=self.predictions[rows],
            weights=None if self.weights is None else self.weights[rows],
            groups=groups,
            parts=self.parts.take(rows),
        )


@dataclass(frozen=True)
class Metric:
    """A metric: all that evaluation, monitors, tables and the bootstrap know of it.

    A value is a function ``(labels, predictions, ...)`` whose further parameters are those of :data:`INPUTS`
    that it uses. It sees rows with a label only, no NaN among its predictions, and gives a number, NaN where
    it has none. Its docstring's first line says what it is. A metric without a parameter ``weights`` takes no
    sample weights.

    Attributes:
        name: As it is written in YAML and in the results.
        function: The value.
        direction: ``max`` or ``min``, or the number that is best.
        kinds: The kinds of task that it measures.
        needs: What the labels must hold for it to have a value, of :data:`NEEDS`.
        sums: Builds its :class:`Sums` from the same parameters as the value (predictions in float64). None
            has it computed on each resample of the rows, which takes longer.
        not_resampled: A sentence that says why resamples of the rows tell nothing of it; empty if they do.
        no_skill: The value of predictions that know nothing, where it is the same on all rows.
        undefined: Says, from the same parameters, why it is NaN though the labels hold what it needs.

    Raises:
        ValueError: A name, direction, kind or need is none, a function asks for what there is not, or value
            and sums ask for different things.
    """

    name: str
    function: Callable[..., Any]
    direction: str | float = "max"
    kinds: tuple[str, ...] = ("binary",)
    needs: str = "row"
    sums: Callable[..., Sums] | None = None
    not_resampled: str = ""
    no_skill: float | None = None
    undefined: Callable[..., str] | None = None

    def __post_init__(self):
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"metric name {self.name!r} is not a name: use letters, digits and underscores.")
        if isinstance(self.direction, str) and self.direction not in ("max", "min"):
            raise ValueError(
                f"metric {self.name!r} has direction {self.direction!r}. It can be: max, min, or the number "
                "that is best."
            )
        if not isinstance(self.kinds, tuple) or not set(self.kinds) <= set(KINDS) or not self.kinds:
            raise ValueError(
                f"metric {self.name!r} measures tasks of the kinds {self.kinds!r}. It can be a tuple of: "
                f"{', '.join(KINDS)}."
            )
        if self.needs not in NEEDS:
            raise ValueError(f"metric {self.name!r} needs {self.needs!r}. It can be: {', '.join(NEEDS)}.")
        for function in filter(None, (self.function, self.sums, self.undefined)):
            _check_parameters(self.name, function)
        if self.sums is not None and _inputs(self.sums) != self.inputs:
            raise ValueError(
                f"metric {self.name!r}: its value asks for {_listed(self.inputs)}, its sums for "
                f"{_listed(_inputs(self.sums))}. Both need the same."
            )

    @property
    def doc(self) -> str:
        """One sentence that says what it is."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]

    @cached_property
    def inputs(self) -> frozenset[str]:
        """What it uses beside labels and predictions, of :data:`INPUTS`."""
        return _inputs(self.function)

    @property
    def larger_is_better(self) -> bool | None:
        """None for a metric that is best at a number."""
        return self.direction == "max" if isinstance(self.direction, str) else None

    @property
    def no_weights(self) -> str:
        """Why it takes no sample weights; empty if it does."""
        return "" if "weights" in self.inputs else f"the metric {self.name} takes no sample weights"

    def fits(self, task: Task) -> bool:
        """Whether it measures a task: its kind, and what is predicted of it beside a value."""
        return task.kind in self.kinds and ("quantiles" not in self.inputs or task.decoder == "quantile")

    def merit(self, value: float) -> float:
        """The value turned so that larger is better; for a best number how little it is away from it."""
        if not isinstance(self.direction, str):
            return -abs(value - self.direction)
        return value if self.direction == "max" else -value

    def measure(self, rows: Observations) -> "Measured":
        """The value on some rows; NaN where the labels or an input lacks what it needs.

        Raises:
            ValueError: The function fails with one, or gives no number, or there are weights that it does not
            take.
        """
        if rows.weights is not None and self.no_weights:
            raise ValueError(self.no_weights)
        if self._lacks_input(rows) or self._lacks_class(rows) or rows.nan_predictions:
            return Measured(NAN)
        try:
            given = _call(self.function, rows)
        except ValueError as error:
            raise ValueError(f"the metric {self.name}: {error}") from error
        if isinstance(given, GroupedAUC):
            return Measured(given.value, {"groups": given.groups, "coverage": given.coverage})
        if np.ndim(given) or np.asarray(given).dtype.kind not in "iuf":
            raise ValueError(f"the metric {self.name} gives {given!r}, which is no number.")
        return Measured(float(given))

    def why_undefined(self, rows: Observations) -> str:
        """Why it is NaN on these rows; empty where it is not."""
        if reason := self.lacking_labels(rows):
            return reason
        if rows.nan_predictions:
            return f"{rows.nan_predictions} of {len(rows.predictions)} predictions are NaN"
        if rows.threshold is not None and np.isnan(rows.threshold):
            return "no threshold could be chosen"
        if self.undefined is None or self._lacks_input(rows):
            return ""
        return _call(self.undefined, rows)

    def lacking_labels(self, rows: Observations) -> str:
        """What the labels or groups lack for it, whatever is predicted; empty where nothing."""
        if "groups" in self.inputs and rows.groups is None:
            return "group_id names no column of groups"
        if reason := self._lacks_class(rows):
            return reason
        if "chances" in self.inputs and rows.chances is None:
            return "it measures classes, and there are no probabilities of any"
        if "quantiles" in self.inputs and rows.quantiles is None:
            return "it measures quantiles, and none are predicted"
        if self.needs == "both" and "groups" in self.inputs and rows.groups is not None:
            constant = np.zeros(len(rows.labels), np.float32)
            if not gauc(rows.labels, constant, rows.groups).groups:
                return "no group has rows of both classes"
        return ""

    def _lacks_class(self, rows: Observations) -> str:
        """What the labels of all rows lack for it."""
        count = len(rows.labels)
        if not count:
            return "no row has a label"
        if self.needs == "different":
            return "" if rows.differ else f"all {count} labels are {rows.labels[0]:g}"
        if self.needs != "row" and not rows.positives:
            return f"all {count} labels are 0"
        return f"all {count} labels are 1" if self.needs == "both" and rows.positives == count else ""

    def resampled(self, rows: Observations) -> Sums | None:
        """Its sums on some rows, of which resamples are made fast; None if it has no such form.

        Raises:
            ValueError: It is not to be resampled, or an input was not stored.
        """
        if self.not_resampled:
            raise ValueError(self.not_resampled.rstrip("."))
        if lacking := self._lacks_input(rows):
            raise ValueError(f"the {lacking} of {self.name} {_WERE[lacking]} not stored with the run")
        if self.sums is None:
            return None
        return _call(self.sums, replace(rows, predictions=rows.predictions.astype(np.float64)))

    def _lacks_input(self, rows: Observations) -> str:
        """The input that it uses and that is not there."""
        missing = (name for name in _WERE if name in self.inputs and getattr(rows, name) is None)
        return next(missing, "")


_WERE = {"threshold": "was", "groups": "were", "chances": "were", "quantiles": "were"}


@dataclass(frozen=True)
class Measured:
    """A value and what else is worth knowing of it.

    Attributes:
        value: NaN where it is undefined.
        notes: Numbers by name, such as the ``groups`` and ``coverage`` behind gAUC.
    """

    value: float
    notes: Mapping[str, float] = field(default_factory=dict)


def _call(function: Callable, rows: Observations) -> Any:
    given = {name: getattr(rows, name) for name in _inputs(function)}
    return function(rows.labels, rows.predictions, **given)


def _inputs(function: Callable) -> frozenset[str]:
    return frozenset(inspect.signature(function).parameters) & INPUTS.keys()


def _listed(inputs: frozenset[str]) -> str:
    return ", ".join(sorted(inputs)) or "nothing"


def _check_parameters(name: str, function: Callable) -> None:
    parameters = list(inspect.signature(function).parameters.values())
    if len(parameters) < 2:
        raise ValueError(f"metric {name!r}: a function takes (labels, predictions), then what it uses.")
    for each in parameters[2:]:
        if each.name not in INPUTS and each.default is inspect.Parameter.empty:
            known = ", ".join(INPUTS)
            raise ValueError(f"metric {name!r} asks for {each.name!r}. It can ask for: {known}.")
