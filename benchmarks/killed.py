"""Commands that are killed in one of their phases, or say when each of them was: the worker of ``kills``.

One process imports TensorFlow, and forks for every command; what it is to run comes as a line of JSON, and a
line with its exit status and its seconds goes back.
"""

import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple

from fuxi_mtl import registry
from fuxi_mtl.cli.commands import main
from fuxi_mtl.cli.startup import quiet_start
from fuxi_mtl.dataset import savepoints

# What runs in each phase, by its module and name there.
PHASES = {
    "encoding": ("fuxi_mtl.dataset.building", "build"),
    "training": ("fuxi_mtl.training.train", "train"),
    "saving": ("fuxi_mtl.training.checkpoint.files", "write"),
    "evaluation": ("fuxi_mtl.workflow.experiment", "measure_splits"),
    "exporting": ("fuxi_mtl.serving.export", "export_model"),
    "comparing": ("fuxi_mtl.report", "render"),
}


class Kill(NamedTuple):
    """When a command is killed: so many seconds into a call of a phase."""

    phase: str
    call: int
    seconds: float


def watch(file: Path, kill: Kill | None) -> None:
    """Writes a line at the begin and end of every phase, and orders the kill when its phase begins."""
    calls: dict[str, int] = dict.fromkeys(PHASES, 0)
    file.unlink(missing_ok=True)

    def note(phase: str, call: int, what: str) -> None:
        with file.open("a") as lines:
            lines.write(json.dumps([phase, call, what, time.monotonic()]) + "\n")

    def watched(phase: str, function: Callable) -> Callable:
        @wraps(function)
        def inside(*arguments: Any, **keywords: Any) -> Any:
            call = calls[phase]
            calls[phase] += 1
            note(phase, call, "begin")
            if kill is not None and (kill.phase, kill.call) == (phase, call):
                # By another process, so that nothing here can put it off.
                subprocess.Popen(["sh", "-c", f"sleep {kill.seconds:.4f}; kill -9 {os.getpid()}"])
            try:
                return function(*arguments, **keywords)
            finally:
                note(phase, call, "end")

        return inside

    for phase, (module, name) in PHASES.items():
        function = getattr(importlib.import_module(module), name)
        _replace(function, watched(phase, function))


def _replace(function: Callable, by: Callable) -> None:
    """Puts one function into the place of another wherever it was imported."""
    for module in [each for name, each in sys.modules.items() if name.startswith("fuxi_mtl")]:
        for name, value in list(vars(module).items()):
            if value is function:
                setattr(module, name, by)


def serve() -> None:
    """Runs what is asked for, line by line."""
    with quiet_start():
        registry.import_zoo()
    for module in ("comparison", "report", "workflow.resume"):  # all that commands import when they run
        importlib.import_module(f"fuxi_mtl.{module}")
    for line in sys.stdin:
        asked = json.loads(line)
        begin = time.monotonic()
        child = os.fork()
        if not child:
            _run(asked)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        sys.stdout.write(json.dumps({"status": status, "seconds": time.monotonic() - begin}) + "\n")
        sys.stdout.flush()


def _run(asked: Mapping[str, Any]) -> None:
    """One command, in a process of its own, which ends here."""
    os.chdir(asked["folder"])
    output = os.open(asked["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    tempfile.tempdir = str(Path("tmp").resolve())
    savepoints.EVERY = 0.0  # as often as can be, so that there is something to go on from in seconds
    watch(Path(asked["marks"]), Kill(*asked["kill"]) if asked["kill"] else None)
    sys.exit(main(asked["arguments"]))


if __name__ == "__main__":
    serve()
