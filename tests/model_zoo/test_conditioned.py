"""Embeddings of APG's models: what the network sees, and what its weights depend on."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny

from fuxi_mtl.features import Feature, FeatureMap, assign_columns
from fuxi_mtl.layers import FeatureEmbedding
from fuxi_mtl.options.blocks import Generation
from fuxi_mtl.registry import import_zoo

import_zoo()
from fuxi_mtl_zoo._conditioned import ConditionedEmbedding  # noqa: E402


def options(**changes) -> Generation:
    return Generation(**{"rank_k": 3, "overparam_p": 4, "hypernet_hidden_units": (7,), **changes})


def conditioned(names, **changes):
    keras.utils.set_random_seed(5)
    return ConditionedEmbedding(
        tiny.FEATURES, options(condition_features=names, **changes), embedding_dim=4, penalty=1e-6
    )


BATCH = tiny.tensors(tiny.inputs(6))
WIDTHS = {"user": 4, "item": 3, "history": 3, "tags": 4, "price": 1, "vector": 2}


def alone(name, embedding):
    """The columns of a feature, found by changing what it reads."""
    first, last = embedding.column_ranges[name]
    return embedding(BATCH).numpy()[:, first:last]


def test_an_embedding_says_where_its_features_are():
    embedding = FeatureEmbedding(tiny.FEATURES, 4)
    assert list(embedding.column_ranges) == embedding.order
    assert {name: last - first for name, (first, last) in embedding.column_ranges.items()} == WIDTHS
    changed = {
        **BATCH,
        "ids": tf.concat([BATCH["ids"][:, :1], BATCH["ids"][:, 1:2] % 8 + 1, BATCH["ids"][:, 2:]], 1),
    }
    first, last = embedding.column_ranges["item"]
    moved = (embedding(BATCH).numpy() != embedding(changed).numpy()).any(axis=0)
    assert list(np.flatnonzero(moved)) == list(range(first, last))


def test_an_embedding_of_some_features_has_their_rows_only():
    some = FeatureEmbedding(tiny.FEATURES, 4, names=["tags", "price"])
    assert some(BATCH).shape == (6, 5)
    assert some.order == ["tags", "price"]
    assert [tuple(v.shape) for v in some.weights] == [(tiny.FEATURES["tags"].vocab_size, 4)]


@pytest.mark.parametrize("names", [["user"], ["price", "user"], ["history", "vector"]])
def test_conditions_are_the_columns_of_their_features_in_the_order_of_the_stanza(names):
    embedding = conditioned(names)
    x, z = embedding.split(embedding(BATCH))
    np.testing.assert_array_equal(x, embedding.shared(BATCH))
    np.testing.assert_array_equal(z, np.concatenate([alone(n, embedding.shared) for n in names], axis=1))


def test_conditions_that_are_averaged_stay_apart():
    embedding = conditioned(["price", "user"], condition_mix="mean")
    assert [part.shape[1] for part in embedding.split(embedding(BATCH))] == [sum(WIDTHS.values()), 1, 4]


def test_a_condition_may_be_kept_from_the_network():
    embedding = conditioned(["user", "tags"], condition_participate_bottom=False)
    x, z = embedding.split(embedding(BATCH))
    rest = [name for name in embedding.shared.order if name not in ("user", "tags")]
    np.testing.assert_array_equal(x, np.concatenate([alone(n, embedding.shared) for n in rest], axis=1))
    assert z.shape == (6, 8)


def test_a_condition_may_have_embeddings_of_its_own():
    embedding = conditioned(["user"], new_condition_emb=True)
    x, z = embedding.split(embedding(BATCH))
    np.testing.assert_array_equal(x, embedding.shared(BATCH))
    np.testing.assert_array_equal(z, embedding.own(BATCH))
    assert np.abs(z - alone("user", embedding.shared)).max() > 1e-3


def test_self_wise_conditions_are_no_columns():
    embedding = ConditionedEmbedding(tiny.FEATURES, options(), embedding_dim=4)
    assert len(embedding.split(embedding(BATCH))) == 1


def test_a_condition_that_is_no_feature_is_named_with_those_that_are():
    message = (
        "condition_features is 'usr'. Did you mean 'user'. Choices: user, item, history, tags, price, vec"
    )
    with pytest.raises(ValueError, match=message):
        conditioned(["item", "usr"])


def test_a_network_that_would_see_nothing_is_refused():
    one = FeatureMap("one", assign_columns([Feature("tab", "categorical", vocab_size=4)]))
    made = options(condition_features=["tab"], condition_participate_bottom=False)
    with pytest.raises(ValueError, match="False leaves the network nothing to see: tab are all features"):
        ConditionedEmbedding(one, made, embedding_dim=4)


def test_a_rank_above_what_the_network_sees_is_refused():
    message = "apg.rank_k is 18, which is more than the numbers that the network sees, 17"
    with pytest.raises(ValueError, match=message):
        ConditionedEmbedding(tiny.FEATURES, Generation(rank_k=18), embedding_dim=4)
