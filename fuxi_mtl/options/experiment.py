"""Options of an experiment itself: its data, model and tasks."""

from dataclasses import dataclass

from fuxi_mtl.options.declaring import option
from fuxi_mtl.options.errors import ERRORS
from fuxi_mtl.options.family import Names


@dataclass(frozen=True)
class ExperimentOptions:
    """What an experiment is about: its data, model and tasks."""

    dataset_id: str = option("", "Stanza of dataset_config.")
    model: str = option("", "A registered model; `python -m fuxi_mtl list` shows them.", example="MMoE")
    model_root: str = option("./checkpoints/", "Folder under which runs are kept.")
    tasks: dict[str, str] | None = option(
        None,
        "Tasks by name, each an event of labels; one for each label unless said.",
        example="{ctr: click, cvr: conversion | click}",
    )
    num_tasks: int | None = option(None, "Number of tasks, to be checked; it may be left out.", least=1)
    task: str | list[str] | None = option(
        None,
        "Kind of all tasks, or of each, in the words of FuxiCTR; the labels' kind unless said.",
        ("binary_classification", "regression", "multiclass_classification"),
        example="[binary_classification, regression]",
    )
    loss: str | list[str] | None = option(
        None,
        "Error of all tasks, or of each; binary_crossentropy and mse unless said.",
        Names(*ERRORS.values()),
        example="[binary_crossentropy, huber]",
    )
    use_features: list[str] | None = option(None, "Use these inputs only.", example="[user_id, item_id]")
    feature_specs: list[dict] | None = option(
        None,
        "Changes to entries of feature_cols, by their name.",
        example="[{name: item_id, embedding_dim: 32}]",
    )
    feature_config: list[dict] | None = option(None, "The same as feature_specs, in older FuxiCTR.")
