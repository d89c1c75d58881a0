"""Every YAML key about one score out of several: the block ``fusion``."""

from dataclasses import dataclass

from fuxi_mtl.options.declaring import option

METHODS = ("product", "sum", "rank", "ltr")
TRANSFORMS = ("log", "sqrt", "identity", "power", "logit")
WEIGHTS = ("equal", "cem", "optuna", "online")


@dataclass(frozen=True)
class SearchOptions:
    """``search``: how weights are looked for. Weights are the softmax of what is searched."""

    seed: int = option(2026, "Seed of everything random.")
    rounds: int = option(30, "cem, online: rounds of samples.")
    samples: int = option(64, "cem: weights in a round. online: traffic groups, each with its weights.")
    elites: int = option(10, "cem, online: best of a round, which place the next one.")
    smoothing: float = option(0.7, "cem, online: share of the elites in mean and deviation, above 0 to 1.")
    least_deviation: list[float] = option(
        [0.1, 0.01], "cem, online: the deviation stays above the first at the start, the second at the end."
    )
    trials: int = option(200, "optuna: weights to try.")
    top: int = option(5, "online: places of a request that bring their label's value.")
    noise: float = option(
        0.0, "online: deviation of the noise of a group's metric, beside that of its requests."
    )


@dataclass(frozen=True)
class LtrOptions:
    """``ltr``: how personal weights are learnt."""

    loss: str = option("lambdarank", "Loss within a request.", ("pairwise", "lambdarank", "listnet"))
    features: list[str] = option([], "Inputs that the weights depend on, such as those of the user.")
    weights: str = option("softplus", "softmax: weights add up to 1.", ("softplus", "softmax"))
    embedding_dim: int = option(8, "Width of the embeddings of those inputs.")
    hidden_units: list[int] = option([16], "Layers between them and the weights.")
    learning_rate: float = option(0.005, "Of Adam.")
    epochs: int = option(20, "Passes over the validation requests at most.")
    batch_requests: int = option(64, "Requests in a step.")
    list_size: int = option(100, "Rows of a request in a list; longer ones are cut into several at random.")
    held_out: float = option(0.2, "Share of the requests that chooses the epoch.")
    seed: int = option(2026, "Seed of everything random.")


@dataclass(frozen=True)
class FusionOptions:
    """``fusion``: one score to sort by, made of the tasks' scores."""

    method: str = option("product", "How scores are joined.", METHODS)
    scores: list[str] | None = option(None, "Tasks whose scores are joined; all that can be, unless said.")
    weights: str | dict[str, float] = option(
        "cem",
        "By task, equal, or searched on validation: cem, optuna, online (simulated trials on live traffic).",
    )
    transform: str = option("log", "sum: F of w F(s).", TRANSFORMS)
    power: float = option(0.5, "sum: exponent of F: power.")
    alpha: float | None = option(None, "product: (1 + alpha s)^w in place of s^w.")
    rank_constant: float = option(0.0, "rank: c of w / (rank + c); 60 is reciprocal rank fusion's.")
    ties: str = option("min", "rank: the rank of equal scores.", ("min", "average", "dense"))
    objective: dict[str, float] | None = option(
        None,
        "What is searched for: weights of {task}_gAUC, _NDCG and _AUC, and label_NDCG; all gAUC unless said.",
    )
    ndcg_at: int | None = option(None, "Places that NDCG looks at; all unless said.")
    label: dict[str, float] | None = option(
        None, "Values of the tasks' labels; their sum is the graded label of ltr, online and label_NDCG."
    )
    search: SearchOptions = option(SearchOptions(), "How weights are looked for.")
    ltr: LtrOptions = option(LtrOptions(), "How personal weights are learnt.")


@dataclass(frozen=True)
class FusionSection:
    """One score out of several."""

    fusion: FusionOptions | None = option(None, "One score out of the tasks' scores: fused_score.")
