"""Variables with a part for each id of a feature, which are no tables."""

from dataclasses import dataclass

import keras


@dataclass(frozen=True)
class PerId:
    """A variable with a part for each id of a feature, such as a network for each domain.

    Attributes:
        variable: The variable.
        feature: The feature.
        shape: The axes that it is seen with, 0 for that of the ids from 1 up to the last before OOV.
    """

    variable: keras.Variable
    feature: str
    shape: tuple[int, ...]

    @property
    def axis(self) -> int:
        """The axis of the ids."""
        return self.shape.index(0)

    def shape_of(self, ids: int) -> tuple[int, ...]:
        """The shape with so many ids."""
        return tuple(size or ids for size in self.shape)
