"""Lists of models and of their options."""

from typing import Any

from fuxi_mtl import registry


def list_models() -> list[str]:
    """The names of all registered models, sorted.

    Example:
        >>> "MMoE" in fm.list_models()
        True
    """
    registry.import_zoo()
    return registry.names()


def model_options(name: str) -> dict[str, Any]:
    """The options of a model with their defaults: the keywords of its class, and its keys in a stanza.

    Args:
        name: A registered model.

    Raises:
        ValueError: No such model; the message has the nearest name and all names.

    Example:
        >>> fm.model_options("PLE")["num_layers"]
        1
    """
    registry.import_zoo()
    return {key: parameter.default for key, parameter in registry.options(name).items()}
