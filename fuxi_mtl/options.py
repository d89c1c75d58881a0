"""Every YAML key that is not a model's own option: its owner, type, default and meaning.

A key belongs to exactly one class here, or to the signature of the model that the stanza names.
`fuxi_mtl.config` routes a stanza by these fields; nothing else reads YAML.
"""

from dataclasses import dataclass, field
from typing import Any

# FuxiCTR's names for the pooling of a sequence.
POOLING_OF_ENCODER = {
    "MaskedAveragePooling": "mean",
    "MaskedSumPooling": "sum",
    "MaskedMaxPooling": "max",
}


def option(default: Any, doc: str, choices: tuple = ()) -> Any:
    """A dataclass field that knows its own documentation and, perhaps, its allowed values."""
    metadata = {"doc": doc, "choices": choices}
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class FeatureOptions:
    """One entry of ``feature_cols``."""

    name: str | list[str] = option("", "Column, or columns with the same options.")
    type: str = option(
        "categorical",
        "What the column is.",
        ("categorical", "sequence", "numeric", "embedding", "meta"),
    )
    active: bool = option(True, "False leaves the column out.")
    dtype: str = option("str", "How the raw column is read.", ("str", "int", "float", "list"))
    source: str = option("", "Free text that groups features, such as user or item.")
    fill_na: Any = option(None, "Value of a missing entry before encoding.")
    min_categr_count: int | None = option(None, "Rarer tokens are OOV; overrides the dataset's.")
    embedding_dim: int | None = option(None, "Width of this feature's embedding; overrides the model's.")
    feature_encoder: str | None = option(
        None,
        "FuxiCTR's name of the pooling of a sequence.",
        tuple(POOLING_OF_ENCODER),
    )
    pooling: str | None = option(None, "Pooling of a sequence; mean unless said.", ("mean", "sum", "max"))
    weights: str | None = option(None, "Column with the weights of a bag, split like the bag.")
    share_embedding: str | None = option(None, "Feature whose vocabulary and table this one uses.")
    pretrained_emb: str | None = option(None, "npz or h5 file with 'key' and 'value': pretrained rows.")
    pretrain_dim: int | None = option(None, "Width of the pretrained rows; must equal the embedding's.")
    pretrain_usage: str = option("init", "How pretrained rows are used.", ("init",))
    freeze_emb: bool = option(False, "Keep pretrained rows as they are.")
    normalizer: str | None = option(None, "Scaling of a number.", ("StandardScaler", "MinMaxScaler"))
    category_processor: str | None = option(
        None, "Ids without a vocabulary.", ("quantile_bucket", "hash_bucket")
    )
    num_buckets: int | None = option(None, "Buckets of the category_processor.")
    compositional: str | None = option(
        None,
        "Vectors of ids composed of two rows, for more ids than memory has rows.",
        ("quotient_remainder",),
    )
    num_remainder_buckets: int | None = option(
        None, "Rows for the remainders of compositional ids; the root of their number unless said."
    )
    splitter: str | None = option(None, "Separator inside a sequence; '^' unless said.")
    max_len: int | None = option(None, "Longest sequence kept; the training data's longest unless said.")
    padding: str = option("post", "Which end of a long sequence is cut and filled.", ("post", "pre"))
    remap: bool = option(True, "False: the column already holds ids below vocab_size.")
    vocab_size: int | None = option(None, "Number of ids where the column already holds ids.")
    preprocess: None = option(None, "Code in YAML: not supported, always an error.")


@dataclass(frozen=True)
class LabelOptions:
    """One entry of ``label_col``."""

    name: str = option("", "Label column.")
    dtype: str = option("float", "Type of the column.", ("float", "int"))
    kind: str | None = option(None, "What the task predicts.", ("binary", "regression"))
    given: str | None = option(None, "Event without which this label is not defined, such as click.")
    metrics: list[str] | None = option(None, "Metrics of this task; those of the stanza unless said.")
    mask_value: float = option(-1.0, "Value that means missing, beside NaN.")


@dataclass(frozen=True)
class DatasetOptions:
    """A stanza of dataset_config."""

    data_root: str = option("./data/", "Folder under which encoded data are kept.")
    data_format: str = option("csv", "Format of the files.", ("csv", "parquet", "npz", "h5"))
    train_data: str = option("", "Training file, or a pattern such as part_*.parquet.")
    valid_data: str | None = option(None, "Validation file; without it, see valid_size.")
    test_data: str | None = option(None, "Test file; without it, see test_size.")
    feature_cols: list[FeatureOptions] = option([], "The inputs.")
    label_col: list[LabelOptions] = option([], "The labels.")
    sample_weight: str | None = option(None, "Column with each row's weight in the loss.")
    min_categr_count: int = option(1, "Tokens seen less often in training are OOV.")
    split_type: str = option(
        "random",
        "How one file is divided.",
        ("random", "sequential", "time", "user", "column"),
    )
    split_col: str | None = option(
        None, "Time column, user column, or column whose values are train, valid (or val) and test."
    )
    split_seed: int = option(2026, "Seed of a random split or a split by user.")
    valid_size: float = option(0.0, "Share (below 1) or number of rows for validation.")
    test_size: float = option(0.0, "Share (below 1) or number of rows for testing.")
    sep: str = option(",", "Separator of csv files.")
    n_rows: int | None = option(None, "Read at most this many rows of train_data, valid_data and test_data.")
    data_block_size: int = option(0, "Rows in a block while reading; 0 chooses.")
    rebuild_dataset: bool = option(True, "False: the columns already hold ids, and vocab_size says how many.")
    inconsistent: str = option(
        "raise",
        "What to do with rows such as a conversion without its click.",
        ("raise", "drop", "zero"),
    )


@dataclass(frozen=True)
class ExperimentOptions:
    """What an experiment is about: its data, model and tasks."""

    dataset_id: str = option("", "Stanza of dataset_config.")
    model: str = option("", "A registered model; `python -m fuxi_mtl list` shows them.")
    model_root: str = option("./checkpoints/", "Folder for runs.")
    tasks: dict[str, str] | None = option(None, "Tasks by name, such as {cvr: conversion | click}.")
    num_tasks: int | None = option(None, "Checked against the tasks; not needed.")
    task: str | list[str] | None = option(
        None, "FuxiCTR's kinds, one or one a label.", ("binary_classification", "regression")
    )
    loss: str | list[str] | None = option(
        None,
        "Error of each task, one or one a label.",
        ("binary_crossentropy", "mse", "mean_squared_error", "mae", "mean_absolute_error", "huber"),
    )
    use_features: list[str] | None = option(None, "Use only these features.")
    feature_specs: list[dict] | None = option(None, "Changes to feature_cols entries, by name.")
    feature_config: list[dict] | None = option(None, "The same, under FuxiCTR's older name.")


@dataclass(frozen=True)
class WeightingOptions:
    """How the losses are weighted."""

    loss_weight: str | list[float] | dict[str, float] = option(
        "EQ", "EQ, UW, GN, a list of weights in the order of the objectives, or weights by name."
    )
    gradnorm_alpha: float = option(1.5, "Strength of the pull towards equal training rates.")
    gradnorm_lr: float = option(0.025, "Learning rate of the weights.")
    gradnorm_init: str = option(
        "first_batch", "What L(0) is.", ("first_batch", "mean_of_first_n", "log_classes")
    )
    gradnorm_init_batches: int = option(10, "The n of mean_of_first_n.")
    uw_form: str = option("kendall", "Uncertainty weighting's penalty.", ("kendall", "revised"))
    uw_lr: float = option(0.025, "Learning rate of the log variances.")


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
    lr_scheduler: LearningRateOptions | None = option(
        None, "A plan of the learning rate, in place of reduce_lr_on_plateau."
    )


@dataclass(frozen=True)
class TrainingOptions:
    """How long and on what to train, and when to stop."""

    batch_size: int = option(1024, "Rows in a step.")
    epochs: int = option(10, "Passes over the training data at most.")
    max_train_steps: int | None = option(None, "Steps at most, however many epochs that is.")
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
    log_every: int | None = option(None, "Steps between lines with the losses in the log.")
    save_best_only: bool = option(True, "False also saves the weights of the last step.")
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


@dataclass(frozen=True)
class ConversionOptions:
    """``conversion_settings``: how conversion models are checked."""

    matches: list[int] = option([1, 3, 5], "Nearest unclicked exposures for each clicked one.")
    caliper: float | None = option(0.2, "Largest distance of a match, in deviations of the logit of pCTR.")
    resamples: int = option(200, "Resamples behind the interval of a risk ratio; 0 leaves it out.")
    clip: float = option(0.01, "Propensities in weights are kept between it and 1 minus it.")
    indicators: int = option(3, "Most frequent ids of each feature whose balance is looked at.")


@dataclass(frozen=True)
class EvaluationOptions:
    """What is measured, and what is kept."""

    metrics: list[str] = option(["AUC", "logloss"], "Metrics of every task; see `python -m fuxi_mtl list`.")
    group_id: str | None = option(None, "Meta column of gAUC's groups.")
    gauc_weight: str = option("exposures", "What weighs a group in gAUC.", ("exposures", "clicks"))
    threshold: float | str = option(
        "base_rate",
        "Threshold of F1, precision, recall and accuracy: a number, base_rate or best_f1 (on validation).",
    )
    eval_batch_size: int = option(8192, "Rows in a step of evaluation.")
    save_predictions: bool = option(True, "Keep the test scores, which `compare` needs for intervals.")
    conversion_checks: bool | list[str] = option(
        False, "true, or of ieb, pip, balance, effect: checks of pCVR on clicked and unclicked test rows."
    )
    conversion_settings: ConversionOptions = option(ConversionOptions(), "How they are made.")
    export: bool = option(True, "Write a SavedModel at the end of the run.")


@dataclass(frozen=True)
class DiagnosticsOptions:
    """What is measured of a training beside it; nothing here changes the training."""

    grad_diag_enabled: bool = option(False, "Measure how far the objectives' gradients agree.")
    grad_diag_every: int | None = option(None, "Steps between measurements; grad_diag_target unless said.")
    grad_diag_target: int = option(1000, "Measurements to spread over all steps of the epochs.")
    grad_diag_min: int = option(500, "Fewer measurements than this are warned of.")
    grad_diag_min_tasks: int = option(2, "A variable is shared if so many objectives reach it.")
    log_health_metrics: bool = option(False, "Measure how gates use their experts.")


SECTIONS = (
    ExperimentOptions,
    WeightingOptions,
    OptimizerOptions,
    TrainingOptions,
    EvaluationOptions,
    DiagnosticsOptions,
)
