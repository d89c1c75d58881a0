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

import numpy as np

from benchmarks.cluster_steps import ROOT
from benchmarks.hosts import Hosts
from benchmarks.machine import machine
from benchmarks.markdown import table
from benchmarks.measure import write

EXPID, SEED = "MMoE_test", 2026
_STANZA = {"epochs": 4, "save_every_steps": 40, "early_stop_patience": 9, "export": "False", "verbose": 0}
OPTIMIZERS: Mapping[str, Mapping[str, Any]] = {
    "sgd": {"optimizer": "sgd", "learning_rate": 0.5},
    "adam": {"optimizer": "adam"},
}
# How far metrics may be from those of one process: under SGD any, over itself; under Adam, which magnifies
# rounding where a gradient cancels, an AUC.
BOUNDS = {"sgd": 1e-5, "adam": 1e-3}
_PORT = 6379
_MEMORY = 80_000_000  # bytes of each object store: workers keep nothing there
_WORKER = "RayTrainWorker"
_ATTEMPTS = 5
_PATIENCE = 3600  # seconds for any of it: a busy machine takes minutes to import
_TOLD = re.compile("was lost|oes on|oing on").search
_WENT_ON = "Going on from"  # what a training says that begins with a state
_COLOUR = re.compile(r"\x1b\[\d+m")
_RANK = re.compile(r"^\(\w+ pid=.*?\) | ?\[repeated .*$")  # what Ray adds before and behind


def measure_ray(results: Path) -> dict[str, Any]:
    """Runs a stanza by Ray on two hosts, kills a worker, and once more in one process; writes ``ray.json``.

    Args:
        results: Where what was seen goes.

    Raises:
        RuntimeError: Not root, no Ray, or a run does not end as it should, or elsewhere than in one process.
    """
    if find_spec("ray") is None:
        raise RuntimeError("this needs Ray in the Python that runs it: pip install 'fuxi-mtl[ray]'.")
    said = _Said()
    environment = _environment()
    metrics: dict[str, dict[str, Any]] = {}
    with Hosts(2) as hosts, tempfile.TemporaryDirectory(prefix="fmtlray") as name:
        folder = Path(name)
        try:
            _start_nodes(hosts, folder / "ray", environment, said)
            for optimizer in OPTIMIZERS:
                _disturbed(hosts, folder, optimizer, environment, said)
        finally:
            for number in range(2):
                _end(hosts, number)
        for optimizer in OPTIMIZERS:
            _checked(_command(folder / "alone", optimizer), environment)
            said(f"{optimizer}: the same command in one process")
            metrics[optimizer] = {where: _metrics(folder / where, optimizer) for where in ("by_ray", "alone")}
    content = {"name": "ray", "machine": machine(), "cells": [], "lines": said.lines, "metrics": metrics}
    write(results / "ray.json", content)
    check(metrics)
    return content


class _Said:
    """What was seen, and when."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._started = time.monotonic()

    def __call__(self, text: str) -> None:
        self.lines.append(f"{time.monotonic() - self._started:.0f} s: {text}")
        print(self.lines[-1], flush=True)


def _environment() -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "RAY_AUTH_MODE": "token",  # every process of the cluster needs the same token
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_TRAIN_V2_ENABLED": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",  # at Ray's own 15 a busy machine hardly lets them import
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }


def _start_nodes(hosts: Hosts, folder: Path, environment: Mapping[str, str], said: _Said) -> None:
    head = f"{hosts.addresses[0]}:{_PORT}"
    common = ["--num-cpus", "1", "--object-store-memory", str(_MEMORY), "--disable-usage-stats"]
    first = ["--head", "--port", str(_PORT), "--temp-dir", str(folder), "--include-dashboard", "False"]
    for number, own in enumerate((first, ["--address", head])):
        node = ["ray.scripts.scripts", "start", *own, "--node-ip-address", hosts.addresses[number], *common]
        start = [*hosts.command(number), sys.executable, "-m", *node]
        _insisted(hosts, number, start, environment)
        said(f"node {number} of Ray runs at {hosts.addresses[number]}")


def _disturbed(
    hosts: Hosts, folder: Path, optimizer: str, environment: Mapping[str, str], said: _Said
) -> None:
    """A run that loses the worker on node 1 once a state is saved, and goes on by itself."""
    address = f"{hosts.addresses[0]}:{_PORT}"
    command = [*_command(folder / "by_ray", optimizer), "--ray", address, "--processes", "2"]
    log = folder / f"{optimizer}.log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [*hosts.command(0), *command], env=environment, stdout=file, stderr=file, cwd=ROOT
        )
    _wait(process, lambda: saved_states(folder / "by_ray", optimizer), log)
    said(f"{optimizer}: the chief has saved a state")
    victim = _wait(process, lambda: _worker(hosts.processes(1)), log)
    os.kill(victim, signal.SIGKILL)
    said(f"{optimizer}: the worker on node 1 (process {victim}) got SIGKILL")
    status = process.wait(_PATIENCE)
    told = log.read_text(errors="replace").splitlines()
    said.lines += told_of_loss(told)
    said(f"{optimizer}: the command ended with status {status}")
    if status or not any(_WENT_ON in line for line in told):
        raise RuntimeError("the run failed, or began anew:\n" + "\n".join(told[-40:]))


def saved_states(root: Path, optimizer: str) -> list[Path]:
    """The states of a training that are whole: what is being written has a hidden name."""
    return list(root.glob(f"*/{optimizer}/seed_{SEED}.training/state_*/state.h5"))


def told_of_loss(lines: Sequence[str]) -> list[str]:
    """What a log says of a loss and of going on, each once: Ray repeats what the log of each node has."""
    told = (_COLOUR.sub("", line).strip() for line in lines if _TOLD(line))
    return list(dict.fromkeys(_RANK.sub("", line)[:300] for line in told))


def check(metrics: Mapping[str, Mapping[str, Mapping[str, float]]]) -> None:
    """Makes sure that the disturbed runs ended where one process does.

    Args:
        metrics: ``by_ray`` and ``alone``, for each optimizer.

    Raises:
        RuntimeError: One did not; the message says how far it is.
    """
    far = [
        f"{optimizer}: {apart(optimizer, each):.2g} apart, at most {BOUNDS[optimizer]:g}"
        for optimizer, each in metrics.items()
        if not apart(optimizer, each) <= BOUNDS[optimizer]
    ]
    if far:
        raise RuntimeError(f"the run that lost a worker ended elsewhere: {'; '.join(far)}")


def apart(optimizer: str, metrics: Mapping[str, Mapping[str, float]]) -> float:
    """The largest difference of what :data:`BOUNDS` bounds; NaN if one is NaN."""
    one, other = metrics["alone"], metrics["by_ray"]
    if optimizer == "sgd":
        return float(np.max([abs(other[name] - one[name]) / abs(one[name]) for name in one]))
    return float(np.max([abs(other[name] - one[name]) for name in _aucs(one)]))


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


def _command(root: Path, optimizer: str) -> list[str]:
    settings = {**_STANZA, **OPTIMIZERS[optimizer], "model_root": root}
    command = [sys.executable, "-m", "fuxi_mtl", "run", "--expid", EXPID, "--as", optimizer]
    return [*command, "--set", *(f"{key}={value}" for key, value in settings.items())]


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


def _metrics(root: Path, optimizer: str) -> dict[str, float]:
    [file] = root.glob(f"*/{optimizer}/seed_{SEED}/metrics.json")
    return json.loads(file.read_text())["test"]


def section(content: Mapping[str, Any]) -> list[str]:
    """What was seen."""
    text = (
        "`--ray` with two nodes, each a network namespace of this machine with an address of its own, both "
        "started with the same token; the worker on one of them is killed once a state is saved. Metrics of "
        "the test rows, beside those of the same command in one process; they may be apart, under SGD all "
        f"of them over themselves, by {BOUNDS['sgd']:g}, under Adam the AUCs by {BOUNDS['adam']:g}."
    )
    rows = [
        (optimizer, name, f"{each['by_ray'][name]:.6f}", f"{value:.6f}", f"{apart(optimizer, each):.1e}")
        for optimizer, each in content["metrics"].items()
        for name, value in each["alone"].items()
        if name in _aucs(each["alone"])
    ]
    heading = ("optimizer", "metric", "after the loss of a worker", "one process", "furthest apart")
    lines = ["", "## A cluster of Ray that loses a worker", text, *table(heading, rows)]
    return [*lines, "```", *content["lines"], "```"]


def _aucs(metrics: Mapping[str, float]) -> list[str]:
    return [name for name in metrics if name.endswith("_AUC")]
