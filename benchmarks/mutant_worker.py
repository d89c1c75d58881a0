"""The process that runs tests on broken lines, inside a copy of the tree that it may break.

It has what is slow to import and starts no threads, and is forked for each mutant: a fork imports the broken
library afresh and spends its time on the tests. Tasks come as lines of JSON, and answers go out the same way.
"""

import importlib.util
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

LOG = "mutant.log"
SECONDS = 900  # until tests on a mutant count as hanging: some change may make a loop that never ends
PRELOADED = ("tensorflow", "scipy.optimize", "sklearn.linear_model", "sklearn.isotonic", "pytest")


def serve(copy: Path) -> None:
    """Answers tasks ``{"file", "text", "becomes", "tests"}`` with ``{"status", "seconds"}``.

    The status is pytest's, or the negative number of the signal that ended it. Without a file nothing is
    broken.

    Args:
        copy: The tree, which is the working directory and comes first where modules are sought.

    Raises:
        RuntimeError: Modules would come from elsewhere.
    """
    for name in ("fuxi_mtl", "fuxi_mtl_zoo"):
        found = importlib.util.find_spec(name)
        if found is None or found.origin is None or not Path(found.origin).is_relative_to(copy):
            raise RuntimeError(f"{name} comes from {found and found.origin}, not from the copy {copy}.")
    for name in PRELOADED:
        importlib.import_module(name)
    for line in sys.stdin:
        task = json.loads(line)
        file = copy / (task["file"] or "README.md")
        whole = file.read_text()
        if task["file"]:
            file.write_text(whole.replace(task["text"], task["becomes"]))
        start = time.perf_counter()
        try:
            status = _in_fork(task["tests"], SECONDS if task["file"] else 0)
        finally:
            file.write_text(whole)
        print(json.dumps({"status": status, "seconds": time.perf_counter() - start}), flush=True)


def _in_fork(tests: Sequence[str], seconds: int) -> int:
    """The exit status of pytest on these tests, in a process of its own whose output goes to a file.

    Args:
        tests: Their files or names.
        seconds: After which a signal ends it; 0 for never.
    """
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        signal.alarm(seconds)
        output = os.open(LOG, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(output, stream)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        import pytest

        status = int(pytest.main(["-x", "-q", "-n0", "-p", "no:cacheprovider", "--tb=line", *tests]))
        sys.stdout.flush()
        os._exit(status)
    finally:
        os._exit(99)  # an exception: never back into the loop of the parent


if __name__ == "__main__":
    serve(Path.cwd().resolve())
