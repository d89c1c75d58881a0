"""The options of a class or function: the parameters behind the star of its signature.

What stands before the star is given by the program, what stands behind it may stand in a stanza::

    class Uncertainty(Weighting):
        def __init__(self, objectives, *, uw_lr: Annotated[float, option("Step.", above=0)] = 0.025): ...

The source says all of that, so that a stanza is checked and listed before TensorFlow is imported.
"""

import ast
import inspect
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from fuxi_mtl.options.declaring import Option, option

REQUIRED = inspect.Parameter.empty
_TYPES = {
    "Any": Any,
    "Literal": Literal,
    "Mapping": Mapping,
    "Sequence": Sequence,
    **{each.__name__: each for each in (bool, dict, float, int, list, str, tuple)},
}


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
        summary: First line of its docstring.
        given: Names of the parameters before the star.
        options: The parameters behind it, by name.
    """

    summary: str = ""
    given: tuple[str, ...] = ()
    options: Mapping[str, Parameter] = field(default_factory=dict)


def signature_of(target: Callable) -> Signature:
    """The signature of a class's constructor or of a function."""
    function = target.__init__ if inspect.isclass(target) else target
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except NameError:  # names that are imported for type checkers only
        hints = {}
    before, behind = [], {}
    for each in list(inspect.signature(function).parameters.values())[inspect.isclass(target) :]:
        if each.kind is inspect.Parameter.KEYWORD_ONLY:
            behind[each.name] = _parameter(each.name, hints.get(each.name, Any), each.default)
        elif each.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD:
            before.append(each.name)
    return Signature((inspect.getdoc(target) or "").partition("\n")[0], tuple(before), behind)


@cache
def read_signature(file: Path, name: str) -> Signature:
    """The same from the source of a class or function, without running it.

    Args:
        file: The module.
        name: The class, with a constructor of its own or one of a class of the same file, or the function.

    Raises:
        ValueError: There is none, or an annotation or a default is more than literals and plain types.
    """
    body = ast.parse(file.read_text(encoding="utf-8")).body
    found = {each.name: each for each in body if isinstance(each, ast.ClassDef | ast.FunctionDef)}
    if name not in found:
        raise ValueError(f"{file}: there is no class or function {name}.")
    node = found[name]
    summary = (ast.get_docstring(node) or "").partition("\n")[0]
    is_class = isinstance(node, ast.ClassDef)
    function = next(_constructors(node, found), None) if isinstance(node, ast.ClassDef) else node
    if function is None:
        return Signature(summary)
    arguments = function.args
    options = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    try:
        behind = {each.arg: _read_parameter(each, default) for each, default in options}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{file}: {name} has an option that only running it would tell ({error})."
        ) from error
    return Signature(summary, tuple(each.arg for each in arguments.args[is_class:]), behind)


def _constructors(node: ast.ClassDef, found: Mapping[str, Any]) -> Iterator[ast.FunctionDef]:
    """The constructor of a class and those of its bases in the same file, nearest first."""
    yield from (each for each in node.body if isinstance(each, ast.FunctionDef) and each.name == "__init__")
    for base in node.bases:
        if isinstance(base, ast.Name) and base.id in found:
            yield from _constructors(found[base.id], found)


def _read_parameter(argument: ast.arg, default: ast.expr | None) -> Parameter:
    annotation = Any if argument.annotation is None else _type(argument.annotation)
    return _parameter(argument.arg, annotation, REQUIRED if default is None else ast.literal_eval(default))


def _parameter(name: str, annotation: Any, default: Any) -> Parameter:
    declared = Option("")
    if typing.get_origin(annotation) is Annotated:
        annotation, *notes = typing.get_args(annotation)
        declared = next((each for each in notes if isinstance(each, Option)), declared)
    return Parameter(name, annotation, default, declared)


def _type(node: ast.expr) -> Any:
    """The type that an annotation writes."""
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name):
            return _TYPES[name]
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _type(left) | _type(right)
        case ast.Subscript(value=ast.Name(id="Annotated"), slice=ast.Tuple(elts=[annotated, note])):
            return Annotated[_type(annotated), _option(note)]
        case ast.Subscript(value=of, slice=arguments):
            return _type(of)[_type(arguments)]
        case ast.Tuple(elts=elements):
            return tuple(map(_type, elements))
    raise ValueError(ast.unparse(node))


def _option(node: ast.expr) -> Option:
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "option"):
        raise ValueError(ast.unparse(node))
    keywords = {str(each.arg): ast.literal_eval(each.value) for each in node.keywords}
    return option(*map(ast.literal_eval, node.args), **keywords)
