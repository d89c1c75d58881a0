"""Product, sum and rank fusion: one number to sort by, out of several scores of a row.

All three are ``G(sum_k w_k t(s_k))``. The terms ``t`` do not depend on the weights and are computed once,
however many weights a search tries.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fuxi_mtl.fusion.ranks import ranks
from fuxi_mtl.options import FusionOptions

FLOOR = 1e-12  # of a score, before its logarithm
LOGIT_MARGIN = 1e-7  # of a score from 0, before its logit
LOGIT_END = float(np.float32(1 - LOGIT_MARGIN))  # the same from 1, where scores, float32, can tell it


@dataclass(frozen=True)
class Fusion:
    """Joins the scores of a row by a formula with fixed weights.

    Equations::

        product   S = prod_k max(s_k, 1e-12)^w_k      or  prod_k (1 + alpha s_k)^w_k
        sum       S = sum_k w_k F(s_k)                F: log, sqrt, identity, power (s^p), logit
        rank      S = sum_k w_k / (rank_k + c)        rank 1 is the best of the request

    Only the sum with F = log orders rows as the product does; another F orders them otherwise, as soon as
    there are two scores. Ranks forget how far scores lie apart: what a task thinks very little of is hardly
    pushed down. A weight of 0 leaves a score out.

    Attributes:
        method: product, sum or rank.
        weights: From 0 up, by task; their order is that of the terms.
        transform: sum: F.
        power: sum: the exponent of ``power``.
        alpha: product: the second form.
        rank_constant: rank: c. 0 as in the first place of a list counting most, 60 in RRF.
        ties: rank: ``min`` (1, 1, 3), ``average`` (1.5, 1.5, 3) or ``dense`` (1, 1, 2).

    Reference:
        Cormack, Clarke and Buettcher. Reciprocal rank fusion outperforms Condorcet and individual rank
        learning methods. SIGIR 2009 (rank with c = 60 and equal weights).
    """

    method: str
    weights: dict[str, float]
    transform: str = "log"
    power: float = 0.5
    alpha: float | None = None
    rank_constant: float = 0.0
    ties: str = "min"

    @classmethod
    def asked(cls, options: FusionOptions, weights: Mapping[str, float]) -> "Fusion":
        """The formula that a stanza asks for."""
        return cls(
            options.method,
            dict(weights),
            options.transform,
            options.power,
            options.alpha,
            options.rank_constant,
            options.ties,
        )

    def terms(self, scores: Mapping[str, np.ndarray], groups: np.ndarray | None = None) -> np.ndarray:
        """What the weights multiply.

        Args:
            scores: ``(rows,)`` by task, as predicted.
            groups: Request of each row, for ranks; without one all rows are one request.

        Returns:
            float64 ``(rows, weights)``.

        Raises:
            ValueError: A score is missing, or is no number that the formula can take.
        """
        absent = [task for task in self.weights if task not in scores]
        if absent:
            raise ValueError(f"fusion: no score of {absent[0]!r}. Scores: {', '.join(scores)}.")
        return np.stack([self._term(name, scores[name], groups) for name in self.weights], axis=1)

    def join(self, terms: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        """The fused score ``(rows,)`` of terms; with other weights than its own if some are given."""
        total = terms @ (np.array(list(self.weights.values())) if weights is None else weights)
        return np.exp(total) if self.method == "product" else total

    def __call__(self, scores: Mapping[str, np.ndarray], groups: np.ndarray | None = None) -> np.ndarray:
        """The fused score of each row, float64 ``(rows,)``; see :meth:`terms`."""
        return self.join(self.terms(scores, groups))

    def _term(self, name: str, given: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
        s = np.asarray(given, np.float64)
        if not np.isfinite(s).all():
            raise ValueError(f"fusion: a score of {name!r} is not a finite number.")
        if self.method == "rank":
            return 1 / (ranks(s, groups, self.ties) + self.rank_constant)
        if self.method == "sum" and self.transform == "identity":
            return s
        if (s < 0).any():
            raise ValueError(f"fusion: {self._name} needs scores from 0 up; one of {name!r} is {s.min():g}.")
        if self.method == "product" and self.alpha is not None:
            return np.log1p(self.alpha * s)
        if self.method == "product" or self.transform == "log":
            return np.log(np.maximum(s, FLOOR))
        if self.transform == "logit":
            return self._logit(name, s)
        return np.sqrt(s) if self.transform == "sqrt" else s**self.power

    def _logit(self, name: str, s: np.ndarray) -> np.ndarray:
        if (s > 1).any():
            raise ValueError(f"fusion: logit needs probabilities; one of {name!r} is {s.max():g}.")
        inside = np.clip(s, LOGIT_MARGIN, LOGIT_END)
        return np.log(inside) - np.log1p(-inside)

    @property
    def _name(self) -> str:
        return self.method if self.method == "product" else self.transform

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    @classmethod
    def of(cls, plain: Any) -> "Fusion":
        """From what :meth:`plain` gave.

        Raises:
            ValueError: It is something else.
        """
        try:
            fusion = cls(**plain)
            weights = np.array(list(fusion.weights.values()), np.float64)
        except (TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"this is no fusion ({error!r}).") from error
        if not len(weights) or not np.isfinite(weights).all():
            raise ValueError(f"this is no fusion (weights are {fusion.weights}).")
        return fusion
