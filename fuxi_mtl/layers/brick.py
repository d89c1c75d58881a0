"""Layers that Keras saves and loads by the arguments of their constructors."""

import inspect
import typing
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass, replace
from typing import Any

import keras

from fuxi_mtl.features import FeatureMap


class Brick(keras.layers.Layer):
    """A layer whose configuration is what its constructor was given, defaults included, as plain data.

    A subclass is registered with Keras, its constructor takes ``name``, ``trainable`` and ``dtype`` beside
    its own arguments, and what lies inside of it has its ``dtype_policy``. Then it works in functional
    models, in ``fit``, in ``.keras`` files and under the policy that it was saved with. Arguments may be
    dataclasses and feature maps; a feature map leaves out which rows were pretrained, since the rows
    themselves are saved.

    >>> from fuxi_mtl.layers import MLP
    >>> MLP([8, 4], dropout=0.5).get_config()["units"]
    [8, 4]
    """

    def __new__(cls, *args, **kwargs):
        """Keeps the arguments."""
        brick = super().__new__(cls, *args, **kwargs)
        # Past Keras, which would look for layers in them.
        object.__setattr__(brick, "_constructed_with", (args, kwargs))
        return brick

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        args, kwargs = self._constructed_with
        signature = inspect.signature(type(self).__init__)
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()  # a later default must not change what was saved
        hints, config = typing.get_type_hints(type(self).__init__), dict[str, Any]()
        for name, parameter in list(signature.parameters.items())[1:]:
            value = _plain(_restored(bound.arguments[name], hints.get(name)))  # a block with its defaults
            config |= value if parameter.kind is inspect.Parameter.VAR_KEYWORD else {name: value}
        return {**config, **super().get_config()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Brick":
        """The layer of such a configuration, without its weights."""
        hints = typing.get_type_hints(cls.__init__)
        return cls(**{name: _restored(value, hints.get(name)) for name, value in config.items()})

    def compute_output_spec(self, *args, **kwargs):
        """Shapes and dtypes as :meth:`call` has them: shares and heads are float32 under any precision."""
        return keras.Operation.compute_output_spec(self, *args, **kwargs)


def _plain(value: Any) -> Any:
    """The same in lists, dicts, texts and numbers."""
    if isinstance(value, FeatureMap):
        features = tuple(replace(feature, pretrained=None) for feature in value.features)
        return replace(value, features=features).to_json()
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, (list, tuple)) else value


def _restored(value: Any, hint: Any) -> Any:
    """What :func:`_plain` was given, where the constructor wants a dataclass."""
    kinds: Any = typing.get_args(hint) or (hint,)
    for kind in kinds if isinstance(value, Mapping) else ():
        if kind is FeatureMap:
            return FeatureMap.from_json(value)
        if isinstance(kind, type) and is_dataclass(kind):
            return kind(**value)
    return value
