"""Whether the checks of conversion models fit the tasks."""

from collections.abc import Sequence
from dataclasses import replace

from fuxi_mtl.config.stanzas import Layer, Settings
from fuxi_mtl.evaluation.conversion_checks import CHECKS, conversion_pairs
from fuxi_mtl.hints import did_you_mean
from fuxi_mtl.options import EvaluationOptions
from fuxi_mtl.tasks import Task

KEY, SETTINGS = "conversion_checks", "conversion_settings"


def checked_conversion(
    settings: Settings, options: EvaluationOptions, tasks: Sequence[Task]
) -> EvaluationOptions:
    """The options, with ``conversion_checks: true`` spelled out.

    What Base asks of experiments without a conversion task is left out.

    Raises:
        ConfigError: An unknown check, a number that no check can use, or no pair of tasks to check.
    """
    _check_numbers(settings, options)
    asked = options.conversion_checks
    checks = [] if asked is False else list(CHECKS) if asked is True else asked
    for name in checks:
        if name not in CHECKS:
            raise settings.error(
                KEY,
                f"{KEY}: no check is called {name!r}.{did_you_mean(name, CHECKS)} Use true, or of "
                f"{', '.join(CHECKS)}.",
            )
    if checks and not conversion_pairs(tasks):
        if settings.layer(KEY) == Layer.BASE:
            return replace(options, conversion_checks=[])
        shown = ", ".join(f"{task.name}: {task.expression}" for task in tasks)
        raise settings.error(
            KEY,
            f"{KEY} compares clicked with unclicked exposures: it needs a task such as "
            f"'cvr: conversion | click' and one of its condition, 'ctr: click'. Tasks: {shown}.",
        )
    return replace(options, conversion_checks=checks)


def _check_numbers(settings: Settings, options: EvaluationOptions) -> None:
    given = options.conversion_settings
    wrong = ""
    if not given.matches or min(given.matches) < 1:
        wrong = f"matches is {given.matches}; give numbers of rows from 1 up."
    elif given.caliper is not None and given.caliper < 0:
        wrong = f"caliper is {given.caliper:g}; the least is 0, and null leaves it out."
    elif given.resamples < 0:
        wrong = f"resamples is {given.resamples}; the least is 0."
    elif not 0 < given.clip < 0.5:
        wrong = f"clip is {given.clip:g}; it lies above 0 and below 0.5."
    elif given.indicators < 0:
        wrong = f"indicators is {given.indicators}; the least is 0."
    if wrong:
        raise settings.error(SETTINGS, f"{SETTINGS}.{wrong}")
