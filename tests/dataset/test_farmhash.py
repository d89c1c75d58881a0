"""Hashes of texts without TensorFlow: the same as TensorFlow's."""

import numpy as np
import polars as pl
import pytest
import tensorflow as tf

from fuxi_mtl.dataset.farmhash import buckets_of, fingerprints

LENGTHS = [*range(140), 191, 192, 193, 1000]  # every way through the function, and its borders


@pytest.mark.parametrize("buckets", [7, 2_000_000_000, 2**62])
def test_texts_of_every_length_have_tensorflows_bucket(buckets):
    random = np.random.default_rng(0)
    texts = ["".join(map(chr, random.integers(32, 1000, length))) for length in LENGTHS * 2]
    texts += ["", "é", "商品" * 30, "a\x00b", "same", "same"]
    expected = tf.strings.to_hash_bucket_fast(texts, buckets).numpy()
    np.testing.assert_array_equal(buckets_of(pl.Series(texts), buckets), expected)


def test_no_texts_have_no_bucket():
    found = fingerprints(pl.Series([], dtype=pl.String))
    assert found.shape == (0,)
    assert found.dtype == np.uint64
