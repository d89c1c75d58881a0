"""Stanzas in the words of FuxiCTR, its fork and older versions, put into ours before anything reads them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from fuxi_mtl import registry
from fuxi_mtl.config.foreign_interactions import put_interaction
from fuxi_mtl.config.foreign_names import (
    FEATURE_NAMES,
    FOREIGN_NAMES,
    FOREIGN_VALUES,
    FORK,
    MODEL_NOTES,
    ForeignName,
)
from fuxi_mtl.config.foreign_sequences import put_sequences
from fuxi_mtl.config.nested_names import NESTED_NAMES
from fuxi_mtl.config.stanzas import Layer, Settings
from fuxi_mtl.options import SECTIONS
from fuxi_mtl.options.mistakes import Mistakes
from fuxi_mtl.options.source_location import Located, SourceLocation, as_located
from fuxi_mtl.options.values import plain, show

_OURS = {each.name for owner in SECTIONS.values() for each in fields(owner)}


@dataclass(frozen=True)
class Note:
    """What became of one key.

    Attributes:
        key: As it was written.
        location: Where.
        ours: The keys that have its value now, one or several with commas; empty where it was left out.
        text: All of it in a sentence or two.
    """

    key: str
    location: SourceLocation
    ours: str
    text: str

    def __str__(self) -> str:
        return f"{self.location}: {self.text}"


def translate(settings: Settings, mistakes: Mistakes | None = None) -> tuple[Note, ...]:
    """Renames the keys of others in place, each with its location and layer.

    What has no counterpart, or a value that has none, stays: the check of keys refuses it, with the advice of
    :data:`FOREIGN_NAMES`. What Base says for other models is left out.

    Args:
        settings: All keys of an experiment, or those of one stanza.
        mistakes: Notes what is said twice, or cannot be; it is raised unless given.

    Returns:
        What was done, in the order of the keys.

    Raises:
        ConfigError: One thing is said twice on one layer, under both names, or a value has no counterpart.
    """
    work, found = _Translation(settings), mistakes or Mistakes()
    for step in (
        _Translation.values,
        put_interaction,
        _losses,
        _generation,
        _domains,
        put_sequences,
        _shares,
        _blocks,
        _Translation.features,
    ):
        with found.noted():
            step(work)
    for key in list(settings.entries):
        if key in FOREIGN_NAMES and key not in work.options and key not in _OURS:
            with found.noted():
                work.plainly(key, FOREIGN_NAMES[key])
    if work.model in MODEL_NOTES and any(note.key in FOREIGN_NAMES for note in work.notes):
        entry = settings.entries["model"]
        work.note("model", "model", f"{work.model}: {MODEL_NOTES[work.model]}", entry.location)
    if mistakes is None:
        found.tell()
    return tuple(work.notes)


@dataclass
class _Translation:
    """A stanza while it is translated.

    Attributes:
        settings: Its keys.
        notes: What was done.
        theirs: What others call the model, if it has another name here.
    """

    settings: Settings
    notes: list[Note] = field(default_factory=list)
    theirs: str = ""

    @property
    def model(self) -> str:
        entry = self.settings.entries.get("model")
        return entry.value if entry is not None and entry.value in registry.names() else ""

    @property
    def options(self) -> Mapping[str, Any]:
        """The options of the model; none while it is unknown."""
        return registry.options(self.model) if self.model else {}

    def given(self, key: str) -> Any:
        """The plain value of a key; None where it is not given."""
        entry = self.settings.entries.get(key)
        return None if entry is None else plain(entry)

    def value(self, key: str, default: Any) -> Any:
        """The plain value of a key, or a default where it is not given; null stays None."""
        return self.given(key) if key in self.settings.entries else default

    def note(self, key: str, ours: str, text: str, location: SourceLocation) -> None:
        """Adds what was done."""
        self.notes.append(Note(key, location, ours, text.rstrip()))

    def put(self, key: str, ours: str, value: Any = None, why: str = "") -> None:
        """Moves a key to ours, with its own value unless another is given; a stronger layer's stays."""
        entry, layer = self.settings.entries.pop(key), self.settings.layers.pop(key)
        self.add(ours, entry if value is None else as_located(value, entry.location), layer, key)
        self.note(key, ours, f"{key} is {ours} here. {why}", entry.location)

    def add(self, ours: str, new: Located, layer: Layer, key: str = "") -> None:
        """Gives a key of ours a value, unless a stronger layer has."""
        first, *rest = ours.split(".")
        known, at = self.settings.entries.get(first), self.settings.layer(first)
        inner = known
        for name in rest:
            inner = inner.value.get(name) if inner is not None and isinstance(inner.value, dict) else None
        if inner is not None and at == layer and plain(inner) != plain(new):
            raise new.error(
                f"{key} is {ours} here, which is given, too, in {inner.location}. Remove one of them."
            )
        if inner is not None and at >= layer:
            return
        for name in reversed(rest):
            siblings = known.value if known is not None and isinstance(known.value, dict) else {}
            new = Located({**siblings, name: new}, known.location if siblings and known else new.location)
        self.settings.entries[first] = new
        self.settings.layers[first] = max(at, layer)

    def drop(self, key: str, why: str = "") -> None:
        """Leaves a key out."""
        entry = self.settings.entries.pop(key)
        self.settings.layers.pop(key)
        self.note(key, "", f"{key} is left out. {why}", entry.location)

    def plainly(self, key: str, name: ForeignName) -> None:
        """What the row of the table says."""
        entry = self.settings.entries[key]
        option = name.ours.partition(".")[0]
        has_it = (
            option in self.options or option in _OURS
            if option
            else self.model in (name.models or (self.model,))
        )
        if not has_it:
            if self.model and self.settings.layer(key) == Layer.BASE:  # meant for other models
                del self.settings.entries[key], self.settings.layers[key]
        elif not name.fits(plain(entry)):
            return
        elif name.ours:
            self.put(key, name.ours, name.values.get(plain(entry)) if name.values else None)
        else:
            self.drop(key, name.advice)

    def values(self) -> None:
        """Values of our own keys in the spelling of others."""
        for key, spelled in FOREIGN_VALUES.items():
            entry = self.settings.entries.get(key)
            if entry is None or not isinstance(entry.value, str) or entry.value not in spelled:
                continue
            self.settings.entries[key] = Located(spelled[entry.value], entry.location)
            self.theirs = entry.value if key == "model" else self.theirs
            text = f"{key} {entry.value} is {spelled[entry.value]} here."
            self.note(key, key, text, entry.location)

    def features(self) -> None:
        """The entries of ``feature_cols`` and what changes them."""
        for key in ("feature_cols", "feature_specs", "feature_config"):
            entry = self.settings.entries.get(key)
            if entry is None:
                continue
            items = entry.value if isinstance(entry.value, list) else [entry]
            renamed = [self._feature(item) for item in items if isinstance(item, Located)]
            if any(new is not old for new, old in zip(renamed, items, strict=True)):
                self.settings.entries[key] = Located(renamed, entry.location)

    def _feature(self, item: Located) -> Located:
        if not isinstance(item.value, dict) or not set(item.value) & set(FEATURE_NAMES):
            return item
        content = {}
        for key, value in item.value.items():
            name = FEATURE_NAMES.get(key)
            if name is not None and name.ours in item.value:
                raise value.error(f"{key} is {name.ours} here, which is given, too. Remove one of them.")
            if name is not None:
                self.note(key, name.ours, f"{key} is {name.ours} here.", value.location)
            content[key if name is None else name.ours] = value
        return Located(content, item.location)


_CONDITION = ("condition_features", "condition_mix", "condition_participate_bottom", "new_condition_emb")
_GENERATION = ("condition_mode", *_CONDITION, "rank_k", "overparam_p", "hypernet_config", "generate_bias")


def _generation(work: _Translation) -> None:
    """What is no plain change of the name in the keys of generated weights."""
    entries = work.settings.entries
    written = [key for key in _GENERATION if key in entries]
    if "apg" not in work.options or not written:
        return
    defaults = {} if "apg" in entries else _defaults_of_generation(work, written)
    origin, layer = entries[written[0]], work.settings.layer(written[0])
    _condition(work)
    _mode(work)
    block = work.given("hypernet_config")
    if isinstance(block, dict) and _is_plain_network(block):
        work.put("hypernet_config", "apg.hypernet_hidden_units", block.get("hidden_units") or [])
    for key, value in defaults.items():
        work.add(f"apg.{key}", as_located(value, origin.location), layer)
        text = f"apg.{key} is {show(value)}, as {FORK} takes it where its stanzas do not say."
        work.note("", f"apg.{key}", text, origin.location)


def _defaults_of_generation(work: _Translation, written: Sequence[str]) -> dict[str, Any]:
    """What the fork takes for the keys of generated weights that a stanza of its own leaves out."""
    defaults: dict[str, Any] = {}
    if "rank_k" not in written:
        defaults["rank_k"] = 32
    if "overparam_p" not in written and work.value("rank_k", 32) is not None:
        defaults["overparam_p"] = 1024
    if "hypernet_config" not in written:
        defaults["hypernet_hidden_units"] = []
    reads_columns = work.given("condition_features") and work.given("condition_mode") != "self-wise"
    sees_them = work.given("condition_participate_bottom") is not False
    if "new_condition_emb" not in written and reads_columns and sees_them and work.model != "APG_MMOE":
        defaults["new_condition_emb"] = True
    return defaults


def _condition(work: _Translation) -> None:
    """``self-wise`` has no use for the columns of a condition; the other modes need them."""
    mode = work.given("condition_mode")
    if mode == "self-wise":
        for key in _CONDITION:
            if key in work.settings.entries:
                work.drop(key, "condition_mode is self-wise: each layer's own input is its condition.")
    elif mode in ("group-wise", "mix-wise") and not work.given("condition_features"):
        raise work.settings.error(
            "condition_mode", f"condition_mode {mode} needs condition_features, such as [product]."
        )


def _mode(work: _Translation) -> None:
    """Without a rank, whole matrices are generated; without the inner width, its two matrices are plain."""
    entries = work.settings.entries
    if "rank_k" in entries and entries["rank_k"].value is None:
        work.put("rank_k", "apg.mode", "basic")
        if "overparam_p" in entries:
            work.drop("overparam_p", "It has an effect only with rank_k.")
    elif "overparam_p" in entries and entries["overparam_p"].value is None:
        work.put("overparam_p", "apg.mode", "decomposed")


def _is_plain_network(block: Mapping[str, Any]) -> bool:
    """Whether ``hypernet_config`` says no more than widths: relu, and no dropout."""

    def each(key: str, default: Any) -> list:
        value = block.get(key, default)
        return value if isinstance(value, list) else [value]

    relu = all(str(name).lower() == "relu" for name in each("hidden_activations", "relu"))
    known = {"hidden_units", "hidden_activations", "dropout_rates"}
    return relu and not any(each("dropout_rates", 0)) and set(block) <= known


_STARTS = {
    "exp_d": "domain_weight",
    "exp_t": "task_weight",
    "bal_d": "domain_balance",
    "bal_t": "task_balance",
}
_DOMAINS = ("num_domains", "domain_feature", "expert_num", *_STARTS, "softmax_type", "tau", "tau_step")


def _domains(work: _Translation) -> None:
    """The numbers and widths of the fork's M3oE."""
    settings = work.settings
    written = [key for key in _DOMAINS if key in settings.entries]
    if work.model != "M3oE" or not written:
        return
    for key, ours in _STARTS.items():
        value = work.given(key)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            share = 1 / (1 + math.exp(-value))
            work.put(
                key, f"fusion_start.{ours}", share, f"The sigmoid of {value:g}: fusion_start has numbers."
            )
    _widths(work)
    if "tower_hidden_units" in settings.entries:
        entry = settings.entries["tower_hidden_units"]
        text = (
            f"tower_hidden_units counts here; {FORK} leaves it unused: its towers are as wide as its experts."
        )
        work.note("tower_hidden_units", "tower_hidden_units", text, entry.location)


def _widths(work: _Translation) -> None:
    """One list of theirs: of the star layer, of the trunk behind it, then of the experts."""
    key, settings = "expert_hidden_units", work.settings
    units = work.given(key)
    if not isinstance(units, list) or len(units) < 3 or settings.layer(key) == Layer.SET:
        return
    if any(each in settings.entries for each in ("star_units", "trunk_hidden_units")):
        return
    entry, layer = settings.entries[key], settings.layer(key)
    star, trunk, *experts = units
    shares = {"star_units": star, "trunk_hidden_units": [trunk], key: experts}
    for ours, value in shares.items():
        settings.entries[ours] = as_located(value, entry.location)
        settings.layers[ours] = layer
    shown = ", ".join(f"{ours} {show(value)}" for ours, value in shares.items())
    text = f"{key} is {shown} here: the first two widths of {FORK} are those of the star layer and the trunk."
    work.note(key, ", ".join(shares), text, entry.location)


_BLOCKS = {
    "backbone": "model.backbone",
    "mmoe": "model.mmoe",
    "gate_stabilize": "model.mmoe.gate_stabilize",
}


def _blocks(work: _Translation) -> None:
    """Keys in the blocks of a DeepFM-MMoE file that say what is so here anyway."""
    for key, path in _BLOCKS.items():
        entry = work.settings.entries.get(key)
        if entry is not None and isinstance(entry.value, dict):
            work.settings.entries[key] = _without(work, entry, key, path)


def _without(work: _Translation, entry: Located, shown: str, path: str) -> Located:
    kept = {}
    for name, each in entry.value.items():
        row, where = NESTED_NAMES.get(f"{path}.{name}"), f"{shown}.{name}"
        if row is not None and not row.ours and row.fits(plain(each)):
            work.note(where, "", f"{where} is left out. {row.advice}", each.location)
        elif isinstance(each.value, dict):
            kept[name] = _without(work, each, where, f"{path}.{name}")
        else:
            kept[name] = each
    return Located(kept, entry.location)


_FOCAL = ("FocalLoss", "focal_loss", "focal")


def _losses(work: _Translation) -> None:
    """Losses as blocks ``{name: FocalLoss, params: {gamma: 2.0, alpha: 0.25}}``, one a task or for all."""
    entry = work.settings.entries.get("loss")
    items = [] if entry is None else entry.value if isinstance(entry.value, list) else [entry]
    if entry is None or not any(_is_loss(item) for item in items):
        return
    names: list[Any] = []
    focal: dict[str, Any] = {}
    for item in items:
        name, params = _loss(item)
        names.append(name)
        for key, value in params.items():
            if focal.setdefault(f"focal_{key}", value) != value:
                raise item.error(
                    f"loss: one focal_{key} is for all tasks, but here are {show(focal[f'focal_{key}'])} and "
                    f"{show(value)}."
                )
    layer = work.settings.layer("loss")
    work.settings.entries["loss"] = as_located(
        names if isinstance(entry.value, list) else names[0], entry.location
    )
    for key, value in focal.items():
        work.add(key, as_located(value, entry.location), layer, "loss")
    shown = ", ".join(["loss", *focal])
    values = "".join(f", {key} {show(value)}" for key, value in focal.items())
    work.note("loss", shown, f"loss is [{', '.join(map(show, names))}]{values} here.", entry.location)


def _is_loss(item: Located) -> bool:
    return item.value in _FOCAL[:2] or (isinstance(item.value, dict) and "name" in item.value)


def _loss(item: Located) -> tuple[Any, dict[str, Any]]:
    """The name of a loss here, and its parameters."""
    value = plain(item)
    if not isinstance(value, dict):
        return ("focal" if value in _FOCAL else value), {}
    name, params = value["name"], dict(value.get("params") or {})
    if name not in _FOCAL:
        if params:
            raise item.error(f"loss {name} has no params here. Write loss: {name}.")
        return name, {}
    unknown = set(params) - {"gamma", "alpha", "eps", "reduction", "from_logits"}
    if unknown:
        raise item.error(f"loss {name} has no parameter {min(unknown)!r}. Parameters: gamma, alpha.")
    return "focal", {key: params[key] for key in ("gamma", "alpha") if key in params}


def _shares(work: _Translation) -> None:
    """``train_size``, and one folder that is named for each part and divided."""
    settings = work.settings
    sizes = {part: work.given(f"{part}_size") for part in ("train", "valid", "test")}
    for part in ("valid", "test"):
        key = f"{part}_data"
        if sizes[part] and work.given(key) and work.given(key) == work.given("train_data"):
            work.drop(key, f"It is train_data again, of which {part}_size takes {sizes[part]:g}.")
    numbers = [size for size in sizes.values() if isinstance(size, (int, float))]
    if "train_size" in settings.entries and math.isclose(sum(numbers), 1, abs_tol=1e-6):
        work.drop("train_size", "Training has the rows that valid_size and test_size leave.")
