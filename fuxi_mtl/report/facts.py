"""What runs are beside their metrics: date, commit, data, rows and positives, and how stanzas differ."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fuxi_mtl.comparison import StoredRun

# What differs between any two runs, or is said elsewhere.
_NO_DIFFERENCE = frozenset(("seed", "model_root", "notes"))


@dataclass(frozen=True)
class Facts:
    """What a run is.

    Attributes:
        finished: Date and time, empty where unknown.
        commit: Of the code, empty where unknown.
        data_key: Hash of the data, empty where unknown.
        rows: Rows of each split.
        positives: Share of positives of each binary task in the rows on which it is defined, by split.
    """

    finished: str
    commit: str
    data_key: str
    rows: dict[str, int]
    positives: dict[str, dict[str, tuple[int, int]]]


def facts_of(runs: Sequence[StoredRun], splits: Sequence[str]) -> Iterator[Facts]:
    """The facts of each run; labels are read once for all runs on the same data.

    Args:
        runs: The runs.
        splits: In which positives are counted.
    """
    known: dict[tuple[Any, ...], dict[str, tuple[int, int]]] = {}
    for run in runs:
        counted = {}
        for split in splits:
            key = (run.data_key or run.folder, split, tuple(run.tasks.items()))
            if key not in known:
                known[key] = positives(run, split)
            counted[split] = known[key]
        commit = run.environment.get("git_commit") or ""
        yield Facts(run.finished, commit, run.data_key, run.rows, counted)


def positives(run: StoredRun, split: str) -> dict[str, tuple[int, int]]:
    """Positives and rows of each binary task in a split; empty where neither they nor its scores are kept."""
    kept = run.labels.get(split, {})
    found = {
        task: (int(of["positives"]), int(of["rows"]))
        for task, of in kept.items()
        if task in run.tasks and "positives" in of and of["rows"]
    }
    if found:
        return found
    scores = run.read_scores(split)
    if scores is None:
        return {}
    for task in run.tasks:
        label = scores.arrays.get(f"{task}_label")
        label = label[np.isfinite(label)] if label is not None else np.zeros(0)
        if len(label) and f"{task}_chances" not in scores.arrays and np.isin(label, (0, 1)).all():
            found[task] = int(label.sum()), len(label)
    return found


def differences(runs: Sequence[StoredRun]) -> dict[str, dict[str, list[str]]]:
    """What is not the same in all stanzas: by key, the experiments that have each value, and how many none.

    Args:
        runs: One of each experiment.
    """
    stanzas = {run.expid: run.stanza for run in runs if run.stanza}
    keys = dict.fromkeys(key for stanza in stanzas.values() for key in stanza if key not in _NO_DIFFERENCE)
    found = {}
    for key in keys:
        values: dict[str, list[str]] = {}
        for expid, stanza in stanzas.items():
            if key in stanza:
                values.setdefault(_shown(stanza[key]), []).append(expid)
        without = len(stanzas) - sum(map(len, values.values()))
        if without:
            values["no such key"] = [f"in {without} other{'s' if without > 1 else ''}"]
        if len(values) > 1:
            found[key] = values
    return found


def _shown(value: Any) -> str:
    """A value as a stanza has it, on one line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_shown(each)}' for key, each in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_shown, value))}]"
    return str(value)
