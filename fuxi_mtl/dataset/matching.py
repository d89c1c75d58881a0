"""Ids of one encoding found again in another: by feature and token, never by number."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from fuxi_mtl.dataset.encoding import Encoder
from fuxi_mtl.dataset.rules import Buckets, HashBuckets, Ids, Rule, Vocabulary
from fuxi_mtl.features import PAD, Feature

NEW = -1  # the row of a token that the other encoding does not know


@dataclass(frozen=True)
class Match:
    """The ids of one feature here, and what they are there.

    Attributes:
        here: The feature whose ids they are: itself, or the one whose table it shares.
        there: The same there.
        ids: For each id here that there, ``(vocab_size,)``; :data:`NEW` where there is none. Padding is
            padding, and OOV is OOV.
    """

    here: Feature
    there: Feature
    ids: np.ndarray

    @property
    def known(self) -> int:
        """How many ids are found again, padding and OOV not counted."""
        return int(np.count_nonzero(self.ids[1:-1] != NEW))

    @property
    def new(self) -> int:
        """How many are not."""
        return max(len(self.ids) - 2, 0) - self.known

    @cached_property
    def rows(self) -> dict[str, np.ndarray]:
        """For each row of the feature's table that there, :data:`NEW` where there is none.

        The key is the part of a table of composed ids, ``remainders`` or ``quotients``, else ``""``.

        Raises:
            ValueError: Ids are composed, and the vector of one is not composed of the same rows there.
        """
        divisor = self.here.num_remainder_buckets
        if divisor is None and self.there.num_remainder_buckets is None:
            return {"": self.ids}
        if divisor != self.there.num_remainder_buckets:
            raise ValueError(
                f"its ids have {divisor or 'no'} remainders here and "
                f"{self.there.num_remainder_buckets or 'none'} there"
            )
        return _composed_rows(self, int(divisor or 1))


def _composed_rows(match: Match, divisor: int) -> dict[str, np.ndarray]:
    remainders, quotients = match.here.parts
    rows = np.full(quotients, NEW, np.int64)
    rows[PAD] = PAD
    here = np.flatnonzero(match.ids > PAD)
    numbers, old = here - 1, match.ids[here] - 1
    if (numbers % divisor != old % divisor).any():
        raise ValueError("a vector is composed by the number of its id, and tokens have other ids there")
    # Ids of one quotient here must be of one quotient there.
    rows[1 + numbers // divisor] = 1 + old // divisor
    if (rows[1 + numbers // divisor] != 1 + old // divisor).any():
        raise ValueError("a vector is composed by the number of its id, and tokens have other ids there")
    return {"remainders": np.arange(remainders), "quotients": rows}


def match_ids(here: Encoder, there: Encoder, name: str) -> Match:
    """The ids of a feature, as another encoding has them.

    Args:
        here: Whose ids.
        there: The other encoding.
        name: The feature.

    Raises:
        ValueError: They have no ids in common; the message says why, without the feature's name.
    """
    feature = here.feature_map.owner(here.feature_map[name])
    if name not in {each.name for each in there.feature_map.features}:
        raise ValueError("there is no such feature there")
    owner = there.feature_map.owner(there.feature_map[name])
    if not owner.has_ids:
        raise ValueError("it has no ids there")
    new, old = _rule(here, feature.name), _rule(there, owner.name)
    if isinstance(new, Vocabulary) and isinstance(old, Vocabulary):
        ids = _by_token(here.tokens[feature.name], there.tokens[owner.name])
        if here.seen is None:  # one that grew may have dropped all that it had
            _check_known(ids, here.tokens[feature.name], there.tokens[owner.name])
    elif isinstance(new, HashBuckets) and isinstance(old, HashBuckets):
        if (new.buckets, new.dtype) != (old.buckets, old.dtype):
            raise ValueError(
                f"its tokens are hashed to {new.buckets} ids here and to {old.buckets} there"
                if new.buckets != old.buckets
                else f"its tokens are read as {new.dtype} here and as {old.dtype} there"
            )
        ids = np.arange(feature.vocab_size)
    elif isinstance(new, Ids) and isinstance(old, Ids):
        ids = np.full(feature.vocab_size, NEW)
        common = min(new.unknown, old.unknown)
        ids[:common], ids[-1] = np.arange(common), old.unknown
    elif isinstance(new, Buckets) and isinstance(old, Buckets):
        if new.boundaries != old.boundaries:
            raise ValueError("its numbers are cut into other buckets there")
        ids = np.arange(feature.vocab_size)
    else:
        raise ValueError(f"its ids are {_kind(new)} here and {_kind(old)} there")
    return Match(feature, owner, ids)


def scaled_otherwise(here: Encoder, there: Encoder) -> list[str]:
    """Numbers and labels of both encodings that are scaled otherwise there.

    A network that was trained on the one reads the other in another unit.
    """
    rules = {column.name: column.rule for column in there.columns}
    found = [
        column.name
        for column in here.columns
        if column.name in rules and _scaling(column.rule) != _scaling(rules[column.name])
    ]
    labels = [name for name in here.feature_map.labels if name in there.feature_map.labels]
    return found + [name for name in labels if _unit(here, name) != _unit(there, name)]


def _unit(encoder: Encoder, label: str) -> tuple:
    """What a number of a label means."""
    features = encoder.feature_map
    return features.label_units.get(label), features.label_classes.get(label)


def _scaling(rule: Rule) -> tuple:
    return tuple(getattr(rule, name, None) for name in ("offset", "scale", "log"))


def _rule(encoder: Encoder, name: str) -> Rule:
    return next(column.rule for column in encoder.columns if column.name == name)


def _kind(rule: Rule) -> str:
    return {"Vocabulary": "a vocabulary", "HashBuckets": "hashed", "Ids": "in the column"}.get(
        type(rule).__name__, "quantile buckets"
    )


def _by_token(here: tuple[str, ...], there: tuple[str, ...]) -> np.ndarray:
    """The ids there of all ids here; a vocabulary that grew keeps the ids that it had."""
    known = np.arange(1, len(there) + 1)
    if here[: len(there)] == there:
        found = np.concatenate([known, np.full(len(here) - len(there), NEW)])
    else:
        wanted = pl.DataFrame({"token": pl.Series(here, dtype=pl.String)})
        ids = pl.DataFrame({"token": pl.Series(there, dtype=pl.String), "id": known})
        joined = wanted.join(ids, on="token", how="left", maintain_order="left")
        found = joined["id"].fill_null(NEW).to_numpy()
    return np.concatenate([[PAD], found, [len(there) + 1]])


def _check_known(ids: np.ndarray, here: tuple[str, ...], there: tuple[str, ...]) -> None:
    if here and there and (ids[1:-1] == NEW).all():
        raise ValueError(
            f"none of its {len(here):,} tokens is known there, such as {here[0]!r}; there are "
            f"{len(there):,}, such as {there[0]!r}"
        )
