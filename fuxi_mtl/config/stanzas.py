"""The stanzas of a config folder, and how Base, an experiment, its dataset and ``--set`` merge."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from enum import IntEnum
from pathlib import Path
from types import MappingProxyType

from fuxi_mtl.config.blocks import BLOCKS, unfolded
from fuxi_mtl.config.yaml_reading import read_stanzas, read_value
from fuxi_mtl.files import name_problem
from fuxi_mtl.hints import did_you_mean
from fuxi_mtl.options import DatasetOptions, ExperimentOptions
from fuxi_mtl.options.mistakes import Mistakes
from fuxi_mtl.options.source_location import ConfigError, Located, SourceLocation
from fuxi_mtl.options.values import convert, plain, show

BASE = "Base"
_DATASET_KEYS = {each.name for each in fields(DatasetOptions)}


class Layer(IntEnum):
    """Where a key was given; a higher layer wins."""

    DEFAULT = -1
    BASE = 0
    STANZA = 1
    DATASET = 2
    SET = 3


Change = tuple[list[str], Located]  # a path of keys and its new value


@dataclass
class Settings:
    """All keys of one experiment, merged, each with its location and layer.

    Attributes:
        expid: The experiment.
        location: The head of its stanza, for errors about what is missing.
        dataset_location: The head of the dataset's stanza, likewise.
        has_dataset: False if there is no such dataset, so that nothing can be said of its keys.
        entries: The keys.
        layers: Where each key was given.
    """

    expid: str
    location: SourceLocation
    dataset_location: SourceLocation
    has_dataset: bool = True
    entries: dict[str, Located] = field(default_factory=dict)
    layers: dict[str, Layer] = field(default_factory=dict)

    def add(self, entries: Mapping[str, Located], layer: Layer, mistakes: Mistakes | None = None) -> None:
        """Puts a layer on top; the keys of a block stand for themselves.

        Args:
            entries: The layer.
            layer: Which it is.
            mistakes: Gets keys that do not belong into their block; without it they are raised.

        Raises:
            ConfigError: Such a key.
        """
        found = Mistakes()
        entries = unfolded(entries, found)
        if mistakes is None:
            found.tell()
        else:
            mistakes.found += found.found
        self.entries.update(entries)
        self.layers.update(dict.fromkeys(entries, layer))

    def layer(self, key: str) -> Layer:
        """Where a key was given."""
        return self.layers.get(key, Layer.DEFAULT)

    def error(self, key: str, message: str) -> ConfigError:
        """An error at the line of `key`, or at the stanza where the key is absent."""
        if key in self.entries:
            return ConfigError(self.entries[key].location, message)
        return ConfigError(self.dataset_location if key in _DATASET_KEYS else self.location, message)

    @contextmanager
    def at(self, key: str) -> Iterator[None]:
        """Makes an error of a mechanism one at the line of `key`."""
        try:
            yield
        except ConfigError:
            raise
        except ValueError as error:
            raise self.error(key, str(error)) from error

    def tell(self, mistakes: Iterable[tuple[str, str]]) -> None:
        """Raises for what is wrong, given as keys and messages.

        Raises:
            ConfigError: All of it.
        """
        found = Mistakes()
        with found.noted():
            for key, message in mistakes:
                found.add(self.error(key, message))
        found.tell()

    def location_of(self, key: str, name: str) -> SourceLocation:
        """The location of the entry called `name` in the list `key`, such as a label of ``label_col``."""
        entry = self.entries[key]
        items = entry.value if isinstance(entry.value, list) else [entry]
        return next(item.location for item in items if item.value["name"].value == name)


@dataclass(frozen=True)
class Folder:
    """Everything that a config folder holds.

    Attributes:
        path: The folder.
        experiments: Stanzas of ``model_config`` by expid.
        bases: ``Base`` stanzas by file.
        datasets: Stanzas of ``dataset_config`` by dataset id.
    """

    path: Path
    experiments: dict[str, Located]
    bases: dict[str, Located]
    datasets: dict[str, Located]

    def settings(
        self,
        expid: str,
        overrides: Sequence[str] = (),
        values: Mapping[str, Located] = MappingProxyType({}),
        mistakes: Mistakes | None = None,
    ) -> Settings:
        """Merges Base, the stanza, the dataset's keys and the overrides, in this order.

        Args:
            expid: The stanza.
            overrides: ``key=value``, as the command line has them.
            values: Overrides that are values already, each by its path of keys with dots.
            mistakes: Gets what leaves the rest to be judged: an unknown dataset, one that disagrees with the
                stanza, keys that do not belong into their block. Without it they are raised.

        Raises:
            ConfigError: Unknown expid, or no single Base.
        """
        if expid not in self.experiments:
            raise ConfigError(
                f"{self.path}",
                f"no expid is called {expid!r}.{did_you_mean(expid, self.experiments)} "
                f"Expids: {', '.join(self.experiments) or 'none'}.",
            )
        stanza = self.experiments[expid]
        _check_name("expid", expid, stanza)
        settings = Settings(expid, stanza.location, stanza.location)
        found = Mistakes()
        settings.add(self.base_of(stanza), Layer.BASE, found)
        settings.add(stanza.value, Layer.STANZA, found)
        changes = []
        for text in overrides:
            with found.noted():
                changes.append(parse_override(text))
        changes += [(key.split("."), entry) for key, entry in values.items()]
        settings.has_dataset = False
        with found.noted():
            dataset = self._dataset_of(settings, changes)
            settings.has_dataset = True
            _add_dataset(settings, dataset, found)
        _apply(settings, changes, found)
        if mistakes is None:
            found.tell()
        else:
            mistakes.found += found.found
        return settings

    def base_of(self, stanza: Located) -> dict[str, Located]:
        """The Base of the stanza's own file; else the only one there is."""
        own = self.bases.get(stanza.location.source)
        if own is not None:
            return own.value
        if len(self.bases) > 1:
            raise stanza.error(
                f"which Base applies? This file has none, and there are {len(self.bases)}: "
                f"{', '.join(self.bases)}. Put a Base into this file."
            )
        return next(iter(self.bases.values())).value if self.bases else {}

    def _dataset_of(self, settings: Settings, changes: Iterable[Change]) -> Located:
        chosen = [entry for path, entry in changes if path == ["dataset_id"]]
        name = chosen[-1] if chosen else settings.entries.get("dataset_id")
        if name is None:
            raise settings.error(
                "dataset_id", f"dataset_id is missing. Datasets: {', '.join(self.datasets) or 'none'}."
            )
        dataset_id = convert(name, str, "dataset_id")
        if dataset_id not in self.datasets:
            raise name.error(
                f"no dataset is called {dataset_id!r}.{did_you_mean(dataset_id, self.datasets)} "
                f"Datasets: {', '.join(self.datasets) or 'none'}."
            )
        _check_name("dataset id", dataset_id, self.datasets[dataset_id])
        return self.datasets[dataset_id]


def read_folder(config_dir: str | Path | Folder) -> Folder:
    """Reads ``model_config.yaml`` and ``dataset_config.yaml``, or folders of these names.

    Args:
        config_dir: Where they lie; what is read already stays as it is.

    Raises:
        ConfigError: Nothing there, not YAML, or one name in two files.
    """
    if isinstance(config_dir, Folder):
        return config_dir
    folder = Path(config_dir)
    _check_folder(folder)
    experiments: dict[str, Located] = {}
    bases: dict[str, Located] = {}
    for file in _files(folder, "model_config"):
        stanzas = read_stanzas(file)
        if BASE in stanzas:
            bases[str(file)] = stanzas.pop(BASE)
        _add_once(experiments, stanzas, "expid")
    return replace(read_datasets(folder), experiments=experiments, bases=bases)


def read_datasets(config_dir: str | Path) -> Folder:
    """Reads ``dataset_config.yaml``, or a folder of this name, alone.

    Raises:
        ConfigError: As :func:`read_folder`.
    """
    folder = Path(config_dir)
    datasets: dict[str, Located] = {}
    _check_folder(folder)
    for file in _files(folder, "dataset_config"):
        _add_once(datasets, read_stanzas(file), "dataset id")
    return Folder(folder, {}, {}, datasets)


def named_roots(config_dir: str | Path) -> tuple[list[str], list[str]]:
    """Every folder of runs and every folder of encoded data that a config folder names, the defaults too.

    Raises:
        ConfigError: The folder cannot be read.
    """
    folder = read_folder(config_dir)
    stanzas = [*folder.experiments.values(), *folder.bases.values(), *folder.datasets.values()]

    def named(key: str, default: str) -> list[str]:
        found = [stanza.value[key] for stanza in stanzas if key in stanza.value]
        return list(dict.fromkeys([default, *(convert(each, str, key) for each in found)]))

    return named("model_root", ExperimentOptions.model_root), named("data_root", DatasetOptions.data_root)


def parse_override(text: str) -> Change:
    """``aux_focal.gamma=2`` as its path of keys and its value.

    Raises:
        ConfigError: There is no ``=``, no key, or no YAML behind it.
    """
    source = f"--set {text}"
    key, equals, value = text.partition("=")
    path = key.strip().split(".")
    if not equals or not all(path):
        raise ConfigError(source, "write --set key=value, such as --set batch_size=512.")
    return path, read_value(value, source)


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise ConfigError(str(folder), "no such folder. --config names the folder of the YAML files.")


def _files(folder: Path, name: str) -> list[Path]:
    endings = (".yaml", ".yml")
    files = [folder / f"{name}{ending}" for ending in endings]
    found = [file for file in files if file.is_file()]
    if (folder / name).is_dir():
        found += sorted(file for file in (folder / name).iterdir() if file.suffix in endings)
    if not found:
        raise ConfigError(str(folder), f"there is neither {name}.yaml nor a folder {name} with *.yaml files.")
    return found


def _check_name(what: str, name: str, stanza: Located) -> None:
    """A folder can have the name."""
    problem = name_problem(name)
    if problem:
        raise stanza.error(f"the {what} {name!r} names a folder, which it cannot: {problem}.")


def _add_once(known: dict[str, Located], stanzas: Mapping[str, Located], what: str) -> None:
    for name, stanza in stanzas.items():
        if name in known:
            raise stanza.error(f"the {what} {name!r} appears twice; the first is in {known[name].location}.")
        known[name] = stanza


def _add_dataset(settings: Settings, stanza: Located, mistakes: Mistakes) -> None:
    """The dataset's keys go on top. What the experiment itself says may not be lost by that."""
    for key, entry in stanza.value.items():
        own = settings.entries.get(key)
        if own is not None and settings.layer(key) == Layer.STANZA and plain(own) != plain(entry):
            mistakes.add(
                own.error(
                    f"{key} is {show(own)} here and {show(entry)} in {entry.location}, which would win. "
                    "Remove one of them, or use --set."
                )
            )
    settings.add(stanza.value, Layer.DATASET, mistakes)
    settings.dataset_location = stanza.location


def _apply(settings: Settings, changes: Iterable[Change], mistakes: Mistakes) -> None:
    for path, entry in changes:
        first, *rest = path[1:] if path[0] in BLOCKS and len(path) > 1 else path
        settings.add({first: _changed(settings.entries.get(first), rest, entry)}, Layer.SET, mistakes)


def _changed(old: Located | None, path: Sequence[str], entry: Located) -> Located:
    """`old` with the value at `path` replaced; blocks on the way are made where they are missing."""
    if not path:
        return entry
    block = dict(old.value) if old is not None and isinstance(old.value, dict) else {}
    block[path[0]] = _changed(block.get(path[0]), path[1:], entry)
    return Located(block, entry.location)


def stored_settings(
    expid: str,
    entries: Mapping[str, Located],
    source: str,
    overrides: Sequence[str] = (),
    mistakes: Mistakes | None = None,
    values: Mapping[str, Located] = MappingProxyType({}),
) -> Settings:
    """Settings from the flat stanza that a run has stored, dataset keys included.

    Args:
        expid: The stanza.
        entries: Its keys.
        source: Where they are from.
        overrides: ``key=value``, as the command line has them.
        mistakes: Gets what is wrong with these; without it they are raised.
        values: The same as values, each by its path of keys with dots.
    """
    settings = Settings(expid, SourceLocation(source), SourceLocation(source))
    settings.add(_with_older_defaults(entries, source), Layer.STANZA)
    found = Mistakes()
    for text in overrides:
        with found.noted():
            _apply(settings, [parse_override(text)], found)
    _apply(settings, [(key.split("."), entry) for key, entry in values.items()], found)
    if mistakes is None:
        found.tell()
    else:
        mistakes.found += found.found
    return settings


def _with_older_defaults(entries: Mapping[str, Located], source: str) -> Mapping[str, Located]:
    """The stanza of a run with what version 0.1.0 did where it had no key yet."""
    scale, surgery = entries.get("surgery_scale"), entries.get("surgery")
    if (scale is not None and scale.value is not None) or surgery is None:
        return entries
    meant = "mean" if surgery.value in ("mgda", "pe_ltr") else "sum"
    return {**entries, "surgery_scale": Located(meant, SourceLocation(source))}
