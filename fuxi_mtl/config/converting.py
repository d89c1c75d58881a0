"""Configurations of FuxiCTR, of its fork and of a DeepFM-MMoE file, written as stanzas of ours."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fuxi_mtl import registry
from fuxi_mtl.config.experiment import check_stanzas
from fuxi_mtl.config.foreign_names import FOREIGN_NAMES
from fuxi_mtl.config.nested_file import is_nested, nested_stanzas
from fuxi_mtl.config.routing import owners
from fuxi_mtl.config.stanza_text import StanzaText, file_text
from fuxi_mtl.config.stanzas import BASE, Folder, Layer, Settings, read_folder
from fuxi_mtl.config.translating import Note, translate
from fuxi_mtl.config.yaml_reading import read_mapping
from fuxi_mtl.files import write_text
from fuxi_mtl.options.source_location import ConfigError, Located
from fuxi_mtl.options.values import plain, show


@dataclass
class Converted:
    """What :func:`convert` makes.

    Attributes:
        files: Text by the name of the file, in the new folder.
        renamed: Keys that have another name or value now, by stanza.
        left_out: Keys that have no counterpart, by stanza.
        problems: Why an experiment cannot be run yet, by expid; its key is absent where it can.
    """

    files: dict[str, str] = field(default_factory=dict)
    renamed: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)


def convert(source: str | Path, dataset_id: str | None = None) -> Converted:
    """Reads a folder of stanzas, or a file with all of one experiment in it, and writes stanzas of ours.

    Every line that is not as it was has a comment above it; what has no counterpart stands at the end of its
    stanza, with the reason.

    Args:
        source: A folder with ``model_config.yaml`` and ``dataset_config.yaml``, or a file with the blocks
            ``model``, ``optim`` and ``runtime``.
        dataset_id: The dataset of a file's experiment, whose columns it does not list.

    Raises:
        ConfigError: Nothing there, not YAML, or one thing under two names.
    """
    path, converted = Path(source), Converted()
    if path.is_file():
        _convert_file(path, dataset_id, converted)
    else:
        _convert_folder(path, converted)
    return converted


def write_converted(converted: Converted, output: str | Path, overwrite: bool = False) -> list[Path]:
    """Writes the files; each is whole or not there.

    Args:
        converted: The stanzas.
        output: The new folder.
        overwrite: Whether files that are there are replaced.

    Returns:
        The files.

    Raises:
        ConfigError: A file is there already.
    """
    folder = Path(output)
    files = {folder / name: text for name, text in converted.files.items()}
    there = [str(file) for file in files if file.exists()]
    if there and not overwrite:
        raise ConfigError(
            there[0], "there already. Choose another --output, or write over it with --overwrite."
        )
    for file, text in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, text)
    return list(files)


def _convert_file(path: Path, dataset_id: str | None, converted: Converted) -> None:
    content = read_mapping(path)
    if not is_nested(content):
        raise ConfigError(
            str(path),
            "no file with the blocks model, optim and runtime. Stanzas are converted by the folder: --config "
            f"{path.parent}.",
        )
    made = nested_stanzas(content, path, dataset_id)
    converted.renamed[made.experiment.name] = made.renamed
    converted.left_out[made.experiment.name] = made.left_out
    head = [_written_from(path), "Above each key stands the one that it was."]
    # Files in folders stand beside the stanzas that a configuration has already.
    converted.files[f"model_config/{path.stem}.yaml"] = file_text(head, [made.experiment])
    if dataset_id is None:
        converted.files[f"dataset_config/{path.stem}.yaml"] = file_text([_written_from(path)], made.datasets)
        converted.problems[made.experiment.name] = (
            f"its dataset {made.datasets[0].name!r} has no columns yet: write train_data and feature_cols."
        )


def _convert_folder(path: Path, converted: Converted) -> None:
    folder = read_folder(path)
    files: dict[str, list[StanzaText]] = {}
    for source, base in folder.bases.items():
        files.setdefault(source, []).append(_base(base))
    for expid, stanza in folder.experiments.items():
        text = _experiment(expid, stanza, folder, converted)
        files.setdefault(stanza.location.source, []).append(text)
    for name, stanza in folder.datasets.items():
        text = _dataset(name, stanza, converted)
        files.setdefault(stanza.location.source, []).append(text)
    for source, stanzas in files.items():
        head = [_written_from(source), "A key without a comment above it is as it was there."]
        converted.files[str(Path(source).relative_to(path))] = file_text(head, stanzas)
    converted.problems |= _problems(converted.files, folder)


def _written_from(source: str | Path) -> str:
    return f"Written by python -m fuxi_mtl convert from {source}."


def _base(base: Located) -> StanzaText:
    """Base as it is: only a stanza's model tells which of its keys are whose."""
    text = StanzaText(BASE, {key: plain(entry) for key, entry in base.value.items()})
    for key in text.values:
        if key in FOREIGN_NAMES:
            text.comment(key, f"{FOREIGN_NAMES[key].explanation()}")
    return text


def _experiment(expid: str, stanza: Located, folder: Folder, converted: Converted) -> StanzaText:
    settings = Settings(expid, stanza.location, stanza.location)
    settings.add(folder.base_of(stanza), Layer.BASE)
    settings.add(stanza.value, Layer.STANZA)
    return _translated(settings, Layer.STANZA, stanza.value, converted)


def _dataset(name: str, stanza: Located, converted: Converted) -> StanzaText:
    settings = Settings(name, stanza.location, stanza.location)
    settings.add(stanza.value, Layer.DATASET)
    return _translated(settings, Layer.DATASET, stanza.value, converted)


def _translated(
    settings: Settings, layer: Layer, written: Mapping[str, Located], converted: Converted
) -> StanzaText:
    """The keys of one layer under our names, in the order in which they were written."""
    notes = translate(settings)
    text = StanzaText(settings.expid)
    order = {key: place for place, key in enumerate(written)}
    for note in notes:
        for ours in _tops(note):
            order.setdefault(ours, order.get(note.key, len(order)))
    entries = {key: entry for key, entry in settings.entries.items() if settings.layer(key) == layer}
    for key in sorted(entries, key=lambda each: order.get(each, len(order))):
        reason = _refusal(settings, key)
        if reason:
            text.comment("", f"{key}: {_shown(entries[key])}  has no counterpart. {reason}")
        else:
            text.values[key] = plain(entries[key])
    converted.left_out[settings.expid] = len(text.comments.get("", ()))
    converted.renamed[settings.expid] = 0
    for note in notes:
        tops = [ours for ours in _tops(note) if ours in text.values]
        if note.ours and not tops:  # from Base
            continue
        text.comment(tops[0] if tops else "", f"line {note.location.line}: {note.text}")
        converted.renamed[settings.expid] += bool(tops)
        converted.left_out[settings.expid] += not tops
    return text


def _tops(note: Note) -> list[str]:
    return [ours.partition(".")[0] for ours in note.ours.split(", ") if ours]


def _refusal(settings: Settings, key: str) -> str:
    """Why nothing here takes a key; empty where something does, or where that cannot be known."""
    entry = settings.entries.get("model")
    model = entry.value if entry is not None else None
    if key in owners():
        return ""
    if settings.layer(key) == Layer.DATASET or model in registry.names():
        if model in registry.names() and key in registry.options(model):
            return ""
        return FOREIGN_NAMES[key].explanation() if key in FOREIGN_NAMES else "No key is called so."
    return ""


def _shown(entry: Located) -> str:
    return show(plain(entry))


def _problems(files: Mapping[str, str], folder: Folder) -> dict[str, str]:
    """What the check of stanzas says of the new ones."""
    problems: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as name:
        for file, text in files.items():
            target = Path(name) / file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
        for expid in folder.experiments:
            try:
                check_stanzas(name, [expid])
            except ConfigError as error:
                problems[expid] = str(error).replace(f"{name}/", "")
    return problems


def describe(converted: Converted, written: list[Path]) -> list[str]:
    """What was done, a line each."""
    lines = [f"Written: {', '.join(map(str, written))}"]
    for name, count in converted.renamed.items():
        left = converted.left_out.get(name, 0)
        line = f"{name}: {count} keys under another name, {left} left out."
        if not count + left:
            line = f"{name}: as it was."
        problem = converted.problems.get(name)
        lines.append(f"{line} It cannot be run yet: {problem}" if problem else line)
    return lines
