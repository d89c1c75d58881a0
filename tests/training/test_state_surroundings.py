"""What stands around the state of a training: memory for a copy, and signals."""

import signal
import sys
import threading

import pytest

from fuxi_mtl.interruption import Interruption, Left, Terminated, remembered
from fuxi_mtl.training.state import memory


@pytest.fixture
def system(tmp_path, monkeypatch):
    """Files in which the system would say what memory there is."""
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_GROUP", tmp_path)
    return tmp_path


def test_the_memory_for_a_copy_is_what_the_machine_and_the_container_leave(system):
    assert memory.free_memory() > 2**50  # nobody says
    (system / "meminfo").write_text("MemTotal:  9000 kB\nMemAvailable:  4000 kB\n")
    assert memory.free_memory() == 4000 * 1024
    (system / "memory.max").write_text("max\n")
    (system / "memory.current").write_text("700000\n")
    (system / "memory.stat").write_text("anon 5\ninactive_file 200000\n")
    assert memory.free_memory() == 4000 * 1024
    (system / "memory.max").write_text("1000000\n")
    assert memory.free_memory() == 1_000_000 - 700_000 + 200_000


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_to_leave_and_handlers_are_as_before_afterwards(number):
    before = signal.getsignal(number)
    with Interruption() as interruption:
        interruption.check()
        signal.raise_signal(number)
        with pytest.raises(Left):
            interruption.check()
        assert 29 < interruption.seconds_left <= 30
        assert isinstance(interruption.error, Terminated) == (number == signal.SIGTERM)
    assert signal.getsignal(number) is before


def test_what_can_be_computed_again_is_left_at_once():
    with Interruption() as interruption:
        with interruption.leaving_at_once():
            pass
        with pytest.raises(Left), interruption.leaving_at_once():
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_python_swallows_is_raised_at_the_next_check(number, monkeypatch):
    swallowed = []
    monkeypatch.setattr(sys, "unraisablehook", lambda ignored: swallowed.append(ignored.exc_type))
    before = signal.getsignal(number)
    kind = Terminated if number == signal.SIGTERM else KeyboardInterrupt

    class Something:
        def __del__(self):
            signal.raise_signal(number)

    with remembered() as check:
        check()
        Something()
        assert swallowed == [kind]
        with pytest.raises(kind):
            check()
    assert signal.getsignal(number) is before
    with pytest.raises(KeyboardInterrupt), remembered():
        signal.raise_signal(signal.SIGINT)


def test_outside_of_the_main_thread_signals_are_left_to_others():
    found = []

    def train():
        before = signal.getsignal(signal.SIGINT)
        with Interruption(), remembered():
            found.append(signal.getsignal(signal.SIGINT) is before)

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert found == [True]
