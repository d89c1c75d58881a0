"""What an experiment is about."""

from dataclasses import dataclass

from fuxi_mtl.options.declaring import option
from fuxi_mtl.options.errors import ERRORS
from fuxi_mtl.options.family import Names


@dataclass(frozen=True)
class ExperimentOptions:
    """What an experiment is about: its data, model and tasks."""

    dataset_id: str = option("", "Stanza of dataset_config.")
    model: str = option("", "A registered model; `python -m fuxi_mtl list` shows them.")
    model_root: str = option("./checkpoints/", "Folder for runs.")
    tasks: dict[str, str] | None = option(None, "Tasks by name, such as {cvr: conversion | click}.")
    num_tasks: int | None = option(None, "Checked against the tasks; not needed.")
    task: str | list[str] | None = option(
        None, "FuxiCTR's kinds, one or one a label.", ("binary_classification", "regression")
    )
    loss: str | list[str] | None = option(
        None, "Error of each task, one or one a label.", Names(*ERRORS.values())
    )
    use_features: list[str] | None = option(None, "Use only these features.")
    feature_specs: list[dict] | None = option(None, "Changes to feature_cols entries, by name.")
    feature_config: list[dict] | None = option(None, "The same, under FuxiCTR's older name.")
