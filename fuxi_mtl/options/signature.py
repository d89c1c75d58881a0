"""The options of a class or function: the parameters behind the star of its signature.

What stands before the star is given by the program, what stands behind it may stand in a stanza::

    class Uncertainty(Weighting):
        def __init__(self, objectives, *, uw_lr: Annotated[float, option("Step.", above=0)] = 0.025): ...

The source says all of that, so that a stanza is checked and listed before TensorFlow is imported. What many
classes share is taken flat as ``**common: Unpack[CommonOptions]``, a group of :mod:`fuxi_mtl.options.shared`;
an attribute ``defaults`` has the defaults in which a class differs.
"""

import ast
import importlib
import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from typing_extensions import Unpack

from fuxi_mtl.options.declaring import REQUIRED, Option, option

_TYPES = {
    "Any": Any,
    "Literal": Literal,
    "Mapping": Mapping,
    "Sequence": Sequence,
    **{each.__name__: each for each in (bool, dict, float, int, list, str, tuple)},
}
__all__ = ["REQUIRED", "Parameter", "Signature", "definitions", "read_signature", "signature_of"]
_LIGHT = ("collections.abc", "fuxi_mtl.options", "typing", "typing_extensions")  # imported to read types
_ROOT = Path(__file__).parents[2]
ROOT = "MultiTaskModel"  # what all models have from it is no method of their own


@dataclass(frozen=True)
class Parameter:
    """One option of a signature.

    Attributes:
        name: Its name, which is its key in a stanza.
        type: Its annotation, without what :func:`option` says.
        default: Its default, or :data:`REQUIRED`.
        option: Sentence, choices and bounds.
    """

    name: str
    type: Any
    default: Any
    option: Option


@dataclass(frozen=True)
class Signature:
    """What can be known of a class or function without calling it.

    Attributes:
        doc: Its docstring.
        given: Names of the parameters before the star.
        options: The parameters behind it, by name.
        methods: Names of the methods of a class and of its bases, up to :data:`ROOT` if that is one of them.
    """

    doc: str = ""
    given: tuple[str, ...] = ()
    options: Mapping[str, Parameter] = field(default_factory=dict)
    methods: frozenset[str] = frozenset()

    @property
    def summary(self) -> str:
        """The first line of its docstring."""
        return self.doc.partition("\n")[0]

    @property
    def reference(self) -> str:
        """What its docstring says under ``Reference:``, in one line; empty if nothing."""
        return " ".join(self.doc.partition("Reference:\n")[2].partition("\n\n")[0].split())


def signature_of(target: Callable) -> Signature:
    """The signature of a class's constructor or of a function."""
    function = target.__init__ if inspect.isclass(target) else target
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except NameError:  # names that are imported for type checkers only
        hints = {}
    checked: Mapping[str, Parameter] = getattr(function, "checked_options", {})
    before: list[str] = []
    behind: dict[str, Parameter] = {}
    for each in list(inspect.signature(function).parameters.values())[inspect.isclass(target) :]:
        if each.kind is inspect.Parameter.KEYWORD_ONLY:
            declared = _parameter(each.name, hints.get(each.name, Any), each.default)
            behind[each.name] = checked.get(each.name, declared)
        elif each.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD:
            before.append(each.name)
        elif each.kind is inspect.Parameter.VAR_KEYWORD:
            behind |= _of_group(hints.get(each.name))
    defaults: dict[str, Any] = {}
    for base in reversed(target.__mro__ if inspect.isclass(target) else ()):
        defaults |= vars(base).get("defaults", {})
    methods: set[str] = set()
    for base in target.__mro__ if inspect.isclass(target) else ():
        if base.__name__ == ROOT:
            break
        methods |= {name for name, value in vars(base).items() if inspect.isroutine(value)}
    doc = inspect.getdoc(target) or ""
    return Signature(doc, tuple(before), _with_defaults(behind, defaults), frozenset(methods))


@cache
def read_signature(file: Path, name: str) -> Signature:
    """The same from the source of a class or function, without running it.

    Args:
        file: The module.
        name: The class, whose constructor and ``defaults`` may be those of a base, or the function.

    Raises:
        ValueError: There is none, or an annotation or a default is more than literals and plain types.
    """
    node, doc = _definition(file, name), read_doc(file, name)
    constructor = _constructor(file, node) if isinstance(node, ast.ClassDef) else (file, node)
    if constructor is None:
        return Signature(doc)
    place, function = constructor
    arguments = function.args
    options = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    try:
        behind = {each.arg: _read_parameter(place, each, default) for each, default in options}
        if arguments.kwarg is not None and arguments.kwarg.annotation is not None:
            behind |= _of_group(_type(place, arguments.kwarg.annotation))
        defaults = _defaults(file, node) if isinstance(node, ast.ClassDef) else {}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{file}: {name} has an option that only running it would tell ({error})."
        ) from error
    before = [each.arg for each in arguments.args][isinstance(node, ast.ClassDef) :]
    methods = _methods(file, node) if isinstance(node, ast.ClassDef) else frozenset()
    return Signature(doc, tuple(before), _with_defaults(behind, defaults), methods)


def read_doc(file: Path, name: str) -> str:
    """The docstring of a class or function, from the source.

    Raises:
        ValueError: There is none of that name.
    """
    return ast.get_docstring(_definition(file, name)) or ""


def _definition(file: Path, name: str) -> ast.ClassDef | ast.FunctionDef:
    node = definitions(file).get(name)
    if not isinstance(node, ast.ClassDef | ast.FunctionDef):
        raise ValueError(f"{file}: there is no class or function {name}.")
    return node


@cache
def definitions(file: Path) -> dict[str, ast.stmt]:
    """What the names of a module's top level stand for: a definition, or the import that brings them."""
    names: dict[str, ast.stmt] = {}
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names[node.name] = node
            _drop_bodies(node)
        elif isinstance(node, ast.ImportFrom):
            names |= {each.asname or each.name: node for each in node.names}
    return names


def _drop_bodies(node: ast.ClassDef | ast.FunctionDef) -> None:
    """Leaves functions their signatures and docstrings: the rest is most of a tree, and never read."""
    if isinstance(node, ast.FunctionDef):
        del node.body[1:]
    else:
        for each in node.body:
            if isinstance(each, ast.ClassDef | ast.FunctionDef):
                _drop_bodies(each)


def _constructor(file: Path, node: ast.ClassDef) -> tuple[Path, ast.FunctionDef] | None:
    """The constructor of a class or of the nearest base that has one, and the module it stands in."""
    for each in node.body:
        if isinstance(each, ast.FunctionDef) and each.name == "__init__":
            return file, each
    found = (_constructor(*base) for base in _bases(file, node))
    return next((each for each in found if each is not None), None)


def _defaults(file: Path, node: ast.ClassDef) -> dict[str, Any]:
    """The attribute ``defaults`` of a class over those of its bases."""
    defaults: dict[str, Any] = {}
    for base in reversed(_bases(file, node)):
        defaults |= _defaults(*base)
    for each in node.body:
        targets = each.targets if isinstance(each, ast.Assign) else []
        if isinstance(each, ast.AnnAssign):
            targets = [each.target]
        if isinstance(each, ast.Assign | ast.AnnAssign) and each.value is not None:
            names = [target.id for target in targets if isinstance(target, ast.Name)]
            defaults |= ast.literal_eval(each.value) if "defaults" in names else {}
    return defaults


def _methods(file: Path, node: ast.ClassDef) -> frozenset[str]:
    """Names of the methods of a class and of its bases below :data:`ROOT`."""
    if node.name == ROOT:
        return frozenset()
    own = {each.name for each in node.body if isinstance(each, ast.FunctionDef)}
    return frozenset(own.union(*(_methods(*base) for base in _bases(file, node))))


def _bases(file: Path, node: ast.ClassDef) -> list[tuple[Path, ast.ClassDef]]:
    """The bases of a class that are found in files of this library or beside it, each with its module.

    :data:`ROOT` is passed over: its file is long, and nothing in it is an option.
    """
    names = [base.id for base in node.bases if isinstance(base, ast.Name) and base.id != ROOT]
    return [found for found in (_class(file, name) for name in names) if found is not None]


@cache
def _class(file: Path, name: str) -> tuple[Path, ast.ClassDef] | None:
    """The class of that name in a module, or where the module has it from."""
    node = definitions(file).get(name)
    if isinstance(node, ast.ClassDef):
        return file, node
    if not isinstance(node, ast.ImportFrom):
        return None
    original = next(each.name for each in node.names if name in (each.asname, each.name))
    folder = file.parents[node.level - 1] if node.level else _ROOT
    place = folder.joinpath(*(node.module or "").split("."))
    for candidate in (place.with_suffix(".py"), place / "__init__.py"):
        if candidate.is_file():
            return _class(candidate, original)
    return None


def _of_group(annotation: Any) -> dict[str, Parameter]:
    """The options of ``Unpack[SomeTypedDict]``; none of anything else."""
    if typing.get_origin(annotation) is not Unpack:
        return {}
    (group,) = typing.get_args(annotation)
    hints = typing.get_type_hints(group, include_extras=True)
    return {name: _parameter(name, hint, REQUIRED) for name, hint in hints.items()}


def _with_defaults(options: Mapping[str, Parameter], defaults: Mapping[str, Any]) -> dict[str, Parameter]:
    own = {name: replace(each, default=defaults[name]) for name, each in options.items() if name in defaults}
    return {**options, **own}


def _read_parameter(file: Path, argument: ast.arg, default: ast.expr | None) -> Parameter:
    annotation = Any if argument.annotation is None else _type(file, argument.annotation)
    return _parameter(argument.arg, annotation, REQUIRED if default is None else ast.literal_eval(default))


def _parameter(name: str, annotation: Any, default: Any) -> Parameter:
    declared = Option("")
    # Python 3.10 puts Optional around the annotation of what has the default None, and so around its notes.
    noted = [each for each in typing.get_args(annotation) if typing.get_origin(each) is Annotated]
    if typing.get_origin(annotation) is typing.Union and noted:
        annotation = noted[0]
    if typing.get_origin(annotation) is Annotated:
        annotation, *notes = typing.get_args(annotation)
        declared = next((each for each in notes if isinstance(each, Option)), declared)
    default = declared.default if default is REQUIRED else default
    return Parameter(name, annotation, default, declared)


def _type(file: Path, node: ast.expr) -> Any:
    """The type that an annotation of a module writes."""
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name):
            return _named(file, name)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _type(file, left) | _type(file, right)
        case ast.Subscript(value=ast.Name(id="Annotated"), slice=ast.Tuple(elts=[annotated, note])):
            return Annotated[_type(file, annotated), _option(note)]
        case ast.Subscript(value=of, slice=arguments):
            return _type(file, of)[_type(file, arguments)]
        case ast.Tuple(elts=elements):
            return tuple(_type(file, each) for each in elements)
    raise ValueError(ast.unparse(node))


def _named(file: Path, name: str) -> Any:
    """A plain type, or what the module imports under that name from where types are declared."""
    node = definitions(file).get(name)
    if not isinstance(node, ast.ImportFrom) or not f"{node.module}.".startswith(
        tuple(f"{each}." for each in _LIGHT)
    ):
        return _TYPES[name]
    original = next(each.name for each in node.names if name in (each.asname, each.name))
    return getattr(importlib.import_module(str(node.module)), original)


def _option(node: ast.expr) -> Option:
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "option"):
        raise ValueError(ast.unparse(node))
    keywords = {str(each.arg): ast.literal_eval(each.value) for each in node.keywords}
    return option(*map(ast.literal_eval, node.args), **keywords)
