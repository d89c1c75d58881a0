"""FuxiCTR's models of how features meet, which are the block ``interaction`` here, and its PPNet."""

from typing import Any

from fuxi_mtl.config.foreign_names import ACTIVATIONS_OF, FUXICTR, INTERACTION_KEYS
from fuxi_mtl.config.stanzas import Layer
from fuxi_mtl.options.source_location import as_located
from fuxi_mtl.options.values import plain, show

_TYPES = {"DCNv2": "dcnv2", "FinalMLP": "finalmlp", "MaskNet": "masknet"}
# What theirs are where a stanza of theirs does not say, and ours are not; and what theirs always are.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "DCNv2": {"cross_kernel": "full", "gates": "shared", "low_rank": 32},
    "FinalMLP": {
        "mlp1_hidden_units": [64, 64, 64],
        "mlp2_hidden_units": [64, 64, 64],
        "num_heads": 1,
        "output": "streams",
    },
    "MaskNet": {"model_type": "SerialMaskNet", "parallel_num_blocks": 1, "dnn_hidden_units": [64, 64, 64]},
}
# Of its PPNet: ours, and what theirs is where a stanza does not say.
_GATES = {
    "gate_priors": ("gate_features", None),
    "gate_hidden_dim": ("gate_hidden_units", 64),
    "gate_emb_dim": ("gate_embedding_dim", None),
    "hidden_units": ("tower_hidden_units", [64, 64, 64]),
}


def put_interaction(work: Any) -> None:
    """The options of a block, or of gates, out of the keys of a model that is called otherwise here.

    Args:
        work: The stanza while it is translated.

    Raises:
        ConfigError: The stanza has the block as well.
    """
    if work.theirs in _TYPES:
        _put_block(work, work.theirs)
    elif work.theirs == "PPNet":
        _put_gates(work)


def _put_block(work: Any, model: str) -> None:
    settings, layer = work.settings, work.settings.layer("model")
    location = settings.entries["model"].location
    block: dict[str, Any] = {"type": _TYPES[model], **_DEFAULTS[model]}
    taken = [key for key in INTERACTION_KEYS[model] if settings.layer(key) > Layer.BASE]
    for key in taken:
        layer = max(layer, settings.layers.pop(key))
        block[key] = plain(settings.entries.pop(key))
    for key in ACTIVATIONS_OF.get(model, ()):
        if settings.layer(key) > Layer.BASE:
            work.put(key, "hidden_activations")
    work.add("interaction", as_located(block, location), layer, "model")
    keys = "interaction"
    if settings.layer("tower_hidden_units") <= Layer.BASE:  # what comes out goes to the head as it is
        work.add("tower_hidden_units", as_located([], location), layer, "model")
        keys = "interaction, tower_hidden_units"
    text = f"{', '.join([model, *taken])}: {FUXICTR}'s {model} is interaction: {show(block)} here."
    work.note("model", keys, text, location)


def _put_gates(work: Any) -> None:
    settings, layer = work.settings, work.settings.layer("model")
    location = settings.entries["model"].location
    for key, (ours, default) in _GATES.items():
        if settings.layer(key) > Layer.BASE:
            work.put(key, ours)
        elif default is not None and settings.layer(ours) <= Layer.BASE:
            work.add(ours, as_located(default, location), layer, "model")
    if settings.layer("gate_embedding_dim") <= Layer.BASE:
        width = work.value("embedding_dim", 10)
        work.add("gate_embedding_dim", as_located(width, location), layer, "model")
    work.add("epnet", as_located(False, location), layer, "model")
    text = (
        f"PPNet is epnet: False, gate_embedding_dim: {show(work.given('gate_embedding_dim'))} here: each "
        "task has towers and gates of its own, and what goes into a tower is not gated once more."
    )
    work.note("model", "epnet, gate_embedding_dim", text, location)
