"""One pass over the training rows: vocabularies, boundaries, scales and lengths."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat
from pathlib import Path

import numpy as np
import polars as pl

from fuxi_mtl.dataset import raw
from fuxi_mtl.dataset.bags import Bag, errors_by_row
from fuxi_mtl.dataset.coding import SeenTexts
from fuxi_mtl.dataset.encoding import OOV_TOKEN, PAD_TOKEN, Column, Encoder
from fuxi_mtl.dataset.errors import BadEntryError, errors_of
from fuxi_mtl.dataset.inputs import Input
from fuxi_mtl.dataset.pretrained import read_pretrained, write_pretrained
from fuxi_mtl.dataset.rules import Buckets, HashBuckets, Ids, Number, Rule, Vocabulary
from fuxi_mtl.dataset.sources import Block
from fuxi_mtl.dataset.statistics import Moments, Sample, TokenCounts, frequent_tokens
from fuxi_mtl.features import FeatureMap, assign_columns


@dataclass
class Observer:
    """What one input shows of itself in the training rows."""

    input: Input
    longest: int = 0
    zeros: int = 0
    counts: TokenCounts = field(default_factory=TokenCounts)
    moments: Moments = field(default_factory=Moments)
    sample: Sample = field(default_factory=Sample)

    def observe(self, frame: pl.DataFrame) -> None:
        """Takes in a block of training rows.

        Raises:
            BadEntryError: An entry cannot be read.
        """
        if self.input.name not in frame.columns:
            return  # Its texts are counted where they are coded.
        entries = frame[self.input.name]
        with errors_of(self.input.name, entries.dtype):
            if self.input.bag is None:
                self._observe(entries)
                return
            members, lengths = self.input.bag.members(entries)
            self.longest = max(self.longest, int(lengths.max(initial=0)))
            with errors_by_row(self.input.name, np.repeat(np.arange(len(lengths)), lengths)):
                self._observe(members)

    def _observe(self, entries: pl.Series) -> None:
        rule = self.input.rule
        if isinstance(rule, Vocabulary):
            tokens, rows = rule.distinct(entries)
            counts = pl.Series(np.bincount(rows, minlength=len(tokens)))
            self.counts.whole += int(raw.written_whole(entries).sum())
            # An empty member of a bag is padding, no token.
            real = tokens != raw.MISSING if self.input.bag else tokens.is_not_null()
            self.counts.observe(tokens.filter(real), counts.filter(real))
        elif isinstance(rule, Number) and self.input.options.normalizer:
            self.moments.observe(rule.filled(entries))
        elif isinstance(rule, Buckets):
            self.sample.observe(rule.filled(entries))
        elif isinstance(rule, Ids):
            ids = _checked_ids(entries, rule.count)
            self.zeros += int((ids == 0).sum() or 0)


def fit(
    inputs: Sequence[Input],
    blocks: Iterable[Block],
    dataset_id: str,
    labels: tuple[str, ...],
    folder: Path,
    warnings: list[str],
    each: Callable = map,
    seen: Mapping[str, SeenTexts] | None = None,
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

    Raises:
        DataError: An entry cannot be read, with its file and row.
    """
    observers = [Observer(each_input) for each_input in inputs]
    for block in blocks:
        # Going through the results raises what a worker raised.
        with block.errors():
            for _ in each(Observer.observe, observers, repeat(block.frame)):
                pass
    for observer in observers:
        if seen and observer.input.name in seen:
            observer.counts.add(seen[observer.input.name].observed())
    warnings += [told for observer in observers for told in _notes(observer)]
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
    columns = tuple(Column(o.input.name, _rule(o), _bag(o)) for o in observers)
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
    return Encoder(FeatureMap(dataset_id, assign_columns(features), labels, str(folder)), columns, tokens)


def _notes(observer: Observer) -> Iterator[str]:
    """What to say of ids that are written with a point, and of zeros that are padding."""
    whole, rule = observer.counts.whole, observer.input.rule
    if observer.zeros and observer.input.bag:
        yield (
            f"feature {observer.input.name!r}: {observer.zeros} members of the training rows are 0, which is "
            "padding in a sequence of ids. Count ids from 1 if 0 is one of them."
        )
    if whole and isinstance(rule, Vocabulary) and rule.dtype not in ("int", "text"):
        yield (
            f"feature {observer.input.name!r}: {whole} entries of the training rows are whole numbers with a "
            "point, such as 3.0, and are read as 3. Set dtype: text if they differ."
        )


def _owns(each: Input) -> bool:
    return isinstance(each.rule, Vocabulary) and each.rule.owner == each.name


def _tokens(owner: Input, observers: Sequence[Observer], warnings: list[str]) -> tuple[str, ...]:
    """The vocabulary of a feature, counted over all columns that share it."""
    counts = [o.counts for o in observers if getattr(o.input.rule, "owner", None) == owner.name]
    tokens = frequent_tokens(counts, owner.min_count, (PAD_TOKEN, OOV_TOKEN))
    if not tokens:
        warnings.append(
            f"feature {owner.name!r}: no token is seen {owner.min_count} times or more in the training "
            "rows, so every value is OOV. Lower its min_categr_count or leave the feature out."
        )
    return tokens


def _rule(observer: Observer) -> Rule:
    """The rule with what was seen."""
    rule, options = observer.input.rule, observer.input.options
    if isinstance(rule, Buckets):
        return replace(rule, boundaries=observer.sample.boundaries(options.num_buckets or 0))
    moments = observer.moments
    if isinstance(rule, Number) and moments.count:
        offset, scale = moments.mean, moments.deviation
        if options.normalizer == "MinMaxScaler":
            offset, scale = moments.least, moments.most - moments.least
        # A constant column becomes 0.
        return replace(rule, offset=float(np.float32(offset)), scale=float(np.float32(scale)) or 1.0)
    return rule


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


def _checked_ids(entries: pl.Series, vocab_size: int) -> pl.Series:
    ids = raw.integers(entries)
    bad = (ids < 0) | (ids >= vocab_size)
    if bad.any():
        index = int(bad.arg_true()[0])
        raise BadEntryError(
            entries.name, index, ids[index], f"an id from 0 to {vocab_size - 1} (vocab_size {vocab_size})"
        )
    return ids
