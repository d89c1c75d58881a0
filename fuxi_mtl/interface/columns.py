"""The columns of a dataset as objects: entries of ``feature_cols`` and ``label_col``, each with its type."""

from dataclasses import dataclass, field, fields
from functools import wraps
from typing import Any, TypeVar

from fuxi_mtl.options import FeatureOptions, LabelOptions
from fuxi_mtl.options.construction import check_names

_Column = TypeVar("_Column", bound=type[FeatureOptions] | type[LabelOptions])


def _named(cls: _Column) -> _Column:
    """The class, whose constructor tells a keyword that it does not know with the nearest."""
    constructor: Any = cls.__init__
    known = [each.name for each in fields(cls) if each.init]

    @wraps(constructor)
    def __init__(self: Any, *given: Any, **options: Any) -> None:  # noqa: N807
        check_names(cls.__name__, known, options)
        constructor(self, *given, **options)

    cls.__init__ = __init__  # type: ignore[method-assign]
    return cls


@_named
@dataclass(frozen=True)
class Categorical(FeatureOptions):
    """One id a row, looked up in an embedding table.

    The keywords are those of an entry of ``feature_cols``; see :class:`FeatureOptions`.

    Example:
        >>> fm.Categorical("device", fill_na="unknown", min_categr_count=5).type
        'categorical'
    """

    type: str = field(default="categorical", init=False)


@_named
@dataclass(frozen=True)
class Numeric(FeatureOptions):
    """One number a row.

    The keywords are those of an entry of ``feature_cols``; see :class:`FeatureOptions`.

    Example:
        >>> fm.Numeric("price", normalizer="StandardScaler").normalizer
        'StandardScaler'
    """

    type: str = field(default="numeric", init=False)


@_named
@dataclass(frozen=True)
class Sequence(FeatureOptions):
    """A bag of ids a row, pooled to one vector: lists, or texts such as ``a^b^c``.

    The keywords are those of an entry of ``feature_cols``; see :class:`FeatureOptions`.

    Example:
        >>> fm.Sequence("recent_items", share_embedding="item_id", max_len=20).max_len
        20
    """

    type: str = field(default="sequence", init=False)


@_named
@dataclass(frozen=True)
class Embedding(FeatureOptions):
    """A dense vector a row that comes with the data: a list or a row of a matrix.

    The keywords are those of an entry of ``feature_cols``; see :class:`FeatureOptions`.

    Example:
        >>> fm.Embedding("image", max_len=64).type
        'embedding'
    """

    type: str = field(default="embedding", init=False)


@_named
@dataclass(frozen=True)
class Meta(FeatureOptions):
    """A column that is carried along and not learnt from: groups of gAUC, values of ``metrics_by``.

    Example:
        >>> fm.Meta("session_id").type
        'meta'
    """

    type: str = field(default="meta", init=False)


@_named
@dataclass(frozen=True)
class Label(LabelOptions):
    """A label column that is more than 0 and 1, or that says more of itself.

    The keywords are those of an entry of ``label_col``; see :class:`LabelOptions`.

    Example:
        >>> fm.Label("spend", kind="regression", given="buy").kind
        'regression'
    """
