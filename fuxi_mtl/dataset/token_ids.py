"""Ids of a vocabulary's tokens, looked up again and again."""

from collections.abc import Sequence

import numpy as np
import polars as pl

_MOST_OTHERS = 1_000_000  # texts that are no token, before they are forgotten


def ids_of_numbered(texts: pl.Series, tokens: Sequence[str]) -> np.ndarray:
    """Ids ``(rows,)`` int32 of texts that have numbers: tokens are looked up among them, and nothing else is.

    Args:
        texts: In a numbering of their own, without gaps; tokens get numbers in it, too.
        tokens: See :class:`TokenIds`.
    """
    numbers = texts.to_physical().to_numpy()
    places = pl.Series(tokens, dtype=pl.String).cast(texts.dtype).to_physical().to_numpy()
    highest = max(int(each.max(initial=0)) for each in (numbers, places))
    ids = np.full(highest + 1, len(tokens) + 1, np.int32)
    ids[places] = np.arange(1, len(tokens) + 1)
    return ids[numbers]


class TokenIds:
    """The id of each token: its place from 1 on; of any other text the one behind the last.

    polars numbers the tokens once. An Enum would be made of all tokens anew at each look-up, however few are
    looked up: of a million that takes half a second.

    Args:
        tokens: The tokens, each once.
        most_others: How many texts that are no token are kept with them; they have numbers, too.
    """

    def __init__(self, tokens: Sequence[str], most_others: int = _MOST_OTHERS):
        self._tokens, self._most = tokens, len(tokens) + most_others
        self._known = self._numbered()

    def __call__(self, found: pl.Series) -> np.ndarray:
        """Ids ``(rows,)`` int32 of texts."""
        known = self._known  # threads may look up at the same time
        numbers = found.cast(known.dtype).to_physical().fill_null(len(known)).to_numpy()
        if len(numbers) and numbers.max() >= self._most:
            self._known = self._numbered()
        return (np.minimum(numbers, len(known)) + 1).astype(np.int32)

    def _numbered(self) -> pl.Series:
        """The tokens in a numbering of their own, which lives as long as this series."""
        return pl.Series(self._tokens, dtype=pl.String).cast(pl.Categorical(pl.Categories.random()))
