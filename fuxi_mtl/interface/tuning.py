"""A search from a program: the same as the command's, its trials and its winner as objects."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from typing_extensions import Unpack

from fuxi_mtl import config
from fuxi_mtl.cluster import check_alone
from fuxi_mtl.config import ConfigError, make_experiment
from fuxi_mtl.config.routing import owners
from fuxi_mtl.dataset import Dataset as EncodedDataset
from fuxi_mtl.dataset import load_dataset
from fuxi_mtl.files.remote import as_path, is_url, name_of
from fuxi_mtl.interface.data import Dataset, TemporaryFolder
from fuxi_mtl.interface.fitting import Experiment, check_given, entries_of, train_in
from fuxi_mtl.interface.keywords import FitOptions
from fuxi_mtl.interface.run import Run
from fuxi_mtl.interface.session import leaves_no_trace
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.options import DatasetOptions
from fuxi_mtl.options.mistakes import Mistakes
from fuxi_mtl.options.source_location import Located
from fuxi_mtl.registry import import_zoo
from fuxi_mtl.workflow.experiment import make_model
from fuxi_mtl.workflow.tuning.outcome import Outcome
from fuxi_mtl.workflow.tuning.plan import Plan
from fuxi_mtl.workflow.tuning.search import Search, search, try_models
from fuxi_mtl.workflow.tuning.space import Space, make_space, read_space
from fuxi_mtl.workflow.tuning.study import import_optuna
from fuxi_mtl.workflow.tuning.winner import fresh_seeds, with_runs

if TYPE_CHECKING:
    import pandas as pd


class Tuning:
    """What a search came to.

    Attributes:
        outcome: Every trial, the front, the winner and what was measured of it.
        runs: The winner trained anew, a run a seed; empty where that was not asked for.
        folder: Where the search lies; the same folder goes on with it.

    Example:
        >>> found = fm.tune(model, data, {"epochs": [1]}, sampler="grid", retrain=0)
        >>> found
        <Tuning of 'MMoE': {'epochs': 1} of 1 trials>
        >>> found.to_pandas()["state"].tolist()
        ['complete']
    """

    def __init__(self, outcome: Outcome, runs: Sequence[Run], owner: TemporaryFolder | None = None):
        self.outcome, self.runs, self._owner = outcome, list(runs), owner
        self.folder = outcome.folder

    @property
    def best(self) -> dict[str, Any]:
        """What was varied, as the winner has it."""
        return dict(self.outcome.best.values)

    @property
    def scores(self) -> dict[str, float]:
        """The winner's objectives on validation rows, in the search: too good, as these rows chose it."""
        return dict(self.outcome.best.scores)

    def to_pandas(self) -> "pd.DataFrame":
        """A row a trial: its number and state, its values, its objectives, why it failed."""
        import pandas as pd

        rows = [
            {"trial": each.number, "state": each.state, **each.values, **each.scores, "error": each.error}
            for each in self.outcome.attempts
        ]
        return pd.DataFrame.from_records(rows)

    def __str__(self) -> str:
        return "\n".join(self.outcome.lines())

    def __repr__(self) -> str:
        return f"<Tuning of {self.outcome.expid!r}: {self.best} of {len(self.outcome.attempts)} trials>"


class _Origin(NamedTuple):
    """What is varied: a name, the keys of its stanza, and where its data come from."""

    expid: str
    entries: Mapping[str, Any]
    data: Dataset | None

    def make(self, values: Mapping[str, Located]) -> config.Experiment:
        return make_experiment(self.expid, self.entries, "tune", changes=values)

    def load(self, experiment: config.Experiment) -> EncodedDataset:
        if self.data is not None:
            return self.data.encoded(experiment.tasks)
        options = experiment.options
        return load_dataset(experiment.dataset, experiment.tasks, options.dataset_id, progress=False)


@leaves_no_trace
def tune(
    model: MultiTaskModel | Experiment,
    data: Dataset | None = None,
    space: Mapping[str, Any] | str | Path | None = None,
    *,
    trials: int | None = None,
    sampler: str = "tpe",
    pruner: str = "none",
    objectives: Sequence[str] = (),
    choose: str = "fairness",
    seeds: Sequence[int] = (),
    minutes: float | None = None,
    retrain: int = 3,
    folder: str | Path | None = None,
    storage: str = "journal",
    expid: str | None = None,
    **options: Unpack[FitOptions],
) -> Tuning:
    """Searches for the options of a model and of its training that do best on validation rows.

    Trials never look at test rows. The winner is trained anew with seeds that no trial had, and tested once.

    Args:
        model: A model, whose options and class are varied; or a stanza, from :func:`fuxi_mtl.experiment`.
        data: The data of a model; a stanza has its own.
        space: What is varied, by key: a list is choices, ``{"low": 1e-4, "high": 1e-2, "log": True}`` a
            range, anything else fixed; or a file of such.
        trials: How many; 40 unless said, and all points of a grid.
        sampler: ``tpe``, ``random`` or ``grid``.
        pruner: ``none``, ``median`` or ``halving``: what ends trials that fall behind.
        objectives: Metrics; the monitor unless any is named. Several give a front.
        choose: Rule that chooses from a front: ``fairness`` or ``least_misery``.
        seeds: Each trial is trained with each of them.
        minutes: No trial goes on after so many.
        retrain: With how many new seeds the winner is trained anew.
        folder: Where the search is kept, so that it can go on; without one it is temporary.
        storage: ``journal`` or ``sqlite``.
        expid: What the runs are called; the model's name unless said.
        **options: Keys of training, as :func:`fuxi_mtl.fit` takes them.

    Raises:
        ValueError: The space, an option, the data or the folder cannot be used, optuna is missing, or every
            trial failed.

    Example:
        >>> space = {"learning_rate": {"low": 0.001, "high": 0.1, "log": True}, "epochs": 1}
        >>> found = fm.tune(model, data, space, trials=1, retrain=1)
        >>> 0.001 <= found.best["learning_rate"] <= 0.1
        True
        >>> found.runs[0].seed  # the trial's was 2026
        2027
    """
    import_zoo()
    check_alone(os.environ, "tune", "Search in one of them")
    if space is None:
        raise ValueError("tune: space is missing: give what is varied, such as {'net_dropout': [0, 0.2]}.")
    objectives = (objectives,) if isinstance(objectives, str) else objectives
    plan = Plan(trials, sampler, pruner, storage, choose, minutes=minutes, retrain=retrain)
    plan.check(objectives)
    import_optuna()
    varied = make_space(space, "tune") if isinstance(space, Mapping) else read_space(space)
    varied = varied.judged_by(objectives, "objectives")
    origin = _of(model, data, expid, options, varied)
    owner = TemporaryFolder()
    if folder is not None and is_url(folder):
        raise ValueError(
            f"folder is {name_of(as_path(folder))}, a URL: a search is kept in a folder. Name one."
        )
    place = owner.path if folder is None else Path(folder)
    varied.check(origin.make)
    seed = origin.make(varied.values(lambda each: each.extremes[0])).training.seed
    plan = replace(plan, seed=seed)
    asked = Search(varied, origin.make, place, plan, tuple(objectives), tuple(seeds), load=origin.load)
    try_models(asked)
    outcome = search(asked)
    outcome.store()
    best = origin.make(outcome.located)
    runs = [
        _trained(best.with_seed(each), origin, place / "winner" / f"seed_{each}")
        for each in fresh_seeds(outcome, retrain)
    ]
    if runs:
        metrics = [run.metrics for run in runs]
        outcome = with_runs(outcome, best, "", metrics, [run.seed for run in runs])
    return Tuning(outcome, runs, owner if folder is None else None)


def _of(model: Any, data: Any, expid: str | None, options: Mapping[str, Any], space: Space) -> _Origin:
    mistakes = Mistakes()
    if isinstance(model, Experiment):
        if data is not None or options:
            what = "data" if data is not None else next(iter(options))
            raise ValueError(f"tune: {what} belongs into the stanza: fm.experiment(..., key=value).")
        return _Origin(expid or model.expid, model.config.resolved(), None)
    check_given("tune", model, data)
    entries = entries_of(model, data, options, "tune", mistakes)
    for key, entry in {**{each.key: each.entry for each in space.dimensions}, **space.fixed}.items():
        if owners().get(key.partition(".")[0]) is DatasetOptions:
            mistakes.add(ConfigError(entry.location, f"{key} is an option of the data: give it to Dataset."))
    mistakes.tell()
    return _Origin(expid or type(model).__name__, entries, data)


def _trained(experiment: config.Experiment, origin: _Origin, folder: Path) -> Run:
    return train_in(
        experiment, origin.load(experiment), partial(make_model, experiment), folder, resume=False
    )
