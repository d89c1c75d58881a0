"""Several hosts on one machine: network namespaces of Linux, each with an address, joined by a switch."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

_PREFIX = "fmtl"


class Hosts:
    """So many hosts, until the block ends; each reaches the others, and nothing else.

    Args:
        count: How many.

    Raises:
        RuntimeError: Not root, or the system does not have them.
    """

    def __init__(self, count: int):
        check_root()
        self.names = [f"{_PREFIX}{os.getpid()}h{number}" for number in range(count)]
        self.addresses = [f"10.77.{os.getpid() % 250}.{number + 1}" for number in range(count)]
        self._switch = f"{_PREFIX}{os.getpid()}s"

    def __enter__(self) -> "Hosts":
        try:
            _ip("netns", "add", self._switch)
            self._in(self._switch, "ip", "link", "add", "switch", "type", "bridge")
            self._in(self._switch, "ip", "link", "set", "switch", "up")
            for number, (name, address) in enumerate(zip(self.names, self.addresses, strict=True)):
                port = f"port{number}"
                _ip("netns", "add", name)
                peer = ("type", "veth", "peer", "name", port, "netns", self._switch)
                self._in(name, "ip", "link", "add", "eth0", *peer)
                self._in(name, "ip", "link", "set", "lo", "up")
                self._in(name, "ip", "addr", "add", f"{address}/24", "dev", "eth0")
                self._in(name, "ip", "link", "set", "eth0", "up")
                self._in(self._switch, "ip", "link", "set", port, "master", "switch", "up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        for name in (*self.names, self._switch):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)

    def command(self, number: int) -> tuple[str, ...]:
        """What a command of a host begins with."""
        return ("ip", "netns", "exec", self.names[number])

    def limit(self, megabits: float | None) -> None:
        """How much each host may send a second, in million bits; None for as much as the machine can."""
        for name in self.names:
            subprocess.run(
                ["ip", "netns", "exec", name, "tc", "qdisc", "del", "dev", "eth0", "root"],
                capture_output=True,
                check=False,
            )
            if megabits is not None:
                burst = max(int(megabits * 1e6 / 8 / 250), 65_536)  # what may leave between two ticks
                limit = ("rate", f"{megabits:g}mbit", "burst", str(burst), "latency", "400ms")
                self._in(name, "tc", "qdisc", "add", "dev", "eth0", "root", "tbf", *limit)

    def processes(self, number: int) -> list[int]:
        """The processes of a host."""
        return [int(pid) for pid in _run(["ip", "netns", "pids", self.names[number]]).split()]

    def sent(self, number: int) -> int:
        """Bytes that a host has sent to others since it is there."""
        file = "/sys/class/net/eth0/statistics/tx_bytes"
        return int(self._in(self.names[number], "cat", file))

    def _in(self, name: str, *command: str) -> str:
        return _run(["ip", "netns", "exec", name, *command])


def check_root() -> None:
    """Makes sure that hosts can be made.

    Raises:
        RuntimeError: Not root, or there is no ``ip`` or ``tc``.
    """
    if os.geteuid() != 0:
        raise RuntimeError(
            "hosts on one machine are network namespaces, which only root may make: run it as root "
            "(in a container with --cap-add=NET_ADMIN --cap-add=SYS_ADMIN)."
        )
    for tool in ("ip", "tc"):
        if not any((Path(folder) / tool).exists() for folder in os.get_exec_path()):
            raise RuntimeError(f"there is no command {tool!r}: install iproute2.")


def _ip(*arguments: str) -> None:
    _run(["ip", *arguments])


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        told = done.stderr.strip() or f"status {done.returncode}"
        raise RuntimeError(f"{' '.join(command)}: {told}")
    return done.stdout
