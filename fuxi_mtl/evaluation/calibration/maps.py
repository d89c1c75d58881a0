"""Maps from logits to calibrated probabilities, inside a graph, and as JSON."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from fuxi_mtl.evaluation.calibration.values import VALUE_MAPS, ValueMap, between
from fuxi_mtl.options import CALIBRATIONS

Tensors = Mapping[str, tf.Tensor]


@dataclass(frozen=True)
class Map:
    """Base class of a map from the logit of a task to its calibrated probability: a dataclass of numbers.

    One of a user's own is a ``calibration`` once it is registered::

        @CALIBRATIONS.register
        @dataclass(frozen=True)
        class MyMap(Map):
            kind = "MyMap"
            slope: float = 1.0

            def __call__(self, z): ...

            @classmethod
            def fit(cls, p, y): ...

    Attributes:
        kind: Its name in ``calibration.json``.
    """

    kind: ClassVar[str]

    def __call__(self, z: tf.Tensor) -> tf.Tensor:
        """Calibrated probabilities of logits ``(batch,)``."""
        raise NotImplementedError(f"{type(self).__name__} must define __call__(z).")

    @classmethod
    def fit(cls, p: np.ndarray, y: np.ndarray) -> "Map":
        """The map that makes of predictions what the labels say.

        Args:
            p: ``(rows,)`` predicted probabilities, float64.
            y: ``(rows,)`` labels, 0 or 1, some of both.

        Raises:
            NotImplementedError: It is made in another way.
        """
        raise NotImplementedError(f"{cls.__name__} is not fitted to rows.")


@dataclass(frozen=True)
class Unweighted(Map):
    """The weight of positives and a focal term undone in closed form.

    Under a weight w the best prediction q of a row with the true rate p has odds ``w p / (1 - p)``, so
    ``p = q / (q + w (1 - q))``. With a detached focal factor, the pulls of a positive and of a negative
    balance where::

        p / (1 - p) = q (1 + c (1 - alpha) q^gamma) / ((1 - q) (w + c alpha (1 - q)^gamma))

    Attributes:
        pos_weight: w.
        focal: c, the factor of the focal term; 0 without one.
        gamma: Its exponent.
        alpha: Its weight of positives; None leaves both kinds at one.
    """

    kind: ClassVar[str] = "unweighted"
    pos_weight: float = 1.0
    focal: float = 0.0
    gamma: float = 0.0
    alpha: float | None = None

    def __call__(self, z: tf.Tensor) -> tf.Tensor:
        """Calibrated probabilities of logits, any shape."""
        positive, negative = (1.0, 1.0) if self.alpha is None else (self.alpha, 1 - self.alpha)
        pull_down = 1.0 + self.focal * negative * tf.sigmoid(z) ** self.gamma
        pull_up = self.pos_weight + self.focal * positive * tf.sigmoid(-z) ** self.gamma
        return tf.sigmoid(z + tf.math.log(pull_down) - tf.math.log(pull_up))


@dataclass(frozen=True)
class Platt(Map):
    """Two numbers fitted to the validation rows, ``sigmoid(slope z + intercept)``.

    Reference:
        Platt. Probabilistic outputs for support vector machines. 1999.

    Differs from the paper: labels are fitted as they are, 0 and 1.
    """

    kind: ClassVar[str] = "platt"
    slope: float = 1.0
    intercept: float = 0.0

    def __call__(self, z: tf.Tensor) -> tf.Tensor:
        """Calibrated probabilities of logits, any shape."""
        return tf.sigmoid(self.slope * z + self.intercept)

    @classmethod
    def fit(cls, p: np.ndarray, y: np.ndarray) -> "Platt":
        """See :meth:`Map.fit`."""
        from sklearn.linear_model import LogisticRegression  # slow to import, and only needed here

        # Predictions are float32: the logit of what was rounded to 0 or 1 is that of its neighbour.
        inside = np.clip(p, np.finfo(np.float32).tiny, 1 - np.finfo(np.float32).epsneg)
        logits = (np.log(inside) - np.log1p(-inside))[:, None]
        model = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000).fit(logits, y)
        return cls(float(model.coef_[0, 0]), float(model.intercept_[0]))


@dataclass(frozen=True)
class Isotonic(Map):
    """A function that never falls, fitted to the validation rows; linear between knots, constant beyond.

    Attributes:
        x: The knots, growing.
        y: The calibrated probabilities there.

    Reference:
        Zadrozny and Elkan. Transforming classifier scores into accurate multiclass probability estimates.
        KDD 2002.
    """

    kind: ClassVar[str] = "isotonic"
    x: list[float] = field(default_factory=lambda: [0.0, 1.0])
    y: list[float] = field(default_factory=lambda: [0.0, 1.0])

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y) or self.x != sorted(set(self.x)) or not self.x:
            raise ValueError("the knots of isotonic do not grow")

    def __call__(self, z: tf.Tensor) -> tf.Tensor:
        """Calibrated probabilities of logits ``(batch,)``."""
        return between(tf.sigmoid(z), self.x, self.y)

    @classmethod
    def fit(cls, p: np.ndarray, y: np.ndarray) -> "Isotonic":
        """See :meth:`Map.fit`."""
        from sklearn.isotonic import IsotonicRegression

        # Never 0 or 1, which one row could refute: at the ends as if half a row were of the other kind.
        least = 0.5 / len(y)
        model = IsotonicRegression(y_min=least, y_max=1 - least, out_of_bounds="clip").fit(p, y)
        return cls(model.X_thresholds_.tolist(), model.y_thresholds_.tolist())


@dataclass(frozen=True)
class Resampled:
    """Undoes that only a share of the negatives was trained on, all of them without the root event.

    With q the prediction of the root on the sample, k the share kept, and c that of any event which needs
    the root::

        p = k q / (1 - q + k q),        and c shrinks by the same factor k / (1 - q + k q)

    A rate given the root event is what it was.

    Attributes:
        root: The task of that event, such as ctr.
        keep: k.
        tasks: Those that shrink, the root among them.
    """

    root: str
    keep: float
    tasks: tuple[str, ...]

    def __call__(self, probabilities: Tensors) -> dict[str, tf.Tensor]:
        """Probabilities ``(batch,)`` of the tasks that shrink."""
        q = probabilities[self.root]
        factor = self.keep / (1 - q + self.keep * q)
        return {task: probabilities[task] * factor for task in self.tasks}


@dataclass(frozen=True)
class Calibration:
    """What makes calibrated probabilities of the heads of a model.

    Attributes:
        method: How it came about: closed_form, platt or isotonic.
        maps: The map of a task's logit; a task without one keeps its probability.
        resampled: What is undone behind the maps, if negatives were left out.
        ratios: The joint task and the condition of each task that follows from them:
            ``pCVR = min(1, pCTCVR / pCTR)``, both calibrated.
        products: The condition and the conditional task of each joint task that follows from them:
            ``pCTCVR = pCTR pCVR``, both calibrated.
        values: The map of the served value of a regression; one without it keeps its value.
    """

    method: str
    maps: Mapping[str, Map] = field(default_factory=dict)
    ratios: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    products: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    resampled: Resampled | None = None
    values: Mapping[str, ValueMap] = field(default_factory=dict)

    def __call__(self, heads: Tensors, probabilities: Tensors) -> dict[str, tf.Tensor]:
        """Calibrated probabilities ``(batch,)`` by task.

        Args:
            heads: Logits, by task.
            probabilities: What they are without calibration, regressions included.
        """
        found = dict(probabilities)
        found |= {task: each(tf.cast(heads[task], tf.float32)) for task, each in self.maps.items()}
        if self.resampled is not None:
            found |= self.resampled(found)
        for task, (joint, given) in self.ratios.items():
            found[task] = tf.minimum(1.0, tf.math.divide_no_nan(found[joint], found[given]))
        for task, (given, conditional) in self.products.items():
            found[task] = found[given] * found[conditional]
        found |= {task: each(found[task]) for task, each in self.values.items()}
        return found

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "method": self.method,
            "maps": _with_kind(self.maps),
            **({"values": _with_kind(self.values)} if self.values else {}),
            "ratios": {task: list(pair) for task, pair in self.ratios.items()},
            "products": {task: list(pair) for task, pair in self.products.items()},
            "resampled": None if self.resampled is None else asdict(self.resampled),
        }

    @classmethod
    def of(cls, plain: Any) -> "Calibration":
        """From what :meth:`plain` gave.

        Raises:
            ValueError: It is something else.
        """
        try:
            maps = {task: _map(**fields) for task, fields in plain["maps"].items()}
            pairs = _pairs(plain["ratios"]), _pairs(plain["products"])
            values = {task: _value_map(**fields) for task, fields in plain.get("values", {}).items()}
            return cls(str(plain["method"]), maps, *pairs, _resampled(plain["resampled"]), values)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"this is no calibration ({error!r}).") from error


def _resampled(plain: Mapping | None) -> Resampled | None:
    if plain is None:
        return None
    made = Resampled(str(plain["root"]), float(plain["keep"]), tuple(map(str, plain["tasks"])))
    if not 0 < made.keep <= 1:
        raise ValueError(f"a share of {made.keep} is kept")
    return made


def _pairs(plain: Mapping) -> dict[str, tuple[str, str]]:
    return {str(task): (str(first), str(second)) for task, (first, second) in plain.items()}


def _map(kind: str, **fields: Any) -> Map:
    classes = (each.load() for each in CALIBRATIONS.members if each.target is not None)
    made = next((each for each in classes if each.kind == kind), None)
    if made is None:
        raise ValueError(CALIBRATIONS.unknown(kind))
    return made(**_finite(kind, fields))


def _value_map(kind: str, **fields: Any) -> ValueMap:
    if kind not in VALUE_MAPS:
        raise ValueError(f"no calibration of values is called {kind!r}")
    return VALUE_MAPS[kind](**_finite(kind, fields))


def _finite(kind: str, fields: dict[str, Any]) -> dict[str, Any]:
    for value in fields.values():
        numbers = value if isinstance(value, list) else [value]
        if not all(number is None or math.isfinite(number) for number in numbers):
            raise ValueError(f"{kind} has a number that is not finite")
    return fields


def _with_kind(maps: Mapping[str, Any]) -> dict[str, Any]:
    """Maps as JSON has them."""
    return {task: {"kind": each.kind, **asdict(each)} for task, each in maps.items()}
