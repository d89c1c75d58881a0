"""Pretrained embedding rows, matched to the vocabulary."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from fuxi_mtl.dataset.errors import DataError
from fuxi_mtl.dataset.inputs import Input
from fuxi_mtl.dataset.rules import Vocabulary
from fuxi_mtl.dataset.writing import ArrayFile
from fuxi_mtl.features import PAD, Feature

SEED, DEVIATION = 2026, 0.01


def write_pretrained(
    feature: Feature, given: Input, tokens: dict[str, tuple[str, ...]], folder: Path
) -> Feature:
    """Writes the feature's first rows as .npy, if it has any, and returns the feature with their file.

    Tokens without a vector get small seeded random values, padding gets zeros.

    Raises:
        DataError: The file cannot be used for this feature.
    """
    options, rule = given.options, given.rule
    if not options.pretrained_emb:
        return feature
    if not isinstance(rule, Vocabulary) or rule.owner != feature.name:
        raise DataError(
            f"feature {feature.name!r}: pretrained_emb needs a vocabulary of its own, not hash buckets, ids "
            "or another feature's table."
        )
    keys, values = _read(feature.name, Path(options.pretrained_emb))
    if values.ndim != 2 or len(keys) != len(values):
        raise DataError(
            f"feature {feature.name!r}: {options.pretrained_emb} has {len(keys)} keys and values of shape "
            f"{values.shape}; one row for each key is needed."
        )
    for name in ("pretrain_dim", "embedding_dim"):
        said = getattr(options, name)
        if said is not None and said != values.shape[1]:
            raise DataError(
                f"feature {feature.name!r}: {name} is {said}, but the rows in {options.pretrained_emb} have "
                f"{values.shape[1]} numbers."
            )
    shape = (feature.vocab_size, values.shape[1])
    rows = np.random.default_rng(SEED).normal(0, DEVIATION, shape).astype(np.float32)
    ids = rule.apply(keys, pl.Enum(tokens[feature.name]))
    known = ids < feature.vocab_size - 1
    rows[ids[known]] = values[known]
    rows[PAD] = 0
    name = f"{feature.name}.pretrained.npy"
    file = ArrayFile(folder / name, np.float32, rows.shape[1])
    file.append(rows)
    file.close()
    return replace(feature, pretrained=name, embedding_dim=values.shape[1])


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
    return pl.Series("key", texts, pl.String), np.asarray(value, np.float32)
