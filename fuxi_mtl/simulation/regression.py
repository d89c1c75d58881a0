r"""Two regressions whose relatedness is known: the synthetic data of the MMoE paper.

For unit vectors u1 ⟂ u2, scale c and the cosine p (``task_correlation``)::

    w1 = c u1,   w2 = c (p u1 + √(1 - p²) u2)                       cos(w1, w2) = p
    x ~ N(0, I)
    y_j = w_j·x + Σ_k sin(a_k w_j·x + b_k) + ε_j,   ε_j ~ N(0, noise²),   k = 1 .. ``sinusoids``

so ``noise`` = 0.1 is the paper's N(0, 0.01). The truth is y_j without ε_j. Pearson's correlation of the
labels grows with p but is not p.

Reference:
    Ma et al., Modeling Task Relationships in Multi-task Learning with Multi-gate Mixture-of-Experts, KDD
    2018, section 3.2.

Differs from the paper: the sinusoids' shapes, which it does not print, are a_k = k, and b_k uniform on [0,
2π) by the seed, the same for both tasks.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from fuxi_mtl.simulation.settings import RegressionSettings
from fuxi_mtl.simulation.world import stream

BLOCK = 100_000  # rows
TRUTH = {f"truth_y{task}": f"E[y{task} | x]" for task in (1, 2)}


@dataclass(frozen=True)
class Regression:
    """The generator of any number of blocks.

    Attributes:
        settings: As given.
        weights: ``(dimensions, 2)``.
        phases: ``(sinusoids,)``.
    """

    settings: RegressionSettings
    weights: np.ndarray
    phases: np.ndarray

    @classmethod
    def of(cls, settings: RegressionSettings) -> "Regression":
        """The generator of these settings."""
        draws = stream(settings.seed, 0)
        first, second = np.linalg.qr(draws.standard_normal((settings.dimensions, 2)))[0].T
        cosine = settings.task_correlation
        turned = cosine * first + np.sqrt(1 - cosine**2) * second
        phases = 2 * np.pi * draws.random(settings.sinusoids)
        return cls(settings, settings.scale * np.column_stack([first, turned]), phases)

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return -(-self.settings.rows // BLOCK)

    def block(self, index: int) -> pl.DataFrame:
        """One block of rows: numbers, labels, truth. It depends on the settings and its number only."""
        rows = min(BLOCK, self.settings.rows - index * BLOCK)
        draws = stream(self.settings.seed, 2, index)
        noise = draws.standard_normal((BLOCK, 2))[:rows]
        x = draws.standard_normal((BLOCK, self.settings.dimensions), np.float32)[:rows]
        true = self.expected(x)
        labels = true + self.settings.noise * noise
        columns = {f"x{k + 1}": x[:, k] for k in range(x.shape[1])}
        columns |= {f"y{j + 1}": labels[:, j].astype(np.float32) for j in range(2)}
        columns |= {f"truth_y{j + 1}": true[:, j].astype(np.float32) for j in range(2)}
        return pl.DataFrame(columns)

    def expected(self, x: np.ndarray) -> np.ndarray:
        """E[y | x], ``(rows, 2)``."""
        projected = x @ self.weights
        waves = (np.sin(k * projected + phase) for k, phase in enumerate(self.phases, start=1))
        return sum(waves, start=projected)

    def frames(self) -> Iterator[pl.DataFrame]:
        """All blocks in order."""
        return (self.block(index) for index in range(self.blocks))
