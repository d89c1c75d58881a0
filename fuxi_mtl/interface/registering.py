"""A user's own weightings, surgeries, errors and trackers, known to stanzas and to `fit` by their names."""

from collections.abc import Callable
from typing import Any, TypeVar

from fuxi_mtl.options import ERRORS, TRACKERS
from fuxi_mtl.options.surgery import SURGERIES
from fuxi_mtl.options.weighting import WEIGHTINGS

_Class = TypeVar("_Class", bound=Callable[..., Any])


def register_weighting(weighting: _Class) -> _Class:
    """Class decorator: ``loss_weight`` may name the weighting, and its keywords are keys of a stanza.

    Args:
        weighting: A subclass of :class:`Weighting`. Of ``objectives``, ``epoch_steps`` and ``seed`` it
            is given what its constructor asks for.

    Raises:
        ValueError: Another one has its name, or its constructor asks for something else.

    Example:
        >>> @fm.register_weighting
        ... class FirstLoudest(fm.Weighting):
        ...     def _weights(self):
        ...         return [2.0] + [1.0] * (len(self.names) - 1)
        >>> fm.fit(model, data, loss_weight="FirstLoudest", epochs=1).history[0]["weights"]["ctr"]
        2.0
    """
    return WEIGHTINGS.register(weighting)


def register_surgery(method: _Class) -> _Class:
    """Class decorator: ``surgery`` may name the method, and its keywords are keys of a stanza.

    Args:
        method: A subclass of :class:`SurgeryMethod`.

    Raises:
        ValueError: Another one has its name, or its constructor asks for something that is not there.

    Example:
        >>> @fm.register_surgery
        ... class Sum(fm.SurgeryMethod):
        ...     def __call__(self, gram, names, step):
        ...         return np.ones(len(names))
        >>> len(fm.fit(model, data, surgery="Sum", epochs=1).history)
        1
    """
    return SURGERIES.register(method)


def register_error(error: _Class | None = None, *, kind: str = "binary") -> Any:
    """Function or class decorator: ``loss`` may name the error, and its keywords are keys of a stanza.

    Args:
        error: ``error(heads, labels) -> (batch,)``.
        kind: The kind of task that it is for: ``binary``, on logits, or ``regression``.

    Raises:
        ValueError: Unknown kind, another one has its name, or it is called with something else.

    Example:
        >>> @fm.register_error
        ... def hinge(z, y):
        ...     return tf.nn.relu(1 - (2 * y - 1) * z)
        >>> len(fm.fit(model, data, loss="hinge", epochs=1).history)
        1
    """
    if kind not in ERRORS:
        raise ValueError(f"register_error: kind is {kind!r}. Kinds: {', '.join(ERRORS)}.")
    return ERRORS[kind].register if error is None else ERRORS[kind].register(error)


def register_tracker(tracker: _Class) -> _Class:
    """Class decorator: ``trackers`` may name the tracker, and its keywords are keys of a stanza.

    Args:
        tracker: A subclass of :class:`Tracker`.

    Raises:
        ValueError: Another one has its name, or its constructor asks for something.

    Example:
        >>> @fm.register_tracker
        ... class Ended(fm.Tracker):
        ...     def end(self, outcome):
        ...         print(outcome.status, "test/ctr_AUC" in outcome.metrics)
        >>> _ = fm.fit(model, data, trackers=["Ended"], epochs=1)
        finished True
    """
    return TRACKERS.register(tracker)
