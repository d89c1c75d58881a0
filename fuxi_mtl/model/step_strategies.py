"""Strategies of a training step: gradient norms, surgery, alternating, plain, bilevel and progress.

A step runs forward once, asks the weighting for the weights of the losses, and moves variables. What is more
than that is a strategy of its own; :data:`STRATEGIES` lists them in the order in which they act, and
:func:`strategies_of` chooses those that a compiled model asks for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import keras
import tensorflow as tf

from fuxi_mtl.cluster.replicas import Gradient, global_gradients, switch
from fuxi_mtl.objectives import Losses, Objective
from fuxi_mtl.optimizers import split_of
from fuxi_mtl.surgery.backward import Backward, aligned


@dataclass
class Step:
    """What is known of one step on one batch, from the forward pass on.

    Attributes:
        objectives: What is trained on.
        representation: What :meth:`MultiTaskModel.embed` gave.
        losses: The loss of each objective over the rows of all replicas.
        rows: The weight of those rows.
        backward: The way back through the forward pass.
        last_layer: Values of the last shared layer; none means the representation.
        norms: The gradient norm of each loss, if a strategy takes them.
        weights: What each loss is multiplied with, once the weighting has heard of the losses.
        watched: What strategies put into the log, by name.
    """

    objectives: Sequence[Objective]
    representation: Any
    losses: Mapping[str, tf.Tensor]
    rows: Mapping[str, tf.Tensor]
    backward: Backward
    last_layer: Sequence[tf.Tensor]
    norms: dict[str, tf.Tensor] | None = None
    weights: dict[str, tf.Tensor] = field(default_factory=dict)
    watched: dict[str, tf.Tensor] = field(default_factory=dict)


class StepStrategy:
    """One part of a training step, for one compiled model.

    Args:
        model: The model, with its optimizers, weighting and surgery.
    """

    moves: ClassVar[bool] = False
    """Whether it moves the trainable variables; of those that do, the first that is wanted counts."""
    asks_again: ClassVar[bool] = False
    """Whether it goes back through the forward pass beside the one gradient of the weighted sum."""
    excludes: ClassVar[Mapping[type["StepStrategy"], str]] = {}
    """Strategies that it cannot be combined with, each with the reason for a ``{model}``."""

    def __init__(self, model: Any):
        self.model = model

    @classmethod
    def is_wanted(cls, model: Any) -> bool:
        """Whether a model, as it is compiled, asks for this strategy."""
        raise NotImplementedError(f"{cls.__name__} must say which models want it.")

    @property
    def watched(self) -> Sequence[str]:
        """Names of what it puts into the log."""
        return ()

    def take(self, data: Any) -> tuple[Any, Any]:
        """What the forward pass gets of a step's data, and what this strategy keeps for itself."""
        return data, None

    def before_weighting(self, step: Step) -> None:
        """Adds to a step what the weighting wants to know."""

    def move(self, step: Step, own: Any) -> None:
        """Moves variables, by a step with its weights and by what :meth:`take` kept."""


class GradientNorms(StepStrategy):
    """``||grad L_k||`` on the last shared layer, for a weighting that balances them."""

    asks_again = True

    @classmethod
    def is_wanted(cls, model):
        """If the weighting says so."""
        return model.weighting.needs_norms

    def before_weighting(self, step):
        """Takes the norms."""
        sources = step.last_layer or step.representation
        step.norms = step.backward.norms(sources, of_rows=not step.last_layer)


class LayerGradients(StepStrategy):
    """``grad L_k`` on the last shared layer, for a weighting that keeps something of each element."""

    asks_again = True

    def __init__(self, model):
        super().__init__(model)
        shapes = [tuple(variable.shape) for variable in model.shared_variables()]
        if not shapes:
            kind = type(model.weighting).__name__
            raise ValueError(
                f"{kind} weighs objectives by their gradients on the last shared layer, and "
                f"{type(model).__name__} has none, as it is. Use another loss_weight, or another bottom."
            )
        model.weighting.begin(shapes)

    @classmethod
    def is_wanted(cls, model):
        """If the weighting says so."""
        return model.weighting.needs_gradients

    def before_weighting(self, step):
        """Tells the weighting."""
        found, names = step.backward.of_each_everywhere(step.last_layer), self.model.weighting.names
        gradients = [
            aligned([found[name][place] for name in names]) / step.backward.scale
            for place in range(len(step.last_layer))
        ]
        self.model.weighting.learn_gradients(gradients, tf.stack([step.rows[name] > 0 for name in names]))


class PlainStep(StepStrategy):
    """All trainable variables against the gradient of the weighted sum."""

    moves = True

    @classmethod
    def is_wanted(cls, model):  # noqa: ARG003
        """Always: it is what is left to do."""
        return True

    def move(self, step, own):
        """One step of the optimizer."""
        self._descend(step, tuple(step.losses), self.model.trainable_variables)

    def _descend(self, step: Step, names: Sequence[str], variables: Sequence[keras.Variable]) -> None:
        """Moves variables against the weighted gradient of some objectives and of all penalties."""
        values = [variable.value for variable in variables]
        gradients = step.backward.weighted({name: step.weights[name] for name in names}, values)
        apply_gradients(self.model, gradients, variables)


class AlternatingStep(PlainStep):
    """In turns: step t moves the variables of turn ``t mod n`` against the objectives of that turn."""

    asks_again = True

    @classmethod
    def is_wanted(cls, model):
        """If the model names its turns."""
        return bool(model.alternating_steps())

    def move(self, step, own):
        """One turn."""
        turns = self.model.alternating_steps()
        moves = [lambda own, turn=turn: self._descend(own, *turn) for turn in turns]
        switch(tf.cast(self.model.step % len(turns), tf.int32), moves, step)


class SurgeryStep(StepStrategy):
    """Shared variables along a combination of the objectives' gradients, the others as in a plain step."""

    moves = True
    asks_again = True
    excludes: ClassVar[Mapping[type[StepStrategy], str]] = {
        AlternatingStep: "{model} minimises its objectives in turns, so there are no gradients to combine. "
        "Use surgery: none."
    }

    def __init__(self, model):
        super().__init__(model)
        tables = set(map(id, model.tables()))
        dense = [variable for variable in model.trainable_variables if id(variable) not in tables]
        model.surgery.begin(model.shared_variables(), dense)

    @classmethod
    def is_wanted(cls, model):
        """If it is compiled with a surgery."""
        return model.surgery is not None

    @property
    def watched(self):
        """The coefficients."""
        return self.model.surgery.watched

    def move(self, step, own):
        """One step of the optimizer."""
        variables = self.model.trainable_variables
        places = {"representation": step.representation, "last_layer": step.last_layer}
        gradients, coefficients = self.model.surgery.gradients(
            step.backward, step.rows, step.weights, variables, places, self.model.step
        )
        step.watched |= coefficients
        apply_gradients(self.model, gradients, variables)


class BilevelStep(StepStrategy):
    """After each move, the bilevel variables against the weighted losses of a batch of validation rows.

    A step's data are a pair of batches: one of training rows, one of validation rows.
    """

    @classmethod
    def is_wanted(cls, model):
        """If it is compiled with an optimizer of these variables."""
        return model.bilevel_optimizer is not None

    def take(self, data):
        """The batch of training rows, and that of validation rows."""
        training, validation = data
        return training, validation

    def move(self, step, own):
        """One step of their optimizer, on validation rows as they are predicted."""
        model, (inputs, labels, sample_weight) = self.model, own
        variables = model.bilevel_variables()
        values = [variable.value for variable in variables]
        scale = model.optimizer.scale_loss(tf.constant(1.0))
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(values)
            heads = model(inputs, training=False)
            losses = model.losses_of(step.objectives, heads, labels, sample_weight, inputs).shares
        factors = [scale * step.weights[name] for name in losses]
        gradients = tape.gradient(list(losses.values()), values, output_gradients=factors)
        # Where float16 overflows, there is nothing to learn from.
        sums = global_gradients(gradients)
        finite = [tf.where(tf.math.is_finite(g), g, 0.0) / scale for g in sums]
        model.bilevel_optimizer.apply_gradients(zip(finite, variables, strict=True))


class Progress(StepStrategy):
    """After all moves, what they made of the losses of the batch, for a weighting that learns from it.

    Both losses are those of prediction where the training pass is another one (dropout, noise, batch
    normalisation): a new mask would be most of their difference.
    """

    @classmethod
    def is_wanted(cls, model):
        """If the weighting says so."""
        return model.weighting.needs_progress

    def __init__(self, model):
        super().__init__(model)
        # A layer whose training pass differs keeps something: moving statistics, or the state of a generator.
        self._passes_differ = bool(model.non_trainable_variables)

    def take(self, data):
        """The batch, and its losses before the step where those of the training pass are no measure."""
        before = self._losses(self.model.training_objectives(), data) if self._passes_differ else None
        return data, (data, before)

    def move(self, step, own):
        """Tells the weighting the losses before and after."""
        data, before = own
        if before is None:
            before = self.model.observed(step.losses, step.rows)
        self.model.weighting.learn_progress(before, self._losses(step.objectives, data))

    def _losses(self, objectives: Sequence[Objective], data: Any) -> dict[str, tf.Tensor]:
        inputs, labels, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        heads = self.model(inputs, training=False)
        losses: Losses = self.model.losses_of(objectives, heads, labels, sample_weight, inputs)
        return self.model.observed(losses.values, losses.rows)


STRATEGIES: tuple[type[StepStrategy], ...] = (
    GradientNorms,
    LayerGradients,
    SurgeryStep,
    AlternatingStep,
    PlainStep,
    BilevelStep,
    Progress,
)


def strategies_of(model: Any) -> tuple[StepStrategy, ...]:
    """The strategies of a compiled model's step, in the order in which they act.

    Raises:
        ValueError: Two that are wanted exclude each other.
    """
    wanted = [kind for kind in STRATEGIES if kind.is_wanted(model)]
    for kind in wanted:
        for other, reason in kind.excludes.items():
            if other in wanted:
                raise ValueError(reason.format(model=type(model).__name__))
    mover = next(kind for kind in wanted if kind.moves)
    return tuple(kind(model) for kind in wanted if kind is mover or not kind.moves)


def apply_gradients(model: Any, gradients: Sequence[Gradient], variables: Sequence[keras.Variable]) -> None:
    """One step of a model's optimizer on the gradients of all replicas, of which these are one replica's."""
    gradients = split_of(model.optimizer).over_replicas(gradients, variables)
    model.optimizer.apply_gradients(zip(gradients, variables, strict=True))
