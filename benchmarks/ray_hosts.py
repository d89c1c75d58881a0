"""A training in a cluster of Ray that has two hosts, one of whose workers is killed: does it end, and where?

Hosts are network namespaces of this machine, a head and another node, each with one CPU: a worker runs
on either. The other node's worker gets SIGKILL once a state is saved.
"""

import contextlib
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.cluster_steps import ROOT
from benchmarks.hosts import Hosts
from benchmarks.machine import machine
from benchmarks.measure import write

EXPID, SEED = "MMoE_test", 2026
_STANZA = {"epochs": 4, "save_every_steps": 40, "early_stop_patience": 9, "export": "False", "verbose": 0}
_PORT = 6379
_MEMORY = 80_000_000  # bytes of each object store: workers keep nothing there
_WORKER = "RayTrainWorker"
_ATTEMPTS = 5
_PATIENCE = 3600  # seconds for any of it: a busy machine takes minutes to import
_TOLD = re.compile("was lost|oes on|oing on").search


def measure_ray(results: Path) -> dict[str, Any]:
    """Runs a stanza by Ray on two hosts, kills a worker, and once more in one process; writes ``ray.json``.

    Args:
        results: Where what was seen goes.

    Raises:
        RuntimeError: Not root, no Ray, or the run does not end as it should.
    """
    if find_spec("ray") is None:
        raise RuntimeError("this needs Ray in the Python that runs it: pip install 'fuxi-mtl[ray]'.")
    with Hosts(2) as hosts, tempfile.TemporaryDirectory(prefix="fmtlray") as folder:
        lines = _run(hosts, Path(folder))
        metrics = {name: _metrics(Path(folder) / name) for name in ("by_ray", "alone")}
    content = {"name": "ray", "machine": machine(), "cells": [], "lines": lines, "metrics": metrics}
    write(results / "ray.json", content)
    return content


def _run(hosts: Hosts, folder: Path) -> list[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "RAY_AUTH_MODE": "token",  # every process of the cluster needs the same token
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_TRAIN_V2_ENABLED": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }
    head = f"{hosts.addresses[0]}:{_PORT}"
    common = ["--num-cpus", "1", "--object-store-memory", str(_MEMORY), "--disable-usage-stats"]
    first = [
        "--head",
        "--port",
        str(_PORT),
        "--temp-dir",
        str(folder / "ray"),
        "--include-dashboard",
        "False",
    ]
    lines: list[str] = []
    started = time.monotonic()

    def say(text: str) -> None:
        lines.append(f"{time.monotonic() - started:.0f} s: {text}")
        print(lines[-1], flush=True)

    try:
        for number, own in enumerate((first, ["--address", head])):
            node = [
                "ray.scripts.scripts",
                "start",
                *own,
                "--node-ip-address",
                hosts.addresses[number],
                *common,
            ]
            start = [*hosts.command(number), sys.executable, "-m", *node]
            _insisted(hosts, number, start, environment)
            say(f"node {number} of Ray runs at {hosts.addresses[number]}")
        command = [*_command(folder / "by_ray"), "--ray", head, "--processes", "2"]
        log = folder / "log"
        with log.open("w") as file:
            process = subprocess.Popen(
                [*hosts.command(0), *command], env=environment, stdout=file, stderr=file, cwd=ROOT
            )
        saved = f"{folder}/by_ray/*/*/seed_{SEED}.training/*"
        _wait(process, lambda: any(Path("/").glob(saved[1:])), log)
        say("the chief has saved a state")
        victim = _wait(process, lambda: _worker(hosts.processes(1)), log)
        os.kill(victim, signal.SIGKILL)
        say(f"the worker on node 1 (process {victim}) got SIGKILL")
        status = process.wait(_PATIENCE)
        lines += [line.strip()[-300:] for line in log.read_text(errors="replace").splitlines() if _TOLD(line)]
        say(f"the command ended with status {status}")
        if status:
            raise RuntimeError("\n".join(log.read_text(errors="replace").splitlines()[-40:]))
    finally:
        for number in range(2):
            _end(hosts, number)
    _checked(_command(folder / "alone"), environment)
    say("the same command in one process")
    return lines


def _insisted(hosts: Hosts, number: int, start: Sequence[str], environment: Mapping[str, str]) -> None:
    """Starts a node. Ray gives it 30 seconds, which is not enough on a busy machine: again, if need be."""
    for attempt in range(_ATTEMPTS):
        try:
            _checked(start, environment)
        except RuntimeError:
            _end(hosts, number)
            if attempt == _ATTEMPTS - 1:
                raise
        else:
            return


def _end(hosts: Hosts, number: int) -> None:
    for pid in hosts.processes(number):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _command(root: Path) -> list[str]:
    settings = [f"{key}={value}" for key, value in {**_STANZA, "model_root": root}.items()]
    return [sys.executable, "-m", "fuxi_mtl", "run", "--expid", EXPID, "--set", *settings]


def _worker(processes: Sequence[int]) -> int | None:
    for pid in processes:
        try:
            if _WORKER in Path(f"/proc/{pid}/cmdline").read_text(errors="replace"):
                return pid
        except OSError:  # it has just ended
            continue
    return None


def _wait(process: subprocess.Popen, there: Callable[[], Any], log: Path) -> Any:
    until = time.monotonic() + _PATIENCE
    while not (found := there()):
        if process.poll() is not None or time.monotonic() > until:
            told = log.read_text(errors="replace").splitlines()[-40:]
            raise RuntimeError("the run has ended, or does not go on:\n" + "\n".join(told))
        time.sleep(0.2)
    return found


def _checked(command: Sequence[str], environment: Mapping[str, str]) -> None:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}:\n{(done.stdout + done.stderr)[-2000:]}")


def _metrics(root: Path) -> dict[str, float]:
    [file] = root.glob(f"*/*/seed_{SEED}/metrics.json")
    return json.loads(file.read_text())["test"]


def section(content: Mapping[str, Any]) -> list[str]:
    """What was seen."""
    shown = [
        f"{name} {content['metrics']['by_ray'][name]:.4f} ({value:.4f})" for name, value in _aucs(content)
    ]
    text = (
        "`--ray` with two nodes, each a network namespace of this machine with an address of its own, both "
        "started with the same token; one worker is killed. Metrics of the test rows, in brackets those of "
        f"one process: {', '.join(shown)}."
    )
    return ["", "## A cluster of Ray that loses a worker", text, "", "```", *content["lines"], "```"]


def _aucs(content: Mapping[str, Any]) -> list[tuple[str, float]]:
    return [(name, value) for name, value in content["metrics"]["alone"].items() if name.endswith("_AUC")]
