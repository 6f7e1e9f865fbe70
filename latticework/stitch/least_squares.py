"""Robust linear least squares with many unknowns that come in small blocks, one for each tile."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, cg, splu

POINT_PX = 0.3
"""How far two places of the same point are usually apart."""
LEAST_SCALE_PX = 0.5
"""Contradiction at which a point has lost half of its weight, at least."""
ROUNDS = 12
"""Times that weights are set anew, at most."""
SMALL = 3000
"""Unknowns up to which equations are solved directly."""

Row = tuple[np.ndarray, Sequence[float] | np.ndarray, float]
"""Unknowns, (rows, terms); the factor of each term; and how large the sum usually is, in pixels."""


def penalties(rows: Sequence[Row], unknowns: int) -> Any:
    """What unusual unknowns cost, as a sparse matrix whose square is added to the equations.

    Examples
    --------
    >>> penalties([(np.array([[0, 1]]), [1.0, -1.0], 3.0)], 2).toarray().round(2)
    array([[ 0.1, -0.1]])
    """
    parts = []
    for index, factors, usual in rows:
        n, terms = np.shape(index)
        values = np.tile(np.asarray(factors, "f8") * (POINT_PX / usual), n)
        starts = np.arange(n + 1) * terms
        parts.append(sparse.csr_matrix((values, np.ravel(index), starts), (n, unknowns)))
    return sparse.vstack(parts).tocsr() if parts else sparse.csr_matrix((0, unknowns))


def robust(
    design: Any,
    target: np.ndarray,
    weight: np.ndarray,
    calm: Any,
    *,
    start: np.ndarray | None = None,
    block: int = 1,
) -> np.ndarray:
    """Unknowns that fulfil equations as well as possible; those that contradict the others fade.

    Iteratively reweighted least squares with Cauchy's weights (P. Holland and R. Welsch, 1977).

    Parameters
    ----------
    design
        Sparse, (equations, unknowns). Equations of one point follow each other.
    target
        (equations, columns).
    weight
        (points,): what each point counts at first.
    calm
        As `penalties` gives them.
    start
        Where unknowns are already, (unknowns, columns): penalties apply to the sum.
    block
        Unknowns of one tile: these follow each other.

    Returns
    -------
    ndarray
        (unknowns, columns).

    Examples
    --------
    Three say 2, one says 50:

    >>> design = sparse.csr_matrix(np.ones((4, 1)))
    >>> target = np.array([[2.0], [2.1], [1.9], [50.0]])
    >>> float(robust(design, target, np.ones(4), penalties([], 1))[0, 0].round(1))
    2.0
    """
    found = np.zeros((design.shape[1], target.shape[1]))
    if not len(weight):
        return found
    per = design.shape[0] // len(weight)
    square = (calm.T @ calm).tocsr()
    pull = np.zeros_like(found) if start is None else square @ start
    w = weight.astype("f8")
    left = np.linalg.norm(target.reshape(len(weight), -1), axis=1)
    for _ in range(ROUNDS):
        each = np.repeat(w, per)
        normal = (design.T @ sparse.diags(each) @ design + square).tocsr()
        right = design.T @ (each[:, None] * target) - pull
        found = _solved(normal, right, found, block)
        left = np.linalg.norm((design @ found - target).reshape(len(weight), -1), axis=1)
        scale = max(LEAST_SCALE_PX, 1.4826 * float(np.median(left)))
        before, w = w, weight / (1 + np.square(left / scale))
        if np.abs(w - before).max() < 0.01:
            break
    return found


def _solved(normal: Any, right: np.ndarray, start: np.ndarray, block: int) -> np.ndarray:
    n = normal.shape[0]
    tiny = 1e-9 * float(normal.diagonal().max())  # nothing may be left open altogether
    normal = normal + tiny * sparse.identity(n, format="csr")
    if n <= SMALL:
        return np.asarray(splu(normal.tocsc()).solve(right))
    inverse = np.linalg.inv(_blocks(normal, block))

    def without_neighbours(vector: np.ndarray) -> np.ndarray:
        return np.asarray(np.einsum("bij,bj->bi", inverse, vector.reshape(-1, block)).ravel())

    easier = LinearOperator((n, n), matvec=without_neighbours)
    found = start.copy()
    for column in range(right.shape[1]):
        found[:, column], _ = cg(
            normal, right[:, column], x0=start[:, column], rtol=1e-6, maxiter=2000, M=easier
        )
    return found


def _blocks(matrix: Any, block: int) -> np.ndarray:
    """The squares of a matrix along its diagonal: (blocks, block, block)."""
    parts = matrix.tocoo()
    inside = parts.row // block == parts.col // block
    found = np.zeros((matrix.shape[0] // block, block, block))
    row, column = parts.row[inside], parts.col[inside]
    found[row // block, row % block, column % block] = parts.data[inside]
    return found


__all__ = ["Row", "penalties", "robust"]
