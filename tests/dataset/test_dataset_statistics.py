import numpy as np
import polars as pl

from fuxi_mtl.dataset import statistics
from fuxi_mtl.dataset.statistics import Moments, Sample, TokenCounts, frequent_tokens


def test_moments_of_blocks_are_those_of_the_whole():
    x = np.random.default_rng(0).normal(1000, 1, 999).astype(np.float32)
    x[::10] = np.nan
    moments = Moments()
    for block in np.array_split(x, 7):
        moments.observe(block)
    whole = x[~np.isnan(x)].astype(np.float64)
    np.testing.assert_allclose([moments.mean, moments.deviation], [whole.mean(), whole.std()], rtol=1e-12)
    assert (moments.count, moments.least, moments.most) == (len(whole), whole.min(), whole.max())


def test_nothing_seen_has_no_spread():
    moments = Moments()
    moments.observe(np.array([np.nan]))
    assert (moments.count, moments.deviation) == (0, 0.0)


def test_counts_are_compacted_without_losing_any(monkeypatch):
    monkeypatch.setattr(statistics, "COMPACT_ROWS", 5)
    counts = TokenCounts()
    for _ in range(10):
        counts.observe(pl.Series(["a", "b", "c", "a"]), pl.Series([1, 1, 1, 1]))
        assert counts.pending <= 8
    assert dict(counts.total().iter_rows()) == {"a": 20, "b": 10, "c": 10}


def test_tokens_of_several_columns_are_counted_together():
    first, second = TokenCounts(), TokenCounts()
    first.observe(pl.Series(["a", "b"]), pl.Series([1, 1]))
    second.observe(pl.Series(["b", "c", "pad"]), pl.Series([1, 1, 9]))
    assert frequent_tokens([first, second, TokenCounts()], 1, ("pad",)) == ("b", "a", "c")
    assert frequent_tokens([first, second], 2, ("pad",)) == ("b",)


def test_tokens_that_stand_once_are_not_counted_anew():
    counts = TokenCounts()
    counts.observe(pl.Series(["a", "b"]), pl.Series([1, 2]), once=True)
    assert counts.total() is counts.parts[0]
    counts.observe(pl.Series(["b"]), pl.Series([3]), once=True)  # but twice in all
    assert dict(counts.total().iter_rows()) == {"a": 1, "b": 5}
    assert counts.total() is counts.total()


def test_a_sample_that_grows_too_large_keeps_every_second_number(monkeypatch):
    monkeypatch.setattr(statistics, "SAMPLE_ROWS", 8)
    for size in (1, 3, 5, 8, 100):
        sample = Sample()
        for block in np.array_split(np.arange(100, dtype=np.float32), -(-100 // size)):
            sample.observe(block)
            assert sample.kept <= 8
        kept = np.concatenate(sample.parts)
        assert kept.tolist() == list(range(0, 100, sample.step)), size


def test_boundaries_are_numbers_of_the_sample():
    sample = Sample()
    sample.observe(np.float32([0.1, 0.2, 0.3, 0.4, np.nan]))
    assert sample.boundaries(2) == (float(np.float32(0.3)),)
    assert Sample().boundaries(4) == ()
