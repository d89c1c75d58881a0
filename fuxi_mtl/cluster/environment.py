"""Which processes train together, from what a scheduler says in the environment of each."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fuxi_mtl.cluster.schedulers import of_kubernetes, of_slurm

LOST = 75  # exit status of a worker that has lost another one: "try again later", as sysexits.h has it
MOST_PORT = 65_535
_JOBS = ("chief", "master", "worker")  # in this order they are numbered; `master` is what old TFJobs say


@dataclass(frozen=True)
class Cluster:
    """The workers of a training, one process each.

    Attributes:
        addresses: ``host:port`` of each; the first is the chief, which decides and writes.
        rank: The number of this process among them.
    """

    addresses: tuple[str, ...]
    rank: int

    @property
    def size(self) -> int:
        """How many there are."""
        return len(self.addresses)

    @property
    def is_chief(self) -> bool:
        """Whether this process decides and writes."""
        return self.rank == 0

    @property
    def port(self) -> int:
        """Where this process listens."""
        return _port_of(self.addresses[self.rank])

    def name(self, rank: int | None = None) -> str:
        """A worker as messages call it; this one unless said."""
        rank = self.rank if rank is None else rank
        return f"worker {rank} ({self.addresses[rank]})"

    def tf_config(self) -> str:
        """The same as a ``TF_CONFIG``.

        >>> Cluster(("a:1", "b:1"), 1).tf_config()
        '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}}'
        """
        task = {"type": "worker", "index": self.rank}
        return json.dumps({"cluster": {"worker": list(self.addresses)}, "task": task})


def cluster_of(environment: Mapping[str, str], scheduler: str | None = None, port: int = 0) -> Cluster | None:
    """The cluster that an environment describes; None if this process trains alone.

    Args:
        environment: Variables and their values.
        scheduler: A key of :data:`SCHEDULERS`, whose variables to read; ``TF_CONFIG`` unless said.
        port: The first port of a host, where a scheduler names none; one that goes with it unless said.

    Raises:
        ValueError: A variable is missing or makes no sense.
    """
    if scheduler is not None:
        addresses, rank = SCHEDULERS[scheduler](environment, port)
        _check_ports(addresses, f"--port {port}" if port else f"--cluster {scheduler}")
        return Cluster(addresses, rank) if len(addresses) > 1 else None
    text = environment.get("TF_CONFIG", "").strip()
    if not text:
        return None
    try:
        config = json.loads(text)
        jobs = {job: _hosts(given) for job, given in (config.get("cluster") or {}).items()}
        addresses = tuple(address for job in _JOBS for address in jobs.get(job, ()))
        if len(addresses) < 2 and jobs.keys() <= set(_JOBS):
            return None
        kind, index = str(config["task"]["type"]), int(str(config["task"]["index"]))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(
            f"TF_CONFIG is {text!r}: it is JSON like "
            '{"cluster": {"worker": ["host0:port", "host1:port"]}, "task": {"type": "worker", "index": 0}}.'
        ) from error
    others = sorted(({*jobs, kind}) - set(_JOBS))
    if others:
        raise ValueError(
            f"TF_CONFIG has the job {others[0]!r}: all processes are workers here, of which the first "
            "evaluates, too, and tables are on all of them. Give only worker, or chief and worker."
        )
    if not 0 <= index < len(jobs.get(kind, ())):
        raise ValueError(f"TF_CONFIG: there is no task {index} of the job {kind!r}.")
    for address in addresses:
        if addresses.count(address) > 1:
            raise ValueError(f"TF_CONFIG names {address!r} twice: each worker has an address of its own.")
        if not re.fullmatch(r".+:[0-9]+", address):
            raise ValueError(f"TF_CONFIG: {address!r} is no address: write host:port.")
    _check_ports(addresses, "TF_CONFIG")
    before = _JOBS[: _JOBS.index(kind)]
    return Cluster(addresses, index + sum(len(jobs.get(job, ())) for job in before))


def _check_ports(addresses: Iterable[str], source: str) -> None:
    for address in addresses:
        if not 1 <= _port_of(address) <= MOST_PORT:
            raise ValueError(f"{source}: {address} has no port that exists: they go from 1 to {MOST_PORT}.")


def _port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


def _hosts(given: Any) -> list[str]:
    if not isinstance(given, list):
        raise TypeError("addresses stand in a list")
    return list(map(str, given))


def check_alone(environment: Mapping[str, str], what: str, instead: str) -> None:
    """Makes sure that no other workers wait for this process, which trains without them.

    Args:
        environment: Variables and their values.
        what: What trains in one process.
        instead: What trains in several.

    Raises:
        ValueError: ``TF_CONFIG`` names several workers: each would train a model of its own.
    """
    cluster = cluster_of(environment)
    if cluster is not None:
        raise ValueError(
            f"{what} trains in this process alone, and TF_CONFIG names {cluster.size} workers, each of which "
            f"would train a model of its own. {instead}, or unset TF_CONFIG."
        )


SCHEDULERS: Mapping[str, Callable[[Mapping[str, str], int], tuple[tuple[str, ...], int]]] = {
    "slurm": of_slurm,
    "kubernetes": of_kubernetes,
}
