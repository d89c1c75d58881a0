"""Solvers of surgery: coefficients from the inner products of the objectives' gradients.

Every method here moves the shared variables along a combination of the gradients, ``d = sum_k a_k g_k``, and
finds the coefficients from their inner products alone, the Gram matrix ``M = G G^T``, ``M_jk = g_j . g_k``.
So all of them are small functions from a ``(T, T)`` array to a ``(T,)`` array, in float64 on the CPU. SciPy,
a tenth of the library's start, is imported by those that need it.
"""

import numpy as np

Array = np.ndarray


def min_norm_weights(gram: Array) -> Array:
    """The convex combination of least norm: ``min_a ||sum_k a_k g_k||^2``, ``a >= 0``, ``sum_k a_k = 1``.

    MGDA (Désidéri 2012; Sener and Koltun, NeurIPS 2018, eq. 3). Its direction descends on every objective:
    ``d . g_k >= ||d||^2``. For two it is ``a_1 = clip((g_2 - g_1) . g_2 / ||g_1 - g_2||^2, 0, 1)``.

    Args:
        gram: ``(T, T)`` inner products.
    """
    return _least(gram, np.zeros(len(gram)))


def pareto_weights(gram: Array, lower: Array, exact: bool = False) -> Array:
    """Weights of PE-LTR: those of least norm above bounds, ``a_k >= c_k``, ``sum_k a_k = 1``.

    Lin et al., RecSys 2019, algorithm 2. The paper solves the equality-constrained problem for ``a - c``,
    ``[[M, 1], [1^T, 0]] [a; l] = [-M c; 1 - sum c]``, and projects the solution onto the simplex of size
    ``1 - sum c``. For two objectives that is the optimum; for more it may not be, and `exact` gives it.

    Args:
        gram: ``(T, T)`` inner products.
        lower: ``(T,)`` bounds c, not negative, with a sum of at most 1.
        exact: Whether to solve the bounded problem instead of projecting.
    """
    if exact:
        return _least(gram, lower)
    free = 1 - lower.sum()
    return lower + on_simplex(_equality_minimum(gram, -gram @ lower, free), free)


def projected_coefficients(gram: Array, order: np.random.Generator) -> Array:
    """Coefficients of PCGrad (Yu et al., NeurIPS 2020, algorithm 1).

    Each gradient in turn loses what points against another, ``g_i <- g_i - (g_i . g_j) / ||g_j||^2 g_j``
    where ``g_i . g_j < 0``, with the others as they were and in random order; then they are added up.

    Args:
        gram: ``(T, T)`` inner products.
        order: Gives the orders.
    """
    total = np.zeros(len(gram))
    for i in range(len(gram)):
        kept = np.eye(len(gram))[i]
        for j in order.permutation(len(gram)):
            against = kept @ gram[:, j]
            if j != i and against < 0 < gram[j, j]:  # a tiny square may have become 0 in float32
                kept[j] -= against / gram[j, j]
        total += kept
    return total


def conflict_averse_coefficients(gram: Array, strength: float) -> Array:
    """Coefficients of CAGrad (Liu et al., NeurIPS 2021, eq. 4 and algorithm 1), times T.

    The direction that most helps the objective it helps least, within reach of the mean ``g_0``::

        max_d min_k g_k . d    with  ||d - g_0|| <= c ||g_0||

    whose solution is ``d = g_0 + c ||g_0|| / ||g_w|| g_w`` with the ``g_w = sum_k w_k g_k`` of the simplex of
    least ``g_w . g_0 + c ||g_0|| ||g_w||``. Times T, so that a strength of 0 is the plain sum.

    Args:
        gram: ``(T, T)`` inner products.
        strength: c, from 0 to below 1.
    """
    from scipy.optimize import minimize

    count = len(gram)
    mean = np.full(count, 1 / count)
    reach = strength * np.sqrt(max(mean @ gram @ mean, 0.0))
    if reach == 0:
        return np.ones(count)
    # Only ratios matter, and a solver has tolerances of its own.
    scaled = gram / np.trace(gram)
    radius = strength * np.sqrt(mean @ scaled @ mean)

    def value(w: Array) -> float:
        return float(w @ scaled @ mean + radius * np.sqrt(max(w @ scaled @ w, 1e-30)))

    sums_to_one = {"type": "eq", "fun": lambda w: w.sum() - 1}
    found = minimize(
        value,
        mean,
        method="SLSQP",
        bounds=[(0, 1)] * count,
        constraints=[sums_to_one],
        options={"ftol": 1e-12},
    )
    w = found.x if found.success else mean
    length = np.sqrt(max(w @ gram @ w, 0.0))
    return count * (mean + (reach / length * w if length > 0 else 0))


def dual_cone_coefficients(gram: Array, preference: Array) -> Array:
    """DualProj: the combination ``u`` of the gradients, moved as little as no conflict allows.

    The projection of ``J^T u`` onto ``{d : J d >= 0}`` (Lopez-Paz and Ranzato, NeurIPS 2017; Quinton and Rey,
    arXiv 2406.16232)::

        a = argmin_v v^T M v    with    v >= u

    whose conditions are ``v >= u``, ``M v >= 0`` and ``(v - u) . M v = 0``. With ``M = R^T R`` it is
    ``u + y`` with ``y >= 0`` of least ``||R y + R u||``.

    Args:
        gram: ``(T, T)`` inner products.
        preference: ``(T,)`` u, not negative; ones project the plain sum.
    """
    from scipy.optimize import nnls

    root = _root(gram)
    return preference + nnls(root, -root @ preference)[0]


def unconflicting_coefficients(gram: Array, preference: Array) -> Array:
    """UPGrad: each gradient projected alone as in :func:`dual_cone_coefficients`, then added up.

    Quinton and Rey, arXiv 2406.16232. ``d . g_k >= 0`` for all k; without a conflict d is their sum.
    For two objectives it is PCGrad.

    Args:
        gram: ``(T, T)`` inner products.
        preference: ``(T,)`` factors of the gradients, not negative.
    """
    alone = np.diag(preference)
    return np.sum([dual_cone_coefficients(gram, each) for each in alone], axis=0)


def bargained_coefficients(gram: Array) -> Array:
    """Nash-MTL: the bargaining solution ``a > 0`` of ``(M a)_k = 1 / a_k``.

    Navon et al., ICML 2022, eq. 3. It is the minimum of the strictly convex ``a^T M a / 2 - sum_k log a_k``,
    found by damped Newton steps, which converge from any start; then ``d . g_k = 1 / a_k > 0`` and
    ``||d||^2 = T``.
    Where gradients all but oppose each other there is no solution within reach: a little is added to the
    diagonal, and ``||d||^2 < T``.

    Args:
        gram: ``(T, T)`` inner products, no gradient zero.
    """
    scale = np.trace(gram) / len(gram)
    scaled = gram / scale
    for added in (0.0, 1e-6):
        found, converged = _newton(scaled + added * np.eye(len(gram)))
        if converged and found.max() <= 1e6 * found.min():
            break
    return found / np.sqrt(scale)


def _newton(gram: Array) -> tuple[Array, bool]:
    """The minimum of ``a^T M a / 2 - sum log a``, and whether it was reached."""
    found = 1 / np.sqrt(len(gram) * np.diag(gram))
    for _ in range(50):
        slope = gram @ found - 1 / found
        step = -np.linalg.solve(gram + np.diag(1 / found**2), slope)
        decrement = np.sqrt(max(-slope @ step, 0.0))
        if decrement < 1e-10:
            break
        # A self-concordant function: this step stays inside a > 0.
        found = found + step * (1 if decrement < 0.25 else 1 / (1 + decrement))
    return found, bool(decrement < 1e-6)


def aligned_coefficients(gram: Array, preference: Array, scale: str = "min", rank: float = 1e-6) -> Array:
    """Aligned-MTL: the gradients made orthogonal and of one length, as near to the given ones as can be.

    Senushkin et al., CVPR 2023, eq. 13. With ``M = V diag(l) V^T`` over the r eigenvalues that count::

        a = sqrt(s) V diag(l^-1/2) V^T w        s the least, the median or the mean of l

    All singular values of the aligned gradients are ``sqrt(s)``. The direction may oppose an objective.

    Args:
        gram: ``(T, T)`` inner products.
        preference: ``(T,)`` w.
        scale: ``min``, ``median`` or ``rmse``.
        rank: Eigenvalues up to this share of the largest are left out: the least that counts sets the length.
    """
    values, vectors = np.linalg.eigh(gram)
    counts = values > rank * values[-1]
    values, vectors = values[counts], vectors[:, counts]
    common = {"min": values.min, "median": lambda: np.median(values), "rmse": values.mean}[scale]()
    return np.sqrt(common) * (vectors / np.sqrt(values)) @ (vectors.T @ preference)


def equal_cosine_coefficients(gram: Array, preference: Array) -> Array | None:
    """ConFIG: the direction with the same cosine to every gradient, as long as their projections on it.

    Liu, Chu and Thuerey, ICLR 2025, eq. 2. With the cosines ``C`` and ``C b = w``, ``d`` is along
    ``sum_k b_k g_k / ||g_k||`` and has the length ``sum_k ||g_k|| cos(g_k, d)``.

    Args:
        gram: ``(T, T)`` inner products, no gradient zero.
        preference: ``(T,)`` w: the ratios of the cosines.

    Returns:
        ``(T,)`` coefficients; None where no such direction exists, as between opposite gradients.
    """
    lengths = np.sqrt(np.diag(gram))
    cosines = gram / np.outer(lengths, lengths)
    found = np.linalg.pinv(cosines, rcond=1e-10, hermitian=True) @ preference
    projections = cosines @ found
    if np.abs(projections - preference).max() > 1e-6:
        return None
    norm = np.sqrt(found @ projections)
    return (lengths @ projections) / norm * found / (norm * lengths)


def equal_projection_coefficients(gram: Array) -> Array | None:
    """IMTL-G: equal projections on all gradients of length one.

    Liu et al., ICLR 2021, eq. 6. ``a = T v / max(sum v, .05 sum |v|)`` with ``M v = (||g_k||)_k``; the paper
    divides by ``sum v``, which may be negative for three and more: its direction then opposes every gradient.

    Args:
        gram: ``(T, T)`` inner products, no gradient zero.

    Returns:
        ``(T,)`` coefficients; None where no such direction exists.
    """
    lengths = np.sqrt(np.diag(gram))
    scale = lengths.max() ** 2
    found = np.linalg.pinv(gram / scale, rcond=1e-10, hermitian=True) @ (lengths / scale)
    if np.linalg.norm(gram @ found - lengths) > 1e-6 * np.linalg.norm(lengths):
        return None
    return len(gram) * found / max(found.sum(), 0.05 * np.abs(found).sum())


def vaccinated_coefficients(gram: Array, target: Array) -> Array:
    """GradVac: every cosine is raised to its target.

    Wang et al., ICLR 2021, eq. 3. Each gradient in turn, with the others as they were: where
    ``cos = cos(g_i, g_j)`` is below ``r = target_ij``::

        g_i <- g_i + ||g_i|| (r sqrt(1 - cos^2) - cos sqrt(1 - r^2)) / (||g_j|| sqrt(1 - r^2)) g_j

    and has that cosine. Targets of 0 are PCGrad in one order.

    Args:
        gram: ``(T, T)`` inner products, no gradient zero.
        target: ``(T, T)`` cosines from -1 to 1, ends excluded.
    """
    count, total = len(gram), np.zeros(len(gram))
    for i in range(count):
        kept = np.eye(count)[i]
        for j in range(count):
            length = np.sqrt(max(kept @ gram @ kept, 0.0))
            if j == i or length == 0:
                continue
            cosine = np.clip(kept @ gram[:, j] / (length * np.sqrt(gram[j, j])), -1, 1)
            if cosine < target[i, j]:
                least = np.sqrt(1 - target[i, j] ** 2)
                more = target[i, j] * np.sqrt(1 - cosine**2) - cosine * least
                kept[j] += length * more / (np.sqrt(gram[j, j]) * least)
        total += kept
    return total


def on_simplex(point: Array, size: float = 1.0) -> Array:
    """The nearest point with no negative entry and the sum `size` (Duchi et al., ICML 2008)."""
    if size <= 0:
        return np.zeros(len(point))
    falling = np.sort(point)[::-1]
    excess = (np.cumsum(falling) - size) / np.arange(1, len(point) + 1)
    return np.maximum(point - excess[np.flatnonzero(falling > excess)[-1]], 0)


def _equality_minimum(gram: Array, pull: Array, total: float) -> Array:
    """``min a^T M a / 2 - pull . a`` with ``sum a = total``; of several, the one of least norm."""
    count = len(gram)
    scale = np.trace(gram) / count or 1.0  # the border and the matrix have one size
    system = np.ones((count + 1, count + 1))
    system[:count, :count], system[count, count] = gram / scale, 0
    return np.linalg.lstsq(system, np.append(pull / scale, total), rcond=1e-10)[0][:count]


def _least(gram: Array, lower: Array) -> Array:
    """``min ||sum_k a_k g_k||^2`` with ``a >= lower`` and ``sum a = 1``.

    With ``a = c + s w``, w on the simplex, ``s = 1 - sum c``, the columns ``g_k`` become ``s g_k + G^T c``.
    And the shortest convex combination is, up to its sum, the non-negative least squares solution of
    ``[columns; 1^T] u = [0; 1]``: for any w on the simplex, the best ``t w`` costs more the longer it is.
    """
    from scipy.optimize import nnls

    root = _root(gram)
    free = 1 - lower.sum()
    columns = free * root + (root @ lower)[:, None]
    count = len(gram)
    found = nnls(np.vstack([columns, np.ones(count)]), np.append(np.zeros(count), 1.0))[0]
    return lower + free * found / found.sum()


def _root(gram: Array) -> Array:
    """R with ``R^T R = M`` up to its scale: columns with the gradients' angles and ratios of lengths."""
    values, vectors = np.linalg.eigh(gram / (np.trace(gram) or 1.0))
    return np.sqrt(np.maximum(values, 0))[:, None] * vectors.T
