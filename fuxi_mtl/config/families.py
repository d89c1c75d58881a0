"""Members of the families that a stanza chooses, and their own options."""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager, suppress
from typing import Any

from fuxi_mtl.config.stanzas import Layer, Settings
from fuxi_mtl.options import Family, Member, SurgeryOptions, WeightingOptions
from fuxi_mtl.options.mistakes import UNJUDGED, Mistakes
from fuxi_mtl.options.signature import REQUIRED, Parameter
from fuxi_mtl.options.values import convert, describe, show


def families_of(key: str) -> list[Family]:
    """The families of which a key of stanzas chooses."""
    return [family for family in Family.known if family.key == key]


def families_with(key: str) -> list[Family]:
    """The families of which a member has that option as a key of the stanza."""
    return [family for family in Family.known if not family.in_block and family.owners(key)]


def check_members(settings: Settings, choices: Mapping[str, Any], taken: Mapping[str, str]) -> None:
    """The chosen members exist, and none of their options is a key of something else.

    Args:
        settings: For the locations of errors.
        choices: The value of each key that chooses from families.
        taken: Keys that have an owner already, with what they belong to.

    Raises:
        ConfigError: With the names that exist, or with the option to rename.
    """
    mistakes = Mistakes()
    for key, value in choices.items():
        with mistakes.noted():
            _check_chosen(settings, key, value, taken)
    mistakes.tell()


def _check_chosen(settings: Settings, key: str, value: Any, taken: Mapping[str, str]) -> None:
    families = families_of(key)
    for name in _names(value):
        if not any(name in family for family in families):
            raise settings.error(key, families[0].unknown(name))
    for member in _members(families, value):
        clash = next((each for each in member.options if each in taken), None)
        if clash is not None:
            raise settings.error(
                key,
                f"{member.name} has an option {clash!r}, which is a key of {taken[clash]} already. "
                "Rename it in its signature.",
            )


def member_options(settings: Settings, choices: Mapping[str, Any]) -> dict[str, Any]:
    """A value for each option of the chosen members, defaults included.

    Raises:
        ConfigError: A wrong value, a missing option, or an option of a member that is not chosen.
    """
    values: dict[str, Any] = {}
    mistakes = Mistakes()
    for key, value in choices.items():
        members: list[Member] = []
        with mistakes.noted():
            members = _members(families_of(key), value)
        for member in members:
            for option in member.options.values():
                values[option.name] = UNJUDGED
                with mistakes.noted():
                    values[option.name] = _value(settings, member, option)
    for key in settings.entries:
        for family in families_with(key):
            with mistakes.noted():
                if key not in values:
                    _refuse_foreign(settings, family, key, choices[family.key])
    mistakes.tell()
    return values


def check_members_fit(
    settings: Settings,
    weighting: WeightingOptions,
    surgery: SurgeryOptions,
    objectives: Mapping[str, str],
    own: Mapping[str, Any],
) -> None:
    """The chosen weighting and surgery can be made for the objectives.

    Args:
        settings: For the locations of errors.
        weighting: Names the weighting.
        surgery: Names the surgery.
        objectives: Kind of each objective, by name.
        own: The options of both.

    Raises:
        ConfigError: What the constructor refuses, at the line of the option that its message names first.
    """
    trials = keys_to_try(settings, weighting, surgery, objectives)
    if "loss_weight" in trials:
        from fuxi_mtl.weighting import make_weighting  # only here does a stanza need TensorFlow

        with _tried(settings, "loss_weight", own):
            make_weighting(weighting, objectives, own=own)
    if "surgery" in trials:
        from fuxi_mtl.surgery import make_surgery

        with _tried(settings, "surgery", (*own, "surgery_normalize", "surgery_preference")):
            make_surgery(surgery, objectives, own=own)


def keys_to_try(
    settings: Settings, weighting: WeightingOptions, surgery: SurgeryOptions, objectives: Sized
) -> list[str]:
    """The keys whose members may refuse the objectives when they are made.

    Of the library's own they are those with an option that is given: none refuses its defaults for several.
    """
    keys = []
    if _may_refuse(settings, "loss_weight", weighting.loss_weight):
        keys.append("loss_weight")
    if surgery.surgery != "none" and (
        len(objectives) < 2
        or surgery.surgery_normalize
        or surgery.surgery_preference
        or settings.layer("surgery_mode") > Layer.DEFAULT
        or _may_refuse(settings, "surgery", surgery.surgery)
    ):
        keys.append("surgery")
    return keys


def _may_refuse(settings: Settings, key: str, value: Any) -> bool:
    members = _members(families_of(key), value)
    return any(
        callable(each.target) or not settings.entries.keys().isdisjoint(each.options) for each in members
    )


@contextmanager
def _tried(settings: Settings, key: str, options: Iterable[str]) -> Iterator[None]:
    """Inside, a member is made, in a graph: what it refuses is told at the line of an option.

    Computing at once would start TensorFlow, which connects with other workers before that or never. A member
    of the user's own that must compute is made when the model is.
    """
    import tensorflow as tf

    try:
        with tf.Graph().as_default(), suppress(TypeError, AttributeError, NotImplementedError):
            yield
    except ValueError as error:
        named = str(error).partition(" ")[0].rstrip(":")
        raise settings.error(named if named in options else key, str(error)) from error


def _names(value: Any) -> Iterator[str]:
    values: Sequence = value if isinstance(value, list) else [value]
    return (each for each in values if isinstance(each, str))


def _members(families: Iterable[Family], value: Any) -> list[Member]:
    names = list(dict.fromkeys(_names(value)))
    return [family[name] for family in families for name in names if name in family]


def _value(settings: Settings, member: Member, option: Parameter) -> Any:
    entry = settings.entries.get(option.name)
    if entry is None:
        if option.default is REQUIRED:
            raise settings.error(
                option.name, f"{member.name} needs the option {option.name!r} ({describe(option.type)})."
            )
        return list(option.default) if isinstance(option.default, tuple) else option.default
    return convert(entry, option.type, option.name, option.option)


def _refuse_foreign(settings: Settings, family: Family, option: str, chosen: Any) -> None:
    """Raises for an option of a member that is not chosen, unless it was meant for another choice."""
    if any(name not in family for name in _names(chosen)):
        return  # a member that does not exist may have been meant to have it
    # Base speaks to all experiments, and --set may exchange the member above a stanza's options.
    layer = settings.layer(option)
    if layer <= Layer.BASE or layer < settings.layer(family.key):
        return
    owners = " or ".join(family.owners(option))
    raise settings.error(
        option,
        f"{option} has an effect only with {family.key}: {owners}, but {family.key} is {show(chosen)}.",
    )
