"""The contract between encoded data and network."""

import json

import pytest
import tiny

from fuxi_mtl.features import Feature, FeatureMap, assign_columns


def test_columns_are_placed_without_gap_or_overlap():
    ids = [c for f in tiny.FEATURES.features if f.has_ids for c in range(f.columns.start, f.columns.stop)]
    numbers = [
        c for f in tiny.FEATURES.features if not f.has_ids for c in range(f.columns.start, f.columns.stop)
    ]
    weights = [f.weight_start + i for f in tiny.FEATURES.features if f.weighted for i in range(f.max_len)]
    assert ids == list(range(tiny.FEATURES.id_columns)) == list(range(9))
    assert numbers + weights == list(range(tiny.FEATURES.numeric_columns)) == list(range(7))


def test_only_bags_with_weights_have_weight_columns():
    plain, weighted = assign_columns(
        [Feature("a", "sequence", max_len=2), Feature("b", "sequence", max_len=2, weighted=True)]
    )
    assert (plain.weight_start, weighted.weight_start) == (None, 0)


def test_weights_of_several_bags_lie_one_behind_the_other_and_behind_all_numbers():
    features = [
        Feature("a", "sequence", max_len=3, weighted=True),
        Feature("b", "numeric"),
        Feature("c", "sequence", max_len=2, weighted=True),
        Feature("d", "embedding", max_len=4),
    ]
    placed = FeatureMap.of("shop", features)
    assert [each.weight_start for each in placed] == [5, None, 8, None]
    assert [each.start for each in placed] == [0, 0, 3, 1]
    assert (placed.id_columns, placed.numeric_columns) == (5, 10)


def test_a_feature_map_survives_json():
    content = json.loads(json.dumps(tiny.FEATURES.to_json()))
    assert FeatureMap.from_json(content, folder="elsewhere") == tiny.FEATURES
    assert FeatureMap.from_json(content, folder="elsewhere").folder == "elsewhere"


def test_the_json_has_fuxictrs_keys():
    content = tiny.FEATURES.to_json()
    assert content["dataset_id"] == "tiny"
    assert content["num_fields"] == 6
    assert content["total_features"] == 12 + 9 + 7  # the shared table counts once
    assert content["input_length"] == 9 + 7
    assert content["labels"] == ["click", "cart", "buy", "watch"]
    assert content["features"][0]["user"]["padding_idx"] == 0


def test_a_feature_is_found_by_name():
    assert tiny.FEATURES["price"].type == "numeric"
    with pytest.raises(KeyError, match="colour"):
        tiny.FEATURES["colour"]


def test_a_shared_embedding_is_owned_by_the_end_of_the_chain():
    first = Feature("a", "categorical", vocab_size=5)
    second = Feature("b", "categorical", vocab_size=5, share_embedding="a")
    third = Feature("c", "sequence", vocab_size=5, share_embedding="b")
    features = FeatureMap("x", assign_columns([third, second, first]))
    assert {features.owner(feature).name for feature in features.features} == {"a"}


def test_embeddings_that_share_each_other_are_an_error():
    features = FeatureMap(
        "x",
        assign_columns(
            [
                Feature("a", "categorical", vocab_size=5, share_embedding="b"),
                Feature("b", "categorical", vocab_size=5, share_embedding="a"),
            ]
        ),
    )
    with pytest.raises(ValueError, match="'a' .* share_embedding"):
        features.owner(features["a"])
