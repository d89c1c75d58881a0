"""A TCP relay that holds what it passes on for a while, where the kernel has no netem.

``python -m benchmarks.relay PORT=HOST:PORT ...`` listens on the loopback device of its network. A line on its
standard input is the new delay in milliseconds: what comes waits so long, in each direction.
"""

import asyncio
import contextlib
import sys
from collections.abc import Mapping

_CHUNK = 1 << 18


class Relay:
    """The connections of some ports.

    Args:
        targets: Where each port leads.
    """

    def __init__(self, targets: Mapping[int, tuple[str, int]]):
        self.targets = targets
        self.delay = 0.0

    async def open(self) -> list[asyncio.Server]:
        """Begins to listen."""
        return [
            await asyncio.start_server(self._connection(target), "127.0.0.1", port, limit=_CHUNK)
            for port, target in self.targets.items()
        ]

    def _connection(self, target: tuple[str, int]):
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                there, back = await asyncio.open_connection(*target, limit=_CHUNK)
            except OSError:  # nobody listens yet, as whoever asks will see
                writer.close()
                return
            await asyncio.gather(self._pass_on(reader, back), self._pass_on(there, writer))

        return connected

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One direction: what comes is read at once, and leaves after the delay, in its order."""
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        clock = asyncio.get_running_loop().time

        async def leave() -> None:
            while True:
                due, data = await waiting.get()
                if due > clock():
                    await asyncio.sleep(due - clock())
                if not data:
                    break
                writer.write(data)
                await writer.drain()

        leaving = asyncio.ensure_future(leave())
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(_CHUNK):
                waiting.put_nowait((clock() + self.delay, data))
        waiting.put_nowait((clock() + self.delay, b""))
        with contextlib.suppress(ConnectionError):
            await leaving
        with contextlib.suppress(ConnectionError, RuntimeError):
            writer.close()


async def serve(targets: Mapping[int, tuple[str, int]]) -> None:
    """Relays until the standard input ends."""
    relay = Relay(targets)
    servers = await relay.open()
    print("ready", flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        relay.delay = float(line) / 1000
        print("set", flush=True)
    for server in servers:
        server.close()


def _target(text: str) -> tuple[int, tuple[str, int]]:
    port, _, target = text.partition("=")
    host, _, there = target.rpartition(":")
    return int(port), (host, int(there))


if __name__ == "__main__":
    asyncio.run(serve(dict(map(_target, sys.argv[1:]))))
