"""What each of two workers does for test_workers.py: `pair_of_workers.py FOLDER`, with a TF_CONFIG.

One pair for all tests, because a process takes seconds to import TensorFlow. It trains until worker 1 is
terminated in the middle of an interval, waits while one process goes on with that training, ends it, finds
it finished, and loses worker 1. Likewise with tables that are spread over both, from which another training
begins on rows that lie otherwise.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

import command_line
import tensorflow as tf

from fuxi_mtl.cluster import workers
from fuxi_mtl.training.shared import SharedSteps

LEFT_AT, SETTINGS = 5, ("optimizer=sgd", "learning_rate=0.5", "batch_size=29", "eval_batch_size=50")
SPREAD = (
    "embedding_sharding=row",
    "save_every_steps=4",
    "export=true",
)  # each has half of the rows of a table
# Of other vocabularies, so that rows come from another worker; new ones are copies of one.
FROM = ("new_rows=oov", "epochs=1", "export=false")
LIMIT = 300  # seconds to wait for the test


def main(folder: Path) -> None:
    """Leaves ``told_{rank}.json``."""
    workers.HEARTBEATS = 8
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})  # as in graphs.as_traced
    rank = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
    command = ("run", "--expid", "Toy", "--set", f"model_root={folder / 'runs'}", *SETTINGS)
    spread = ("run", "--expid", "Toy", "--set", f"model_root={folder / 'spread'}", *SETTINGS, *SPREAD)
    take, taken = SharedSteps.take, []

    def interrupted(self, stops, saves):
        taken.append(None)
        if rank == 1 and len(taken) == LEFT_AT:
            os.kill(os.getpid(), signal.SIGTERM)
            stops = True  # a handler runs between two instructions, perhaps behind this one
        return take(self, stops, saves)

    SharedSteps.take = interrupted
    told = {"interrupted": command_line.call(*command)}
    taken.clear()
    told["spread interrupted"] = command_line.call(*spread)
    SharedSteps.take = take
    (folder / f"left_{rank}").touch()
    until = time.monotonic() + LIMIT
    while not (folder / "alone").exists() and time.monotonic() < until:
        time.sleep(0.05)
    told["resumed"] = command_line.call(*command, "--resume")
    told["spread resumed"] = command_line.call(*spread, "--resume")
    run, today = folder / "spread/toy/Toy/seed_1", folder / "today.csv"
    begins = (f"model_root={folder / 'from'}", f"init_from={run}", f"train_data={today}", *FROM)
    told["spread begun"] = command_line.call("run", "--expid", "Toy", "--set", *SETTINGS, *SPREAD, *begins)
    told["finished"] = command_line.call(*command, "--resume")
    (folder / f"told_{rank}.json").write_text(json.dumps(told))
    if rank == 1:
        os._exit(7)
    try:
        with workers.connected().watched():
            workers.connected().collect(None)
    except workers.WorkerError as error:
        (folder / "lost").write_text(str(error))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
