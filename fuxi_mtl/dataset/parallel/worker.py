"""The other end of :class:`~fuxi_mtl.dataset.parallel.processes.FileProcesses`: works until nobody asks."""

import logging
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from fuxi_mtl.dataset.errors import DataError
from fuxi_mtl.dataset.parallel.processes import KEEP, Failed
from fuxi_mtl.files import end_with_parent


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


def main() -> None:
    """Works for the process that gave this one the end of a pipe."""
    end_with_parent()
    logging.basicConfig(format="%(asctime)s P%(process)d %(levelname)s %(message)s", level=logging.INFO)
    with Connection(int(sys.argv[1])) as connection, suppress(ConnectionError):
        work(connection, int(sys.argv[2]))


if __name__ == "__main__":
    main()
