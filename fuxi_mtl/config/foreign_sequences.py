"""FuxiCTR's keys of DIN and BST, which are the block ``sequences`` of any model here."""

from typing import Any

from fuxi_mtl.config.foreign_names import FUXICTR
from fuxi_mtl.config.stanzas import Layer
from fuxi_mtl.options.source_location import Located, as_located
from fuxi_mtl.options.values import plain, show

# By model: what its keys of a history begin with, the type of its encoder, and its keys of options of that.
_TYPES = {"din": "din", "bst": "transformer"}
_OPTIONS = {
    "din": {
        "attention_hidden_units": "hidden_units",
        "attention_hidden_activations": "activation",
        "attention_output_activation": "output_activation",
        "attention_dropout": "dropout",
        "din_use_softmax": "normalizer",
    },
    "bst": {
        "num_heads": "heads",
        "stacked_transformer_layers": "blocks",
        "attention_dropout": "dropout",
        "seq_pooling_type": "pooling",
        "use_causal_mask": "causal",
    },
}
# Where a stanza of theirs does not say.
_DEFAULTS = {"bst": {"pooling": "mean"}}
_TOWERS = {"dnn_hidden_units": "tower_hidden_units", "dnn_activations": "hidden_activations"}
_ALWAYS_SO = ("layer_norm", "use_residual")
_PLACES = ("use_position_emb", *_ALWAYS_SO)


def put_sequences(work: Any) -> None:
    """Groups of columns out of target and sequence fields, and their encoder out of what stands beside.

    Args:
        work: The stanza while it is translated.

    Raises:
        ConfigError: Target and sequence fields do not go together, or there is nothing like a value here.
    """
    for prefix in _TYPES:
        if f"{prefix}_sequence_field" in work.settings.entries and "sequences" in work.options:
            _put(work, prefix)


def _put(work: Any, prefix: str) -> None:
    settings, key = work.settings, f"{prefix}_sequence_field"
    for name, ours in _TOWERS.items():
        if name in settings.entries and ours in work.options and settings.layer(name) > Layer.BASE:
            work.put(name, ours)
    layer, dim = settings.layer(key), work.value("embedding_dim", 10)
    names = (key, f"{prefix}_target_field", *_OPTIONS[prefix], *(_PLACES if prefix == "bst" else ()))
    # Taken before anything is wrong with one of them: then that alone is told.
    taken = {name: settings.entries.pop(name) for name in names if name in settings.entries}
    for name in taken:
        del settings.layers[name]
    encoder: dict[str, Any] = {"type": _TYPES[prefix], **_DEFAULTS.get(prefix, {})}
    for name, ours in _OPTIONS[prefix].items():
        if name in taken:
            value = _value(name, taken[name])
            encoder |= {} if value is None else {ours: value}
    group: dict[str, Any] = {"encoder": encoder}
    if prefix == "bst" and _is_on("use_position_emb", taken):
        group |= {"position": "learned", "position_dim": dim}
    for name in _ALWAYS_SO:
        if not _is_on(name, taken):
            raise taken[name].error(f"{name}: every block of a transformer has it. Write True.")
    groups = {
        next(iter(columns)): {"columns": columns, **group}
        for columns in _columns(taken[key], taken.get(f"{prefix}_target_field"), key)
    }
    work.add("sequences", as_located(groups, taken[key].location), layer, key)
    text = f"{', '.join(taken)}: {FUXICTR}'s {prefix.upper()} is sequences: {show(groups)} here."
    work.note(key, "sequences", text, taken[key].location)


def _is_on(name: str, taken: dict[str, Located]) -> bool:
    return name not in taken or plain(taken[name]) is True


def _value(name: str, entry: Located) -> Any:
    """The value of an option here; None where it says what is so anyway."""
    value = plain(entry)
    if name == "din_use_softmax":
        return "softmax" if value else "none"
    if name == "attention_hidden_activations" and isinstance(value, list):
        if len({str(each).lower() for each in value}) > 1:
            raise entry.error(f"{name}: one activation is for all layers, not {show(value)}.")
        return value[0] if value else None
    return value


def _columns(sequences: Located, targets: Located | None, key: str) -> list[dict[str, Any]]:
    """The columns of each group with their targets: a text is one column, a list of lists several groups."""
    if targets is None:
        raise sequences.error(
            f"{key} needs {key.replace('sequence', 'target')}, what histories are read for."
        )
    columns, wanted = (_list(plain(each)) for each in (sequences, targets))
    pairs = [(_list(a), _list(b)) for a, b in zip(columns, wanted, strict=False)]
    if len(columns) != len(wanted) or not pairs or any(len(a) != len(b) for a, b in pairs):
        raise sequences.error(
            f"{key} is {show(columns)}, but its targets are {show(wanted)}: each column has one. A list "
            "inside the list is one group of columns."
        )
    return [dict(zip(a, b, strict=True)) for a, b in pairs]


def _list(value: Any) -> list:
    return value if isinstance(value, list) else [value]
