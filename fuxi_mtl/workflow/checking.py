"""The conversion checks of a split that a stanza asks for."""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from fuxi_mtl.config import Experiment
from fuxi_mtl.dataset import Dataset, Split
from fuxi_mtl.evaluation.conversion_checks import CHECKS, check_conversions, conversion_pairs, covariates
from fuxi_mtl.evaluation.measure import groups

logger = logging.getLogger(__name__)


def check_split(
    split: Split, dataset: Dataset, experiment: Experiment, predictions: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """What is checked, its values, their reasons and its caveats, which go into the log, too.

    Args:
        split: The rows.
        dataset: Where they are from.
        experiment: Says what is checked.
        predictions: ``(rows,)`` by task.
    """
    options, imbalance = experiment.evaluation, experiment.imbalance
    asked, settings = options.conversion_checks, options.conversion_settings
    encoder = dataset.encoder
    block = check_conversions(
        conversion_pairs(experiment.tasks),
        split.labels(experiment.tasks),
        predictions,
        settings,
        asked if isinstance(asked, list) else CHECKS,
        covariates=lambda: covariates(
            dataset.feature_map, split.ids, split.numeric, encoder.tokens, settings.indicators
        ),
        groups=groups(split, experiment.evaluation.group_id),
    )
    weighted = imbalance.static_pos_weight or imbalance.pos_weight_dynamic
    if weighted and imbalance.calibration == "none":
        block["caveats"].append(
            "Positives were weighted in training: pCTR and pCVR are too high until that is undone."
        )
    if imbalance.negative_sampling == "plain" and imbalance.calibration == "none":
        block["caveats"].append("Negatives were left out in training: pCTR is too high until that is undone.")
    if options.eval_sample_weight:
        block["caveats"].append("Sample weights do not count in these checks.")
    for key, value in block["values"].items():
        reason = block["undefined"].get(key)
        logger.info("[Conversion check] %s: %.6f%s", key, value, f" ({reason})" if reason else "")
    return {"split": split.name, **block}
