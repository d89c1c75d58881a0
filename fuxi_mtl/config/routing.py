"""Owners of keys: a class of options, the dataset, or the model's signature."""

import dataclasses
import typing
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from types import UnionType
from typing import Any

from fuxi_mtl import registry
from fuxi_mtl.config.families import check_members, families_with, member_options
from fuxi_mtl.config.foreign_names import FOREIGN_NAMES
from fuxi_mtl.config.stanzas import Layer, Settings
from fuxi_mtl.hints import did_you_mean, nearest
from fuxi_mtl.options import SECTIONS, DatasetOptions, Family
from fuxi_mtl.options.mistakes import UNJUDGED, Mistakes
from fuxi_mtl.options.signature import REQUIRED, Parameter
from fuxi_mtl.options.source_location import ConfigError
from fuxi_mtl.options.values import convert, describe, plain, show, spelled

_TITLES = {owner: "experiment" if name == "options" else name for name, owner in SECTIONS.items()}


def check_keys(settings: Settings) -> None:
    """Every key has an owner; it is enough that the registry knows the model's declaration.

    Raises:
        ConfigError: An unknown model or member of a family, or keys that nobody owns.
    """
    mistakes = Mistakes()
    name, options = "", dict[str, Parameter]()
    with mistakes.noted():
        name = model_name(settings)
        options = dict(registry.options(name))
        _check_owners(settings, name, options)
    known = {key: _TITLES[owner] for key, owner in owners().items()}
    chosen = choices(settings)
    with mistakes.noted():
        check_members(settings, chosen, {**known, **dict.fromkeys(options, name)})
    sure = not mistakes.found and all(value is not UNJUDGED for value in chosen.values())
    for key in settings.entries:
        # What is no misspelling may be an option of the model or member that is not known.
        if not _is_owned(key, options) and (sure or did_you_mean(key, [*known, *options])):
            with mistakes.noted():
                _refuse(settings, key, name, options)
    mistakes.tell()


def sections_of(settings: Settings, mistakes: Mistakes) -> dict[str, Any]:
    """An instance of each class of options, by its name in an experiment.

    Args:
        settings: All keys.
        mistakes: Gets wrong values; what has one, and the keys of an unknown dataset, cannot be judged.
    """
    return {name: _section(settings, owner, mistakes) for name, owner in SECTIONS.items()}


def choices(settings: Settings) -> dict[str, Any]:
    """The value of each key that chooses from families, such as ``loss_weight``.

    Where it is wrong, which :func:`sections_of` tells, it is ``UNJUDGED``.
    """
    chosen = {}
    for section in SECTIONS.values():
        for field in dataclasses.fields(section):
            if any(field.name == family.key for family in Family.known):
                chosen[field.name] = UNJUDGED
                with suppress(ConfigError):
                    default = getattr(section(), field.name)
                    chosen[field.name] = _field(settings, section, field, default)
    return chosen


def options_of_members(settings: Settings) -> dict[str, Any]:
    """A value for every option of what is chosen from families; see :func:`choices`.

    Raises:
        ConfigError: A wrong value, or an option of what is not chosen.
    """
    return member_options(settings, choices(settings))


def owners() -> dict[str, type]:
    """The class of options that owns each key that is no model's."""
    return {field.name: owner for owner in SECTIONS.values() for field in dataclasses.fields(owner)}


def model_name(settings: Settings) -> str:
    """The model that the stanza names.

    Raises:
        ConfigError: There is none, or the registry does not know it.
    """
    if "model" not in settings.entries:
        raise settings.error("model", f"model is missing. Models: {', '.join(registry.names())}.")
    name = convert(settings.entries["model"], str, "model")
    with settings.at("model"):
        registry.check_name(name)
    return name


def _check_owners(settings: Settings, model: str, options: Iterable[str]) -> None:
    """A user's model may not take a key that has an owner already."""
    taken = [key for key in options if key in owners()]
    if taken:
        raise settings.error(
            "model",
            f"{model} has an option {taken[0]!r}, which is a key of {_TITLES[owners()[taken[0]]]} "
            "already. Rename it in the model's constructor.",
        )


def _is_owned(key: str, options: Iterable[str]) -> bool:
    return key in owners() or key in options or bool(families_with(key))


def _refuse(settings: Settings, key: str, model: str, options: Mapping[str, Parameter]) -> None:
    """Raises for a key without an owner, unless Base means it for others, or the model was exchanged."""
    takers = _takers(key)
    if takers and (settings.layer(key) == Layer.BASE or _is_of_another(settings, key)):
        return
    if key == "manual_weights":
        _refuse_manual_weights(settings)
    what = f"unknown key {key!r} (value {show(settings.entries[key])})."
    if key in FOREIGN_NAMES and (not takers or model in FOREIGN_NAMES[key].models):
        raise settings.error(key, f"{what} {_foreign(key, model)}")
    if takers:
        what = f"{key!r} is an option of {', '.join(takers)}, not of {model}."
    known = {name: _TITLES[owner] for name, owner in owners().items()}
    known.update(
        {
            key: f"{family.key} {name}"
            for family in Family.known
            if not family.in_block
            for key, name in family.keys().items()
        }
    )
    known.update(dict.fromkeys(options, model))
    guess = did_you_mean(key, known)
    if not takers:
        inside = _in_blocks(key, options, with_near=not guess)
        if inside:
            raise settings.error(key, f"{what} {inside}")
    near = next((owner for name, owner in known.items() if f"{name!r}" in guess), None)
    shown = [near] if near else [model] if takers else [model, *_TITLES.values()]
    groups = [
        f"Keys of {each}: {', '.join(n for n, owner in known.items() if owner == each)}." for each in shown
    ]
    # One group fits the line; the long list reads better as lines.
    raise settings.error(key, what + guess + (" " if len(groups) == 1 else "\n  ") + "\n  ".join(groups))


def _takers(key: str) -> list[str]:
    """The models that have an option."""
    return [name for name in registry.names() if key in registry.options(name)]


def _is_of_another(settings: Settings, key: str) -> bool:
    """Whether a key was written for the model that a higher layer, such as ``--set model=PLE``, exchanged."""
    return settings.layer(key) < settings.layer("model")


def left_behind(settings: Settings) -> tuple[str, ...]:
    """A line for each key of the stanza that the model does not have, because it was exchanged above it."""
    name = model_name(settings)
    own = registry.options(name)
    return tuple(
        f"{entry.location}: {key} is left out: the model is {name} now, which does not have it."
        for key, entry in settings.entries.items()
        if settings.layer(key) > Layer.BASE
        and _is_of_another(settings, key)
        and not _is_owned(key, own)
        and _takers(key)
    )


def _in_blocks(key: str, options: Mapping[str, Parameter], with_near: bool) -> str:
    """That a key belongs into a block of the model or of stanzas; empty if no block has it.

    Args:
        key: As it was written.
        options: Those of the model.
        with_near: Whether a key of a block that is near to it will do.
    """
    types = {name: each.type for name, each in options.items()}
    for section in SECTIONS.values():
        types |= typing.get_type_hints(section)
    blocks = list(_blocks(types))
    holding = [path for path, keys in blocks if key in keys]
    if holding:
        return f"It belongs into {' or '.join(holding)}: write {_nested(f'{holding[0]}.{key}')}."
    near = {each: path for path, keys in reversed(blocks) for each in keys}
    meant = nearest(key, near) if with_near else None
    return (
        f"Did you mean {meant!r} in {near[meant]}? Write {_nested(f'{near[meant]}.{meant}')}."
        if meant
        else ""
    )


def _blocks(types: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, list[str]]]:
    """The keys of each block among options, and of blocks inside, by path."""
    for name, annotation in types.items():
        is_union = typing.get_origin(annotation) in (typing.Union, UnionType)
        for each in typing.get_args(annotation) if is_union else (annotation,):
            if dataclasses.is_dataclass(each):
                inside = {spelled(key): hint for key, hint in typing.get_type_hints(each).items()}
                keys = [spelled(field.name) for field in dataclasses.fields(each)]
                yield f"{path}{name}", keys
                yield from _blocks({key: inside[key] for key in keys}, f"{path}{name}.")


def _nested(path: str) -> str:
    """A path as it is written: ``gate_stabilize: {temperature: ...}``."""
    first, *rest = path.split(".")
    return f"{first}: {_nested_value(rest)}"


def _nested_value(path: list[str]) -> str:
    return f"{{{path[0]}: {_nested_value(path[1:])}}}" if path else "..."


def _foreign(key: str, model: str) -> str:
    """What to do about another library's key that could not be taken."""
    name = FOREIGN_NAMES[key]
    option = name.ours.partition(".")[0]
    having = [each for each in registry.names() if option in registry.options(each)] or list(name.models)
    if having and model not in having:
        ours = f", {name.ours} here" if name.ours else ""
        return f"In {name.of} it is a key of {', '.join(having)}{ours}, not of {model}."
    return name.explanation()


def _refuse_manual_weights(settings: Settings) -> None:
    given = show(settings.entries["manual_weights"])
    choice = settings.entries.get("loss_weight")
    if choice is not None:
        raise settings.error(
            "manual_weights",
            f"manual_weights {given} contradicts loss_weight {show(choice)}: one weighting at a time. "
            f"For fixed weights write loss_weight: {given}.",
        )
    raise settings.error("manual_weights", f"write loss_weight: {given} for fixed weights.")


def _section(settings: Settings, section: type, mistakes: Mistakes) -> Any:
    if section is DatasetOptions and not settings.has_dataset:
        return UNJUDGED
    values = {}
    for field in dataclasses.fields(section):
        if field.name in settings.entries:
            values[field.name] = UNJUDGED
            with mistakes.noted():
                values[field.name] = _field(settings, section, field)
    return section(**values)


def _field(settings: Settings, section: type, field: dataclasses.Field, default: Any = None) -> Any:
    if field.name not in settings.entries:
        return default
    hint = typing.get_type_hints(section)[field.name]
    return convert(settings.entries[field.name], hint, field.name, field.metadata["option"])


def model_options(settings: Settings, name: str) -> dict[str, Any]:
    """A value for every option of the model, as YAML would give it.

    Raises:
        ConfigError: All wrong values and missing options.
    """
    values = {}
    mistakes = Mistakes()
    for key, each in registry.options(name).items():
        with mistakes.noted():
            if key in settings.entries:
                entry = settings.entries[key]
                value = convert(entry, each.type, key, each.option)
                # Blocks stay as they were written: the constructor completes them.
                values[key] = plain(entry) if _holds_block(value) else value
            elif each.default is REQUIRED:
                kind = describe(each.type)
                raise ConfigError(settings.location, f"{name} needs the option {key!r} ({kind}).")
            else:
                values[key] = as_yaml(each.default)
    mistakes.tell()
    return values


def _holds_block(value: Any) -> bool:
    members = value.values() if isinstance(value, dict) else [value]
    return any(map(dataclasses.is_dataclass, members))


def as_yaml(value: Any) -> Any:
    """A default as YAML would give it: lists instead of tuples."""
    if isinstance(value, dict):
        return {key: as_yaml(each) for key, each in value.items()}
    return [as_yaml(each) for each in value] if isinstance(value, (list, tuple)) else value
