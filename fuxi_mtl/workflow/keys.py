"""Kinds of keys of a stanza: what trains, lengthens, watches, is measured, or has no effect."""

import json
from collections.abc import Mapping
from typing import Any

from fuxi_mtl.config import Experiment
from fuxi_mtl.dataset.cache import absolute
from fuxi_mtl.evaluation.evaluate import metrics_of
from fuxi_mtl.evaluation.monitor import watched_keys
from fuxi_mtl.metrics import METRICS
from fuxi_mtl.options import TRACKERS

# What is made of a trained model: another value is measured on the model that is there.
_MEASURED = (
    *("metrics", "metrics_by", "group_id", "gauc_weight", "threshold"),
    *("conversion_checks", "conversion_settings", "calibration", "value_calibration", "expected"),
)
# What a trained model and its metrics do not depend on. What files hold is told by the key of the data.
_WITHOUT_EFFECT = (
    *(
        "fusion",
        "verbose",
        "tensorboard",
        "trackers",
        "num_workers",
        "encode_workers",
        "embedding_sharding",
        "log_every",
        "eval_batch_size",
        "pickle_feature_encoder",
    ),
    *("save_predictions", "export", "model_root"),
    *("save_every_steps", "save_every_minutes", "keep_checkpoints"),
    *("remote_cache", "remote_cache_gb"),
    *("data_root", "data_block_size", "train_data", "valid_data", "test_data"),
    *("last_day", "missing_days"),
)
# What may change between an interruption and what goes on from there: it lengthens the training, chooses
# what is kept at its end, or watches it.
_LENGTHEN = ("epochs", "max_train_steps")
_WATCH = (
    *("early_stop_patience", "save_best_only", "final_weights"),
    *("grad_diag_enabled", "grad_diag_every", "grad_diag_target", "grad_diag_min", "grad_diag_min_tasks"),
    "log_health_metrics",
)


def training_keys(experiment: Experiment) -> dict[str, Any]:
    """The keys of an experiment that its training depends on, and what of the others decides when it ends."""
    flat = {
        key: value
        for key, value in experiment.resolved().items()
        if key not in (*_MEASURED, *_WITHOUT_EFFECT, *TRACKERS.keys())
    }
    flat["label_col"] = [_without(entry, "metrics", "threshold") for entry in flat["label_col"]]
    # Where the file with vectors lies is no matter; what it holds is in the key of the data.
    flat["feature_cols"] = [
        {**entry, "pretrained_emb": absolute(entry["pretrained_emb"])}
        if entry.get("pretrained_emb")
        else entry
        for entry in flat["feature_cols"]
    ]
    return {**flat, **_watched(experiment)}


def shared_keys(experiment: Experiment) -> dict[str, Any]:
    """Those that all workers of a training must share; where each finds its files is its own."""
    flat = training_keys(experiment)
    flat["feature_cols"] = [
        {**entry, "pretrained_emb": bool(entry["pretrained_emb"])} if "pretrained_emb" in entry else entry
        for entry in flat["feature_cols"]
    ]
    flat |= {key: flat[key] is not None for key in ("init_from", "resume_path")}
    return flat | {
        "eval_batch_size": experiment.evaluation.eval_batch_size,
        "embedding_sharding": experiment.training.embedding_sharding,
    }


def keys_of_going_on(experiment: Experiment) -> dict[str, Any]:
    """Those of them that an interrupted training must share with what goes on from it.

    A plan of the learning rate that names no steps of its own follows from how long the training is.
    """
    plan = experiment.optimizer.lr_scheduler
    planned = plan is not None and plan.enabled and plan.type == "cosine" and plan.total_steps is None
    free = _WATCH if planned else (*_WATCH, *_LENGTHEN)
    return {key: value for key, value in training_keys(experiment).items() if key not in free}


def _watched(experiment: Experiment) -> dict[str, Any]:
    """What the watched number is made of: it chooses the step whose weights are kept."""
    evaluation, training, tasks = experiment.evaluation, experiment.training, experiment.outputs
    measured = {f"{task.name}_{name}": name for task in tasks for name in metrics_of(task, evaluation)}
    terms = watched_keys(training.monitor)
    parts = {key: METRICS[name] for key, name in measured.items() if {key, name} & terms}
    needed = {each for metric in parts.values() for each in metric.inputs}
    found: dict[str, Any] = {"watched": sorted(parts)}
    if needed & {"groups", "gauc_weight"}:
        found |= {"group_id": evaluation.group_id, "gauc_weight": evaluation.gauc_weight}
    if "threshold" in needed:
        found["threshold"] = [
            evaluation.threshold,
            *(each.threshold for each in experiment.dataset.label_col),
        ]
    if training.max_valid_steps is not None:  # so many batches of so many rows are watched
        found["eval_batch_size"] = evaluation.eval_batch_size
    return found


def measured_keys(experiment: Experiment) -> dict[str, Any]:
    """The keys of an experiment that say what of its predictions is measured."""
    flat = experiment.resolved()
    by_label = {
        f"{key} of {entry['name']}": entry.get(key)
        for entry in flat["label_col"]
        for key in ("metrics", "threshold")
    }
    return {**{key: flat.get(key) for key in _MEASURED}, **by_label}


def changed_keys(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The keys whose values are not the same."""
    return [key for key in {**before, **now} if before.get(key) != now.get(key)]


def as_read_again(keys: Mapping[str, Any]) -> dict[str, Any]:
    """Keys as JSON gives them back, to be compared with what was."""
    return json.loads(json.dumps(keys, default=str))


def told_changes(there: Mapping[str, Any], here: Mapping[str, Any], where: str = "here") -> list[str]:
    """The keys whose values are not the same, each with both, as messages say it."""
    return [
        f"{key} ({there.get(key)!r} there, {here.get(key)!r} {where})" for key in changed_keys(there, here)
    ]


def _without(entry: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key not in keys}
