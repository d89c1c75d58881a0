"""What a stanza says about gradient surgery, checked as far as names and numbers go."""

from collections.abc import Sequence

from fuxi_mtl.config.stanzas import Layer, Settings
from fuxi_mtl.options import SurgeryOptions
from fuxi_mtl.options.values import show

_OWNERS = {"pe_ltr_": "pe_ltr", "cagrad_": "cagrad"}


def check_surgery(settings: Settings, surgery: SurgeryOptions, objectives: Sequence[str]) -> None:
    """Bounds fit the objectives, and no option belongs to another method.

    Raises:
        ConfigError: With what would work.
    """
    try:
        surgery.bounds(objectives)
    except ValueError as error:
        raise settings.error("pe_ltr_bounds", str(error)) from error
    if not 0 <= surgery.cagrad_strength < 1:
        raise settings.error(
            "cagrad_strength", f"cagrad_strength is {surgery.cagrad_strength}; it lies from 0 to below 1."
        )
    if surgery.surgery_normalize and surgery.surgery in ("pcgrad", "cagrad"):
        raise settings.error(
            "surgery_normalize",
            f"surgery_normalize is for methods of least norm, mgda and pe_ltr; surgery is {surgery.surgery}. "
            "Leave it out.",
        )
    for key in unused_options(surgery):
        # Base speaks to all experiments, and --set may exchange the method above a stanza's options.
        weak = settings.layer(key) <= Layer.BASE or settings.layer(key) < settings.layer("surgery")
        if not weak:
            owner = next(owner for prefix, owner in _OWNERS.items() if key.startswith(prefix))
            raise settings.error(
                key,
                f"{key} has an effect only with surgery: {owner}, but surgery is {show(surgery.surgery)}.",
            )


def unused_options(surgery: SurgeryOptions) -> list[str]:
    """The keys of the methods that are not chosen."""
    others = tuple(prefix for prefix, owner in _OWNERS.items() if owner != surgery.surgery)
    return [key for key in vars(surgery) if key.startswith(others)]
