"""Options of metrics, groups, thresholds and checks."""

from dataclasses import dataclass

from fuxi_mtl.options.declaring import option

CONVERSION_CHECKS = ("ieb", "pip", "balance", "effect")


@dataclass(frozen=True)
class ConversionOptions:
    """``conversion_settings``: how conversion models are checked."""

    matches: list[int] = option(
        [1, 3, 5], "Numbers of nearest unclicked exposures to match with each clicked one.", least=1
    )
    caliper: float | None = option(
        0.2,
        "Largest distance of a match, in deviations of the logit of pCTR; null sets no limit.",
        least=0,
    )
    resamples: int = option(
        200, "Resamples behind the interval of a risk ratio; 0 leaves the interval out.", least=0
    )
    clip: float = option(
        0.01, "Propensities in weights are kept between it and 1 minus it.", above=0, below=0.5
    )
    indicators: int = option(3, "Most frequent ids of each feature whose balance is looked at.", least=0)


@dataclass(frozen=True)
class EvaluationOptions:
    """What is measured, and what is kept."""

    metrics: list[str] = option(
        ["AUC", "logloss"], "Metrics of every task; `python -m fuxi_mtl list metrics` shows them."
    )
    group_id: str | None = option(
        None, "Meta column whose values are the groups of gAUC.", example="session_id"
    )
    gauc_weight: str = option("exposures", "What weighs a group in gAUC.", ("exposures", "clicks"))
    eval_sample_weight: bool = option(False, "Weigh rows by the column sample_weight in metrics, too.")
    metrics_by: str | None = option(
        None,
        "Categorical feature or meta column: the metrics of the test rows for each of its values, too.",
        example="domain",
    )
    threshold: float | str = option(
        "base_rate",
        "From which probability on F1, precision, recall and accuracy call a row positive: a number, or what "
        "validation chooses, as many positives as there are or the best F1.",
        ("base_rate", "best_f1"),
        least=0,
        most=1,
    )
    eval_batch_size: int = option(8192, "Rows in a step of evaluation.", least=1)
    eval_precision: str = option(
        "float32",
        "Keras dtype policy in which a finished run predicts and is evaluated; with auto, numbers depend on "
        "the machine. SavedModels are float32; what a training measures is in its own precision.",
        ("float32", "mixed_bfloat16", "auto"),
    )
    save_predictions: bool = option(
        True, "Keep the scores of valid and test rows; `compare` and `fuse` need them."
    )
    conversion_checks: bool | list[str] = option(
        False,
        "Checks of pCVR on clicked and unclicked test rows; true makes all of them.",
        CONVERSION_CHECKS,
        example="[ieb, pip]",
    )
    conversion_settings: ConversionOptions = option(
        ConversionOptions(), "Numbers behind the conversion checks."
    )
    expected: str | dict[str, str] | None = option(
        None,
        "Products of tasks' predictions that are served and measured, too, by name; a single one is called "
        "expected.",
        example="{spend_per_view: ctr * cvr * spend}",
    )
    export: bool = option(True, "Write a SavedModel at the end of the run.")
