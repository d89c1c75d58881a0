"""The block ``apg``: which weights are generated, and from what."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fuxi_mtl.layers.blocks import check_choice, check_range, read_block

BASIC, LOW_RANK, DECOMPOSED, OVER_PARAMETERIZED = MODES = (
    "basic",
    "low_rank",
    "decomposed",
    "over_parameterized",
)
MIXES = ("concat", "mean")


@dataclass(frozen=True)
class Generation:
    """The block ``apg``: which weights are generated, and from what.

    Attributes:
        mode: ``basic`` generates the whole matrix W_i; ``low_rank`` U_i, S_i and V_i; ``decomposed`` S_i
            alone, between a U and a V that all rows share; ``over_parameterized`` makes U and V products.
        rank_k: K, the width of S_i; no more than any layer has inputs or outputs.
        overparam_p: P, the inner width of the products, more than K.
        hypernet_hidden_units: Widths of the hidden layers of each generating network (relu).
        generate_bias: Whether the bias is generated, too; else all rows share one.
        condition_features: Columns whose embeddings the weights depend on: one is group-wise, several are
            mix-wise. None is self-wise: each layer's own input.
        condition_mix: Of several, ``concat`` reads them side by side; ``mean`` generates from each and takes
            the mean of what comes out.
        new_condition_emb: Whether the condition has embeddings of its own beside those that the network sees.
        condition_participate_bottom: Whether the network sees the columns of the condition as well.
        stop_condition_gradient: Whether the generating networks leave what they read alone; only where the
            network reads it as well, and trains it.

    Raises:
        ValueError: A value that cannot be, or that has no effect.
    """

    mode: str = OVER_PARAMETERIZED
    rank_k: int = 16
    overparam_p: int = 64
    hypernet_hidden_units: Sequence[int] = (32,)
    generate_bias: bool = True
    condition_features: Sequence[str] | None = None
    condition_mix: str = "concat"
    new_condition_emb: bool = False
    condition_participate_bottom: bool = True
    stop_condition_gradient: bool = False

    def __post_init__(self):
        check_choice("apg.mode", self.mode, MODES)
        check_choice("apg.condition_mix", self.condition_mix, MIXES)
        check_range("apg.rank_k", self.rank_k, 1)
        if self.mode == OVER_PARAMETERIZED and self.overparam_p <= self.rank_k:
            raise ValueError(
                f"apg.overparam_p is {self.overparam_p} and rank_k {self.rank_k}: products of no larger "
                "inner width add nothing. Raise overparam_p, or write mode: decomposed."
            )
        if self.condition_features is None:
            for key, default in (("new_condition_emb", False), ("condition_participate_bottom", True)):
                if getattr(self, key) is not default:
                    raise ValueError(f"apg.{key} has no effect without condition_features.")
        elif not self.condition_features:
            raise ValueError("apg.condition_features is empty. Name columns, or leave it out: self-wise.")
        if self.stop_condition_gradient and (self.new_condition_emb or not self.condition_participate_bottom):
            raise ValueError(
                "apg.stop_condition_gradient leaves embeddings that only the condition reads untrained: the "
                "weights would follow the numbers they started from. Drop new_condition_emb and set "
                "condition_participate_bottom: True, so that the network trains them, or drop the stop."
            )
        if self.new_condition_emb and not self.condition_participate_bottom:
            raise ValueError(
                "apg.new_condition_emb has no effect with condition_participate_bottom: False, where the "
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


def generation(block: Mapping | None) -> Generation:
    """What the option ``apg`` describes.

    Raises:
        ValueError: An unknown key, or a value that cannot be.
    """
    return read_block(Generation, block, "apg")
