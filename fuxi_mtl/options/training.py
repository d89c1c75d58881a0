"""How long to train, and when to stop."""

from dataclasses import dataclass

from fuxi_mtl.options.declaring import option


@dataclass(frozen=True)
class TrainingOptions:
    """How long and on what to train, and when to stop."""

    batch_size: int = option(1024, "Rows in a step.")
    epochs: int = option(10, "Passes over the training data at most.")
    max_train_steps: int | None = option(None, "Steps at most, however many epochs that is.")
    drop_last: bool = option(False, "End each epoch before a batch that it cannot fill.")
    shuffle: bool = option(True, "Shuffle the rows at each epoch.")
    seed: int = option(2026, "Seed of everything random.")
    monitor: str | dict[str, float] = option(
        "AUC", "Metric to watch: AUC, click_AUC, weights such as {AUC: 2, logloss: -1}, or auc_primary."
    )
    auc_primary: dict[str, float] | None = option(
        None,
        "Coefficients of monitor: auc_primary, by task: 1 of ctcvr and 0.2 of ctr and cvr unless said; "
        "without a task ctcvr the mean of ctr and cvr.",
    )
    monitor_mode: str | None = option(
        None, "Whether larger is better; known for a plain metric.", ("max", "min")
    )
    early_stop_patience: int = option(2, "Evaluations without improvement before training stops.")
    reduce_lr_on_plateau: bool = option(True, "An evaluation without improvement costs a tenth of the rate.")
    eval_steps: int | None = option(None, "Steps between evaluations; an epoch unless said.")
    max_valid_steps: int | None = option(
        None,
        "Watch only the first so many batches of eval_batch_size validation rows while training.",
        least=1,
    )
    log_every: int | None = option(None, "Steps between lines with the losses in the log.")
    save_best_only: bool = option(True, "False also saves the weights of the last step.")
    final_weights: str = option(
        "best", "Weights that are kept, measured and exported at the end.", ("best", "last")
    )
    precision: str = option(
        "float32", "Keras dtype policy.", ("float32", "mixed_float16", "mixed_bfloat16", "auto")
    )
    steps_per_execution: int = option(16, "Training steps in one call of the graph.")
    verbose: int = option(1, "0 hides the progress bar.")
    tensorboard: bool = option(False, "Also write TensorBoard summaries into the run's folder.")
    num_workers: int = option(0, "Threads for preprocessing; 0 takes all cores.")
    debug_mode: bool = option(
        False, "FuxiCTR's: one epoch on the first 10,000 rows of each file, for a first try."
    )
    pickle_feature_encoder: bool = option(False, "Accepted for FuxiCTR's sake; nothing is ever pickled.")
