"""Options of gradient surgery."""

from dataclasses import dataclass

from fuxi_mtl.options.declaring import option
from fuxi_mtl.options.family import Family

SURGERIES = Family(
    "surgery",
    "surgery",
    {
        "none": None,
        "mgda": "fuxi_mtl.surgery.methods:MinNorm",
        "pe_ltr": "fuxi_mtl.surgery.methods:ParetoEfficient",
        "pcgrad": "fuxi_mtl.surgery.methods:ProjectedConflicts",
        "cagrad": "fuxi_mtl.surgery.methods:ConflictAverse",
        "upgrad": "fuxi_mtl.surgery.methods:Unconflicting",
        "dualproj": "fuxi_mtl.surgery.methods:DualCone",
        "nash": "fuxi_mtl.surgery.methods:Bargained",
        "config": "fuxi_mtl.surgery.methods:EqualCosines",
        "imtl_g": "fuxi_mtl.surgery.methods:EqualProjections",
        "aligned": "fuxi_mtl.surgery.methods:Aligned",
        "gradvac": "fuxi_mtl.surgery.methods:Vaccinated",
        "metabalance": "fuxi_mtl.surgery.methods:MetaBalanced",
        "moco": "fuxi_mtl.surgery.tracking:Tracked",
        "graddrop": "fuxi_mtl.surgery.elementwise:SignDrop",
    },
    given=("names", "seed", "preference"),
)
SURGERY_MODES = ("representation", "last_layer", "full")
SURGERY_SCALES = ("sum", "mean")


@dataclass(frozen=True)
class SurgeryOptions:
    """Which way shared variables go when the objectives' gradients disagree."""

    surgery: str = option("none", "Method by gradients, after loss_weight.", SURGERIES)
    surgery_mode: str = option(
        "representation",
        "Where gradients are compared: embeddings' output, last shared layer, or all that is shared.",
        SURGERY_MODES,
    )
    representation_columns: str = option(
        "all",
        "Columns of the embeddings' output that count where GradNorm or surgery look there: all, or "
        "those with a trained variable behind them (learnt), without bare numbers and frozen vectors.",
        ("all", "learnt"),
    )
    surgery_normalize: bool = option(
        False, "Compare gradients of length one; least norm favours the shortest, that of the rarest event."
    )
    surgery_scale: str = option(
        "sum", "What T equal gradients g become: T g as without surgery (sum), or g (mean).", SURGERY_SCALES
    )
    surgery_smoothing: float = option(
        0.0,
        "How much is kept of the inner products of the steps before: one batch tells little of the angles.",
        least=0,
        below=1,
    )
    surgery_preference: dict[str, float] | None = option(
        None,
        "Factors of the gradients by objective, for methods that project their sum; 1 unless said.",
        example="{ctr: 1, cvr: 2}",
    )
    surgery_private: str = option(
        "plain",
        "How variables of one objective move: as without surgery (plain), or by its coefficient, too, as in "
        "PE-LTR's paper (scaled).",
        ("plain", "scaled"),
    )
