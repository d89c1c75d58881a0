"""The methods of surgery: from inner products of gradients to coefficients."""

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

import numpy as np

from fuxi_mtl.hints import no_objective
from fuxi_mtl.options import SURGERY_MODES, option
from fuxi_mtl.options.construction import CheckedOptions
from fuxi_mtl.surgery import solvers

Array = np.ndarray
State = dict[str, Array]


class SurgeryMethod(CheckedOptions):
    """Base class of a method: a call gives coefficients. What is kept from step to step is not in the object.

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
        modes: Where it can compare gradients.

    Args:
        names: The objectives that take part.
        seed: Of what is random.
    """

    least_norm: ClassVar[bool] = False
    lagged: bool = False
    scale: ClassVar[str] = "sum"
    modes: ClassVar[tuple[str, ...]] = SURGERY_MODES

    def __init__(self, names: Sequence[str], seed: int = 0):
        self.names, self.seed = tuple(names), seed

    def begins(self) -> State:
        """What is kept from step to step, as it is before the first one: arrays by name."""
        return {}

    def advance(self, gram: Array, names: Sequence[str], step: int, state: State) -> Array | None:
        """The coefficients of a step, as a call gives them, with `state` brought up to date."""
        return self(gram, names, step)

    def __call__(self, gram: Array, names: Sequence[str], step: int) -> Array | None:
        """The ``(T,)`` coefficients of a step; None where the method has no answer, and all count with one.

        Args:
            gram: ``(T, T)`` inner products of the weighted gradients, float64; none of them is zero.
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
            raise ValueError(no_objective("pe_ltr_bounds", name, names))
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
        self.strength = cagrad_strength

    def __call__(self, gram: Array, names: Sequence[str], step: int) -> Array:
        """See :func:`~fuxi_mtl.surgery.solvers.conflict_averse_coefficients`."""
        return solvers.conflict_averse_coefficients(gram, self.strength)


class _Preferring(SurgeryMethod):
    """A method that may prefer objectives.

    Args:
        names: The objectives that take part.
        seed: Not used.
        preference: ``(T,)`` factors above 0 of the objectives, in their order; ones unless said.
    """

    def __init__(self, names: Sequence[str], seed: int = 0, preference: Array | None = None):
        super().__init__(names, seed)
        given = np.ones(len(self.names)) if preference is None else np.asarray(preference, float)
        self._preferred = dict(zip(self.names, given, strict=True))

    def preference(self, names: Sequence[str]) -> Array:
        """The factors of some objectives."""
        return np.array([self._preferred[name] for name in names])


class Unconflicting(_Preferring):
    """UPGrad, gradients projected so that none opposes another (Quinton and Rey, arXiv 2406.16232)."""

    def __call__(self, gram: Array, names: Sequence[str], step: int) -> Array:
        """See :func:`~fuxi_mtl.surgery.solvers.unconflicting_coefficients`."""
        return solvers.unconflicting_coefficients(gram, self.preference(names))


class DualCone(_Preferring):
    """DualProj, the plain sum projected to oppose no gradient (Quinton and Rey, arXiv 2406.16232)."""

    def __call__(self, gram: Array, names: Sequence[str], step: int) -> Array:
        """See :func:`~fuxi_mtl.surgery.solvers.dual_cone_coefficients`."""
        return solvers.dual_cone_coefficients(gram, self.preference(names))


class Bargained(SurgeryMethod):
    """Nash-MTL, the Nash bargaining solution between the objectives (Navon et al., ICML 2022).

    Differs from the paper: solved by Newton's method at every step, without cvxpy and a warm start; private
    variables keep their weights; and the direction is as long as the plain sum, unless ``nash_scale`` is
    ``raw`` (the paper's has the length sqrt(T) whatever the gradients: a step never shrinks).

    Args:
        names: The objectives that take part.
        seed: Not used.
        nash_scale: ``sum`` or ``raw``.

    Raises:
        ValueError: Another scale.
    """

    def __init__(
        self,
        names: Sequence[str],
        seed: int = 0,
        *,
        nash_scale: Annotated[
            str,
            option(
                "Length of the direction: that of the plain sum, or the square root of T as in the paper.",
                choices=("sum", "raw"),
            ),
        ] = "sum",
    ):
        super().__init__(names, seed)
        self.rescaled = nash_scale == "sum"

    def __call__(self, gram: Array, names: Sequence[str], step: int) -> Array:
        """See :func:`~fuxi_mtl.surgery.solvers.bargained_coefficients`."""
        found = solvers.bargained_coefficients(gram)
        return found * _length(gram, np.ones(len(gram))) / _length(gram, found) if self.rescaled else found


class EqualCosines(_Preferring):
    """ConFIG, the direction with equal cosines to all gradients (Liu, Chu and Thuerey, ICLR 2025)."""

    def __call__(self, gram: Array, names: Sequence[str], step: int) -> Array | None:
        """See :func:`~fuxi_mtl.surgery.solvers.equal_cosine_coefficients`."""
        return solvers.equal_cosine_coefficients(gram, self.preference(names))


class EqualProjections(SurgeryMethod):
    """IMTL-G, the direction with equal projections on all gradients' directions (Liu et al., ICLR 2021)."""

    def __call__(self, gram: Array, names: Sequence[str], step: int) -> Array | None:
        """See :func:`~fuxi_mtl.surgery.solvers.equal_projection_coefficients`."""
        return solvers.equal_projection_coefficients(gram)


class Aligned(_Preferring):
    """Aligned-MTL, the gradients made orthogonal and equally long (Senushkin et al., CVPR 2023).

    Args:
        names: The objectives that take part.
        seed: Not used.
        preference: ``(T,)`` factors of the aligned gradients.
        aligned_scale: ``min``, ``median`` or ``rmse``, see
            :func:`~fuxi_mtl.surgery.solvers.aligned_coefficients`.
        aligned_rank: Share of the largest eigenvalue up to which one is left out.

    Raises:
        ValueError: Another scale.
    """

    def __init__(
        self,
        names: Sequence[str],
        seed: int = 0,
        preference: Array | None = None,
        *,
        aligned_scale: Annotated[
            str,
            option(
                "Length of the aligned gradients: the least, the median or the mean of the principal ones.",
                choices=("min", "median", "rmse"),
            ),
        ] = "min",
        aligned_rank: Annotated[
            float,
            option(
                "Share of the largest eigenvalue up to which one is left out, as of two tasks all but alike.",
                above=0,
                below=1,
            ),
        ] = 1e-6,
    ):
        super().__init__(names, seed, preference)
        self.length, self.rank = aligned_scale, aligned_rank

    def __call__(self, gram: Array, names: Sequence[str], step: int) -> Array:
        """See :func:`~fuxi_mtl.surgery.solvers.aligned_coefficients`."""
        return solvers.aligned_coefficients(gram, self.preference(names), self.length, self.rank)


class Vaccinated(SurgeryMethod):
    """GradVac, gradients turned until their cosines reach what they usually are (Wang et al., ICLR 2021).

    The target of a pair is the running mean of its cosine, ``r <- (1 - beta) r + beta cos`` with the cosine
    before the change, in every step; kept from -.99 to .99.

    Args:
        names: The objectives that take part.
        seed: Of the order in which a gradient meets the others.
        gradvac_beta: How fast the targets follow, above 0 up to 1.
        gradvac_target: A fixed target instead; 0 is PCGrad.
    """

    def __init__(
        self,
        names: Sequence[str],
        seed: int = 0,
        *,
        gradvac_beta: Annotated[
            float, option("Share of a step's cosine in the running mean.", above=0, most=1)
        ] = 0.01,
        gradvac_target: Annotated[
            float | None,
            option(
                "A fixed cosine to reach in place of the running means; 0 is pcgrad.", least=-0.99, most=0.99
            ),
        ] = None,
    ):
        super().__init__(names, seed)
        self.beta, self.target = gradvac_beta, gradvac_target

    def begins(self) -> State:
        """Targets of 0."""
        return {"cosines": np.zeros((len(self.names), len(self.names)))}

    def __call__(self, gram: Array, names: Sequence[str], step: int) -> Array:
        """One step from the beginning, see :meth:`advance`."""
        return self.advance(gram, names, step, self.begins())

    def advance(self, gram: Array, names: Sequence[str], step: int, state: State) -> Array:
        """See :func:`~fuxi_mtl.surgery.solvers.vaccinated_coefficients`."""
        at = np.ix_(*[[self.names.index(name) for name in names]] * 2)
        if self.target is None:
            target = np.clip(state["cosines"][at], -0.99, 0.99)
        else:
            target = np.full(gram.shape, self.target)
        order = np.random.default_rng([self.seed, step]).permutation(len(names))
        turned = np.ix_(order, order)
        found = np.empty(len(names))
        found[order] = solvers.vaccinated_coefficients(gram[turned], target[turned])
        lengths = np.sqrt(np.diag(gram))
        state["cosines"][at] += self.beta * (gram / np.outer(lengths, lengths) - state["cosines"][at])
        return found


class MetaBalanced(SurgeryMethod):
    """MetaBalance, auxiliary gradients brought to the length of the target's (He et al., WWW 2022).

    With ``m_k`` the running mean of the length of ``g_k`` and 0 the target::

        m_k <- beta m_k + (1 - beta) ||g_k||        a_k = r min(m_0 / m_k, cap) + 1 - r        a_0 = 1

    Differs from the paper: one length for all that is compared (``surgery_mode``), not one a variable, and
    the cap. The paper's strategy C: both longer and shorter gradients are changed.

    Args:
        names: The objectives that take part.
        seed: Not used.
        metabalance_target: The target; the first objective unless said.
        metabalance_relax: r, from 0 (the plain sum) to 1 (equal lengths).
        metabalance_decay: beta, from 0 to below 1.
        metabalance_cap: Largest ratio of lengths, from 1 up.

    Raises:
        ValueError: The target is no objective.
    """

    def __init__(
        self,
        names: Sequence[str],
        seed: int = 0,
        *,
        metabalance_target: Annotated[
            str | None, option("Objective whose gradient is left alone; the first unless said.")
        ] = None,
        metabalance_relax: Annotated[
            float,
            option("How far lengths are brought to the target's: 0 not at all, 1 wholly.", least=0, most=1),
        ] = 0.7,
        metabalance_decay: Annotated[
            float, option("Share of the steps before in the running mean of a length.", least=0, below=1)
        ] = 0.9,
        metabalance_cap: Annotated[
            float, option("Largest ratio of the target's length to another's.", least=1)
        ] = 10.0,
    ):
        super().__init__(names, seed)
        target = metabalance_target or self.names[0]
        if target not in self.names:
            raise ValueError(no_objective("metabalance_target", target, self.names))
        self.target = self.names.index(target)
        self.relax, self.decay, self.cap = metabalance_relax, metabalance_decay, metabalance_cap

    def begins(self) -> State:
        """Lengths of 0: only their ratios count."""
        return {"lengths": np.zeros(len(self.names))}

    def __call__(self, gram: Array, names: Sequence[str], step: int) -> Array:
        """One step from the beginning, see :meth:`advance`."""
        return self.advance(gram, names, step, self.begins())

    def advance(self, gram: Array, names: Sequence[str], step: int, state: State) -> Array:
        """The coefficients; ones until the target has had a gradient."""
        at = [self.names.index(name) for name in names]
        lengths = state["lengths"]
        lengths[at] = self.decay * lengths[at] + (1 - self.decay) * np.sqrt(np.diag(gram))
        if lengths[self.target] == 0:
            return np.ones(len(names))
        ratio = np.minimum(lengths[self.target] / lengths[at], self.cap)
        return self.relax * ratio + 1 - self.relax


def _length(gram: Array, coefficients: Array) -> float:
    """``||sum_k a_k g_k||``."""
    return float(np.sqrt(max(coefficients @ gram @ coefficients, 0.0)))
