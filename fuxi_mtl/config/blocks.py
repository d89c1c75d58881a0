"""Blocks that only group keys: ``loss: {aux_focal: ...}`` says the same as ``aux_focal: ...``."""

from collections.abc import Mapping
from dataclasses import fields

from fuxi_mtl.config.nested_names import NESTED_NAMES
from fuxi_mtl.hints import did_you_mean
from fuxi_mtl.options import ImbalanceOptions
from fuxi_mtl.options.mistakes import Mistakes
from fuxi_mtl.options.source_location import Located
from fuxi_mtl.options.values import show, spelled

_ESMM = ("lambda_ctr", "lambda_ctcvr", "lambda_cvr_aux")
_SAMPLING = ("negative_sampling", "neg_keep_prob_train")
_ELSEWHERE = (*_ESMM, *_SAMPLING, "calibration", "value_calibration")
BLOCKS: dict[str, tuple[str, ...]] = {
    "loss": tuple(spelled(each.name) for each in fields(ImbalanceOptions) if each.name not in _ELSEWHERE),
    "esmm": _ESMM,
    "sampling": _SAMPLING,
}


def unfolded(entries: Mapping[str, Located], mistakes: Mistakes) -> dict[str, Located]:
    """The entries with those of a block beside it. A ``loss`` that is a name, or a list of them, stays.

    Args:
        entries: Those of a stanza.
        mistakes: Gets keys that do not belong into their block, or stand beside it too.
    """
    flat = dict(entries)
    for block in BLOCKS:
        if (
            block not in entries
            or not isinstance(entries[block].value, dict)
            or "name" in entries[block].value
        ):
            continue  # FuxiCTR's fork writes one loss as {name: ..., params: ...}
        for key, entry in flat.pop(block).value.items():
            with mistakes.noted():
                _check_key(block, key, entry, flat)
                flat[key] = entry
    return flat


def _check_key(block: str, key: str, entry: Located, flat: Mapping[str, Located]) -> None:
    known = BLOCKS[block]
    foreign = NESTED_NAMES.get(f"{block}.{key}")
    if foreign is not None and key not in known:
        leave = "" if foreign.ours else " Leave it out."
        raise entry.error(f"{block}.{key}: {foreign.advice}{leave}")
    if key not in known:
        raise entry.error(
            f"{block} has no key {key!r} (value {show(entry)}).{did_you_mean(key, known)} "
            f"Keys of {block}: {', '.join(known)}."
        )
    if key in flat:
        raise entry.error(f"{key} is given twice: in {block}, and beside it in {flat[key].location}.")
