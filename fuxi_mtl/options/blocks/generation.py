"""The block ``apg``: the weights that are generated, and their condition."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from fuxi_mtl.options.declaring import MOST_WIDTH, option

BASIC, LOW_RANK, DECOMPOSED, OVER_PARAMETERIZED = MODES = (
    "basic",
    "low_rank",
    "decomposed",
    "over_parameterized",
)


@dataclass(frozen=True)
class Generation:
    """Adaptive parameter generation of layers.

    Raises:
        ValueError: A value that has no effect, or that contradicts another.

    Example:
        >>> generated = fm.Generation(mode="low_rank", rank_k=8, condition_features=["user_id"])
        >>> fm.APG_MMOE(data.features, data.tasks, apg=generated).logits(frame).shape
        (24, 2)
    """

    mode: Literal["basic", "low_rank", "decomposed", "over_parameterized"] = option(
        OVER_PARAMETERIZED,
        "basic generates the whole matrix W_i; low_rank U_i, S_i and V_i; decomposed S_i alone, between a U "
        "and a V that all rows share; over_parameterized makes U and V products.",
    )
    rank_k: int = option(
        16, "K, the width of S_i; no more than any layer has inputs or outputs.", least=1, most=MOST_WIDTH
    )
    overparam_p: int = option(
        64, "P, the inner width of the products, more than K.", least=1, most=MOST_WIDTH
    )
    hypernet_hidden_units: Sequence[int] = option(
        (32,), "Widths of the hidden layers of each generating network (relu).", least=1, most=MOST_WIDTH
    )
    generate_bias: bool = option(True, "Whether the bias is generated, too; else all rows share one.")
    condition_features: Sequence[str] | None = option(
        None,
        "Columns whose embeddings the weights depend on: one is group-wise, several are mix-wise. None is "
        "self-wise: each layer's own input.",
    )
    condition_mix: Literal["concat", "mean"] = option(
        "concat",
        "Of several, concat reads them side by side; mean generates from each and takes the mean of what "
        "comes out.",
    )
    new_condition_emb: bool = option(
        False, "Whether the condition has embeddings of its own beside those that the network sees."
    )
    condition_participate_bottom: bool = option(
        True, "Whether the network sees the columns of the condition as well."
    )
    stop_condition_gradient: bool = option(
        False,
        "Whether the generating networks leave what they read alone; only where the network reads it as "
        "well, and trains it.",
    )

    def __post_init__(self):
        if self.mode == OVER_PARAMETERIZED and self.overparam_p <= self.rank_k:
            raise ValueError(
                f"overparam_p is {self.overparam_p} and rank_k {self.rank_k}: products of no larger "
                "inner width add nothing. Raise overparam_p, or write mode: decomposed."
            )
        if self.condition_features is None:
            for key, default in (("new_condition_emb", False), ("condition_participate_bottom", True)):
                if getattr(self, key) is not default:
                    raise ValueError(f"{key} has no effect without condition_features.")
        elif not self.condition_features:
            raise ValueError("condition_features is empty. Name columns, or leave it out: self-wise.")
        if self.stop_condition_gradient and (self.new_condition_emb or not self.condition_participate_bottom):
            raise ValueError(
                "stop_condition_gradient leaves embeddings that only the condition reads untrained: the "
                "weights would follow the numbers they started from. Drop new_condition_emb and set "
                "condition_participate_bottom: True, so that the network trains them, or drop the stop."
            )
        if self.new_condition_emb and not self.condition_participate_bottom:
            raise ValueError(
                "new_condition_emb has no effect with condition_participate_bottom: False, where the "
                "embeddings of the condition serve nothing else."
            )

    def check_width(self, width: int, what: str) -> None:
        """A layer can have the rank.

        Args:
            width: Numbers that it has on one of its sides.
            what: What they are, for the error.

        Raises:
            ValueError: They are fewer than ``rank_k``.
        """
        if self.mode != BASIC and self.rank_k > width:
            raise ValueError(f"apg.rank_k is {self.rank_k}, which is more than {what} {width}.")
