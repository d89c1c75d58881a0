"""Solvers of surgery: coefficients from the inner products of the objectives' gradients.

Every method here moves the shared variables along a combination of the gradients, ``d = sum_k a_k g_k``, and
finds the coefficients from their inner products alone, the Gram matrix ``M = G G^T``, ``M_jk = g_j . g_k``.
So all of them are small functions from a ``(T, T)`` array to a ``(T,)`` array, in float64 on the CPU.
"""

import numpy as np
from scipy.optimize import minimize, nnls

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
    values, vectors = np.linalg.eigh(gram / (np.trace(gram) or 1.0))
    root = np.sqrt(np.maximum(values, 0))[:, None] * vectors.T  # its columns have the gradients' products
    free = 1 - lower.sum()
    columns = free * root + (root @ lower)[:, None]
    count = len(gram)
    found = nnls(np.vstack([columns, np.ones(count)]), np.append(np.zeros(count), 1.0))[0]
    return lower + free * found / found.sum()
