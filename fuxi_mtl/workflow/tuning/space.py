"""The space of a search, in a file of ours or of FuxiCTR's tuner, checked before the first trial.

Ours names keys of a stanza; a list is choices, ``low`` and ``high`` are a range, anything else is fixed::

    learning_rate: {low: 1.e-4, high: 1.e-2, log: true}
    net_dropout: {low: 0, high: 0.5, step: 0.1}
    expert_hidden_units: [[64], [128, 64]]       # two choices
    loss_weight: [EQ, UW, GN]
    gradnorm_alpha: [0.5, 1.5]                   # tried with GN alone

FuxiCTR's has them under ``tuner_space``, beside ``base_config``, ``base_expid`` and ``dataset_id``.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from fuxi_mtl.config import ConfigError
from fuxi_mtl.config.stanzas import BASE, Folder, parse_override, read_folder
from fuxi_mtl.config.yaml_reading import read_mapping
from fuxi_mtl.hints import did_you_mean
from fuxi_mtl.options.mistakes import Mistakes
from fuxi_mtl.options.source_location import Located, SourceLocation, as_located
from fuxi_mtl.options.values import convert, plain, show
from fuxi_mtl.workflow.tuning.dimensions import Dimension, Values, choosers, dimension, is_tried

OF_FUXICTR = ("base_config", "base_expid", "dataset_id", "tuner_space", "model_config", "dataset_config")
_COMPLETIONS, _DRAWN = 8, 40  # values of the other keys that are looked at before one is refused
MOST_POINTS = 10_000  # of a grid


@dataclass(frozen=True)
class Space:
    """What is varied, and what is fixed for all trials.

    Attributes:
        source: The file, or what took it.
        dimensions: What is varied, keys that decide about others first.
        fixed: Values by key.
        base: What the file itself says of the stanza: ``base_config``, ``base_expid``, and stanzas in line.
    """

    source: str
    dimensions: tuple[Dimension, ...]
    fixed: dict[str, Located]
    base: dict[str, Located] = field(default_factory=dict)

    @property
    def described(self) -> dict[str, Any]:
        """What the search is known by."""
        varied = {each.key: each.described for each in self.dimensions}
        return {"varied": varied, "fixed": {key: plain(value) for key, value in self.fixed.items()}}

    def judged_by(self, objectives: Sequence[str], source: str) -> "Space":
        """The same space, in which a single objective is the monitor of every trial, and of the winner.

        So weights are kept, and trials are pruned, by what is asked for. Several leave the stanza's own.

        Args:
            objectives: Metrics; none for the stanza's monitor.
            source: What errors name.

        Raises:
            ConfigError: The space varies what trials are judged by, or fixes another.
        """
        if len(objectives) > 1:
            return self
        for each in self.dimensions:
            if each.key in ("monitor", "monitor_mode"):
                raise each.entry.error(
                    f"{each.key}: trials judged by different numbers have no order. Fix it."
                )
        if not objectives:
            return self
        location = SourceLocation(source)
        if "monitor" in self.fixed:
            raise self.fixed["monitor"].error(f"monitor is fixed here, and {source} names one, too: say one.")
        return replace(self, fixed={**self.fixed, "monitor": Located(objectives[0], location)})

    def values(self, pick: Callable[[Dimension], Located]) -> dict[str, Located]:
        """A value for each key that is tried, in order, and those that are fixed.

        Args:
            pick: Chooses the value of a key.
        """
        found: dict[str, Located] = {}
        for each in self.dimensions:
            if is_tried(each.key, self._deciding(found)):
                found[each.key] = pick(each)
        return {**self.fixed, **found}

    def varied(self, values: Values) -> dict[str, Located]:
        """The values of what is varied, without what is fixed."""
        return {key: value for key, value in values.items() if key not in self.fixed}

    def grid(self) -> list[dict[str, Any]]:
        """Every point, as a study stores it; points that differ only in what is not tried are one.

        Raises:
            ConfigError: A range has no steps, or there are too many points.
        """
        for each in self.dimensions:
            if not each.is_countable:
                raise each.entry.error(
                    f"{each.key}: a grid has a list of values, or a range with a step: {{low: 0, high: 0.5, "
                    "step: 0.1}."
                )
        points: list[dict[str, Any]] = []
        for point in self._points({}, 0):
            points.append(point)
            if len(points) > MOST_POINTS:
                raise ConfigError(self.source, f"the grid has more than {MOST_POINTS:,} points: sample it.")
        return points

    def _points(self, begun: dict[str, Any], place: int) -> Iterator[dict[str, Any]]:
        if place == len(self.dimensions):
            yield begun
            return
        each = self.dimensions[place]
        chosen = {
            other.key: other.located(begun[other.key]) for other in self.dimensions if other.key in begun
        }
        if not is_tried(each.key, self._deciding(chosen)):
            yield from self._points(begun, place + 1)
            return
        for stored in each.points:
            yield from self._points({**begun, each.key: stored}, place + 1)

    def _deciding(self, chosen: Values) -> dict[str, Located]:
        known = {**self.fixed, **chosen}
        return {key: known[key] for key in choosers() if key in known}

    def check(
        self,
        judge: Callable[[Values], object],
        overrides: Sequence[str] = (),
        of: Callable[[Dimension], bool] | None = None,
    ) -> None:
        """Has every choice and both ends of every range judged, beside some values of the other keys.

        A value that goes with none of several of these is a mistake; what only some combinations get wrong is
        left to the trials.

        Args:
            judge: Refuses the values of a trial.
            overrides: ``--set``, which may not change what is varied.
            of: Which keys are judged; all unless said.

        Raises:
            ConfigError: All mistakes.
        """
        mistakes = Mistakes()
        for text in overrides:
            path, entry = parse_override(text)
            for each in self.dimensions:
                if each.key.split(".")[: len(path)] == path or path[
                    : each.key.count(".") + 1
                ] == each.key.split("."):
                    mistakes.add(entry.error(f"{self.source} varies {each.key}. Remove it in one of them."))
        for each in self.dimensions if of is None else filter(of, self.dimensions):
            found = [error for value in each.extremes for error in self._refused(each, value, judge)]
            if found and len(found) == len(each.choices) and not self._refused(each, each.entry, judge):
                alone = f"Write [{show(plain(each.entry))}] for this one alone."
                found.append(each.entry.error(f"{each.key}: a list is choices. {alone}"))
            for error in found:
                mistakes.add(error)
        mistakes.tell()

    def _refused(self, of: Dimension, value: Located, judge: Callable[[Values], object]) -> list[ConfigError]:
        """Why a value is refused; nothing if it is not."""
        mistakes = Mistakes()
        with mistakes.noted():
            self._check_value(of, value, judge)
        return mistakes.found

    def _check_value(self, of: Dimension, value: Located, judge: Callable[[Values], object]) -> None:
        refused: ConfigError | None = None
        for values in self._beside(of, value):
            try:
                judge(values)
            except ConfigError as error:
                refused = refused or error
            else:
                return
        if refused is not None:
            raise refused

    def _beside(self, of: Dimension, value: Located) -> Iterator[dict[str, Located]]:
        """Some values of the other keys, beside which that of one is tried."""
        chance = np.random.default_rng(0)

        def values(place: int | None) -> dict[str, Located]:
            def pick(each: Dimension) -> Located:
                if each.key == of.key:
                    return value
                return each.extremes[chance.integers(len(each.extremes)) if place is None else place]

            return self.values(pick)

        found = [each for each in map(values, (0, -1, *[None] * _DRAWN)) if of.key in each]
        yield from found[:_COMPLETIONS]
        if not found:
            raise of.entry.error(
                f"{of.key} is tried with none of the choices of {', '.join(self._varied_choosers())}."
            )

    def _varied_choosers(self) -> list[str]:
        return [each.key for each in self.dimensions if each.key in choosers()]


def read_space(file: str | Path) -> Space:
    """A space out of a file, ours or FuxiCTR's.

    Raises:
        ConfigError: The file cannot be read, or is no space.
    """
    content = read_mapping(Path(file))
    base: dict[str, Located] = {}
    if "tuner_space" in content:
        for key, entry in content.items():
            if key not in OF_FUXICTR:
                raise entry.error(
                    f"unknown key {key!r}.{did_you_mean(key, OF_FUXICTR)} Keys beside tuner_space: "
                    f"{', '.join(OF_FUXICTR)}."
                )
        base = {key: entry for key, entry in content.items() if key != "tuner_space"}
        given = content["tuner_space"]
        if not isinstance(given.value, dict):
            raise given.error("tuner_space: write keys with their values below it.")
        content = given.value
    return _space(str(file), content, base)


def make_space(given: Mapping[str, Any], source: str) -> Space:
    """A space of plain Python values.

    Args:
        given: As in a file.
        source: What errors name in its place, such as ``tune``.

    Raises:
        ConfigError: It is no space.
    """
    location = SourceLocation(source)
    return _space(source, {key: as_located(value, location) for key, value in given.items()}, {})


def _space(source: str, content: Mapping[str, Located], base: dict[str, Located]) -> Space:
    mistakes = Mistakes()
    found: dict[str, Dimension] = {}
    fixed: dict[str, Located] = {}
    for key, entry in content.items():
        with mistakes.noted():
            each = dimension(key, entry)
            if key == "seed":
                raise entry.error(
                    "seed: a search among seeds finds the luckiest. --seed trains each trial with several."
                )
            if each is None:
                fixed[key] = entry
            else:
                found[key] = each
    mistakes.tell()
    if not found:
        raise ConfigError(
            source,
            "nothing is varied: a list is choices, {low: 0, high: 0.5} a range, anything else is fixed.",
        )
    if "dataset_id" in base:
        fixed.setdefault("dataset_id", base["dataset_id"])
    first = [key for key in choosers() if key in found]
    order = [*first, *(key for key in found if key not in first)]
    return Space(source, tuple(found[key] for key in order), fixed, base)


def stanza_of(space: Space, config: str | Path | None, expid: str | None) -> tuple[Folder, str]:
    """The folder and the stanza that a search varies.

    Args:
        space: May name them itself.
        config: ``--config``; ``./config/`` unless said there or here, for FuxiCTR's file its own folder.
        expid: ``--expid``.

    Raises:
        ConfigError: They are named twice, or no stanza is.
    """
    base = {
        key: convert(space.base[key], str, key) for key in ("base_config", "base_expid") if key in space.base
    }
    for key, given in (("base_config", config), ("base_expid", expid)):
        if given is not None and key in base and str(given) != base[key]:
            raise space.base[key].error(
                f"{key} is {base[key]!r}, and the command says {str(given)!r}: say one."
            )
    expid = expid or base.get("base_expid")
    if expid is None:
        raise ConfigError(space.source, "which stanza is varied? Give --expid, or base_expid in the file.")
    inline = {name: space.base[name] for name in ("model_config", "dataset_config") if name in space.base}
    for name, entry in inline.items():
        if not isinstance(entry.value, dict) or not all(
            isinstance(each.value, dict) for each in entry.value.values()
        ):
            raise entry.error(f"{name}: write stanzas by name below it.")
    beside = Path(space.source).parent  # where FuxiCTR looks, too
    where = config or base.get("base_config") or (beside if space.base else "./config/")
    folder = Folder(beside, {}, {}, {}) if len(inline) == 2 else read_folder(where)
    models = dict(inline["model_config"].value) if "model_config" in inline else {}
    bases = {str(space.source): models.pop(BASE)} if BASE in models else {}
    datasets = inline["dataset_config"].value if "dataset_config" in inline else {}
    return replace(
        folder,
        experiments={**folder.experiments, **models},
        bases={**folder.bases, **bases},
        datasets={**folder.datasets, **datasets},
    ), expid
