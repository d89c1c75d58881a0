"""How much each loss counts: small objects that see numbers and never the network.

Each is told the losses of a step (and, if it asks for them, the gradient norms), and gives weights::

    weighting = GradNorm({"ctr": "binary", "ctcvr": "binary"})
    weighting.update({"ctr": 0.5, "ctcvr": 0.9}, {"ctr": 2.0, "ctcvr": 3.0})
    weighting.weights()          # {"ctr": ..., "ctcvr": ...}

An objective without any row in a batch has loss NaN: it changes nothing of its state. One of kind
``fixed`` keeps the weight one under an adaptive weighting and takes no part in it. The state lies
in plain variables: it is saved with the checkpoint and has no part in the served model. Updates are
closed forms, so there is no second-order gradient and no log-variance inside the model's optimizer.
"""

import math
from collections.abc import Mapping
from typing import ClassVar

import tensorflow as tf

from fuxi_mtl.options import WeightingOptions

Numbers = Mapping[str, "tf.Tensor | float"]


class Weighting(tf.Module):
    """Base class: weights that start at one and stay there.

    Args:
        objectives: Kind (``binary``, ``regression`` or ``fixed``) of each objective, by name.
    """

    needs_norms: ClassVar[bool] = False

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

    def _weights(self) -> tf.Tensor:
        return tf.ones(len(self.names))

    def _vector(self, numbers: Numbers) -> tf.Tensor:
        return tf.stack([tf.cast(numbers[name], tf.float32) for name in self.names])

    def _state(self, values: list[float], name: str) -> tf.Variable:
        return tf.Variable(
            tf.constant(values, tf.float32),
            trainable=False,
            name=name,
            # Every replica computes the same value, from losses averaged over replicas.
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )


class Equal(Weighting):
    """``L = sum_k L_k``. Tuned well, it matches most others (Kurin et al. 2022; Xin et al. 2022)."""


class Manual(Weighting):
    """``L = sum_k w_k L_k`` with weights as given, not normalised.

    Args:
        objectives: Kind of each objective, by name.
        values: A weight for each objective, not negative.

    Raises:
        ValueError: A weight is missing, unknown, negative or not a number.
    """

    def __init__(self, objectives: Mapping[str, str], values: Mapping[str, float]):
        super().__init__(objectives)
        given, wanted = ", ".join(values), ", ".join(objectives)
        for name in [*objectives, *values]:
            if name not in values:
                raise ValueError(
                    f"loss_weight has no entry for {name!r}. Given: {given}. Objectives: {wanted}."
                )
            if name not in objectives:
                raise ValueError(f"loss_weight names {name!r}, which is no objective. Objectives: {wanted}.")
            if not (math.isfinite(values[name]) and values[name] >= 0):
                raise ValueError(
                    f"loss_weight of {name!r} is {values[name]}; a weight is a number from 0 up."
                )
        self._values = [float(values[name]) for name in objectives]

    def _weights(self) -> tf.Tensor:
        return tf.constant(self._values, tf.float32)


class Uncertainty(Weighting):
    """Uncertainty weighting (Kendall, Gal and Cipolla, CVPR 2018).

    With ``s_k = log sigma_k^2``, starting at 0::

        classification (eq. 10):   exp(-s) L + s / 2            weight exp(-s)
        regression     (eq. 7):    exp(-s) L / 2 + s / 2        weight exp(-s) / 2
        revised (Liebel and Koerner 2018):  exp(-s) L / 2 + log(1 + exp(s))

    so ``ds = -weight L + 1/2`` (revised: ``+ sigmoid(s)``), one step of gradient descent at each
    update. The first two settle at the weight ``1 / (2 L)``: an objective with a large loss counts
    less, whether it is difficult or merely measured in large units.

    Differs from the paper: s has its own gradient descent instead of the network's optimizer, and
    ``ds`` is cut at -1, so that a loss of a million in raw units does not end at a weight of zero.

    Args:
        objectives: Kind of each objective, by name.
        form: ``kendall`` or ``revised``.
        learning_rate: Step of gradient descent on s.

    Raises:
        ValueError: Unknown form.
    """

    def __init__(self, objectives: Mapping[str, str], form: str = "kendall", learning_rate: float = 0.025):
        super().__init__(objectives)
        if form not in ("kendall", "revised"):
            raise ValueError(f"uw_form is {form!r}. Forms: kendall, revised.")
        self._revised = form == "revised"
        halved = [self._revised or kind == "regression" for kind in self.kinds]
        self._factor = tf.constant([0.5 if half else 1.0 for half in halved], tf.float32)
        self._learning_rate = learning_rate
        self.log_variance = self._state([0.0] * len(self.names), "log_variance")

    def _weights(self) -> tf.Tensor:
        return tf.where(self.adaptive, self._factor * tf.exp(-self.log_variance), 1.0)

    def update(self, losses: Numbers, norms: Numbers | None = None) -> None:
        """One step on the log variances of what was observed."""
        loss = self._vector(losses)
        observed = tf.logical_not(tf.math.is_nan(loss)) & self.adaptive
        push = tf.sigmoid(self.log_variance) if self._revised else 0.5
        gradient = tf.maximum(push - self._weights() * tf.where(observed, loss, 0.0), -1.0)
        self.log_variance.assign_sub(tf.where(observed, self._learning_rate * gradient, 0.0))


class GradNorm(Weighting):
    """Gradient normalisation (Chen et al., ICML 2018).

    With ``n_i`` the norm of the gradient of ``L_i`` on the last shared layer::

        G_i = w_i n_i      r_i = (L_i / L_i(0)) / mean_j (L_j / L_j(0))      C_i = mean_j(G_j) r_i^alpha
        w_i <- w_i - lr sign(G_i - C_i) n_i            then  w_i >= 1e-4  and  sum w = T

    which is gradient descent on ``sum |G_i - C_i|`` (eq. 2) with ``C_i`` constant, renormalised at
    every step. alpha = 0 makes the norms equal; any alpha above 0 gives more weight to the objectives
    that train slowly, the more the larger it is. Objectives without a row in the batch are left out of
    the means.

    Differs from the paper: plain gradient descent on the weights.

    Args:
        objectives: Kind of each objective, by name.
        alpha: Strength of the pull towards equal training rates, from 0 up.
        learning_rate: Step on the weights.
        initial_loss: What L(0) is: the loss of the ``first_batch``, ``mean_of_first_n`` batches (the
            weights wait for them), or ``log_classes``, ln 2 for a binary objective.
        initial_batches: That n.

    Raises:
        ValueError: Unknown initial loss, or ``log_classes`` with a regression, which has no classes.
    """

    needs_norms = True

    def __init__(
        self,
        objectives: Mapping[str, str],
        alpha: float = 1.5,
        learning_rate: float = 0.025,
        initial_loss: str = "first_batch",
        initial_batches: int = 10,
    ):
        super().__init__(objectives)
        self._alpha, self._learning_rate = alpha, learning_rate
        waits = {"first_batch": 1, "mean_of_first_n": initial_batches, "log_classes": 0}
        if initial_loss not in waits:
            raise ValueError(f"gradnorm_init is {initial_loss!r}. Choices: {', '.join(waits)}.")
        self._initial_batches = waits[initial_loss]
        if initial_loss == "log_classes" and "regression" in self.kinds:
            name = self.names[self.kinds.index("regression")]
            raise ValueError(
                f"gradnorm_init log_classes: {name!r} is a regression and has no classes. "
                "Use first_batch or mean_of_first_n."
            )
        count = len(self.names)
        start = math.log(2) if initial_loss == "log_classes" else 0.0
        self.weight = self._state([1.0] * count, "weight")
        self.initial_loss = self._state([start] * count, "initial_loss")
        self.batches_seen = self._state([0.0] * count, "batches_seen")

    def _weights(self) -> tf.Tensor:
        return tf.convert_to_tensor(self.weight)

    def update(self, losses: Numbers, norms: Numbers | None = None) -> None:
        """One step on the weights of what was observed, and their renormalisation."""
        if norms is None:
            raise ValueError("GradNorm needs the gradient norms: update(losses, norms).")
        loss, norm = self._vector(losses), self._vector(norms)
        observed = tf.logical_not(tf.math.is_nan(loss)) & tf.math.is_finite(norm) & self.adaptive
        loss, norm = tf.where(observed, loss, 0.0), tf.where(observed, norm, 0.0)
        self._observe_start(loss, observed)
        ready = observed & (self.batches_seen >= self._initial_batches) & (self.initial_loss > 0)
        count = tf.reduce_sum(tf.cast(ready, tf.float32))

        def mean(x: tf.Tensor) -> tf.Tensor:
            return tf.math.divide_no_nan(tf.reduce_sum(tf.where(ready, x, 0.0)), count)

        progress = tf.where(ready, loss / tf.where(ready, self.initial_loss, 1.0), 0.0)
        rate = tf.math.divide_no_nan(progress, mean(progress))
        weighted = self.weight * norm
        target = mean(weighted) * rate**self._alpha
        step = tf.where(ready, self._learning_rate * tf.sign(weighted - target) * norm, 0.0)
        moved = tf.where(self.adaptive, tf.maximum(self.weight - step, 1e-4), 0.0)
        count = tf.reduce_sum(tf.cast(self.adaptive, tf.float32))
        renormalised = tf.math.divide_no_nan(moved * count, tf.reduce_sum(moved))
        self.weight.assign(tf.where(self.adaptive, renormalised, 1.0))

    def _observe_start(self, loss: tf.Tensor, observed: tf.Tensor) -> None:
        starting = observed & (self.batches_seen < self._initial_batches)
        seen = self.batches_seen + tf.cast(starting, tf.float32)
        running = self.initial_loss + (loss - self.initial_loss) / tf.maximum(seen, 1.0)
        self.initial_loss.assign(tf.where(starting, running, self.initial_loss))
        self.batches_seen.assign(seen)


def make_weighting(options: WeightingOptions, objectives: Mapping[str, str]) -> Weighting:
    """The weighting that a stanza asks for.

    Raises:
        ValueError: Unknown name, or a list that does not fit the objectives.
    """
    choice = options.loss_weight
    if isinstance(choice, dict):
        return Manual(objectives, choice)
    if isinstance(choice, (list, tuple)):
        if len(choice) != len(objectives):
            raise ValueError(
                f"loss_weight has {len(choice)} entries for {len(objectives)} objectives: "
                f"{', '.join(objectives)}."
            )
        return Manual(objectives, dict(zip(objectives, choice, strict=True)))
    if choice == "EQ":
        return Equal(objectives)
    if choice == "UW":
        return Uncertainty(objectives, options.uw_form, options.uw_lr)
    if choice == "GN":
        return GradNorm(
            objectives,
            options.gradnorm_alpha,
            options.gradnorm_lr,
            options.gradnorm_init,
            options.gradnorm_init_batches,
        )
    raise ValueError(f"loss_weight {choice!r} is unknown. Use EQ, UW, GN, a list, or weights by name.")
