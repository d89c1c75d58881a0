"""Step time of training on several hosts against the delay and the bandwidth between them.

Hosts are network namespaces of this machine. Bandwidth is tbf's at what each host sends; delay is that of a
relay on the way to each other worker, because not every kernel has netem. The relay costs the processor
something: the row of 0 ms goes through it, the rows of bandwidths do not.
"""

import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, TypeAlias, cast

from benchmarks.cluster_steps import ROOT, Place, Team, Work
from benchmarks.hosts import Hosts
from benchmarks.machine import machine
from benchmarks.markdown import table
from benchmarks.measure import rounded, write
from benchmarks.runner import Summary
from benchmarks.scale import BATCH, PORT, ROWS, STANZAS, prepared, spread, stored
from benchmarks.workload import Workload

DELAYS = (0.0, 1.0, 5.0, 20.0)  # milliseconds, one way
BANDWIDTHS = (10_000.0, 1_000.0, 100.0)  # million bits a second
STEPS = 3  # in a turn
_RELAYED = 30_000  # ports of relays begin there
_Setting: TypeAlias = "tuple[float | None, float | None]"  # a delay or a bandwidth


def measure_network(
    ids: int, processes: int, tables: Sequence[str], turns: int, cache: Path, results: Path
) -> dict[str, Any]:
    """Trains the reference work on so many hosts under each delay and bandwidth; writes ``network.json``.

    Args:
        ids: Ids over all fields.
        processes: How many hosts, a process each.
        tables: Keys of :data:`benchmarks.scale.STANZAS`.
        turns: How often each setting has its steps.
        cache: Where rows lie.
        results: Where the table goes; what was measured of other tables stays.

    Raises:
        RuntimeError: Not root.
    """
    with Hosts(processes) as hosts, ExitStack() as relays:
        folder = prepared(Workload(vocabulary=ids, rows=ROWS), cache)
        delaying = [relays.enter_context(_Relay(hosts, number)) for number in range(processes)]
        content = stored(results / "network.json", "network")
        for which in tables:
            cells = []
            work = Work(str(folder), BATCH, STANZAS[which])
            for delayed in (False, True):
                with tempfile.TemporaryDirectory() as logs:
                    places = [_place(hosts, number, delayed) for number in range(processes)]
                    with Team(work, places, Path(logs)) as team:
                        team.take(4)
                        cells += _settings(team, hosts, delaying if delayed else (), turns)
            described = {"ids": ids, "processes": processes, "tables": which, "machine": machine()}
            same = ("ids", "processes", "tables")
            others = [c for c in content["cells"] if any(c[key] != described[key] for key in same)]
            content["cells"] = [*others, *(described | cell for cell in cells)]
            write(results / "network.json", content)
    return content


class _Relay:
    """The way from a host to all others."""

    def __init__(self, hosts: Hosts, number: int):
        others = {_RELAYED + other: address for other, address in enumerate(hosts.addresses)}
        del others[_RELAYED + number]
        ways = [f"{port}={address}:{PORT}" for port, address in others.items()]
        self._process = subprocess.Popen(
            [*hosts.command(number), sys.executable, "-m", "benchmarks.relay", *ways],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        self._answer()

    def __enter__(self) -> "_Relay":
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.wait()

    def delay(self, milliseconds: float) -> None:
        """What passes from now on waits so long."""
        cast("IO[str]", self._process.stdin).write(f"{milliseconds}\n")
        cast("IO[str]", self._process.stdin).flush()
        self._answer()

    def _answer(self) -> None:
        if not cast("IO[str]", self._process.stdout).readline():
            raise RuntimeError("a relay has ended.")


def _place(hosts: Hosts, number: int, delayed: bool) -> Place:
    """A worker that reaches the others at their hosts, or through the relay of its own."""
    addresses = [f"{address}:{PORT}" for address in hosts.addresses]
    if delayed:
        relayed = [f"127.0.0.1:{_RELAYED + other}" for other in range(len(addresses))]
        addresses = [*relayed[:number], addresses[number], *relayed[number + 1 :]]
    return Place(hosts.command(number), tuple(addresses))


def _settings(team: Team, hosts: Hosts, relays: Sequence[_Relay], turns: int) -> list[dict[str, Any]]:
    """All settings in turns, so that what else the machine does meets all of them."""
    settings: list[_Setting] = [(delay, None) for delay in DELAYS]
    if not relays:
        settings = [(None, None), *((None, bandwidth) for bandwidth in BANDWIDTHS)]
    clock: dict[_Setting, list[float]] = {each: [] for each in settings}
    processors: dict[_Setting, list[float]] = {each: [] for each in settings}
    sent: dict[_Setting, int] = dict.fromkeys(settings, 0)
    for _ in range(turns):
        for setting in settings:
            delay, bandwidth = setting
            hosts.limit(bandwidth)
            for relay in relays:
                relay.delay(delay or 0)
            before = hosts.sent(0)
            told = team.take(STEPS)
            sent[setting] += hosts.sent(0) - before
            clock[setting].append(rounded(1000 * max(each["seconds"] for each in told) / STEPS))
            processors[setting].append(rounded(1000 * sum(each["processor"] for each in told) / STEPS))
            print(setting, clock[setting][-1], processors[setting][-1], flush=True)
    hosts.limit(None)
    return [
        {
            "delay": delay,
            "megabits": bandwidth,
            "step_ms": Summary.of(clock[delay, bandwidth]).plain(),
            "processor_ms": Summary.of(processors[delay, bandwidth]).plain(),
            "bytes": round(sent[delay, bandwidth] / (turns * STEPS)),
        }
        for delay, bandwidth in settings
    ]


def section(content: Mapping[str, Any]) -> list[str]:
    """The table of the report."""
    rows = [
        (
            f"{cell['ids']:,}",
            str(cell["processes"]),
            cell["tables"],
            "" if cell["delay"] is None else f"{cell['delay']:g}",
            "" if cell["megabits"] is None else f"{cell['megabits']:,.0f}",
            f"{cell['bytes'] / 1e6:.2f}",
            spread(cell["step_ms"]),
            spread(cell["processor_ms"]),
            f"{cell['machine']['load_before']:g}",
        )
        for cell in content["cells"]
    ]
    heading = ("ids", "hosts", "tables", "delay one way, ms", "Mbit/s", "MB a host sends a step")
    heading += ("ms a step by the clock", "ms of processors a step, all", "load before")
    text = (
        f"The reference work, global batch {BATCH}, on hosts that are network namespaces of one machine and "
        f"share its {content['machine']['cores']} cores. Rows with a delay go through a relay; those without "
        f"are direct, with or without a bound on what each host sends. {STEPS} steps of each setting a turn, "
        "all settings in turns, median (least to most)."
    )
    return ["", "## Step time against the network", text, *table(heading, rows)]
