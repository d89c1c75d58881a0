"""Studies whose cells are ordinary runs: stanzas are trained, and what is stored of them is compared.

Every cell is a run as ``run_expid.py --resume`` makes it: what is finished is not trained again, so a study
may be stopped and started, and a new row costs its own cells only.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from fuxi_mtl.config import Experiment, load_experiment


def write_yaml(file: Path, content: Mapping[str, Any]) -> None:
    """Writes stanzas; what two of them share is written twice."""
    file.write_text(yaml.safe_dump(json.loads(json.dumps(content)), sort_keys=False), encoding="utf-8")


def experiments(
    folder: Path, datasets: Mapping[str, Any], stanzas: Mapping[str, Any]
) -> dict[str, Experiment]:
    """The checked experiments of stanzas, whose configuration is written into a folder.

    Args:
        folder: Where the configuration goes.
        datasets: Stanzas of data by id.
        stanzas: Stanzas of models by name, each with its ``dataset_id`` and ``model_root``.
    """
    from fuxi_mtl.registry import import_zoo

    import_zoo()
    folder.mkdir(parents=True, exist_ok=True)
    write_yaml(folder / "dataset_config.yaml", datasets)
    write_yaml(folder / "model_config.yaml", stanzas)
    return {name: load_experiment(folder, name) for name in stanzas}


def train(
    study: str, chosen: Mapping[str, Experiment], seeds: Sequence[int], each: Callable[[], object]
) -> None:
    """Trains what is not trained yet, seed by seed.

    Args:
        study: Its name, for what is printed.
        chosen: Experiments by name.
        seeds: Seeds.
        each: Called after every seed: keeps what there is so far.
    """
    from fuxi_mtl.workflow.resume import run_or_resume

    for seed in seeds:
        for name, experiment in chosen.items():
            print(f"{study}: {name}, seed {seed}", flush=True)
            run_or_resume(experiment.with_seed(seed), resume=True)
        each()


def compared(root: Path, order: Sequence[str], baseline: str) -> dict[str, Any]:
    """The table that ``compare`` makes of finished runs, as its JSON has it.

    Args:
        root: The ``model_root`` of the runs.
        order: Experiments in the order of the table's rows; others are left out.
        baseline: The experiment that differences are to.

    Raises:
        ValueError: There is no finished run of them.
    """
    from fuxi_mtl.comparison import compare, stored_runs
    from fuxi_mtl.report import render

    runs = sorted(
        (run for run in stored_runs(root) if run.expid in order), key=lambda run: order.index(run.expid)
    )
    return json.loads(render(compare(runs, baseline), "json"))[0]


def mean(row: Mapping[str, Any], column: str, scale: float = 1.0, digits: int = 4) -> str:
    """A metric of a row over its seeds, with their spread."""
    cell = row["metrics"].get(column) or {}
    if cell.get("mean") is None:
        return ""
    spread = "" if cell.get("sd") is None else f" ± {scale * cell['sd']:.{digits}f}"
    return f"{scale * cell['mean']:.{digits}f}{spread}"


def difference(row: Mapping[str, Any], column: str, scale: float = 1.0, digits: int = 4) -> str:
    """How a row differs from the baseline in a metric, with the interval; a star where that is not zero."""
    found = row["differences"].get(column) or {}
    if found.get("value") is None:
        return ""
    shown = f"{scale * found['value']:+.{digits}f}"
    if found.get("low") is not None:
        star = " *" if found["low"] > 0 or found["high"] < 0 else ""
        shown += f" [{scale * found['low']:+.{digits}f}, {scale * found['high']:+.{digits}f}]{star}"
    return shown
