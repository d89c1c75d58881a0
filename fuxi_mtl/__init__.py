"""Multi-task recommender models on Keras 3: feature -> head -> objective -> weight -> step.

Importing this package imports nothing heavy; TensorFlow loads with the module that uses it.
"""

from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """A model of the zoo, imported when it is asked for."""
    if name[:1].isupper():
        from fuxi_mtl import registry

        with registry.declared(registry.zoo_folder()):
            known = name in registry.names()
        if known:
            registry.import_zoo()
            return registry.model(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
