"""A small config folder and models without a network: nothing here needs TensorFlow."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from fuxi_mtl import registry
from fuxi_mtl.tasks import Task

MODEL_CONFIG = """\
Base:
  model_root: ./runs/
MMoE_test:
  model: MMoE
  dataset_id: tiny
"""
DATASET_CONFIG = """\
tiny:
  train_data: train.csv
  valid_data: valid.csv
"""
FEATURES = """\
  feature_cols:
    - {name: [user, item]}
    - {name: price, type: numeric, dtype: float}
    - {name: request, type: meta}
"""
LABELS = """\
  label_col:
    - {name: click, dtype: float}
    - {name: conversion, dtype: float}
"""


class Model:
    """What `fuxi_mtl.config` asks of a model's class."""

    @classmethod
    def plan_tasks(cls, tasks: Sequence[Task], explicit: bool = True) -> tuple[Task, ...]:
        return tuple(tasks)

    @classmethod
    def supervised_tasks(cls, tasks: Sequence[Task]) -> tuple[Task, ...]:
        return tuple(tasks)

    @classmethod
    def objective_names(cls, tasks: Sequence[Task]) -> tuple[str, ...]:
        return tuple(task.name for task in cls.supervised_tasks(tasks))


class MMoE(Model):
    def __init__(
        self,
        features,
        tasks,
        *,
        embedding_dim: int = 16,
        num_experts: int = 8,
        expert_hidden_units: Sequence[int] = (256, 128),
        hidden_activations: str | Sequence[str] = "relu",
        net_dropout: float = 0.0,
        batch_norm: bool = False,
        embedding_regularizer: float | str = 1e-6,
        gate_stabilize: dict | None = None,
    ): ...


class ShareBottom(Model):
    def __init__(self, features, tasks, *, bottom_hidden_units: Sequence[int] = (256, 128)): ...


class Chain(Model):
    """Three heads from two labels, two objectives: as entire-space models do."""

    def __init__(self, features, tasks, *, embedding_dim: int = 16): ...

    @classmethod
    def plan_tasks(cls, tasks, explicit=True):
        if len(tasks) < 2:
            raise ValueError("Chain needs two labels, the click first.")
        if explicit:
            return tuple(tasks)
        click, conversion = (task.event[0] for task in tasks)
        return (
            Task("ctr", (click,)),
            Task("cvr", (conversion,), (click,)),
            Task("ctcvr", (click, conversion)),
        )

    @classmethod
    def supervised_tasks(cls, tasks):
        return tuple(task for task in tasks if not task.given)


class Demanding(Model):
    def __init__(self, features, tasks, *, clusters: int): ...


class Greedy(Model):
    def __init__(self, features, tasks, *, seed: int = 1): ...


@pytest.fixture
def models(monkeypatch):
    """Replaces the registered models."""
    classes = (MMoE, ShareBottom, Chain, Demanding, Greedy)
    monkeypatch.setattr(registry, "_MODELS", {each.__name__: each for each in classes})


@pytest.fixture
def write(tmp_path, monkeypatch, models):
    """Writes the folder ``config`` with changes, and makes its parent the working directory."""
    monkeypatch.chdir(tmp_path)

    def write(
        stanza: str = "",
        dataset: str = "",
        features: str = FEATURES,
        labels: str = LABELS,
        model_config: str = MODEL_CONFIG,
        dataset_config: str = DATASET_CONFIG,
    ) -> Path:
        folder = tmp_path / "config"
        folder.mkdir(exist_ok=True)
        text = model_config + "".join(f"  {line}\n" for line in stanza.splitlines())
        (folder / "model_config.yaml").write_text(text, encoding="utf-8")
        more = "".join(f"  {line}\n" for line in dataset.splitlines())
        if dataset_config == DATASET_CONFIG:
            more = more + features + labels
        (folder / "dataset_config.yaml").write_text(dataset_config + more, encoding="utf-8")
        return Path("config")

    return write
