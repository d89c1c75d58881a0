"""AdaTT, Cross-stitch, DBMTL, STEM and PEPNet against their equations, golden numbers and routing."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny
from equations import (
    INPUTS,
    TASKS,
    X,
    assert_heads,
    blend,
    experts,
    gate,
    ids,
    network,
    own_tower,
    reached,
    sigmoid,
    softmax,
    stack,
    tower,
    weights,
)

from fuxi_mtl import (
    DBMTL,
    STEM,
    AdaTT,
    CrossStitch,
    HoME,
    KnowledgeTransfer,
    MMoE,
    PEPNet,
    ShareBottom,
    SNR_trans,
)
from fuxi_mtl.features import Feature, FeatureMap, assign_columns
from fuxi_mtl.tasks import Task

NAMES = ("click", "buy")
THREE = (*TASKS, Task("cart", ("cart",)))
EIGHTY = FeatureMap("eighty", assign_columns([Feature(f"n{i}", "numeric") for i in range(80)]))


def parameters(cls, features=EIGHTY, tasks=TASKS, **options):
    model = cls(features, tasks, **options)
    model.build()
    return model.count_params()


# ---- AdaTT --------------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", [0, 1])
def test_adatt_fuses_all_experts_and_adds_its_own(shared):
    model = network(
        AdaTT,
        level_hidden_units=[5, 4],
        num_specific_experts=2,
        num_shared_experts=shared,
        tower_hidden_units=[3],
    )
    streams = dict.fromkeys(model.levels[0].names, X)
    for level in model.levels:
        outputs = {
            name: experts(each, streams[name]) for name, each in zip(level.names, level.experts, strict=True)
        }
        everyone = np.concatenate(list(outputs.values()), axis=1)
        streams = {
            name: blend(gate(each, streams[name]), everyone)
            + np.einsum(
                "i,biw->bw",
                level.native[name or "shared"].numpy() if (name or "shared") in level.native else [1.0],
                outputs[name],
            )
            for name, each in zip(level.fused, level.gates, strict=True)
        }
    assert_heads(model, {name: tower(model.towers, name, streams[name]) for name in NAMES})


def test_adatt_has_the_golden_fusions():
    for counts, kernels, native, expected in [
        (2, [1.0, 2, 3, 4], [0.1, 0.2], (3.0, 3.6)),
        (1, [1.0, 3], None, (3.0, 5.0)),
    ]:
        model = AdaTT(
            FeatureMap("one", assign_columns([Feature("a", "numeric")])),
            TASKS,
            level_hidden_units=[1],
            num_specific_experts=counts,
            hidden_activations="relu",
        )
        model.build()
        (level,) = model.levels
        flat = [dense for each in level.experts for one in each.stacks for dense in one.hidden]
        for dense, kernel in zip(flat, kernels, strict=True):
            dense.set_weights([np.full((1, 1), kernel), np.zeros(1)])
        for each in level.gates:
            each.set_weights([np.zeros_like(w) for w in each.get_weights()])
        for variable in level.native.values():
            variable.assign(native)
        found = level(dict.fromkeys(NAMES, tf.ones((1, 1))))
        assert [float(found[name][0, 0]) for name in NAMES] == pytest.approx(expected)


def test_adatt_routes_each_loss_to_all_experts_and_the_last_gate_of_its_own():
    for depth in (1, 2):
        model = network(AdaTT, level_hidden_units=[4] * depth, num_specific_experts=2, tower_hidden_units=[3])
        for i, name in enumerate(NAMES):
            last = model.levels[-1]
            expected = {
                id(v) for level in model.levels for each in level.experts for v in each.trainable_variables
            }
            expected |= ids(last.gates[i]) | {id(last.native[name])} | own_tower(model, name)
            for level in model.levels[:-1]:  # streams feed the experts that the others read
                expected |= {id(v) for each in level.gates for v in each.trainable_variables}
                expected |= {id(v) for v in level.native.values()}
            assert reached(model, name) == expected


def test_adatt_without_its_native_term_is_mmoe():
    model = network(AdaTT, level_hidden_units=[5], num_specific_experts=2, tower_hidden_units=[3])
    other = network(MMoE, num_experts=4, expert_hidden_units=[5], tower_hidden_units=[3])
    (level,) = model.levels
    for variable in level.native.values():
        variable.assign([0.0, 0.0])
    flat = [one for each in level.experts for one in each.stacks]
    for mine, theirs in zip(flat, other.bottom.experts.stacks, strict=True):
        theirs.set_weights(mine.get_weights())
    for mine, theirs in zip(level.gates, other.bottom.gates, strict=True):
        theirs.set_weights(mine.get_weights())
    other.towers.set_weights(model.towers.get_weights())
    assert_heads(model, {name: head.numpy() for name, head in other(INPUTS).items()})


def test_adatt_has_the_parameters_of_its_levels():
    towers = 2 * (32 + 1)
    options = {"level_hidden_units": [64, 32], "tower_hidden_units": []}
    assert parameters(AdaTT, num_specific_experts=2, **options) == 30_232 + towers
    with pytest.raises(ValueError, match="level_hidden_units is empty: AdaTT has one level at least"):
        AdaTT(tiny.FEATURES, TASKS, level_hidden_units=[])


# ---- Cross-stitch -------------------------------------------------------------------------------


@pytest.mark.parametrize("stitch", ["scalar", "unit"])
def test_cross_stitch_mixes_every_hidden_layer(stitch):
    model = network(CrossStitch, tower_hidden_units=[5, 4], stitch=stitch)
    streams = [X, X]
    for layers, each in zip(model.levels, model.stitches, strict=True):
        hidden = np.stack([stack(layer, x) for layer, x in zip(layers, streams, strict=True)])
        numbers = np.broadcast_to(each.numbers.numpy(), (2, 2, hidden.shape[-1]))
        streams = list(np.einsum("jbw,kjw->kbw", hidden, numbers))
    assert_heads(model, {n: tower(model.towers, n, x) for n, x in zip(NAMES, streams, strict=True)})


def test_cross_stitch_starts_with_nine_tenths_of_its_own():
    model = CrossStitch(tiny.FEATURES, THREE, tower_hidden_units=[4])
    model.build()
    expected = np.full((3, 3), 0.05) + np.diag([0.85] * 3)
    np.testing.assert_allclose(model.stitches[0].numbers[:, :, 0], expected, rtol=1e-6)
    mixed = model.stitches[0](tf.constant([[[1.0] * 4, [3.0] * 4, [0.0] * 4]]))
    np.testing.assert_allclose(mixed[0, :, 0], [1.05, 2.75, 0.2], rtol=1e-6)


def test_cross_stitch_routes_each_loss_to_all_towers_below_the_last_stitch_and_its_own_row():
    model = network(CrossStitch, tower_hidden_units=[4, 3])
    layers = [layer for level in model.levels for layer in level]
    for i, name in enumerate(NAMES):
        expected = ids(*layers, *model.stitches) | own_tower(model, name)
        assert reached(model, name) == expected
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(INPUTS)[name])
        last = tape.gradient(loss, model.stitches[-1].numbers.value).numpy()[:, :, 0]
        assert (last[1 - i] == 0).all()
        assert (last[i] != 0).all()


def test_cross_stitch_counts_and_has_something_to_mix():
    assert parameters(CrossStitch, tower_hidden_units=[64, 32]) == 14_536 + 2 * 33
    with pytest.raises(ValueError, match="tower_hidden_units is empty: CrossStitch mixes hidden layers"):
        CrossStitch(tiny.FEATURES, TASKS, tower_hidden_units=[])


# ---- DBMTL --------------------------------------------------------------------------------------


def test_dbmtl_reads_the_towers_of_its_parents():
    options = {"bottom": {"type": "ShareBottom", "bottom_hidden_units": [5]}, "tower_hidden_units": [4]}
    model = network(DBMTL, relations={"buy": ["click"]}, relation_hidden_units=[3], **options)
    h = stack(model.bottom.stack, X)
    u = {name: stack(each, h) for name, each in zip(NAMES, model.stacks, strict=True)}
    r = {
        "click": u["click"],
        "buy": stack(model.relations["buy"], np.concatenate([u["buy"], u["click"]], axis=1)),
    }
    assert_heads(model, {name: tower(model.towers, name, r[name]) for name in NAMES})


def test_dbmtl_lets_the_loss_of_a_child_into_its_parents_and_not_the_other_way():
    options = {"bottom": {"type": "ShareBottom", "bottom_hidden_units": [5]}, "tower_hidden_units": [4]}
    model = network(DBMTL, THREE[:2], relations={"buy": ["click"]}, relation_hidden_units=[3], **options)
    bottom, (click, buy) = ids(model.bottom), model.stacks
    assert reached(model, "click") == bottom | ids(click) | own_tower(model, "click")
    assert reached(model, "buy") == bottom | ids(click, buy, model.relations["buy"]) | own_tower(model, "buy")


def test_dbmtl_without_relations_is_share_bottom():
    options = {"bottom": {"type": "ShareBottom", "bottom_hidden_units": [5]}, "tower_hidden_units": [4]}
    model = network(DBMTL, relations={}, **options)
    other = network(ShareBottom, bottom_hidden_units=[5], tower_hidden_units=[4])
    other.bottom.stack.set_weights(model.bottom.stack.get_weights())
    for i, each in enumerate(model.stacks):
        other.towers.stacks[i].set_weights(each.get_weights())
        other.towers.outputs[i].set_weights(model.towers.outputs[i].get_weights())
    assert_heads(model, {name: head.numpy() for name, head in other(INPUTS).items()})


def test_dbmtl_orders_its_tasks_counts_and_refuses_circles():
    options = {"bottom": {"type": "ShareBottom", "bottom_hidden_units": [64]}, "tower_hidden_units": [32]}
    assert parameters(DBMTL, relations={"buy": ["click"]}, relation_hidden_units=[16], **options) == 10_434
    backwards = DBMTL(EIGHTY, TASKS, relations={"click": ["buy"]}, **options)
    assert backwards.order.index("buy") < backwards.order.index("click")
    with pytest.raises(ValueError, match="relations goes round in a circle: "):
        DBMTL(EIGHTY, TASKS, relations={"click": ["buy"], "buy": ["click"]}, **options)
    with pytest.raises(ValueError, match="relations names 'cart', which is no task. Tasks: click, buy."):
        DBMTL(EIGHTY, TASKS, relations={"cart": ["buy"]}, **options)
    with pytest.raises(ValueError, match="tower_hidden_units is empty: DBMTL hands on the last hidden layer"):
        DBMTL(EIGHTY, TASKS, **options | {"tower_hidden_units": []})
    assert KnowledgeTransfer is not DBMTL


# ---- STEM ---------------------------------------------------------------------------------------


def stem(tasks=TASKS, **options):
    keras.utils.set_random_seed(2)
    small = {
        "expert_hidden_units": [5],
        "tower_hidden_units": [3],
        "num_shared_experts": 2,
        "embedding_dim": 4,
    }
    model = STEM(tiny.FEATURES, tasks, hidden_activations="tanh", **small | options)
    model.build()
    return model


def test_stem_selects_among_the_experts_of_all_tables():
    model, inputs = stem(), tiny.inputs()
    x = {name: np.asarray(part, np.float64) for name, part in model.embed(inputs).items()}
    (level,) = model.levels
    outputs = [experts(each, x[name]) for name, each in zip(level.streams, level.experts, strict=True)]
    heads = model(inputs)
    for name, each in zip(NAMES, level.gates, strict=True):
        mixed = blend(gate(each, x[name] + x[""]), np.concatenate(outputs, axis=1))
        np.testing.assert_allclose(heads[name], tower(model.towers, name, mixed), rtol=1e-4, atol=1e-5)


def test_stem_leaves_tables_and_experts_of_other_tasks_alone():
    model, inputs = stem(), tiny.inputs()
    labels = {name: tf.constant(y) for name, y in tiny.batch(TASKS)[1].items()}
    (level,) = model.levels
    for i, name in enumerate(NAMES):
        other = NAMES[1 - i]
        found = reached(model, name, inputs, labels)
        own = ids(level.gates[i]) | own_tower(model, name)
        for stream in (name, ""):
            own |= ids(model.embedding_layers()[stream], level.experts[level.streams.index(stream)])
        assert found == own
        assert not found & (
            ids(model.embedding_layers()[other]) | ids(level.experts[level.streams.index(other)])
        )


def test_stem_has_the_golden_mixtures_and_gradients():
    one = FeatureMap("one", assign_columns([Feature("a", "numeric")]))
    model = STEM(one, TASKS, expert_hidden_units=[1], num_shared_experts=1, hidden_activations="relu")
    model.build()
    (level,) = model.levels
    for each in level.experts:
        each.set_weights([np.ones((1, 1)), np.zeros(1)])
    for each in level.gates:
        each.set_weights([np.array([[0.1, 0.2, 0.3]]), np.zeros(3)])
    x = {"click": tf.constant([[1.0]]), "buy": tf.constant([[3.0]]), "": tf.constant([[2.0]])}
    with tf.GradientTape() as tape:
        tape.watch(list(x.values()))
        found = level(x)
        mixed = found["click"]
    gradients = tape.gradient(mixed, [x["click"], x["buy"], x[""]], unconnected_gradients="zero")
    assert float(mixed[0, 0]) == pytest.approx(2.083859, rel=1e-5)
    assert float(found["buy"][0, 0]) == pytest.approx(2.120872, rel=1e-5)
    np.testing.assert_allclose([float(g[0, 0]) for g in gradients], [0.262011, 0, 0.459069], rtol=1e-4)


@pytest.mark.parametrize("stops", [True, False])
def test_stem_of_two_levels_keeps_tables_apart_only_behind_the_stop(stops):
    model, inputs = stem(num_layers=2, stop_in_shared=stops), tiny.inputs()
    labels = {name: tf.constant(y) for name, y in tiny.batch(TASKS)[1].items()}
    others = ids(model.embedding_layers()["buy"])
    assert bool(reached(model, "click", inputs, labels) & others) == (not stops)


def test_stem_without_experts_is_refused():
    with pytest.raises(
        ValueError, match="num_specific_experts and num_shared_experts are 0: STEM mixes experts"
    ):
        stem(num_shared_experts=0, num_specific_experts=0)
    assert stem(num_shared_experts=0).shared_variables() == []
    assert len(stem().shared_variables()) == 2


# ---- PEPNet -------------------------------------------------------------------------------------


def factors(unit, x):
    kernel, bias = weights(unit.hidden)
    inner = np.maximum(x @ kernel + bias, 0)
    kernel, bias = weights(unit.factors)
    return 2 * sigmoid(inner @ kernel + bias)


def pepnet(**options):
    given = {"domain_features": ["a"], "gate_features": ["b", "c"], "tower_hidden_units": [4, 3]}
    return network(PEPNet, **given | options)


@pytest.mark.parametrize(("epnet", "ppnet"), [(True, True), (True, False), (False, True)])
def test_pepnet_gates_inputs_by_domain_and_hidden_units_by_person(epnet, ppnet):
    model = pepnet(epnet=epnet, ppnet=ppnet)
    o = X * factors(model.input_gate, np.concatenate([X[:, :1], X], axis=1)) if epnet else X
    expected = {}
    for name, layers, gates in zip(NAMES, model.layers_of, model.gates_of, strict=True):
        hidden = o
        for i, layer in enumerate(layers):
            hidden = stack(layer, hidden)
            if ppnet:
                hidden = hidden * factors(gates[i], np.concatenate([X[:, 1:], o], axis=1))
        expected[name] = tower(model.towers, name, hidden)
    assert_heads(model, expected)


def test_pepnet_stops_what_its_gates_see_beside_the_domain():
    one = FeatureMap("two", assign_columns([Feature("e1", "numeric"), Feature("e2", "numeric")]))
    model = PEPNet(one, TASKS, domain_features=["e1"], gate_features=["e1"], gate_hidden_units=2)
    model.build()
    # Domain [1] and E = [1, 2]; all kernels of the hidden layer .1, of the factors .5.
    model.input_gate.hidden.set_weights([np.full((3, 2), 0.1), np.zeros(2)])
    model.input_gate.factors.set_weights([np.full((2, 2), 0.5), np.zeros(2)])
    e, domain = tf.constant([[1.0, 2.0]]), tf.constant([[1.0]])
    with tf.GradientTape() as tape:
        tape.watch(e)
        delta = model.input_gate(tf.concat([domain, tf.stop_gradient(e)], axis=1))
        o = delta * e
    np.testing.assert_allclose(o, [[1.197375, 2.394751]], rtol=1e-5)
    np.testing.assert_allclose(tape.gradient(o, e), [[1.197375, 1.197375]], rtol=1e-5)


def test_pepnet_routes_each_loss_to_its_own_tower_and_gates():
    model = pepnet()
    for i, name in enumerate(NAMES):
        expected = ids(model.input_gate, *model.layers_of[i], *model.gates_of[i]) | own_tower(model, name)
        assert reached(model, name) == expected


def test_a_neutral_pepnet_starts_as_plain_towers():
    options = {"domain_features": ["a"], "gate_features": ["b"], "tower_hidden_units": [4]}
    keras.utils.set_random_seed(1)
    from equations import NUMBERS

    model = PEPNet(NUMBERS, TASKS, gate_start="neutral", **options)
    model.build()
    expected = {}
    for name, (layer,) in zip(NAMES, model.layers_of, strict=True):
        kernel, bias = weights(layer.hidden[0])
        expected[name] = tower(model.towers, name, np.maximum(X @ kernel + bias, 0))
    assert_heads(model, expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"domain_features": []}, "domain_features is empty: epnet gates by them"),
        ({"gate_features": []}, "gate_features is empty: ppnet gates by them"),
        ({"gate_features": ["who"]}, "gate_features"),
        ({"tower_hidden_units": []}, "tower_hidden_units is empty: PPNet gates hidden layers"),
    ],
)
def test_pepnet_needs_what_its_gates_look_at(options, message):
    with pytest.raises(ValueError, match=message):
        pepnet(**options)


def test_pepnet_counts_its_gates():
    # E of 64 numbers, a domain of 8 of them: GateNU(72, 64, 64) = 72 x 64 + 64 + 64 x 64 + 64.
    columns = [Feature("d", "embedding", max_len=8), Feature("rest", "embedding", max_len=56)]
    features = FeatureMap("wide", assign_columns(columns))
    plain = parameters(PEPNet, features, epnet=False, ppnet=False, tower_hidden_units=[64, 32])
    gated = parameters(PEPNet, features, domain_features=["d"], ppnet=False, tower_hidden_units=[64, 32])
    assert gated - plain == 8_832


# ---- SNR ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("log_alpha", "u", "expected"),
    [
        (0.0, [0.1, 0.5, 0.9], [0, 0.5, 1]),
        (0.5, [0.1, 0.5, 0.9], [0.058068, 0.662508, 1]),
        (0.0, None, [0.5]),
        (9.0, None, [1]),
    ],
)
def test_joints_are_hard_concrete(log_alpha, u, expected):
    from fuxi_mtl_zoo.snr_trans import joints

    found = joints(tf.fill([len(expected)], log_alpha), None if u is None else tf.constant(u))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_snr_joins_its_sub_networks():
    model = network(SNR_trans, num_experts=3, level_hidden_units=[5, 4], tower_hidden_units=[3])
    streams = [X] * 3
    for level, joint in zip(model.levels, model.joints, strict=True):
        v = np.stack([experts(each, x)[:, 0] for each, x in zip(level, streams, strict=True)], axis=1)
        z = np.clip(sigmoid(joint.log_alpha.numpy()) * 1.2 - 0.1, 0, 1)
        streams = list(np.einsum("bjw,ijwu,ij->ibu", v, joint.kernels.numpy(), z))
    assert_heads(model, {n: tower(model.towers, n, x) for n, x in zip(NAMES, streams, strict=True)})


def test_snr_draws_its_joints_in_training_and_counts_those_that_are_not_zero():
    model = network(SNR_trans, num_experts=3, level_hidden_units=[4], tower_hidden_units=[3], snr_l0=0.5)
    for joint in model.joints:
        joint.log_alpha.assign(tf.zeros_like(joint.log_alpha))
    settled = [model(INPUTS)["click"].numpy() for _ in range(2)]
    drawn = [model(INPUTS, training=True)["click"].numpy() for _ in range(2)]
    np.testing.assert_array_equal(*settled)
    assert not np.allclose(*drawn)
    assert float(tf.add_n(model.losses)) == pytest.approx(0.5 * 6 * 0.896424, rel=1e-4)


def test_snr_counts_and_has_a_level():
    options = {"num_experts": 3, "level_hidden_units": [64, 32], "tower_hidden_units": []}
    model = SNR_trans(EIGHTY, TASKS, **options)
    model.build()
    assert sum(int(np.prod(v.shape)) for v in model.trainable_variables) == 64_815 + 2 * 33
    with pytest.raises(ValueError, match="level_hidden_units is empty: SNR_trans has one level at least"):
        SNR_trans(EIGHTY, TASKS, level_hidden_units=[])


# ---- HoME ---------------------------------------------------------------------------------------

FOUR = (*THREE, Task("like", ("like",)))
GROUPS = {"watch": ["click", "cart"], "interact": ["buy", "like"]}
ONE_EACH = {"num_shared_experts": 1, "num_group_experts": 1, "num_specific_experts": 1}


def home(tasks=FOUR, **options):
    given = {"task_groups": GROUPS, "expert_hidden_units": [5], "tower_hidden_units": [3], **ONE_EACH}
    return network(HoME, tasks, **given | options)


def normed(layer, x):
    """The gated input, its experts in inference and their own mixture."""
    a, b = layer.a.numpy(), layer.b.numpy()
    x = x * 2 * sigmoid(sum(x @ a[i] @ b[i] for i in range(len(a))))
    outputs = []
    for last in layer.lasts:
        (kernel, bias), norm = weights(last.hidden[0]), last.norms[0]
        h = (x @ kernel + bias - norm.moving_mean.numpy()) / np.sqrt(norm.moving_variance.numpy() + 1e-3)
        h = h * norm.gamma.numpy() + norm.beta.numpy()
        outputs.append(h * sigmoid(h))
    outputs = np.stack(outputs, axis=1)
    if layer.own_gate is None:
        return x, outputs, None
    kernel, bias = weights(layer.own_gate)
    logits = x @ kernel + bias
    shares = sigmoid(logits) if outputs.shape[1] == 1 else softmax(logits)
    return x, outputs, blend(shares, outputs)


@pytest.mark.parametrize("count", [1, 2])
def test_home_is_two_levels_of_experts(count):
    model = home(num_shared_experts=count, num_group_experts=count, num_specific_experts=count)
    seen, shared, own = normed(model.meta_shared, X)
    z, outputs = {}, [shared]
    for name, each, gating in zip(GROUPS, model.meta, model.meta_gates, strict=True):
        gated, output, self_ = normed(each, X)
        z[name] = blend(gate(gating, gated), np.concatenate([output, shared], axis=1)) + self_
        outputs.append(output)
    z_shared = blend(gate(model.shared_gate, seen), np.concatenate(outputs, axis=1)) + own
    expected = {}
    of_group = dict(zip(GROUPS, model.of_group, strict=True))
    for task, each, gating in zip(FOUR, model.of_task, model.task_gates, strict=True):
        group = model.group_of[task.name]
        _, output, self_ = normed(each, z[group])
        parts = [normed(model.task_shared, z_shared)[1], normed(of_group[group], z[group])[1], output]
        shares = gate(gating, np.concatenate([z[group], z_shared], axis=1))
        expected[task.name] = tower(
            model.towers, task.name, blend(shares, np.concatenate(parts, axis=1)) + self_
        )
    assert_heads(model, expected)


@pytest.mark.parametrize("reads", ["all", "shared"])
def test_home_keeps_groups_apart_at_the_task_level(reads):
    model = home(THREE, task_groups={"watch": ["click", "cart"], "interact": ["buy"]}, shared_reads=reads)
    found = reached(model, "click")
    of_others = ids(model.of_group[1], model.of_task[1], model.task_gates[1], model.meta_gates[1])
    assert not found & of_others
    assert not found & ids(model.of_task[2])
    assert found > ids(model.of_task[0].lasts[0], model.of_group[0].lasts[0], model.task_shared.lasts[0])
    assert bool(found & ids(model.meta[1].lasts[0])) == (reads == "all")


def test_home_scales_experts_alike_and_starts_with_open_feature_gates():
    model = HoME(EIGHTY, TASKS, expert_hidden_units=[32], **ONE_EACH)
    model.build()
    layer = model.meta_shared
    x = tf.constant(np.random.default_rng(0).normal(size=(16, 80)).astype(np.float32) * 50)
    gated, outputs, _ = layer(x, training=True)
    np.testing.assert_allclose(layer(x / 50)[0], x / 50, rtol=0.05)
    layer.b.assign(tf.zeros_like(layer.b))
    gated, outputs, _ = layer(x, training=True)
    np.testing.assert_array_equal(gated, x)
    before = layer.lasts[0].norms[0](layer.lasts[0].hidden[0](x), training=True).numpy()
    np.testing.assert_allclose(before.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(before.std(axis=0), 1, rtol=1e-2)
    np.testing.assert_allclose(outputs[:, 0], before * sigmoid(before), rtol=1e-4, atol=1e-5)


def test_home_counts_its_parts():
    options = {"expert_hidden_units": [32], "feature_gate_rank": 8, "tower_hidden_units": [16], **ONE_EACH}
    model = HoME(EIGHTY, FOUR, task_groups=GROUPS, **options)
    model.build()
    assert sum(int(np.prod(v.shape)) for v in model.trainable_variables) == 27_134


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task_groups": {"a": ["click", "who"]}}, "task_groups names 'who', which is no task. Tasks: click"),
        ({"task_groups": {"a": ["click", "buy", "cart"]}}, "the task 'like' stands in no group"),
        (
            {"task_groups": {"a": ["click", "buy", "cart", "like"], "b": ["buy"]}},
            "the task 'buy' stands in two groups",
        ),
        ({"expert_hidden_units": []}, "expert_hidden_units is empty: HoME normalises what its experts give"),
    ],
)
def test_home_wants_every_task_in_one_group(options, message):
    with pytest.raises(ValueError, match=message):
        home(**options)
