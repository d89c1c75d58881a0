"""The other end of :class:`~fuxi_mtl.dataset.parallel.processes.FileProcesses`: works until nobody asks."""

import logging
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from fuxi_mtl.dataset.errors import DataError
from fuxi_mtl.dataset.parallel.processes import KEEP, Failed


def work(connection: Connection, threads: int) -> None:
    """Does what it is told to, until the connection ends."""
    kept: Any = None
    with ThreadPoolExecutor(threads) as pool:
        while True:
            try:
                function, content = connection.recv(), connection.recv()
            except EOFError:
                return
            if function == KEEP:
                kept = content
                continue
            try:
                found = function(kept, pool.map, *content)
            except (
                DataError,
                OSError,
            ) as error:  # raised where the result is wanted; others end this process
                found = Failed.of(error)
            connection.send(found)


def _end_with_parent() -> None:
    """Ends this process at once when the one that started it is gone, even if that was killed."""
    sys.stdin.buffer.read()
    os._exit(1)


def main() -> None:
    """Works for the process that gave this one the end of a pipe."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    logging.basicConfig(format="%(asctime)s P%(process)d %(levelname)s %(message)s", level=logging.INFO)
    with Connection(int(sys.argv[1])) as connection, suppress(ConnectionError):
        work(connection, int(sys.argv[2]))


if __name__ == "__main__":
    main()
