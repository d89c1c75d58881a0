"""FarmHash's 64-bit fingerprint of texts, in numpy: what TensorFlow calls ``to_hash_bucket_fast``.

Texts of one length are hashed together, all numbers being unsigned and taken modulo 2^64. After Google's
FarmHash (``farmhashna::Hash64``), https://github.com/google/farmhash, which is fixed for all time.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import polars as pl

Words: TypeAlias = np.ndarray | np.uint64  # (texts,) uint64
At: TypeAlias = Callable[
    ..., Words
]  # of each text the number in the eight bytes, or so many, from a place on

_K0, _K1, _K2 = map(np.uint64, (0xC3A5C85C97CB3127, 0xB492B66FBE98F273, 0x9AE16A3B2F90404F))


def buckets_of(texts: pl.Series, buckets: int) -> np.ndarray:
    """The bucket of each text, ``(texts,)`` int64 from 0 on.

    Args:
        texts: Texts without nulls.
        buckets: How many there are.

    Example:
        >>> buckets_of(pl.Series(["u0042", ""]), 50).tolist()
        [45, 13]
    """
    return (fingerprints(texts) % np.uint64(buckets)).astype(np.int64)


def fingerprints(texts: pl.Series) -> np.ndarray:
    """The fingerprint of each text's UTF-8, ``(texts,)`` uint64."""
    lengths = texts.str.len_bytes().to_numpy().astype(np.int64)
    starts = np.cumsum(lengths) - lengths
    joined = "".join(texts.to_list()).encode() + bytes(8)
    found = np.zeros(len(lengths), np.uint64)
    by_length = np.argsort(lengths, kind="stable")
    different, first = np.unique(lengths[by_length], return_index=True)
    for length, rows in zip(different.tolist(), np.split(by_length, first)[1:], strict=True):
        found[rows] = _hash(joined, starts[rows], length)
    return found


def _hash(joined: bytes, starts: np.ndarray, length: int) -> Words:
    """Fingerprints of the texts of one length that start at these bytes."""

    def at(place: int, size: int = 8) -> Words:
        # A number at every byte, whether aligned or not: the first byte is its least.
        numbers = np.ndarray(len(joined) - size + 1, f"<u{size}", joined, strides=(1,))
        return numbers[starts + place].astype(np.uint64)

    if length > 64:
        return _long(at, length)
    if length > 32:
        return _up_to_64(at, length)
    if length > 16:
        return _up_to_32(at, length)
    return _short(at, length)


def _short(at: At, length: int) -> Words:
    multiplier = _multiplier(length)
    if length >= 8:
        a, b = at(0) + _K2, at(length - 8)
        return _mixed(_rotated(b, 37) * multiplier + a, (_rotated(a, 25) + b) * multiplier, multiplier)
    if length >= 4:
        return _mixed(np.uint64(length) + (at(0, 4) << np.uint64(3)), at(length - 4, 4), multiplier)
    if length:
        first, middle, last = (at(place, 1) for place in (0, length // 2, length - 1))
        y, z = first + (middle << np.uint64(8)), np.uint64(length) + (last << np.uint64(2))
        return _shifted(y * _K2 ^ z * _K0) * _K2
    return at(0, 1) * np.uint64(0) + _K2


def _up_to_32(at: At, length: int) -> Words:
    return _mixed(*_both_ends(at, length), _multiplier(length))


def _both_ends(at: At, length: int) -> tuple[Words, Words]:
    """The first and the last sixteen bytes as two words."""
    a, b = at(0) * (_K1 if length <= 32 else _K2), at(8)
    c, d = at(length - 8) * _multiplier(length), at(length - 16) * _K2
    return _rotated(a + b, 43) + _rotated(c, 30) + d, a + _rotated(b + _K2, 18) + c


def _up_to_64(at: At, length: int) -> Words:
    multiplier = _multiplier(length)
    y, z = _both_ends(at, length)
    z = _mixed(y, z, multiplier)
    a, e, f = at(0) * _K2, at(16) * multiplier, at(24)
    g, h = (y + at(length - 32)) * multiplier, (z + at(length - 24)) * multiplier
    return _mixed(_rotated(e + f, 43) + _rotated(g, 30) + h, e + _rotated(f + a, 18) + g, multiplier)


def _long(at: At, length: int) -> Words:
    """More than 64 bytes: blocks of 64 in turn, and the last 64 once more."""
    zeros = at(0) * np.uint64(0)
    seeds = zeros + np.uint64(81)
    x, y = seeds * _K2 + at(0), seeds * _K1 + np.uint64(113)
    z = _shifted(y * _K2 + np.uint64(113)) * _K2
    state = (x, y, z, (zeros, zeros), (zeros, zeros))
    behind = np.uint64((length - 1) % 64)
    for start in range(0, length - 1 - int(behind), 64):
        state = _block(at, start, state, _K1, np.uint64(1))
    x, y, z, v, w = state
    multiplier = _K1 + ((z & np.uint64(0xFF)) << np.uint64(1))
    w = (w[0] + behind, w[1])
    v = (v[0] + w[0], v[1])
    w = (w[0] + v[0], w[1])
    x, y, z, v, w = _block(at, length - 64, (x, y, z, v, w), multiplier, np.uint64(9))
    return _mixed(
        _mixed(v[0], w[0], multiplier) + _shifted(y) * _K0 + z,
        _mixed(v[1], w[1], multiplier) + x,
        multiplier,
    )


def _block(at: At, start: int, state: tuple, multiplier: Words, times: Words) -> tuple:
    """What 64 bytes make of the state; `times` is 9 for the last of them."""
    x, y, z, v, w = state
    x = _rotated(x + y + v[0] + at(start + 8), 37) * multiplier
    y = _rotated(y + v[1] + at(start + 48), 42) * multiplier
    x = x ^ w[1] * times
    y = y + v[0] * times + at(start + 40)
    z = _rotated(z + w[0], 33) * multiplier
    v = _half_block(at, start, v[1] * multiplier, x + w[0])
    w = _half_block(at, start + 32, z + w[1], y + at(start + 16))
    return z, y, x, v, w


def _half_block(at: At, start: int, a: Words, b: Words) -> tuple[Words, Words]:
    first, second, third, last = (at(start + place) for place in (0, 8, 16, 24))
    a = a + first
    b = _rotated(b + a + last, 21)
    c = a
    a = a + second + third
    return a + last, b + _rotated(a, 44) + c


def _multiplier(length: int) -> np.uint64:
    return np.uint64((int(_K2) + 2 * length) % 2**64)


def _mixed(u: Words, v: Words, multiplier: Words) -> Words:
    return _shifted((v ^ _shifted((u ^ v) * multiplier)) * multiplier) * multiplier


def _shifted(x: Words) -> Words:
    return x ^ (x >> np.uint64(47))


def _rotated(x: Words, bits: int) -> Words:
    """Rotated to the right."""
    return (x >> np.uint64(bits)) | (x << np.uint64(64 - bits))
