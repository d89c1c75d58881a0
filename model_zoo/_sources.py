"""Which tasks read which, in an order in which what is read comes first."""

from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise


def edges_and_order(
    names: Sequence[str], given: Mapping[str, Sequence[str]] | None, key: str
) -> tuple[list[tuple[str, str]], list[str]]:
    """The edges (reader, source), and the tasks in an order in which sources come first.

    Args:
        names: The tasks.
        given: Sources of each task that has any; None has each task read the one before it.
        key: The option that says so, for messages.

    Raises:
        ValueError: An unknown task, or a cycle.
    """
    sources = {later: [earlier] for earlier, later in pairwise(names)} if given is None else given
    for name in [*sources, *(source for each in sources.values() for source in each)]:
        if name not in names:
            raise ValueError(f"{key} names {name!r}, which is no task. Tasks: {', '.join(names)}.")
    try:
        order = list(TopologicalSorter({name: sources.get(name, ()) for name in names}).static_order())
    except CycleError as error:
        cycle = " -> ".join(error.args[1])
        raise ValueError(f"{key} goes round in a circle: {cycle}. A task reads earlier ones.") from error
    return [(name, source) for name in names for source in dict.fromkeys(sources.get(name, ()))], order
