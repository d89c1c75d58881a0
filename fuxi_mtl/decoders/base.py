"""The base class of decoders, and the decoder of a task."""

from collections.abc import Mapping
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from fuxi_mtl.features import FeatureMap
from fuxi_mtl.metrics import Parts
from fuxi_mtl.options.construction import CheckedOptions
from fuxi_mtl.options.decoders import DECODERS
from fuxi_mtl.tasks import Task

Inputs = Mapping[str, tf.Tensor]
NEVER = float(np.finfo(np.float32).max)  # no label passes it; finite, as a kept number must be
LARGEST = 20.0  # exponent of a served value: e^20 is half a billion


class Decoder(CheckedOptions, keras.layers.Layer):
    """What a head of raw numbers means: the error that it is trained on, and the value that is served.

    A head ends in ``outputs`` raw numbers, ``(batch,)`` if that is one, else ``(batch, outputs)``, float32.
    What a decoder learns from the training labels (:meth:`fit`) lies in variables of its own, hence in the
    checkpoint and in the SavedModel. A subclass of a user's own registers with ``DECODERS``.

    Args:
        task: Name of the task.
        columns: Column of each numeric feature in ``numeric``, by its name.
    """

    outputs: int = 1
    settles: bool = False
    """Whether it learns from rows that were not trained on, see :meth:`settle`."""
    unsettled: ClassVar[str] = "they are as they were trained"
    """What is to be said of its values without such rows."""
    monotone: ClassVar[bool] = True
    """Whether the value grows with a single raw number, so that this orders rows as the value does."""
    kind: ClassVar[str] = "binary"
    """What it is to a weighting: ``binary`` for a log-likelihood, ``regression`` for a squared error."""
    labels: ClassVar[str] = "regression"
    """The kind of its labels: ``regression`` for numbers, or ``classes``, which come as ids from 0."""
    in_unit: bool = True
    """Whether its value is in the unit of the label."""
    least: ClassVar[float] = 0.0
    """The least label that it takes."""

    def __init__(self, task: str, columns: Mapping[str, int] | None = None):
        super().__init__(name=f"{task}_decoder", dtype="float32")
        self.task, self.columns = task, dict(columns or {})
        self.built = True  # no call builds it; where a layer is not, Keras's fit on several devices tries to

    def fit(self, labels: np.ndarray, numeric: np.ndarray) -> list[float] | None:
        """Learns from the training rows on which the task is defined.

        Args:
            labels: ``(rows,)`` float64, no NaN.
            numeric: ``(rows, numeric columns)`` of the same rows, as the network gets them.

        Returns:
            Where the head's biases start, ``outputs`` numbers; None for zeros.

        Raises:
            ValueError: The labels are none that it can learn.
        """
        return None

    def settle(self, raw: np.ndarray, labels: np.ndarray) -> None:
        """Learns from predictions on rows that were not trained on, once training is over.

        Args:
            raw: Raw numbers of the rows on which the task is defined.
            labels: ``(rows,)`` float64.
        """

    def learnt(self, label: tf.Tensor, inputs: Inputs) -> tf.Tensor:
        """What the raw numbers are held against; NaN stays NaN."""
        return label

    def error(self, raw: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
        """``(batch,)`` errors.

        Args:
            raw: Raw numbers.
            target: ``(batch,)`` what :meth:`learnt` gave, 0 where the task is not defined.
        """
        raise NotImplementedError(f"{type(self).__name__} must define error(raw, target).")

    def value(self, raw: tf.Tensor, inputs: Inputs) -> tf.Tensor:
        """``(batch,)`` values in the unit of the label."""
        raise NotImplementedError(f"{type(self).__name__} must define value(raw, inputs).")

    @property
    def part_names(self) -> tuple[str, ...]:
        """The ends of the names of further numbers of a row that are served: ``{task}_{end}``."""
        return ()

    def parts(self, raw: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """These numbers, each ``(batch,)``."""
        return ()

    @property
    def watched(self) -> tuple[str, ...]:
        """The ends of the names of what the log watches while it is trained: ``{task}_{end}``."""
        return ()

    def watch(self, raw: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """These numbers, each ``(batch,)``; their means over the task's rows are watched."""
        return ()

    def measured(self, parts: Mapping[str, np.ndarray]) -> Parts | None:
        """What metrics see of these numbers beside the value; nothing unless a decoder says so.

        Args:
            parts: ``(rows,)`` each, by the ends of their names.
        """
        return None

    @property
    def scalar(self) -> str | None:
        """The end of the name of the number that stands for a task of classes, in a fusion; None without."""
        return None

    def call(self, raw, inputs=None):
        """See :meth:`value`."""
        return self.value(raw, inputs or {})

    def check(self, labels: np.ndarray) -> None:
        """Every training label is one that it takes.

        Raises:
            ValueError: One is not, or there is none.
        """
        if not len(labels):
            raise ValueError(f"decoder {self._type} of {self.task!r}: no training row has a label.")
        self.check_least(labels)

    def check_least(self, labels: np.ndarray, rows: str = "") -> None:
        """No label is below what it takes.

        Args:
            labels: ``(rows,)``, no NaN.
            rows: Which rows they are of, for the message, if not those of training.

        Raises:
            ValueError: One is.
        """
        if len(labels) and labels.min() < self.least:
            raise ValueError(
                f"decoder {self._type} of {self.task!r}: a label{rows} is {labels.min():g}, and it takes "
                f"numbers from {self.least:g} up. Set mask_value where that means missing, or leave the "
                "decoder out."
            )

    @property
    def _type(self) -> str:
        found = (member.name for member in DECODERS.members if member.load() is type(self))
        return next(found, type(self).__name__)

    def _state(self, name: str, shape: tuple[int, ...], value: float = float("nan")) -> keras.Variable:
        """A variable that :meth:`fit` sets; NaN until then, so that what is not fitted is not served."""
        return self.add_weight(
            name=name, shape=shape, initializer=keras.initializers.Constant(value), trainable=False
        )


def make_decoder(task: Task, features: FeatureMap) -> Decoder | None:
    """The decoder of a task; None where its head is a logit or the value itself.

    Args:
        task: With the type and the options of its decoder.
        features: The inputs.

    Raises:
        ValueError: An option does not fit, or names a feature that is none; or it takes other labels.
    """
    if task.decoder is None:
        return None
    takes = DECODERS[task.decoder].load().labels
    if (takes == "classes") != (task.kind == "classes"):
        fitting = [each.name for each in DECODERS.members if each.load().labels == task.kind]
        raise ValueError(
            f"decoder {task.decoder} of {task.name!r} is for labels of kind {takes}, and {task.event[0]!r} "
            f"is of kind {task.kind}. Give the label kind: {takes}, or another decoder: {', '.join(fitting)}."
        )
    columns = {feature.name: feature.start for feature in features if feature.type == "numeric"}
    options: dict[str, Any] = dict(task.decoder_options)
    if task.kind == "classes" and task.event[0] in features.label_classes:
        options["classes"] = list(features.label_classes[task.event[0]])
    try:
        return DECODERS[task.decoder].make(options, task=task.name, columns=columns)
    except ValueError as error:
        whose = f"decoder {task.decoder} of {task.name!r}: "
        raise ValueError(f"{'' if str(error).startswith('decoder ') else whose}{error}") from error
