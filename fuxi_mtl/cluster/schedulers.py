"""Addresses of workers from what Slurm and Kubernetes tell each process."""

import re
from collections.abc import Iterator, Mapping

_PORTS = (20_000, 10_000)  # Slurm: the first port, and how many jobs have another one
_KUBERNETES_PORT = 2222  # of a pod, which has an address of its own


def of_slurm(environment: Mapping[str, str], port: int = 0) -> tuple[tuple[str, ...], int]:
    """The addresses of all tasks of a job step, and the number of this one.

    Tasks fill one node after the other, as ``--distribution=block`` has it. Those of a node have ports one
    behind the other; the first goes with the number of the job, so that two jobs on a node do not meet.

    Args:
        environment: With the variables that ``srun`` sets.
        port: The first port of each node; by the job unless said.

    Raises:
        ValueError: This is no task of ``srun``, or a variable makes no sense.
    """
    hosts = host_names(_variable(environment, "SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST"))
    counts = _tasks_per_node(_variable(environment, "SLURM_STEP_TASKS_PER_NODE", "SLURM_TASKS_PER_NODE"))
    rank = _number(environment, "SLURM_PROCID")
    if len(hosts) != len(counts):
        raise ValueError(f"Slurm names {len(hosts)} nodes and the tasks of {len(counts)}.")
    first = port or _PORTS[0] + _number(environment, "SLURM_JOB_ID") % _PORTS[1]
    places = [(node, place) for node, count in enumerate(counts) for place in range(count)]
    if rank >= len(places):
        raise ValueError(f"SLURM_PROCID is {rank}, and there are {len(places)} tasks.")
    node = _number(environment, "SLURM_NODEID")
    if places[rank][0] != node:
        raise ValueError(
            f"task {rank} is on node {node} and would be on node {places[rank][0]} if tasks filled one node "
            "after the other: start them by srun --distribution=block."
        )
    return tuple(f"{hosts[node]}:{first + place}" for node, place in places), rank


def of_kubernetes(environment: Mapping[str, str], port: int = 0) -> tuple[tuple[str, ...], int]:
    """The addresses of all pods of an Indexed Job behind a headless service, and the number of this one.

    Args:
        environment: ``JOB_COMPLETION_INDEX`` and ``HOSTNAME`` are set by Kubernetes; ``FUXI_MTL_WORKERS``
            (how many) and ``FUXI_MTL_SERVICE`` (the service's name, the pods' ``subdomain``) by the manifest.
        port: The port of each pod.

    Raises:
        ValueError: A variable is missing or makes no sense.
    """
    rank, count = _number(environment, "JOB_COMPLETION_INDEX"), _number(environment, "FUXI_MTL_WORKERS")
    service, host = _variable(environment, "FUXI_MTL_SERVICE"), _variable(environment, "HOSTNAME")
    job = host.removesuffix(f"-{rank}")
    if job == host:
        raise ValueError(
            f"HOSTNAME is {host!r}, which does not end in -{rank}: the pods of an Indexed Job do. Give the "
            "Job completionMode: Indexed."
        )
    if rank >= count:
        raise ValueError(f"JOB_COMPLETION_INDEX is {rank}, and FUXI_MTL_WORKERS says {count} workers.")
    return tuple(f"{job}-{i}.{service}:{port or _KUBERNETES_PORT}" for i in range(count)), rank


def host_names(expression: str) -> list[str]:
    """The hosts of a list as Slurm shortens it.

    Raises:
        ValueError: It is none.

    >>> host_names("gpu[08-10,15],login1")
    ['gpu08', 'gpu09', 'gpu10', 'gpu15', 'login1']
    >>> host_names("rack[1-2]n[3-4]")
    ['rack1n3', 'rack1n4', 'rack2n3', 'rack2n4']
    """
    # A comma inside brackets separates numbers, outside it separates hosts.
    items = re.findall(r"(?:[^,\[\]]|\[[^\[\]]*\])+", expression)
    if ",".join(items) != expression:
        raise ValueError(f"{expression!r} is no list of hosts, such as node[01-04],other7.")
    return [host for item in items for host in _expanded(item, expression)]


def _expanded(item: str, expression: str) -> Iterator[str]:
    before, bracket, rest = item.partition("[")
    if not bracket:
        yield before
        return
    inside, _, behind = rest.partition("]")
    for part in inside.split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if not match:
            raise ValueError(f"{expression!r} is no list of hosts: {part!r} is no number and no range.")
        low, high = match[1], match[2] or match[1]
        for number in range(int(low), int(high) + 1):
            for tail in _expanded(behind, expression):
                yield f"{before}{number:0{len(low)}}{tail}"


def _tasks_per_node(expression: str) -> list[int]:
    """``2(x3),1`` is 2, 2, 2, 1."""
    counts: list[int] = []
    for part in expression.split(","):
        match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part)
        if not match:
            raise ValueError(f"{expression!r} does not say how many tasks each node has, as 2(x3),1 does.")
        counts += [int(match[1])] * int(match[2] or 1)
    return counts


def _variable(environment: Mapping[str, str], *names: str) -> str:
    """The value of the first variable that is set."""
    for name in names:
        if environment.get(name):
            return environment[name]
    raise ValueError(
        f"{names[0]} is not set. Under Slurm start the command by srun; under Kubernetes see "
        "docs/many_machines.md for the manifest."
    )


def _number(environment: Mapping[str, str], name: str) -> int:
    text = _variable(environment, name)
    if not text.isdecimal():
        raise ValueError(f"{name} is {text!r}, which is no number.")
    return int(text)
