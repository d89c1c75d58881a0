"""Ids of a vocabulary's tokens, looked up again and again."""

from collections.abc import Sequence

import numpy as np
import polars as pl

_MOST_OTHERS = 1_000_000  # texts that are no token, before they are forgotten


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
