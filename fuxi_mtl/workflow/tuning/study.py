"""A study of optuna in a folder: which values are tried next, and what became of those that were.

Several processes may share it, and one that was killed leaves nothing that others wait for: the lock of its
trial is free, so its values are tried again.
"""

import importlib
import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fuxi_mtl.files import held, holder_of
from fuxi_mtl.hints import extra_package
from fuxi_mtl.options.source_location import Located
from fuxi_mtl.workflow.tuning.dimensions import RANGE, Dimension, said
from fuxi_mtl.workflow.tuning.plan import STORAGES, TRIALS, Plan
from fuxi_mtl.workflow.tuning.space import Space

logger = logging.getLogger(__name__)

NAME = "tune"
ERROR, SAME = "error", "same_as"  # what a trial says of itself
_SEARCH, _PUT_BACK = "search", "put_back"  # and the study


def import_optuna() -> Any:
    """The package, without its own log.

    Raises:
        ValueError: It is not installed.
    """
    optuna = extra_package("optuna", "optuna", "tune")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


class Trial:
    """Values to try, and the lock of whoever tries them.

    Args:
        own: Optuna's trial.
        values: A value by key.
    """

    def __init__(self, own: Any, values: Mapping[str, Located]):
        self._own, self.values = own, values
        self.number = int(own.number)

    def report(self, value: float, step: int) -> bool:
        """Tells an evaluation, and asks whether it is worth going on."""
        self._own.report(value, step)
        return not self._own.should_prune()

    def note(self, **said_of_it: Any) -> None:
        """Keeps something with the trial."""
        for key, value in said_of_it.items():
            self._own.set_user_attr(key, value)


class Study:
    """What was tried, in a folder.

    Args:
        folder: Where it lies.
        space: What is varied.
        directions: ``max`` or ``min`` of each objective.
        plan: How it goes on.
        identity: What the search is known by, plain values; one that is there must have the same.

    Raises:
        ValueError: Optuna is missing, or the folder holds another search.
    """

    def __init__(
        self, folder: Path, space: Space, directions: Sequence[str], plan: Plan, identity: Mapping[str, Any]
    ):
        self._optuna = import_optuna()
        self.folder, self._space, self._plan = folder, space, plan
        self._directions = ["maximize" if each == "max" else "minimize" for each in directions]
        folder.mkdir(parents=True, exist_ok=True)
        other = next(
            (name for kind, name in STORAGES.items() if kind != plan.storage and (folder / name).exists()),
            None,
        )
        if other:
            raise ValueError(f"tune: {folder / other} is there: give its storage, or another folder.")
        with held(folder / STORAGES[plan.storage]):
            self._storage = self._open()
            self._begin(json.loads(json.dumps(identity)))
        self.most = self._most()

    def ask(self) -> "Trial | None":
        """The next values, for which :meth:`trying` must be entered; None when all have been tried.

        What killed processes left is put back first. Values that were tried to the end take their result.
        """
        while True:
            self._take_back()
            study = self._loaded()
            if len(self._counted(study)) >= self.most or (
                self._plan.sampler == "grid" and not self._waiting(study)
            ):
                return None
            own = study.ask()
            trial = Trial(own, self._space.values(partial(self._picked, own)))
            earlier = self._same(study, own)
            if earlier is None:
                return trial
            self._copy(study, own, earlier)

    @contextmanager
    def next(self) -> "Iterator[Trial | None]":
        """The next values, locked while the block tries them; None when there are none."""
        with ExitStack() as stack:
            with held(self.folder / STORAGES[self._plan.storage]):
                trial = self.ask()
                if trial is not None:
                    stack.enter_context(held(self._place(trial.number), wait=False))
            yield trial

    def tell(self, trial: Trial, values: Sequence[float]) -> None:
        """Values that were tried to the end have a result."""
        self._loaded().tell(trial.number, list(values))

    def prune(self, trial: Trial) -> None:
        """Values were not worth going on with."""
        self._loaded().tell(trial.number, state=self._states.PRUNED)

    def fail(self, trial: Trial, error: Exception) -> None:
        """Values cannot be trained."""
        trial.note(**{ERROR: f"{type(error).__name__}: {error}"})
        self._loaded().tell(trial.number, state=self._states.FAIL)

    def take_back(self) -> None:
        """What killed processes were trying waits again, and is no trial."""
        with held(self.folder / STORAGES[self._plan.storage]):
            self._take_back()

    def put_back(self, trial: Trial) -> None:
        """Nobody goes on with these values now: they are the next ones."""
        with held(self.folder / STORAGES[self._plan.storage]):
            self._put_back(self._loaded(), trial.number)

    @property
    def trials(self) -> list[Any]:
        """All that was begun, but what was put back."""
        study = self._loaded()
        return self._counted(study)

    def values_of(self, stored: Mapping[str, Any]) -> dict[str, Located]:
        """The values of a trial, and those that are fixed, from what is stored of it."""
        return {**self._space.fixed, **self.varied_of(stored)}

    def varied_of(self, stored: Mapping[str, Any]) -> dict[str, Located]:
        """The same without those that are fixed."""
        known = {each.key: each for each in self._space.dimensions}
        return {key: known[key].located(value) for key, value in stored.items()}

    @property
    def _states(self) -> Any:
        return self._optuna.trial.TrialState

    def _place(self, number: int) -> Path:
        return self.folder / "trials" / str(number)

    def _open(self) -> Any:
        storages, file = self._optuna.storages, (self.folder / STORAGES[self._plan.storage]).resolve()
        if self._plan.storage == "sqlite":
            return storages.RDBStorage(f"sqlite:///{file}", engine_kwargs={"connect_args": {"timeout": 60}})
        journal = importlib.import_module("optuna.storages.journal")
        # Its lock links to the file: relative, it points nowhere, and a killed process holds it for ever.
        return storages.JournalStorage(journal.JournalFileBackend(str(file)))

    def _begin(self, identity: dict[str, Any]) -> None:
        """Makes the study, or makes sure that the one that is there is of the same search."""
        study = self._optuna.create_study(
            study_name=NAME, storage=self._storage, directions=self._directions, load_if_exists=True
        )
        known = study.user_attrs.get(_SEARCH)
        if known is None:
            study.set_user_attr(_SEARCH, identity)
        elif known != identity:
            other = [key for key in {**known, **identity} if known.get(key) != identity.get(key)]
            differing = ", ".join(_shown(other, known, identity))
            raise ValueError(
                f"tune: {self.folder} holds another search: they differ in {differing}. Give another folder, "
                "or remove it."
            )
        if self._plan.sampler == "grid" and not study.get_trials(deepcopy=False):
            for point in self._space.grid():
                study.enqueue_trial(point)

    def _most(self) -> int:
        if self._plan.sampler != "grid":
            return self._plan.trials or TRIALS
        points = len(self._space.grid())
        if self._plan.trials is not None and self._plan.trials < points:
            logger.info("The grid has %d points; the first %d are tried.", points, self._plan.trials)
            return self._plan.trials
        return points

    def _loaded(self) -> Any:
        """The study as it is now, with a sampler that goes on from here: the same, whoever asks."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # constant_liar is an experiment to optuna
            study = self._optuna.load_study(study_name=NAME, storage=self._storage, pruner=self._pruner())
            begun = len(study.get_trials(deepcopy=False))
            [seed] = np.random.SeedSequence([self._plan.seed, begun]).generate_state(1)
            study.sampler = self._sampler(int(seed))
        return study

    def _sampler(self, seed: int) -> Any:
        samplers = self._optuna.samplers
        if self._plan.sampler == "tpe":
            return samplers.TPESampler(seed=seed, constant_liar=len(self._directions) == 1)
        return samplers.RandomSampler(seed=seed)

    def _pruner(self) -> Any:
        pruners = self._optuna.pruners
        if self._plan.pruner == "median":
            return pruners.MedianPruner(n_startup_trials=4)
        return pruners.SuccessiveHalvingPruner() if self._plan.pruner == "halving" else pruners.NopPruner()

    def _picked(self, own: Any, of: Dimension) -> Located:
        return of.located(self._suggested(own, of))

    @staticmethod
    def _suggested(own: Any, of: Dimension) -> Any:
        if of.choices:
            return own.suggest_categorical(of.key, of.points)
        if of.whole:
            return own.suggest_int(of.key, int(of.low), int(of.high), log=of.log, step=int(of.step or 1))
        return own.suggest_float(of.key, of.low, of.high, log=of.log, step=of.step)

    def _counted(self, study: Any) -> list[Any]:
        """The trials that were begun and not put back."""
        back = study.user_attrs.get(_PUT_BACK, ())
        every = study.get_trials(deepcopy=False)
        return [each for each in every if each.state != self._states.WAITING and each.number not in back]

    def _waiting(self, study: Any) -> bool:
        return bool(study.get_trials(deepcopy=False, states=(self._states.WAITING,)))

    def _take_back(self) -> None:
        study = self._loaded()
        for each in study.get_trials(deepcopy=False, states=(self._states.RUNNING,)):
            if holder_of(self._place(each.number)) is None:
                logger.info("Trial %d was killed: its values are tried again.", each.number)
                self._put_back(study, each.number)

    def _put_back(self, study: Any, number: int) -> None:
        trial = next(each for each in study.get_trials(deepcopy=False) if each.number == number)
        study.set_user_attr(_PUT_BACK, [*study.user_attrs.get(_PUT_BACK, ()), number])
        study.tell(number, state=self._states.FAIL)
        study.enqueue_trial(trial.params)

    def _same(self, study: Any, own: Any) -> Any:
        """An earlier trial of the same values that has a result; a failure is tried once more."""
        ended = (self._states.COMPLETE, self._states.PRUNED)
        earlier = study.get_trials(deepcopy=False, states=ended)
        return next(
            (each for each in earlier if each.params == own.params and SAME not in each.user_attrs), None
        )

    def _copy(self, study: Any, own: Any, earlier: Any) -> None:
        own.set_user_attr(SAME, earlier.number)
        logger.info(
            "Trial %d is trial %d again (%s): it is not trained again.",
            own.number,
            earlier.number,
            said(self.varied_of(own.params)),
        )
        if earlier.state == self._states.PRUNED:
            study.tell(own.number, state=earlier.state)
        else:
            study.tell(own.number, earlier.values)


def _shown(
    keys: Sequence[str], there: Mapping[str, Any], here: Mapping[str, Any], of: str = ""
) -> Iterator[str]:
    """What differs; of what has parts, the parts, with the key whose range they are of."""
    for key in keys:
        first, second = there.get(key), here.get(key)
        if isinstance(first, dict) and isinstance(second, dict):
            other = [name for name in {**first, **second} if first.get(name) != second.get(name)]
            yield from _shown([*other], first, second, key)
        else:
            name = f"{of}.{key}" if key in RANGE else key
            yield f"{name} ({first!r} there, {second!r} here)"
