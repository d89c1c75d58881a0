"""Options of training: batches, epochs, seed, monitor and early stopping."""

from dataclasses import dataclass

from fuxi_mtl.options.declaring import MOST_OF_SEEDS, MOST_STEPS, option
from fuxi_mtl.options.family import Names
from fuxi_mtl.options.tracking import TRACKERS


@dataclass(frozen=True)
class TrainingOptions:
    """How long and on what to train, and when to stop."""

    batch_size: int | str = option(
        "auto",
        "Rows in a training step; auto is the power of two nearest to a two-hundredth of the training rows, "
        "from 64 to 1024. An update takes that of the run.",
        ("auto",),
        least=1,
    )
    epochs: int = option(10, "Most passes over the training data.", least=1)
    max_train_steps: int | None = option(None, "Most training steps, however many epochs that is.", least=1)
    drop_last: bool = option(False, "End each epoch before a batch that it cannot fill.")
    shuffle: bool = option(True, "Shuffle the training rows anew in each epoch.")
    shuffle_window_gb: float = option(
        2.0,
        "Most GiB of encoded training rows among which a batch is drawn. Fewer are shuffled as they lie on "
        "the disk, with 8 bytes a row in memory; of more, one window of blocks from everywhere is in memory: "
        "this much and 8 bytes for each of its rows.",
        above=0,
    )
    seed: int = option(2026, "Seed of everything random.", least=0, most=MOST_OF_SEEDS)
    monitor: str | dict[str, float] = option(
        "AUC",
        "What to watch on validation: a metric (the mean over tasks), one of a task, weighted metrics, or "
        "auc_primary. Unless said, and no task has an AUC, it is another that is measured.",
        example="{ctcvr_AUC: 2, ctr_logloss: -1}",
    )
    auc_primary: dict[str, float] | None = option(
        None,
        "Coefficients of monitor: auc_primary, by task: 1 of ctcvr and 0.2 of ctr and cvr unless said; "
        "without a task ctcvr the mean of ctr and cvr.",
        example="{ctcvr: 1, ctr: 0.5}",
    )
    monitor_mode: str | None = option(
        None,
        "Whether the monitor should grow or fall; known unless PCOC or a mixture is watched.",
        ("max", "min"),
    )
    early_stop_patience: int = option(2, "Evaluations without improvement before training stops.", least=1)
    reduce_lr_on_plateau: bool = option(
        True, "Keep a tenth of the learning rate after an evaluation without improvement."
    )
    eval_steps: int | None = option(
        None, "Steps between evaluations on validation; an epoch unless said.", least=1
    )
    max_valid_steps: int | None = option(
        None,
        "Watch only the first so many batches of eval_batch_size validation rows while training.",
        least=1,
    )
    log_every: int | None = option(
        None, "Steps between lines with the losses in the log; no such lines unless said.", least=1
    )
    save_every_steps: int | None = option(
        None, "Steps between saves of the training's state, from which --resume goes on.", least=1
    )
    save_every_minutes: float | None = option(
        10.0,
        "Minutes between such saves, more where that is above 1 % of the time; null saves by steps alone.",
        above=0,
    )
    keep_checkpoints: int = option(2, "States of a training that are kept until it is whole.", least=1)
    save_best_only: bool = option(True, "False also saves the weights of the last step.")
    final_weights: str = option(
        "best", "Weights that are kept, measured and exported at the end.", ("best", "last")
    )
    resume_path: str | None = option(
        None,
        "Finished run of the same stanza and data whose training goes on, for more epochs: its folder, one "
        "of its checkpoints, or an experiment. checkpoint_last, if it is there.",
        example="./checkpoints/tiny_mtl/MMoE_test/seed_1",
    )
    init_from: str | None = option(
        None,
        "Finished run to start from: its folder, or an experiment of the same dataset.",
        example="MMoE_test",
    )
    init_with: str = option(
        "warm",
        "What init_from gives: weights and all that training changed beside them, weights, or tables only.",
        ("warm", "weights", "embeddings"),
    )
    init_missing: str = option(
        "error", "What becomes of layers that do not fit init_from: an error, or new ones.", ("error", "new")
    )
    init_fitted: str = option(
        "keep",
        "Whether what a model fits before training, such as a frozen propensity, is kept or fitted anew.",
        ("keep", "refit"),
    )
    new_rows: str = option(
        "random",
        "How the rows of tokens that init_from does not know start: small random numbers, or as its OOV row.",
        ("random", "oov"),
    )
    precision: str = option(
        "float32",
        "Keras dtype policy; auto is mixed_bfloat16 or mixed_float16 where that makes this model faster on "
        "this machine: by the compute capability of a GPU, on a CPU by timing its widest product.",
        ("float32", "mixed_float16", "mixed_bfloat16", "auto"),
    )
    batch_norm_statistics: str = option(
        "global",
        "On several devices or processes, whose rows batch norm normalises a step by: those of all, or each "
        "device by its own.",
        ("global", "local"),
    )
    embedding_sharding: str = option(
        "none",
        "In several processes, who has the rows of a table: each all of them, each its share (row), or each "
        "its share of tables that are large for this machine (auto).",
        ("none", "row", "auto"),
    )
    steps_per_execution: int = option(
        16, "Training steps in one call of the graph.", least=1, most=MOST_STEPS
    )
    verbose: int = option(1, "0 hides the progress bar, or the line a minute without a terminal.", least=0)
    tensorboard: bool = option(
        False, "Also write TensorBoard summaries into the folder of the run; as trackers: [tensorboard]."
    )
    trackers: list[str] = option(
        [],
        "Where the training is followed from outside.",
        Names(TRACKERS),
        example="[mlflow, wandb]",
    )
    num_workers: int = option(0, "Threads for preprocessing; 0 takes all cores.", least=0, most=1024)
    encode_workers: int = option(
        1,
        "Processes that encode the files of a dataset side by side; the same data by any number.",
        least=1,
        most=1024,
    )
    debug_mode: bool = option(
        False, "A first try, as in FuxiCTR: one epoch on the first 10,000 rows of each file."
    )
    pickle_feature_encoder: bool = option(
        False, "Accepted for the sake of FuxiCTR's stanzas; nothing is ever pickled."
    )

    @property
    def shuffle_window_bytes(self) -> int:
        """``shuffle_window_gb`` in bytes."""
        return int(self.shuffle_window_gb * 2**30)
