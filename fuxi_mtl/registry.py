"""The registry of models and of their options.

A model class registers itself under its own name; its signature is the only list of its options::

    @register
    class MMoE(MultiTaskModel):
        def __init__(self, features, tasks, *, num_experts: int = 8, ...): ...
"""

import ast
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from weakref import WeakKeyDictionary

from fuxi_mtl.hints import did_you_mean
from fuxi_mtl.options import Family
from fuxi_mtl.options.construction import checked_constructor, documented
from fuxi_mtl.options.signature import Parameter, Signature, definitions, read_signature, signature_of

ZOO = "fuxi_mtl_zoo"  # what the folder model_zoo is called where it is installed

_MODELS: dict[str, type] = {}


_DECLARED: dict[str, Signature] = {}
_SIGNATURES: WeakKeyDictionary[Callable, Signature] = WeakKeyDictionary()


def register(cls: type) -> type:
    """Class decorator: makes the model known under its class name.

    Example:
        >>> @fm.register
        ... class Linear(fm.MultiTaskModel):
        ...     def __init__(self, features, tasks, *, embedding_dim: int = 8):
        ...         super().__init__(features, tasks)
        ...         self.embedding = fm.FeatureEmbedding(features, embedding_dim)
        ...         self.towers = fm.Towers([task.name for task in tasks], units=[16])
        ...
        ...     def heads(self, x, training=False):
        ...         return self.towers({task.name: x for task in self.tasks}, training=training)
        >>> len(fm.fit(Linear(data.features, data.tasks), data, epochs=1).history)
        1

    Its constructor then completes and checks its options as those of a stanza are, and its docstring has
    their sentences.

    Raises:
        ValueError: Another class has that name already, or ``defaults`` name an option that there is not.
    """
    known = _MODELS.get(cls.__name__)
    if known is not None and known.__module__ != cls.__module__:
        raise ValueError(
            f"two models are called {cls.__name__}: {known.__module__} and {cls.__module__}. Rename one."
        )
    options = signature_of(cls).options
    for key in vars(cls).get("defaults", {}):
        if key not in options:
            raise ValueError(
                f"{cls.__name__}.defaults name {key!r}, which is no option of it.{did_you_mean(key, options)}"
            )
    cls.__init__ = checked_constructor(cls)  # type: ignore[misc]
    cls.__doc__ = documented(cls.__doc__, options)
    _MODELS[cls.__name__] = cls
    return cls


def names() -> list[str]:
    """All registered models, sorted."""
    return sorted({*_MODELS, *_DECLARED})


def check_name(name: str) -> None:
    """Raises for a model that does not exist.

    Raises:
        ValueError: No such model; the message has the nearest name and all names.
    """
    if name not in names():
        near = did_you_mean(name, names())
        raise ValueError(f"no model is called {name!r}.{near} Models: {', '.join(names())}.")


def model(name: str) -> type:
    """The class registered as `name`.

    Raises:
        ValueError: No such model; the message has the nearest name and all names.
    """
    check_name(name)
    return _MODELS[name]


def options(name: str) -> Mapping[str, Parameter]:
    """The options of a model, in the order of its signature."""
    return _signature(name).options


def summary(name: str) -> str:
    """The first line of a model's docstring."""
    return _signature(name).summary


def plans_tasks(name: str) -> bool:
    """Whether a model makes tasks or objectives of its own out of those that a stanza writes."""
    planning = {"plan_tasks", "supervised_tasks", "objective_names"}
    return bool(planning & _signature(name).methods)


def reference(name: str) -> str:
    """The papers that a model's docstring names; empty if none."""
    return _signature(name).reference


def _signature(name: str) -> Signature:
    if name not in _MODELS and name in _DECLARED:
        return _DECLARED[name]
    # A stanza asks for those of all models, many times.
    constructor: Callable = inspect.getattr_static(model(name), "__init__")
    if constructor not in _SIGNATURES:
        _SIGNATURES[constructor] = signature_of(model(name))
    return _SIGNATURES[constructor]


@contextmanager
def declared(folder: Path) -> Iterator[bool]:
    """Knows the names, options and summaries of the models in a folder without importing them.

    Importing a model imports TensorFlow, which takes seconds. Inside the context all but :func:`model` work.

    Yields:
        Whether that was possible: every registered class has a constructor that the source shows, and all
        its options plain types and literal defaults. Otherwise nothing is known.
    """
    before = dict(_DECLARED)
    try:
        for file in sorted(folder.glob("[!_]*.py")):
            _DECLARED.update({name: _read(file, name) for name in _registered(file)})
        known = True
    except ValueError:  # something has to be run to be known
        known = False
        _DECLARED.clear()
    try:
        yield known
    finally:
        _DECLARED.clear()
        _DECLARED.update(before)


def zoo_names() -> list[str]:
    """The library's own models, sorted, as their source has them."""
    return sorted(name for file in zoo_folder().glob("[!_]*.py") for name in _registered(file))


def _registered(file: Path) -> list[str]:
    """Names of the classes of a file that :func:`register` decorates."""
    classes = [node for node in definitions(file).values() if isinstance(node, ast.ClassDef)]
    return [node.name for node in classes if any(map(_is_register, node.decorator_list))]


def _is_register(decorator: ast.expr) -> bool:
    return isinstance(decorator, ast.Name) and decorator.id == register.__name__


def _read(file: Path, name: str) -> Signature:
    signature = read_signature(file, name)
    if not signature.given:
        raise ValueError(f"{file}: the constructor of {name} is not to be seen.")
    return signature


def zoo_folder() -> Path:
    """Where the models of the library lie: beside it, installed or in a checkout.

    Raises:
        RuntimeError: They are not there.
    """
    beside = Path(__file__).parents[1]
    for name in (ZOO, "model_zoo"):
        if (beside / name / "mmoe.py").is_file():
            return beside / name
    raise RuntimeError(f"the models are not beside fuxi_mtl, in {beside / ZOO}: install fuxi-mtl again.")


def import_zoo() -> ModuleType:
    """The package of the library's models; importing it registers them all.

    Never what else Python finds under that name or as ``model_zoo``: a clone of FuxiCTR has such a folder.
    """
    if ZOO not in sys.modules:
        folder = zoo_folder()
        spec = importlib.util.spec_from_file_location(
            ZOO, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
        sys.modules[ZOO] = module
        try:
            spec.loader.exec_module(module)  # type: ignore[union-attr]
        except BaseException:
            del sys.modules[ZOO]
            raise
    return sys.modules[ZOO]


def import_models(path: str) -> list[str]:
    """Imports a user's model file, or every plain ``*.py`` file of a folder.

    Returns:
        The names that were registered by it: of models, weightings, surgeries, errors, metrics and so on.

    Raises:
        ValueError: The path does not exist, cannot be imported, or registers nothing.
    """
    from fuxi_mtl.metrics import METRICS  # with it comes numpy

    place = Path(path)
    files = sorted(place.glob("[!_]*.py")) if place.is_dir() else [place]
    if not files or not all(file.is_file() for file in files):
        raise ValueError(f"--models {path}: no Python file there.")
    modules = [_import_file(file) for file in files]
    added = {name for name, cls in _MODELS.items() if cls.__module__ in modules}
    added |= {name for family in Family.known for name in family.registered_by(modules)}
    added |= {name for name, metric in METRICS.items() if metric.function.__module__ in modules}
    if not added:
        raise ValueError(
            f"--models {path}: nothing there is registered. A model has @register, a weighting "
            "@WEIGHTINGS.register, a surgery @SURGERIES.register, an error @ERRORS[kind].register, a metric "
            "@register_metric."
        )
    return sorted(added)


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
