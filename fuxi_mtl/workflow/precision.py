"""The precision of a training where its stanza leaves it open, or of a finished run's predictions."""

import logging
from collections.abc import Callable, Sequence

import keras

from fuxi_mtl.config import Experiment
from fuxi_mtl.layers.absent_rows import rows_elsewhere
from fuxi_mtl.model import MultiTaskModel
from fuxi_mtl.training.precision import AUTO, Precision, best_precision, use_precision
from fuxi_mtl.training.state import Source
from fuxi_mtl.training.step_plan import rows_in_a_step
from fuxi_mtl.workflow.chief import PRECISION, tell_workers

logger = logging.getLogger(__name__)


def settle_precision(
    experiment: Experiment, make: Callable[[], MultiTaskModel], rows: int, sources: Sequence[Source] = ()
) -> Precision:
    """Sets Keras's policy for a training, and returns what the run keeps of it.

    ``auto`` is what the training that is gone on with was in; without one it is chosen by the model, on this
    machine. The other workers hear of it.

    Args:
        experiment: What is trained.
        make: Makes the model.
        rows: Training rows.
        sources: What the training goes on from.
    """
    named = experiment.training.precision
    if named != AUTO:
        return Precision(use_precision(named))
    kept = sources[0].precision if sources else None
    if kept is None:
        chosen = _chosen(make, rows_in_a_step(experiment.training.batch_size, rows), "precision")
    else:
        chosen = Precision(**kept)
        logger.info("precision: auto is %s, as the training began.", chosen.policy)
    use_precision(chosen.policy)
    tell_workers(PRECISION, policy=chosen.policy)
    return chosen


def settle_for_predictions(precision: str, make: Callable[[], MultiTaskModel], batch: int) -> None:
    """Sets Keras's policy for a finished run's predictions.

    Args:
        precision: What ``eval_precision`` says.
        make: Makes the model.
        batch: Rows of a step.
    """
    use_precision("float32" if precision == AUTO else precision)
    if precision == AUTO:
        use_precision(_chosen(make, batch, "eval_precision").policy)


def _chosen(make: Callable[[], MultiTaskModel], batch: int, key: str) -> Precision:
    """What ``auto`` is for a model, which is made without the rows of its tables and forgotten."""
    with rows_elsewhere():
        model = make()
    tables = {id(table) for table in model.tables()}
    kernels = [v.shape for v in model.trainable_variables if len(v.shape) > 1 and id(v) not in tables]
    chosen = best_precision(kernels, batch)
    del model
    keras.utils.clear_session(free_memory=False)  # names are numbered anew
    logger.info("%s: auto chose %s: %s.", key, chosen.policy, chosen.why)
    return chosen
