"""The optimizer of a stanza."""

import logging
from collections.abc import Sequence

import keras

from fuxi_mtl.optimizers.rows import LazyAdam
from fuxi_mtl.optimizers.schedule import WarmUpThenDecay
from fuxi_mtl.optimizers.split import SplitOptimizer, row_counterpart
from fuxi_mtl.options import OPTIMIZERS, ROW_OPTIMIZERS, OptimizerOptions

logger = logging.getLogger(__name__)


def make_optimizer(options: OptimizerOptions, total_steps: int = 1, first_step: int = 0) -> SplitOptimizer:
    """The optimizer of a stanza.

    Args:
        options: Its keys.
        total_steps: Steps of the run, for a plan of the learning rate.
        first_step: Where the count of steps stands when the run begins.
    """
    plan = options.lr_scheduler if options.lr_scheduler and options.lr_scheduler.enabled else None

    def planned(rate: float, follows: bool = True):
        return WarmUpThenDecay(rate, plan, total_steps, first_step) if plan is not None and follows else rate

    decay = {} if options.weight_decay is None else {"weight_decay": options.weight_decay}
    dense = OPTIMIZERS[options.optimizer].load()(
        learning_rate=planned(options.learning_rate), **decay, **_moments(options.betas, options.epsilon)
    )
    named = options.embedding_optimizer
    make_rows = ROW_OPTIMIZERS[named].load() if named else row_counterpart(dense)
    if not named and make_rows is LazyAdam and not isinstance(dense, keras.optimizers.Adam):
        logger.info(
            "optimizer: %s has no rule for rows; lazy Adam moves the tables (embedding_optimizer: adam).",
            options.optimizer,
        )
    rate = options.embedding_learning_rate or options.learning_rate
    rows = make_rows(
        learning_rate=planned(rate, plan is not None and plan.target == "both"),
        second_moment=options.embedding_second_moment,
        **_moments_of_rows(make_rows, options),
    )
    clipnorm = options.max_gradient_norm or None
    return SplitOptimizer(dense, rows, clipnorm, clips_tables=options.clip_scope == "all")


def _moments_of_rows(rows: type, options: OptimizerOptions) -> dict[str, float]:
    """Those of the rest, as far as the rows have them, unless the tables have their own."""
    betas = options.embedding_betas or (options.betas if issubclass(rows, keras.optimizers.Adam) else None)
    has_epsilon = issubclass(rows, keras.optimizers.Adam | keras.optimizers.Adagrad)
    return _moments(betas, options.embedding_epsilon or (options.epsilon if has_epsilon else None))


def _moments(betas: Sequence[float] | None, epsilon: float | None) -> dict[str, float]:
    """As Keras calls them; those that are not said are Keras's own."""
    given = dict(zip(("beta_1", "beta_2"), betas or (), strict=False))
    return given if epsilon is None else {**given, "epsilon": epsilon}
