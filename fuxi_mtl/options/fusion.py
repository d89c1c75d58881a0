"""Options of one score out of several: the block ``fusion``."""

from dataclasses import dataclass

from fuxi_mtl.options.declaring import MOST_OF_SEEDS, MOST_WIDTH, option

METHODS = ("product", "sum", "rank", "ltr")
TIES = ("min", "average", "dense")
TRANSFORMS = ("log", "sqrt", "identity", "power", "logit")
WEIGHTS = ("equal", "cem", "optuna", "online")
MEASURES = ("gAUC", "NDCG", "AUC")


@dataclass(frozen=True)
class SearchOptions:
    """``search``: how weights are looked for. Weights are the softmax of what is searched."""

    seed: int = option(2026, "Seed of everything random.", least=0, most=MOST_OF_SEEDS)
    rounds: int = option(30, "cem, online: rounds of samples.", least=1)
    samples: int = option(
        64, "cem: weights in a round. online: traffic groups, each with its weights.", least=1
    )
    elites: int = option(10, "cem, online: best of a round, which place the next one.", least=1)
    smoothing: float = option(
        0.7, "cem, online: share of the elites in the new mean and deviation.", above=0, most=1
    )
    least_deviation: list[float] = option(
        [0.1, 0.01],
        "cem, online: the deviation stays above the first at the start, the second at the end.",
        least=0,
    )
    trials: int = option(200, "optuna: weights to try.", least=1)
    top: int = option(
        5, "online: first places of a request, which bring the values of their labels.", least=1
    )
    noise: float = option(
        0.0, "online: deviation of the noise of a group's metric, beside that of its requests.", least=0
    )


@dataclass(frozen=True)
class LtrOptions:
    """``ltr``: how personal weights are learnt."""

    loss: str = option("lambdarank", "Loss within a request.", ("pairwise", "lambdarank", "listnet"))
    features: list[str] = option(
        [], "Inputs that the weights depend on, such as those of the user.", example="[user_id]"
    )
    weights: str = option(
        "softplus", "How weights are kept positive; softmax weights add up to 1.", ("softplus", "softmax")
    )
    embedding_dim: int = option(8, "Width of the embeddings of those inputs.", least=1, most=MOST_WIDTH)
    hidden_units: list[int] = option(
        [16], "Widths of the layers between them and the weights.", least=1, most=MOST_WIDTH
    )
    learning_rate: float = option(0.005, "Learning rate of Adam.", above=0)
    epochs: int = option(20, "Most passes over the validation requests.", least=1)
    batch_requests: int = option(64, "Requests in a step.", least=1)
    list_size: int = option(
        100, "Most rows of a request in a list; longer ones are cut into several at random.", least=2
    )
    held_out: float = option(0.2, "Share of the requests that chooses the epoch.", above=0, below=1)
    seed: int = option(2026, "Seed of everything random.", least=0, most=MOST_OF_SEEDS)


@dataclass(frozen=True)
class FusionOptions:
    """``fusion``: one score to sort by, made of the tasks' scores."""

    method: str = option(
        "product",
        "How scores s are joined: product of s^w, sum of w F(s), sum of w / (rank + c), or weights learnt "
        "for each request.",
        METHODS,
    )
    scores: list[str] | None = option(
        None, "Tasks whose scores are joined; all that can be, unless said.", example="[ctr, cvr]"
    )
    weights: str | dict[str, float] = option(
        "cem",
        "Weights by task, equal ones, or how they are searched for on validation; online simulates trials "
        "on live traffic.",
        WEIGHTS,
        least=0,
        example="{ctr: 1, cvr: 0.5}",
    )
    transform: str = option("log", "sum: what F is.", TRANSFORMS)
    power: float = option(0.5, "sum: exponent of transform: power.", above=0)
    alpha: float | None = option(
        None, "product: (1 + alpha s)^w in place of s^w; the plain power unless said.", above=0
    )
    rank_constant: float = option(
        0.0, "rank: c of w / (rank + c); 60 is that of reciprocal rank fusion.", least=0
    )
    ties: str = option("min", "rank: the rank of equal scores.", TIES)
    objective: dict[str, float] | None = option(
        None,
        "What is searched for: weights of {task}_gAUC, _NDCG and _AUC, and label_NDCG; all gAUC unless said.",
        example="{ctr_gAUC: 1, label_NDCG: 2}",
    )
    ndcg_at: int | None = option(None, "First places that NDCG looks at; all unless said.", least=1)
    label: dict[str, float] | None = option(
        None,
        "Values of the tasks' labels; their sum is the graded label of ltr, online and label_NDCG.",
        least=0,
        example="{click: 1, conversion: 5}",
    )
    search: SearchOptions = option(SearchOptions(), "How weights are looked for.")
    ltr: LtrOptions = option(LtrOptions(), "How weights of method: ltr are learnt.")


@dataclass(frozen=True)
class FusionSection:
    """One score out of several."""

    fusion: FusionOptions | None = option(
        None,
        "One score out of the tasks' scores, called fused_score; none unless said.",
        example="{method: product, scores: [ctr, cvr]}",
    )
