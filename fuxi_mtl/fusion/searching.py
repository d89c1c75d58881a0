"""Weights of a fusion: by hand, or searched on validation rows."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fuxi_mtl.fusion.cem import cross_entropy_method
from fuxi_mtl.fusion.formulas import Fusion
from fuxi_mtl.fusion.objective import FusionObjective, Rows
from fuxi_mtl.fusion.online import Traffic, search_online
from fuxi_mtl.hints import extra_package
from fuxi_mtl.options import FusionOptions, SearchOptions
from fuxi_mtl.tasks import Task

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Searched:
    """A fusion and how its weights came about.

    Attributes:
        fusion: With its weights.
        story: What a search did: ``objective`` on validation rows, ``business`` of an online trial.
    """

    fusion: Fusion
    story: dict[str, Any] = field(default_factory=dict)


def fused_tasks(options: FusionOptions, tasks: Sequence[Task]) -> list[str]:
    """The tasks whose scores are joined: those named, else all that the formula can take."""
    if options.scores is not None:
        return list(options.scores)
    if isinstance(options.weights, dict):
        return list(options.weights)
    any_number = options.method == "rank" or (options.method, options.transform) == ("sum", "identity")
    kinds = ("binary", "regression") if any_number else ("binary",)
    return [task.name for task in tasks if task.kind in kinds and not task.product]


def positive(z: np.ndarray) -> np.ndarray:
    """Weights of a searched vector: above 0, with a sum of 1.

    Only their ratios order rows, for products as for sums, so one dimension less would do; softmax treats
    all scores alike.
    """
    grown = np.exp(z - z.max(axis=-1, keepdims=True))
    return grown / grown.sum(axis=-1, keepdims=True)


def search(
    options: FusionOptions, rows: Rows, tasks: Sequence[Task], gauc_weight: str = "exposures"
) -> Searched:
    """The fusion that a stanza asks for, by a formula.

    Args:
        options: The block ``fusion``; not ``ltr``.
        rows: Validation rows, on which weights are searched.
        tasks: The tasks.
        gauc_weight: What weighs a group in gAUC.

    Raises:
        ValueError: A score does not fit the formula, the objective is not defined on these rows, or
            optuna is not installed.
    """
    names = fused_tasks(options, tasks)
    if isinstance(options.weights, dict):
        return Searched(Fusion.asked(options, {name: options.weights[name] for name in names}))
    fusion = Fusion.asked(options, dict.fromkeys(names, 1 / len(names)))
    if options.weights == "equal":
        return Searched(fusion)
    terms = fusion.terms(rows.scores, rows.groups)
    objective = FusionObjective(rows, options, tasks, gauc_weight)
    equal = objective(fusion.join(terms))
    if np.isnan(equal):
        values = objective.values(fusion.join(terms))
        undefined = next(key for key, value in values.items() if np.isnan(value))
        raise ValueError(
            f"fusion: {undefined} is not defined on the validation rows. Leave it out of objective."
        )
    story: dict[str, Any] = {"search": options.weights, "equal_weights": equal}
    if options.weights == "online":
        if objective.grades is None:
            raise ValueError("fusion: weights: online needs label, the values of the tasks' labels.")
        trial = search_online(
            Traffic(fusion, terms, objective.grades, rows.groups, options.search),
            options.search,
            len(names),
            positive,
        )
        z = trial.found.mean
        story |= {"business_at_start": trial.at_start, "business": trial.business}
    else:
        z = _offline(options, lambda each: objective(fusion.join(terms, positive(each))), len(names))
    fusion = Fusion.asked(options, dict(zip(names, positive(z).tolist(), strict=True)))
    story["objective"] = objective(fusion.join(terms))
    return Searched(fusion, story)


def _offline(options: FusionOptions, measure, dimensions: int) -> np.ndarray:
    if options.weights == "optuna":
        return search_optuna(measure, dimensions, options.search)
    found = cross_entropy_method(
        lambda drawn: np.array([measure(each) for each in drawn]),
        np.zeros(dimensions),
        np.ones(dimensions),
        rounds=options.search.rounds,
        samples=options.search.samples,
        elites=options.search.elites,
        smoothing=options.search.smoothing,
        least_deviation=options.search.least_deviation,
        seed=options.search.seed,
    )
    return found.best if found.value > measure(found.mean) else found.mean


def search_optuna(measure, dimensions: int, options: SearchOptions) -> np.ndarray:
    """The best of ``trials`` vectors within -4 to 4 by optuna's tree-structured Parzen estimator.

    Raises:
        ValueError: optuna is not installed.
    """
    optuna = extra_package("optuna", "optuna", "fusion: weights: optuna", "or use weights: cem")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=options.seed))

    def tried(trial) -> float:
        return measure(np.array([trial.suggest_float(f"z{k}", -4.0, 4.0) for k in range(dimensions)]))

    study.optimize(tried, n_trials=options.trials)
    return np.array([study.best_params[f"z{k}"] for k in range(dimensions)])
