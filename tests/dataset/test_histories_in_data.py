"""Histories in data: which end is cut, how long ago events lie, and what is said of them."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import tensorflow as tf

from fuxi_mtl.dataset.bags import Bag
from fuxi_mtl.dataset.errors import BadEntryError, DataError
from fuxi_mtl.dataset.histories import check_histories
from fuxi_mtl.dataset.rules import LOG2_BOUNDARIES, Buckets
from fuxi_mtl.features import Feature, FeatureMap
from fuxi_mtl.options.blocks import SequenceGroup
from fuxi_mtl.options.blocks.sequences import TIME_IDS
from fuxi_mtl.serving.bags import layout

EVENTS = [[1, 2, 3, 4, 5], [6, 7], []]


def laid_out(bag):
    lengths = np.array([len(each) for each in EVENTS])
    rows, places, kept = bag.layout(lengths)
    found = np.zeros((3, bag.max_len), int)
    found[rows, places] = np.concatenate(EVENTS).astype(int)[kept]
    index, also = layout(tf.ragged.constant(EVENTS, tf.int64), bag)
    graph = tf.scatter_nd(index, tf.constant(np.concatenate(EVENTS).astype(np.int64)[also.numpy()]), [3, 3])
    assert graph.numpy().tolist() == found.tolist()
    return found.tolist()


@pytest.mark.parametrize(
    ("padding", "order", "expected"),
    [
        ("post", None, [[1, 2, 3], [6, 7, 0], [0, 0, 0]]),
        ("pre", None, [[3, 4, 5], [0, 6, 7], [0, 0, 0]]),
        ("post", "oldest_first", [[3, 4, 5], [6, 7, 0], [0, 0, 0]]),
        ("pre", "oldest_first", [[3, 4, 5], [0, 6, 7], [0, 0, 0]]),
        ("post", "newest_first", [[1, 2, 3], [6, 7, 0], [0, 0, 0]]),
        ("pre", "newest_first", [[1, 2, 3], [0, 6, 7], [0, 0, 0]]),
    ],
)
def test_an_order_keeps_the_newest_events_whichever_side_is_filled(padding, order, expected):
    assert laid_out(Bag(3, padding=padding, order=order)) == expected


def test_times_are_in_buckets_of_their_logarithm():
    gaps = pl.Series("gap", [0, 1, 59, 60, 3600, 86400, 2592000, 2**40])
    ids = Buckets(LOG2_BOUNDARIES, double=True, least=0.0).apply(gaps)
    assert (ids - 1).tolist() == [0, 1, 5, 5, 11, 16, 21, 31]


def test_gaps_of_time_have_as_many_ids_as_a_group_looks_for():
    assert len(LOG2_BOUNDARIES) + 3 == TIME_IDS


def test_a_time_in_the_future_is_an_error_unless_it_is_to_be_none():
    gaps = pl.Series("gap", [5.0, -3.0])
    with pytest.raises(BadEntryError, match="clip_negative_gaps takes less as 0") as caught:
        Buckets(LOG2_BOUNDARIES, double=True, least=0.0).apply(gaps)
    assert caught.value.index == 1
    assert Buckets(LOG2_BOUNDARIES, double=True).apply(gaps).tolist() == [3, 1]


FEATURES = FeatureMap.of(
    "shop",
    [
        Feature("item", "categorical", vocab_size=9),
        Feature("items", "sequence", vocab_size=9, max_len=3, share_embedding="item"),
        Feature("gap", "sequence", vocab_size=34, max_len=3),
    ],
)
GROUPS = {"clicks": SequenceGroup(columns={"items": "item"}, time="gap")}


@pytest.fixture
def told(caplog):
    def said(ids, features=FEATURES, groups=GROUPS, **rows):
        caplog.clear()
        check_histories(np.array(ids, np.int32), features, groups, **rows)
        return caplog.messages

    return said


def test_a_target_in_its_own_history_at_the_request_is_counted(told):
    leaking = [4, 2, 4, 0, 7, 1, 0]
    before = [4, 2, 4, 0, 7, 2, 0]  # a second earlier
    unknown = [8, 8, 0, 0, 1, 0, 0]  # OOV is no token
    (said,) = told([leaking, before, unknown, leaking])
    assert "in 2 of 4 training rows (50.0%) the target is an event of its own history" in said
    assert told([before, unknown]) == []


def test_columns_of_the_same_events_are_as_long_as_each_other(told):
    with pytest.raises(
        DataError, match="training row 1, counted from 0, 'items' has 2 events and 'gap' has 1"
    ):
        told([[1, 2, 3, 0, 5, 5, 0], [1, 2, 3, 0, 5, 0, 0]])


def test_columns_that_are_cut_are_counted_and_no_target_is_sought_in_them(told):
    groups = {"clicks": replace(GROUPS["clicks"], on_ragged="cut")}
    leaking, uneven = [4, 2, 4, 0, 7, 1, 0], [4, 4, 2, 0, 1, 0, 0]
    cut, leaks = told([leaking, uneven, uneven], FEATURES, groups)
    assert "in 2 of 3 training rows the columns differ in length and are cut to the shortest" in cut
    assert "in 1 of 3 training rows" in leaks


def test_of_other_rows_than_those_of_training_only_the_lengths_are_looked_at(told):
    leaking, uneven = [4, 2, 4, 0, 7, 1, 0], [4, 4, 2, 0, 1, 0, 0]
    assert told([leaking], rows="test") == []
    with pytest.raises(
        DataError, match="validation row 1, counted from 0, 'items' has 2 events and 'gap' has 1"
    ):
        told([leaking, uneven], rows="validation")
    groups = {"clicks": replace(GROUPS["clicks"], on_ragged="cut")}
    (cut,) = told([leaking, uneven], FEATURES, groups, rows="test")
    assert "in 1 of 2 test rows the columns differ in length" in cut


def test_it_is_said_when_the_newest_events_may_be_cut(told):
    full = [[1, 2, 3, 4, 5, 5, 5], [1, 2, 0, 0, 5, 0, 0]]
    (said,) = told(full)
    assert "1 of 2 training rows fill all 3 places of 'items'" in said
    ordered = FeatureMap.of("shop", [*FEATURES.features[:1], *_ordered()])
    assert told(full, ordered) == []


def _ordered():
    kept = {"max_len": 3, "order": "oldest_first"}
    return [
        Feature("items", "sequence", vocab_size=9, share_embedding="item", **kept),
        Feature("gap", "sequence", vocab_size=34, **kept),
    ]
