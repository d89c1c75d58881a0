"""Lists of models and of their options."""

from typing import Any

from fuxi_mtl import registry
from fuxi_mtl.options.shared import own_first


def list_models() -> list[str]:
    """The names of all registered models, sorted.

    Example:
        >>> "MMoE" in fm.list_models()
        True
    """
    registry.import_zoo()
    return registry.names()


def model_options(name: str) -> dict[str, Any]:
    """The options of a model with their defaults, its own first: keywords of its class, keys of a stanza.

    Args:
        name: A registered model.

    Raises:
        ValueError: No such model; the message has the nearest name and all names.

    Example:
        >>> [*fm.model_options("PLE")][:3]
        ['num_layers', 'num_shared_experts', 'num_specific_experts']
    """
    registry.import_zoo()
    return {key: each.default for key, each in own_first(registry.options(name)).items()}
