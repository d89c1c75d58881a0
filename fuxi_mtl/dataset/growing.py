"""Vocabularies that grow: new tokens get new ids, and no token changes its own.

An encoding of yesterday is extended with what was counted in the rows of today::

    ids        0        1 ... n       n + 1 ...        last
    tokens     padding  as before     new ones         OOV

OOV stays the last id, so it moves when there are more of them; whoever holds rows by id finds their new
places by token, see :mod:`fuxi_mtl.dataset.matching`. A token that is dropped leaves its id free, and the
next new token takes it. From the first day on that an encoding grows it knows when each token was last seen,
and how often those were that are too rare.
"""

import datetime
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from fuxi_mtl.dataset.coding import SeenTexts
from fuxi_mtl.dataset.encoding import FREE_TOKEN, OOV_TOKEN, PAD_TOKEN, Encoder, free_ids, free_token
from fuxi_mtl.dataset.errors import DataError
from fuxi_mtl.dataset.fitting import Observer, fitted_rule, looking_alike, observed, said_of
from fuxi_mtl.dataset.inputs import Input
from fuxi_mtl.dataset.matching import match_ids
from fuxi_mtl.dataset.pretrained import DEVIATION, SEED, read_pretrained
from fuxi_mtl.dataset.rules import Buckets, HashBuckets, Ids, Number, Vocabulary
from fuxi_mtl.dataset.sources import Block
from fuxi_mtl.dataset.statistics import total_of
from fuxi_mtl.dataset.windows import as_date
from fuxi_mtl.features import Feature, FeatureMap

logger = logging.getLogger(__name__)

# A row for each token that was seen: ``count`` is that of a token which is too rare, null for the others.
SCHEMA = {"owner": pl.String, "token": pl.String, "count": pl.Int64, "last_seen": pl.String}
_RESERVED = (PAD_TOKEN, OOV_TOKEN)


@dataclass(frozen=True)
class Growth:
    """How an encoding grows.

    Attributes:
        day: The day of the new rows, a date where tokens expire.
        count_over: ``new``: a token must reach its ``min_categr_count`` in the new rows; ``lineage``: in all
            rows that are counted, see :func:`with_counts`.
        expire_days: Days after which a token that was not seen is dropped; None keeps all.
        statistics: ``keep``, or ``update`` for numbers that are scaled by the new rows.
    """

    day: str
    count_over: str = "new"
    expire_days: int | None = None
    statistics: str = "keep"


@dataclass(frozen=True)
class Grown:
    """What became of one vocabulary.

    Attributes:
        tokens: How many it has now.
        new: How many of them are new.
        dropped: How many it had that were dropped.
    """

    tokens: int
    new: int
    dropped: int


def extend(
    encoder: Encoder, counts: Mapping[str, pl.DataFrame], least: Mapping[str, int], growth: Growth
) -> tuple[Encoder, dict[str, Grown]]:
    """The encoder with the tokens of new rows; rules of numbers stay.

    Args:
        encoder: The encoder of the day before.
        counts: ``token`` and ``count`` in the new rows, each token once, by the owner of the vocabulary.
        least: How often a token must be seen, by owner.
        growth: How it grows.

    Returns:
        The extended encoder, and what became of each vocabulary.

    Raises:
        DataError: Tokens should expire, and days are no dates.
    """
    tokens, seen, grown = {}, [], {}
    for owner, known in encoder.tokens.items():
        feature = encoder.feature_map[owner]
        found = counts.get(owner, pl.DataFrame(schema={"token": pl.String, "count": pl.Int64}))
        real = ~pl.col("token").is_in(list(_RESERVED)) & ~pl.col("token").str.contains(
            _whole(FREE_TOKEN.pattern)
        )
        past = _past(encoder, owner, known, growth.day)
        merged = _merged(past, found.filter(real), growth)
        expired = _expired(merged, growth)
        dropped = set(expired.filter(pl.col("count").is_null())["token"].to_list())
        merged = merged.join(expired.select("token"), on="token", how="anti")
        enough = (pl.col("count") >= least[owner]) & (pl.col("today") > 0)
        new = merged.filter(enough).sort("count", "token", descending=[True, False])["token"].to_list()
        tokens[owner] = _with_new(known, dropped, new, feature.num_remainder_buckets or 1)
        kept = merged.with_columns(
            count=pl.when(pl.col("token").is_in(new)).then(None).otherwise(pl.col("count")),
            owner=pl.lit(owner),
        )
        if growth.count_over == "new":  # the counts of rare tokens are of one day, and nobody asks for them
            kept = kept.filter(pl.col("count").is_null())
        seen.append(kept.select(list(SCHEMA)))
        size = len(tokens[owner]) - len(free_ids(tokens[owner]))
        grown[owner] = Grown(size, len(new), len(dropped))
    features = _with_sizes(encoder, tokens)
    return (
        replace(
            encoder,
            feature_map=features,
            tokens=tokens,
            seen=pl.concat(seen).sort("owner", "token") if seen else pl.DataFrame(schema=SCHEMA),
        ),
        grown,
    )


def needs_no_growth(encoder: Encoder) -> list[str]:
    """A sentence for each feature whose ids are given by a rule that no new token changes."""
    what = {
        HashBuckets: "hashes its tokens: new ones have an id already",
        Ids: "holds ids already: vocab_size says how many there can be",
        Buckets: "is cut into buckets, which stay as they are",
    }
    return [
        f"feature {column.name!r} {what[type(column.rule)]}."
        for column in encoder.columns
        if type(column.rule) in what
    ]


def _whole(pattern: str) -> str:
    return f"^{pattern}$"


def _past(encoder: Encoder, owner: str, known: tuple[str, ...], day: str) -> pl.DataFrame:
    """What was seen before; of tokens from before the first day of growth as if it were seen on that."""
    if encoder.seen is not None:
        past = encoder.seen.filter(pl.col("owner") == owner).drop("owner")
    else:
        past = pl.DataFrame(schema={name: kind for name, kind in SCHEMA.items() if name != "owner"})
    free = set(free_ids(known).tolist())
    tokens = pl.DataFrame(
        {"token": [t for n, t in enumerate(known, 1) if n not in free]}, {"token": pl.String}
    )
    missing = tokens.join(past, on="token", how="anti")
    first = missing.with_columns(count=pl.lit(None, pl.Int64), last_seen=pl.lit(day))
    return pl.concat([past, first.select(past.columns)])


def _merged(past: pl.DataFrame, found: pl.DataFrame, growth: Growth) -> pl.DataFrame:
    """Past and present: ``count`` is null for tokens that have an id, ``today`` how often they came today."""
    both = past.join(
        found.select("token", today="count", known_today=pl.lit(True)), on="token", how="full", coalesce=True
    )
    today = pl.col("today").fill_null(0)
    has_id = pl.col("last_seen").is_not_null() & pl.col("count").is_null()
    before = pl.col("count").fill_null(0) if growth.count_over == "lineage" else pl.lit(0)
    return both.select(
        "token",
        count=pl.when(has_id).then(None).otherwise(before + today).cast(pl.Int64),
        last_seen=pl.when(today > 0).then(pl.lit(growth.day)).otherwise(pl.col("last_seen")),
        today=today,
    )


def _expired(merged: pl.DataFrame, growth: Growth) -> pl.DataFrame:
    """The tokens that were not seen for so long that they are dropped."""
    if growth.expire_days is None:
        return merged.clear()
    days = {day: _date(day) for day in merged["last_seen"].unique()}
    now = _date(growth.day)
    old = [day for day, date in days.items() if (now - date).days >= growth.expire_days]
    return merged.filter(pl.col("last_seen").is_in(old))


def _date(day: str) -> datetime.date:
    date = as_date(day)
    if date is None:
        raise DataError(
            f"expire_days counts days, and {day!r} is no date such as 2026-11-08. Name the days of updates "
            "by their dates, or leave expire_days out."
        )
    return date


def _with_new(known: tuple[str, ...], dropped: set[str], new: list[str], divisor: int) -> tuple[str, ...]:
    """The vocabulary: free ids first go to the new tokens, then there are more ids.

    Composed vectors are those of an id, and OOV's must stay what it is: the number of ids grows by multiples
    of the divisor, so that OOV keeps its remainder.
    """
    tokens = list(known)
    if dropped:
        tokens = [free_token(n) if token in dropped else token for n, token in enumerate(tokens, 1)]
    free = free_ids(tokens)[: len(new)].tolist()
    for number, token in zip(free, new, strict=False):
        tokens[number - 1] = token
    tokens += new[len(free) :]
    while (len(tokens) - len(known)) % divisor:
        tokens.append(free_token(len(tokens) + 1))
    return tuple(tokens)


def _with_sizes(encoder: Encoder, tokens: Mapping[str, tuple[str, ...]]) -> FeatureMap:
    rules = {column.name: column.rule for column in encoder.columns}

    def sized(feature: Feature) -> Feature:
        rule = rules[feature.name]
        if not isinstance(rule, Vocabulary):
            return feature
        return replace(feature, vocab_size=len(tokens[rule.owner]) + 2)

    return replace(encoder.feature_map, features=tuple(map(sized, encoder.feature_map.features)))


def grow(
    encoder: Encoder,
    inputs: Sequence[Input],
    blocks: Iterable[Block],
    growth: Growth,
    folder: Path,
    warnings: list[str],
    each: Callable = map,
    seen: Mapping[str, SeenTexts] | None = None,
    observers: Sequence[Observer] | None = None,
) -> tuple[Encoder, dict[str, Grown]]:
    """Extends an encoder with training rows; see :func:`extend` and, for the arguments, ``fitting.fit``.

    Raises:
        DataError: An entry cannot be read, or days are no dates.
    """
    observers = observed(inputs, blocks, each, seen, observers)
    warnings += [told for observer in observers for told in said_of(observer)]
    owners = {o.input.name: o.input for o in observers if o.input.name in encoder.tokens}
    counts = counts_of(observers, owners)
    least = {owner: given.min_count for owner, given in owners.items()}
    extended, grown = extend(encoder, counts, least, growth)
    for owner, known in extended.tokens.items():
        warnings += looking_alike(owners[owner], known)
    for sentence in needs_no_growth(encoder):
        logger.info("%s", sentence)
    if growth.statistics == "update":
        rules = {o.input.name: fitted_rule(o) for o in observers if isinstance(o.input.rule, Number)}
        columns = tuple(replace(c, rule=rules.get(c.name, c.rule)) for c in extended.columns)
        extended = replace(extended, columns=columns)
    features = replace(extended.feature_map, folder=str(folder))
    extended = replace(extended, feature_map=features)
    for given in inputs:
        if features[given.name].pretrained:
            _write_pretrained(given, encoder, extended, folder)
    return extended, grown


def counts_of(observers: Sequence[Observer], owners: Iterable[str]) -> dict[str, pl.DataFrame]:
    """How often each token was seen, over all columns that share its vocabulary, by owner."""
    found = {}
    for owner in owners:
        counts = [o.counts for o in observers if getattr(o.input.rule, "owner", None) == owner]
        found[owner] = total_of(counts)
    return found


def with_counts(encoder: Encoder, counts: Mapping[str, pl.DataFrame], day: str) -> Encoder:
    """An encoder that never grew, with the counts of the tokens that its own rows have and it has no id for.

    Args:
        encoder: The encoder.
        counts: ``token`` and ``count`` in its training rows, by owner.
        day: The day on which such tokens count as seen.
    """
    seen = [
        found.filter(~pl.col("token").is_in(list(encoder.tokens[owner]))).select(
            "token", "count", owner=pl.lit(owner), last_seen=pl.lit(day)
        )
        for owner, found in counts.items()
    ]
    frames = [frame.select(list(SCHEMA)) for frame in seen]
    return replace(encoder, seen=pl.concat(frames) if frames else pl.DataFrame(schema=SCHEMA))


def _write_pretrained(given: Input, old: Encoder, new: Encoder, folder: Path) -> None:
    """The first rows of a pretrained feature, those of new tokens out of its file where that has some."""
    feature = new.feature_map[given.name]
    before = np.load(Path(old.feature_map.folder) / str(feature.pretrained), mmap_mode="r")
    ids = match_ids(new, old, given.name).ids
    random = np.random.default_rng((SEED, len(ids)))
    rows = random.normal(0, DEVIATION, (len(ids), before.shape[1])).astype(np.float32)
    known = ids >= 0
    if Path(str(given.options.pretrained_emb)).expanduser().is_file():
        vectors = read_pretrained(given)
        found = new.ids_of(Vocabulary(given.name), vectors.tokens)
        rows[found] = vectors.rows
    rows[known] = before[ids[known]]
    np.save(folder / str(feature.pretrained), rows)
