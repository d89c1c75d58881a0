"""Optimizers of the network and of its tables, and the learning rate over time."""

from dataclasses import dataclass

from fuxi_mtl.options.declaring import option
from fuxi_mtl.options.family import Family

OPTIMIZERS = Family(
    "optimizer",
    "optimizer",
    {
        "adam": "keras.optimizers:Adam",
        "adamw": "keras.optimizers:AdamW",
        "sgd": "keras.optimizers:SGD",
        "adagrad": "keras.optimizers:Adagrad",
        "rmsprop": "keras.optimizers:RMSprop",
        "ftrl": "keras.optimizers:Ftrl",
        "nadam": "keras.optimizers:Nadam",
        "lion": "keras.optimizers:Lion",
    },
    has_options=False,
)
ROW_OPTIMIZERS = Family(
    "row optimizer",
    "embedding_optimizer",
    {
        "adam": "fuxi_mtl.optimizers.rows:LazyAdam",
        "dense_equivalent_adam": "fuxi_mtl.optimizers.catching_up:DenseEquivalentAdam",
        "adagrad": "fuxi_mtl.optimizers.rows:RowAdagrad",
        "rowwise_adagrad": "fuxi_mtl.optimizers.rows:RowWiseAdagrad",
        "sgd": "fuxi_mtl.optimizers.rows:RowSGD",
        "ftrl": "fuxi_mtl.optimizers.rows:RowFtrl",
    },
    has_options=False,
)

SECOND_MOMENTS = ("squared_sum", "sum_of_squares")


@dataclass(frozen=True)
class LearningRateOptions:
    """``lr_scheduler``: a plan of the learning rate."""

    enabled: bool = option(True, "False leaves the learning rate where it is.")
    type: str = option("cosine", "How the rate falls after the warm-up.", ("cosine", "step"))
    target: str = option(
        "both", "What follows the plan; dense leaves the rate of the tables where it is.", ("both", "dense")
    )
    warmup_steps: int = option(0, "Steps in which the rate rises to learning_rate.", least=0)
    total_steps: int | None = option(
        None, "cosine: step at which the rate is smallest; the last of the run unless said.", least=1
    )
    min_lr_ratio: float = option(0.0, "cosine: smallest rate, as a share of learning_rate.", least=0, most=1)
    step_milestones: list[int] = option(
        [],
        "step: steps at which the rate is multiplied by step_gamma, rising.",
        least=0,
        example="[2000, 4000]",
    )
    step_gamma: float = option(
        0.1, "step: what the rate is multiplied by at each milestone.", above=0, most=1
    )


@dataclass(frozen=True)
class OptimizerOptions:
    """How variables move."""

    optimizer: str = option(
        "adam",
        "The Keras optimizer of the network.",
        OPTIMIZERS,
    )
    learning_rate: float = option(1e-3, "Learning rate at the start.", above=0)
    embedding_optimizer: str | None = option(
        None,
        "What moves the rows of tables; that of optimizer unless said, lazy Adam for what has no rows. "
        "dense_equivalent_adam: rows make the moves of dense Adam that they missed when next looked up.",
        ROW_OPTIMIZERS,
    )
    embedding_learning_rate: float | None = option(
        None, "Learning rate of the tables; learning_rate unless said.", above=0
    )
    embedding_second_moment: str = option(
        "squared_sum",
        "Square of a row that a batch looks up several times: of its summed gradients, or summed squares.",
        SECOND_MOMENTS,
    )
    max_gradient_norm: float = option(
        10.0, "Gradients are clipped to this global norm; 0 turns it off.", least=0
    )
    clip_scope: str = option(
        "all", "What is clipped; dense neither counts nor clips the gradients of tables.", ("all", "dense")
    )
    weight_decay: float | None = option(
        None,
        "Kernels lose learning_rate * weight_decay of themselves a step; 0 unless said, 0.004 under adamw.",
        least=0,
    )
    betas: list[float] | None = option(
        None,
        "Decays of the two moments of Adam and its kin; Keras's own unless said, 0.9 and 0.999 of Adam.",
        least=0,
        below=1,
        example="[0.9, 0.999]",
    )
    epsilon: float | None = option(
        None, "Added to the root in Adam, its kin and Adagrad; Keras's own unless said, 1e-7.", above=0
    )
    embedding_betas: list[float] | None = option(
        None, "betas of the tables; betas unless said.", least=0, below=1, example="[0.9, 0.999]"
    )
    embedding_epsilon: float | None = option(None, "epsilon of the tables; epsilon unless said.", above=0)
    lr_scheduler: LearningRateOptions | None = option(
        None,
        "A plan of the learning rate, in place of reduce_lr_on_plateau.",
        example="{type: cosine, warmup_steps: 1000}",
    )
    bilevel_learning_rate: float = option(
        0.01,
        "Adam's rate for what a model learns on validation batches (M3oE); no effect on other models.",
        above=0,
    )
    bilevel_share: float = option(
        0.0,
        "Share of the training rows, the last ones, kept for that; 0 takes the validation rows.",
        least=0,
        below=1,
    )
