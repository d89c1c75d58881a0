"""The encoders of sequences, by the name of their type, and the options that several of them have."""

from collections.abc import Sequence
from typing import Annotated, Literal

from fuxi_mtl.options.declaring import MOST_PARTS, MOST_WIDTH, option
from fuxi_mtl.options.family import Family
from fuxi_mtl.options.layers import ACTIVATIONS

_POOLED = "fuxi_mtl.layers.sequences.pooled"
ENCODERS = Family(
    "encoder",
    "encoder",
    {
        "mean": f"{_POOLED}:MeanSequence",
        "sum": f"{_POOLED}:SumSequence",
        "max": f"{_POOLED}:MaxSequence",
        "din": "fuxi_mtl.layers.sequences.din:InterestAttention",
        "target_attention": "fuxi_mtl.layers.sequences.target_attention:TargetAttention",
        "transformer": "fuxi_mtl.layers.sequences.transformer:TargetTransformer",
    },
    given=(),
    in_block=True,
)

DICE = "dice"  # an activation that knows which positions count, so that only encoders have it

Empty = Annotated[
    Literal["zeros", "learned"],
    option("What stands for a history without events: zeros, or a vector that is trained."),
]
AttentionUnits = Annotated[
    Sequence[int],
    option("Widths of the hidden layers of the network of scores.", least=1, most=MOST_WIDTH),
]
AttentionActivation = Annotated[
    str, option("Activation of these layers; dice is DIN's own.", choices=(DICE, *ACTIVATIONS))
]
OutputActivation = Annotated[str, option("Activation of a score itself.", choices=ACTIVATIONS)]
ScoreNormalizer = Annotated[
    Literal["none", "softmax", "scaled_softmax", "sigmoid"],
    option(
        "How scores become weights: none is the paper's, which keeps how strong an interest is; softmax "
        "makes them shares; scaled_softmax and sigmoid divide by the root of the query's width first."
    ),
]
DiceEps = Annotated[
    float,
    option(
        "Added to dice's variance. A unit that hardly varies is a step where this is small: 1e-9, as "
        "published, allows a slope of 31,623.",
        above=0,
    ),
]
StopQuery = Annotated[bool, option("Whether the target's vectors are not trained through the scores.")]
AttentionDropout = Annotated[
    float, option("Share dropped in training, of what the attention computes.", least=0, below=1)
]
Heads = Annotated[int, option("Attention heads.", least=1, most=MOST_PARTS)]
AttentionWidth = Annotated[
    int, option("Width of queries and keys over all heads, a multiple of heads.", least=1, most=MOST_WIDTH)
]
OutputWidth = Annotated[
    int | None, option("Width of what comes out; the target's unless said.", least=1, most=MOST_WIDTH)
]
Projected = Annotated[
    bool,
    option("False takes vectors as they are, split among the heads, without any variable."),
]
ResidualQuery = Annotated[bool, option("Whether the target's vector is added to what comes out.")]
Blocks = Annotated[int, option("Blocks of self-attention.", least=1, most=MOST_PARTS)]
FeedForwardWidth = Annotated[
    int | None, option("Hidden width behind each attention; that of the events unless said.", least=1)
]
NormPlace = Annotated[
    Literal["auto", "post", "pre"],
    option("Where rows are normalised: post is the paper's; auto is post for one block and pre for more."),
]
TimeBias = Annotated[
    bool,
    option(
        "Whether each head adds a number for how long ago an event was to its score; the group needs a time."
    ),
]
TransformerPooling = Annotated[
    Literal["target", "mean", "sum", "concat"],
    option(
        "What is read of the last block: the target's row, the mean or sum of all events and it, or all of "
        "them side by side, as wide as the longest history."
    ),
]
Causal = Annotated[bool, option("Whether an event sees no later one.")]
