"""Is anything lost when a command is killed? Commands killed at random moments, and what they go on to.

A run is killed with SIGKILL at a random moment of encoding, training, saving, evaluation and export, and
``compare`` while it makes its page; the same command follows, with ``--resume``. What it leaves is held
against an undisturbed run, bit by bit.
"""

import json
import random
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import polars as pl
import tensorflow as tf

from benchmarks.killed import PHASES
from benchmarks.machine import machine
from benchmarks.markdown import number, table
from benchmarks.measure import write

ROOT = Path(__file__).parent.parent
PARTS = 5  # files of the training rows
SIGKILL = -9
_TIMES = ("seconds", "rows_per_second", "finished", "crc32")  # parts of keys that differ in every run
_TRIES = 5  # a moment close to the end of a phase may come too late


@dataclass(frozen=True)
class World:
    """One data set with its experiment: seconds to run, with everything random in it, and saved often.

    Attributes:
        data: Its folder in ``data/``.
        suffix: Format of its files.
        expid: The experiment.
        rows: Most rows of a split.
        keys: What differs from the stanza.
    """

    data: str
    suffix: str
    expid: str
    rows: Mapping[str, int]
    keys: Sequence[str]

    def write(self, folder: Path) -> list[str]:
        """Writes the rows, those for training in several files, and returns the keys that name them."""
        named = []
        for split, rows in self.rows.items():
            file = ROOT / "data" / self.data / f"{split}.{self.suffix}"
            read = pl.read_csv(file, infer_schema=False) if self.suffix == "csv" else pl.read_parquet(file)
            frame, parts = read.head(rows), PARTS if split == "train" else 1
            size = -(-frame.height // parts)
            for part in range(parts):
                path = folder / f"{split}_{part}.{self.suffix}"
                piece = frame.slice(part * size, size)
                piece.write_csv(path) if self.suffix == "csv" else piece.write_parquet(path)
            named.append(f"{split}_data={folder}/{split}_*.{self.suffix}")
        return named


WORLDS = {
    "tiny_mtl": World(
        "tiny_mtl",
        "csv",
        "MMoE_test",
        {"train": 4_000, "valid": 1_000, "test": 1_000},
        ["epochs=2", "loss_weight=GN", "net_dropout=0.1", "calibration=platt", "save_every_steps=15"],
    ),
    "census": World(
        "census_income",
        "parquet",
        "MMoE_default",
        {"train": 12_000, "valid": 3_000, "test": 3_000},
        ["epochs=2", "batch_size=256", "save_every_steps=12"],
    ),
}


@dataclass(frozen=True)
class Trial:
    """What became of one killed command.

    Attributes:
        world: The data set.
        phase: Where it was killed.
        into: Seconds into that phase.
        seconds: What both commands took.
        differs: What differs from the undisturbed run.
        left: Files and folders that the killed command left beside what belongs there.
        remain: Those that were still there at the end.
        again: What went on: the last line of the log that says so.
    """

    world: str
    phase: str
    into: float
    seconds: float
    differs: list[str]
    left: int
    remain: list[str]
    again: str


class Bench:
    """The undisturbed commands of a world, and trials beside them.

    Args:
        name: The world.
        folder: Where everything of it goes.
        worker: Runs commands; see :mod:`benchmarks.killed`.
    """

    def __init__(self, name: str, folder: Path, worker: "subprocess.Popen[str]"):
        self.name, self.world, self.folder, self._worker = name, WORLDS[name], folder, worker
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.keys = self.world.write(folder)
        self.calls: list[tuple[str, int, float]] = []  # phase, number of the call, seconds
        self.seconds: dict[str, float] = {}
        self.measure()
        self.parts = parts_of(folder / "whole")

    def measure(self) -> None:
        """Runs the undisturbed commands; the shortest time counts, for the machine has other work."""
        shutil.rmtree(self.folder / "whole", ignore_errors=True)
        self.calls = []
        for command in ("run", "compare"):
            done = self.start("whole", command)
            if done.status:
                raise RuntimeError(f"{self.name}: the undisturbed command failed:\n{done.output}")
            self.seconds[command] = min(done.seconds, self.seconds.get(command, done.seconds))
            self.calls += _calls(done.marks)

    def start(self, place: str, command: str, kill: tuple[str, int, float] | None = None) -> "Done":
        """Runs a command in a folder of its own, and kills it if that is said."""
        folder = self.folder / place
        (folder / "tmp").mkdir(parents=True, exist_ok=True)
        output, marks = self.folder / "output.txt", self.folder / "marks.jsonl"
        asked = {
            "folder": str(folder),
            "output": str(output),
            "marks": str(marks),
            "kill": kill,
            "arguments": self._arguments(command),
        }
        if self._worker.stdin is None or self._worker.stdout is None:
            raise RuntimeError("the worker has no pipes")
        self._worker.stdin.write(json.dumps(asked) + "\n")
        self._worker.stdin.flush()
        answer = json.loads(self._worker.stdout.readline())
        found = [json.loads(line) for line in marks.read_text().splitlines()] if marks.exists() else []
        return Done(answer["status"], answer["seconds"], output.read_text(), found)

    def _arguments(self, command: str) -> list[str]:
        if command == "compare":
            return ["compare", "--model_root", "runs", "--format", "html", "--output", "page.html"]
        run = ["run", "--config", str(ROOT / "config"), "--expid", self.world.expid, "--resume"]
        roots = ["model_root=runs", "data_root=data", "export=true"]
        return [*run, "--set", *self.world.keys, *self.keys, *roots]

    def kill(self, phase: str, chance: random.Random, place: str) -> Trial:
        """Kills a command at a random moment of a phase, runs it again, and looks at what it left."""
        command = "compare" if phase == "comparing" else "run"
        calls = [call for call in self.calls if call[0] == phase]
        folder, undisturbed = self.folder / place, names_in(self.folder / "whole")
        for _ in range(_TRIES):
            shutil.rmtree(folder, ignore_errors=True)
            if command == "compare":
                shutil.copytree(self.folder / "whole", folder)
                (folder / "page.html").unlink()
            _, call, seconds = chance.choice(calls)
            into = chance.uniform(0, seconds)
            killed = self.start(place, command, (phase, call, into))
            if killed.status == SIGKILL:
                break
        else:
            raise RuntimeError(f"{self.name}, {phase}: {_TRIES} kills came too late.\n{killed.output}")
        left = names_in(folder) - undisturbed
        again = self.start(place, command)
        if again.status:
            raise RuntimeError(f"{self.name}, {phase}, {into:.2f} s: cannot go on.\n{again.output}")
        wanted, found = dict(self.parts), parts_of(folder)
        if command == "compare":  # of the same runs, which took the same time
            wanted["page"] = (self.folder / "whole/page.html").read_bytes()
            found["page"] = (folder / "page.html").read_bytes()
        differs = sorted(name for name in {**wanted, **found} if wanted.get(name) != found.get(name))
        remain = sorted(names_in(folder) - undisturbed)
        shutil.rmtree(folder)
        took, phase = killed.seconds + again.seconds, _phase_of(killed.marks)
        return Trial(self.name, phase, into, took, differs, len(left), remain, _said(again.output))


@dataclass(frozen=True)
class Done:
    """What a command left on the terminal."""

    status: int
    seconds: float
    output: str
    marks: list[Any]


def _calls(marks: Sequence[Any]) -> Iterator[tuple[str, int, float]]:
    """The calls of each phase and how long each took."""
    begun = {(phase, call): time for phase, call, what, time in marks if what == "begin"}
    for phase, call, what, time in marks:
        if what == "end":
            yield phase, call, time - begun[phase, call]


def _phase_of(marks: Sequence[Any]) -> str:
    """The innermost phase that a killed command was in; where it was behind one already, that is said."""
    inside: list[str] = []
    for phase, _, what, _ in marks:
        if what == "begin":
            inside.append(phase)
        else:
            inside.remove(phase)
    return inside[-1] if inside else f"behind {marks[-1][0]}"


def _said(output: str) -> str:
    """What a command said of what it goes on from."""
    marks = ("oing on from", "goes on behind", "is finished")
    lines = [line for line in output.splitlines() if any(mark in line for mark in marks)]
    return lines[-1].partition(" INFO ")[2] if lines else "begins anew"


def names_in(folder: Path) -> set[str]:
    """All files and folders of runs, encodings and temporary ones of ours, by their path."""
    ours = [*folder.glob("runs/**/*"), *folder.glob("data/**/*"), *folder.glob("tmp/fuxi_mtl*")]
    return {str(path.relative_to(folder)) for path in ours}


def parts_of(folder: Path) -> dict[str, Any]:
    """Everything that commands made in a folder and that is to be equal, by name."""
    (run,) = folder.glob("runs/*/*/seed_*/metrics.json")
    (encoded,) = folder.glob("data/*/encoded-*/manifest.json")
    parts: dict[str, Any] = dict(_parts_of_run(run.parent))
    for file in sorted(encoded.parent.iterdir()):
        parts[f"cache: {file.name}"] = file.read_bytes()
    return parts


def _parts_of_run(run: Path) -> Iterator[tuple[str, Any]]:
    with h5py.File(run / "checkpoint/state.h5") as file:
        datasets: dict[str, bytes] = {}
        file.visititems(
            lambda name, item: (
                datasets.update({name: item[()].tobytes()}) if isinstance(item, h5py.Dataset) else None
            )
        )
    yield from ((f"checkpoint: {name}", content) for name, content in datasets.items())
    for split in ("valid", "test"):
        with np.load(run / f"{split}_scores.npz") as arrays:
            yield from ((f"{split} scores: {name}", arrays[name].tobytes()) for name in arrays.files)
    for name in ("metrics", "calibration"):
        file = run / f"{name}.json"
        if file.is_file():
            yield file.name, json.dumps(_timeless(json.loads(file.read_text())))
    for place, evaluation in enumerate(json.loads((run / "history.json").read_text())["evaluations"]):
        for key, value in _timeless(evaluation).items():
            yield f"history: {key} of evaluation {place}", json.dumps(value)
    for file in (run / "config.yaml", *sorted((run / "features").iterdir())):
        yield file.name, file.read_bytes()
    # Their order, and the names that come from it, are TensorFlow's own.
    stored = tf.train.load_checkpoint(str(run / "saved_model/variables/variables"))
    names = [name for name in stored.get_variable_to_shape_map() if name != "_CHECKPOINTABLE_OBJECT_GRAPH"]
    yield "SavedModel", sorted(np.asarray(stored.get_tensor(name)).tobytes() for name in names)


def _timeless(content: Any) -> Any:
    """Plain data without what tells of time."""
    if isinstance(content, dict):
        kept = {key: value for key, value in content.items() if not any(each in key for each in _TIMES)}
        return {key: _timeless(value) for key, value in kept.items()}
    return [_timeless(each) for each in content] if isinstance(content, list) else content


def measure_kills(kills: int, seed: int, cache: Path, results: Path) -> None:
    """Kills commands in every phase on every data set in turns, and writes what became of them."""
    chance = random.Random(seed)  # noqa: S311 - moments, no secrets
    trials: list[Trial] = []
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.killed"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as worker:
        benches = [Bench(name, cache / "kills" / name, worker) for name in WORLDS]
        turns = [(bench, phase) for phase in PHASES for bench in benches]
        for turn in range(kills):
            bench, phase = turns[turn % len(turns)]
            trial = bench.kill(phase, chance, f"trial_{turn}")
            trials.append(trial)
            state = f"{', '.join(trial.differs)} differ" if trial.differs else "equal"
            print(
                f"{turn + 1:>3}/{kills} {bench.name}, {phase} ({trial.phase}), {trial.into:.2f} s: {state}; "
                f"left {trial.left}, {trial.remain} at the end; {trial.seconds:.1f} s; {trial.again}",
                flush=True,
            )
            _store(results, seed, benches, trials)
        for bench in benches:
            bench.measure()
        _store(results, seed, benches, trials)
        if worker.stdin:
            worker.stdin.close()


def _store(results: Path, seed: int, benches: Sequence[Bench], trials: Sequence[Trial]) -> None:
    content = {
        "name": "kills",
        "machine": machine(),
        "seed": seed,
        "parts": {bench.name: len(bench.parts) for bench in benches},
        "undisturbed": {bench.name: bench.seconds for bench in benches},
        "cells": [asdict(trial) for trial in trials],
    }
    write(results / "kills.json", content)


def section(content: Mapping[str, Any]) -> list[str]:
    """The table of the report."""
    trials = content["cells"]
    rows = []
    for name, seconds in content["undisturbed"].items():
        phases = [*PHASES, *(f"behind {phase}" for phase in PHASES)]
        for phase in phases:
            found = [each for each in trials if (each["world"], each["phase"]) == (name, phase)]
            if not found:
                continue
            equal = sum(not each["differs"] for each in found)
            whole = seconds["compare" if "comparing" in phase else "run"]
            lost = [each["seconds"] - whole for each in found]
            rows.append(
                (
                    f"{name}, {phase}",
                    f"{equal} of {len(found)}",
                    str(sum(each["left"] for each in found)),
                    str(sum(len(each["remain"]) for each in found)),
                    f"{number(statistics.median(lost))} ({number(min(lost))} to {number(max(lost))})",
                    number(whole),
                )
            )
    heading = ("killed in", "equal", "left by the kill", "at the end", "seconds lost", "undisturbed")
    equal = sum(not each["differs"] for each in trials)
    parts = ", ".join(f"{count} parts on {name}" for name, count in content["parts"].items())
    told = (
        f"{equal} of {len(trials)} went on to what an undisturbed command makes, to the last bit of "
        "checkpoint, scores, metrics, history, calibration, encoded arrays, vocabularies and SavedModel, and "
        f"of the page of compare ({parts}). Seconds lost are those of both commands over an undisturbed one, "
        "median (least to most), with TensorFlow imported; other work on the machine moves them, also below "
        "0. States are saved every few steps, encodings at every file."
    )
    return ["", f"## {len(trials)} commands killed at random moments", "", told, *table(heading, rows)]
