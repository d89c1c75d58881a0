"""Checks of ``betas`` and ``epsilon`` against the optimizers that are chosen."""

from collections.abc import Iterator

from fuxi_mtl.config.stanzas import Layer, Settings
from fuxi_mtl.options import OptimizerOptions

_WITH_BETAS = ("adam", "adamw", "nadam", "lion", "dense_equivalent_adam")
_WITH_EPSILON = ("adam", "adamw", "nadam", "rmsprop", "adagrad", "rowwise_adagrad", "dense_equivalent_adam")
_ROWS_OF = {"sgd": "sgd", "adagrad": "adagrad", "ftrl": "ftrl"}  # lazy Adam beside all others


def check_moments(settings: Settings, options: OptimizerOptions) -> None:
    """Each number has an optimizer that takes it.

    Raises:
        ConfigError: Not two betas, or an optimizer without them.
    """
    settings.tell(_mistakes(settings, options))


def _mistakes(settings: Settings, options: OptimizerOptions) -> Iterator[tuple[str, str]]:
    rows = options.embedding_optimizer or _ROWS_OF.get(options.optimizer, "adam")
    for prefix, optimizer in (("", options.optimizer), ("embedding_", rows)):
        for name, owners in (("betas", _WITH_BETAS), ("epsilon", _WITH_EPSILON)):
            key = f"{prefix}{name}"
            value = getattr(options, key)
            if value is None:
                continue
            if name == "betas" and len(value) != 2:
                yield key, f"{key} is {value}; give two numbers, as in [0.9, 0.999]."
            # Base speaks to all experiments.
            if optimizer not in owners and settings.layer(key) > Layer.BASE:
                yield (
                    key,
                    f"{key} has no effect on {prefix}optimizer {optimizer}. It is for {', '.join(owners)}.",
                )
