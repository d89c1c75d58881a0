"""Run folders written by hand: known scores, no training."""

import json
import math
from pathlib import Path

import numpy as np

from fuxi_mtl import metrics

TASKS = {"ctr": "click", "cvr": "conversion | click"}


def labels_of_test(rows=4000, seed=0):
    """Clicks and, on clicked rows, conversions."""
    rng = np.random.default_rng(seed)
    click = (rng.random(rows) < 0.3).astype(np.float32)
    conversion = np.where(click == 1, (rng.random(rows) < 0.4).astype(np.float32), np.float32(np.nan))
    return {"ctr": click, "cvr": conversion}


def noisy_scores(labels, skill, seed):
    """Probabilities that are the better the larger the skill."""
    rng = np.random.default_rng(seed)
    logits = skill * (np.nan_to_num(labels) - 0.5) + rng.normal(size=len(labels)) - 0.8
    return (1 / (1 + np.exp(-logits))).astype(np.float32)


def write_run(
    root: Path,
    expid: str,
    seed: int = 1,
    *,
    model: str = "MMoE",
    dataset_id: str = "toy",
    skill: float = 1.0,
    labels=None,
    tasks=None,
    scores: bool = True,
    groups=None,
    weights=None,
    **changes,
) -> Path:
    """Writes one folder with everything a finished run leaves that a comparison reads."""
    tasks = TASKS if tasks is None else tasks
    labels = labels_of_test() if labels is None else labels
    folder = root / dataset_id / expid / f"seed_{seed}"
    folder.mkdir(parents=True)
    predictions = {
        task: noisy_scores(labels[task], skill, 1000 * seed + 7 * i + len(expid))
        for i, task in enumerate(tasks)
    }
    test, undefined = {}, {}
    for name in ("AUC", "logloss"):
        for task in tasks:
            value = metrics.METRICS[name].function(labels[task], predictions[task])
            test[f"{task}_{name}"] = None if math.isnan(value) else value
            if math.isnan(value):
                undefined[f"{task}_{name}"] = metrics.why_undefined(name, labels[task], predictions[task])
        defined = [v for t in tasks if (v := test[f"{t}_{name}"]) is not None]
        test[name] = float(np.mean(defined)) if defined else None
    content = {
        "expid": expid,
        "dataset_id": dataset_id,
        "model": model,
        "seed": seed,
        "tasks": tasks,
        "valid": test,
        "test": test,
        "undefined": {"test": undefined, "valid": undefined},
        "num_parameters": 100_000 + 1000 * len(expid),
        "train_seconds": 12.5 + seed,
        "rows_per_second": 81_234.0,
        "best_step": 400,
        **changes,
    }
    (folder / "metrics.json").write_text(json.dumps(content))
    (folder / "history.json").write_text(json.dumps({"evaluations": history(test, tasks, seed, weights)}))
    if scores:
        arrays = {
            f"{task}_{kind}": of[task]
            for task in tasks
            for kind, of in (("label", labels), ("pred", predictions))
        }
        if groups is not None:
            arrays["group"] = groups
        np.savez_compressed(folder / "test_scores.npz", **arrays)
    return folder


def history(test, tasks, seed, weights=None):
    """Six evaluations that approach the final values."""
    rng = np.random.default_rng(seed)
    evaluations = []
    for i in range(6):
        left = math.exp(-i) * 0.1
        shares = dict.fromkeys(tasks, 1.0)
        if weights:
            shares = {task: 1 + (w - 1) * (1 - math.exp(-i)) for task, w in zip(tasks, weights, strict=True)}
        evaluations.append(
            {
                "step": 100 * (i + 1),
                "epoch": i + 1,
                "loss": 1.0 + left,
                "losses": {
                    task: 0.4 + 5 * left * (1 + j) + 0.01 * rng.random() for j, task in enumerate(tasks)
                },
                "weights": shares,
                "gradient_norms": None,
                "learning_rate": 1e-3,
                "metrics": {
                    k: None if v is None else v + (left if k.endswith("logloss") else -left)
                    for k, v in test.items()
                },
                "undefined": {},
            }
        )
    return evaluations
