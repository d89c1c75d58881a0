"""Progress bars, on a terminal only, below the lines of the log."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn


def make_progress(*columns: "ProgressColumn") -> "Progress":
    """A bar on standard error that vanishes when it is done.

    What is printed meanwhile on the same terminal stands above it: rich then is ``sys.stdout``. Standard
    output that goes elsewhere, into a file, is left alone.

    Args:
        columns: What it shows.
    """
    from rich.console import Console
    from rich.progress import Progress

    return Progress(
        *columns,
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=sys.stdout.isatty(),
    )


@contextmanager
def progress_bar(shown: bool) -> Iterator[Callable[[str, int], None]]:
    """Gives a function that takes the name of a pass and the rows just done.

    Args:
        shown: False, or a stderr that is no terminal, shows nothing.
    """
    if not shown or not sys.stderr.isatty():
        yield lambda _name, _rows: None
        return
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

    text = TextColumn("{task.description} {task.completed:>12,.0f} rows")
    with make_progress(SpinnerColumn(), text, TimeElapsedColumn()) as bar:
        passes: dict[str, object] = {}

        def advance(name: str, rows: int) -> None:
            if name not in passes:
                passes[name] = bar.add_task(name, total=None)
            bar.advance(passes[name], rows)

        yield advance
