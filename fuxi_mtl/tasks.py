"""Tasks as expressions on events: ``cvr: conversion | click``.

A task is an event, perhaps under a condition::

    ctr:   click                    P(click)                defined on every exposure
    cvr:   conversion | click       P(conversion | click)   defined where click = 1
    ctcvr: click & conversion       P(click, conversion)    defined on every exposure
    other: buy | click & !cart      P(buy | click, no cart) defined where click = 1 and cart = 0

That one expression gives the label, the rows on which it counts (loss mask and metric subset)
and, for entire-space models, the structure of the funnel.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
KINDS = ("binary", "regression", "classes")


@dataclass(frozen=True)
class Task:
    """A named event, perhaps conditional.

    Attributes:
        name: The head's name; predictions are written to the column ``{name}_pred``.
        event: Label columns that must all happen; their product is the label.
        given: Conditions of the rows that count: ``click`` (label is 1) or ``!cart`` (label is 0).
        kind: ``binary`` (labels 0 and 1, the head is a logit), ``regression`` (any number) or ``classes``
            (one of several, by its place in their list from 0).
        loss: Name of the error in :data:`fuxi_mtl.options.ERRORS`; None means the kind's own.
        metrics: The metrics of this task; None means those of the experiment.
        loss_options: The error's own options, as pairs of key and value.
        threshold: That of its decisions, as ``threshold`` in a stanza; None means that of the experiment.
        decoder: What makes the value of a head's raw numbers, by its name in
            :data:`fuxi_mtl.decoders.DECODERS`; None means softmax for classes, and that the head of a
            regression is the value.
        decoder_options: The decoder's own options, as pairs of key and value.
        product: Of an expected value, the tasks whose predictions are multiplied: it has no head of its own.

    Example:
        >>> fm.Task("cvr", event=("buy",), given=("click",)).expression
        'buy | click'
    """

    name: str
    event: tuple[str, ...]
    given: tuple[str, ...] = ()
    kind: str = "binary"
    loss: str | None = None
    metrics: tuple[str, ...] | None = None
    loss_options: tuple[tuple[str, Any], ...] = ()
    threshold: float | str | None = None
    decoder: str | None = None
    decoder_options: tuple[tuple[str, Any], ...] = ()
    product: tuple[str, ...] = ()

    def __post_init__(self):
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"task name {self.name!r} is not a name: use letters, digits and underscores.")
        if self.kind not in KINDS:
            raise ValueError(f"task {self.name!r} has kind {self.kind!r}. Kinds: {', '.join(KINDS)}.")
        if self.kind != "binary" and len(self.event) > 1 and not self.product:
            what = "a regression on" if self.kind == "regression" else "of classes and on"
            raise ValueError(
                f"task {self.name!r} is {what} {' & '.join(self.event)}: "
                "a joint event is binary; name one column."
            )
        if self.kind == "classes" and self.decoder is None:
            object.__setattr__(self, "decoder", "softmax")
        if self.decoder is not None and self.kind == "binary":
            raise ValueError(
                f"task {self.name!r} is {self.kind} and has the decoder {self.decoder!r}: a decoder makes a "
                "value, so the label is of kind: value, or of kind: classes."
            )
        if self.decoder is not None and self.loss is not None:
            raise ValueError(
                f"task {self.name!r} has the decoder {self.decoder!r}, which brings its own error: leave out "
                f"the loss {self.loss!r}."
            )
        both = set(self.event) & {event_of(literal) for literal in self.given}
        if both:
            raise ValueError(f"task {self.name!r} has {min(both)!r} on both sides of '|'.")
        for literal in self.given:
            if f"!{literal}" in self.given:
                raise ValueError(f"task {self.name!r} is given both {literal!r} and '!{literal}'.")

    @property
    def columns(self) -> tuple[str, ...]:
        """The label columns this task reads."""
        return tuple(dict.fromkeys([*self.event, *map(event_of, self.given)]))

    @property
    def expression(self) -> str:
        """The event as it is written in YAML; of an expected value the product."""
        if self.product:
            return " * ".join(self.product)
        event = " & ".join(self.event)
        return f"{event} | {' & '.join(self.given)}" if self.given else event

    def label(self, columns: Mapping[str, np.ndarray]) -> np.ndarray:
        """The label of each row, NaN where this task is not defined or not observed.

        A joint event is 0 as soon as one part is 0, whatever the missing parts are.

        Args:
            columns: Label columns by name, each ``(rows,)``, NaN where missing.

        Returns:
            float32 array ``(rows,)``.
        """
        label = np.asarray(columns[self.event[0]], np.float32)
        for name in self.event[1:]:
            other = np.asarray(columns[name], np.float32)
            label = np.where((label == 0) | (other == 0), np.float32(0), label * other)
        for literal in self.given:
            wanted = 0 if literal.startswith("!") else 1
            label = np.where(columns[event_of(literal)] == wanted, label, np.float32(np.nan))
        return label.astype(np.float32)


class Tasks(tuple[Task, ...]):
    """Tasks that know whether somebody wrote them, or each is simply one of the labels.

    Attributes:
        explicit: Whether they were written; a model of a chain makes its own of plain labels.
    """

    explicit: bool

    def __new__(cls, tasks: Iterable[Task], explicit: bool) -> "Tasks":
        """The tasks, in their order."""
        made = super().__new__(cls, tasks)
        made.explicit = explicit
        return made


def event_of(literal: str) -> str:
    """``'!cart'`` and ``'cart'`` both name the event ``'cart'``."""
    return literal.removeprefix("!")


def parse_task(name: str, expression: str, **attributes) -> Task:
    """Reads ``'click & conversion'`` or ``'buy | click & !cart'``.

    Raises:
        ValueError: The expression is not ``event [& event ...] [| [!]event [& ...]]``.
    """
    event, bar, given = expression.partition("|")
    if "|" in given or (bar and not given.strip()):
        raise ValueError(_bad(name, expression))
    events = _literals(name, expression, event)
    if any(literal.startswith("!") for literal in events):
        raise ValueError(
            f"task {name!r}: '{expression}' predicts an event that does not happen; "
            "'!' belongs behind the bar, as in 'buy | click & !cart'."
        )
    return Task(name, events, _literals(name, expression, given) if bar else (), **attributes)


def _literals(name: str, expression: str, text: str) -> tuple[str, ...]:
    parts = [part.strip() for part in text.split("&")]
    literals = tuple("!" + part[1:].strip() if part.startswith("!") else part for part in parts)
    if not all(_NAME.fullmatch(event_of(literal)) for literal in literals):
        raise ValueError(_bad(name, expression))
    return tuple(dict.fromkeys(literals))


def _bad(name: str, expression: str) -> str:
    return (
        f"task {name!r}: cannot read {expression!r}. Write an event ('click'), a joint event "
        "('click & conversion') or a conditional one ('conversion | click')."
    )


def conversion_tasks(click: Task, conversion: Task) -> tuple[Task, Task, Task]:
    """What two plain labels are to a model of conversions: ctr, cvr and ctcvr.

    ::

        ctr: click      cvr: conversion | click      ctcvr: click & conversion

    Args:
        click: The label of the click, as a task; ctr has its metrics.
        conversion: That of the conversion; cvr and ctcvr have its metrics.
    """
    (first,), (second,) = click.event, conversion.event
    return (
        Task("ctr", (first,), metrics=click.metrics),
        Task("cvr", (second,), (first,), metrics=conversion.metrics),
        Task("ctcvr", (first, second), metrics=conversion.metrics),
    )


def root_of(tasks: Iterable[Task]) -> Task | None:
    """The binary task whose event every other binary task is about: the click of a click funnel.

    Where all labels are 0 its event has not happened, and where it has not happened no other label is 1.
    A single task is its own root.
    """
    binary = [task for task in tasks if task.kind == "binary"]
    if len(binary) == 1:
        return binary[0]
    for root in binary:
        if not root.given and all({*root.event} <= {*task.event, *task.given} for task in binary):
            return root
    return None


def required_events(tasks: Iterable[Task]) -> dict[str, tuple[str, ...]]:
    """The events without which an event cannot happen, by event.

    ``conversion | click`` says that a conversion needs a click. With ``buy | click & cart`` and
    ``buy | click & !cart`` a purchase needs the click only.
    """
    required: dict[str, list[str]] = {}
    for task in tasks:
        if len(task.event) == 1 and task.given and task.kind == "binary":
            positive = [literal for literal in task.given if not literal.startswith("!")]
            known = required.setdefault(task.event[0], positive)
            required[task.event[0]] = [event for event in known if event in positive]
    return {event: tuple(needed) for event, needed in required.items() if needed}
