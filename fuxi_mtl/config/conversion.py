"""Checks of ``conversion_checks`` against the tasks."""

from collections.abc import Sequence
from dataclasses import replace

from fuxi_mtl.config.stanzas import Layer, Settings
from fuxi_mtl.options import EvaluationOptions
from fuxi_mtl.options.evaluation import CONVERSION_CHECKS
from fuxi_mtl.tasks import Task

KEY, SETTINGS = "conversion_checks", "conversion_settings"


def checked_conversion(
    settings: Settings, options: EvaluationOptions, tasks: Sequence[Task]
) -> EvaluationOptions:
    """The options, with ``conversion_checks: true`` spelled out.

    What Base asks of experiments without a conversion task is left out.

    Raises:
        ConfigError: No number of matches, or no pair of tasks to check.
    """
    if not options.conversion_settings.matches:
        raise settings.error(SETTINGS, f"{SETTINGS}.matches is []; give numbers of rows from 1 up.")
    asked = options.conversion_checks
    checks = list(CONVERSION_CHECKS) if asked is True else asked or []
    if checks and not _pairs(tasks):
        if settings.layer(KEY) == Layer.BASE:
            return replace(options, conversion_checks=[])
        shown = ", ".join(f"{task.name}: {task.expression}" for task in tasks)
        raise settings.error(
            KEY,
            f"{KEY} compares clicked with unclicked exposures: it needs a task such as "
            f"'cvr: conversion | click' and one of its condition, 'ctr: click'. Tasks: {shown}.",
        )
    return replace(options, conversion_checks=checks)


def _pairs(tasks: Sequence[Task]) -> Sequence:
    from fuxi_mtl.evaluation.conversion_checks import conversion_pairs  # with it come the checks themselves

    return conversion_pairs(tasks)
