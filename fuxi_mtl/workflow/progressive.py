"""Progressive validation: what a run is worth on rows that it was not trained on, kept until it was."""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fuxi_mtl.config import Experiment
from fuxi_mtl.evaluation.evaluate import Scores, log_lines
from fuxi_mtl.files import checked_json, read_json, write_text

logger = logging.getLogger(__name__)

FILE = "before.json"  # beside the states of the training that follows


def show(when: str, experiment: Experiment, scores: Scores) -> None:
    """Puts the metrics of new rows, ``before`` or ``after`` training on them, into the log."""
    logger.info("**** New rows %s training on them ****", when)
    for line in log_lines(experiment.outputs, scores):
        logger.info("%s", line)


def keep_scores(folder: Path, identity: Mapping[str, Any], scores: Scores) -> None:
    """Keeps scores for an update that may be interrupted; a disk without room keeps none.

    Args:
        folder: Where the states of its training go.
        identity: What the update is known by.
        scores: The scores.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / FILE, checked_json(_plain({"identity": identity, "scores": asdict(scores)})))
    except OSError as error:
        logger.warning("%s: what the new rows were worth is not kept (%s).", folder, error.strerror)


def kept_scores(folder: Path, identity: Mapping[str, Any], resume: bool) -> Scores | None:
    """What an interrupted update had measured; None if it is not there, damaged or of another update.

    Args:
        folder: Where the states of its training are.
        identity: What this update is known by.
        resume: Whether it is taken; else it is only said.
    """
    try:
        content = read_json(folder / FILE, "the new rows are measured again.")
    except FileNotFoundError:
        return None
    except ValueError as error:
        logger.warning("%s", error)
        return None
    if content["identity"] != _plain(identity):
        return None
    if not resume:
        logger.info("An interrupted update had measured the new rows: --resume would go on behind that.")
        return None
    logger.info("The new rows were measured before the update was interrupted: that is taken.")
    return Scores(**content["scores"])


def _plain(content: Mapping[str, Any]) -> Any:
    """As it is read again; numbers of numpy are Python's."""
    return json.loads(json.dumps(content, default=lambda value: getattr(value, "item", lambda: str(value))()))
