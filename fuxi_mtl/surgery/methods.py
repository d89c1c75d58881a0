"""The methods of surgery: from inner products of gradients to coefficients."""

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

import numpy as np

from fuxi_mtl.options import option
from fuxi_mtl.surgery import solvers

Array = np.ndarray


class SurgeryMethod:
    """Base class of a method: a call gives coefficients. It keeps nothing from step to step.

    A subclass of a user's own is a surgery once it is registered:

    >>> class Longest(SurgeryMethod):  # below @fm.register_surgery
    ...     def __call__(self, gram, names, step):
    ...         return np.diag(gram) == np.diag(gram).max()
    >>> Longest(["ctr", "cvr"])(np.array([[4.0, 0.0], [0.0, 1.0]]), ["ctr", "cvr"], 0).tolist()
    [True, False]

    Attributes:
        least_norm: Whether it looks for a combination of least norm, so that lengths of gradients matter and
            ``surgery_normalize`` means something.
        lagged: Whether a step uses the coefficients that the step before it found; they add up to one.
        scale: What T equal gradients g become: T g (``sum``) or g (``mean``).

    Args:
        names: The objectives that take part.
        seed: Of what is random.
    """

    least_norm: ClassVar[bool] = False
    lagged: bool = False
    scale: ClassVar[str] = "sum"

    def __init__(self, names: Sequence[str], seed: int = 0):
        self.names, self.seed = tuple(names), seed

    def __call__(self, gram: Array, names: Sequence[str], step: int) -> Array:
        """The ``(T,)`` coefficients of a step.

        Args:
            gram: ``(T, T)`` inner products of the weighted gradients, float64.
            names: The T objectives with rows in the batch.
            step: Optimizer steps taken; with the seed it seeds what is random.
        """
        raise NotImplementedError(f"{type(self).__name__} must define __call__(gram, names, step).")


class MinNorm(SurgeryMethod):
    """MGDA, the convex combination of least norm (Sener and Koltun, NeurIPS 2018)."""

    least_norm = True
    scale = "mean"

    def __call__(self, gram: Array, names: Sequence[str], step: int) -> Array:
        """See :func:`~fuxi_mtl.surgery.solvers.min_norm_weights`."""
        return solvers.min_norm_weights(gram)


class ParetoEfficient(SurgeryMethod):
    """PE-LTR, the combination of least norm above bounds (Lin et al., RecSys 2019).

    Args:
        names: The objectives that take part.
        seed: Not used.
        pe_ltr_solver: ``paper`` or ``exact``, see :func:`~fuxi_mtl.surgery.solvers.pareto_weights`.
        pe_ltr_bounds: Least weight by objective, from 0 up, with a sum of at most 1.
        pe_ltr_weights: Whether a step uses the weights of the ``previous`` batch or its ``current`` own.

    Raises:
        ValueError: A bound of an unknown objective or outside 0 to 1, or a sum above 1.
    """

    least_norm = True
    scale = "mean"

    def __init__(
        self,
        names: Sequence[str],
        seed: int = 0,
        *,
        pe_ltr_solver: Annotated[
            str,
            option("The paper's projection, or the optimum it comes close to.", choices=("paper", "exact")),
        ] = "paper",
        pe_ltr_bounds: Annotated[
            dict[str, float] | None,
            option("Least weights by objective, with a sum of at most 1; 0 unless said."),
        ] = None,
        pe_ltr_weights: Annotated[
            str,
            option(
                "Weights of a step: of the batch before, as in the paper, or its own.",
                choices=("previous", "current"),
            ),
        ] = "previous",
    ):
        super().__init__(names, seed)
        self.exact, self.lagged = pe_ltr_solver == "exact", pe_ltr_weights == "previous"
        self.bounds = _bounds(pe_ltr_bounds or {}, names)

    def __call__(self, gram: Array, names: Sequence[str], step: int) -> Array:
        """See :func:`~fuxi_mtl.surgery.solvers.pareto_weights`."""
        return solvers.pareto_weights(gram, np.array([self.bounds[name] for name in names]), self.exact)


def _bounds(given: Mapping[str, float], names: Sequence[str]) -> dict[str, float]:
    """The least weight of each objective."""
    for name, bound in given.items():
        if name not in names:
            known = ", ".join(names)
            raise ValueError(f"pe_ltr_bounds names {name!r}, which is no objective. Objectives: {known}.")
        if not 0 <= bound <= 1:
            raise ValueError(f"pe_ltr_bounds of {name!r} is {bound}; a bound is a number from 0 to 1.")
    if sum(given.values()) > 1:
        raise ValueError(f"pe_ltr_bounds add up to {sum(given.values()):g}; weights add up to 1.")
    return {name: float(given.get(name, 0.0)) for name in names}


class ProjectedConflicts(SurgeryMethod):
    """PCGrad, gradients without what points against another (Yu et al., NeurIPS 2020)."""

    def __call__(self, gram: Array, names: Sequence[str], step: int) -> Array:
        """See :func:`~fuxi_mtl.surgery.solvers.projected_coefficients`."""
        return solvers.projected_coefficients(gram, np.random.default_rng([self.seed, step]))


class ConflictAverse(SurgeryMethod):
    """CAGrad, the most help for the worst helped within reach of the mean (Liu et al., NeurIPS 2021).

    Args:
        names: The objectives that take part.
        seed: Not used.
        cagrad_strength: Reach around the mean gradient, from 0 to below 1.

    Raises:
        ValueError: The strength lies outside.
    """

    def __init__(
        self,
        names: Sequence[str],
        seed: int = 0,
        *,
        cagrad_strength: Annotated[
            float, option("Reach around the mean gradient, as a share of its length.", least=0, below=1)
        ] = 0.4,
    ):
        super().__init__(names, seed)
        if not 0 <= cagrad_strength < 1:
            raise ValueError(f"cagrad_strength is {cagrad_strength}; it lies from 0 to below 1.")
        self.strength = cagrad_strength

    def __call__(self, gram: Array, names: Sequence[str], step: int) -> Array:
        """See :func:`~fuxi_mtl.surgery.solvers.conflict_averse_coefficients`."""
        return solvers.conflict_averse_coefficients(gram, self.strength)
