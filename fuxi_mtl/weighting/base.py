"""The base class of weightings, and the two that learn nothing: equal and manual weights."""

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import tensorflow as tf

from fuxi_mtl.options.construction import CheckedOptions
from fuxi_mtl.options.weighting import wrong_weights

Numbers = Mapping[str, "tf.Tensor | float"]


class Weighting(CheckedOptions, tf.Module):
    """Base class: weights that start at one and stay there.

    A subclass of a user's own is a ``loss_weight`` once it is registered; what stands behind the star of its
    constructor are its own keys in a stanza::

        @WEIGHTINGS.register
        class MyWeighting(Weighting):
            '''One sentence for `list`.'''

            def __init__(self, objectives, *, my_power: Annotated[float, option("Power.", above=0)] = 2.0):
                super().__init__(objectives)
                ...

    The constructor gets them converted and checked, as a stanza's are. It may ask for ``epoch_steps``,
    ``seed`` and ``constant_losses`` behind the objectives. Its ``tf.Variable``s lie in the checkpoint.

    Args:
        objectives: Kind (``binary``, ``regression`` or ``fixed``) of each objective, by name.

    >>> class Louder(Weighting):
    ...     def _weights(self):
    ...         return 2 * super()._weights()
    >>> {name: float(weight) for name, weight in Louder({"ctr": "binary"}).weights().items()}
    {'ctr': 2.0}
    """

    needs_norms: ClassVar[bool] = False
    needs_gradients: ClassVar[bool] = False  # whether it is told by learn_gradients, before its update
    needs_progress: bool = False  # whether it is told by learn_progress what a step made of the losses
    needs_positive_losses: ClassVar[bool] = False  # whether it takes ratios, logarithms or powers of them
    largest: ClassVar[float] = math.inf  # no weight grows beyond it
    starves: ClassVar[tuple[float, str]] = (0.0, "")  # below which weight nothing learns, and what to do then

    def __init__(self, objectives: Mapping[str, str]):
        super().__init__()
        self.names = tuple(objectives)
        self.kinds = tuple(objectives.values())
        self.adaptive = tf.constant([kind != "fixed" for kind in self.kinds], tf.bool)

    def weights(self) -> dict[str, tf.Tensor]:
        """The weight of each objective."""
        return dict(zip(self.names, tf.unstack(self._weights(), len(self.names)), strict=True))

    def update(self, losses: Numbers, norms: Numbers | None = None) -> None:
        """Learns from one step.

        Args:
            losses: Unweighted losses; NaN where no row of the batch counts.
            norms: Norms of the unweighted losses' gradients, only for a weighting that needs them.
        """

    def begin(self, shapes: Sequence[tuple[int, ...]]) -> None:
        """Begins with a network whose last shared layer has variables of such shapes; if it needs that."""

    def learn_gradients(self, gradients: Sequence[tf.Tensor], given: tf.Tensor) -> None:
        """Learns from gradients on the last shared layer; only if it needs that.

        Args:
            gradients: ``(objectives, elements)`` float32 for each variable, of the unweighted losses.
            given: ``(objectives,)`` booleans: those with rows in the batch.
        """

    def learn_progress(self, before: Numbers, after: Numbers) -> None:
        """Learns from what a step made of the losses of its own batch; only if it needs that.

        Args:
            before: Unweighted losses before the step; NaN where no row of the batch counts.
            after: Those of the same rows after it.
        """

    def _weights(self) -> tf.Tensor:
        return tf.ones(len(self.names))

    def _vector(self, numbers: Numbers) -> tf.Tensor:
        return tf.stack([tf.cast(numbers[name], tf.float32) for name in self.names])

    def _state(self, values: list, name: str, dtype: tf.DType = tf.float32) -> tf.Variable:
        # Each replica has its own, and all are equal: they come from the losses of all rows.
        return tf.Variable(tf.constant(values, dtype), trainable=False, name=name)


class Equal(Weighting):
    """Equal weights. Tuned well, they match most others (Kurin et al. 2022; Xin et al. 2022).

    >>> weighting = Equal({"ctr": "binary", "cvr": "binary"})
    >>> {name: round(float(weight), 3) for name, weight in weighting.weights().items()}
    {'ctr': 1.0, 'cvr': 1.0}
    """


class Manual(Weighting):
    """``L = sum_k w_k L_k`` with weights as given, not normalised.

    Args:
        objectives: Kind of each objective, by name.
        values: A weight for each objective, not negative.

    Raises:
        ValueError: A weight is missing, unknown, negative or not a number.

    >>> weighting = Manual({"ctr": "binary", "cvr": "binary"}, {"ctr": 1.0, "cvr": 2.5})
    >>> {name: round(float(weight), 3) for name, weight in weighting.weights().items()}
    {'ctr': 1.0, 'cvr': 2.5}
    """

    def __init__(self, objectives: Mapping[str, str], values: Mapping[str, float]):
        super().__init__(objectives)
        for mistake in wrong_weights(values, list(objectives)):
            raise ValueError(mistake)
        for name in objectives:
            if not (math.isfinite(values[name]) and values[name] >= 0):
                raise ValueError(
                    f"loss_weight of {name!r} is {values[name]}; a weight is a number from 0 up."
                )
        self._values = [float(values[name]) for name in objectives]

    def _weights(self) -> tf.Tensor:
        return tf.constant(self._values, tf.float32)
