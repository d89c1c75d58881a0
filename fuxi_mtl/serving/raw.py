"""Entries as tokens, integers and numbers, inside a graph."""

import tensorflow as tf

from fuxi_mtl.dataset.raw import MAX_EXACT_FLOAT, MISSING, MISSING_INTEGER, ZERO
from fuxi_mtl.options.tokens import WHOLE


def tokens(entries: tf.Tensor, dtype: str, fill_na: str | None) -> tf.Tensor:
    """Entries as text, ``fill_na`` or ``""`` where missing; ``3.0`` is ``3`` unless dtype is ``text``."""
    if dtype == "int":
        whole = integers(entries)
        entries = tf.where(whole == MISSING_INTEGER, MISSING, tf.strings.as_string(whole))
    elif dtype != "text":
        entries = tf.strings.regex_replace(entries, WHOLE, r"\1\2")
    return entries if fill_na is None else tf.where(entries == MISSING, fill_na, entries)


def integers(entries: tf.Tensor) -> tf.Tensor:
    """Entries as int64; a text may be written as ``3.0``."""
    if entries.dtype != tf.string:
        return tf.cast(entries, tf.int64)
    text = tf.strings.regex_replace(tf.strings.strip(entries), WHOLE, r"\1\2")
    x = tf.strings.to_number(tf.where(text == MISSING, "nan", text), tf.float64)
    missing, large = tf.math.is_nan(x), tf.abs(x) >= MAX_EXACT_FLOAT
    tf.debugging.Assert(
        tf.reduce_all((x == tf.round(x)) | missing), ["An entry of an integer column is no integer:", text]
    )
    # Only the text has all digits of a large integer.
    exact = tf.strings.to_number(tf.where(large, text, "0"), tf.int64)
    small = tf.cast(tf.where(missing | large, tf.constant(0, tf.float64), x), tf.int64)
    return tf.where(missing, tf.constant(MISSING_INTEGER, tf.int64), tf.where(large, exact, small))


def numbers(entries: tf.Tensor, fill_na: float | None = None, double: bool = False) -> tf.Tensor:
    """Entries as float32, or float64 if ``double``; ``fill_na`` or NaN where missing or too large."""
    if entries.dtype == tf.string:
        text = tf.strings.strip(entries)
        # By way of float64, as the training data were read: direct parsing may round another way.
        entries = tf.strings.to_number(tf.where(text == MISSING, "nan", text), tf.float64)
    single = tf.cast(entries, tf.float32)
    x = tf.cast(entries, tf.float64) if double else single
    filling = tf.constant(float("nan") if fill_na is None else fill_na, x.dtype)
    return tf.where(tf.math.is_finite(single), x, filling)


def is_missing(entries: tf.Tensor) -> tf.Tensor:
    """Which entries are missing."""
    if entries.dtype == tf.string:
        return entries == MISSING
    return tf.math.is_nan(entries) if entries.dtype.is_floating else entries == MISSING_INTEGER


def is_zero(entries: tf.Tensor) -> tf.Tensor:
    """Which entries are the id 0."""
    return tf.strings.regex_full_match(entries, ZERO) if entries.dtype == tf.string else entries == 0
