"""A search: values are tried until there are enough, or the time is over."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tensorflow as tf

from fuxi_mtl.config import ConfigError, Experiment
from fuxi_mtl.dataset import Dataset
from fuxi_mtl.interruption import remembered
from fuxi_mtl.options.source_location import Located
from fuxi_mtl.workflow.experiment import load_data, try_model
from fuxi_mtl.workflow.sweep import let_go
from fuxi_mtl.workflow.tuning.dimensions import is_of_models, said
from fuxi_mtl.workflow.tuning.outcome import Outcome, outcome_of
from fuxi_mtl.workflow.tuning.plan import Plan
from fuxi_mtl.workflow.tuning.space import Space
from fuxi_mtl.workflow.tuning.study import Study, Trial
from fuxi_mtl.workflow.tuning.trial import (
    Objective,
    OverError,
    PrunedError,
    check_judged,
    objectives_of,
    try_values,
)

logger = logging.getLogger(__name__)

FOLDER = "tune"  # beside the runs of the stanza
_FIRST_TRIALS = 3  # of which all may not fail
# Keys that may change while a search goes on.
_FREE = ("model_root", "verbose", "num_workers", "export", "save_predictions")


@dataclass(frozen=True)
class Search:
    """What is searched, and how.

    Attributes:
        space: What is varied.
        make: Gives the experiment of some values; without any the stanza as it is.
        folder: Where the study lies.
        plan: How it goes on.
        objectives: Metrics; the stanza's monitor unless any is named.
        seeds: Each trial is trained with each of them; with the stanza's unless any is named.
        load: Gives the data of an experiment.
        strategy: The devices.
    """

    space: Space
    make: Callable[[Mapping[str, Located]], Experiment]
    folder: Path
    plan: Plan = field(default_factory=Plan)
    objectives: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    load: Callable[[Experiment], Dataset] = load_data
    strategy: tf.distribute.Strategy | None = None


def search(search: Search, interrupted: Callable[[Outcome], None] | None = None) -> Outcome:
    """Tries values, or goes on with that, until as many were tried as asked for.

    Args:
        search: What is searched.
        interrupted: Takes what the search has come to where it is interrupted behind a complete trial.

    Raises:
        ValueError: The plan cannot be carried out, the folder holds another search, or every trial failed.
        KeyboardInterrupt: It was interrupted; the same command goes on.
    """
    base = search.make(search.space.values(lambda each: each.extremes[0]))
    objectives = objectives_of(base, search.objectives)
    search.plan.check([each.name for each in objectives])
    seeds = search.seeds or (base.training.seed,)
    data = search.load(base)
    check_judged(data)
    identity = {
        "stanza": {key: value for key, value in base.resolved().items() if key not in _FREE},
        "space": search.space.described,
        "objectives": [each.name for each in objectives],
        "seeds": list(seeds),
        "data": data.key,
    }
    study = Study(search.folder, search.space, [each.direction for each in objectives], search.plan, identity)

    def outcome() -> Outcome:
        return outcome_of(study, base, objectives, seeds, search.plan.choose)

    try:
        with remembered() as check:
            _try_all(search, study, objectives, seeds, check)
    except KeyboardInterrupt:
        if interrupted is not None and _is_any_complete(study):
            interrupted(outcome())
        raise
    study.take_back()
    return outcome()


def _try_all(
    search: Search,
    study: Study,
    objectives: Sequence[Objective],
    seeds: Sequence[int],
    check: Callable[[], None],
) -> None:
    """Tries values until there are none left, or the time is over."""
    started = time.monotonic()
    until = None if search.plan.minutes is None else started + 60 * search.plan.minutes
    told: set[str] = set()  # what was left out of the stanza, a line each
    while until is None or time.monotonic() < until or not _is_any_complete(study):
        check()
        with study.next() as trial:
            if trial is None:
                break
            experiment = search.make(trial.values)
            for note in experiment.notes:
                if note not in told:
                    logger.info("%s", note)
                    told.add(note)
            _try(search, experiment, study, trial, objectives, seeds, until, check)
    else:
        logger.info(
            "%g minutes are over: no further trial is begun. The same command goes on.", search.plan.minutes
        )


def try_models(search: Search) -> None:
    """Builds the model of each value of the space once, so that what constructors refuse is told first.

    Raises:
        ValueError: What a model refuses.
    """

    def judge(values: Mapping[str, Located]) -> None:
        try:
            try_model(search.make(values))
        except ConfigError:
            raise
        except ValueError as error:
            raise ConfigError(search.space.source, str(error)) from error

    search.space.check(judge, of=is_of_models)


def _try(
    search: Search,
    experiment: Experiment,
    study: Study,
    trial: Trial,
    objectives: Sequence[Objective],
    seeds: Sequence[int],
    until: float | None,
    check: Callable[[], None],
) -> None:
    """One trial, and what becomes of it."""

    def report(value: float, step: int) -> bool:
        check()
        return len(objectives) > 1 or trial.report(value, step)  # of several, none are pruned

    name = f"Trial {trial.number}"
    begun, values = len(study.trials), said(search.space.varied(trial.values))
    logger.info("%s, %d of %d: %s", name, begun, study.most, values)
    last = until if _is_any_complete(study) else None  # one result there should be
    folder = search.folder / "trials" / str(trial.number)
    try:
        tried = try_values(experiment, search.load, seeds, objectives, report, folder, search.strategy, last)
    except PrunedError:
        study.prune(trial)
        logger.info("%s is pruned: others were better at this evaluation.", name)
    except OverError:
        study.put_back(trial)
        logger.info("%s is cut off by the time; its values are the next ones.", name)
    except KeyboardInterrupt:
        study.put_back(trial)
        raise
    except (ValueError, RuntimeError, OSError, MemoryError) as error:
        study.fail(trial, error)
        log = logger.error if isinstance(error, (ValueError, OSError)) else logger.exception
        log("%s failed: %s", name, error)
        let_go(error)
        _check_any_hope(study)
    else:
        trial.note(
            by_seed={str(seed): values for seed, values in tried.by_seed.items()},
            best_epochs={str(seed): epoch for seed, epoch in tried.best_epochs.items()},
            seconds=tried.seconds,
            num_parameters=tried.parameters,
        )
        study.tell(trial, tried.values)
        shown = ", ".join(
            f"{objective.name} {value:.6f}" for objective, value in zip(objectives, tried.values, strict=True)
        )
        logger.info("%s: %s (%.0f s).", name, shown, tried.seconds)


def _is_any_complete(study: Study) -> bool:
    return any(each.state.name == "COMPLETE" for each in study.trials)


def _check_any_hope(study: Study) -> None:
    """Raises if the first trials have all failed: so will the others.

    Raises:
        ValueError: With the reason of the last.
    """
    trials: list[Any] = study.trials
    failed = [each for each in trials if each.state.name == "FAIL"]
    if len(failed) == len(trials) >= _FIRST_TRIALS:
        raise ValueError(
            f"tune: all {len(failed)} trials failed, the last because: {failed[-1].user_attrs.get('error')} "
            f"{study.folder} keeps them; remove it before the next search."
        )
