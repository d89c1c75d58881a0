"""One pass over the training rows: vocabularies, boundaries, scales and lengths."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from fuxi_mtl.dataset import raw
from fuxi_mtl.dataset.bags import Bag, errors_by_row
from fuxi_mtl.dataset.coding import SeenTexts
from fuxi_mtl.dataset.encoding import OOV_TOKEN, PAD_TOKEN, Column, Encoder
from fuxi_mtl.dataset.errors import errors_of
from fuxi_mtl.dataset.inputs import Input
from fuxi_mtl.dataset.pretrained import read_pretrained, write_pretrained
from fuxi_mtl.dataset.rules import (
    Buckets,
    HashBuckets,
    Ids,
    Number,
    Rule,
    Vocabulary,
    check_logarithms,
    filled,
)
from fuxi_mtl.dataset.sources import Block
from fuxi_mtl.dataset.statistics import Numbers, Sample, SpooledSample, TokenCounts, frequent_tokens
from fuxi_mtl.features import FeatureMap, assign_columns

_LIST = r"^\s*(?:\[.*\]|\(.*\)|\{.*\})\s*$"
_UNSEEN = "[\u200b-\u200d\u2060\ufeff]"  # joiners, and marks of the order of bytes
_MARK = "\ufeff"
_ZEROS = r"^\+?0*([0-9]+)$"
_COUNTED = ("longest", "printed", "zeros", "outside", "first_outside", "rows")  # plain values of an observer


@dataclass
class Observer:
    """What one input shows of itself in the training rows."""

    input: Input
    longest: int = 0
    printed: str = ""
    zeros: int = 0
    outside: int = 0
    first_outside: int | None = None
    rows: int = 0
    counts: TokenCounts = field(default_factory=TokenCounts)
    numbers: Numbers = field(default_factory=Numbers)
    sample: Sample = field(default_factory=Sample)

    def observe(self, frame: pl.DataFrame) -> None:
        """Takes in a block of training rows.

        Raises:
            BadEntryError: An entry cannot be read.
        """
        if self.input.name not in frame.columns:
            return  # Its texts are counted where they are coded.
        entries = frame[self.input.name]
        self.rows += len(entries)
        with errors_of(self.input.name, entries.dtype):
            if self.input.bag is None:
                self._observe(entries)
                return
            if not self.printed and entries.dtype == pl.String and isinstance(self.input.rule, Vocabulary):
                self.printed = _printed(entries)
            if not self.input.bag.zeros:
                self.zeros += int(raw.is_zero(raw.lists(entries, self.input.bag.splitter)[0]).sum())
            members, lengths = self.input.bag.members(entries)
            self.longest = max(self.longest, int(lengths.max(initial=0)))
            with errors_by_row(self.input.name, np.repeat(np.arange(len(lengths)), lengths)):
                self._observe(members)

    @classmethod
    def of_file(cls, given: Input, sample: Path) -> "Observer":
        """One that sees a file of several, for :meth:`add`.

        Args:
            given: The input.
            sample: A file for its numbers.
        """
        return cls(given, numbers=Numbers.of_blocks(), sample=SpooledSample(path=sample))

    def add(self, other: "Observer") -> None:
        """Takes in what :meth:`of_file` has seen of the rows behind these: the same as by :meth:`observe`."""
        self.longest = max(self.longest, other.longest)
        self.printed = self.printed or other.printed
        self.zeros += other.zeros
        self.outside += other.outside
        self.first_outside = other.first_outside if self.first_outside is None else self.first_outside
        self.rows += other.rows
        self.counts.add(other.counts)
        self.numbers.add(other.numbers)
        if isinstance(other.sample, SpooledSample):
            self.sample.add(other.sample)

    def state(self) -> dict[str, Any]:
        """What a savepoint keeps."""
        return {
            **{name: getattr(self, name) for name in _COUNTED},
            "counts": self.counts.state(),
            "numbers": asdict(self.numbers),
            "sample": asdict(self.sample),
        }

    @classmethod
    def restored(cls, given: Input, state: Mapping[str, Any]) -> "Observer":
        """The observer of a savepoint."""
        counts, numbers = TokenCounts.restored(state["counts"]), Numbers.restored(state["numbers"])
        seen = {name: state[name] for name in _COUNTED}
        return cls(given, **seen, counts=counts, numbers=numbers, sample=Sample(**state["sample"]))

    def _observe(self, entries: pl.Series) -> None:
        rule = self.input.rule
        if isinstance(rule, Vocabulary):
            tokens, rows = rule.distinct(entries)
            counts = pl.Series(np.bincount(rows, minlength=len(tokens)))
            self.counts.whole += int(raw.written_whole(entries).sum())
            # An empty member of a bag is padding, no token.
            real = tokens != raw.MISSING if self.input.bag else tokens.is_not_null()
            self.counts.observe(tokens.filter(real), counts.filter(real))
        elif isinstance(rule, Number | Buckets) and not self.input.bag:
            self._observe_numbers(entries, rule)
        elif isinstance(rule, Number | Buckets):
            self.numbers.infinite += int(np.count_nonzero(raw.infinite(raw.doubles(entries))))
        elif isinstance(rule, Ids):
            self._observe_ids(entries, rule)

    def _observe_ids(self, entries: pl.Series, rule: Ids) -> None:
        ids = raw.integers(entries)
        outside = ids.filter((ids < 0) | (ids >= rule.count))
        self.outside += len(outside)
        if self.first_outside is None and len(outside):
            self.first_outside = int(outside[0])

    def _observe_numbers(self, entries: pl.Series, rule: Number | Buckets) -> None:
        x = raw.doubles(entries)
        infinite = raw.infinite(x)
        self.numbers.infinite += int(np.count_nonzero(infinite))
        x[infinite] = np.nan
        x = filled(x, rule.fill_na)
        if isinstance(rule, Number) and rule.log:
            check_logarithms(entries, x)
        self.numbers.observe(x, rounded=isinstance(rule, Number) and bool(self.input.options.normalizer))
        if isinstance(rule, Buckets):
            self.sample.observe(x)


def fit(
    inputs: Sequence[Input],
    blocks: Iterable[Block],
    dataset_id: str,
    labels: tuple[str, ...],
    folder: Path,
    warnings: list[str],
    each: Callable = map,
    seen: Mapping[str, SeenTexts] | None = None,
    observers: Sequence[Observer] | None = None,
) -> Encoder:
    """Fits every input on the training rows and writes pretrained rows into ``folder``.

    Args:
        inputs: The inputs and the rules that they need.
        blocks: The training rows.
        dataset_id: For the feature map.
        labels: For the feature map.
        folder: Where the encoded dataset is being built.
        warnings: Gets what the user should know.
        each: ``map``, or that of an executor.
        seen: The texts of columns that the blocks lack, complete when the blocks are.
        observers: What has been seen of rows before these, an observer for each input; they go on.

    Raises:
        DataError: An entry cannot be read, with its file and row.
    """
    observers = observed(inputs, blocks, each, seen, observers)
    warnings += [told for observer in observers for told in (*_notes(observer), *said_of(observer))]
    tokens = {
        each_input.name: _tokens(each_input, observers, warnings)
        for each_input in inputs
        if _owns(each_input)
    }
    vectors = {each.name: read_pretrained(each) for each in inputs if each.options.pretrained_emb}
    trained = {name: len(tokens[name]) for name in vectors}
    for each_input in inputs:
        if each_input.name in vectors and each_input.options.pretrained_keys == "all":
            tokens[each_input.name] += vectors[each_input.name].unseen(tokens[each_input.name])
    columns = tuple(Column(o.input.name, fitted_rule(o), _bag(o)) for o in observers)
    sizes = {column.name: _vocab_size(column.rule, tokens) for column in columns}
    features = [
        o.input.feature(sizes[column.name], column.bag.max_len if column.bag else 1)
        for o, column in zip(observers, columns, strict=True)
    ]
    features = [
        write_pretrained(f, vectors[f.name], tokens[f.name], trained[f.name], folder)
        if f.name in vectors
        else f
        for f in features
    ]
    feature_map = FeatureMap(dataset_id, assign_columns(features), labels, folder=str(folder))
    return Encoder(feature_map, columns, tokens)


def observed(
    inputs: Sequence[Input],
    blocks: Iterable[Block],
    each: Callable = map,
    seen: Mapping[str, SeenTexts] | None = None,
    observers: Sequence[Observer] | None = None,
) -> Sequence[Observer]:
    """What each input shows of itself in the training rows; the arguments are those of :func:`fit`.

    Raises:
        DataError: An entry cannot be read, with its file and row.
    """
    if observers is None:
        observers = [Observer(each_input) for each_input in inputs]
    for block in blocks:
        # Going through the results raises what a worker raised.
        with block.errors():
            for _ in each(Observer.observe, observers, repeat(block.frame)):
                pass
    for observer in observers:
        if seen and observer.input.name in seen:
            observer.counts.add(seen[observer.input.name].observed())
    return observers


def _printed(texts: pl.Series) -> str:
    """One of the lists that a program printed, ``[1, 2]``, if most are so; brackets separate nothing."""
    there = texts.filter(texts.str.strip_chars() != raw.MISSING)
    printed = there.filter(there.str.contains(_LIST))
    return str(printed[0]) if 2 * len(printed) > len(there) else ""


def _notes(observer: Observer) -> Iterator[str]:
    """What to say of ids that are written with a point, and of zeros that are padding."""
    whole, rule = observer.counts.whole, observer.input.rule
    if observer.zeros:
        yield (
            f"feature {observer.input.name!r}: {observer.zeros} members of the training rows are 0, which is "
            "padding in a sequence of ids and takes no place. Count ids from 1 if 0 is one of them."
        )
    if observer.outside and isinstance(rule, Ids):
        yield (
            f"feature {observer.input.name!r}: {observer.outside} ids of the training rows, the first "
            f"{observer.first_outside}, lie outside 0 to {rule.count - 1} (vocab_size {rule.count}): all of "
            "them have the row of unknown ids (OOV)."
        )
    if observer.printed:
        yield (
            f"feature {observer.input.name!r}: its lists are printed, such as {observer.printed!r}: "
            "brackets, quotes and blanks become part of its tokens. Write 1^2^3, or store lists in a "
            "parquet file."
        )
    if whole and isinstance(rule, Vocabulary) and rule.dtype not in ("int", "text"):
        yield (
            f"feature {observer.input.name!r}: {whole} entries of the training rows are whole numbers with a "
            "point, such as 3.0, and are read as 3. Set dtype: text if they differ."
        )


def said_of(observer: Observer) -> Iterator[str]:
    """What to say of numbers and bags that tell little or nothing."""
    name, numbers, rule = observer.input.name, observer.numbers, observer.input.rule
    bag = observer.input.bag
    if bag and isinstance(rule, Vocabulary) and observer.longest == 1:
        there = observer.counts.total()
        if there.height:
            yield (
                f"feature {name!r}: no row of the training data has more than one token, such as "
                f"{there['token'].min()!r}. Is {bag.splitter!r} the splitter?"
            )
    if numbers.infinite and (bag or numbers.double.count):
        yield f"feature {name!r}: {numbers.infinite} infinite entries of training rows are read as missing."
    if bag or not observer.rows or not isinstance(rule, Number | Buckets):
        return
    if not numbers.double.count:
        yield f"feature {name!r} is missing or infinite in all {observer.rows} training rows."
        return
    if numbers.constant:
        rows = f"all {numbers.double.count} training rows that have it"
        yield f"feature {name!r} is {numbers.double.least:.10g} in {rows}: it says nothing."
    normalizer = observer.input.options.normalizer
    if isinstance(rule, Number) and normalizer and not rule.log and not numbers.constant:
        left, distinct = numbers.scaled(normalizer)
        if 2 * left <= distinct:
            yield (
                f"feature {name!r}: normalizer: {normalizer} leaves {left} of {distinct} distinct numbers, "
                f"from {numbers.double.least:.6g} to {numbers.double.most:.6g}. Are the outer ones mistakes?"
            )
    if isinstance(rule, Number) and (rule.log or not normalizer):
        left, distinct = numbers.distinct()
        if left < distinct:
            yield (
                f"feature {name!r}: float32 tells {left} of {distinct} distinct numbers apart, near "
                f"{numbers.double.mean:.10g}. normalizer: StandardScaler subtracts before it rounds."
            )


def _owns(each: Input) -> bool:
    return isinstance(each.rule, Vocabulary) and each.rule.owner == each.name


def _tokens(owner: Input, observers: Sequence[Observer], warnings: list[str]) -> tuple[str, ...]:
    """The vocabulary of a feature, counted over all columns that share it."""
    counts = [o.counts for o in observers if getattr(o.input.rule, "owner", None) == owner.name]
    tokens = frequent_tokens(counts, owner.min_count, (PAD_TOKEN, OOV_TOKEN))
    if len(tokens) == 1 and not owner.options.pretrained_emb:
        only = repr(tokens[0]) if tokens[0] else "that of missing entries"
        warnings.append(
            f"feature {owner.name!r}: its vocabulary has one token, {only} (min_categr_count "
            f"{owner.min_count}): it says next to nothing."
        )
    reserved = sum(each.of((PAD_TOKEN, OOV_TOKEN)) for each in counts)
    if reserved:
        warnings.append(
            f"feature {owner.name!r}: {reserved} entries of the training rows are {PAD_TOKEN} or "
            f"{OOV_TOKEN}, which stand for padding and unknown ones: they are read as unknown."
        )
    warnings += looking_alike(owner, tokens)
    if not tokens:
        warnings.append(
            f"feature {owner.name!r}: no token is seen {owner.min_count} times or more in the training "
            "rows, so every value is OOV. Lower its min_categr_count or leave the feature out."
        )
    return tokens


def looking_alike(owner: Input, tokens: Sequence[str]) -> Iterator[str]:
    """Tokens that a person would take for one: files are written by hand, and by programs that drop zeros."""
    if not isinstance(owner.rule, Vocabulary) or owner.rule.dtype == "text":
        return  # they differ because the stanza says so
    written = pl.Series(tokens, dtype=pl.String)
    marked = written.filter(written.str.starts_with(_MARK))
    if len(marked):
        yield (
            f"feature {owner.name!r}: {len(marked)} tokens begin with the mark that opens a file, such as "
            f"{marked[0]!r}: files were joined with their marks. Take \\ufeff out."
        )
    bare = _bare(written)
    more = len(written) - bare.n_unique()
    if more:
        first = written.filter(bare.is_duplicated() & (written != bare))[0]
        yield (
            f"feature {owner.name!r}: {more} tokens differ from others only in spaces around them, zeros in "
            f"front or the way in which Unicode writes them, such as {first!r}: each has an id of its own. "
            "Write them alike if they are one; dtype: text says that they are not."
        )


def _bare(tokens: pl.Series) -> pl.Series:
    """Tokens without what a person does not see."""
    if (tokens.str.len_bytes() != tokens.str.len_chars()).any():
        tokens = tokens.str.normalize("NFKC").str.replace_all(_UNSEEN, "")
    bare = tokens.str.strip_chars()
    if (bare.str.starts_with("0") | bare.str.starts_with("+")).any():
        bare = bare.str.replace(_ZEROS, "$1")
    return bare


def fitted_rule(observer: Observer) -> Rule:
    """The rule with what was seen."""
    rule, options, numbers = observer.input.rule, observer.input.options, observer.numbers
    if isinstance(rule, Buckets) and rule.boundaries:
        return rule
    if isinstance(rule, Buckets):
        buckets = options.num_buckets or 0
        boundaries = observer.sample.boundaries(buckets)
        if numbers.rounding and not observer.input.single:
            exact = observer.sample.boundaries(buckets, np.float64)
            if len(exact) > len(boundaries):
                return replace(rule, boundaries=exact, double=True)
        return replace(rule, boundaries=boundaries)
    if not isinstance(rule, Number) or rule.log or not options.normalizer or not numbers.double.count:
        return rule
    offset, scale = numbers.double.scaling(options.normalizer)
    if numbers.needs_double(offset) and not observer.input.single:
        return replace(rule, offset=offset, scale=scale, double=True)
    offset, scale = numbers.single.scaling(options.normalizer)
    return replace(rule, offset=float(np.float32(offset)), scale=float(np.float32(scale)) or 1.0)


def _bag(observer: Observer) -> Bag | None:
    bag = observer.input.bag
    if bag is None or bag.max_len:
        return bag
    return replace(bag, max_len=max(observer.longest, 1))


def _vocab_size(rule: Rule, tokens: dict[str, tuple[str, ...]]) -> int:
    if isinstance(rule, Vocabulary):
        return len(tokens[rule.owner]) + 2
    if isinstance(rule, HashBuckets):
        return rule.buckets + 2
    if isinstance(rule, Buckets):
        return len(rule.boundaries) + 3
    return rule.unknown + 1 if isinstance(rule, Ids) else 0
