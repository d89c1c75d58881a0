"""The options of the shipped models: what they are, and what is said of one that is wrong."""

from pathlib import Path

import pytest
import tiny
import yaml

from fuxi_mtl import registry
from fuxi_mtl.config.routing import as_yaml
from fuxi_mtl.options.blocks import GateStabilize, Generation
from fuxi_mtl.options.signature import read_signature
from fuxi_mtl.options.values import convert, describe, located
from fuxi_mtl.registry import import_zoo

ZOO = import_zoo()
KNOWN = yaml.safe_load((Path(__file__).parent / "options.yaml").read_text(encoding="utf-8"))
SHIPPED = [name for name in registry.names() if registry.model(name).__module__.startswith(registry.ZOO)]


def test_every_option_has_the_default_that_stored_runs_rely_on():
    found = {
        name: {key: as_yaml(each.default) for key, each in registry.options(name).items()} for name in KNOWN
    }
    assert {name: {key: found[name][key] for key in known} for name, known in KNOWN.items()} == KNOWN


@pytest.mark.parametrize("name", SHIPPED)
def test_every_default_is_a_value_that_the_option_takes(name):
    for key, each in registry.options(name).items():
        converted = convert(located(each.default), each.type, key, each.option)
        assert as_yaml(converted) == as_yaml(each.default)


@pytest.mark.parametrize("name", SHIPPED)
def test_the_source_says_of_every_option_what_the_class_says(name):
    cls = registry.model(name)
    file = Path(ZOO.__path__[0]) / f"{cls.__module__.rpartition('.')[2]}.py"
    read = read_signature(file, name)
    assert read.given == ("features", "tasks")
    assert list(read.options.items()) == list(registry.options(name).items())


@pytest.mark.parametrize("name", SHIPPED)
def test_every_option_has_a_sentence(name):
    for key, each in registry.options(name).items():
        assert each.option.doc.endswith((".", "?")), key


def make(name, **options):
    cls = registry.model(name)
    return cls(tiny.FEATURES, next(iter(tiny.plans(cls).values())), **options)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "MMoE",
            {"num_exprts": 3},
            "MMoE has no option 'num_exprts'. Did you mean 'num_experts'? ",
        ),
        ("M3oE", {"batch_norm": True}, "M3oE has no option 'batch_norm'."),
        ("DeepFM_MMoE", {"tower_hidden_units": [3]}, "DeepFM_MMoE has no option 'tower_hidden_units'."),
        ("CGC", {"num_layers": 2}, "CGC has no option 'num_layers'."),
    ],
)
def test_an_option_that_the_model_does_not_have_is_a_type_error(name, options, message):
    with pytest.raises(TypeError) as error:
        make(name, **options)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("MMoE", {"num_experts": "two"}, "num_experts expects a whole number, not 'two'."),
        ("MMoE", {"num_experts": 0}, "num_experts is 0; it lies from 1 to 10000."),
        ("MMoE", {"expert_hidden_units": (8, 0)}, "expert_hidden_units[1] is 0; it lies from 1 to 65536."),
        ("MMoE", {"net_dropout": 1}, "net_dropout is 1; it lies from 0 to below 1."),
        (
            "MMoE",
            {"gate_stabilize": {"temprature": 1}},
            "gate_stabilize: unknown key 'temprature' (value 1). Did you mean 'temperature'? Keys: enabled, "
            "temperature, noise_std, eps, entropy_reg_weight, load_balance_kl_weight.",
        ),
        (
            "MMoE",
            {"gate_stabilize": GateStabilize(temperature=0)},
            "gate_stabilize.temperature is 0; it must be above 0.",
        ),
        ("MMoE", {"gate_stabilize": True}, "gate_stabilize expects a mapping or null, not true."),
        (
            "ESMM",
            {"bottom": {"type": "MMoE", "num_expert": 4}},
            "bottom: unknown key 'num_expert' (value 4) of MMoE. Did you mean 'num_experts'? Keys: type, "
            "num_experts, expert_hidden_units, gate_hidden_units, gate_stabilize, sparse_routing.",
        ),
        (
            "ESMM",
            {"bottom": {"type": "MMoE", "gate_stabilize": {"eps": 0}}},
            "bottom.gate_stabilize.eps is 0; it must be above 0.",
        ),
        (
            "ESMM",
            {"bottom": {"num_experts": 4}},
            "bottom needs the key 'type'. Choices: shared_embedding, ShareBottom, MMoE, PLE.",
        ),
        ("APG_MMOE", {"apg": {"rank_k": 64}}, "apg.overparam_p is 64 and rank_k 64: products of no larger"),
        ("DeepFM_MMoE", {"heads": {"ctr": {"units": [3]}}}, "heads.ctr: unknown key 'units' (value [3])."),
    ],
)
def test_a_program_is_told_what_a_stanza_is_told_without_a_location(name, options, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011  (the whole message is compared)
        make(name, **options)
    assert str(error.value).startswith(message)


def test_a_block_is_a_dataclass_or_a_mapping():
    models = [make("APG_SharedBottom", apg=each) for each in (Generation(rank_k=3), {"rank_k": 3})]
    one, other = (model.bottom.generation for model in models)
    assert one == other
    assert one.rank_k == 3


def test_help_shows_each_option_with_its_sentence():
    assert "    net_dropout: Share of hidden units dropped in training.\n" in registry.model("MMoE").__doc__
    assert registry.model("MMoE").__doc__.count("num_experts: ") == 1


def test_types_are_told_in_words():
    words = {key: describe(each.type) for key, each in registry.options("DeepFM_MMoE").items()}
    assert words["backbone"] == "a mapping or null"
    assert words["bias_prior"] == "text or a mapping of names to numbers"
