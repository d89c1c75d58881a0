"""Options that models share: each is declared here and nowhere else.

A model takes a group of them flat, beside its own options, and reads the values by name::

    class MMoE(MultiTaskModel):
        defaults: ClassVar[CommonOptions] = {"embedding_dim": 8}  # where its own differ

        def __init__(self, features, tasks, *, num_experts: int = 8, **common: Unpack[CommonOptions]):
            super().__init__(features, tasks)
            self.embedding = FeatureEmbedding(features, **embedding_options(common))
            self.towers = Towers(names, common["tower_hidden_units"], **mlp_options(common))

A key that a model's group does not have is unknown to that model.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypedDict, get_type_hints

from fuxi_mtl.options.blocks import (
    GateStabilize,
    Generation,
    PropensityWeights,
    SequenceGroup,
    SparseRouting,
)
from fuxi_mtl.options.bottoms import BOTTOMS
from fuxi_mtl.options.declaring import MOST_PARTS, MOST_WIDTH, option
from fuxi_mtl.options.interactions import INTERACTIONS
from fuxi_mtl.options.layers import ACTIVATIONS, penalty
from fuxi_mtl.options.signature import Parameter

# ---- what several models write beside the star --------------------------------------------------

BottomUnits = Annotated[
    Sequence[int], option("Widths of the stack under the towers.", least=1, most=MOST_WIDTH)
]
ExpertUnits = Annotated[Sequence[int], option("Widths of each expert.", least=1, most=MOST_WIDTH)]
GateUnits = Annotated[
    Sequence[int],
    option(
        "Widths of the hidden layers of each gate; none is the gate of MMoE's paper.",
        least=1,
        most=MOST_WIDTH,
    ),
]
NumExperts = Annotated[int, option("Number of experts.", least=1, most=MOST_PARTS)]
NumSharedExperts = Annotated[int, option("Shared experts, in each level.", least=0, most=MOST_PARTS)]
NumSpecificExperts = Annotated[
    int, option("Private experts of each task, in each level.", least=0, most=MOST_PARTS)
]
NumLevels = Annotated[int, option("Number of levels; 1 is CGC.", least=1, most=MOST_PARTS)]
CalibratorWeight = Annotated[
    float, option("Factor of the loss of steps more probable than the step before.", least=0)
]
LambdaC = Annotated[float, option("Factor of the risk of conversions.", least=0)]
LambdaG = Annotated[float, option("Factor of the loss of the joint event.", least=0)]
Weights = Annotated[
    PropensityWeights | Mapping | None, option("Weights of clicked rows; null for the defaults.")
]
Imputed = Annotated[
    Literal["error", "label"],
    option(
        "What is imputed: the error, or the label: a pseudo-label, which trains the conversion tower on "
        "unclicked rows."
    ),
]
ImputationGradient = Annotated[
    Literal["joint", "stop", "alternate"],
    option(
        "joint: the risk moves the imputed error, too; stop: it learns from its own loss only; alternate: "
        "likewise, and it moves in steps of its own."
    ),
]
Apg = Annotated[
    Generation | Mapping | None, option("Which weights are generated, and from what; null for the defaults.")
]
Stabilize = Annotated[
    GateStabilize | Mapping | None,
    option("Temperature, noise and penalties of gates; null is the gate of the paper."),
]
Routing = Annotated[
    SparseRouting | Mapping | None,
    option("Few experts for each row (SMES); null for all of them, as in MMoE's paper."),
]

# ---- groups of options that a model takes flat ----------------------------------------------------


class NetworkOptions(TypedDict, total=False):
    """Embeddings and hidden layers."""

    embedding_dim: Annotated[int, option("Width of the embeddings.", default=16, least=1, most=MOST_WIDTH)]
    embedding_regularizer: Annotated[
        float | str,
        option(
            "Penalty of the embedding rows of a batch: a number (L2), l1(x), l2(x) or l1_l2(a,b).",
            default=1e-6,
            check=penalty,
        ),
    ]
    hidden_activations: Annotated[
        str | Sequence[str],
        option(
            "Activation of hidden layers, one for all or one a layer.", choices=ACTIVATIONS, default="relu"
        ),
    ]
    net_dropout: Annotated[
        float, option("Share of hidden units dropped in training.", default=0.0, least=0, below=1)
    ]
    net_regularizer: Annotated[
        float | str,
        option(
            "Penalty of the kernels: a number (L2), l1(x), l2(x) or l1_l2(a,b).", default=0.0, check=penalty
        ),
    ]

    sequences: Annotated[
        dict[str, SequenceGroup] | None,
        option(
            "Histories by a name of their own: columns of the same events, and the encoder that makes one "
            "vector of them; null leaves each column a bag.",
            default=None,
            example="{clicks: {columns: {click_history: item_id}, encoder: din}}",
        ),
    ]
    interaction: Annotated[
        str | dict | None,
        option(
            "What lies between the embeddings and whatever shares or separates heads: an interaction, or a "
            "block of that type with its options; null is nothing.",
            choices=INTERACTIONS,
            default=None,
            example="{type: dcnv2, num_cross_layers: 3}",
        ),
    ]


class _Norm(TypedDict, total=False):
    batch_norm: Annotated[bool, option("Normalise hidden layers over the batch.", default=False)]


class _Towers(TypedDict, total=False):
    tower_hidden_units: Annotated[
        Sequence[int],
        option(
            "Widths of the hidden layers of each tower, one tower a task.",
            default=(64,),
            least=1,
            most=MOST_WIDTH,
        ),
    ]


class CommonOptions(NetworkOptions, _Norm, _Towers, total=False):
    """Embeddings, hidden layers and towers: what nearly every model has."""


class TowerlessOptions(NetworkOptions, _Norm, total=False):
    """Without towers of the common kind."""


class UnnormedOptions(NetworkOptions, _Towers, total=False):
    """Without normalisation of batches."""


class ExtractionOptions(CommonOptions, total=False):
    """And experts of each task beside shared ones."""

    num_shared_experts: NumSharedExperts
    num_specific_experts: NumSpecificExperts
    expert_hidden_units: ExpertUnits
    gate_hidden_units: GateUnits


class BottomOptions(CommonOptions, total=False):
    """And any bottom under the towers."""

    bottom: Annotated[
        str | dict,
        option(
            "What lies under the towers: a bottom, or a block of that type with its options.",
            choices=BOTTOMS,
            default="shared_embedding",
        ),
    ]


class FrozenPropensityOptions(BottomOptions, total=False):
    """And a propensity model that is fitted beforehand."""

    propensity_hidden_units: Annotated[
        Sequence[int],
        option(
            "Hidden layers of the propensity model; none is a logistic regression.",
            default=(64,),
            least=1,
            most=MOST_WIDTH,
        ),
    ]
    propensity_epochs: Annotated[
        int, option("Passes over the training data that fit it.", default=1, least=1)
    ]
    propensity_learning_rate: Annotated[float, option("Step of its Adam.", default=0.001, above=0)]


def own_first(options: Mapping[str, Parameter]) -> dict[str, Parameter]:
    """The options of a model as people look for them: its own, then those that models share."""
    shared = get_type_hints(CommonOptions)
    return {key: options[key] for key in sorted(options, key=shared.__contains__)}


def embedding_options(common: Mapping[str, Any], interacting: bool = True) -> dict[str, Any]:
    """What a group says of embeddings, as :class:`fuxi_mtl.layers.FeatureEmbedding` takes it.

    Args:
        common: The group.
        interacting: Whether the interaction lies right behind the embeddings.
    """
    names = {
        "embedding_dim": "embedding_dim",
        "penalty": "embedding_regularizer",
        "sequences": "sequences",
    }
    own = {ours: common[key] for ours, key in names.items()}
    if interacting and common["interaction"] is not None:
        own |= {"interaction": common["interaction"], "mlp": mlp_options(common)}
    return own


def mlp_options(common: Mapping[str, Any]) -> dict[str, Any]:
    """What a group says of hidden layers, as :class:`fuxi_mtl.layers.MLP` takes it."""
    names = {
        "activations": "hidden_activations",
        "dropout": "net_dropout",
        "batch_norm": "batch_norm",
        "penalty": "net_regularizer",
    }
    return {ours: common[key] for ours, key in names.items() if key in common}
