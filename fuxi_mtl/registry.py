"""Which models exist and what options they take.

A model class registers itself under its own name; its signature is the only list of its options::

    @register
    class MMoE(MultiTaskModel):
        def __init__(self, features, tasks, *, num_experts: int = 8, ...): ...
"""

import difflib
import importlib.util
import inspect
import sys
from pathlib import Path

_MODELS: dict[str, type] = {}


def register(cls: type) -> type:
    """Class decorator: makes the model known under its class name.

    Raises:
        ValueError: Another class has that name already.
    """
    known = _MODELS.get(cls.__name__)
    if known is not None and known.__module__ != cls.__module__:
        raise ValueError(
            f"two models are called {cls.__name__}: {known.__module__} and {cls.__module__}. Rename one."
        )
    _MODELS[cls.__name__] = cls
    return cls


def names() -> list[str]:
    """All registered models, sorted."""
    return sorted(_MODELS)


def model(name: str) -> type:
    """The class registered as `name`.

    Raises:
        ValueError: No such model; the message has the nearest name and all names.
    """
    if name not in _MODELS:
        spelled = {known.lower(): known for known in _MODELS}
        near = difflib.get_close_matches(name.lower(), spelled, n=1, cutoff=0.5)
        hint = f" Did you mean {spelled[near[0]]}?" if near else ""
        raise ValueError(f"no model is called {name!r}.{hint} Models: {', '.join(names())}.")
    return _MODELS[name]


def options(name: str) -> dict[str, inspect.Parameter]:
    """The options of a model: the keyword parameters of its constructor, in order."""
    parameters = inspect.signature(model(name).__init__).parameters.values()  # type: ignore[misc]
    return {p.name: p for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}


def import_models(path: str) -> list[str]:
    """Imports a user's model file, or every plain ``*.py`` file of a folder.

    Returns:
        The names that were registered by it.

    Raises:
        ValueError: The path does not exist, cannot be imported, or holds no model.
    """
    place = Path(path)
    files = sorted(place.glob("[!_]*.py")) if place.is_dir() else [place]
    if not files or not all(file.is_file() for file in files):
        raise ValueError(f"--models {path}: no Python file there.")
    modules = [_import_file(file) for file in files]
    added = sorted(name for name, cls in _MODELS.items() if cls.__module__ in modules)
    if not added:
        raise ValueError(f"--models {path}: no class there is decorated with @register.")
    return added


def _import_file(file: Path) -> str:
    """Imports one file as a module of its own, and returns the module's name."""
    # The whole path is the name: two users' files called model.py are two modules.
    module_name = "fuxi_mtl_user_models." + "_".join(file.resolve().with_suffix("").parts[1:])
    spec = importlib.util.spec_from_file_location(module_name, file)
    if spec is None or spec.loader is None:
        raise ValueError(f"--models {file}: not a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except (SyntaxError, ImportError, NameError, AttributeError, TypeError) as error:
        raise ValueError(f"--models {file}: {type(error).__name__}: {error}") from error
    return module_name
