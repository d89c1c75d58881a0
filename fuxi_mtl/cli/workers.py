"""Runs of several workers: the same command in each process."""

import argparse
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fuxi_mtl.cluster import SCHEDULERS, cluster_of

if TYPE_CHECKING:
    from fuxi_mtl.cluster.workers import Workers
    from fuxi_mtl.config import Experiment


def starts_processes(options: argparse.Namespace) -> bool:
    """Whether a command trains in other processes, which it starts.

    Raises:
        ValueError: An option goes with another one, which is not there.
    """
    if options.ray and options.processes is None:
        raise ValueError(f"--ray {options.ray} needs --processes N: how many workers Ray is to start.")
    if options.port and not options.cluster:
        raise ValueError(
            f"--port {options.port} goes with --cluster {' or '.join(SCHEDULERS)}; TF_CONFIG names ports "
            "itself, and --processes takes free ones."
        )
    return bool(options.ray) or (options.processes or 1) > 1


def start_processes(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    """Runs a command in several processes of this machine.

    Args:
        options: Of the command.
        arguments: The command as it was given.

    Returns:
        The exit status.

    Raises:
        ValueError: A scheduler has started several processes already.
        ProcessError: A process has failed.
    """
    others = options.cluster or ("TF_CONFIG" if cluster_of(os.environ) else None)
    if others:
        raise ValueError(
            f"--processes {options.processes} starts all workers on this machine, and {others} names workers "
            "that are started already: use one of them."
        )
    if options.ray:
        from fuxi_mtl.cli.on_ray import run_on_ray

        return run_on_ray(arguments, options.ray, options.processes, options.gpu)
    from fuxi_mtl.cli.processes import launch

    return launch(arguments, options.processes, options.gpu)


def joined(options: argparse.Namespace) -> "Workers | None":
    """The workers that the environment names, connected; None if this process trains alone.

    Raises:
        ValueError: The environment makes no sense.
        WorkerError: The others do not come.
    """
    cluster = cluster_of(os.environ, options.cluster, options.port or 0)
    if cluster is None:
        return None
    from fuxi_mtl.training.devices import join_workers

    return join_workers(cluster, options.gpu)


@contextmanager
def leading(workers: "Workers | None") -> Iterator[None]:
    """The work of the chief of some workers, who hear how it ends; nothing more if there are none.

    Raises:
        WorkerError: Another worker is gone or has failed.
    """
    if workers is None:
        yield
        return
    from fuxi_mtl.workflow.chief import BYE

    try:
        with workers.watched():
            yield
    except BaseException as error:
        workers.fail(error)
        raise
    workers.tell(BYE)


def follow(seeded: "Sequence[Experiment]", workers: "Workers") -> None:
    """The work of all other workers.

    Args:
        seeded: What the chief trains, each with its seed.
        workers: The workers.

    Raises:
        WorkerError: Another worker is gone or has failed.
    """
    from fuxi_mtl.workflow.following import follow_runs

    with workers.watched():
        follow_runs(seeded, workers)
