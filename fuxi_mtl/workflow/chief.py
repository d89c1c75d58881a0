"""What the chief of several workers tells the others around a run, and what it asks."""

from collections.abc import Mapping
from typing import Any

from fuxi_mtl import __version__
from fuxi_mtl.cluster.workers import WorkerError, connected
from fuxi_mtl.config import Experiment
from fuxi_mtl.layers.tables import memory_of_machine
from fuxi_mtl.workflow.keys import as_read_again, shared_keys, told_changes

TRAIN, KEPT, DATA, PRECISION, BYE = "train", "kept", "data", "precision", "bye"
LATER = 10.0  # seconds that the chief is ahead in reading its data: where these are shared, it encodes them
READING = 6 * 3600.0  # seconds that the others have for data that the chief has read, or runs it has fetched


def tell_workers(what: str, **content: Any) -> None:
    """Tells the other workers what becomes of a run, if there are any."""
    workers = connected()
    if workers is not None:
        workers.tell(what, **content)


def command_of(experiment: Experiment) -> dict[str, Any]:
    """What all workers of a run must share, as JSON gives it back."""
    return as_read_again({"version": __version__, "keys": shared_keys(experiment)})


def differing(told: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    """In what the command of a worker differs from the chief's; empty if it does not.

    Args:
        told: :func:`command_of` in the chief.
        own: The same in the worker.
    """
    if told["version"] != own["version"]:
        return f"fuxi_mtl ({own['version']} there, {told['version']} at worker 0)"
    return ", ".join(told_changes(own["keys"], told["keys"], "at worker 0"))


def begin_run(experiment: Experiment) -> None:
    """Has all others begin a run, if there are any, and makes sure that they train the same.

    Args:
        experiment: What the chief trains.

    Raises:
        ValueError: A worker has another stanza, seed or version.
        WorkerError: A worker is gone.
    """
    workers = connected()
    if workers is None:
        return
    workers.tell(TRAIN, **command_of(experiment))
    for rank, found in enumerate(workers.collect("", READING)):
        if found:
            raise ValueError(
                f"{workers.cluster.name(rank)} has another command: it differs in {found}. Give all workers "
                "the same stanzas, options and version."
            )


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
