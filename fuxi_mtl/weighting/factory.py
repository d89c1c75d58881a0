"""The weighting of a stanza."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from fuxi_mtl.options import WEIGHTINGS, WeightingOptions
from fuxi_mtl.options.weighting import wrong_weights
from fuxi_mtl.weighting.base import Manual, Weighting


def make_weighting(
    options: WeightingOptions,
    objectives: Mapping[str, str],
    epoch_steps: int = 1,
    seed: int = 0,
    own: Mapping[str, Any] = MappingProxyType({}),
    constant_losses: Mapping[str, float] = MappingProxyType({}),
) -> Weighting:
    """The weighting that a stanza asks for.

    Args:
        options: Its name, or weights.
        objectives: Kind of each objective, by name.
        epoch_steps: Steps of an epoch.
        seed: Of what is random.
        own: The weighting's own options by key.
        constant_losses: The loss of the best constant prediction by objective, where it is known.

    Raises:
        ValueError: Unknown name, or a list that does not fit the objectives.
    """
    choice = options.loss_weight
    if isinstance(choice, str):
        given = {"epoch_steps": epoch_steps, "seed": seed, "constant_losses": constant_losses}
        return WEIGHTINGS[choice].make(own, objectives=objectives, **given)
    if isinstance(choice, Mapping):
        return Manual(objectives, choice)
    for mistake in wrong_weights(choice, list(objectives)):
        raise ValueError(mistake)
    return Manual(objectives, dict(zip(objectives, choice, strict=True)))
