"""How one key is declared."""

from dataclasses import field
from typing import Any


def option(default: Any, doc: str, choices: tuple = ()) -> Any:
    """A dataclass field that knows its own documentation and, perhaps, its allowed values."""
    metadata = {"doc": doc, "choices": choices}
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)
