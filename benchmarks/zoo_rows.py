"""The rows of the zoo's tables: which experiments there are on which data.

Members come from the tables that the library itself reads: every registered model, and on the reference every
weighting and surgery. What is written here is what a model needs beside its defaults, and what is left out.

The recipe (optimizer, batch, epochs, towers, what is measured) is that of the shipped stanzas, the same for
all rows of a data set. The ``*_hidden_units`` of a row of models are shapes: they are scaled until the
network has as many parameters as MMoE's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from benchmarks.public_data import located
from fuxi_mtl import registry
from fuxi_mtl.options import SURGERIES, WEIGHTINGS, Member

ROOT = Path(__file__).parent.parent
CONFIG = ROOT / "config"
REFERENCE = "MMoE"
SINGLE = "SingleTask"
_EXPERTS: dict[str, Any] = {"num_experts": 4, "expert_hidden_units": [128, 64]}
_LEVEL = {"num_shared_experts": 2, "num_specific_experts": 1, "expert_hidden_units": [128, 64]}
_TOWERS: dict[str, Any] = {"tower_hidden_units": [128, 64]}
_CHAIN = {"ctr": "is_click", "cvr": "long_view | is_click", "ctcvr": "is_click & long_view"}


@dataclass(frozen=True)
class Data:
    """A data set of the tables.

    Attributes:
        recipe: Shipped file and stanza whose recipe is used.
        of_model: Keys of that stanza that belong to its model or the data.
        changes: What differs from it.
        chain: Whether it has a click and what comes after it, as conversion models need.
        condition: Columns that say that rows differ in kind: APG's models generate weights from them, PEPNet
            gates its inputs by them, and the values of the first are the domains of M3oE and STAR.
        who: Columns that say who a row is about, by which PEPNet gates its towers.
    """

    recipe: tuple[str, str]
    of_model: tuple[str, ...] = ()
    changes: Mapping[str, Any] = field(default_factory=dict)
    chain: bool = True
    condition: tuple[str, ...] = ()
    who: tuple[str, ...] = ()


DATA = {
    "census_income": Data(
        ("census_income", "ShareBottom_default"),
        ("bottom_hidden_units",),
        chain=False,
        condition=("class_worker",),
        who=("age", "sex", "education"),
    ),
    "complete_journey": Data(
        ("complete_journey", "MMoE_journey"),
        ("num_experts", "expert_hidden_units"),
        condition=("department",),
        who=("household_id", "product_id", "manufacturer_id"),
    ),
    "kuairand_pure_chain": Data(
        ("kuairand_pure", "ShareBottom_kuairand"),
        ("bottom_hidden_units",),
        {"dataset_id": "kuairand_pure_chain", "tasks": _CHAIN},
        condition=("tab",),
        who=("user_id", "video_id", "author_id"),
    ),
}


@dataclass(frozen=True)
class Row:
    """One experiment of a table.

    Attributes:
        model: Its class.
        options: What its stanza has beside the recipe; None takes a key of the recipe away.
        needs_chain: Whether it is a conversion model.
        joint_only: Whether it takes the steps of the chain alone, without rates between them.
        conditioned: Whether its weights are generated from the condition of the data.
        by_domain: Whether the values of the condition are its domains.
        personal: Whether it is gated by the condition, and by who a row is about.
        of_reference: Whether it is the reference, or its network under something else: at its own size.
    """

    model: str
    options: Mapping[str, Any]
    needs_chain: bool = False
    joint_only: bool = False
    conditioned: bool = False
    by_domain: bool = False
    personal: bool = False
    of_reference: bool = False


def _conversion(model: str, **options: Any) -> Row:
    return Row(model, {**_TOWERS, **options}, needs_chain=True)


_PROPENSITY = {"propensity_hidden_units": [64]}
LEFT_OUT = {
    "DeepFM_MMoE": "a design with a recipe of its own",
    "ESM2": "its chain has a step more than these data",
}
_WRITTEN: dict[str, Row] = {
    SINGLE: Row("SingleTask", {"tower_hidden_units": [128, 64, 32]}),
    "ShareBottom": Row("ShareBottom", {"bottom_hidden_units": [256, 128]}),
    REFERENCE: Row("MMoE", _EXPERTS, of_reference=True),
    "MoE": Row("MoE", _EXPERTS),
    "CGC": Row("CGC", _LEVEL),
    "PLE": Row("PLE", {"num_layers": 2, **_LEVEL}),
    "KnowledgeTransfer": Row("KnowledgeTransfer", {"bottom": {"type": "MMoE", **_EXPERTS}}),
    "AITM": Row("AITM", {"tower_hidden_units": [128, 64, 32]}, needs_chain=True, joint_only=True),
    "APG_SharedBottom": Row("APG_SharedBottom", {"bottom_hidden_units": [256, 128]}, conditioned=True),
    "APG_MMOE": Row("APG_MMOE", _EXPERTS, conditioned=True),
    "APG_AITM": Row(
        "APG_AITM",
        {"bottom_hidden_units": [128, 64], "calibrator_weight": 0.6},
        needs_chain=True,
        joint_only=True,
        conditioned=True,
    ),
    "APG_AITM_V2": Row("APG_AITM_V2", _LEVEL, conditioned=True),
    "M3oE": Row(
        "M3oE",
        {
            "star_units": 16,  # of each domain
            "batch_norm": None,  # it normalises rows
            "trunk_hidden_units": [64],
            "num_experts": 2,
            "expert_hidden_units": [64, 32],
            "tower_hidden_units": [32],
        },
        by_domain=True,
    ),
    "SMES": Row(
        "MMoE",
        {
            "num_experts": 8,
            "expert_hidden_units": [128, 64],
            "sparse_routing": {"shared_experts": 1, "own_experts": 1},
        },
    ),
    "STAR": Row(
        "STAR",
        # Every domain has kernels of these; it normalises rows by domain, not hidden layers.
        {"batch_norm": None, "star_hidden_units": [64, 32], "auxiliary_hidden_units": [16]},
        by_domain=True,
    ),
    "DBMTL": Row("DBMTL", {"bottom": {"type": "ShareBottom", "bottom_hidden_units": [256, 128]}}),
    "STEM": Row(
        "STEM", {"num_shared_experts": 2, "num_specific_experts": 1, "expert_hidden_units": [128, 64]}
    ),
    "PEPNet": Row("PEPNet", {"tower_hidden_units": [128, 64], "gate_hidden_units": 32}, personal=True),
    "ESMM": _conversion("ESMM"),
    "NaiveCVR": _conversion("NaiveCVR"),
    "MTL_IMP": _conversion("MTL_IMP"),
    "NaiveIPW": _conversion("NaiveIPW", **_PROPENSITY),
    "MultiIPW": _conversion("MultiIPW"),
    "MultiDR": _conversion("MultiDR"),
    "DRJL": _conversion("DRJL", **_PROPENSITY),
    "HeuristicDR": _conversion("HeuristicDR"),
    "MTL_EIB": _conversion("MTL_EIB"),
    "ESCM2_IPS": _conversion("ESCM2_IPS", bottom="shared_embedding"),
    "ESCM2_DR": _conversion("ESCM2_DR", bottom="shared_embedding"),
}


def _at_defaults(model: str) -> Row:
    """A model at its defaults; its towers are the recipe's unless they are all that has a width."""
    options = registry.options(model)
    lists = {name: each.default for name, each in options.items() if name.endswith("_hidden_units")}
    shapes = {name: list(widths) for name, widths in lists.items() if widths}
    own = {name: widths for name, widths in shapes.items() if name != "tower_hidden_units"}
    return Row(model, own or shapes)


def _models() -> dict[str, Row]:
    with registry.declared(registry.zoo_folder()):
        joined = [name for name in registry.zoo_names() if name not in (*_WRITTEN, *LEFT_OUT)]
        first = {name: row for name, row in _WRITTEN.items() if not row.needs_chain}
        return {**first, **{name: _at_defaults(name) for name in joined}, **_WRITTEN}


MODELS = _models()


def _acronym(method: Member) -> str:
    """What its paper calls a method: ``PE_LTR``."""
    return method.summary.partition(",")[0].replace("-", "_")


# On the reference, at its own size.
BALANCED: dict[str, Mapping[str, Any]] = {
    **{name: {"loss_weight": name} for name in WEIGHTINGS if name != "EQ"},
    **{_acronym(each): {"surgery": each.name} for each in SURGERIES.members if each.target is not None},
    "MoCo": {"surgery": "moco", "surgery_mode": "last_layer", "surgery_normalize": True},
    "MGDA_normalized": {"surgery": "mgda", "surgery_normalize": True},
    "UW_PCGrad": {"loss_weight": "UW", "surgery": "pcgrad"},
}


def rows_of(data: str) -> dict[str, Row]:
    """All rows on a data set: models first, then what balances the reference."""
    rows = {name: row for name, row in MODELS.items() if DATA[data].chain or not row.needs_chain}
    for name, row in rows.items():
        rows[name] = replace(row, options={**row.options, **_of_data(row, data)})
    return rows | {f"{REFERENCE}_{name}": under(changes) for name, changes in BALANCED.items()}


def under(changes: Mapping[str, Any]) -> Row:
    """The reference's network with something else in its stanza."""
    reference = MODELS[REFERENCE]
    return replace(reference, options={**reference.options, **changes})


def stanza_of(row: Row, common: Mapping[str, Any]) -> dict[str, Any]:
    """A row's stanza: what is common, and its own."""
    own = {key: value for key, value in row.options.items() if value is not None}
    kept = {key: value for key, value in common.items() if key not in row.options}
    return {**kept, "model": row.model, **own}


def _of_data(row: Row, data: str) -> dict[str, Any]:
    """What a row's stanza has by the data that it is trained on."""
    found: dict[str, Any] = {}
    if row.joint_only:
        found["tasks"] = {task: event for task, event in recipe(data)["tasks"].items() if "|" not in event}
    if row.by_domain:
        found["domain"] = DATA[data].condition[0]
    if row.personal:
        found |= {"domain_features": list(DATA[data].condition), "gate_features": list(DATA[data].who)}
    if row.conditioned:
        found["apg"] = {
            "condition_features": list(DATA[data].condition),
            # What over-parameterisation adds is folded at serving: it would be paid for and not be there.
            "mode": "decomposed",
            "hypernet_hidden_units": [32],
        }
    return found


def recipe(data: str) -> dict[str, Any]:
    """What all stanzas on a data set have in common, without a model."""
    file, expid = DATA[data].recipe
    return shipped_recipe(file, expid, DATA[data].of_model) | DATA[data].changes


def shipped_recipe(file: str, expid: str, of_model: Sequence[str]) -> dict[str, Any]:
    """A shipped stanza without its model, equally weighted, to be trained in silence.

    Args:
        file: Its file.
        expid: Its name.
        of_model: Keys that belong to its model or its data.
    """
    shared = _read("model_config", "base")["Base"]
    stanza = {key: value for key, value in shared.items() if value is not None}  # null says nothing
    stanza |= _read("model_config", file)[expid]
    common = {key: value for key, value in stanza.items() if key not in ("model", *of_model)}
    return common | {"loss_weight": "EQ", "export": False, "verbose": 0}


def dataset_stanza(data: str, cache: Path) -> dict[str, Any]:
    """The shipped stanza, whatever the working directory is."""
    file = DATA[data].recipe[0]
    stanza = dict(_read("dataset_config", file)[data])
    paths = {key: located(value) for key, value in stanza.items() if key.endswith("_data") and value}
    return {**stanza, **paths, "data_root": f"{cache / 'zoo' / 'data'}/"}


def _read(kind: str, name: str) -> dict[str, Any]:
    return yaml.safe_load((CONFIG / kind / f"{name}.yaml").read_text(encoding="utf-8"))
