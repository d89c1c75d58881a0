"""The decoder of one of several classes."""

from collections.abc import Mapping
from typing import Annotated

import numpy as np
import tensorflow as tf

from fuxi_mtl.decoders.base import Decoder
from fuxi_mtl.metrics import Parts
from fuxi_mtl.options import option
from fuxi_mtl.options.tokens import token_of

_RIDGE = 1e-5
_MOST_WATCHED = 10


class Softmax(Decoder):
    """One of several classes, by a softmax over a raw number each.

    With ``p = softmax(raw)`` and C classes::

        error = w_y ((1 - e) (-log p_y) + e mean_c(-log p_c))        e: label_smoothing, w: class_weights

    averaged over rows, not over weights. The value is the most probable class: the class itself where all
    classes are numbers, else its place in their list, from 0. Beside it ``{task}_pred_{class}`` are the
    probabilities, and with ``values`` there is ``{task}_value``, ``sum_c v_c p_c``: what fusion joins.

    With ``scaling: vector`` what is served is ``softmax(a * raw + b)``, with a number in a and b for each
    class: those with the least cross-entropy on the validation rows, once training is over.

    Args:
        task: Name of the task.
        columns: Not used.
        classes: The classes in the order of their ids.
        values: v, a number for each class.
        class_weights: w, a number for each class.
        label_smoothing: e.
        scaling: ``none`` or ``vector``.

    Raises:
        ValueError: The classes are not known, or a list has another length.

    Reference:
        Guo et al. On Calibration of Modern Neural Networks. ICML 2017, section 4.2 (vector scaling).
    """

    monotone = False
    labels = "classes"
    unsettled = "its probabilities are not calibrated"

    def __init__(
        self,
        task: str,
        columns: Mapping[str, int] | None = None,
        *,
        classes: Annotated[
            list[float | str] | None,
            option(
                "The classes, as the column has them; those of the training rows unless said.",
                example="[none, like, share]",
            ),
        ] = None,
        values: Annotated[
            list[float] | None,
            option(
                "A number for each class, for an expected value: {task}_value, which fusion joins.",
                example="[0, 1, 5]",
            ),
        ] = None,
        class_weights: Annotated[
            list[float] | None,
            option("A weight for each class in the error; all alike unless said.", above=0),
        ] = None,
        label_smoothing: Annotated[
            float, option("Share of the error that all classes have, whatever the label.", least=0, below=1)
        ] = 0.0,
        scaling: Annotated[
            str,
            option(
                "Calibration of the probabilities on validation rows, a factor and a shift for each class.",
                choices=("none", "vector"),
            ),
        ] = "none",
    ):
        super().__init__(task, columns)
        if classes is None:
            raise ValueError(
                f"decoder softmax of {task!r}: its classes are learnt from data that these features do not "
                "know. Take those of a dataset, or give classes."
            )
        self.classes = tuple(map(token_of, classes))
        self.outputs = len(self.classes)
        for key, given in (("values", values), ("class_weights", class_weights)):
            if given is not None and len(given) != self.outputs:
                raise ValueError(
                    f"decoder softmax of {task!r}: {key} has {len(given)} numbers, and there are "
                    f"{self.outputs} classes: {', '.join(self.classes)}."
                )
        self.values, self.smoothing = values, label_smoothing
        self.weights_of_classes = class_weights
        self.served, self.settles = _numbers(self.classes), scaling == "vector"
        if self.settles:
            self.slopes = self._state("slopes", (self.outputs,), 1.0)
            self.shifts = self._state("shifts", (self.outputs,), 0.0)

    def fit(self, labels, numeric):
        """Where the biases start: at the logarithms of the frequencies, of one row at least."""
        self.check(labels)
        if self.settles:
            self.slopes.assign(np.ones(self.outputs))
            self.shifts.assign(np.zeros(self.outputs))
        counts = np.bincount(labels.astype(np.int64), minlength=self.outputs)
        return np.log(np.maximum(counts, 1) / len(labels)).tolist()

    def settle(self, raw, labels):
        """The factors and shifts of ``scaling: vector``."""
        if self.settles and len(labels):
            slopes, shifts = _vector_scaling(raw.astype(np.float64), labels.astype(np.int64))
            self.slopes.assign(slopes)
            self.shifts.assign(shifts)

    def error(self, raw, target):
        """See the class."""
        label = tf.cast(target, tf.int32)
        found = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=label, logits=raw)
        if self.smoothing:
            every = tf.reduce_logsumexp(raw, axis=-1) - tf.reduce_mean(raw, axis=-1)
            found = (1 - self.smoothing) * found + self.smoothing * every
        if self.weights_of_classes is not None:
            found *= tf.gather(tf.constant(self.weights_of_classes, tf.float32), label)
        return found

    def value(self, raw, inputs):
        """See the class."""
        return tf.gather(tf.constant(self.served, tf.float32), tf.argmax(self._scaled(raw), axis=-1))

    @property
    def part_names(self):
        """``pred_{class}``, and ``value`` where classes have one."""
        return (*self._chances, *(("value",) if self.values is not None else ()))

    def parts(self, raw):
        """See the names."""
        chances = tf.nn.softmax(self._scaled(raw), axis=-1)
        found = tuple(tf.unstack(chances, num=self.outputs, axis=-1))
        if self.values is None:
            return found
        return (*found, tf.linalg.matvec(chances, tf.constant(self.values, tf.float32)))

    @property
    def watched(self):
        """``mean_{class}``, the mean probability of each class, where they fit into a line of the log."""
        return tuple(f"mean_{token}" for token in self.classes) if self.outputs <= _MOST_WATCHED else ()

    def watch(self, raw):
        """See the names."""
        return (
            tuple(tf.unstack(tf.nn.softmax(raw, axis=-1), num=self.outputs, axis=-1)) if self.watched else ()
        )

    def measured(self, parts):
        """The chances of the classes."""
        return Parts(chances=np.stack([parts[name] for name in self._chances], axis=1))

    @property
    def scalar(self):
        """``value``, where classes have one."""
        return None if self.values is None else "value"

    def _scaled(self, raw: tf.Tensor) -> tf.Tensor:
        return self.slopes * raw + self.shifts if self.settles else raw

    @property
    def _chances(self) -> tuple[str, ...]:
        return tuple(f"pred_{token}" for token in self.classes)


def _numbers(classes: tuple[str, ...]) -> list[float]:
    """What is served of each class."""
    try:
        return [float(token) for token in classes]
    except ValueError:
        return [float(place) for place in range(len(classes))]


def _vector_scaling(raw: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The factor and the shift of each class with the least mean cross-entropy, which is convex in them.

    A small ridge around no change keeps them finite where a class is told apart without a mistake.
    """
    from scipy.optimize import minimize  # a tenth of the library's start

    rows, count = raw.shape
    own = np.zeros((rows, count))
    own[np.arange(rows), labels] = 1

    def cost(x: np.ndarray) -> tuple[float, np.ndarray]:
        slopes, shifts = x[:count], x[count:]
        logits = slopes * raw + shifts
        logits -= logits.max(axis=1, keepdims=True)
        logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        away = np.exp(logs) - own
        change = np.concatenate([slopes - 1, shifts])
        slope = np.concatenate([(away * raw).mean(axis=0), away.mean(axis=0)])
        return float(-(own * logs).sum() / rows + _RIDGE * (change**2).sum()), slope + 2 * _RIDGE * change

    start = np.concatenate([np.ones(count), np.zeros(count)])
    found = minimize(cost, start, jac=True, method="L-BFGS-B").x
    return found[:count], found[count:]
