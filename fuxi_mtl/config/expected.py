"""Products of tasks' predictions, which are served and measured beside the tasks: ``expected``."""

from collections.abc import Iterable, Mapping, Sequence

from fuxi_mtl.config.stanzas import Settings
from fuxi_mtl.hints import did_you_mean
from fuxi_mtl.options.mistakes import Mistakes
from fuxi_mtl.tasks import Task, required_events


def plan_expected(
    settings: Settings, given: str | Mapping[str, str] | None, tasks: Sequence[Task]
) -> tuple[Task, ...]:
    """What the products of ``expected`` predict.

    Raises:
        ConfigError: One is no product of these tasks, or no expectation.
    """
    products = {"expected": given} if isinstance(given, str) else dict(given or {})
    found = []
    mistakes = Mistakes()
    for name, expression in products.items():
        with mistakes.noted(), settings.at("expected"):
            found.append(expected_task(name, expression, tasks))
    mistakes.tell()
    return tuple(found)


def expected_task(name: str, expression: str, tasks: Iterable[Task]) -> Task:
    """What a product of predictions predicts: ``ctr * cvr * spend``, a value on all exposures.

    ::

        E[spend] = P(click) P(buy | click) E[spend | buy]

    Each factor is given what the factors before it predict, the first one nothing or a condition that is
    left. The last may be a value; then the product is one, else the probability of all events. Its label is
    the product of the labels, 0 as soon as one event has not happened.

    Args:
        name: Its name.
        expression: Names of tasks with ``*`` between them.
        tasks: The tasks there are.

    Raises:
        ValueError: It is no product of tasks, or one that is no expectation.

    >>> tasks = [Task("ctr", ("click",)), Task("watch", ("watch",), ("click",), "regression")]
    >>> expected_task("watched", "ctr * watch", tasks).event
    ('click', 'watch')
    """
    known = {task.name: task for task in tasks}
    names = tuple(part.strip() for part in expression.split("*"))
    if len(names) < 2 or not all(names) or len(set(names)) < len(names):
        raise ValueError(
            f"expected {name!r}: cannot read {expression!r}. Write two or more tasks, each once, as in "
            "'ctr * spend'."
        )
    for part in names:
        if part not in known:
            raise ValueError(
                f"expected {name!r}: no task is called {part!r}.{did_you_mean(part, known)} "
                f"Tasks: {', '.join(known)}."
            )
    if name in known:
        raise ValueError(f"expected {name!r}: there is a task of that name. Give the product another one.")
    factors = [known[part] for part in names]
    for factor in factors[:-1]:
        if factor.kind != "binary":
            raise ValueError(
                f"expected {name!r}: {factor.name!r} is no probability, so it can only be the last factor."
            )
    if factors[-1].kind == "classes":
        raise ValueError(
            f"expected {name!r}: {factors[-1].name!r} is one of several classes, which is no number."
        )
    _check_chain(name, factors, required_events(known.values()))
    events = tuple(dict.fromkeys(event for factor in factors for event in factor.event))
    last = factors[-1]
    return Task(name, events, factors[0].given, kind=last.kind, metrics=last.metrics, product=names)


def _check_chain(name: str, factors: Iterable[Task], required: Mapping[str, tuple[str, ...]]) -> None:
    """Each factor is given what the one before it predicts, and nothing that no factor predicts."""
    first, *rest = factors
    before, happened = first, {*_with_required(first.given, required), *first.event}
    for factor in rest:
        given = _with_required(factor.given, required)
        lacking = [event for event in before.event if event not in given]
        unknown = [literal for literal in factor.given if literal not in _with_required(happened, required)]
        if lacking or unknown:
            why = (
                f"it is not given {lacking[0]!r}, so the product is no expectation. Make it a task such as "
                f"'{' & '.join(factor.event)} | {' & '.join(before.event)}'"
                if lacking
                else f"it is given {unknown[0]!r}, which no factor before it predicts"
            )
            raise ValueError(
                f"expected {name!r}: {factor.name!r} ({factor.expression}) stands behind {before.name!r} "
                f"({before.expression}), but {why}."
            )
        before, happened = factor, happened | {*factor.event}


def _with_required(literals: Iterable[str], required: Mapping[str, tuple[str, ...]]) -> set[str]:
    """Events, and those without which they cannot happen."""
    waiting, found = list(literals), set()
    while waiting:
        literal = waiting.pop()
        if literal not in found:
            found.add(literal)
            waiting += required.get(literal, ())
    return found
