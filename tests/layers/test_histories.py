"""Groups of aligned columns: which events are read, in what form, and what stands in the embeddings."""

from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from fuxi_mtl.features import Feature, FeatureMap
from fuxi_mtl.layers import FeatureEmbedding
from fuxi_mtl.layers.sequences.places import cut_to_shortest, newer_events, newest, sinusoids
from fuxi_mtl.options import ENCODERS
from fuxi_mtl.options.blocks import SequenceGroup

FEATURES = FeatureMap.of(
    "shop",
    [
        Feature("item", "categorical", vocab_size=9, embedding_dim=4),
        Feature("cate", "categorical", vocab_size=5, embedding_dim=2),
        Feature("items", "sequence", vocab_size=9, max_len=4, share_embedding="item"),
        Feature("cates", "sequence", vocab_size=5, max_len=4, share_embedding="cate"),
        Feature("action", "sequence", vocab_size=4, max_len=4, embedding_dim=3),
        Feature("gap", "sequence", vocab_size=34, max_len=4),
        Feature("price", "numeric"),
    ],
)
COLUMNS = {"items": "item", "cates": "cate"}
# item, cate, items, cates, action, gap: oldest event first, the last row without events
IDS = [
    [3, 1, 1, 2, 3, 4, 1, 2, 1, 1, 1, 2, 3, 1, 9, 5, 2, 1],
    [5, 2, 6, 7, 0, 0, 2, 0, 0, 0, 1, 1, 0, 0, 3, 2, 0, 0],
    [8, 4, 8, 5, 6, 0, 4, 4, 3, 0, 1, 1, 1, 0, 3, 2, 1, 0],
    [2, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
]
INPUTS = {"ids": tf.constant(IDS, tf.int32), "numeric": tf.constant([[0.5], [1.0], [2.0], [3.0]])}


def embedding(group, features=FEATURES, **options):
    keras.utils.set_random_seed(2)
    made = FeatureEmbedding(features, 2, sequences={"clicks": group}, **options)
    made(INPUTS)
    for variable in made.trainable_variables:
        variable.assign(keras.random.normal(variable.shape))
    for block in made.blocks:  # padding is zeros
        rows = block.rows.numpy()
        rows[list(block.starts.values())] = 0
        block.rows.assign(rows)
    return made


def rows_of(made, name):
    """The rows of a feature's table."""
    block = next(each for each in made.blocks if name in each.starts)
    start = block.starts[name]
    return block.rows.numpy()[start : start + FEATURES[name].vocab_size]


def part(made, name, inputs=INPUTS):
    start, end = made.column_ranges[name]
    return made(inputs).numpy()[:, start:end]


def test_the_mean_of_a_group_is_that_of_pooled_bags_side_by_side():
    grouped = embedding({"columns": COLUMNS})
    pooled = FeatureEmbedding(FEATURES, 2)
    for name in ("item", "cate"):
        block = next(each for each in pooled.blocks if name in each.starts)
        rows, start = block.rows.numpy(), block.starts[name]
        rows[start : start + FEATURES[name].vocab_size] = rows_of(grouped, name)
        block.rows.assign(rows)
    # A missing category has a place among the events and no vector.
    bags = part(pooled, "cates") * np.array([[1], [0.5], [1], [1]])
    expected = np.concatenate([part(pooled, "items"), bags], axis=1)
    assert part(grouped, "clicks") == pytest.approx(expected, abs=1e-6)
    assert grouped.column_ranges.keys() == {"item", "cate", "action", "gap", "clicks", "price"}
    assert pooled.compute_output_shape({"ids": (4, 18)}) == grouped.compute_output_shape({"ids": (4, 18)})


def test_bags_and_their_graph_are_as_they_were_without_a_group():
    made = FeatureEmbedding(FEATURES, 2)
    graph = tf.function(made, autograph=False).get_concrete_function(
        {"ids": tf.TensorSpec([None, 18], tf.int32), "numeric": tf.TensorSpec([None, 1])}
    )
    kinds = [operation.type for operation in graph.graph.get_operations()]
    assert kinds.count("GatherV2") <= 6  # a gather of rows a table, and that of its columns
    assert len(made.order) == len(FEATURES.features)


def test_an_event_is_its_columns_with_a_counterpart_then_the_others():
    made = embedding({"columns": {"items": "item", "cates": "cate"}, "extra": ["action"], "encoder": "sum"})
    items, cates, actions = (rows_of(made, name) for name in ("item", "cate", "action"))
    expected = [
        np.concatenate([items[row[2:6]].sum(0), cates[row[6:10]].sum(0), actions[row[10:14]].sum(0)])
        for row in np.array(IDS)
    ]
    assert part(made, "clicks") == pytest.approx(np.array(expected), abs=1e-5)
    mixed = embedding({"columns": {"cates": None, "items": "item"}, "encoder": "sum"})
    assert part(mixed, "clicks")[0, :4] == pytest.approx(rows_of(mixed, "item")[1:5].sum(0), abs=1e-5)


def test_din_compares_events_with_the_rows_of_the_target():
    made = embedding(
        {"columns": COLUMNS, "encoder": {"type": "din", "hidden_units": [3], "activation": "tanh"}}
    )
    items, cates = rows_of(made, "item"), rows_of(made, "cate")
    encoder = made.histories["clicks"].encoder
    (kernel, bias), (last, end) = (
        [variable.numpy() for variable in layer.weights] for layer in (encoder.compare, encoder.rest[-1])
    )
    row = IDS[0]
    query = np.concatenate([items[row[0]], cates[row[1]]])
    expected = 0
    for item, cate in zip(row[2:6], row[6:10], strict=True):
        key = np.concatenate([items[item], cates[cate]])
        hidden = np.tanh(np.concatenate([query, key, query - key, query * key]) @ kernel + bias)
        expected = expected + (hidden @ last + end) * key
    assert part(made, "clicks")[0] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("kind", ENCODERS)
def test_every_encoder_takes_all_that_a_group_may_have_and_is_made_again(kind):
    group = {
        "columns": COLUMNS,
        "extra": ["action"],
        "time": "gap",
        "time_dim": 1,
        "position": "learned",
        "position_dim": 2,
        "filter": {"column": "cates", "keep": 2},
        "encoder": kind,
    }
    made = embedding(group)
    x = made(INPUTS)
    assert x.shape == made.compute_output_shape({"ids": (4, 18)})
    assert np.isfinite(x.numpy()).all()
    again = FeatureEmbedding.from_config(made.get_config())
    again(INPUTS)
    again.set_weights(made.get_weights())
    assert again(INPUTS).numpy().tobytes() == x.numpy().tobytes()
    history = made.histories["clicks"]
    assert sum(history.pieces) == history.output_width == part(made, "clicks").shape[1]
    fields = made.fields(x)
    assert {width: vectors.shape[1] for width, vectors in fields.items()} == made.field_counts()
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(made(INPUTS, training=True)))
    for variable, gradient in zip(
        made.trainable_variables,
        tape.gradient(loss, [v.value for v in made.trainable_variables]),
        strict=True,
    ):
        assert gradient is not None, variable.path


@pytest.mark.parametrize("kind", ["mean", "din", "transformer"])
def test_output_is_of_the_precision_of_the_layer(kind):
    group = {"columns": COLUMNS, "encoder": kind}
    made, half = embedding(group), embedding(group, dtype="mixed_bfloat16")
    half.set_weights(made.get_weights())
    assert half(INPUTS).dtype == tf.bfloat16
    assert (half(INPUTS) == tf.cast(made(INPUTS), tf.bfloat16)).numpy().all()


def test_columns_are_added_or_projected_as_a_group_says():
    alike = FeatureMap.of("shop", [replace(each, embedding_dim=3) for each in FEATURES.features])
    made = embedding({"columns": COLUMNS, "combine": "sum", "encoder": "sum"}, alike)
    items, cates = rows_of(made, "item"), rows_of(made, "cate")
    expected = items[[1, 2, 3, 4]].sum(0) + cates[[1, 2, 1, 1]].sum(0)
    assert part(made, "clicks")[0] == pytest.approx(expected, abs=1e-5)
    group = {"columns": COLUMNS, "combine": "project", "combine_dim": 5, "encoder": "din"}
    projected = embedding(group)
    history = projected.histories["clicks"]
    assert (history.output_width, history.query_width) == (5, 5)
    assert history.project.kernel.shape == (6, 5)


def test_an_event_has_as_many_newer_ones_whatever_the_padding():
    present = tf.constant([[True, True, True, False, False], [False, False, True, True, True]])
    assert newer_events(present).numpy().tolist() == [[2, 1, 0, 0, 0], [3, 3, 2, 1, 0]]
    assert newer_events(present, newest_first=True).numpy()[:, 2:].tolist() == [[2, 3, 3], [0, 1, 2]]


def test_events_of_the_targets_category_are_kept_and_the_newest_of_them():
    categories = np.array([[1, 2, 1, 1]])
    of_a, of_c = tf.constant(categories == 1), tf.constant(categories == 3)
    newer = newer_events(tf.constant([[True] * 4]))
    assert newest(of_a, newer, 2).numpy().tolist() == [[2, 3]]  # the third and the fourth
    columns = newest(of_c, newer, 2)
    assert not tf.gather(of_c, columns, batch_dims=1).numpy().any()


def test_a_filter_is_the_encoder_on_the_events_that_it_leaves():
    group = {"columns": COLUMNS, "encoder": {"type": "target_attention", "heads": 2, "width": 4}}
    made, whole = embedding({**group, "filter": {"column": "cates", "keep": 2}}), embedding(group)
    by_hand = np.array(IDS)
    by_hand[0, 2:10] = [3, 4, 0, 0, 1, 1, 0, 0]  # the last two of category 1
    by_hand[1, 2:10] = [6, 0, 0, 0, 2, 0, 0, 0]
    by_hand[2, 2:10] = 0  # the target's category is unknown
    expected = part(whole, "clicks", {**INPUTS, "ids": tf.constant(by_hand, tf.int32)})
    assert part(made, "clicks") == pytest.approx(expected, abs=1e-5)
    assert (part(made, "clicks")[2:] == 0).all()


@pytest.mark.parametrize("order", ["oldest_first", "newest_first", None])
def test_max_len_of_a_group_reads_the_newest(order):
    ordered = FeatureMap.of("shop", [replace(f, order=order) for f in FEATURES.features])
    made = embedding({"columns": {"items": "item"}, "max_len": 2, "encoder": "sum"}, ordered)
    newest_ids = [1, 2] if order == "newest_first" else [3, 4]
    assert part(made, "clicks")[0] == pytest.approx(rows_of(made, "item")[newest_ids].sum(0), abs=1e-5)


@pytest.mark.parametrize("position", ["learned", "sinusoid"])
@pytest.mark.parametrize("kind", ["sum", "din", "transformer"])
def test_positions_count_from_the_newest_so_that_padding_does_not_move_them(kind, position):
    group = {"columns": {"items": "item"}, "position": position, "position_dim": 2, "encoder": kind}
    made = embedding(group)
    shifted = np.array(IDS)
    shifted[1, 2:6] = [0, 6, 0, 7]
    moved = part(made, "clicks", {**INPUTS, "ids": tf.constant(shifted, tf.int32)})
    assert moved[1] == pytest.approx(part(made, "clicks")[1], abs=1e-6)
    swapped = np.array(IDS)
    swapped[1, 2:6] = [7, 6, 0, 0]
    if kind != "sum":
        other = part(made, "clicks", {**INPUTS, "ids": tf.constant(swapped, tf.int32)})
        assert abs(other[1] - part(made, "clicks")[1]).max() > 1e-4
    if kind == "sum":
        learned = made.histories["clicks"].positions
        table = sinusoids(4, 2) if learned is None else learned.table.numpy()
        assert part(made, "clicks")[1, 4:] == pytest.approx(table[:2].sum(0), abs=1e-6)


def test_times_are_rows_of_their_own_and_the_target_has_none():
    group = {"columns": {"items": "item"}, "time": "gap", "time_dim": 3, "encoder": "sum"}
    made = embedding(group)
    table = made.histories["clicks"].times.table.numpy()
    assert table.shape == (34, 3)
    assert part(made, "clicks")[0, 4:] == pytest.approx(table[[9, 5, 2, 1]].sum(0), abs=1e-5)
    made = embedding({**group, "encoder": {"type": "transformer", "heads": 1}, "position": "learned"})
    history = made.histories["clicks"]
    alone = {"vectors": {"items": tf.zeros((1, 4, 4)), "item": tf.ones((1, 4))}}
    content = history(alone | {"events": history.events(tf.constant(IDS[3:], tf.int32))})
    encoder = history.encoder
    query = np.concatenate([np.ones(4), history.positions.table[0], history.times.table[1]])
    expected = encoder(
        {
            "keys": tf.zeros((1, 4, 11)),
            "present": tf.zeros((1, 4), tf.bool),
            "query": tf.constant(query[None], tf.float32),
        }
    )
    assert content.numpy() == pytest.approx(expected.numpy(), abs=1e-6)


def test_an_encoder_may_add_a_number_for_how_long_ago_an_event_was():
    encoder = {"type": "target_attention", "heads": 2, "width": 4, "time_bias": True}
    group = {"columns": {"items": "item"}, "time": "gap", "encoder": encoder}
    made = embedding(group)
    table = made.histories["clicks"].bias.table
    assert table.shape == (34, 2)
    started = FeatureEmbedding(FEATURES, 2, sequences={"clicks": group}).histories["clicks"].bias.table
    assert not started.numpy().any()
    alone = np.array(IDS)
    alone[0, 2:6], alone[0, 14:18] = [0, 0, 3, 0], [0, 0, 2, 0]
    table.assign(np.where(np.arange(34)[:, None] == 2, 90.0, 0.0) * np.ones(2))  # all eyes on the third
    times = made.histories["clicks"].times.table
    times.assign(np.zeros(times.shape))
    expected = part(made, "clicks", {**INPUTS, "ids": tf.constant(alone, tf.int32)})[0]
    assert part(made, "clicks")[0] == pytest.approx(expected, abs=1e-4)
    with pytest.raises(
        ValueError, match="sequences.clicks.encoder: time_bias is of how long ago events were"
    ):
        embedding({"columns": {"items": "item"}, "encoder": encoder})


@pytest.mark.parametrize("encoder", [{"pooling": "mean", "causal": True}, {"pooling": "concat"}])
def test_the_newest_event_is_the_last_whichever_way_a_history_is_written(encoder):
    group = {"columns": {"items": "item"}, "encoder": {"type": "transformer", **encoder}}
    made = embedding(
        group, FeatureMap.of("shop", [replace(f, order="oldest_first") for f in FEATURES.features])
    )
    turned = embedding(
        group, FeatureMap.of("shop", [replace(f, order="newest_first") for f in FEATURES.features])
    )
    turned.set_weights(made.get_weights())
    backwards = np.array(IDS)
    backwards[:, 2:6] = backwards[:, 5:1:-1]
    found = part(turned, "clicks", {**INPUTS, "ids": tf.constant(backwards, tf.int32)})
    assert found == pytest.approx(part(made, "clicks"), abs=1e-5)
    assert found.shape == (4, 20 if encoder["pooling"] == "concat" else 4)


def test_no_event_hears_of_a_newer_one_where_the_order_is_minded():
    group = {
        "columns": {"items": "item"},
        "encoder": {"type": "transformer", "pooling": "concat", "causal": True},
    }
    made, other = embedding(group), np.array(IDS)
    other[0, 5] = 7  # the newest event of the first row
    before = part(made, "clicks").reshape(4, -1, 4)[0]
    now = part(made, "clicks", {**INPUTS, "ids": tf.constant(other, tf.int32)}).reshape(4, -1, 4)[0]
    np.testing.assert_array_equal(now[:3], before[:3])
    assert (now[3:] != before[3:]).any(axis=1).all()


RAGGED = {
    "items": [[1, 2, 3, 0], [0, 5, 6, 7], [1, 2, 3, 4]],
    "cates": [[1, 2, 0, 0], [0, 0, 0, 1], [0, 3, 2, 1]],
}


@pytest.mark.parametrize(
    ("cuts_front", "items", "cates"),
    [
        (False, [[1, 2, 0, 0], [5, 0, 0, 0], [1, 2, 3, 0]], [[1, 2, 0, 0], [1, 0, 0, 0], [3, 2, 1, 0]]),
        # Nobody knows which events of the third the categories belong to.
        (True, [[1, 2, 0, 0], [5, 0, 0, 0], [0, 0, 0, 0]], [[1, 2, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]),
    ],
)
def test_columns_may_be_cut_to_the_shortest_from_their_first_event_on(cuts_front, items, cates):
    found = cut_to_shortest({name: tf.constant(ids) for name, ids in RAGGED.items()}, cuts_front)
    assert found["items"].numpy().tolist() == items
    assert found["cates"].numpy().tolist() == cates


def test_a_group_that_is_cut_reads_the_events_that_all_columns_have():
    ordered = FeatureMap.of("shop", [replace(f, order="oldest_first") for f in FEATURES.features])
    group = {"columns": COLUMNS, "extra": ["action"], "position": "learned", "encoder": "sum"}
    made = embedding({**group, "on_ragged": "cut", "filter": {"column": "cates", "keep": 3}}, ordered)
    whole = embedding({**group, "filter": {"column": "cates", "keep": 3}}, ordered)
    ragged, cut = np.array(IDS), np.array(IDS)
    ragged[1, 2:14] = [6, 7, 5, 0, 2, 2, 0, 0, 0, 1, 1, 1]  # the actions are padded before
    cut[1, 2:14] = [6, 7, 0, 0, 2, 2, 0, 0, 1, 1, 0, 0]
    found = part(made, "clicks", {**INPUTS, "ids": tf.constant(ragged, tf.int32)})
    expected = part(whole, "clicks", {**INPUTS, "ids": tf.constant(cut, tf.int32)})
    assert found[1] == pytest.approx(expected[1], abs=1e-6)
    assert found[0] == pytest.approx(part(whole, "clicks")[0], abs=1e-6)


def test_places_may_be_added_to_events():
    group = {"columns": {"items": "item"}, "time": "gap", "position": "sinusoid", "join": "add"}
    made = embedding({**group, "encoder": "sum"})
    history = made.histories["clicks"]
    expected = rows_of(made, "item")[[1, 2, 3, 4]] + sinusoids(4, 4)[[3, 2, 1, 0]]
    expected = (expected + history.times.table.numpy()[[9, 5, 2, 1]]).sum(0)
    assert part(made, "clicks")[0] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("width", [4, 5, 1])
def test_sinusoids_have_any_width(width):
    found = sinusoids(3, width)
    for place in range(3):
        for column in range(width):
            angle = place / 10000 ** (2 * (column // 2) / width)
            expected = np.sin(angle) if column % 2 == 0 else np.cos(angle)
            assert found[place, column] == pytest.approx(expected, abs=1e-6)


def test_two_groups_may_read_the_same_columns():
    keras.utils.set_random_seed(1)
    groups = {"mean": {"columns": {"items": None}}, "din": {"columns": {"items": "item"}, "encoder": "din"}}
    made = FeatureEmbedding(FEATURES, 2, sequences=groups)
    made(INPUTS)
    assert set(made.order) == {"item", "cate", "cates", "action", "gap", "mean", "din", "price"}
    assert made.order[-3:] == ["mean", "din", "price"]
    assert sum("items" in block.starts for block in made.blocks) == 0  # its rows are item's


def test_learnt_parts_are_those_with_a_trained_variable_behind_them():
    frozen = [replace(f, trainable=f.name not in ("item", "items")) for f in FEATURES.features]
    for kind in ("sum", "din"):
        made = embedding({"columns": {"items": "item"}, "encoder": kind}, FeatureMap.of("shop", frozen))
        x = made(INPUTS)
        learnt, whole = made.learnt_parts(x)
        assert whole.numpy().tobytes() == x.numpy().tobytes()
        assert sum(each.shape[1] for each in learnt) == x.shape[1] - 1 - 4 - (4 if kind == "sum" else 0)


@pytest.mark.parametrize(
    ("group", "told"),
    [
        ({"columns": {"itms": "item"}}, "names 'itms', which is no input. Did you mean 'items'"),
        ({"columns": {"items": "itm"}}, "sequences.clicks.columns.items names 'itm'"),
        ({"columns": {"item": "item"}}, "'item' is of type categorical; a history has type: sequence"),
        ({"columns": {"items": "cates"}}, "target 'cates' of 'items' is of type sequence"),
        ({"columns": {"items": "cate"}}, "have tables of their own. Give 'items' share_embedding: cate"),
        ({"columns": {"items": None}, "encoder": "din"}, "reads a history for a target"),
        ({"columns": COLUMNS, "combine": "sum"}, "adds vectors of one width, not of items 4, cates 2"),
        ({"columns": COLUMNS, "on_ragged": "cut"}, "Give items, cates an order in feature_cols"),
        ({"columns": COLUMNS, "combine": "project"}, "combine: project and combine_dim need each other"),
        ({"columns": COLUMNS, "extra": ["items"]}, "'items' is named twice"),
        ({"columns": {}}, "columns is missing"),
        ({"columns": COLUMNS, "filter": {"column": "action"}}, "filter.column is 'action'"),
        ({"columns": COLUMNS, "filter": {}}, "column is missing"),
        ({"columns": COLUMNS, "encoder": "lstm"}, "encoder is 'lstm'"),
        ({"columns": COLUMNS, "encoder": {"type": "din", "heads": 2}}, "unknown key 'heads'"),
    ],
)
def test_a_group_says_what_does_not_fit(group, told):
    with pytest.raises(ValueError, match=told):
        FeatureEmbedding(FEATURES, 2, sequences={"clicks": group})


def test_a_group_says_which_columns_do_not_go_together():
    def changed(**options):
        found = [replace(f, **options) if f.name == "cates" else f for f in FEATURES.features]
        return FeatureMap.of("shop", found)

    for options, told in (
        ({"max_len": 3}, "'cates' has 3 places and order None, but 'items' 4 and None"),
        ({"order": "newest_first"}, "order newest_first"),
        ({"weighted": True}, "'cates' has weights"),
    ):
        with pytest.raises(ValueError, match=told):
            FeatureEmbedding(changed(**options), 2, sequences={"clicks": SequenceGroup(columns=COLUMNS)})
    with pytest.raises(ValueError, match=r"sequences.price is called like a feature"):
        FeatureEmbedding(FEATURES, 2, sequences={"price": {"columns": COLUMNS}})
