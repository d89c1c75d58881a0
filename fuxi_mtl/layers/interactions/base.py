"""What every interaction is given: the features' columns in a row's embeddings, and options of stacks."""

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from fuxi_mtl.layers.brick import Brick
from fuxi_mtl.options.declaring import Option
from fuxi_mtl.options.interactions import INTERACTIONS
from fuxi_mtl.options.values import convert, located


class Interaction(Brick):
    """One vector of a row's embeddings, which lies between them and whatever shares or separates heads.

    Args:
        columns: The first column of each feature or history in the embeddings and the one behind its last,
            by name, side by side.
        numbers: Those of them that are bare numbers, not vectors that are looked up.
        mlp: Options of :class:`~fuxi_mtl.layers.MLP`, common to all stacks.
        **kwargs: Options of any Keras layer: ``name``, ``trainable``, ``dtype``.

    Shapes:
        ``(batch, width)`` to ``(batch, another width)``, which depends on no row.
    """

    def __init__(
        self,
        columns: Mapping[str, Sequence[int]],
        numbers: Sequence[str] = (),
        mlp: Mapping | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.columns = {name: (int(start), int(end)) for name, (start, end) in columns.items()}
        self.numbers = tuple(numbers)
        self.mlp: dict[str, Any] = {"dtype": self.dtype_policy, **(mlp or {})}
        self.input_width = max(end for _, end in self.columns.values())

    @property
    def output_width(self) -> int:
        """The width of what comes out."""
        raise NotImplementedError(f"{type(self).__name__} must define output_width.")

    @property
    def most_common_width(self) -> int | None:
        """The width of most vectors, the larger of two; None where all features are numbers."""
        widths = [end - start for name, (start, end) in self.columns.items() if name not in self.numbers]
        return max(widths, key=lambda width: (widths.count(width), width), default=None)

    def taken(self, x: tf.Tensor, names: Sequence[str]) -> tf.Tensor:
        """The columns of some features in the input, side by side."""
        return tf.concat([x[:, start:end] for start, end in map(self.columns.__getitem__, names)], axis=1)

    def compute_output_shape(self, input_shape):
        """See the class."""
        return (input_shape[0], self.output_width)


def make_interaction(
    spec: str | Mapping | None,
    columns: Mapping[str, Sequence[int]],
    numbers: Sequence[str],
    mlp: Mapping | None,
    **layer: Any,
) -> Interaction | None:
    """The interaction that an option such as ``interaction: {type: dcnv2, num_cross_layers: 2}`` describes.

    Args:
        spec: A name of :data:`~fuxi_mtl.options.interactions.INTERACTIONS`, or a block with that ``type`` and
            the interaction's options; None for none.
        columns: See :class:`Interaction`.
        numbers: See :class:`Interaction`.
        mlp: Options of :class:`~fuxi_mtl.layers.MLP`, common to all stacks.
        **layer: Options of any Keras layer: ``name``, ``trainable``, ``dtype``.

    Raises:
        ValueError: Unknown type or option, a value of another type, or what does not fit the columns.
    """
    if spec is None:
        return None
    given = convert(located(spec), str | dict, "interaction", Option("", choices=INTERACTIONS))
    options = dict(given) if isinstance(given, dict) else {"type": given}
    kind = INTERACTIONS[options.pop("type")].load()
    return kind(columns=columns, numbers=numbers, mlp=mlp, **options, **layer)
