"""Recipes of model objects, by which they are made again under another seed and precision."""

import inspect
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import wraps
from types import FunctionType
from typing import Any

import keras

from fuxi_mtl.features import FeatureMap
from fuxi_mtl.options import TrainingOptions
from fuxi_mtl.tasks import Task

_inside: ContextVar[bool] = ContextVar("inside", default=False)


@contextmanager
def _construction() -> Iterator[None]:
    """Inside, a model that is constructed is a part of another."""
    before = _inside.set(True)
    try:
        yield
    finally:
        _inside.reset(before)


@dataclass
class Recipe:
    """The arguments of a model's constructor, and the random numbers that its variables are made with.

    Attributes:
        features: Its inputs.
        tasks: Its tasks, as they were given.
        options: Its options, as they were given.
        wrappers: The functions that Keras hung on the object before its constructor ran, and that know it.
        numbers: State of Python's generator, from which Keras takes the seeds of initial values; None takes
            what is in force, as Keras's own layers do.
        fits: How often the model was trained.
    """

    features: Any
    tasks: Sequence[Any]
    options: Mapping[str, Any]
    wrappers: Mapping[str, FunctionType]
    numbers: Any = None
    fits: int = 0

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """Inside, Python's generator is this recipe's; afterwards it is as it was."""
        if self.numbers is None:
            yield
            return
        callers = random.getstate()
        random.setstate(self.numbers)
        try:
            yield
        finally:
            self.numbers = random.getstate()
            random.setstate(callers)


def recorded(constructor: Callable[..., None]) -> Callable[..., None]:
    """The constructor of a model, which also keeps its arguments as the object's ``recipe``.

    A model on features that know their data (:class:`fuxi_mtl.Dataset` has them) draws from a generator of
    its own with a stanza's seed. So what the program draws neither changes it nor is changed by it. A model
    that is a part of another draws from the other's.
    """

    @wraps(constructor)
    def construct(self: Any, *args: Any, **options: Any) -> None:
        if "recipe" in vars(self):  # a base class's constructor, or one that is run again
            constructor(self, *args, **options)
            return
        given = inspect.signature(constructor).bind_partial(self, *args, **options).arguments
        features, tasks = given.get("features"), given.get("tasks", ())
        _check_inputs(type(self).__name__, features, tasks)
        own = {key: value for key, value in options.items() if key not in ("features", "tasks")}
        wrappers = {name: each for name, each in vars(self).items() if isinstance(each, FunctionType)}
        recipe = Recipe(features, tasks, own, wrappers)
        vars(self)["recipe"] = recipe  # past Keras, which would track what is inside
        if _inside.get() or getattr(features, "reader", None) is None:
            constructor(self, *args, **options)
            return
        recipe.numbers = random.Random(TrainingOptions().seed).getstate()  # noqa: S311 - no secret
        planned = type(self).plan_tasks(tuple(tasks), getattr(tasks, "explicit", True))
        with _construction(), recipe.drawing():
            constructor(self, features, planned, **own)

    return construct


def _check_inputs(name: str, features: Any, tasks: Any) -> None:
    """Features and tasks as a dataset gives them, not as it was told of them."""
    if not (features is None or isinstance(features, FeatureMap)):
        raise ValueError(f"{name}: features is {type(features).__name__}. Give data.features, a FeatureMap.")
    if not all(isinstance(each, Task) for each in tasks):
        raise ValueError(f"{name}: tasks is {type(tasks).__name__}. Give data.tasks, or a list of Task.")


def make_again(model: keras.Model, features: Any, tasks: Sequence[Any]) -> None:
    """Runs the constructor of a model again on the same object: nothing of its former network is left.

    Layers take the seeds and the precision that are in force now.
    """
    recipe: Recipe = model.recipe
    kind: Any = type(model)
    blank = kind.__new__(kind, features, tasks, **recipe.options)
    vars(model).clear()
    vars(model).update({**vars(blank), **recipe.wrappers, "recipe": replace(recipe, numbers=None)})
    with _construction():
        model.__init__(features, tasks, **recipe.options)
