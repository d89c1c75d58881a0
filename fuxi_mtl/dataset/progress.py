"""A progress bar for passes over the data, on a terminal only."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar(shown: bool) -> Iterator[Callable[[str, int], None]]:
    """Gives a function that takes the name of a pass and the rows just done.

    Args:
        shown: False, or a stderr that is no terminal, shows nothing.
    """
    if not shown or not sys.stderr.isatty():
        yield lambda _name, _rows: None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    text = TextColumn("{task.description} {task.completed:>12,.0f} rows")
    with Progress(
        SpinnerColumn(), text, TimeElapsedColumn(), console=Console(stderr=True), transient=True
    ) as bar:
        passes: dict[str, object] = {}

        def advance(name: str, rows: int) -> None:
            if name not in passes:
                passes[name] = bar.add_task(name, total=None)
            bar.advance(passes[name], rows)

        yield advance
