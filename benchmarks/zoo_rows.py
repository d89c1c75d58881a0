"""The rows of the zoo's tables: which experiments there are on which data. A new model joins by a row.

The recipe (optimizer, batch, epochs, towers, what is measured) is that of the shipped stanzas, the same for
all rows of a data set. The lists ``*_hidden_units`` of a row of models are shapes: they are scaled until the
network has as many parameters as MMoE's. DeepFM_MMoE is left out: it is a design with a recipe of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

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
        condition: Columns that say that rows differ in kind: APG's models generate weights from them, and the
            values of the first are M3oE's domains.
    """

    recipe: tuple[str, str]
    of_model: tuple[str, ...] = ()
    changes: Mapping[str, Any] = field(default_factory=dict)
    chain: bool = True
    condition: tuple[str, ...] = ()


DATA = {
    "census_income": Data(
        ("census_income", "ShareBottom_default"),
        ("bottom_hidden_units",),
        chain=False,
        condition=("class_worker",),
    ),
    "complete_journey": Data(
        ("complete_journey", "MMoE_journey"),
        ("num_experts", "expert_hidden_units"),
        condition=("department",),
    ),
    "kuairand_pure_chain": Data(
        ("kuairand_pure", "ShareBottom_kuairand"),
        ("bottom_hidden_units",),
        {"dataset_id": "kuairand_pure_chain", "tasks": _CHAIN},
        condition=("tab",),
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
    """

    model: str
    options: Mapping[str, Any]
    needs_chain: bool = False
    joint_only: bool = False
    conditioned: bool = False
    by_domain: bool = False


def _conversion(model: str, **options: Any) -> Row:
    return Row(model, {**_TOWERS, **options}, needs_chain=True)


_PROPENSITY = {"propensity_hidden_units": [64]}
MODELS: dict[str, Row] = {
    SINGLE: Row("SingleTask", {"tower_hidden_units": [128, 64, 32]}),
    "ShareBottom": Row("ShareBottom", {"bottom_hidden_units": [256, 128]}),
    REFERENCE: Row("MMoE", _EXPERTS),
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


def _acronym(method: Member) -> str:
    """What its paper calls a method: ``PE_LTR``."""
    return method.summary.partition(",")[0].replace("-", "_")


# On the reference, at its own size.
BALANCED: dict[str, Mapping[str, Any]] = {
    **{name: {"loss_weight": name} for name in WEIGHTINGS if name != "EQ"},
    **{_acronym(each): {"surgery": each.name} for each in SURGERIES.members if each.target is not None},
    "MGDA_normalized": {"surgery": "mgda", "surgery_normalize": True},
    "UW_PCGrad": {"loss_weight": "UW", "surgery": "pcgrad"},
}


def rows_of(data: str) -> dict[str, Row]:
    """All rows on a data set: models first, then what balances the reference."""
    rows = {name: row for name, row in MODELS.items() if DATA[data].chain or not row.needs_chain}
    for name, row in rows.items():
        rows[name] = replace(row, options={**row.options, **_of_data(row, data)})
    reference = MODELS[REFERENCE]
    return rows | {
        f"{REFERENCE}_{name}": Row(reference.model, {**reference.options, **changes})
        for name, changes in BALANCED.items()
    }


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
    shared = _read("model_config", "base")["Base"]
    stanza = {key: value for key, value in shared.items() if value is not None}  # null says nothing
    stanza |= _read("model_config", file)[expid]
    own = ("model", *DATA[data].of_model)
    common = {key: value for key, value in stanza.items() if key not in own}
    common |= {"loss_weight": "EQ", "export": False, "verbose": 0, **DATA[data].changes}
    return common


def dataset_stanza(data: str, cache: Path) -> dict[str, Any]:
    """The shipped stanza, whatever the working directory is."""
    file = DATA[data].recipe[0]
    stanza = dict(_read("dataset_config", file)[data])
    paths = {k: str((ROOT / v).resolve()) for k, v in stanza.items() if k.endswith("_data") and v}
    return {**stanza, **paths, "data_root": f"{cache / 'zoo' / 'data'}/"}


def _read(kind: str, name: str) -> dict[str, Any]:
    return yaml.safe_load((CONFIG / kind / f"{name}.yaml").read_text(encoding="utf-8"))
