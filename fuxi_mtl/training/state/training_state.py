"""Everything that a training is between two steps, in numbers and in plain values."""

import logging
import random
from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf
from keras.src.backend.common import global_state
from keras.src.random.seed_generator import global_seed_generator

from fuxi_mtl.cluster.workers import together
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.training.checkpoint.files import read, read_note
from fuxi_mtl.training.checkpoint.naming import Part, orders_of, parts_of
from fuxi_mtl.training.checkpoint.numbers import READ_ERRORS, reason
from fuxi_mtl.training.loop import Position
from fuxi_mtl.training.state.folder import link

logger = logging.getLogger(__name__)

_GLOBAL_SEED = "seeds/global"


class Remembering(Protocol):
    """What a training consists of beside its variables."""

    def get_state(self) -> dict[str, Any]:
        """What JSON knows, floats with NaN and infinity included."""

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on from there."""


class TrainingState:
    """A training at a position: what :meth:`parts` and :meth:`plain` name, and nothing else.

    Numbers are those of a checkpoint (network, slots, moves that rows have put off, counts of steps, loss
    scale, weighting, surgery, bilevel optimizer, running statistics, random states of layers) and the means
    since the last evaluation. Moves that are put off stay so: taking the state changes nothing.

    Args:
        model: The compiled model.
        position: Where the training is.
        members: What else remembers something, by name.
        prepares_again: Whether the model is prepared again where it is gone on with.
    """

    def __init__(
        self,
        model: MultiTaskModel,
        position: Position,
        members: Mapping[str, Remembering],
        prepares_again: bool = False,
    ):
        self.model, self.position, self.prepares_again = model, position, prepares_again
        self.members = {**members, "generators": Generators()}

    def parts(self) -> dict[str, Part]:
        """Every number, by its name."""
        parts = parts_of(self.model)
        for mean in self.model.means.metrics:
            for variable in mean.variables:
                parts[f"means/{mean.name}/{variable.name}"] = Part(self._mean(variable))
        generator = global_state.get_global_attribute("global_seed_generator")
        if generator is not None:  # of layers that have no generator of their own
            parts[_GLOBAL_SEED] = Part(generator.state.value)
        return parts

    def _mean(self, variable: keras.Variable) -> Any:
        """A number of a mean; of several workers each has its own, and reading them all waits for all."""
        if together(self.model) is None:
            return variable.value
        return tf.distribute.get_strategy().experimental_local_results(variable.value)[0]

    def orders(self) -> dict[str, list[str]]:
        """The orders of names behind some of them."""
        return orders_of(self.model)

    def plain(self) -> dict[str, Any]:
        """All that is no array, as it is now: it is written while training goes on."""
        return deepcopy(
            {
                "position": vars(self.position),
                "prepares_again": self.prepares_again,
                "members": {name: member.get_state() for name, member in self.members.items()},
            }
        )

    def restore_numbers(self, file: Path, keeps_rates: bool = False) -> None:
        """Sets every number, and the position, to those of a file.

        Args:
            file: The file.
            keeps_rates: Whether learning rates stay as they are.

        Raises:
            ValueError: The file is damaged, or of another model; or another of
                :data:`~fuxi_mtl.training.checkpoint.numbers.READ_ERRORS`.
        """
        note = read_note(file)
        if note["global_seed"]:
            global_seed_generator()
        parts = self.parts()
        rates = [(part, part.read(...)) for name, part in parts.items() if keeps_rates and _is_rate(name)]
        read(file, parts, self.orders())
        for part, rate in rates:
            part.write(..., rate)
        vars(self.position).update(note["plain"]["position"])

    def restore_members(self, plain: Mapping[str, Any]) -> None:
        """Tells everything else; behind the beginning of the loop, at which callbacks start anew."""
        for name, state in plain["members"].items():
            if name in self.members:
                self.members[name].set_state(state)

    @property
    def has_global_seed(self) -> bool:
        """Whether Keras's own generator has been asked for a number."""
        return global_state.get_global_attribute("global_seed_generator") is not None


def _is_rate(name: str) -> bool:
    return name.startswith("optimizer/") and name.endswith("/learning_rate")


class Source(Protocol):
    """What a training can be gone on from."""

    @property
    def plain(self) -> Mapping[str, Any]:
        """See :meth:`TrainingState.plain`; what is not in it begins anew."""

    @property
    def best(self) -> Path:
        """The checkpoint of the best evaluation, if there was one."""

    @property
    def precision(self) -> Mapping[str, Any] | None:
        """What its training computes in; None if nobody knows."""

    def put_into(self, state: TrainingState) -> None:
        """Sets every number, and the position.

        Raises:
            ValueError: It is damaged, or of another model; or another of
                :data:`~fuxi_mtl.training.checkpoint.numbers.READ_ERRORS`.
        """


def take_up(state: TrainingState, sources: Sequence[Source], checkpoint: Path) -> keras.callbacks.Callback:
    """Sets a training to the first source that can be read, and says where that is.

    Args:
        state: The training, which has not begun.
        sources: What to go on from, the newest first.
        checkpoint: Where the best checkpoint goes, if there is one.

    Returns:
        What sets callbacks, where Keras has begun them anew; the last one of all.

    Raises:
        ValueError: None can be read.
    """
    for source in sources:
        try:
            source.put_into(state)
        except READ_ERRORS as error:
            logger.warning("%s cannot be gone on from (%s).", source, reason(error))
            continue
        plain = source.plain
        best = plain["members"]["Evaluation"]["best"]
        if best is not None:
            link(source.best, checkpoint)
        logger.info(
            "Going on from %s, %s.",
            source,
            "no best evaluation yet"
            if best is None
            else f"the best so far: monitor {best['monitor']:.6f} at step {best['step']}",
        )
        return keras.callbacks.LambdaCallback(on_train_begin=partial(_restore, state, plain))
    raise ValueError(
        f"no state of the training can be read, of {', '.join(map(str, sources))}. Begin anew with --restart."
    )


def _restore(state: TrainingState, plain: Mapping[str, Any], logs: Any = None) -> None:  # noqa: ARG001
    state.restore_members(plain)


class Generators:
    """The generators of Python and NumPy, of which a model of a user's own may draw."""

    def get_state(self) -> dict[str, Any]:
        """Both, as lists."""
        of_numpy: Any = np.random.get_state()  # noqa: NPY002
        kind, keys, *rest = of_numpy
        return {"python": random.getstate(), "numpy": [kind, keys.tolist(), *rest]}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """See :class:`Remembering`."""
        version, numbers, gauss = state["python"]
        random.setstate((version, tuple(numbers), gauss))
        np.random.set_state(tuple(state["numpy"]))  # noqa: NPY002
