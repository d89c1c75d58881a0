"""Surgery by gradients that are kept from step to step."""

from collections.abc import Sequence
from typing import Annotated, ClassVar

import keras
import numpy as np
import tensorflow as tf

from fuxi_mtl.cluster.replicas import Gradient, replicas
from fuxi_mtl.options import option
from fuxi_mtl.surgery.backward import aligned
from fuxi_mtl.surgery.combining import Surgery
from fuxi_mtl.surgery.methods import State, SurgeryMethod
from fuxi_mtl.surgery.solvers import on_simplex


class Tracked(SurgeryMethod):
    """MoCo, least norm of running gradients, found by small steps (Fernando et al., ICLR 2023).

    With ``g_k`` the gradient of a batch, ``y_k`` what is kept of it and t the step::

        y_k <- y_k + b_t (g_k - y_k)        a <- simplex(a - c_t (Y Y^T + r I) a)        d = sum_k a_k y_k

    ``b_t = b (t + 1)^-s``, and ``c_t`` likewise. The weights of least norm of a batch are not those of the
    mean gradient: they are wrong on average, however small the steps.

    Differs from the paper: tables keep no gradients of all objectives, which would be as many copies of
    them: they, and what is shared outside of ``surgery_mode: last_layer``, move along ``sum_k a_k g_k``. The
    projection is that of the authors' text; parts of their program have a softmax, which alone drags the
    weights to equal ones. Gradients are not divided by losses; ``surgery_normalize`` compares those of
    length one, without which small gradients hardly move the weights.

    Args:
        names: The objectives that take part.
        seed: Not used.
        moco_beta: b, above 0 up to 1.
        moco_gamma: c, from 0 up.
        moco_rho: r, from 0 up.
        moco_decay: s, from 0 to 1.
    """

    least_norm = True
    scale = "mean"
    modes: ClassVar[tuple[str, ...]] = ("last_layer", "full")

    def __init__(
        self,
        names: Sequence[str],
        seed: int = 0,
        *,
        moco_beta: Annotated[
            float, option("Share of a batch in the gradients that are kept.", above=0, most=1)
        ] = 0.5,
        moco_gamma: Annotated[float, option("Step of the weights.", least=0)] = 0.01,
        moco_rho: Annotated[float, option("Pull of the weights towards equal ones.", least=0)] = 0.0,
        moco_decay: Annotated[
            float, option("How both steps fall: (steps + 1) to minus this.", least=0, most=1)
        ] = 0.0,
    ):
        super().__init__(names, seed)
        self.beta, self.gamma, self.rho, self.decay = moco_beta, moco_gamma, moco_rho, moco_decay

    def begins(self) -> State:
        """Equal weights."""
        return {"weights": np.full(len(self.names), 1 / len(self.names))}

    def __call__(self, gram: np.ndarray, names: Sequence[str], step: int) -> np.ndarray:
        """One step from the beginning, see :meth:`advance`."""
        return self.advance(gram, names, step, self.begins())

    def advance(self, gram: np.ndarray, names: Sequence[str], step: int, state: State) -> np.ndarray:
        """The weights of the objectives whose gradients there were, with a sum of 1."""
        at = [self.names.index(name) for name in names]
        weights = state["weights"][at]
        pace = self.gamma * (step + 1.0) ** -self.decay
        state["weights"][at] = on_simplex(
            weights - pace * (gram @ weights + self.rho * weights), weights.sum()
        )
        return state["weights"][at] / state["weights"][at].sum()

    def share(self, step: tf.Tensor) -> tf.Tensor:
        """How much of a batch goes into what is kept."""
        return self.beta * (tf.cast(step, tf.float32) + 1.0) ** -self.decay


class TrackedSurgery(Surgery):
    """Surgery whose coefficients are those of gradients that it keeps, and that moves variables along them.

    Arguments are those of :class:`~fuxi_mtl.surgery.combining.Surgery`, with a :class:`Tracked` to solve.
    """

    _solve: Tracked

    def begin(self, last_layer: Sequence[keras.Variable], dense: Sequence[keras.Variable]) -> None:
        """Begins with another network, of whose gradients nothing is kept yet.

        Raises:
            ValueError: They are to be those on the last shared layer, and there is none.
        """
        super().begin(last_layer, dense)
        variables = last_layer if self.mode == "last_layer" else dense
        if not variables:
            raise ValueError("surgery: the model has no last shared layer. Use surgery_mode: full.")
        self._values = [variable.value for variable in variables]
        self.kept = [
            tf.Variable(
                tf.zeros((len(self.names), *variable.shape)),
                trainable=False,
                name=f"kept_{place}",
                aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
            )
            for place, variable in enumerate(variables)
        ]

    def _compared(self, backward, factors, places, given, step):
        """Of what is kept, after the gradients of the batch came to it; rows are not asked for."""
        variables = self._tracked(places[self.mode])
        found = backward.of_each_everywhere([value for value, _ in variables])
        weights = tf.stack([factors[name] for name in self.names])[:, None] / backward.scale
        gram = tf.zeros((len(self.names), len(self.names)))
        for place, (_, kept) in enumerate(variables):
            now = weights * aligned([found[name][place] for name in self.names])  # (T, elements)
            before = tf.reshape(kept, tf.shape(now))
            # Overflow in float16: such a step is skipped.
            follows = given[:, None] & tf.reduce_all(tf.math.is_finite(now))
            moved = tf.where(follows, before + self._solve.share(step) * (now - before), before)
            kept.assign(tf.reshape(moved, kept.shape))
            gram += tf.matmul(moved, moved, transpose_b=True)
        return gram, tf.ones_like(given)

    def _instead(self, backward, factors, coefficients, shared, places, step):
        """Along what is kept, with what objectives of kind ``fixed`` and penalties say beside it."""
        variables = self._tracked(shared)
        others = {name: factor for name, factor in factors.items() if name not in self.names}
        rest = backward.weighted(others, [value for value, _ in variables])
        turned: dict[int, Gradient] = {}
        for (value, kept), more in zip(variables, rest, strict=True):
            # Gradients of replicas are added up, and what is kept is that of all of them.
            along = tf.tensordot(tf.stack(coefficients), kept, axes=1) * (backward.scale / replicas())
            turned[id(value)] = along if more is None else along + more
        return turned

    def _tracked(self, values: Sequence[tf.Tensor]) -> list[tuple[tf.Tensor, tf.Variable]]:
        """Those of some values whose gradients are kept, each with what is kept of them."""
        asked = set(map(id, values))
        pairs = zip(self._values, self.kept, strict=True)
        return [(value, kept) for value, kept in pairs if id(value) in asked]
