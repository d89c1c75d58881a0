"""The blocks of DeepFM_MMoE: ``backbone``, ``mmoe`` and the entries of ``heads``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from fuxi_mtl.hints import did_you_mean
from fuxi_mtl.options.blocks.gates import GateStabilize
from fuxi_mtl.options.declaring import MOST_PARTS, MOST_WIDTH, option
from fuxi_mtl.options.layers import ACTIVATIONS


@dataclass(frozen=True)
class HeadAdd:
    """What is added to the logit of one head: an entry of ``per_head_add``."""

    use_wide: bool = option(False, "Whether the wide logit is.")
    use_fm: bool = option(False, "Whether the sum over pairs is.")


@dataclass(frozen=True)
class Backbone:
    """The block ``backbone``: the deep, pairwise and wide parts.

    Raises:
        ValueError: A value that cannot be, or that has no effect.
    """

    foreign: ClassVar[Mapping[str, str]] = {
        "return_logit_parts": "the model's logit_parts always gives them. Leave it out."
    }

    use_legacy_pseudo_deepfm: bool = option(
        False,
        "h = W [deep_h, fm_vec] + b takes the place of deep_h, and every head gets the wide logit and no FM "
        "logit.",
    )
    per_head_add: dict[str, HeadAdd] | None = option(
        None,
        "What each head gets, by name; a head without a name here gets neither. Null gives every head both.",
    )
    deep_hidden_dims: Sequence[int] = option((128, 64), "Widths of the deep part.", least=1, most=MOST_WIDTH)
    deep_dropout: float | None = option(
        None, "Share of the deep part's units dropped; the model's unless said.", least=0, below=1
    )
    deep_activation: str | None = option(
        None, "Activation of the deep part; the model's unless said.", ACTIVATIONS
    )
    deep_use_bn: bool | None = option(
        None, "Normalise the deep part over the batch; as the model unless said."
    )
    fm_enabled: bool = option(True, "Whether there is a factorization machine.")
    fm_projection_dim: int | None = option(
        None,
        "Width to which embeddings are projected for it; null takes them as they are.",
        least=1,
        most=MOST_WIDTH,
    )
    fm_scale: Literal["mean", "sum"] = option(
        "mean", "mean divides by the number of features, sum is the classic machine."
    )
    out_dim: int | None = option(
        None, "Width of h in the legacy form, that of the deep part unless said.", least=1, most=MOST_WIDTH
    )

    def __post_init__(self):
        if not self.deep_hidden_dims:
            raise ValueError("deep_hidden_dims is empty: the deep part needs a layer.")
        if self.use_legacy_pseudo_deepfm and not self.fm_enabled:
            raise ValueError("use_legacy_pseudo_deepfm needs fm_enabled: True.")
        if self.use_legacy_pseudo_deepfm and self.per_head_add is not None:
            raise ValueError(
                "per_head_add has no effect with use_legacy_pseudo_deepfm, which adds the wide logit to "
                "every head. Leave one of them out."
            )
        if not self.use_legacy_pseudo_deepfm and self.out_dim not in (None, self.deep_hidden_dims[-1]):
            raise ValueError(
                f"out_dim is {self.out_dim}, but the deep part ends in {self.deep_hidden_dims[-1]}, the "
                "last of deep_hidden_dims. Write that, or leave it out."
            )
        for name, add in (self.per_head_add or {}).items():
            if isinstance(add, HeadAdd) and add.use_fm and not self.fm_enabled:
                raise ValueError(f"per_head_add.{name}.use_fm needs fm_enabled: True.")

    def added(self, names: Sequence[str]) -> dict[str, HeadAdd]:
        """What each head gets.

        Raises:
            ValueError: ``per_head_add`` names what is no head.
        """
        for name in self.per_head_add or {}:
            if name not in names:
                raise ValueError(
                    f"backbone.per_head_add names {name!r}, which is no head.{did_you_mean(name, names)} "
                    f"Heads: {', '.join(names)}."
                )
        if self.use_legacy_pseudo_deepfm:
            return dict.fromkeys(names, HeadAdd(use_wide=True))
        if self.per_head_add is None:
            return dict.fromkeys(names, HeadAdd(use_wide=True, use_fm=self.fm_enabled))
        return {name: self.per_head_add.get(name, HeadAdd()) for name in names}


@dataclass(frozen=True)
class Mixture:
    """The block ``mmoe``: parts, adapter, experts and gates."""

    foreign: ClassVar[Mapping[str, str]] = {
        "gate_type": "gate_hidden_dims says it: [] is a linear gate. Leave it out.",
        "input": "the first part is always deep_h. Leave it out.",
        "log_gates": "write log_health_metrics: True beside the model's options.",
    }

    num_experts: int = option(4, "Number of experts.", least=1, most=MOST_PARTS)
    expert_mlp_dims: Sequence[int] = option((128,), "Widths of each expert.", least=1, most=MOST_WIDTH)
    gate_hidden_dims: Sequence[int] = option(
        (), "Widths of the hidden layers of each gate; none is a linear gate.", least=1, most=MOST_WIDTH
    )
    dropout: float | None = option(
        None,
        "Share dropped of experts' units and of the composed parts; the model's unless said.",
        least=0,
        most=MOST_PARTS,
        below=1,
    )
    gate_stabilize: GateStabilize | None = option(None, "Regularisation of the gates; null is off.")
    add_fm_vec: bool = option(True, "Whether the pairs of the factorization machine are a part.")
    add_emb: Literal["none", "sum", "mean", "concat"] = option(
        "mean",
        "none, or how the embeddings are a part: their sum or mean over features, or concat, all of them. "
        "Embeddings of different widths are summed by width.",
    )
    part_proj_dim: int | None = option(
        128, "Width to which each part is projected; null leaves them as they are.", least=1, most=MOST_WIDTH
    )
    fusion: Literal["concat", "sum"] = option("concat", "How parts become one.")
    adapter_mlp_dims: Sequence[int] = option(
        (128,), "Widths of the hidden layers behind it; none is no adapter.", least=1, most=MOST_WIDTH
    )
    adapter_dropout: float | None = option(
        None, "Share of their units dropped; that of dropout unless said.", least=0, below=1
    )
    norm: Literal["layernorm", "none"] = option(
        "layernorm", "Normalisation of the parts and of what comes out."
    )

    def __post_init__(self):
        if self.fusion == "sum" and self.part_proj_dim is None:
            raise ValueError("fusion sum adds parts of one width: give part_proj_dim, or use concat.")


@dataclass(frozen=True)
class Head:
    """An entry of ``heads``: the tower of one head, or of all of them under ``default``."""

    mlp_dims: Sequence[int] | None = option(None, "Widths of the hidden layers.", least=1, most=MOST_WIDTH)
    dropout: float | None = option(
        None, "Share of their units dropped; the model's unless said.", least=0, below=1
    )
    use_bn: bool | None = option(None, "Whether they are normalised; as the model unless said.")
    activation: str | None = option(None, "Their activation; the model's unless said.", ACTIVATIONS)
