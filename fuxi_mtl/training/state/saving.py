"""When the state of a training is saved: at intervals of steps or time, and when it is interrupted."""

import logging
import math
import shutil
import threading
import time
from functools import cached_property
from pathlib import Path

from fuxi_mtl.cluster.workers import connected
from fuxi_mtl.interruption import Interruption
from fuxi_mtl.options import TrainingOptions
from fuxi_mtl.training.checkpoint.naming import Part
from fuxi_mtl.training.checkpoint.numbers import reason
from fuxi_mtl.training.checkpoint.spread import GO, spread_parts
from fuxi_mtl.training.state.folder import NotFiniteError, StateFolder
from fuxi_mtl.training.state.memory import Copies, free_memory
from fuxi_mtl.training.state.training_state import TrainingState

logger = logging.getLogger(__name__)

SHARE = 0.01  # most of a training's time that it stands still for saves which its minutes ask for
SLOW_DISK = 100e6  # bytes a second that are believed in before the first state is written
SLOW_MEMORY = 200e6  # bytes a second that a system under load gives to a process for the first time


class Saving:
    """Saves a training where it pauses, if it is time.

    Training stands still while the numbers are copied. Other threads take the memory for the copy, shortly
    before, and write it afterwards. Where the memory is not enough for one, the numbers are written as they
    lie, and training waits for it; likewise where tables are spread over workers, who write at once.

    Args:
        state: The training.
        folder: Where its states go.
        options: How often.
        best: The folder of the best checkpoint, which each state takes along.
        total_steps: Steps of the training.
        interruption: Whether it is to stop.

    Attributes:
        pauses: Seconds of each time that training stood still.
    """

    def __init__(
        self,
        state: TrainingState,
        folder: StateFolder,
        options: TrainingOptions,
        best: Path,
        total_steps: int,
        interruption: Interruption,
    ):
        self._state, self._folder, self._best = state, folder, best
        self._every_steps, self._every_minutes = options.save_every_steps, options.save_every_minutes
        self._total, self._interruption = total_steps, interruption
        self._writer: threading.Thread | None = None
        self._copies: Copies | None = None
        self._saved_at, self._saved_step = time.monotonic(), state.position.step
        self._bytes_a_second = SLOW_DISK
        self._saved: tuple[Path, int] | None = None  # where the last state lies, and its step
        self.pauses: list[float] = []

    def announce(self) -> None:
        """Says where states go and what they take of the disk."""
        size = sum(part.whole_bytes for part in self._state.parts().values())
        count = self._folder.keep + 1
        place = next(parent for parent in self._folder.path.parents if parent.exists())
        free = shutil.disk_usage(place).free
        told = (
            f"{self._folder.path}: states of the training, up to {_readable(count * size)} "
            f"({self._folder.keep} kept and one that is written); {_readable(free)} are free."
        )
        if count * size > free:
            logger.warning("%s A state that finds no room is not saved, and the older ones stay.", told)
        else:
            logger.info("%s", told)

    def pause(self, stops: bool = False, saves: bool | None = None) -> None:
        """Saves if it is time, and leaves the training if it is interrupted.

        Args:
            stops: Whether another process was interrupted.
            saves: What was agreed on saving, where all processes do it at the same step.
        """
        if stops:
            self._interruption.pass_on()
        if stops or saves is None:  # else a signal that came just now is agreed on with the next step
            self._interruption.check()
        if self._copies is None and not self.is_writing and self._seconds_left() <= self._size / SLOW_MEMORY:
            self._copies = self._taken()
        if self.is_due(self._state.position.step) if saves is None else saves:
            self.save()

    def save(self) -> None:
        """Saves in another thread, if there is memory for a copy; else here."""
        self.wait()
        started = time.perf_counter()
        copies, self._copies = self._copies or self._taken(), None
        if copies is None and not self._is_spread:
            logger.info("Too little memory for a copy of the state: training waits until it is written.")
        self._save(copies)
        workers = connected()
        if workers is not None and self._is_spread:
            workers.tell(GO)
        self.pauses.append(time.perf_counter() - started)

    def _save(self, copies: Copies | None) -> None:
        """Saves a copy in another thread, or what there is in this one."""
        parts, orders = self._state.parts(), self._state.orders()
        note = self._folder.note(self._state.plain(), self._total, self._state.has_global_seed)
        arguments = (note, orders, self._folder.hold(self._best) if self._best.is_dir() else None)
        if copies is None:
            self._write(parts, *arguments)
        else:
            now = copies.now()
            held = {name: part.held(now) for name, part in parts.items()}
            self._writer = threading.Thread(target=self._write, args=(held, *arguments), daemon=True)
            self._writer.start()
        self._saved_at, self._saved_step = time.monotonic(), self._state.position.step

    def _taken(self) -> Copies | None:
        """Memory for a copy; None where it is not enough, or all workers write at once what they have."""
        if self._is_spread:
            return None
        return Copies(self._state.parts().values()) if self._size * 1.2 < free_memory() else None

    def leave(self) -> str:
        """Saves a training that is interrupted, if there is time, and says what is there."""
        self.wait(self._interruption.seconds_left)
        seconds = self._size / self._bytes_a_second
        if self._writer is not None or seconds > self._interruption.seconds_left:
            return (
                f"Saving would take {seconds:.0f} s, longer than schedulers wait. "
                + (f"The last state is {self._saved[0]}: --resume goes on from there." if self._saved else "")
            ).strip()
        step = self._state.position.step
        if self._saved is None or self._saved[1] != step:
            self._save(None)  # nothing is to go on meanwhile
        if self._saved is None:
            return "The state could not be saved."
        place, saved = self._saved
        told = "Saved" if saved == step else "The state could not be saved. The last one is"
        return f"{told} at step {saved} in {place}: --resume goes on from there."

    @property
    def is_writing(self) -> bool:
        """Whether a state is being written beside the training."""
        return self._writer is not None and self._writer.is_alive()

    def wait(self, seconds: float | None = None) -> None:
        """Until what is being written is written, but no longer than some seconds."""
        if self._writer is not None:
            self._writer.join(seconds)
            if not self.is_writing:
                self._writer = None

    @property
    def is_interrupted(self) -> bool:
        """Whether this process is to stop."""
        return self._interruption.number is not None

    def is_due(self, step: int) -> bool:
        """Whether it is time for a state behind a step, and memory for its copy is not just being taken."""
        every = self._every_steps
        if every and step // every > self._saved_step // every:
            return True
        return self._seconds_left() <= 0 and (self._copies is None or self._copies.have_memory)

    def _seconds_left(self) -> float:
        """Until a save is due by its minutes or, at the speed since the last one, by its steps."""
        left, passed = math.inf, time.monotonic() - self._saved_at
        if self._every_minutes:
            pause = self.pauses[-1] if self.pauses else 0.0
            left = max(60 * self._every_minutes, pause / SHARE) - passed
        if self._every_steps:
            step, saved = self._state.position.step, self._saved_step
            due = (saved // self._every_steps + 1) * self._every_steps
            left = min(left, (due - step) * passed / (step - saved) if step > saved else math.inf)
        return left

    def _write(self, parts: dict[str, Part], note: dict, orders: dict, best: Path | None) -> None:
        started, step = time.perf_counter(), note["plain"]["position"]["step"]
        try:
            self._saved = self._folder.write(note, parts, orders, best), step
        except (NotFiniteError, OSError, RuntimeError) as error:  # HDF5's own errors are of either kind
            logger.warning(
                "The state of step %d could not be saved (%s): training goes on without it.",
                step,
                reason(error),
            )
        else:
            self._bytes_a_second = self._size / max(time.perf_counter() - started, 1e-3)

    @cached_property
    def _size(self) -> int:
        """Bytes of the numbers of a state, as far as this process has them."""
        return sum(part.bytes for part in self._state.parts().values())

    @cached_property
    def _is_spread(self) -> bool:
        """Whether other workers have some of them."""
        return bool(spread_parts(self._state.parts()))


def _readable(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{max(size / 2**20, 0.1):.1f} MiB"
