"""Passes that leave out negatives: which rows, how many, and what they weigh."""

import dataclasses

import numpy as np
import pytest

from fuxi_mtl.dataset import NegativeSample, random_batch, training_batches
from fuxi_mtl.dataset.splits import Split
from fuxi_mtl.tasks import Task, parse_task

CHAIN = [parse_task("ctr", "click"), parse_task("cvr", "buy | click"), parse_task("ctcvr", "click & buy")]
EVERY = 10  # one row in ten is clicked


def split_of(rows: int, weighted: bool = False) -> Split:
    """Row i has id i and, if weighted, weight 2; every tenth row is clicked, every thirtieth bought."""
    ids = np.arange(rows, dtype=np.int32)[:, None]
    click, buy = np.arange(rows) % EVERY == 0, np.arange(rows) % (3 * EVERY) == 0
    events = np.stack([click, buy], axis=1).astype(np.float32)
    weight = np.full(rows, 2, np.float32) if weighted else None
    return Split("train", ids, ids.astype(np.float32), events, weight, ("click", "buy"), None)


def passes(split, sample, epochs=1, **given):
    feed = training_batches(split, CHAIN, 64, epochs=epochs, sample=sample, **given)
    return list(feed.as_numpy_iterator())


def rows_in(batches):
    return np.concatenate([inputs["ids"][:, 0] for inputs, *_ in batches])


@pytest.mark.parametrize("given", [{}, {"shuffle": False}, {"window_bytes": 64 * 4 * 20}])
def test_a_pass_has_every_click_and_a_share_of_the_others_drawn_anew(given):
    split = split_of(1000)
    sample = NegativeSample(split, CHAIN, 0.4, reweighted=True, seed=3)
    assert (sample.rows, sample.negatives, sample.kept) == (460, 900, 360)
    batches = passes(split, sample, epochs=2, seed=3, **given)
    assert len(batches) == 16
    first, second = rows_in(batches[:8]), rows_in(batches[8:])
    for rows in (first, second):
        assert len(np.unique(rows)) == len(rows) == 460
        assert set(rows[rows % EVERY == 0]) == set(range(0, 1000, EVERY))
    common = np.intersect1d(first, second)
    assert 0.3 < (common % EVERY != 0).sum() / 360 < 0.5  # two draws of 40 % share 40 %
    for inputs, labels, weights in batches:
        rows = inputs["ids"][:, 0]
        np.testing.assert_array_equal(labels["ctr"], rows % EVERY == 0)
        np.testing.assert_allclose(weights, np.where(rows % EVERY == 0, 1, 2.5))
    assert (rows_in(passes(split, sample, epochs=2, seed=3, **given)) == [*first, *second]).all()
    other = NegativeSample(split, CHAIN, 0.4, reweighted=True, seed=4)
    assert set(rows_in(passes(split, other))) != set(first)


def test_reweighted_rows_weigh_as_much_as_all_rows():
    split = split_of(1000, weighted=True)
    sample = NegativeSample(split, CHAIN, 0.1234, reweighted=True, seed=1)
    batches = passes(split, sample)
    weights = np.concatenate([weights for *_, weights in batches])
    assert weights.sum() == pytest.approx(2 * 1000, rel=1e-6)
    clicks = np.concatenate([labels["ctr"] for _, labels, _ in batches])
    assert (weights * clicks).sum() / weights.sum() == pytest.approx(1 / EVERY, rel=1e-6)


def test_plain_rows_keep_their_weights():
    split = split_of(300, weighted=True)
    batches = passes(split, NegativeSample(split, CHAIN, 0.5, reweighted=False, seed=1))
    assert {weight for *_, weights in batches for weight in weights} == {2}


def test_rows_without_any_label_are_no_negatives_and_regressions_do_not_count():
    split = split_of(40)
    events = split.events.copy()
    events[1] = np.nan
    split = dataclasses.replace(split, events=events)
    tasks = [*CHAIN, Task("price", ("buy",), kind="regression")]
    sample = NegativeSample(split, tasks, 1e-9, reweighted=True, seed=1)
    assert (sample.negatives, sample.kept) == (35, 1)
    assert set(range(0, 40, EVERY)) | {1} < set(sample.of_pass(0).tolist())


def test_without_negatives_nothing_is_left_out():
    split = split_of(40)
    split = dataclasses.replace(split, events=np.ones_like(split.events))
    sample = NegativeSample(split, CHAIN, 0.1, reweighted=True, seed=1)
    assert sample.of_pass(0).tolist() == list(range(40))
    assert sample.draw(np.random.default_rng(0), 7).size == 7


def test_a_batch_outside_of_any_pass_is_made_up_as_one_inside():
    split = split_of(1000)
    sample = NegativeSample(split, CHAIN, 0.1, reweighted=True, seed=1)
    shares = []
    for key in range(40):
        inputs, labels, weights = random_batch(split, CHAIN, 50, (key,), sample)
        rows = inputs["ids"][:, 0]
        assert len(np.unique(rows)) == 50
        np.testing.assert_allclose(weights, np.where(rows % EVERY == 0, 1, 10))
        shares.append(labels["ctr"].mean())
    assert np.mean(shares) == pytest.approx(100 / 190, abs=0.03)
    assert len(random_batch(split, CHAIN, 10_000, (1,), sample)[2]) == 190
