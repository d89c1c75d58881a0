"""DeepFM_MMoE as a whole: its sizes, what adds up to a logit, and which loss reaches what."""

import contract
import keras
import numpy as np
import pytest
import tiny

from fuxi_mtl import DeepFM_MMoE
from fuxi_mtl.config import load_experiment
from fuxi_mtl.features import Feature, FeatureMap, assign_columns
from fuxi_mtl.objectives.imbalance import Imbalance
from fuxi_mtl.options import ImbalanceOptions

CHAIN = tiny.tasks_of(tiny.NAMED["chain"])
SMALL = {
    "embedding_dim": 4,
    "hidden_activations": "tanh",
    "mmoe": {"num_experts": 2, "expert_mlp_dims": [4], "part_proj_dim": 4, "adapter_mlp_dims": [4]},
    "heads": {"default": {"mlp_dims": [4]}},
}


def made(tasks=CHAIN, features=tiny.FEATURES, **options):
    keras.utils.set_random_seed(1)
    model = DeepFM_MMoE(features, tasks, **{**SMALL, **options})
    model.build()
    return model


# ---- sizes --------------------------------------------------------------------------------------


def preset(expid):
    """A preset over 33 fields of single ids."""
    fields = [Feature(f"field_{i}", "categorical", vocab_size=3) for i in range(33)]
    options = load_experiment("config", expid).model_options
    keras.utils.set_random_seed(1)
    model = DeepFM_MMoE(FeatureMap("x", assign_columns(fields)), CHAIN, **options)
    model.build()
    return model


def test_a5_the_legacy_form_has_as_many_parameters_as_counted_by_hand():
    model = preset("DeepFM_MMoE_legacy")
    composer, experts = model.bottom.composer, model.bottom.experts
    assert model.backbone.deep.count_params() == 264 * 256 + 256 + 256 * 128 + 128 == 100_736
    assert model.backbone.projection.count_params() == 136 * 128 + 128 == 17_536
    assert [dense.count_params() for dense in composer.projections] == [16_512, 1_152, 1_152]
    assert [norm.count_params() for norm in composer.norms] == [256, 256, 256]
    assert composer.adapter.count_params() == 384 * 128 + 128 == 49_280
    assert composer.out.count_params() == 16_512
    assert composer.last_norm.count_params() == 256
    assert experts.experts.count_params() == 4 * 16_512 == 66_048
    assert [gate.count_params() for gate in experts.gates] == [516, 516]
    towers = zip(model.towers.stacks, model.towers.outputs, strict=True)
    heads = [stack.count_params() + output.count_params() for stack, output in towers]
    assert heads == [16_641, 16_641]
    assert model.backbone.machine.count_params() == 0
    assert model.backbone.linear.count_params() == 33 * 3
    tables = 33 * 3 * (8 + 1)
    composed = 16_512 + 2 * 1_152 + 3 * 256 + 49_280 + 16_512 + 256
    assert model.count_params() == tables + 100_736 + 17_536 + composed + 66_048 + 2 * 516 + 2 * 16_641


def test_a5_the_split_form_has_as_many_parameters_as_counted_by_hand():
    model = preset("DeepFM_MMoE_split")
    assert model.backbone.deep.count_params() == 264 * 128 + 128 + 128 * 64 + 64
    assert model.backbone.machine.count_params() == 8 * 16
    widths = [dense.kernel.shape[0] for dense in model.bottom.composer.projections]
    assert widths == [64, 16, 8]
    assert model.backbone.projection is None


# ---- what adds up -------------------------------------------------------------------------------


def test_a_logit_is_the_sum_of_its_parts_and_the_funnel_chains_the_sums():
    model = made(
        backbone={"per_head_add": {"ctr": {"use_wide": True, "use_fm": True}}, "fm_projection_dim": 5}
    )
    inputs = tiny.tensors(tiny.inputs(5))
    parts, heads = model.logit_parts(inputs), model(inputs)
    assert {name: set(each) for name, each in parts.items()} == {
        "ctr": {"deep", "wide", "fm"},
        "cvr": {"deep"},
    }
    x = model.embedding(inputs)
    np.testing.assert_allclose(parts["ctr"]["wide"], model.backbone.linear(inputs), rtol=1e-5)
    np.testing.assert_allclose(parts["ctr"]["fm"], model.backbone.machine(x).numpy().sum(axis=1), rtol=1e-5)
    total = sum(part.numpy() for part in parts["ctr"].values())
    np.testing.assert_allclose(heads["ctr"], total, rtol=1e-5)
    np.testing.assert_allclose(heads["cvr"], parts["cvr"]["deep"], rtol=1e-5)
    probability = {name: 1 / (1 + np.exp(-head.numpy())) for name, head in heads.items()}
    np.testing.assert_allclose(probability["ctcvr"], probability["ctr"] * probability["cvr"], rtol=1e-5)


def test_without_a_joint_task_every_head_is_trained_on_its_own_label():
    tasks = tiny.tasks_of({"ctr": "click", "cvr": "buy | click"})
    model = made(tasks)
    assert model.funnel is None
    assert DeepFM_MMoE.objective_names(tasks) == ("ctr", "cvr")
    assert DeepFM_MMoE.objective_names(CHAIN) == ("ctr", "ctcvr")
    parts = model.logit_parts(tiny.tensors(tiny.inputs(3)))
    assert all(set(each) == {"deep", "wide", "fm"} for each in parts.values())


def test_the_legacy_form_projects_deep_and_pairs_and_adds_the_wide_logit_to_every_head():
    model = made(backbone={"use_legacy_pseudo_deepfm": True, "deep_hidden_dims": [6], "out_dim": 3})
    inputs = tiny.tensors(tiny.inputs(4))
    assert all(set(each) == {"deep", "wide"} for each in model.logit_parts(inputs).values())
    x = model.embedding(inputs)
    h, pairs = model.backbone(x)
    both = np.concatenate([model.backbone.deep(x), pairs], axis=1)
    np.testing.assert_allclose(h, both @ model.backbone.projection.kernel.numpy(), rtol=1e-4, atol=1e-6)
    assert h.shape == (4, 3)


def test_what_no_head_and_no_expert_uses_is_not_there():
    nothing = {"ctr": {}, "cvr": {}}
    model = made(
        backbone={"per_head_add": nothing, "fm_enabled": False},
        mmoe={**SMALL["mmoe"], "add_fm_vec": False, "add_emb": "none"},
    )
    assert model.backbone.linear is None
    assert model.backbone.machine is None
    model.compile("adam", run_eagerly=True)
    assert np.isfinite(float(model.train_step(tiny.batch(CHAIN))["loss"]))


def test_a_chain_is_of_binary_tasks():
    with pytest.raises(ValueError, match="'watch' .* is a regression"):
        DeepFM_MMoE.plan_tasks((*CHAIN, tiny.PLAIN["regression"][1]))


# ---- which loss reaches what --------------------------------------------------------------------


def reached(model, variable):
    """The objectives whose gradient reaches a variable."""
    batch = tiny.batch(model.tasks)
    found = contract.objective_gradients(model, batch, [variable])
    return [name for name, (gradient,) in found if contract.nonzero(gradient)]


def test_a1_a_wide_part_of_the_click_head_learns_from_clicks_and_from_the_product():
    model = made(backbone={"per_head_add": {"ctr": {"use_wide": True}}})
    rows = model.backbone.linear.embedding.blocks[0].rows
    assert reached(model, rows) == ["ctr", "ctcvr"]
    gates = dict(zip(model.bottom.experts.names, model.bottom.experts.gates, strict=True))
    assert reached(model, gates["ctr"].logits.kernel) == ["ctr", "ctcvr"]
    assert reached(model, gates["cvr"].logits.kernel) == ["ctcvr"]


def test_a1_with_own_heads_a_wide_part_of_the_click_head_never_learns_from_conversions():
    tasks = tiny.tasks_of({"ctr": "click", "cvr": "buy | click"})
    model = made(tasks, backbone={"per_head_add": {"ctr": {"use_wide": True, "use_fm": True}}})
    assert reached(model, model.backbone.linear.embedding.blocks[0].rows) == ["ctr"]
    assert reached(model, model.bottom.experts.gates[1].logits.kernel) == ["cvr"]
    assert reached(model, model.backbone.deep.hidden[0].kernel) == ["ctr", "cvr"]


# ---- starting biases ----------------------------------------------------------------------------


def test_biases_start_at_the_base_rates_under_the_weights_of_positives():
    labels = {name: y.numpy() for name, y in tiny.batch(CHAIN)[1].items()}
    rate = {name: np.nanmean(y) for name, y in labels.items()}
    model = made()
    model.imbalance = Imbalance(ImbalanceOptions(static_pos_weight={"ctr": 3.0}))
    model.prepare(labels, None)
    click = 3 * rate["ctr"] / (3 * rate["ctr"] + 1 - rate["ctr"])
    conversion = rate["ctcvr"] / click
    biases = [float(output.bias[0]) for output in model.towers.outputs]
    assert biases == pytest.approx([np.log(p / (1 - p)) for p in (click, conversion)], rel=1e-4)


@pytest.mark.parametrize(("prior", "expected"), [("none", [0, 0]), ({"ctr": 0.07}, [np.log(7 / 93), 0])])
def test_biases_start_where_the_stanza_says(prior, expected):
    model = made(bias_prior=prior)
    model.prepare({}, None)
    assert [float(output.bias[0]) for output in model.towers.outputs] == pytest.approx(expected)


# ---- the contract, as an entire-space model -----------------------------------------------------


class EntireSpace(DeepFM_MMoE):
    """Serves chains only, so that the contract looks at those."""

    @classmethod
    def plan_tasks(cls, tasks, explicit=True):
        if not explicit:
            raise ValueError("a chain is wanted")
        return super().plan_tasks(tasks, explicit)


EntireSpace.__name__ = "DeepFM_MMoE"  # options are found by name


@pytest.mark.parametrize(
    "check",
    [
        contract.serves_some_tasks_and_names_its_objectives,
        contract.gives_a_finite_float32_head_for_every_task,
        contract.every_variable_learns,
        contract.shared_variables_learn_from_several_objectives,
        contract.trains_under_a_weighting_of_each_family,
    ],
    ids=lambda check: check.__name__,
)
def test_the_contract_of_a_chain(check):
    check(EntireSpace)


def test_a_checkpoint_holds_the_seeds_of_the_noise_of_gates():
    model = made(mmoe={**SMALL["mmoe"], "gate_stabilize": {}})
    held = {id(variable) for variable in model.variables}
    seeds = [gate.noise.seed_generator.state for gate in model.bottom.experts.gates]
    assert len(seeds) == 2
    assert all(id(seed) in held for seed in seeds)


def test_pairs_that_are_a_part_need_the_machine_that_makes_them():
    with pytest.raises(ValueError, match="mmoe.add_fm_vec needs backbone.fm_enabled: True. Write add_fm"):
        DeepFM_MMoE(tiny.FEATURES, tiny.PLAIN["two"], backbone={"fm_enabled": False})
