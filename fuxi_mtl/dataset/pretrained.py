"""Pretrained embedding rows, matched to the vocabulary."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

import numpy as np
import polars as pl

from fuxi_mtl.dataset import raw
from fuxi_mtl.dataset.encoding import OOV_TOKEN, PAD_TOKEN
from fuxi_mtl.dataset.errors import DataError
from fuxi_mtl.dataset.inputs import Input
from fuxi_mtl.dataset.rules import Vocabulary
from fuxi_mtl.dataset.token_ids import TokenIds
from fuxi_mtl.dataset.writing import ArrayFile
from fuxi_mtl.features import PAD, Feature
from fuxi_mtl.files.remote import is_url

logger = logging.getLogger(__name__)

SEED, DEVIATION = 2026, 0.01


@dataclass(frozen=True)
class Vectors:
    """Pretrained rows of one feature.

    Attributes:
        file: Where they come from.
        tokens: The token of each row, as the feature's rule writes it.
        rows: ``(keys, width)`` float32.
    """

    file: Path
    tokens: pl.Series
    rows: np.ndarray

    def unseen(self, known: Sequence[str]) -> tuple[str, ...]:
        """The tokens that are not among the known ones, in the order of the file."""
        known = [*known, raw.MISSING, PAD_TOKEN, OOV_TOKEN]
        new = self.tokens.filter(~self.tokens.is_in(known))
        return tuple(new.unique(maintain_order=True).to_list())


def read_pretrained(given: Input) -> Vectors:
    """The pretrained rows of a feature that has some.

    Raises:
        DataError: The file cannot be used for this feature.
    """
    options, rule = given.options, given.rule
    if not isinstance(rule, Vocabulary) or rule.owner != given.name:
        raise DataError(
            f"feature {given.name!r}: pretrained_emb needs a vocabulary of its own, not hash buckets, ids "
            "or another feature's table."
        )
    if is_url(str(options.pretrained_emb)):
        raise DataError(
            f"feature {given.name!r}: pretrained_emb is {options.pretrained_emb}, a URL: download the file, "
            "and name it as it lies on this machine."
        )
    file = Path(str(options.pretrained_emb)).expanduser()
    keys, values = _read(given.name, file)
    if values.ndim != 2 or not values.shape[1] or len(keys) != len(values):
        raise DataError(
            f"feature {given.name!r}: {file} has {len(keys)} keys and values of shape "
            f"{values.shape}; one row for each key is needed."
        )
    for name in ("pretrain_dim", "embedding_dim"):
        said = getattr(options, name)
        if said is not None and said != values.shape[1]:
            raise DataError(
                f"feature {given.name!r}: {name} is {said}, but the rows in {file} have "
                f"{values.shape[1]} numbers."
            )
    bad = ~np.isfinite(values).all(axis=1)
    if bad.any():
        raise DataError(
            f"feature {given.name!r}: {file} has {bad.sum()} rows with NaN or infinite numbers, first for "
            f"the key {keys[int(np.argmax(bad))]!r}. Leave such keys out."
        )
    tokens = rule.tokens(keys)
    _check_repeated(given.name, file, tokens, values)
    return Vectors(file, tokens, values)


def _check_repeated(feature: str, file: Path, tokens: pl.Series, values: np.ndarray) -> None:
    """No token has two vectors.

    Raises:
        DataError: One has.
    """
    repeated = np.flatnonzero((tokens.is_duplicated() & (tokens != raw.MISSING)).to_numpy())
    first: dict[str, int] = {}
    for row in repeated:
        before = first.setdefault(tokens[int(row)], int(row))
        if not np.array_equal(values[before], values[row]):
            raise DataError(
                f"feature {feature!r}: {file} has two vectors for {tokens[int(row)]!r}, in rows {before + 1} "
                f"and {row + 1}. Leave one of them out."
            )


def write_pretrained(
    feature: Feature, vectors: Vectors, tokens: Sequence[str], trained: int, folder: Path
) -> Feature:
    """Writes the feature's first rows as .npy, and returns the feature with their file.

    Tokens without a vector get small seeded random values, padding gets zeros.

    Args:
        feature: Owns the rows.
        vectors: Its vectors.
        tokens: Its vocabulary; the first ``trained`` of them are those of the training rows.
        trained: How many these are.
        folder: Where the file goes.

    Raises:
        DataError: No token of the training rows has a vector.
    """
    width = vectors.rows.shape[1]
    rows = np.random.default_rng(SEED).normal(0, DEVIATION, (feature.vocab_size, width)).astype(np.float32)
    ids = TokenIds(tokens)(vectors.tokens)
    known = ids < feature.vocab_size - 1
    matched = len(np.unique(ids[known & (ids <= trained)]))
    if not matched:
        raise DataError(
            f"feature {feature.name!r}: no key of {vectors.file} is one of its {trained} tokens. Keys: "
            f"{', '.join(map(repr, vectors.tokens[:3]))}; tokens: {', '.join(map(repr, tokens[:3]))}."
        )
    logger.info(
        "feature %s: matched %d of %d tokens of the training rows, of %d keys in %s; %d more keys have ids.",
        feature.name,
        matched,
        trained,
        len(vectors.rows),
        vectors.file,
        len(tokens) - trained,
    )
    rows[ids[known]] = vectors.rows[known]
    rows[PAD] = 0
    # Any name of a column makes a name of a file.
    name = f"{quote(feature.name, safe='')[:200]}.pretrained.npy"
    file = ArrayFile(folder / name, np.float32, width)
    file.append(rows)
    file.close()
    return replace(feature, pretrained=name, embedding_dim=width)


def _read(feature: str, path: Path) -> tuple[pl.Series, np.ndarray]:
    """The arrays ``key`` and ``value`` of an npz or h5 file."""
    if not path.is_file():
        raise DataError(f"feature {feature!r}: pretrained_emb {path} is no file, seen from {Path.cwd()}.")
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                key, value = archive["key"], archive["value"]
        else:
            import h5py  # Only h5 files need it.

            with h5py.File(path, "r") as file:
                key, value = file["key"][:], file["value"][:]
    except (OSError, KeyError, ValueError) as error:
        raise DataError(
            f"feature {feature!r}: pretrained_emb {path} cannot be read: {error}. It should be an npz or h5 "
            "file with the arrays 'key' (numbers or text) and 'value' (keys, width)."
        ) from error
    texts = [each.decode() if isinstance(each, bytes) else str(each) for each in key.tolist()]
    keys = pl.Series("key", texts, pl.String)
    if key.dtype.kind == "f" and key.ndim == 1:
        keys = keys.set(pl.Series(np.isnan(key)), raw.MISSING)
    return keys, np.asarray(value, np.float32)
