"""The interactions of features, by the name of their type, and the options of each."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Literal

from fuxi_mtl.hints import did_you_mean
from fuxi_mtl.options.declaring import MOST_PARTS, MOST_WIDTH, option
from fuxi_mtl.options.family import Family
from fuxi_mtl.options.layers import activation

INTERACTIONS = Family(
    "interaction",
    "interaction",
    {
        "dcnv2": "fuxi_mtl.layers.interactions.cross:CrossNetwork",
        "masknet": "fuxi_mtl.layers.interactions.mask:MaskedBlocks",
        "finalmlp": "fuxi_mtl.layers.interactions.streams:TwoStreams",
        "rankmixer": "fuxi_mtl.layers.interactions.mixer:TokenMixer",
    },
    given=("columns", "numbers", "mlp"),
    in_block=True,
)

# ---- dcnv2 ----------------------------------------------------------------------------------------

ModelStructure = Annotated[
    Literal["parallel", "stacked", "stacked_parallel", "crossnet_only"],
    option("Whether an MLP lies beside the crosses, behind them, both, or nowhere."),
]
CrossLayers = Annotated[int, option("Crosses, one behind the other.", least=1, most=MOST_PARTS)]
CrossKernel = Annotated[
    Literal["auto", "full", "low_rank"],
    option("Whether W is one matrix or U V^T, without a mixture; auto is full for inputs up to 512 wide."),
]
LowRankMixture = Annotated[bool, option("Whether each W is a mixture of experts of low rank.")]
LowRank = Annotated[
    int | None,
    option("Columns of U and V; a quarter of the inputs unless said.", least=1, most=MOST_WIDTH),
]
CrossExperts = Annotated[int, option("Experts of each mixture.", least=1, most=MOST_PARTS)]
CrossGates = Annotated[
    Literal["per_layer", "shared"],
    option("Whether each mixture has gates of its own, or all have the same as in FuxiCTR."),
]
GateActivation = Annotated[
    Literal["softmax", "sigmoid"], option("Whether gates are shares, or each a number by itself.")
]
ExpertActivation = Annotated[
    Literal["tanh", "linear"], option("What comes behind V and behind C in an expert.")
]
StackedUnits = Annotated[
    Sequence[int], option("Widths of the MLP behind the crosses.", least=1, most=MOST_WIDTH)
]
ParallelUnits = Annotated[
    Sequence[int], option("Widths of the MLP beside the crosses.", least=1, most=MOST_WIDTH)
]

# ---- masknet --------------------------------------------------------------------------------------

MaskNetType = Annotated[
    Literal["ParallelMaskNet", "SerialMaskNet"],
    option("Whether blocks stand side by side with an MLP behind them, or one behind the other."),
]
MaskBlocks = Annotated[int, option("Blocks side by side.", least=1, most=MOST_PARTS)]
MaskWidth = Annotated[int, option("Width of each of these.", least=1, most=MOST_WIDTH)]
ReductionRatio = Annotated[
    float,
    option("Hidden width of the network of a mask, in widths of what is masked.", above=0, most=100),
]
MaskUnits = Annotated[
    Sequence[int],
    option("Widths of the blocks, if serial; of the MLP behind them, if parallel.", least=1, most=MOST_WIDTH),
]
EmbeddingNorm = Annotated[bool, option("Whether each feature's vector is normalised before its mask.")]
HiddenNorm = Annotated[bool, option("Whether rows are normalised in each block.")]
NumberWidth = Annotated[
    int | None,
    option(
        "Width of the vector of a number under emb_layernorm; that of most features unless said.",
        least=2,
        most=MOST_WIDTH,
    ),
]

# ---- finalmlp -------------------------------------------------------------------------------------

StreamUnits = Annotated[Sequence[int], option("Widths of this stream.", least=1, most=MOST_WIDTH)]
StreamActivations = Annotated[
    str | Sequence[str] | None,
    option("Its activation, one for all or one a layer; the model's unless said.", check=activation),
]
StreamDropout = Annotated[
    float | None, option("Share dropped in training; the model's unless said.", least=0, below=1)
]
StreamNorm = Annotated[
    bool | None, option("Whether it is normalised over the batch; as the model is unless said.")
]
UseGates = Annotated[bool, option("Whether each stream sees the features through a gate of its own.")]
SelectionUnits = Annotated[
    Sequence[int], option("Widths of the hidden layers of these gates.", least=1, most=MOST_WIDTH)
]
Context = Annotated[
    Sequence[str],
    option("Features that this stream's gate reads; none is a vector that is trained.", example="[user_id]"),
]
FusionHeads = Annotated[
    int, option("Parts of the streams that meet, a divisor of both widths.", least=1, most=MOST_PARTS)
]
StreamsOutput = Annotated[
    Literal["fusion", "streams"],
    option("What comes out: fused numbers, or both streams and the product of each part."),
]
FusionWidth = Annotated[int, option("How many fused numbers.", least=1, most=MOST_WIDTH)]

# ---- rankmixer ------------------------------------------------------------------------------------

Tokens = Annotated[
    int,
    option("Tokens that the features are cut into, in their order; token_groups says it otherwise.", least=2),
]
TokenGroups = Annotated[
    dict[str, Sequence[str]] | None,
    option(
        "The features of each token, by a name of its own; null cuts them into num_tokens.",
        example="{who: [user_id, age], what: [item_id, cate_id]}",
    ),
]
Tokenizer = Annotated[
    Literal["separate", "shared"],
    option("Whether each token is made by a kernel of its own; shared needs tokens that are cut."),
]
TokenWidth = Annotated[
    int, option("Width of a token, a multiple of the tokens' number.", least=1, most=MOST_WIDTH)
]
MixerBlocks = Annotated[int, option("Blocks of mixing and networks.", least=1, most=MOST_PARTS)]
FeedForwardRatio = Annotated[
    float, option("Hidden width of a token's network, in widths of a token.", above=0, most=100)
]
MixerNorm = Annotated[
    Literal["post", "pre"], option("Where tokens are normalised: behind what is added, or before.")
]


def check_tokens(count: int, width: int) -> None:
    """The width of tokens can be cut into as many pieces as there are tokens.

    Raises:
        ValueError: It cannot.
    """
    if width % count:
        nearest = max(count, round(width / count) * count)
        raise ValueError(
            f"interaction.token_dim is {width}, which {count} tokens cannot be mixed in: it is a multiple of "
            f"their number. The nearest is {nearest}."
        )


def check_named(options: Mapping, names: Sequence[str]) -> None:
    """What the options of a block name is among the inputs, and each input is of one token.

    Args:
        options: Of the block, ``type`` included or not.
        names: Features and histories in the input of the network.

    Raises:
        ValueError: With the nearest name, or with what is missing.
    """
    for key in ("fs1_context", "fs2_context"):
        _check_known(f"interaction.{key}", options.get(key) or (), names)
    groups = options.get("token_groups") or {}
    taken: dict[str, str] = {}
    for token, members in groups.items():
        where = f"interaction.token_groups.{token}"
        _check_known(where, members, names)
        if not members:
            raise ValueError(f"{where} is empty; name the features of the token.")
        for name in members:
            if name in taken:
                raise ValueError(f"{where}: {name!r} is in {taken[name]}, too. A feature is of one token.")
            taken[name] = token
    missing = [name for name in names if name not in taken]
    if groups and missing:
        raise ValueError(
            f"interaction.token_groups has no token for {', '.join(missing)}. Each input is of one token."
        )
    if len(groups) == 1:
        raise ValueError("interaction.token_groups has one token. The least is 2.")


def _check_known(where: str, given: Iterable[str], names: Sequence[str]) -> None:
    for name in given:
        if name not in names:
            raise ValueError(
                f"{where} names {name!r}, which is no input.{did_you_mean(name, names)} Inputs: "
                f"{', '.join(names)}."
            )
