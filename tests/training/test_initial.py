"""A training starts from a finished run: rows find their tokens, variables their names, slots go along."""

import logging
from dataclasses import replace

import keras
import numpy as np
import pytest
import tiny

from fuxi_mtl import registry
from fuxi_mtl.dataset.encoding import Column, Encoder
from fuxi_mtl.dataset.matching import match_ids, scaled_otherwise
from fuxi_mtl.dataset.rules import Buckets, HashBuckets, Ids, Number, Vocabulary
from fuxi_mtl.features import Feature, FeatureMap, LabelUnit
from fuxi_mtl.optimizers import DenseEquivalentAdam, SplitOptimizer, split_of
from fuxi_mtl.optimizers.schedule import WarmUpThenDecay
from fuxi_mtl.options import LearningRateOptions, TrainingOptions, WeightingOptions
from fuxi_mtl.runs import Run
from fuxi_mtl.training import checkpoint
from fuxi_mtl.training.checkpoint import CheckpointError
from fuxi_mtl.training.checkpoint.naming import parts_of
from fuxi_mtl.training.initial import InitialRun
from fuxi_mtl.weighting import make_weighting

registry.import_zoo()
TOKENS = {"user": tuple("abcdefghij"), "item": tuple("ABCDEFG"), "tags": tuple("vwxyz")}
# The tokens of the next day: another order, one gone, some new.
NEXT = {"user": tuple("jihgfedcbaklm"), "item": tuple("GFEDCBXY"), "tags": tuple("zyxwv")}


def encoder(tokens=TOKENS, features: FeatureMap = tiny.FEATURES) -> Encoder:
    """An encoding of the inputs of `tiny` by such vocabularies."""
    columns = tuple(
        Column(f.name, Vocabulary(features.owner(f).name) if f.has_ids else Number())
        for f in features.features
    )
    grown = [
        replace(f, vocab_size=len(tokens[features.owner(f).name]) + 2) if f.has_ids else f
        for f in features.features
    ]
    return Encoder(replace(features, features=tuple(grown)), columns, tokens)


def compiled(name: str, encoding: Encoder, tasks, seed: int = 1, optimizer=None, loss_weight="EQ", **options):
    keras.utils.set_random_seed(seed)
    cls = registry.model(name)
    model = cls(encoding.feature_map, tasks, **tiny.options_of(cls, **options))
    model.build()
    objectives = {o.name: o.kind for o in model.objectives()}
    weighting = make_weighting(WeightingOptions(loss_weight=loss_weight), objectives)
    model.compile(optimizer or keras.optimizers.Adam(0.01), weighting, run_eagerly=True)
    return model


def stored(model, encoding: Encoder, folder, **options) -> InitialRun:
    """The model as a run to start from."""
    run = Run(folder)
    checkpoint.save(model, run.checkpoint)
    return InitialRun(run, encoding, TrainingOptions(init_from=str(folder), **options))


def values(model) -> dict[str, np.ndarray]:
    return {
        name: np.concatenate([np.atleast_1d(part.read(chunk)) for chunk in part.chunks()])
        for name, part in parts_of(model).items()
    }


def translated(inputs: dict[str, np.ndarray], here: Encoder, there: Encoder) -> dict[str, np.ndarray]:
    """The same raw rows as the other encoding writes them."""
    ids = inputs["ids"].copy()
    for feature in here.feature_map.features:
        if feature.has_ids:
            owner = here.feature_map.owner(feature).name
            new = {token: i + 1 for i, token in enumerate(there.tokens[owner])}
            size = len(there.tokens[owner]) + 1
            table = np.array([0, *(new.get(token, size) for token in here.tokens[owner]), size])
            ids[:, feature.columns] = table[ids[:, feature.columns]]
    return {**inputs, "ids": ids}


@pytest.mark.parametrize("name", sorted(registry.names()))
def test_on_another_vocabulary_every_model_predicts_for_known_tokens_as_before(name, tmp_path):
    cls, here = registry.model(name), encoder()
    # Of a further domain M3oE has a further network, which all rows look at.
    new = "" if name == "M3oE" else "XY"
    there = encoder({**TOKENS, "user": tuple("jihgfedcbaklm"), "item": tuple(f"GFEDCBA{new}")})
    tasks = tiny.named_plan(cls) if registry.plans_tasks(name) else next(iter(tiny.plans(cls).values()))
    model = compiled(name, here, tasks)
    initial = stored(model, here, tmp_path)
    grown = compiled(name, there, tasks, seed=2)
    initial.put_into(grown, there)
    rows = tiny.inputs()
    same_rows = translated(rows, here, there)
    for task, expected in model(rows).items():
        np.testing.assert_allclose(grown(same_rows)[task], expected, rtol=1e-6, atol=1e-6)


@pytest.fixture(scope="module")
def day(tmp_path_factory):
    """A model that was trained for two steps, its run, and a compiled one of the next day's vocabulary."""
    here, tasks = encoder(), tiny.PLAIN["two"]
    model = compiled("ShareBottom", here, tasks, loss_weight="UW")
    for seed in (0, 1):
        model.train_step(tiny.batch(tasks, seed=seed))
    return model, here, stored(model, here, tmp_path_factory.mktemp("run"))


def started(day, folder=None, name="ShareBottom", tasks=tiny.PLAIN["two"], tokens=NEXT, **options):
    """A model of the next day before and after it was given what the run has for it."""
    _, _, initial = day
    model_options = options.pop("model", {})
    initial = replace(initial, options=replace(initial.options, **options))
    grown = encoder(tokens)
    model = compiled(
        name, grown, tasks, seed=2, loss_weight="UW" if len(tasks) == 2 else "EQ", **model_options
    )
    before = values(model)
    initial.put_into(model, grown)
    return before, values(model)


def test_rows_and_their_slots_follow_their_tokens(day):
    model, here, _ = day
    old, (before, after) = values(model), started(day)
    for owner, names in NEXT.items():
        for end in ("", "/momentums", "/velocities"):
            name = f"network/embedding/{owner}" if not end else f"optimizer/rows/embedding/{owner}{end}"
            for row, token in enumerate(names, 1):
                if token in here.tokens[owner]:
                    expected = old[name][here.tokens[owner].index(token) + 1]
                else:
                    expected = before[name][row]  # new tokens start as new rows do
                np.testing.assert_array_equal(after[name][row], expected)
            np.testing.assert_array_equal(after[name][[0, -1]], old[name][[0, -1]])  # PAD to PAD, OOV to OOV
    rest = [name for name in old if "embedding" not in name and not name.startswith("seeds")]
    assert "weighting/log_variance" in rest
    assert "optimizer/dense/iterations" in rest
    for name in rest:
        np.testing.assert_array_equal(after[name], old[name], err_msg=name)


def test_weights_alone_leave_the_state_of_the_optimizer_and_of_the_weighting_new(day):
    old, (before, after) = values(day[0]), started(day, init_with="weights")
    for name, value in after.items():
        expected = old if name.startswith("network") and "embedding" not in name else before
        if not name.startswith("network/embedding"):
            np.testing.assert_array_equal(value, expected[name], err_msg=name)


@pytest.mark.parametrize("optimizer", ["adamw", "adagrad", "sgd", "ftrl"])
def test_slots_of_every_kind_go_along(optimizer, tmp_path):
    here, there, tasks = encoder(), encoder(NEXT), tiny.PLAIN["two"]
    model = compiled("ShareBottom", here, tasks, optimizer=optimizer)
    model.train_step(tiny.batch(tasks))
    grown = compiled("ShareBottom", there, tasks, seed=2, optimizer=optimizer)
    stored(model, here, tmp_path).put_into(grown, there)
    old, new = values(model), values(grown)
    for name in (
        name for name in old if name.startswith("optimizer/") and not name.endswith("learning_rate")
    ):
        found = new[name][[0, *range(1, 11), -1]] if "embedding/user/" in name else new[name]
        expected = old[name][[0, *range(10, 0, -1), -1]] if "embedding/user/" in name else old[name]
        if "embedding/item" not in name and "embedding/tags" not in name:
            np.testing.assert_array_equal(found, expected, err_msg=name)


@pytest.mark.parametrize("loss_weight", ["GN", "DWA", "FAMO", "COV"])
def test_the_state_of_every_weighting_goes_along(loss_weight, tmp_path):
    here, tasks = encoder(), tiny.PLAIN["two"]
    model = compiled("ShareBottom", here, tasks, loss_weight=loss_weight)
    model.train_step(tiny.batch(tasks))
    initial = stored(model, here, tmp_path)
    following = compiled("ShareBottom", here, tasks, seed=2, loss_weight=loss_weight)
    initial.put_into(following, here)
    old, new = values(model), values(following)
    state = [name for name in old if name.startswith("weighting/")]
    assert state
    for name in state:
        np.testing.assert_array_equal(new[name], old[name], err_msg=name)


def test_tables_alone_serve_another_family(day, caplog):
    with caplog.at_level(logging.INFO):
        before, after = started(day, name="MMoE", init_with="embeddings")
    old = values(day[0])
    np.testing.assert_array_equal(
        after["network/embedding/user"][1:11], old["network/embedding/user"][10:0:-1]
    )
    np.testing.assert_array_equal(after["optimizer/rows/iterations"], [0])
    for name in before:
        if not name.startswith("network/embedding"):
            np.testing.assert_array_equal(after[name], before[name], err_msg=name)
    assert "feature 'item': 6 of 8 ids are known there, 2 are new." in caplog.text


def test_a_task_more_on_a_trained_bottom_needs_leave_for_its_tower(day, caplog):
    with pytest.raises(
        ValueError, match=r"do not fit \(network/towers/stacks/cart_tower/hidden/0/kernel: there is none"
    ):
        started(day, tasks=tiny.PLAIN["three"], init_with="weights")
    with caplog.at_level(logging.INFO):
        before, after = started(day, tasks=tiny.PLAIN["three"], init_with="weights", init_missing="new")
    old = values(day[0])
    for name in ("bottom/stack/hidden/0/kernel", "towers/outputs/buy_head/kernel"):
        np.testing.assert_array_equal(after[f"network/{name}"], old[f"network/{name}"])
    new = "network/towers/outputs/cart_head/kernel"
    np.testing.assert_array_equal(after[new], before[new])
    assert f"Starts anew: {new} (there is none there)." in caplog.text


def test_a_run_of_one_task_gives_its_tables_to_one_of_several_and_back(tmp_path):
    here, single = encoder(), tiny.PLAIN["two"][:1]
    model = compiled("SingleTask", here, single)
    first = stored(model, here, tmp_path / "one", init_with="embeddings")
    several = compiled("MMoE", here, tiny.PLAIN["two"], seed=2)
    first.put_into(several, here)
    old = [value for name, value in values(model).items() if name.endswith("embedding/user")]
    np.testing.assert_array_equal(values(several)["network/embedding/user"], old[0])
    back = compiled("SingleTask", here, tiny.PLAIN["two"], seed=3)
    second = stored(several, here, tmp_path / "several", init_with="embeddings")
    second.put_into(back, here)
    for name, value in values(back).items():
        if name.startswith("network") and name.endswith("/user"):
            np.testing.assert_array_equal(value, old[0])
    # Of a run with two tables none is the one that is meant.
    both = stored(back, here, tmp_path / "both", init_with="embeddings")
    with pytest.raises(ValueError, match="feature 'user': there are several tables there, network/"):
        both.put_into(compiled("MMoE", here, tiny.PLAIN["two"]), here)


def test_widths_and_shapes_that_differ_are_listed(day):
    with pytest.raises(ValueError, match="feature 'user': width 5 here and 4 there"):
        started(day, init_with="embeddings", model={"embedding_dim": 5})
    with pytest.raises(
        ValueError, match=r"kernel: it is \(17, 5\) here and \(17, 6\) there.* 1 more|kernel: it is"
    ):
        started(day, init_with="weights", model={"bottom_hidden_units": (5,)})


def test_slots_and_weightings_of_another_kind_do_not_fit(day, tmp_path):
    _, here, initial = day
    other = compiled("ShareBottom", here, tiny.PLAIN["two"], optimizer=keras.optimizers.Adagrad(0.1))
    with pytest.raises(ValueError, match=r"accumulators: there is none there.*init_with: weights"):
        initial.put_into(other, here)
    fewer = compiled("ShareBottom", here, tiny.PLAIN["two"][::-1], loss_weight="UW")
    with pytest.raises(
        ValueError, match="weighting/log_variance: it is of buy, click here and of click, buy"
    ):
        initial.put_into(fewer, here)


def test_features_in_another_order_are_refused_where_layers_know_columns(day):
    _, _, initial = day
    by = {each.name: each for each in tiny.FEATURES.features}
    # Tags come before users: both have vectors of one width.
    swapped = FeatureMap.of("tiny", [by[n] for n in ("item", "history", "tags", "user", "price", "vector")])
    here = encoder(features=swapped)
    model = compiled("ShareBottom", here, tiny.PLAIN["two"])
    with pytest.raises(ValueError, match="come in another order there"):
        replace(initial, options=replace(initial.options, init_with="weights")).put_into(model, here)
    replace(initial, options=replace(initial.options, init_with="embeddings")).put_into(model, here)


def test_new_rows_may_start_as_a_copy_of_oov_without_its_slots(day, caplog):
    with caplog.at_level(logging.WARNING):
        before, after = started(day, new_rows="oov")
    oov = values(day[0])["network/embedding/user"][-1]
    np.testing.assert_array_equal(after["network/embedding/user"][11:14], [oov] * 3)
    name = "optimizer/rows/embedding/user/velocities"
    np.testing.assert_array_equal(after[name][11:14], before[name][11:14])
    assert not after[name][11:14].any()
    assert "new_rows: oov: feature 'item'" not in caplog.text or "never trained" in caplog.text


def test_a_copy_of_a_row_that_was_never_trained_is_said(tmp_path, caplog):
    here = encoder()
    model = compiled("ShareBottom", here, tiny.PLAIN["two"])
    initial = stored(model, here, tmp_path, new_rows="oov")
    with caplog.at_level(logging.WARNING):
        initial.put_into(compiled("ShareBottom", encoder(NEXT), tiny.PLAIN["two"]), encoder(NEXT))
    assert "feature 'user': no training row of" in caplog.text


def test_what_there_is_of_each_domain_follows_the_domain(tmp_path):
    here, there, tasks = encoder(), encoder({**TOKENS, "item": tuple("GFEDCBAXY")}), tiny.PLAIN["two"]
    model = compiled("M3oE", here, tasks)
    initial = stored(model, here, tmp_path)
    grown = compiled("M3oE", there, tasks, seed=2)
    before = values(grown)
    initial.put_into(grown, there)
    old, new = values(model), values(grown)
    name = "network/domain_experts/kernel_0"
    np.testing.assert_array_equal(new[name], np.concatenate([old[name][::-1], before[name][7:]]))
    other = encoder({**TOKENS, "item": tuple("abc")})
    with pytest.raises(ValueError, match="kernels: it has a part for each id of feature 'item': none of its"):
        initial.put_into(compiled("M3oE", other, tasks), other)


def test_what_was_fitted_beforehand_comes_whole_or_not_at_all(tmp_path):
    name = "MultiIPW"
    cls, here = registry.model(name), encoder()
    tasks = tiny.named_plan(cls)
    initial = stored(compiled(name, here, tasks), here, tmp_path, init_with="weights", init_missing="new")
    old = values(compiled(name, here, tasks))
    fitted = [n for n in old if n.startswith("network/propensity/")]
    for options, units, comes in (
        ({}, (6,), True),
        ({}, (7,), False),
        ({"init_fitted": "refit"}, (6,), False),
    ):
        model = compiled(name, here, tasks, seed=2, propensity_hidden_units=units)
        before = values(model)
        replace(initial, options=replace(initial.options, **options)).put_into(model, here)
        after = values(model)
        for n in (n for n in fitted if n in before and before[n].any()):
            np.testing.assert_array_equal(after[n], old[n] if comes else before[n], err_msg=n)


def test_the_plan_of_a_rate_begins_with_the_training():
    options = LearningRateOptions(enabled=True, type="cosine", warmup_steps=2)
    first, later = WarmUpThenDecay(0.1, options, 10), WarmUpThenDecay(0.1, options, 10, first_step=100)
    for step in range(10):
        assert float(first(step)) == float(later(100 + step))
    assert WarmUpThenDecay.from_config(later.get_config()).first_step == 100


def test_the_rate_is_that_of_the_stanza(day):
    _, here, initial = day
    other = compiled(
        "ShareBottom", here, tiny.PLAIN["two"], optimizer=keras.optimizers.Adam(0.5), loss_weight="UW"
    )
    initial.put_into(other, here)
    assert float(split_of(other.optimizer).learning_rate) == 0.5


def test_rows_that_catch_up_take_their_past_along(tmp_path):
    here, there, tasks = encoder(), encoder(NEXT), tiny.PLAIN["two"]

    def pair():
        return SplitOptimizer(keras.optimizers.Adam(0.01), DenseEquivalentAdam(0.01))

    model = compiled("ShareBottom", here, tasks, optimizer=pair())
    model.train_step(tiny.batch(tasks))
    initial = stored(model, here, tmp_path)
    grown = compiled("ShareBottom", there, tasks, seed=2, optimizer=pair())
    initial.put_into(grown, there)
    old, new = values(model), values(grown)
    for slot in ("momentums", "velocities", "lasts"):
        name = f"optimizer/rows/embedding/user/{slot}"
        np.testing.assert_array_equal(new[name][1:11], old[name][10:0:-1])
    assert np.isfinite(float(grown.train_step(tiny.batch(tasks))["loss"]))


def test_composed_rows_follow_ids_that_kept_their_numbers_only(tmp_path):
    features = FeatureMap.of("tiny", [Feature("user", "categorical", num_remainder_buckets=3)])

    def of(tokens):
        return encoder({"user": tuple(tokens)}, features)

    match = match_ids(of("abcdefg"), of("abcd"), "user")  # OOV was 5 and is 8: remainder 1 of 3 both times
    assert {name: list(rows) for name, rows in match.rows.items()} == {
        "remainders": [0, 1, 2, 3],
        "quotients": [0, 1, 2, 2],  # ids 1-3, 4-6 and 7-8; OOV's quotient there is the second
    }
    for tokens in ("abcde", "bacd"):
        with pytest.raises(ValueError, match="tokens have other ids there"):
            _ = match_ids(of(tokens), of("abcd"), "user").rows
    plain = encoder({"user": tuple("abcd")}, FeatureMap.of("tiny", [Feature("user", "categorical")]))
    with pytest.raises(ValueError, match="no remainders here and 3 there"):
        _ = match_ids(plain, of("abcd"), "user").rows


def one(rule, size: int, name="x", **more) -> Encoder:
    """An encoding of one feature."""
    return Encoder(
        FeatureMap.of("d", [Feature(name, "categorical", vocab_size=size)]), (Column(name, rule),), **more
    )


def test_ids_without_a_vocabulary_match_by_what_they_are():
    hashed = one(HashBuckets(4), 6)
    assert list(match_ids(hashed, hashed, "x").ids) == [0, 1, 2, 3, 4, 5]
    grown = match_ids(one(Ids(5), 6), one(Ids(3), 4), "x")
    assert list(grown.ids) == [0, 1, 2, -1, -1, 3]
    assert (grown.known, grown.new) == (2, 2)
    cut = one(Buckets((1.0, 2.0)), 5)
    assert list(match_ids(cut, cut, "x").ids) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("here", "there", "message"),
    [
        (one(HashBuckets(4), 6), one(HashBuckets(5), 7), "hashed to 4 ids here and to 5 there"),
        (one(HashBuckets(4), 6), one(HashBuckets(4, "int"), 6), "read as str here and as int there"),
        (one(Buckets((1.0,)), 4), one(Buckets((2.0,)), 4), "cut into other buckets"),
        (one(Buckets((1.0,)), 4), one(Ids(3), 4), "are quantile buckets here and in the column there"),
        (one(Ids(3), 4), one(Ids(3), 4, "y"), "no such feature there"),
        (
            one(Vocabulary("x"), 3, tokens={"x": ("1.0",)}),
            one(Vocabulary("x"), 3, tokens={"x": ("1",)}),
            "none of its 1 tokens is known there, such as '1.0'; there are 1, such as '1'",
        ),
    ],
)
def test_ids_that_have_nothing_in_common_are_refused(here, there, message):
    with pytest.raises(ValueError, match=message):
        match_ids(here, there, "x")


def test_a_number_has_no_ids_there():
    number = Encoder(FeatureMap.of("d", [Feature("x", "numeric")]), (Column("x", Number()),))
    with pytest.raises(ValueError, match="it has no ids there"):
        match_ids(one(Ids(3), 4), number, "x")


def test_numbers_and_labels_in_another_unit_are_named(day, caplog):
    here = encoder()
    there = replace(
        here,
        columns=tuple(replace(c, rule=Number(offset=2.0)) if c.name == "price" else c for c in here.columns),
        feature_map=replace(here.feature_map, label_units={"watch": LabelUnit(scale=3.0)}),
    )
    assert scaled_otherwise(here, there) == ["price", "watch"]
    _, _, initial = day
    with caplog.at_level(logging.WARNING):
        model = compiled("ShareBottom", there, tiny.PLAIN["two"], loss_weight="UW")
        initial.put_into(model, there)
    assert "price, watch are scaled otherwise there" in caplog.text


def test_damage_is_found_before_anything_changes(tmp_path):
    here = encoder()
    initial = stored(compiled("ShareBottom", here, tiny.PLAIN["two"], loss_weight="UW"), here, tmp_path)
    file = tmp_path / "checkpoint" / checkpoint.FILE
    import h5py

    with h5py.File(file, "r+") as content:
        content["network/embedding/user"][3] += 1
    model = compiled("ShareBottom", here, tiny.PLAIN["two"], seed=2, loss_weight="UW")
    before = values(model)
    with pytest.raises(CheckpointError, match="numbers of network/embedding/user are not those"):
        initial.put_into(model, here)
    for name, value in values(model).items():
        np.testing.assert_array_equal(value, before[name])
