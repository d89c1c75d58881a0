"""Stanzas that train on simulated data at once.

Truth and outcomes are columns of the kind ``meta``: carried along for evaluation, never an input.
"""

from pathlib import Path
from typing import Any

import yaml

from fuxi_mtl.files import write_text
from fuxi_mtl.simulation import funnel, regression
from fuxi_mtl.simulation.settings import FunnelSettings, Settings, split_rows
from fuxi_mtl.simulation.world import MOST_TAGS, TRAITS
from fuxi_mtl.tasks import Task, conversion_tasks

MARK = "# Written by `python -m fuxi_mtl simulate`, which writes it anew."
_COMMON = {
    "loss_weight": "EQ",
    "optimizer": "adam",
    "learning_rate": 2e-3,
    "embedding_dim": 8,
    "embedding_regularizer": 1e-6,
    "net_dropout": 0,
    "batch_norm": False,
    "batch_size": 1024,
    "epochs": 10,
    "seed": 2026,
}


def dataset_stanza(settings: Settings, folder: Path, dataset_id: str) -> dict[str, Any]:
    """The stanza of ``dataset_config``."""
    files = {f"{name}_data": (folder / f"{name}.parquet").as_posix() for name in split_rows(settings)}
    of_funnel = isinstance(settings, FunnelSettings)
    stanza: dict[str, Any] = {"data_root": folder.parent.as_posix() + "/", "data_format": "parquet", **files}
    if of_funnel:
        stanza["group_id"] = "user_id"
    stanza["feature_cols"] = _funnel_inputs() if of_funnel else _regression_inputs(settings)
    stanza["label_col"] = (
        [{"name": "click", "dtype": "float"}]
        + [{"name": name, "dtype": "float", "given": "click"} for name in ("cart", "conversion")]
        if of_funnel
        else [{"name": name, "dtype": "float", "kind": "regression"} for name in ("y1", "y2")]
    )
    return {dataset_id: stanza}


def _funnel_inputs() -> list[dict[str, Any]]:
    traits = [f"user_trait_{k + 1}" for k in range(TRAITS)]
    truth = [name for name in funnel.TRUTH if not name.startswith("outcome_")]
    outcomes = [name for name in funnel.TRUTH if name.startswith("outcome_")]
    return [
        {"name": ["user_id", "item_id"], "type": "categorical", "dtype": "int", "min_categr_count": 2},
        {"name": ["category", "hour", "position"], "type": "categorical", "dtype": "int"},
        {"name": [*traits, "log_price"], "type": "numeric", "dtype": "float", "normalizer": "StandardScaler"},
        {"name": "tags", "type": "sequence", "splitter": "^", "max_len": MOST_TAGS, "pooling": "mean"},
        {"name": ["request_id", "user_id", *outcomes], "type": "meta", "dtype": "int"},
        {"name": ["time", *truth], "type": "meta", "dtype": "float"},
    ]


def _regression_inputs(settings: Settings) -> list[dict[str, Any]]:
    names = [f"x{k + 1}" for k in range(getattr(settings, "dimensions", 0))]
    return [
        {"name": names, "type": "numeric", "dtype": "float"},
        {"name": list(regression.TRUTH), "type": "meta", "dtype": "float"},
    ]


def model_stanzas(settings: Settings, dataset_id: str) -> dict[str, Any]:
    """Some experiments of ``model_config``; others need only the same ``dataset_id`` and tasks."""
    common = {"dataset_id": dataset_id, **_COMMON}
    if not isinstance(settings, FunnelSettings):
        common |= {"metrics": ["RMSE"], "monitor": "RMSE"}
        experts = {"num_experts": 4, "expert_hidden_units": [32], "tower_hidden_units": [16]}
        return {
            f"SingleTask_{dataset_id}": {**common, "model": "SingleTask", "tower_hidden_units": [32, 16]},
            f"ShareBottom_{dataset_id}": {
                **common,
                "model": "ShareBottom",
                "bottom_hidden_units": [128],
                "tower_hidden_units": [16],
            },
            f"MMoE_{dataset_id}": {**common, "model": "MMoE", **experts},
        }
    labels = (Task(name, (name,)) for name in ("click", "conversion"))
    rates = {task.name: task.expression for task in conversion_tasks(*labels)}
    common |= {"tasks": rates, "metrics": ["AUC", "logloss"], "monitor": "AUC"}
    experts = {"num_experts": 4, "expert_hidden_units": [64, 32], "tower_hidden_units": [32]}
    return {
        f"SingleTask_{dataset_id}": {**common, "model": "SingleTask", "tower_hidden_units": [64, 32]},
        f"MMoE_{dataset_id}": {**common, "model": "MMoE", **experts},
        f"ESMM_{dataset_id}": {**common, "model": "ESMM", "tower_hidden_units": [64, 32]},
        f"ESM2_{dataset_id}": {
            **common,
            "model": "ESM2",
            "tasks": {**rates, "ctavr": "click & cart"},
            "tower_hidden_units": [64, 32],
        },
    }


class _Plain(yaml.SafeDumper):
    """Writes what two stanzas share twice, instead of a reference that nobody can read."""

    def ignore_aliases(self, data: Any) -> bool:
        """Never an alias."""
        return True


def as_yaml(stanzas: dict[str, Any]) -> str:
    """The text of a file of stanzas."""
    return (
        MARK + "\n" + yaml.dump(stanzas, Dumper=_Plain, sort_keys=False, width=110, default_flow_style=None)
    )


def check_config(folder: Path, dataset_id: str) -> None:
    """Whether the stanzas can be written, before anything is simulated.

    Raises:
        ValueError: The folder has one file for all stanzas, or a file of that name by another hand.
    """
    for kind in ("dataset_config", "model_config"):
        if (single := folder / f"{kind}.yaml").exists():
            raise ValueError(
                f"{single} holds all stanzas of its kind and is not rewritten: leave --config out and add "
                "what is printed."
            )
        file = folder / kind / f"{dataset_id}.yaml"
        if file.exists() and not file.read_text(encoding="utf-8").startswith(MARK):
            raise ValueError(f"{file} was not written by simulate: choose another --dataset_id.")


def write_config(folder: Path, dataset_id: str, dataset: dict[str, Any], models: dict[str, Any]) -> None:
    """Writes ``dataset_config/{dataset_id}.yaml`` and ``model_config/{dataset_id}.yaml``."""
    for kind, stanzas in (("dataset_config", dataset), ("model_config", models)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        write_text(folder / kind / f"{dataset_id}.yaml", as_yaml(stanzas))
