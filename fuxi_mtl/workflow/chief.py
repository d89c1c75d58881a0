"""What the chief of several workers tells the others around a run, and what it asks."""

from typing import Any

from fuxi_mtl.cluster.workers import WorkerError, connected
from fuxi_mtl.layers.tables import memory_of_machine

TRAIN, KEPT, DATA, PRECISION, BYE = "train", "kept", "data", "precision", "bye"
LATER = 10.0  # seconds that the chief is ahead in reading its data: where these are shared, it encodes them
READING = 6 * 3600.0  # seconds that the others have to read their data once the chief has


def tell_workers(what: str, **content: Any) -> None:
    """Tells the other workers what becomes of a run, if there are any."""
    workers = connected()
    if workers is not None:
        workers.tell(what, **content)


def check_same_data(key: str) -> None:
    """Waits until all workers have read their data, and makes sure that these are the same.

    They hear how much memory the chief's machine has.

    Args:
        key: That of the chief's data.

    Raises:
        WorkerError: A worker has other data, or is gone.
    """
    tell_workers(DATA, memory=memory_of_machine())
    workers = connected()
    for rank, other in enumerate([] if workers is None else workers.collect(key, READING)):
        if workers is not None and other != key:
            raise WorkerError(
                f"{workers.cluster.name(rank)} has other data (key {other}) than worker 0 (key {key}): give "
                "all workers the same files under the same paths, and the same command."
            )
