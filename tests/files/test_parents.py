"""Processes that end with the one that started them."""

import subprocess
import sys

import pytest

WATCHES = """
import ctypes, time
from fuxi_mtl.files import end_with_parent
end_with_parent()
print(1, flush=True)
"""


def watching(then: str) -> subprocess.Popen:
    """A process that has begun to watch and goes on with something."""
    piped = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", WATCHES + then], **piped)
    assert process.stdout.readline() == b"1\n"
    return process


@pytest.mark.parametrize(
    "then",
    [
        "time.sleep(60)",
        pytest.param(
            "ctypes.PyDLL(None).sleep(60)",  # keeps the interpreter, as TensorFlow does
            marks=pytest.mark.skipif(sys.platform != "linux", reason="no signal from a pipe"),
        ),
    ],
)
def test_a_process_ends_when_the_other_end_of_its_input_is_gone(then):
    with watching(then) as process:
        process.stdin.close()
        try:
            assert process.wait(20) != 0
        finally:
            process.kill()


def test_a_process_that_ends_by_itself_says_nothing_of_its_input():
    with watching("time.sleep(.1)") as process:
        assert process.wait(20) == 0
        assert process.stderr.read() == b""
