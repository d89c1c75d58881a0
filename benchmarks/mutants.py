"""Whether the tests see it when one of the lines is broken from which a silent wrong number would come.

Each mutant of `mutants.yaml` replaces a piece of the code in a copy of the tree, where the tests named beside
it run: one of them must fail. What survives is a line that no test looks at.
"""

import compileall
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import Any

import yaml

from benchmarks.machine import machine
from benchmarks.markdown import number, table
from benchmarks.measure import write
from benchmarks.mutant_worker import LOG
from benchmarks.runner import ROOT

TABLE = ROOT / "benchmarks" / "mutants.yaml"
# What pytest's exit status says of a mutant; whatever else is none of the tests' business.
OUTCOMES = {0: "survived", 1: "killed", -14: "killed"}  # -14: the tests never ended


@dataclass(frozen=True)
class Mutant:
    """One change of the code that tests must see.

    Attributes:
        what: What the line sees to.
        file: The file, seen from the root of the repository.
        text: A piece of it, which is there once.
        becomes: What takes its place.
        tests: Files of tests, or single tests, one of which must fail.
        added: The test that was written because none saw the change.
    """

    what: str
    file: str
    text: str
    becomes: str
    tests: tuple[str, ...]
    added: str = ""


def read_mutants() -> list[Mutant]:
    """The table."""
    return [
        Mutant(**{"file": each["file"], **line, "tests": tuple(line.get("tests", each["tests"]))})
        for each in yaml.safe_load(TABLE.read_text())
        for line in each["lines"]
    ]


def measure_mutants(wanted: Sequence[str], results: Path) -> dict[str, Any]:
    """Runs the tests on every mutant, or on some; ``mutants.json`` takes in what each of them did.

    Args:
        wanted: Parts of the mutants' files or sentences; empty for all.
        results: Folder of the results.

    Raises:
        ValueError: A line is no longer in its file, or nothing is wanted.
        RuntimeError: Tests fail though nothing is broken, or cannot run on a mutant.
    """
    chosen = [
        m for m in read_mutants() if not wanted or any(part in f"{m.file}: {m.what}" for part in wanted)
    ]
    if not chosen:
        raise ValueError(f"no mutant's file or sentence holds {' or '.join(map(repr, wanted))}.")
    check_lines(chosen)
    content: dict[str, Any] = {}
    with _worker() as ask:
        found = ask(list(dict.fromkeys(test for mutant in chosen for test in mutant.tests)))
        if found["status"]:
            raise RuntimeError(f"tests fail though nothing is broken:\n{found['log']}")
        for mutant in chosen:
            found = ask(mutant.tests, mutant)
            if found["status"] not in OUTCOMES:
                raise RuntimeError(f"{mutant.file}, {mutant.what}: the tests cannot run:\n{found['log']}")
            outcome = OUTCOMES[found["status"]]
            print(f"{outcome:9} {found['seconds']:5.1f} s  {mutant.file}: {mutant.what}", flush=True)
            measured = {"outcome": outcome, "seconds": round(found["seconds"], 1)}
            cell = {**_plain(mutant), **measured, "by": _first_failed(found["log"])}
            content = _stored(cell, results / "mutants.json")
    return content


def _plain(mutant: Mutant) -> dict[str, Any]:
    return {**asdict(mutant), "tests": list(mutant.tests)}


def _stored(cell: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """The stored results with that of one mutant; those of mutants that are no longer in the table go."""
    before = json.loads(file.read_text())["cells"] if file.is_file() else []
    of = {(each["file"], each["what"]): each for each in (*before, cell)}
    found = [(mutant, of.get((mutant.file, mutant.what))) for mutant in read_mutants()]
    cells = [each for mutant, each in found if each and each | _plain(mutant) == each]
    content = {"name": "mutants", "machine": machine(), "cells": cells}
    write(file, content)
    return content


def check_lines(mutants: Sequence[Mutant], root: Path = ROOT) -> None:
    """Refuses a mutant whose line is not in its file, or in it more than once, and one of no such test.

    Raises:
        ValueError: It names the mutant.
    """
    for mutant in mutants:
        count = (root / mutant.file).read_text().count(mutant.text)
        if count != 1:
            raise ValueError(
                f"{TABLE.name}, {mutant.what}: {mutant.file} has {mutant.text!r} {count} times, not "
                "once. Name the line as it is now written, or another that does the same."
            )
        for test in mutant.tests:
            file, _, name = test.partition("::")
            if not re.search(rf"^def {name.partition('[')[0]}", (root / file).read_text(), re.MULTILINE):
                raise ValueError(f"{TABLE.name}, {mutant.what}: there is no {test}.")


@contextmanager
def _worker() -> Iterator[Any]:
    """A function that asks a process in a copy of the tree to run tests, on a mutant or on the whole code."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder).resolve() / "tree"
        _copy_tree(copy)
        # Its path comes before that of the installed packages. No mutant leaves compiled code behind.
        own = {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", **own}
        said = copy / "worker.log"
        with (
            said.open("w") as errors,
            subprocess.Popen(
                [sys.executable, "-m", "benchmarks.mutant_worker"],
                cwd=copy,
                env=environment,
                text=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            ) as process,
        ):

            def ask(tests: Sequence[str], mutant: Mutant | None = None) -> dict[str, Any]:
                broken = {"file": ""} if mutant is None else asdict(mutant)
                process.stdin.write(json.dumps({**broken, "tests": list(tests)}) + "\n")
                process.stdin.flush()
                answer = process.stdout.readline()
                if not answer:
                    raise RuntimeError(f"the process that runs the tests has ended:\n{said.read_text()}")
                return {**json.loads(answer), "log": (copy / LOG).read_text(errors="replace")}

            yield ask
            process.stdin.close()


def _copy_tree(copy: Path) -> None:
    """The files of the worktree, compiled so that a changed source is noticed whatever its time and size."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    (copy / "fuxi_mtl_zoo").symlink_to("model_zoo")  # as it is called where it is installed
    for package in ("fuxi_mtl", "model_zoo"):
        compileall.compile_dir(copy / package, quiet=1, invalidation_mode=PycInvalidationMode.CHECKED_HASH)


def _first_failed(log: str) -> str:
    found = re.search(r"^(?:FAILED|ERROR) (\S+)", log, re.MULTILINE)
    return found[1] if found else ""


def section(content: Mapping[str, Any]) -> list[str]:
    """The part of the report."""
    cells = content["cells"]
    survived = [cell for cell in cells if cell["outcome"] == "survived"]
    once = [cell for cell in cells if cell["added"]]
    seconds = sorted(cell["seconds"] for cell in cells)
    told = (
        f"{len(cells)} lines from which a silent wrong number would come, each broken by itself: the tests "
        f"that are named for them see {len(cells) - len(survived)}, and {len(survived)} are not seen. All of "
        f"them take {number(sum(seconds) / 60)} minutes, the middle one {number(seconds[len(seconds) // 2])} "
        f"seconds. {len(once)} were not seen at first; the tests that see them now:"
    )
    rows = [(cell["file"], cell["what"], cell["added"].partition("::")[2]) for cell in once]
    left = [(cell["file"], cell["what"], "none") for cell in survived]
    heading = ("file", "line", "test")
    return ["", "## Lines whose breaking the tests see", "", told, *table(heading, [*left, *rows])]
