"""Tasks for processes that work on files: they import little, so that a process of a test is quick."""

import os
import time


def own_pid(kept, each):
    """The number of the process."""
    return os.getpid()


def end(kept, each, number):
    """Ends the process by a signal."""
    os.kill(os.getpid(), number)


def sleep(kept, each):
    """Longer than any test."""
    time.sleep(60)
