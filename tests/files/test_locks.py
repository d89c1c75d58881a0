"""Locks: held by one, refused or waited for by name, and taken over from who is gone."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from fuxi_mtl.files import LockedError, held, holder_of, locks, processes
from fuxi_mtl.files.locks import Holder, Lock
from fuxi_mtl.files.processes import Process, this_process

HOLDS = """
import sys, time
from fuxi_mtl.files import held
with held(sys.argv[1]):
    print(1, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other(tmp_path):
    """Another process that holds the lock of ``run``."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS, tmp_path / "run"], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert process.stdout.readline() == b"1\n"
    yield process
    process.kill()
    process.wait()


def written_by(tmp_path, age=0.0, **changes):
    """The lock of ``run``, left by a process that differs from this one."""
    holder = Holder(replace(this_process(), **changes), "2026-01-31 10:00:00", "token")
    file = tmp_path / ".run.lock"
    file.write_text(holder.to_json())
    os.utime(file, (time.time() - age,) * 2)
    return file


def left(tmp_path):
    return sorted(path.name for path in tmp_path.iterdir())


def test_a_lock_names_its_holder_and_leaves_nothing(tmp_path):
    assert holder_of(tmp_path / "run") is None
    with held(tmp_path / "run") as lock:
        assert left(tmp_path) == [".run.lock"]
        assert holder_of(tmp_path / "run").process == this_process()
        lock.check()
    assert left(tmp_path) == []


def test_the_folders_above_are_made(tmp_path):
    with held(tmp_path / "a" / "b" / "run"):
        assert left(tmp_path / "a" / "b") == [".run.lock"]


def test_who_holds_it_may_hold_it_once_more_by_any_spelling(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with held(tmp_path / "run"):
        with held(Path("run"), wait=False), held(Path(f"../{tmp_path.name}/run"), wait=False):
            pass
        assert left(tmp_path) == [".run.lock"]
    assert left(tmp_path) == []


def test_another_thread_is_another_holder(tmp_path):
    refused = []

    def ask():
        try:
            with held(tmp_path / "run", wait=False):
                pass
        except LockedError as error:
            refused.append(error)

    with held(tmp_path / "run"):
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
    assert len(refused) == 1


def test_an_error_inside_frees_it(tmp_path):
    with pytest.raises(KeyError), held(tmp_path / "run"):
        raise KeyError
    assert left(tmp_path) == []


def test_a_living_process_is_refused_by_name(tmp_path, other):
    expected = rf"run is in use by process {other.pid} on .+ since \d+-.+Wait until it has ended, or end it\."
    for wait in (False, 0.05):
        with pytest.raises(LockedError, match=expected), held(tmp_path / "run", wait=wait):
            pass
    assert left(tmp_path) == [".run.lock"]


def test_a_stopped_process_is_alive(tmp_path, other):
    other.send_signal(signal.SIGSTOP)
    assert holder_of(tmp_path / "run").process.pid == other.pid


@pytest.mark.parametrize("reaped", [True, False])
def test_the_lock_of_a_killed_process_is_taken_over_with_a_line(tmp_path, other, caplog, reaped):
    caplog.set_level("INFO")
    other.kill()
    if reaped:
        other.wait()
    else:
        os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
    with held(tmp_path / "run", wait=False):
        assert holder_of(tmp_path / "run").process == this_process()
    assert f"the lock of process {other.pid} on" in caplog.text
    assert "which is gone, is taken over" in caplog.text
    assert left(tmp_path) == []


def test_who_waits_gets_it_when_it_is_free(tmp_path, other, caplog, monkeypatch):
    caplog.set_level("INFO")
    monkeypatch.setattr(locks, "_LONGEST_NAP", 0.05)
    threading.Timer(0.3, other.terminate).start()
    with held(tmp_path / "run"):
        pass
    assert f"run, which process {other.pid} on" in caplog.text
    assert "Waiting for" in caplog.text


def test_a_number_that_was_given_again_is_another_process(tmp_path):
    written_by(tmp_path, start=this_process().start - 1)
    with held(tmp_path / "run", wait=False):
        pass
    assert left(tmp_path) == []


def test_another_host_is_refused_while_it_gives_signs_of_life(tmp_path):
    file = written_by(tmp_path, host="far", machine="11111111", pid=7, age=locks.GONE_AFTER - 30)
    with (
        pytest.raises(
            LockedError,
            match=rf"by process 7 on far since 2026-01-31 10:00:00 \(last sign of life 90 seconds ago\).+"
            rf"its lock {file} is free 120 seconds after its last sign of life",
        ),
        held(tmp_path / "run", wait=False),
    ):
        pass
    assert left(tmp_path) == [".run.lock"]


def test_another_host_that_is_silent_is_taken_over(tmp_path, caplog):
    caplog.set_level("INFO")
    written_by(tmp_path, host="far", machine="11111111", pid=7, age=locks.GONE_AFTER + 30)
    with held(tmp_path / "run", wait=False):
        pass
    assert "process 7 on far since" in caplog.text
    assert "which has given no sign of life for 150 seconds, is taken over" in caplog.text


@pytest.mark.parametrize("content", ["", "{", "null", '{"host": 1}', json.dumps({"pid": "x"})])
def test_a_lock_that_is_damaged_is_refused_until_it_is_old(tmp_path, content):
    file = tmp_path / ".run.lock"
    file.write_text(content)
    with (
        pytest.raises(LockedError, match="a process that its file does not name"),
        held(tmp_path / "run", wait=False),
    ):
        pass
    os.utime(file, (1, 1))
    with held(tmp_path / "run", wait=False):
        pass


def test_a_holder_gives_signs_of_life(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "TOUCHED_EVERY", 0.01)
    with held(tmp_path / "run"):
        file = tmp_path / ".run.lock"
        os.utime(file, (1, 1))
        until = time.monotonic() + 5
        while file.stat().st_mtime == 1:
            assert time.monotonic() < until
            time.sleep(0.01)


def test_who_was_taken_over_is_told_and_does_not_free_another_ones_lock(tmp_path):
    told = "gave no sign of life for 120 seconds, and process 7 on far since"
    with held(tmp_path / "run") as lock:
        written_by(tmp_path, host="far", machine="11111111", pid=7)
        with pytest.raises(LockedError, match=told):
            lock.check()
    assert left(tmp_path) == [".run.lock"]


def test_one_of_many_takes_over(tmp_path):
    """All see the same dead holder at once; without care the second would remove the lock of the first."""
    written_by(tmp_path, start=1)
    inside, most = [], []

    def take():
        with held(tmp_path / "run"):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.005)
            inside.pop()

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(most), max(most)) == (8, 1)
    assert left(tmp_path) == []


def test_who_died_taking_over_is_taken_over_from(tmp_path):
    written_by(tmp_path, start=1)
    dead = Holder(replace(this_process(), start=2), "2026-01-31 10:00:00", "other")
    Lock(tmp_path / ".run.lock").file.write_text(dead.to_json())
    with held(tmp_path / "run", wait=False):
        pass
    assert left(tmp_path) == []


def test_file_systems_without_links_have_locks_too(tmp_path, monkeypatch):
    def no_links(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    with held(tmp_path / "run"), pytest.raises(LockedError):
        Lock(tmp_path / "run").acquire(wait=False)
    assert left(tmp_path) == []


def test_without_a_list_of_processes_signs_of_life_decide(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "_PROC", tmp_path / "none")
    processes._described.cache_clear()
    try:
        assert this_process().start == 0
        assert Process("", this_process().machine, 1, 5).gone is False or os.getpid() != 1
        written_by(tmp_path, pid=2**22 + 1, age=30)
        with pytest.raises(LockedError):
            Lock(tmp_path / "run").acquire(wait=False)
    finally:
        monkeypatch.undo()
        processes._described.cache_clear()


def test_a_process_that_the_system_hides_is_not_called_gone(monkeypatch, tmp_path):
    machine = this_process().machine

    def hidden(pid, number):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(processes, "_PROC", tmp_path)
    monkeypatch.setattr(os, "kill", hidden)
    assert Process("", machine, 5, 7).gone is None
