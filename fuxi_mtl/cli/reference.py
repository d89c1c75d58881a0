"""Every option with what its declaration says: a few lines in the terminal, tables in docs/options.md."""

import dataclasses
import textwrap
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from fuxi_mtl import registry
from fuxi_mtl.config.foreign_names import foreign_name_of
from fuxi_mtl.config.routing import as_yaml
from fuxi_mtl.hints import did_you_mean
from fuxi_mtl.metrics import METRICS
from fuxi_mtl.options import SECTIONS, Family, FeatureOptions, LabelOptions, Option
from fuxi_mtl.options.declaring import REQUIRED
from fuxi_mtl.options.shared import CommonOptions, own_first
from fuxi_mtl.options.signature import Parameter
from fuxi_mtl.options.values import describe, show, spelled

_TITLES = {"options": "experiment"}
_ENTRIES = {"feature_cols": FeatureOptions, "label_col": LabelOptions}
_WIDTH = 100


@dataclass(frozen=True)
class Entry:
    """One option.

    Attributes:
        key: As a stanza has it.
        block: The blocks that it stands in, with dots between them; empty for a key of its own line.
        owner: What it belongs to: ``training``, ``loss_weight: GN`` or a model.
        type: In words.
        default: As YAML has it; empty for a block.
        allowed: Bounds or choices; empty if any value of the type will do.
        doc: What it is for.
        example: A value as YAML has it; empty where none is needed.
        foreign: How FuxiCTR or its fork calls it; empty where it is called the same, or unknown.
    """

    key: str
    block: str
    owner: str
    type: str
    default: str
    allowed: str
    doc: str
    example: str
    foreign: str

    @property
    def path(self) -> str:
        """The key with its blocks: ``fusion.search.rounds``."""
        return f"{self.block}.{self.key}" if self.block else self.key

    def lines(self) -> list[str]:
        """For the terminal."""
        head = [self.type, self.allowed, self.default and f"default {self.default}"]
        more = [
            f"e.g. {self.example}" if self.example else "",
            f"FuxiCTR: {self.foreign}" if self.foreign else "",
        ]
        text = textwrap.fill(self.doc, _WIDTH, initial_indent="      ", subsequent_indent="      ")
        first = f"  {self.path}: {'; '.join(filter(None, head))}"
        rest = "; ".join(filter(None, more))
        return [first, text, *([f"      {rest}"] if rest else [])]


def options_of(name: str) -> list[Entry]:
    """The options of a model, its own first, each with its blocks' keys behind it."""
    options = own_first(registry.options(name)).values()
    return [entry for each in options for entry in _of_parameter(each, name)]


def sections() -> dict[str, list[Entry]]:
    """The keys of stanzas by their owner, without those of models."""
    found = {}
    for name, section in SECTIONS.items():
        title = _TITLES.get(name, name)
        found[title] = list(_of_fields(section, title))
    for family in Family.known:
        for member in family.members:
            entries = [e for each in member.options.values() for e in _of_parameter(each, member.name)]
            if entries:
                found[f"{family.key}: {member.name}"] = entries
    return found


def one_option(key: str) -> str:
    """All that is known of a key, wherever it stands.

    Args:
        key: ``batch_size``, ``rounds`` or ``fusion.search.rounds``; or FuxiCTR's name of it.

    Raises:
        ValueError: Nothing is called so.
    """
    every = [each for entries in sections().values() for each in entries]
    every += [each for name in registry.names() for each in options_of(name)]
    found: dict[tuple[str, ...], list[str]] = {}
    for each in every:
        if key in (each.path, each.key, each.foreign):
            found.setdefault(tuple(each.lines()), []).append(each.owner)
    if not found:
        names = [name for each in every for name in (each.path, each.key)]
        raise ValueError(
            f"no option is called {key!r}.{did_you_mean(key, names)} `list options` shows all of them."
        )
    return "\n\n".join(
        "\n".join([", ".join(dict.fromkeys(owners)), *lines]) for lines, owners in found.items()
    )


def all_options() -> str:
    """Every key of stanzas; those of models with ``list MODEL``."""
    return "\n\n".join(_section(title, entries) for title, entries in sections().items())


def one_model(name: str) -> str:
    """A model: what it is, its paper, its own options and those that models share."""
    shared = typing.get_type_hints(CommonOptions)
    entries = options_of(name)
    own = [each for each in entries if each.path.partition(".")[0] not in shared]
    rest = [each for each in entries if each not in own]
    parts = [f"{name}: {registry.summary(name)}"]
    if registry.reference(name):
        parts.append(textwrap.fill(f"Paper: {registry.reference(name)}", _WIDTH))
    parts += [_section("Its own options", own)] if own else []
    parts += [_section("Options that models share", rest)] if rest else []
    return "\n\n".join(parts)


def all_metrics() -> str:
    """Every metric with its sentence, the kinds of task that it measures, and which way is better."""
    width = max(map(len, METRICS)) + 2
    indent = " " * width
    lines = []
    for name, each in METRICS.items():
        best = {"max": "larger is better", "min": "smaller is better"}.get(str(each.direction), "")
        best = best or f"{each.direction} is best"
        text = f"{each.doc.replace('``', '')} {', '.join(each.kinds).capitalize()}; {best}."
        lines.append(textwrap.fill(text, _WIDTH, initial_indent=f"{name:<{width}}", subsequent_indent=indent))
    return "\n".join(lines)


_METRICS_HEAD = """# Metrics

`metrics: [AUC, gAUC, logloss]` in a stanza, `{task}_{metric}` as a key, any of them as `monitor`. Written by
`python -m fuxi_mtl list metrics --format markdown`. Where the truth is known, as in simulated data, each task
also has metrics against it ([simulation.md](simulation.md)); one of your own is a function with a decorator
([own_model.md](own_model.md)).

| metric | what it is | of tasks | best | in intervals |
| --- | --- | --- | --- | --- |
"""


def metrics_page() -> str:
    """The page of all metrics."""
    rows = []
    for name, each in METRICS.items():
        best = {"max": "large", "min": "small"}.get(str(each.direction), str(each.direction))
        fast = "yes" if each.sums else "computed anew on each resample"
        resampled = _cell(each.not_resampled) or fast
        doc = _cell(each.doc.replace("``", "`"))
        rows.append(f"| `{name}` | {doc} | {', '.join(each.kinds)} | {best} | {resampled} |\n")
    return _METRICS_HEAD + "".join(rows)


def _section(title: str, entries: Iterable[Entry]) -> str:
    return "\n".join([title, *(line for each in entries for line in each.lines())])


def _of_parameter(each: Parameter, owner: str) -> Iterator[Entry]:
    default = "required" if each.default is REQUIRED else as_yaml(each.default)
    yield _entry(each.name, "", owner, each.type, default, each.option)
    block = _block_of(each.type)
    if block is not None:
        yield from _of_fields(block, owner, each.name)


def _of_fields(options: type, owner: str, block: str = "") -> Iterator[Entry]:
    hints = typing.get_type_hints(options)
    for field in dataclasses.fields(options):
        key = spelled(field.name)
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        if default is dataclasses.MISSING:
            default = "required"
        declared = field.metadata.get("option", Option(""))
        yield _entry(key, block, owner, hints[field.name], as_yaml(default), declared)
        inner = _block_of(hints[field.name]) or (_ENTRIES.get(key) if not block else None)
        if inner is not None:
            yield from _of_fields(inner, owner, f"{block}.{key}" if block else key)


def _block_of(annotation: Any) -> Any:
    """The dataclass among what a type may be; None if there is none."""
    members = list(typing.get_args(annotation) or (annotation,))
    members += [inner for each in members for inner in typing.get_args(each)]  # blocks by name
    return next((each for each in members if dataclasses.is_dataclass(each)), None)


def _entry(key: str, block: str, owner: str, annotation: Any, default: Any, declared: Option) -> Entry:
    is_block = dataclasses.is_dataclass(default)
    theirs = foreign_name_of(key if block in _ENTRIES or not block else f"{block}.{key}")
    return Entry(
        key,
        block,
        owner,
        _without_choices(annotation),
        "" if is_block else _written(default),
        _allowed(annotation, declared),
        declared.doc.replace("``", ""),
        declared.example,
        "" if theirs == key else theirs,
    )


def _written(value: Any) -> str:
    """A default as a stanza would have it."""
    if isinstance(value, str):
        return value or "''"
    if isinstance(value, list):
        return f"[{', '.join(map(_written, value))}]"
    return show(value)


def _without_choices(annotation: Any) -> str:
    """A type in words; a `Literal` is told as what it chooses from."""
    members = typing.get_args(annotation)
    if typing.get_origin(annotation) is Literal:
        return "text"
    if any(typing.get_origin(each) is Literal for each in members):
        rest = [each for each in members if typing.get_origin(each) is not Literal]
        return " or ".join(["text", *(describe(each) for each in rest)])
    return describe(annotation)


def _allowed(annotation: Any, declared: Option) -> str:
    members = (annotation, *typing.get_args(annotation))
    literal = next((typing.get_args(each) for each in members if typing.get_origin(each) is Literal), ())
    choices = ", ".join(map(str, literal or declared.choices))
    return " or ".join(filter(None, [choices and f"one of {choices}", declared.bounds]))


# ---- docs/options.md ------------------------------------------------------------------------------

_HEAD = """\
# Options

Every key of a stanza. `python -m fuxi_mtl list options --format markdown` writes this page, from the
declarations that check the stanzas; `list options KEY` shows one key, and `list MODEL` a model with all that
it takes. "FuxiCTR" stands before the name that FuxiCTR or its fork has for a key; those names are taken, too
([fuxictr.md](fuxictr.md)). The command line reaches into blocks: `--set fusion.search.rounds=10`.
"""


def markdown() -> str:
    """The page of all options: those of stanzas by owner, then those of models."""
    parts = [_HEAD]
    for title, entries in sections().items():
        parts.append(f"## {title[0].upper()}{title[1:]}\n\n{_tables(entries)}")
    every = {name: options_of(name) for name in registry.names()}
    parts.append(f"## Options that models share\n\nWith the defaults of most models.\n\n{_shared(every)}")
    parts += [f"## {name}\n\n{_model(name, entries)}" for name, entries in every.items()]
    blocks = {each.path: each for entries in every.values() for each in entries if each.block}
    parts.append(f"## Blocks of models\n\n{_tables(blocks.values())}")
    return "\n".join(parts)


def _tables(entries: Iterable[Entry]) -> str:
    """A table for what stands on a line of its own, and one for each block."""
    blocks: dict[str, list[Entry]] = {}
    for each in entries:
        blocks.setdefault(each.block, []).append(each)
    tables = []
    for block, rows in blocks.items():
        where = f"Entries of `{block}`" if block in _ENTRIES else f"The block `{block}`"
        tables.append((f"{where}:\n\n" if block else "") + _table(rows))
    return "\n".join(tables)


def _table(rows: Iterable[Entry]) -> str:
    lines = ["| key | type | default | what it is for |", "| --- | --- | --- | --- |"]
    for each in rows:
        key = f"`{each.key}`" + (f"<br>FuxiCTR: `{each.foreign}`" if each.foreign else "")
        kind = _cell("; ".join(filter(None, [each.type, each.allowed])))
        default = each.default if each.default in ("", "required") else f"`{_cell(each.default)}`"
        doc = _cell(each.doc) + (f" E.g. `{_cell(each.example)}`." if each.example else "")
        lines.append(f"| {key} | {kind} | {default} | {doc} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _common() -> dict[str, Option]:
    """The options that models share, with their defaults."""
    hints = typing.get_type_hints(CommonOptions, include_extras=True)
    return {
        key: next(each for each in typing.get_args(hint) if isinstance(each, Option))
        for key, hint in hints.items()
    }


def _shared(every: Mapping[str, Iterable[Entry]]) -> str:
    entries = {each.path: each for options in every.values() for each in options}
    return _table(
        dataclasses.replace(entries[key], default=_written(as_yaml(option.default)))
        for key, option in _common().items()
    )


def _model(name: str, entries: Iterable[Entry]) -> str:
    """A model's own options, and the shared ones that it lacks or whose default is another."""
    common = _common()
    lines = {each.key: each for each in entries if not each.block}
    own = [each for key, each in lines.items() if key not in common]
    lacks = ", ".join(f"`{key}`" for key in common if key not in lines)
    differs = ", ".join(
        f"`{key}: {lines[key].default}`"
        for key, option in common.items()
        if key in lines and lines[key].default != _written(as_yaml(option.default))
    )
    text = [registry.summary(name).replace("``", "")]
    text += [f"Other defaults of shared options: {differs}."] if differs else []
    text += [f"It has no {lacks}."] if lacks else []
    return " ".join(text) + "\n" + (f"\n{_table(own)}" if own else "")
