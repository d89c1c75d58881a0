"""How variables move."""

from dataclasses import dataclass

from fuxi_mtl.options.declaring import option


@dataclass(frozen=True)
class LearningRateOptions:
    """``lr_scheduler``: a plan of the learning rate."""

    enabled: bool = option(True, "False leaves the rate where it is.")
    type: str = option("cosine", "How the rate falls after the warm-up.", ("cosine", "step"))
    target: str = option("both", "dense leaves the rate of the tables where it is.", ("both", "dense"))
    warmup_steps: int = option(0, "Steps in which the rate rises to learning_rate.")
    total_steps: int | None = option(None, "Step at which the cosine ends; the run's last unless said.")
    min_lr_ratio: float = option(0.0, "Smallest rate, as a share of learning_rate.")
    step_milestones: list[int] = option([], "step: steps at which the rate is multiplied by step_gamma.")
    step_gamma: float = option(0.1, "step: that factor.")


@dataclass(frozen=True)
class OptimizerOptions:
    """How variables move."""

    optimizer: str = option(
        "adam", "A Keras optimizer.", ("adam", "adamw", "sgd", "adagrad", "rmsprop", "ftrl", "nadam", "lion")
    )
    learning_rate: float = option(1e-3, "Learning rate at the start.")
    embedding_optimizer: str | None = option(
        None,
        "What moves the rows of tables; that of optimizer unless said, lazy Adam for what has no rows. "
        "dense_equivalent_adam: rows make the moves of dense Adam that they missed when next looked up.",
        ("adam", "dense_equivalent_adam", "adagrad", "rowwise_adagrad", "sgd", "ftrl"),
    )
    embedding_learning_rate: float | None = option(None, "Of the tables; learning_rate unless said.")
    embedding_second_moment: str = option(
        "squared_sum",
        "Square of a row that a batch looks up several times: of its summed gradients, or summed squares.",
        ("squared_sum", "sum_of_squares"),
    )
    max_gradient_norm: float = option(10.0, "Gradients are clipped to this global norm; 0 turns it off.")
    clip_scope: str = option(
        "all", "dense neither counts nor clips the gradients of tables.", ("all", "dense")
    )
    weight_decay: float | None = option(
        None, "Kernels lose rate * weight_decay of themselves a step; 0 unless said, 0.004 under adamw."
    )
    betas: list[float] | None = option(
        None, "Decays of the two moments of Adam and its kin; Keras's own unless said, 0.9 and 0.999 of Adam."
    )
    epsilon: float | None = option(
        None, "Added to the root in Adam, its kin and Adagrad; Keras's own unless said, 1e-7.", above=0
    )
    embedding_betas: list[float] | None = option(None, "betas of the tables; betas unless said.")
    embedding_epsilon: float | None = option(None, "epsilon of the tables; epsilon unless said.", above=0)
    lr_scheduler: LearningRateOptions | None = option(
        None, "A plan of the learning rate, in place of reduce_lr_on_plateau."
    )
    bilevel_learning_rate: float = option(
        0.01, "Adam's, of what a model learns on validation batches (M3oE); other models learn nothing there."
    )
    bilevel_share: float = option(
        0.0, "Share of the training rows, the last ones, for that alone; 0 takes the validation rows."
    )
