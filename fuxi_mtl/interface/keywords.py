"""The keywords of `fit` and `Dataset` with their types, for editors and type checkers.

They are the keys of stanzas: :mod:`fuxi_mtl.options` declares them, with defaults, bounds and sentences, and
a test compares. ``python -m fuxi_mtl list options`` says what each is for. Options of weightings, surgeries,
errors and trackers of a user's own are keywords, too, but no part of the types.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from typing_extensions import TypedDict


class FitOptions(TypedDict, total=False):
    """What `fit` takes beside the model and the data."""

    loss: str | Sequence[str]
    # weighting
    loss_weight: str | Sequence[float] | Mapping[str, float]
    # optimizer
    optimizer: str
    learning_rate: float
    embedding_optimizer: str | None
    embedding_learning_rate: float | None
    embedding_second_moment: str
    max_gradient_norm: float
    clip_scope: str
    weight_decay: float | None
    betas: Sequence[float] | None
    epsilon: float | None
    embedding_betas: Sequence[float] | None
    embedding_epsilon: float | None
    lr_scheduler: Mapping[str, Any] | None
    bilevel_learning_rate: float
    bilevel_share: float
    # training
    batch_size: int | str
    epochs: int
    max_train_steps: int | None
    drop_last: bool
    shuffle: bool
    shuffle_window_gb: float
    seed: int
    monitor: str | Mapping[str, float]
    auc_primary: Mapping[str, float] | None
    monitor_mode: str | None
    early_stop_patience: int
    reduce_lr_on_plateau: bool
    eval_steps: int | None
    max_valid_steps: int | None
    log_every: int | None
    save_every_steps: int | None
    save_every_minutes: float | None
    keep_checkpoints: int
    save_best_only: bool
    final_weights: str
    resume_path: str | None
    init_from: str | None
    init_with: str
    init_missing: str
    init_fitted: str
    new_rows: str
    precision: str
    batch_norm_statistics: str
    embedding_sharding: str
    steps_per_execution: int
    verbose: int
    tensorboard: bool
    trackers: Sequence[str]
    num_workers: int
    encode_workers: int
    debug_mode: bool
    pickle_feature_encoder: bool
    # evaluation
    metrics: Sequence[str]
    group_id: str | None
    gauc_weight: str
    eval_sample_weight: bool
    metrics_by: str | None
    threshold: float | str
    eval_batch_size: int
    eval_precision: str
    save_predictions: bool
    conversion_checks: bool | Sequence[str]
    conversion_settings: Mapping[str, Any]
    expected: str | Mapping[str, str] | None
    export: bool
    # diagnostics
    grad_diag_enabled: bool
    grad_diag_every: int | None
    grad_diag_target: int
    grad_diag_min: int
    grad_diag_min_tasks: int
    log_health_metrics: bool
    # imbalance
    static_pos_weight: Mapping[str, float] | None
    pos_weight_dynamic: bool
    pos_weight_clip: Mapping[str, float] | None
    pos_weight_clip_schedule: Mapping[str, Any]
    aux_focal: Mapping[str, Any]
    negative_sampling: str
    neg_keep_prob_train: float
    calibration: str
    value_calibration: str
    lambda_ctr: float
    lambda_ctcvr: float
    lambda_cvr_aux: float
    cvr_aux_normalize: str
    # surgery
    surgery: str
    surgery_mode: str
    surgery_normalize: bool
    surgery_scale: str
    surgery_smoothing: float
    surgery_preference: Mapping[str, float] | None
    representation_columns: str
    surgery_private: str
    # fusion
    fusion: Mapping[str, Any] | None
    # of weightings, surgeries, errors and trackers
    focal_gamma: float
    focal_alpha: float | None
    huber_delta: float
    pe_ltr_solver: str
    pe_ltr_bounds: Mapping[str, float] | None
    pe_ltr_weights: str
    cagrad_strength: float
    nash_scale: str
    aligned_scale: str
    aligned_rank: float
    gradvac_beta: float
    gradvac_target: float | None
    metabalance_target: str | None
    metabalance_relax: float
    metabalance_decay: float
    metabalance_cap: float
    moco_beta: float
    moco_gamma: float
    moco_rho: float
    moco_decay: float
    graddrop_leak: Mapping[str, float] | None
    graddrop_signs: str
    uw_form: str
    uw_lr: float
    gradnorm_alpha: float
    gradnorm_lr: float
    gradnorm_init: str
    gradnorm_init_batches: int
    dwa_temperature: float
    dwa_period: int | None
    nise_alpha: float
    nise_beta: float
    nise_reference: str | None
    famo_lr: float
    famo_decay: float
    famo_floor: Mapping[str, float] | None
    famo_reuse: str
    excess_step: float
    excess_warmup: int | None
    imtl_lr: float
    stch_mu: float
    stch_warmup: int | None
    uwso_temperature: float
    uwso_normalise: str
    cov_decay: float | None
    mlflow_uri: str | None
    mlflow_experiment: str | None
    wandb_mode: str
    wandb_project: str | None
    wandb_entity: str | None
    wandb_dir: str
    swanlab_mode: str
    swanlab_project: str | None
    swanlab_dir: str


class DataOptions(TypedDict, total=False):
    """What `Dataset` takes beside its rows, columns and tasks."""

    data_root: str
    data_format: str
    last_day: str | None
    missing_days: str
    min_categr_count: int
    split_type: str
    split_col: str | None
    split_seed: int
    valid_size: float
    test_size: float
    sep: str
    quote_char: str | None
    encoding: str
    bad_rows: str
    n_rows: int | None
    remote_cache: str
    remote_cache_gb: float
    data_block_size: int
    rebuild_dataset: bool
    inconsistent: str
