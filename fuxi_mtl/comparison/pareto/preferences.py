"""Preferences among objectives: given by name, or spread evenly."""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from fuxi_mtl.hints import no_objective
from fuxi_mtl.options import ParetoOptions

LEAST = 5  # preferences, unless said
_DIGITS = 4

Preference = Mapping[str, float]


def evenly_spread(names: Sequence[str], count: int) -> list[dict[str, float]]:
    """Points inside the simplex, each as far from its neighbours as any other.

    A lattice::

        v_k = (i_k + 1/K) / (H + 1),   i_k whole and not negative,   sum_k i_k = H

    For two objectives and five points: 0.1, 0.3, 0.5, 0.7, 0.9. No entry is zero, so every task is trained.

    Args:
        names: The K objectives.
        count: A number of such points: ``binomial(H + K - 1, K - 1)``.

    Raises:
        ValueError: There is no lattice of that many points.
    """
    steps = 0
    while _points(len(names), steps) < count:
        steps += 1
    if _points(len(names), steps) != count:
        works = ", ".join(str(_points(len(names), h)) for h in range(max(steps - 1, 1), steps + 3))
        raise ValueError(
            f"{count} preferences cannot be spread evenly over {len(names)} objectives. "
            f"Numbers that can: {works}."
        )
    spread = []
    for bars in combinations(range(steps + len(names) - 1), len(names) - 1):
        ends = (-1, *bars, steps + len(names) - 1)
        shares = [ends[k + 1] - ends[k] - 1 for k in range(len(names))]
        spread.append({n: (i + 1 / len(names)) / (steps + 1) for n, i in zip(names, shares, strict=True)})
    return spread


def preferences_of(options: ParetoOptions, objectives: Sequence[str]) -> list[dict[str, float]]:
    """The preferences to try, an entry for each objective.

    Weights that are spread add up to their number, so that (1, 1) is equal weighting; bounds add up to
    ``total``.

    Raises:
        ValueError: Fewer than two objectives, a number that does not work, a preference that names
            no objective, or the same one twice.
    """
    if len(objectives) < 2:
        only = ", ".join(objectives) or "none"
        raise ValueError(f"a trade-off needs two objectives, but there is only {only}.")
    given = options.vectors
    if isinstance(given, list):
        return _given(given, options.by, objectives)
    if given is not None and given < 2:
        raise ValueError(f"vectors is {given}; a search needs at least 2.")
    counts = (_points(len(objectives), h) for h in range(LEAST))
    count = given or next(n for n in counts if n >= LEAST)
    whole = len(objectives) if options.by == "weights" else options.total
    return [{n: _short(whole * v) for n, v in each.items()} for each in evenly_spread(objectives, count)]


def stanza_of(by: str, preference: Preference) -> dict[str, Any]:
    """The keys of a stanza that a preference sets."""
    if by == "weights":
        return {"loss_weight": dict(preference)}
    return {"surgery": "pe_ltr", "pe_ltr_bounds": dict(preference)}


def name_of(expid: str, by: str, preference: Preference) -> str:
    """What the run of a preference is called: ``MMoE_default_weights_0.2_1.8``."""
    return "_".join([expid, by, *(f"{value:.{_DIGITS}g}" for value in preference.values())])


def _given(vectors: Sequence[Preference], by: str, objectives: Sequence[str]) -> list[dict[str, float]]:
    known = ", ".join(objectives)
    for vector in vectors:
        for name in vector:
            if name not in objectives:
                raise ValueError(no_objective("a preference", name, objectives))
        for name in objectives:
            if by == "weights" and name not in vector:
                raise ValueError(f"{dict(vector)} has no weight for {name!r}. Objectives: {known}.")
    found = [{name: float(vector.get(name, 0.0)) for name in objectives} for vector in vectors]
    names = [name_of("", by, vector) for vector in found]
    for place, name in enumerate(names):
        if name in names[:place]:
            raise ValueError(f"the preference {found[place]} is given twice (to {_DIGITS} digits).")
    if len(found) < 2:
        raise ValueError(f"vectors has {len(found)} preferences; a search needs at least 2.")
    return found


def _points(objectives: int, steps: int) -> int:
    return math.comb(steps + objectives - 1, objectives - 1)


def _short(value: float) -> float:
    """Cut to four decimals, never rounded up: bounds may not add up to more than one."""
    return math.floor(value * 10**_DIGITS + 1e-6) / 10**_DIGITS
