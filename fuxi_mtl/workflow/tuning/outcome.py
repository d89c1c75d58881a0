"""What a search came to: its trials, the winner or the front, and what looking at many does to the best."""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fuxi_mtl.comparison.pareto.front import chosen, non_dominated
from fuxi_mtl.config import Experiment
from fuxi_mtl.files import checked_json, write_text
from fuxi_mtl.options.source_location import Located
from fuxi_mtl.options.values import plain
from fuxi_mtl.workflow.tuning.dimensions import said
from fuxi_mtl.workflow.tuning.study import ERROR, SAME, Study
from fuxi_mtl.workflow.tuning.trial import Objective

FILE = "tuning.json"
_STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running"}
_MOST_SHOWN = 10


@dataclass(frozen=True)
class Attempt:
    """One trial.

    Attributes:
        number: In the order in which they were begun.
        state: ``complete``, ``pruned``, ``failed``, or ``running`` in another process.
        values: Of what is varied, by key.
        scores: Mean over seeds of each objective, by name.
        by_seed: The same of each seed, in the order of objectives.
        same_as: An earlier trial of the same values, whose result it took.
        error: Why it failed.
        seconds: Its time.
    """

    number: int
    state: str
    values: dict[str, Any]
    scores: dict[str, float] = field(default_factory=dict)
    by_seed: dict[str, list[float]] = field(default_factory=dict)
    same_as: int | None = None
    error: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Retrained:
    """The winner, trained anew with seeds that no trial had.

    Attributes:
        expid: Its stanza.
        file: Where that was written.
        valid: The objectives on validation rows by name, a value a seed.
        test: The same on test rows; empty without any.
        seeds: The seeds.
    """

    expid: str
    file: str
    valid: dict[str, list[float]]
    test: dict[str, list[float]]
    seeds: list[int]


@dataclass(frozen=True)
class Outcome:
    """What a search came to.

    Attributes:
        expid: The stanza that was varied.
        dataset_id: Its data.
        objectives: What trials were judged by, and whether that should be ``max`` or ``min``.
        seeds: Seeds of each trial.
        attempts: All trials.
        front: Numbers of the trials that no other beats; of one objective the winner alone.
        winner: Number of the trial that was chosen.
        located: Its values, for the stanza.
        folder: Where it all lies.
        retrained: The winner trained anew; None before that.
        stanza: The file of the winner's stanza; empty where there is none.
    """

    expid: str
    dataset_id: str
    objectives: dict[str, str]
    seeds: list[int]
    attempts: list[Attempt]
    front: list[int]
    winner: int
    located: dict[str, Located]
    folder: Path
    retrained: Retrained | None = None
    stanza: str = ""

    @property
    def best(self) -> Attempt:
        """The winner."""
        return next(each for each in self.attempts if each.number == self.winner)

    def count(self, state: str) -> int:
        """How many trials ended so, those that took the result of an equal one not counted."""
        return sum(each.state == state and each.same_as is None for each in self.attempts)

    @property
    def looked_at(self) -> int:
        """How many trials the best was chosen from: those that were pruned were looked at, too."""
        return self.count("complete") + self.count("pruned")

    def spread(self, objective: str) -> float | None:
        """Standard deviation of a trial's score from seed to seed; None where nothing tells it.

        Of the winner's new seeds if there are two, else of the trials' seeds, pooled; over the root of the
        seeds of a trial, whose mean is its score.
        """
        place = [*self.objectives].index(objective)
        groups = [[values[place] for values in each.by_seed.values()] for each in self.attempts]
        if self.retrained is not None and len(self.retrained.seeds) > 1:
            groups = [self.retrained.valid[objective]]
        variances = [statistics.variance(group) for group in groups if len(group) > 1]
        return math.sqrt(statistics.fmean(variances) / len(self.seeds)) if variances else None

    def luck(self, objective: str) -> float | None:
        """How much better than they are the best of the trials looks by chance, were all equal."""
        spread = self.spread(objective)
        return None if spread is None else spread * expected_maximum(self.looked_at)

    def plain(self) -> dict[str, Any]:
        """All of it for JSON."""
        optimism = {name: {"spread": self.spread(name), "luck": self.luck(name)} for name in self.objectives}
        counts = {state: self.count(state) for state in _STATES.values()}
        content = {key: value for key, value in asdict(self).items() if key not in ("located", "folder")}
        return {**content, "counts": counts, "optimism": optimism}

    def store(self) -> None:
        """Writes ``tuning.json`` into the folder."""
        write_text(self.folder / FILE, checked_json(self.plain(), 2) + "\n")

    def lines(self) -> list[str]:
        """The report for people."""
        name = next(iter(self.objectives))
        shown = self._ranked()[:_MOST_SHOWN]
        width = max(len(f"{each.number}") for each in shown)
        lines = [f"{self.expid} on {self.dataset_id}: {self._counted()}"]
        for each in shown:
            mark = "*" if each.number == self.winner else "+" if each.number in self.front else " "
            scores = "  ".join(f"{key} {value:.6f}" for key, value in each.scores.items())
            lines.append(f"{mark} {each.number:>{width}}  {scores}  {said(each.values)}")
        lines += self._reasons()
        if len(self.objectives) > 1:
            lines.append(f"On the front (+): {', '.join(map(str, self.front))}. Chosen (*): {self.winner}.")
        for name in self.objectives:
            lines += self._optimism(name)
        return lines

    def _ranked(self) -> list[Attempt]:
        name, direction = next(iter(self.objectives.items()))
        complete = [each for each in self.attempts if each.state == "complete" and each.same_as is None]
        ranked = sorted(complete, key=lambda each: each.scores[name], reverse=direction == "max")
        return (
            sorted(ranked, key=lambda each: each.number not in self.front)
            if len(self.objectives) > 1
            else ranked
        )

    def _counted(self) -> str:
        parts = [f"{self.count(state)} {state}" for state in _STATES.values() if self.count(state)]
        same = sum(each.same_as is not None for each in self.attempts)
        parts += [f"{same} the same as an earlier one"] if same else []
        trials = "1 trial" if len(self.attempts) == 1 else f"{len(self.attempts)} trials"
        return f"{trials} ({', '.join(parts)})."

    def _reasons(self) -> list[str]:
        """Why trials failed, each reason once."""
        reasons: dict[str, list[int]] = {}
        for each in self.attempts:
            if each.error:
                reasons.setdefault(each.error, []).append(each.number)
        return [
            f"Failed: trial {', '.join(map(str, numbers))}: {error}" for error, numbers in reasons.items()
        ]

    def _optimism(self, name: str) -> list[str]:
        """What looking at many trials does to the winner's score of one objective."""
        looked, luck, better = self.looked_at, self.luck(name), self.objectives[name] == "max"
        found = self.best.scores[name]
        lines = [
            f"{name} of trial {self.winner} on validation rows: {found:.6f}, the best of {looked} looked at."
        ]
        if luck is None:
            lines.append(
                "One seed a trial and fewer than two anew: nothing tells how much of that is chance "
                "(--retrain 3)."
            )
        else:
            more = f": the best of {looked} equal trials would look {luck:.6f} better than it is"
            moves = f"A score moves by {self.spread(name):.6f} from seed to seed"
            lines.append(f"{moves}{more if looked > 1 else ''}.")
        again = self.retrained
        if again is None:
            return lines
        mean, seeds = statistics.fmean(again.valid[name]), ", ".join(map(str, again.seeds))
        gap = (found - mean) if better else (mean - found)
        lines.append(
            f"Trained anew as {again.expid} with seeds {seeds}: {_spread(again.valid[name])} on validation "
            f"rows, {abs(gap):.6f} {'worse' if gap > 0 else 'better'} than in the search. These rows chose "
            "it, so that is still too good."
        )
        if again.test.get(name):
            spread = _spread(again.test[name])
            lines.append(f"On test rows, which chose nothing: {spread}. This is the number to report.")
        else:
            lines.append("There are no test rows, so no number that nothing was chosen by.")
        return lines


def unfinished_stanza(folder: Path) -> str | None:
    """The file of the winner's stanza where a search was stopped before that was trained anew."""
    if not (folder / FILE).is_file():
        return None
    stored = json.loads((folder / FILE).read_text(encoding="utf-8"))
    return None if stored["retrained"] else stored.get("stanza")


def _spread(values: Sequence[float]) -> str:
    spread = f" ± {statistics.stdev(values):.6f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.6f}{spread}"


def expected_maximum(count: int) -> float:
    """The expected largest of `count` independent standard normal numbers.

    ``E = int x n phi(x) Phi(x)^(n-1) dx``, 0 for one and 0.5642 for two.
    """
    if count < 2:
        return 0.0
    x = np.linspace(-10, 10, 20_001)
    density = np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
    below = np.array([0.5 * math.erfc(-each / math.sqrt(2)) for each in x])
    return float(np.trapezoid(x * count * density * below ** (count - 1), x))


def outcome_of(
    study: Study, base: Experiment, objectives: Sequence[Objective], seeds: Sequence[int], choose: str
) -> Outcome:
    """The outcome of a study as it is now.

    Raises:
        ValueError: No trial is complete.
    """
    names = [each.name for each in objectives]
    attempts = [_attempt(each, study, names) for each in study.trials]
    complete = [each for each in attempts if each.state == "complete"]
    if not complete:
        reasons = {each.error for each in attempts if each.error} or {"none was tried to its end"}
        raise ValueError(f"tune: no trial in {study.folder} is complete: {'; '.join(sorted(reasons))}")
    signs = np.array([1.0 if each.direction == "max" else -1.0 for each in objectives])
    points = signs * np.array([[each.scores[name] for name in names] for each in complete])
    on_front = np.flatnonzero(non_dominated(points)) if len(names) > 1 else np.array([points[:, 0].argmax()])
    place = on_front[chosen(points[on_front], choose)] if len(names) > 1 else on_front[0]
    winner = complete[int(place)]
    stored = next(each for each in study.trials if each.number == winner.number)
    return Outcome(
        base.expid,
        base.options.dataset_id,
        {each.name: each.direction for each in objectives},
        list(seeds),
        attempts,
        [complete[int(each)].number for each in on_front],
        winner.number,
        study.values_of(stored.params),
        study.folder,
    )


def _attempt(trial: Any, study: Study, names: Sequence[str]) -> Attempt:
    state, said_of_it = _STATES[trial.state.name], trial.user_attrs
    scores = dict(zip(names, map(float, trial.values), strict=True)) if state == "complete" else {}
    values: Mapping[str, Located] = study.varied_of(trial.params)
    return Attempt(
        int(trial.number),
        state,
        {key: plain(value) for key, value in values.items()},
        scores,
        dict(said_of_it.get("by_seed", {})),
        said_of_it.get(SAME),
        str(said_of_it.get(ERROR, "")),
        float(said_of_it.get("seconds", 0.0)),
    )
