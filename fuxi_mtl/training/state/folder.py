"""The folder of a training's states, beside its run: written whole, rotated, found again.

``seed_{seed}.training/`` holds ``state_{step}/`` for each of the last states::

    state.h5    every number by its name, with checksums, and beside them all that is no array
    rows_0_of_2.h5 ...  where tables are spread over workers, the rows of each
    best/       the checkpoint of the best evaluation until then: links to the files of the run
    diverged.json   where the numbers of its training stopped being finite behind it: what was said of that

A state needs nothing else. It belongs to one training; those of another stay until this one has its first.
Numbers that are not finite are never written: the states before them are those that are worth something.
"""

import logging
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from fuxi_mtl.evaluation.memory import TrainingError
from fuxi_mtl.files import (
    checked_json,
    leavings_in,
    partial_name,
    read_json,
    removed,
    whole_folder,
    write_text,
)
from fuxi_mtl.runs import TRAINING
from fuxi_mtl.training.checkpoint.files import FILE, read_note, write
from fuxi_mtl.training.checkpoint.naming import Part
from fuxi_mtl.training.checkpoint.numbers import READ_ERRORS, reason
from fuxi_mtl.training.checkpoint.spread import write_together

logger = logging.getLogger(__name__)

FORMAT = 1  # counts up when the files or their meaning change
BEST = "best"
DIVERGED = "diverged.json"
RATES = ("learning_rate", "embedding_learning_rate")  # keys whose values lie in variables
CURES = (*RATES, "max_gradient_norm")  # keys that may change where numbers were not finite
_TRAINED = ("network/", "optimizer/dense/", "optimizer/rows/")  # parts that are finite in any good training


class NotFiniteError(ValueError):
    """A state holds numbers that are not finite, from which no training can go on."""


@dataclass(frozen=True)
class Stored:
    """A state on disk.

    Attributes:
        folder: Where it lies.
        note: What lies beside its numbers: format, training, time, what it is of, and the plain part.
        keeps_rates: Whether what goes on from it has learning rates of its own.
    """

    folder: Path
    note: Mapping[str, Any]
    keeps_rates: bool = False

    @property
    def file(self) -> Path:
        """Its numbers."""
        return self.folder / FILE

    @property
    def plain(self) -> Mapping[str, Any]:
        """All that is no array."""
        return self.note["plain"]

    @property
    def precision(self) -> Mapping[str, Any] | None:
        """What its training computes in; None where an older version did not say it."""
        return self.note.get("precision")

    def put_into(self, state: Any) -> None:
        """Sets a :class:`~fuxi_mtl.training.state.training_state.TrainingState` to it."""
        state.restore_numbers(self.file, self.keeps_rates)

    @property
    def diverged(self) -> str | None:
        """How the training behind it ended, if its numbers were not finite any more.

        Raises:
            ValueError: What says so is damaged.
        """
        try:
            return read_json(self.folder / DIVERGED, "begin anew with --restart.")["error"]
        except FileNotFoundError:
            return None

    @property
    def best(self) -> Path:
        """The checkpoint of the best evaluation, if there was one."""
        return self.folder / BEST

    @property
    def step(self) -> int:
        """Steps taken."""
        return self.note["plain"]["position"]["step"]

    def __str__(self) -> str:
        saved = self.note["saved"].partition(".")[0]
        return f"{self.folder}: step {self.step} of {self.note['total_steps']}, saved {saved}"


@dataclass
class StateFolder:
    """The states of one training.

    Attributes:
        path: The folder; it need not be there yet.
        identity: What the training depends on: keys of its stanza and the key of its data.
        keep: How many states stay.
        source: The states to go on from, the newest first; none to begin anew.
        training: A name for this training that no other has.
        began: When it began.
        precision: What it computes in, once that is known.
    """

    path: Path
    identity: Mapping[str, Any]
    keep: int = 2
    source: tuple[Stored, ...] = ()
    training: str = field(default_factory=lambda: uuid.uuid4().hex)
    began: str = field(default_factory=lambda: datetime.now().isoformat(timespec="seconds"))
    precision: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.source:
            self.training, self.began = (self.source[0].note[key] for key in ("training", "began"))

    @property
    def summaries(self) -> Path:
        """Where TensorBoard's files of this training go until its run is whole."""
        return self.path / f"tensorboard-{self.training}"

    def note(self, plain: Mapping[str, Any], total_steps: int, has_global_seed: bool) -> dict[str, Any]:
        """What lies beside the numbers of a state."""
        return {
            "format": FORMAT,
            "training": self.training,
            "began": self.began,
            "saved": datetime.now().isoformat(timespec="microseconds"),
            "identity": self.identity,
            "total_steps": total_steps,
            "global_seed": has_global_seed,
            "precision": self.precision,
            "plain": plain,
        }

    def hold(self, best: Path) -> Path:
        """Second names for the files of the best checkpoint, which may be replaced during a write."""
        held = partial_name(self.path / BEST)
        link(best, held)
        return held

    def write(
        self,
        note: Mapping[str, Any],
        parts: Mapping[str, Part],
        orders: Mapping[str, list[str]],
        best: Path | None,
    ) -> Path:
        """Writes a state whole, and removes those that it replaces.

        Args:
            note: See :meth:`note`.
            parts: The numbers.
            orders: Of names, by group.
            best: What :meth:`hold` gave; None if there is no best checkpoint.

        Raises:
            NotFiniteError: Its numbers are not worth it. The older ones are still there, as below.
            OSError: It cannot be written, or a :class:`RuntimeError` of HDF5.
        """
        folder = self.path / f"state_{note['plain']['position']['step']}"
        with whole_folder(folder) as partial:
            if best is not None:
                best.replace(partial / BEST)
            spread = write_together(parts, partial)
            _check_finite(parts)
            if not spread.finite:
                raise NotFiniteError("rows of a worker hold numbers that are not finite")
            write(partial / FILE, parts, orders, note, spread.checksums)
            with (partial / FILE).open("rb") as file:
                os.fsync(file.fileno())
        self._rotate()
        return folder

    @contextmanager
    def marking_divergence(self) -> Iterator[None]:
        """Notes beside the states of this training that numbers behind them were not finite any more.

        Raises:
            TrainingError: That of the block, which says then what the states are good for.
        """
        try:
            yield
        except TrainingError as error:
            kept = self._mine()
            if not error.diverges or not kept:
                raise
            with suppress(OSError):  # what happened is to be told also where nothing can be written
                for each in kept:
                    write_text(each.folder / DIVERGED, checked_json({"error": str(error)}) + "\n")
            raise TrainingError(
                f"{error} States from before are kept in {self.path}, the last of step {kept[0].step}: "
                f"--resume with a smaller {' or '.join(CURES)} goes on from there.",
                diverges=True,
            ) from error

    def _mine(self) -> list[Stored]:
        """The states of this training, the newest first."""
        return [each for each in _readable(self.path) if each.note["training"] == self.training]

    def _rotate(self) -> None:
        """Removes the oldest states of this training, and all of others."""
        mine = self._mine()
        for folder in _folders(self.path) - {each.folder for each in mine[: self.keep]}:
            removed(folder)
        for leaving in leavings_in(self.path):
            if leaving.dead:
                removed(leaving.path)

    def remove(self) -> None:
        """Removes the folder: its run is whole."""
        shutil.rmtree(self.path, ignore_errors=True)


def training_folder(run: Path) -> Path:
    """Where the states of a run's training lie."""
    return run.with_name(f"{run.name}{TRAINING}")


def stored_states(path: Path) -> list[Stored]:
    """The states that can be read of the last training there, the newest first; what cannot is said."""
    found = _readable(path)
    return [each for each in found if each.note["training"] == found[0].note["training"]]


def _readable(path: Path) -> list[Stored]:
    """The states of all trainings, the newest first."""
    found = []
    for folder in sorted(_folders(path)):
        try:
            found.append(Stored(folder, read_note(folder / FILE)))
        except READ_ERRORS as error:
            logger.warning("%s: this state of a training cannot be read (%s).", folder, reason(error))
    return sorted(found, key=lambda each: (each.note["saved"], each.step), reverse=True)


def link(source: Path, target: Path) -> None:
    """Gives the files of a folder, which nobody changes, second names; copies where there are no links."""
    target.mkdir(parents=True)
    for file in source.iterdir():
        try:
            os.link(file, target / file.name)
        except OSError:
            shutil.copy2(file, target / file.name)


def _check_finite(parts: Mapping[str, Part]) -> None:
    for name, part in parts.items():
        if name.startswith(_TRAINED) and not all(
            np.isfinite(part.read(chunk)).all() for chunk in part.chunks()
        ):
            raise NotFiniteError(f"{name} holds numbers that are not finite")


def _folders(path: Path) -> set[Path]:
    found: set[Path] = set()
    with suppress(FileNotFoundError):
        found = {folder for folder in path.glob("state_*") if (folder / FILE).is_file()}
    return found
