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
    },
    given=("names", "seed"),
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
    surgery_normalize: bool = option(
        False, "Compare gradients of length one; least norm favours the shortest, that of the rarest event."
    )
    surgery_scale: str | None = option(
        None,
        "What T equal gradients g become: T g as without surgery (sum), or g (mean); the method's own unless "
        "said: mean for mgda and pe_ltr, sum for pcgrad and cagrad.",
        SURGERY_SCALES,
    )
    surgery_private: str = option(
        "plain",
        "How variables of one objective move: as without surgery (plain), or by its coefficient, too, as in "
        "PE-LTR's paper (scaled).",
        ("plain", "scaled"),
    )
