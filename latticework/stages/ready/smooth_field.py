"""A smooth field from what it does between places: differences of many tiles, put together.

Each tile shows the field times a specimen of its own. What the logarithm of the two does from one
piece of the tile to the next is the field's difference there, plus the specimen's; over many tiles
the specimen's is as often up as down, and mostly small, so that a median leaves the field's::

    tile 0    ... 5.1  5.2  5.1 | 6.9  7.0 ...     an edge of the specimen counts once,
    tile 1    ... 4.0  4.2  4.2   4.3  4.3 ...     not all along the tile
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from scipy import sparse

Floats = npt.NDArray[np.float64]

LAGS = (1, 2, 4, 8, 16)
"""Distances between the pieces that are compared."""
DEGREE = 10
"""Of the polynomials that the field is made of."""
STIFFNESS = tuple(10.0**k for k in range(-2, 8))
"""Weights of bending among which that is chosen which foretells other tiles best."""
LEAST_SPREAD = 0.03
"""Spread of a tile's differences below which it counts no more."""
AS_GOOD = 1.0
"""How much worse the stiffest field may foretell than the best one."""
ROUNDS = 3


def smooth_field(logs: Floats, doubt: Floats, size: tuple[int, ...]) -> Floats:
    """Logarithm of the field at each pixel, with mean 0.

    Parameters
    ----------
    logs
        Logarithms of the pieces of tiles, (tiles, rows, columns); NaN where unknown.
    doubt
        Standard errors of these.
    size
        Pixels of a tile, (y, x).

    Notes
    -----
    The field bends as little (in its third derivative, so that a parabola is free) as lets it
    foretell the differences of tiles that it was not fitted to: penalised least squares
    (Eilers and Marx, 1996) with cross-validation. Smooth fields from gradients of many pictures:
    Weiss, "Deriving intrinsic images from image sequences", 2001.

    Examples
    --------
    >>> x = np.linspace(-1, 1, 12)
    >>> logs = -0.3 * x**2 + np.arange(9)[:, None, None] * np.ones((9, 12, 12))
    >>> field = smooth_field(logs, np.full(logs.shape, 0.01), (24, 24))
    >>> round(float(field[0, 12] - field[0, 0]), 1)
    0.3
    """
    shape = logs.shape[1:]
    field = np.zeros(shape)
    halves = [np.arange(len(logs)) % 2 == k for k in (0, 1)] if len(logs) >= 4 else []
    stiff = STIFFNESS[len(STIFFNESS) // 2]
    for turn in range(ROUNDS):
        whole = _System(logs, doubt, field)
        if turn == ROUNDS - 1 and halves:
            parts = [_System(logs[half], doubt[half], field) for half in halves]
            scores = np.array([_foretold(parts, s) for s in STIFFNESS])
            stiff = STIFFNESS[np.flatnonzero(scores <= AS_GOOD * scores.min())[-1]]
        solution = whole.solve(stiff)
        field = (whole.terms @ solution).reshape(shape)
    table = np.zeros((DEGREE + 1, DEGREE + 1))
    table[tuple(np.transpose(_powers(shape)))] = solution
    y, x = (_polynomials(n) for n in size)
    full = y @ table @ x.T
    return np.asarray(full - full.mean())


def _polynomials(n: int) -> Floats:
    """Legendre's, at the middles of n pieces of a side of the tile, (n, degrees)."""
    return np.asarray(
        np.polynomial.legendre.legvander((np.arange(n) + 0.5) / n * 2.0 - 1.0, DEGREE),
        dtype=np.float64,
    )


def _powers(shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """Degrees in y and x of all terms; the constant is the tiles' own."""
    powers = [(i, j) for i in range(DEGREE + 1) for j in range(DEGREE + 1 - i) if i + j]
    return [(i, j) for i, j in powers if i < shape[0] and j < shape[1]]


def _terms(shape: tuple[int, ...]) -> Floats:
    """All terms at all pieces, (pieces, terms)."""
    y, x = (_polynomials(n) for n in shape)
    return np.stack([np.outer(y[:, i], x[:, j]).ravel() for i, j in _powers(shape)], axis=1)


def _foretold(parts: list["_System"], stiff: float) -> float:
    """How far the field of one half of the tiles is from what the other half says, and back."""
    a, b = parts
    return b.away(a.solve(stiff)) + a.away(b.solve(stiff))


class _System:
    """Differences between pieces, as medians over tiles, and the field that fits them."""

    def __init__(self, logs: Floats, doubt: Floats, field: Floats) -> None:
        shape = field.shape
        number = np.arange(field.size).reshape(shape)
        found: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Floats, Floats]] = []
        for ahead, behind in _neighbours(shape):
            middle, weight = _medians(logs, doubt, field, ahead, behind)
            found.append((number[behind].ravel(), number[ahead].ravel(), middle, weight))
        first, second, self.steps, self.weights = (
            np.concatenate([part[k] for part in found]) for k in range(4)
        )
        count = len(first)
        rows = np.repeat(np.arange(count), 2)
        columns = np.stack([first, second], axis=1).ravel()
        values = np.tile([-1.0, 1.0], count)
        self.differences = sparse.csr_matrix((values, (rows, columns)), (count, field.size))
        self.terms = _terms(shape)
        weighted = self.differences.T @ sparse.diags(self.weights)
        self.normal = self.terms.T @ (weighted @ self.differences @ self.terms)
        self.right = self.terms.T @ (weighted @ self.steps)
        self.bending = self.terms.T @ (_bending(shape) @ self.terms)

    def solve(self, stiff: float) -> Floats:
        """What the field has of each term."""
        scale = max(float(np.median(self.weights)), 1e-12)
        whole = self.normal + stiff * scale * self.bending
        whole[np.diag_indices_from(whole)] += 1e-6 * scale
        return np.asarray(np.linalg.solve(whole, self.right))

    def away(self, solution: Floats) -> float:
        """How badly a field fits these differences, robustly."""
        rest = np.abs(self.differences @ (self.terms @ solution) - self.steps)
        total = float(self.weights.sum())
        return float((self.weights * rest**2).sum() / total) if total else 0.0


def _neighbours(
    shape: tuple[int, ...],
) -> Iterator[tuple[tuple[slice, slice], tuple[slice, slice]]]:
    """Pieces at some distance from each other along one axis, as slices of all."""
    for axis in (0, 1):
        for lag in LAGS:
            if lag >= shape[axis]:
                break
            ahead, behind = slice(lag, None), slice(None, -lag)
            all_of = slice(None)
            yield (
                ((ahead, all_of), (behind, all_of))
                if axis == 0
                else (
                    (all_of, ahead),
                    (all_of, behind),
                )
            )


def _medians(
    logs: Floats,
    doubt: Floats,
    field: Floats,
    ahead: tuple[slice, slice],
    behind: tuple[slice, slice],
) -> tuple[Floats, Floats]:
    """Median over the tiles of a difference, and its weight; flat."""
    tiles = (slice(None),)
    steps = (logs[tiles + ahead] - logs[tiles + behind]).reshape(len(logs), -1)
    expected = (field[ahead] - field[behind]).ravel()
    noise = (doubt[tiles + ahead] ** 2 + doubt[tiles + behind] ** 2).reshape(len(logs), -1)
    known = np.isfinite(steps)
    rest = np.where(known, np.abs(steps - expected), np.nan)
    own = np.zeros((len(logs), 1))
    some = known.any(axis=1)
    own[some, 0] = 1.4826 * np.nanmedian(rest[some], axis=1)  # a smooth tile tells more
    weight = np.where(known, 1 / (np.maximum(own, LEAST_SPREAD) ** 2 + noise), 0.0)
    order = np.argsort(np.where(known, steps, np.inf), axis=0)
    heaped = np.cumsum(np.take_along_axis(weight, order, axis=0), axis=0)
    total = heaped[-1]
    at = np.argmax(heaped >= 0.5 * total, axis=0)
    middle = np.take_along_axis(
        np.where(known, steps, 0.0), np.take_along_axis(order, at[None], axis=0), axis=0
    )[0]
    return np.where(total > 0, middle, 0.0), total


def _bending(shape: tuple[int, ...]) -> sparse.csc_matrix:
    """Sum of squares of third derivatives of a field, as a matrix."""
    n, m = shape

    def derivative(length: int, order: int) -> sparse.csr_matrix:
        matrix = sparse.eye(length, format="csr")
        for _ in range(order):
            matrix = (matrix[1:] - matrix[:-1]).tocsr()
        return matrix

    total = sparse.csc_matrix((n * m, n * m))
    for along_y, share in ((3, 1.0), (2, 3.0), (1, 3.0), (0, 1.0)):
        if n <= along_y or m <= 3 - along_y:
            continue
        part = sparse.kron(derivative(n, along_y), derivative(m, 3 - along_y))
        total = total + share * (part.T @ part)
    return total.tocsc()
