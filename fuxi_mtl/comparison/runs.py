"""Stored runs, read from the folders ``{model_root}/{dataset_id}/{expid}/seed_{seed}``."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from fuxi_mtl.files import check_yaml
from fuxi_mtl.hints import among
from fuxi_mtl.lineage import newest_days, split_day
from fuxi_mtl.runs import Run, StoredScores, local_root, run_folders

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoredRun:
    """One finished run.

    Attributes:
        folder: Where it lies.
        expid: Key of the experiment.
        dataset_id: Dataset it was trained on.
        model: Class of the model.
        seed: Its seed.
        tasks: Expression of each task, by name.
        metrics: Values by split (``valid``, ``test``) and key, NaN where undefined.
        undefined: Reasons of those NaN, by split and key.
        num_parameters: Variables of the model, None where unknown.
        train_seconds: Wall clock of the training, None where unknown.
        rows_per_second: Training rows a second, None where unknown.
        best_step: Step of the checkpoint that was kept, None where unknown.
        thresholds: Decision thresholds on the test rows by task, where they were stored.
        oracle: Whether these were taken from the test rows' own positives, as in runs of 0.1.0.
        gauc_weight: What weighed a group in gAUC.
        weighted: Whether sample weights count in the metrics.
        conversion_checks: The block of that name, empty where nothing was checked.
        update: How it follows an earlier run, see :mod:`fuxi_mtl.workflow.update`; empty for a run that does
            not.
        data_key: Hash of its data, empty where unknown.
        rows: Rows of each split, where known.
        labels: Of each split and task, the rows in which it is defined and their positives (or mean), where
            known.
        unknown: Of each split but the first and each input, the share of entries that no vocabulary knows.
        finished: When it was whole, empty where unknown.
        metrics_by: Metrics by the values of a column, empty where nothing was broken down.
    """

    folder: Path
    expid: str
    dataset_id: str
    model: str
    seed: int
    tasks: dict[str, str]
    metrics: dict[str, dict[str, float]]
    undefined: dict[str, dict[str, str]] = field(default_factory=dict)
    num_parameters: int | None = None
    train_seconds: float | None = None
    rows_per_second: float | None = None
    best_step: int | None = None
    thresholds: dict[str, float] = field(default_factory=dict)
    oracle: bool = False
    gauc_weight: str = "exposures"
    weighted: bool = False
    conversion_checks: dict[str, Any] = field(default_factory=dict)
    update: dict[str, Any] = field(default_factory=dict)
    data_key: str = ""
    rows: dict[str, int] = field(default_factory=dict)
    labels: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    unknown: dict[str, dict[str, float]] = field(default_factory=dict)
    finished: str = ""
    metrics_by: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def evaluations(self) -> list[dict[str, Any]]:
        """The evaluations during training, in order; empty without a history."""
        run = Run(self.folder)
        return list(run.read_json(run.history, "evaluations")["evaluations"]) if run.history.is_file() else []

    @cached_property
    def diagnostics(self) -> dict[str, Any]:
        """What was measured beside training: ``gradients`` and ``gates``, where the run asked for them."""
        run = Run(self.folder)
        return run.read_json(run.diagnostics) if run.diagnostics.is_file() else {}

    @cached_property
    def environment(self) -> dict[str, Any]:
        """Versions, machine and code, as far as the run says them."""
        run = Run(self.folder)
        return run.read_json(run.environment) if run.environment.is_file() else {}

    @cached_property
    def stanza(self) -> dict[str, Any]:
        """The resolved stanza and its dataset's; empty where it is not there."""
        return _stanza_of(Run(self.folder))

    def with_checks(self) -> "StoredRun":
        """The run with the numbers of its conversion checks among its metrics."""
        block = self.conversion_checks
        if not block:
            return self
        split = block["split"]
        values = {**self.metrics[split], **_numbers(block["values"])}
        reasons = {**self.undefined.get(split, {}), **block["undefined"]}
        return replace(
            self,
            metrics={**self.metrics, split: values},
            undefined={**self.undefined, split: reasons},
        )

    def read_test_scores(self) -> StoredScores | None:
        """Predictions and labels of the test rows; None if they were not saved."""
        return self.read_scores("test")

    def read_scores(self, split: str) -> StoredScores | None:
        """Predictions and labels of a split, ``valid`` or ``test``; None if they were not saved."""
        return Run(self.folder).read_scores(split)


def read_run(folder: str | Path) -> StoredRun:
    """Reads one run folder.

    Raises:
        ValueError: The folder holds no finished run, or its metrics.json is damaged.
    """
    run = Run(Path(folder))
    content = run.read_json(run.metrics, "expid", "dataset_id", "model", "seed", "tasks")
    try:
        return StoredRun(
            folder=run.folder,
            expid=content["expid"],
            dataset_id=content["dataset_id"],
            model=content["model"],
            seed=int(content["seed"]),
            tasks=dict(content["tasks"]),
            metrics={split: _numbers(content.get(split) or {}) for split in ("valid", "test")},
            undefined=content.get("undefined") or {},
            num_parameters=content.get("num_parameters"),
            train_seconds=content.get("train_seconds"),
            rows_per_second=content.get("rows_per_second"),
            best_step=content.get("best_step"),
            thresholds=_numbers(content.get("thresholds") or {}),
            oracle=_took_thresholds_from_test(run, content),
            gauc_weight=content.get("gauc_weight") or "exposures",
            weighted=bool(content.get("eval_sample_weight")),
            conversion_checks=content.get("conversion_checks") or {},
            update=content.get("update") or {},
            data_key=content.get("data_key") or "",
            rows=content.get("rows") or {},
            labels=content.get("labels") or {},
            unknown=content.get("unknown") or {},
            finished=content.get("finished") or "",
            metrics_by=content.get("metrics_by") or {},
        )
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"{run.metrics} does not hold a run's metrics ({error}): run the experiment again."
        ) from error


def stored_runs(
    model_root: str | Path,
    expids: Iterable[str] | None = None,
    seeds: Iterable[int] | None = None,
) -> list[StoredRun]:
    """All finished runs under a folder, or those of some expids, in the order they are named.

    Of an experiment with updates these are the runs of its newest day, or of the one named behind an @.

    Raises:
        ValueError: An expid has no finished run, or there is none at all.
    """
    root = local_root(model_root)
    folders = run_folders(root)
    if not folders:
        raise ValueError(f"no finished run under {root}. Run an experiment first: run_expid.py --expid ...")
    stored: dict[str, list[Path]] = {}
    for folder in folders:
        stored.setdefault(folder.parent.name, []).append(folder)
    wanted = list(dict.fromkeys(expids or stored))
    runs = []
    for name in wanted:
        expid, day = (name, None) if name in stored else split_day(name)
        if expid not in stored:
            raise ValueError(f"no finished run of expid {name!r} under {root}.{among(name, stored)}")
        for folders_of_dataset in _by_dataset(stored[expid]):
            days, lacking = newest_days(folders_of_dataset, day)
            if lacking:
                logger.warning(
                    "%s: day %s lacks %s.", name, days[0].name, ", ".join(each.name for each in lacking)
                )
            runs += [replace(read_run(each.folder), expid=name) for each in days]
    if seeds is not None:
        chosen = set(seeds)
        runs = [run for run in runs if run.seed in chosen]
        if not runs:
            raise ValueError(f"no finished run under {root} has a seed in {sorted(chosen)}.")
    runs.sort(key=lambda run: (wanted.index(run.expid), run.seed))
    return runs


def _took_thresholds_from_test(run: Run, content: Mapping[str, Any]) -> bool:
    """Whether the run says no rule of its thresholds, and that of its stanza read the test rows then."""
    if not content.get("thresholds") or content.get("thresholds_chosen_on"):
        return False
    stanza = _stanza_of(run)
    rule = stanza.get("threshold", "base_rate")
    return rule == "base_rate" or (rule == "best_f1" and not content.get("valid"))


def _stanza_of(run: Run) -> dict[str, Any]:
    check_yaml(run.config, "run the experiment again.")
    if not run.config.is_file():
        return {}
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where PyYAML has it
    return yaml.load(run.config.read_text(encoding="utf-8"), loader)  # noqa: S506 - both are safe


def _by_dataset(folders: Iterable[Path]) -> list[list[Path]]:
    """The runs of each dataset: one experiment may have been run on several."""
    found: dict[Path, list[Path]] = {}
    for folder in folders:
        found.setdefault(folder.parents[1], []).append(folder)
    return list(found.values())


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {key: float("nan") if value is None else float(value) for key, value in values.items()}
