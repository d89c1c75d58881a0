"""What is measured of a model."""

from dataclasses import dataclass

from fuxi_mtl.options.declaring import option


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
    eval_sample_weight: bool = option(False, "Whether the column sample_weight weighs rows in metrics, too.")
    metrics_by: str | None = option(
        None, "Categorical feature or meta column: the metrics of test rows for each of its values, too."
    )
    threshold: float | str = option(
        "base_rate",
        "Threshold of F1, precision, recall and accuracy: a number, base_rate or best_f1 (on validation).",
    )
    eval_batch_size: int = option(8192, "Rows in a step of evaluation.")
    save_predictions: bool = option(True, "Keep valid and test scores; `compare` and `fuse` need them.")
    conversion_checks: bool | list[str] = option(
        False, "true, or of ieb, pip, balance, effect: checks of pCVR on clicked and unclicked test rows."
    )
    conversion_settings: ConversionOptions = option(ConversionOptions(), "How they are made.")
    export: bool = option(True, "Write a SavedModel at the end of the run.")
