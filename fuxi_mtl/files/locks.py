"""Locks of files and folders that one process at a time may write, on one machine or on several.

The lock of ``seed_1`` is the file ``.seed_1.lock`` beside it, which says who holds it. It is free again when
it is gone; when its process is gone, which is known on the machine of that process; and elsewhere when its
holder, which touches it every few seconds, has not done so for minutes. A lock needs no more of a file system
than that a name is given once, which network file systems do, too.
"""

import json
import logging
import os
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from fuxi_mtl.files.leavings import partial_name
from fuxi_mtl.files.processes import Process, this_process

logger = logging.getLogger(__name__)

TOUCHED_EVERY = 10.0  # seconds
GONE_AFTER = 120.0  # seconds without a touch
_LONGEST_NAP = 1.0  # seconds between two looks at a lock that is waited for


class LockedError(ValueError):
    """Another process holds a lock, or took it over."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lock.

    Attributes:
        process: The process.
        since: Since when, as its machine's clock has it.
        token: Tells this hold from every other one.
    """

    process: Process
    since: str
    token: str

    @classmethod
    def now(cls) -> "Holder":
        """This process, from now on."""
        return cls(this_process(), datetime.now().isoformat(" ", "seconds"), uuid.uuid4().hex)

    def to_json(self) -> str:
        """The content of a lock's file."""
        return json.dumps({**asdict(self.process), "since": self.since, "token": self.token})

    @classmethod
    def from_json(cls, text: str) -> "Holder":
        """Reads what :meth:`to_json` wrote; of what is half-written or damaged nobody can say who it is."""
        try:
            found = json.loads(text)
            process = Process(found["host"], found["machine"], int(found["pid"]), int(found["start"]))
            return cls(process, str(found["since"]), str(found["token"]))
        except (ValueError, LookupError, TypeError):
            return cls(Process("", "", 0, 0), "an unknown time", text)

    def __str__(self) -> str:
        if not self.process.pid:
            return "a process that its file does not name"
        return f"process {self.process.pid} on {self.process.host} since {self.since}"


class Lock:
    """The lock of a file or folder; :func:`held` takes and frees it.

    Args:
        path: The file or folder, which need not be there.
    """

    def __init__(self, path: Path):
        self.path = path.parent.resolve() / path.name
        self.file = lock_file(self.path)
        self._own: Holder | None = None
        self._ended = threading.Event()

    def holder(self) -> Holder | None:
        """Who holds it and is not known to be gone; None if it is free."""
        found = self._read()
        return found if found is not None and not self._why_gone(found) else None

    def check(self) -> None:
        """Makes sure that this process still holds it, before what was written gets its name.

        Raises:
            LockedError: Another process took it over, because this one seemed gone.
        """
        found = self._read()
        if found != self._own:
            raise LockedError(
                f"{self.path}: this process gave no sign of life for {GONE_AFTER:.0f} seconds, and "
                f"{found or 'another one'} took over. Run the command again."
            )

    def acquire(self, wait: bool | float) -> None:
        """Takes it; see :func:`held`."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        until = time.monotonic() + (float("inf") if wait is True else float(wait))
        nap, told, own = 0.02, False, Holder.now()
        while not self._try(own):
            found = self._read()
            if found is None:
                continue
            if time.monotonic() >= until:
                raise LockedError(self._refusal(found))
            if not told and nap >= _LONGEST_NAP:  # what others need for a moment is not worth a line
                logger.info("Waiting for %s, which %s holds.", self.path, found)
                told = True
            time.sleep(nap)
            nap = min(2 * nap, _LONGEST_NAP)
        self._own = own
        threading.Thread(target=self._touch, daemon=True, name=f"lock of {self.path.name}").start()

    def release(self) -> None:
        """Frees it."""
        self._ended.set()
        if self._read() == self._own:
            self.file.unlink(missing_ok=True)

    def _try(self, own: Holder) -> bool:
        """Takes it if nobody has it, or one that is gone."""
        if self._create(own):
            return True
        found = self._read()
        reason = found and self._why_gone(found)
        if not found or not reason:
            return False
        # One at a time may take over; who dies doing it is taken over from in the same way.
        with _taken(Lock(self.file), Holder.now()) as alone:
            if not alone or self._read() != found:
                return False
            self._write(own).replace(self.file)
        logger.info("%s: the lock of %s, %s, is taken over.", self.path, found, reason)
        return True

    def _create(self, own: Holder) -> bool:
        written = self._write(own)
        try:
            os.link(written, self.file)
        except FileExistsError:
            return self._read() == own  # a network may repeat a request that was done
        except OSError:  # a file system without links
            try:
                with self.file.open("x", encoding="utf-8") as file:
                    file.write(own.to_json())
            except FileExistsError:
                return False
        finally:
            written.unlink(missing_ok=True)
        return True

    def _write(self, own: Holder) -> Path:
        """A file with the content, under another name."""
        partial = partial_name(self.path)
        partial.write_text(own.to_json(), encoding="utf-8")
        return partial

    def _read(self) -> Holder | None:
        try:
            return Holder.from_json(self.file.read_text(encoding="utf-8", errors="replace"))
        except FileNotFoundError:
            return None

    def _why_gone(self, found: Holder) -> str | None:
        gone = found.process.gone
        if gone:
            return "which is gone"
        if gone is None and (age := self._age()) > GONE_AFTER:
            return f"which has given no sign of life for {age:.0f} seconds"
        return None

    def _age(self) -> float:
        """Seconds since it was touched, by the clock of the file system: those of machines differ."""
        probe = partial_name(self.path)
        try:
            probe.touch()
            now = probe.stat().st_mtime
            probe.unlink()
        except OSError:  # nothing can be written there
            now = time.time()
        try:
            return now - self.file.stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def _touch(self) -> None:
        while not self._ended.wait(TOUCHED_EVERY):
            with suppress(OSError):
                if self._read() != self._own:
                    return
                os.utime(self.file)

    def _refusal(self, found: Holder) -> str:
        said = f"{self.path} is in use by {found} (last sign of life {self._age():.0f} seconds ago)."
        if found.process.machine == this_process().machine:
            return f"{said} Wait until it has ended, or end it."
        return (
            f"{said} Wait until it has ended, or end it there. If it is gone, its lock {self.file} is free "
            f"{GONE_AFTER:.0f} seconds after its last sign of life."
        )


@contextmanager
def _taken(lock: Lock, own: Holder) -> Iterator[bool]:
    """Whether a lock that is held for a moment could be taken."""
    taken = lock._try(own)
    try:
        yield taken
    finally:
        if taken:
            lock.file.unlink(missing_ok=True)


_HELD: dict[tuple[int, int, Path], Lock] = {}  # by thread: who holds a lock may ask for it again


@contextmanager
def held(path: str | Path, wait: bool | float = True) -> Iterator[Lock]:
    """Holds the lock of a file or folder, so that no other process writes it.

    Who holds it already may hold it once more. The lock of a process that is gone is taken over, with a line.

    Args:
        path: The file or folder, which need not be there.
        wait: Whether to wait for another process, or for how many seconds.

    Raises:
        LockedError: Another process holds it: which one, on which machine, since when.
        OSError: The lock cannot be written there.

    Example:
        >>> with held("checkpoints/tiny_mtl/MMoE_test/seed_1", wait=False) as lock:
        ...     lock.path.name
        'seed_1'
    """
    lock = Lock(Path(path))
    key = (os.getpid(), threading.get_ident(), lock.path)
    if key in _HELD:
        yield _HELD[key]
        return
    lock.acquire(wait)
    _HELD[key] = lock
    try:
        yield lock
    finally:
        del _HELD[key]
        lock.release()


def lock_file(path: Path) -> Path:
    """The file that is the lock of a file or folder."""
    return path.with_name(f".{path.name}.lock")


def locks_in(folder: Path) -> Iterator[Path]:
    """The files and folders whose locks lie in a folder, whoever holds them or held them."""
    if folder.is_dir():
        for each in sorted(folder.glob(".*.lock")):
            yield each.with_name(each.name[1:].removesuffix(".lock"))


def holder_of(path: str | Path) -> Holder | None:
    """The living process that holds the lock of a file or folder; None if it is free."""
    return Lock(Path(path)).holder()
