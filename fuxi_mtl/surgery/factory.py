"""The surgery of a stanza."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from fuxi_mtl.hints import no_objective
from fuxi_mtl.options import SURGERIES, SURGERY_MODES, SurgeryOptions
from fuxi_mtl.surgery.combining import Surgery
from fuxi_mtl.surgery.elementwise import ElementwiseMethod, ElementwiseSurgery
from fuxi_mtl.surgery.methods import SurgeryMethod
from fuxi_mtl.surgery.tracking import Tracked, TrackedSurgery

_KINDS: Mapping[type[SurgeryMethod], type[Surgery]] = {
    Tracked: TrackedSurgery,
    ElementwiseMethod: ElementwiseSurgery,
}


def make_surgery(
    options: SurgeryOptions,
    objectives: Mapping[str, str],
    seed: int = 0,
    own: Mapping[str, Any] = MappingProxyType({}),
) -> Surgery | None:
    """The surgery that a stanza asks for; None for none.

    Args:
        options: Its keys.
        objectives: Kind of each objective, by name; those of kind ``fixed`` take no part.
        seed: Seed of random orders.
        own: The method's own options by key.

    Raises:
        ValueError: Unknown name, fewer than two objectives, or options that do not fit the method or them.
    """
    member = SURGERIES[options.surgery]
    if member.target is None:
        return None
    names = [name for name, kind in objectives.items() if kind != "fixed"]
    if len(names) < 2:
        raise ValueError(
            f"surgery: {options.surgery} turns gradients of several objectives, but there is only "
            f"{', '.join(names) or 'none'}. Use surgery: none."
        )
    preference = _preference(options.surgery_preference or {}, names)
    method = member.make(own, names=names, seed=seed, preference=preference)
    if options.surgery_preference and "preference" not in member.signature.given:
        preferring = [each.name for each in SURGERIES.members if "preference" in each.signature.given]
        raise ValueError(
            f"surgery_preference is for {', '.join(preferring)}; surgery is {options.surgery}. Leave it out."
        )
    if options.surgery_mode in SURGERY_MODES and options.surgery_mode not in method.modes:
        raise ValueError(
            f"surgery: {options.surgery} cannot be of surgery_mode {options.surgery_mode}. Use "
            f"{' or '.join(method.modes)}."
        )
    if options.surgery_normalize and not method.least_norm:
        members = [each for each in SURGERIES.members if each.target is not None]
        fitting = ", ".join(each.name for each in members if each.load().least_norm)
        raise ValueError(
            f"surgery_normalize is for methods of least norm, {fitting}; surgery is {options.surgery}. "
            "Leave it out."
        )
    kind = next((each for of, each in _KINDS.items() if isinstance(method, of)), Surgery)
    return kind(
        names,
        method,
        options.surgery_mode,
        options.surgery_normalize,
        method.lagged,
        factor=None if options.surgery_scale == method.scale else options.surgery_scale,
        scales_private=options.surgery_private == "scaled",
        smoothing=options.surgery_smoothing,
    )


def _preference(given: Mapping[str, float], names: Sequence[str]) -> np.ndarray:
    """The preference of each objective, one unless said."""
    for name, value in given.items():
        if name not in names:
            raise ValueError(no_objective("surgery_preference", name, names))
        if not (np.isfinite(value) and value > 0):
            raise ValueError(f"surgery_preference of {name!r} is {value}; it is a number above 0.")
    return np.array([float(given.get(name, 1.0)) for name in names])
