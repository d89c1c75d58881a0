"""Fusion of the scores of a finished run, and its report."""

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from fuxi_mtl.comparison import Table
from fuxi_mtl.config import Experiment
from fuxi_mtl.config.fusion import misfits
from fuxi_mtl.dataset import Dataset
from fuxi_mtl.features import FeatureMap
from fuxi_mtl.fusion import Fusion, FusionObjective, Rows, fused_tasks, graded_label, report, search
from fuxi_mtl.fusion.graph import GraphFusion, graph_score
from fuxi_mtl.fusion.learning import learn
from fuxi_mtl.fusion.personal import PersonalFusion
from fuxi_mtl.options import FusionOptions, LtrOptions
from fuxi_mtl.report import render
from fuxi_mtl.runs import Run

logger = logging.getLogger(__name__)

FUSED = "fused_score"
Scores = tuple[np.ndarray, np.ndarray]  # of validation and of test rows


@dataclass(frozen=True)
class _Made:
    """A fusion with its weights, and the scores it gives."""

    fusion: Fusion | PersonalFusion
    story: dict[str, Any]
    scores: Scores
    seconds: float


def fuse_scores(
    run: Run, experiment: Experiment, data: Callable[[], Dataset], compare: bool = False
) -> Table | None:
    """Makes the fusion that an experiment asks for, and stores it and its report in the run.

    Weights are chosen on the stored scores of validation rows. On those of test rows, the fusion stands
    beside every single score.

    Args:
        run: With the stored scores.
        experiment: With the block ``fusion``.
        data: The run's data; only asked for by ``ltr``.
        compare: Also make and report the other methods, as far as they fit.

    Returns:
        The report; None without test rows.

    Raises:
        ValueError: There are no stored scores, or the fusion does not fit them.
    """
    options = experiment.fusion.fusion
    if options is None:
        raise ValueError(
            f"{experiment.expid} has no block fusion: add fusion: {{method: product}} to its stanza."
        )
    valid, test = (_read_rows(run, experiment, split) for split in ("valid", "test"))
    if valid is None:
        raise ValueError(f"{run.folder}: fusion needs validation rows, and the run has none.")
    fitting = (experiment.outputs, experiment.evaluation, experiment.dataset)
    others = variants(options) if compare else {}
    wanted = {FUSED: options, **{name: each for name, each in others.items() if not misfits(each, *fitting)}}
    made = {name: _make(each, experiment, valid, test, data) for name, each in wanted.items()}
    table = None
    if test is None:
        logger.warning("There are no test rows to report the fusion on.")
    else:
        table = _report(experiment, made, valid, test)
    _store(run, options, made[FUSED], table)
    return table


def variants(options: FusionOptions) -> dict[str, FusionOptions]:
    """The other methods with the same scores and objective, by the name of their row."""
    by_hand = isinstance(options.weights, dict) and options.scores is None
    base = replace(options, scores=list(options.weights) if by_hand else options.scores, weights="cem")
    transform = options.transform if options.method == "sum" else "sqrt"
    formulas = {
        "product": replace(base, method="product"),
        f"sum of {transform}": replace(base, method="sum", transform=transform),
        "rank": replace(base, method="rank", rank_constant=options.rank_constant or 60.0),
    }
    found = {
        f"{name}, {weights}": replace(each, weights=weights)
        for name, each in formulas.items()
        for weights in ("equal", "cem")
    }
    if options.label:
        for loss in ("pairwise", "lambdarank", "listnet"):
            found[f"ltr, {loss}"] = replace(base, method="ltr", ltr=replace(options.ltr, loss=loss))
    return {name: each for name, each in found.items() if each != options}


def load_fusion(run: Run, features: FeatureMap, row_by_row: bool = False) -> GraphFusion | None:
    """What makes the fused score of an encoded batch and its predictions; None if the run has none.

    Args:
        run: The run.
        features: Its inputs.
        row_by_row: Whether a batch is any rows, not one request: ranks, which need one, are then left out.

    Raises:
        ValueError: A file is damaged.
    """
    if not run.fusion.exists():
        return None
    stored = run.read_json(run.fusion)
    try:
        if stored["method"] == "rank" and row_by_row:
            logger.warning(
                "No %s: ranks are those within a request. The SavedModel takes a batch as one.", FUSED
            )
            return None
        if stored["method"] != "ltr":
            formula = Fusion.of(stored["fusion"])
            return lambda _, scores: graph_score(formula, scores)
        network = PersonalFusion(
            features, stored["fusion"]["names"], LtrOptions(**stored["fusion"]["options"])
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{run.fusion} is damaged ({error}): fuse the run again.") from error
    network.load(run.fusion_network)
    return lambda inputs, scores: tf.cast(network.score(inputs, scores), tf.float64)


def _read_rows(run: Run, experiment: Experiment, split: str) -> Rows | None:
    scores = run.read_scores(split)
    try:
        return None if scores is None else Rows.stored(scores, experiment.outputs)
    except ValueError as error:
        raise ValueError(f"{run.scores(split)} {error}: run the experiment again.") from error


def _make(
    options: FusionOptions,
    experiment: Experiment,
    valid: Rows,
    test: Rows | None,
    data: Callable[[], Dataset],
) -> _Made:
    start, gauc_weight = time.monotonic(), experiment.evaluation.gauc_weight
    if options.method == "ltr":
        return _learn(options, experiment, valid, test, data())
    found = search(options, valid, experiment.outputs, gauc_weight)
    logger.info("Fusion by %s with weights %s.", options.method, _shown(found.fusion.weights))
    seconds = time.monotonic() - start
    scores = tuple(
        np.zeros(0) if rows is None else found.fusion(rows.scores, rows.groups) for rows in (valid, test)
    )
    return _Made(found.fusion, found.story, (scores[0], scores[1]), seconds)


def _learn(
    options: FusionOptions, experiment: Experiment, valid: Rows, test: Rows | None, dataset: Dataset
) -> _Made:
    start, names = time.monotonic(), fused_tasks(options, experiment.outputs)
    keras.utils.set_random_seed(options.ltr.seed)
    network = PersonalFusion(dataset.feature_map, names, options.ltr)
    grades = graded_label(valid.labels, options.label or {}, experiment.outputs)
    scores = {name: valid.scores[name] for name in names}
    splits = dataset.valid, dataset.test
    if splits[0] is None:
        raise ValueError(f"{experiment.expid}: the data have no validation rows any more.")
    ids, numeric = np.asarray(splits[0].ids), np.asarray(splits[0].numeric)
    story = learn(network, ids, numeric, scores, grades, valid.groups, options.ltr)
    seconds = time.monotonic() - start
    fused = [
        np.zeros(0)
        if split is None or rows is None
        else network.score_rows(split.ids, split.numeric, rows.scores)
        for split, rows in zip(splits, (valid, test), strict=True)
    ]
    return _Made(network, story, (fused[0], fused[1]), seconds)


def _report(experiment: Experiment, made: Mapping[str, _Made], valid: Rows, test: Rows) -> Table:
    options = experiment.fusion.fusion or FusionOptions()
    gauc_weight = experiment.evaluation.gauc_weight
    on_valid, on_test = (
        FusionObjective(rows, options, experiment.outputs, gauc_weight) for rows in (valid, test)
    )
    parts = " + ".join(f"{weight:g} {key}" for key, weight in on_valid.coefficients.items())
    return report(
        experiment.options.dataset_id,
        experiment.training.seed,
        on_valid,
        on_test,
        {name: (valid.scores[name], test.scores[name]) for name in valid.scores},
        {name: each.scores for name, each in made.items()},
        test.groups,
        notes=[
            f"objective = {parts}. Weights were chosen on validation rows, as was the baseline.",
            f"{FUSED} is by {_described(options)}.",
            *(["Sample weights do not count here."] if experiment.evaluation.eval_sample_weight else []),
        ],
        seconds={name: each.seconds for name, each in made.items()},
    )


def _described(options: FusionOptions) -> str:
    if options.method == "ltr":
        return f"ltr, {options.ltr.loss}"
    how = "weights by hand" if isinstance(options.weights, dict) else options.weights
    method = f"sum of {options.transform}" if options.method == "sum" else options.method
    return f"{method}, {how}"


def _store(run: Run, options: FusionOptions, made: _Made, table: Table | None) -> None:
    if isinstance(made.fusion, Fusion):
        run.fusion_network.unlink(missing_ok=True)
        plain = made.fusion.plain()
    else:
        made.fusion.save(run.fusion_network)
        plain = {"names": list(made.fusion.names), "options": asdict(options.ltr)}
    found = None if table is None else json.loads(render([table], "json"))[0]
    run.write_json(
        run.fusion, {"method": options.method, "fusion": plain, "search": made.story, "report": found}
    )


def _shown(weights: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {weight:.4g}" for name, weight in weights.items())
