"""One of the processes that measure a large split in common for ``shared_evaluation``, or one alone.

``python -m benchmarks.evaluation_worker FOLDER NAME``, with a ``TF_CONFIG`` or without. It writes into
``FOLDER/NAME`` when the measuring begins, and the chief what it measured.
"""

import json
import os
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import keras
import tensorflow as tf

from fuxi_mtl import ShareBottom
from fuxi_mtl.cluster import cluster_of
from fuxi_mtl.cluster.workers import connect
from fuxi_mtl.dataset.splits import open_split
from fuxi_mtl.evaluation.measure import measure
from fuxi_mtl.evaluation.shared import GIVE, PREDICT, give_share, predict_share
from fuxi_mtl.features import Feature, FeatureMap, assign_columns
from fuxi_mtl.options import EvaluationOptions
from fuxi_mtl.tasks import Task

LABELS = ("click", "buy")
VOCABULARY = 1000
BATCH = 65_536
PAUSE = 1.0  # seconds in which what a process has before is looked at
DONE = "done"


def main(folder: Path, name: str) -> None:
    """Measures the split twice: once to trace and to fill what is kept for good, once to be looked at."""
    cluster = cluster_of(os.environ)
    workers = None if cluster is None else connect(cluster)
    features = FeatureMap(
        "large",
        assign_columns([Feature(each, "categorical", vocab_size=VOCABULARY) for each in ("user", "item")]),
        LABELS,
    )
    tasks = tuple(Task(label, (label,)) for label in LABELS)
    options = EvaluationOptions(metrics=["AUC", "gAUC", "logloss"], group_id="user", eval_batch_size=BATCH)
    split = open_split(folder, "valid", LABELS)
    keras.utils.set_random_seed(1)
    with nullcontext() if workers is None else workers.strategy.scope():
        model = ShareBottom(features, tasks, embedding_dim=4, bottom_hidden_units=(8,), tower_hidden_units=())
        model.build()
        model.compile(keras.optimizers.SGD(0.1))
        for rows in (split.head(4 * BATCH), split):
            (folder / name).write_text(str(rows.rows))
            time.sleep(PAUSE)
            if workers is None or workers.is_chief:
                scores, _ = measure(model, rows, tasks, options)
                if workers is not None:
                    workers.tell(DONE)
                (folder / f"{name}.json").write_text(json.dumps(scores.values))
            else:
                _, told = workers.hear(PREDICT)
                own = predict_share(workers, model, {"valid": split}, told)
                workers.hear(GIVE)
                give_share(workers, own, told)
                workers.hear(DONE)
    (folder / name).write_text(DONE)


if __name__ == "__main__":
    tf.config.threading.set_intra_op_parallelism_threads(1)
    main(Path(sys.argv[1]), sys.argv[2])
