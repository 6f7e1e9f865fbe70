"""Where the stage should have driven all tiles, told from those that links have.

A tile that no link reaches is best expected at its nominal place, unless the tiles that links reach
show that nominal places are wrong in a way that goes for all: the camera is turned, the step is not
as given, rows driven one way lie shifted against those driven the other way, a round lies shifted
against the others. Every tile is off by itself as well (jitter), and the step between two of them
by both; so what is wrong is told from positions, not from steps, and believed only where it
stands out from the jitter (an F test).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse, stats

from latticework.lattice.lattice import Lattice
from latticework.lattice.offsets import lattice_dim, spatial_axis

CHANCE = 0.01
"""Probability that a turn or a change of scale is believed where there is none, and again for all
that is less usual."""
UNSURE = 0.1
"""How unsure it may leave the places of all tiles, as a share of the variance of their jitter;
what leaves them so many times less sure has to be so many times less likely by chance."""
LEAST_PX = 0.05
"""How far tiles are off by themselves, at least: links are no more exact."""
OPEN = 1e-6
"""Share of a term, of what it could be, below which linked tiles do not tell of it."""


def expected_places(
    lattice: Lattice, nominal: np.ndarray, found: np.ndarray, group: np.ndarray
) -> np.ndarray:
    """Where all tiles should lie, but for their jitter.

    Parameters
    ----------
    lattice
        The tiles.
    nominal
        Their nominal positions, (tiles, dims), in pixels.
    found
        Those that links give them, (tiles, dims), in pixels. How groups lie to each other does not
        count.
    group
        (tiles,): those that links join share a number.

    Returns
    -------
    ndarray
        (tiles, dims), in pixels, in the frame of `nominal`; the very same where nothing speaks
        against it.

    Examples
    --------
    The step is said 2 pixels too small; no link reaches the last tile:

    >>> lattice = Lattice.from_grid({"y": 1, "x": 8}, tile_shape={"y": 20, "x": 20}, dtype="u1")
    >>> nominal = np.arange(8)[:, None] * [0.0, 20.0]
    >>> jitter = np.array([[0.1, -0.2], [-0.2, 0.1], [0.0, 0.2], [0.2, 0.0]] * 2)
    >>> found = nominal * 1.1 + jitter
    >>> group = np.array([0, 0, 0, 0, 0, 0, 0, 1])
    >>> expected_places(lattice, nominal, found, group)[7].round(0).tolist()
    [0.0, 154.0]
    >>> bool((expected_places(lattice, nominal, nominal + jitter, group) == nominal).all())
    True
    """
    linked = np.bincount(group)[group] > 1
    if not linked.any():
        return nominal
    basis = np.column_stack([nominal / max(float(np.ptp(nominal)), 1.0), _odd_rows(lattice)])
    beside = _beside(lattice)
    frames = np.unique(np.column_stack([group, beside]), axis=0, return_inverse=True)[1].ravel()
    moved = found - nominal
    sums = _Sums.of(basis, moved, frames, linked)
    expected = nominal + basis @ _wrong(sums, _terms(nominal.shape[1])).T
    for column in beside.T:
        expected = expected + _shifts(found - expected, column, group)[column]
    return np.asarray(expected)


def _odd_rows(lattice: Lattice) -> np.ndarray:
    """Which tiles lie in rows that were driven back, perhaps; (tiles,), 0 or 1."""
    dim = lattice_dim("y")
    if dim not in lattice.dims:
        return np.zeros(len(lattice))
    return np.asarray(lattice.index[:, lattice.dims.index(dim)] % 2, "f8")


def _beside(lattice: Lattice) -> np.ndarray:
    """Places along the lattice dims beside the spatial ones, such as rounds; (tiles, dims)."""
    columns = [
        k
        for k, dim in enumerate(lattice.dims)
        if spatial_axis(dim) is None and len(lattice.labels[dim]) > 1
    ]
    found: np.ndarray = lattice.index[:, columns].astype(np.int64)
    return found


def _without_means(values: np.ndarray, of: np.ndarray) -> np.ndarray:
    """Columns less their means over the rows that share a number."""
    counts = np.maximum(np.bincount(of), 1)
    means = [np.bincount(of, column, len(counts)) / counts for column in values.T]
    return np.asarray(values - np.stack(means, axis=1)[of])


@dataclass(frozen=True, slots=True)
class _Sums:
    """What linked tiles tell, less the means of each group: sums over all of them."""

    square: np.ndarray
    """Products of the columns of the basis, (columns, columns)."""
    pull: np.ndarray
    """Products of how far tiles are off with these, (dims, columns)."""
    total: np.ndarray
    """Squares of how far they are off, (dims,)."""
    known: int
    """Tiles, less one for each group."""
    wide: np.ndarray
    """As `square`, around the middle of linked tiles, as a mean over all tiles."""

    @classmethod
    def of(
        cls, basis: np.ndarray, moved: np.ndarray, frames: np.ndarray, linked: np.ndarray
    ) -> "_Sums":
        _, frame = np.unique(frames[linked], return_inverse=True)
        columns, off = (_without_means(values[linked], frame) for values in (basis, moved))
        apart = basis - basis[linked].mean(axis=0)
        return cls(
            columns.T @ columns,
            off.T @ columns,
            np.square(off).sum(axis=0),
            len(frame) - int(frame.max()) - 1,
            apart.T @ apart / len(apart),
        )


def _terms(n: int) -> list[np.ndarray]:
    """What may be wrong, each as factors of the basis, (dims, columns): a turn and a scale first.

    Then the step along each axis and its slant, and the shift along the last axis of rows that were
    driven back.
    """
    usual = []
    if n > 1:
        turn, scale = np.zeros((2, n, n + 1))
        turn[-2, n - 1], turn[-1, n - 2] = 1, -1
        scale[-2, n - 2] = scale[-1, n - 1] = 1
        usual = [turn, scale]
    alone = np.eye(n * (n + 1)).reshape(n, n + 1, n, n + 1)
    return [*usual, *alone[:, :n].reshape(-1, n, n + 1), alone[-1, n]]


def _wrong(sums: _Sums, terms: Sequence[np.ndarray]) -> np.ndarray:
    """What is wrong with nominal places, as factors of the basis, (dims, columns).

    What stands out most is taken first, and then what stands out from the rest. A term that is told
    by few tiles and moves others much further has to be surer; where two explain the same, such as
    a slant and a shift where two rows are linked, the one that moves others less is taken.
    """
    usual = sum(int(np.count_nonzero(term)) > 1 for term in terms)
    others = len(terms) - usual
    levels = [CHANCE / max(usual, 1)] * usual + [CHANCE / others] * others
    chosen: list[np.ndarray] = []
    factors = np.zeros_like(sums.pull)
    while True:
        by_chance, farther = np.transpose([_test(sums, chosen, factors, term) for term in terms])
        sure = by_chance * np.maximum(farther / UNSURE, 1) < levels
        if not sure.any():
            return factors
        best = np.where(sure, by_chance / levels * farther, np.inf).argmin()
        chosen.append(terms[int(best)])
        factors = _fitted(sums, chosen)


def _fitted(sums: _Sums, terms: Sequence[np.ndarray]) -> np.ndarray:
    """The factors of the basis that linked tiles tell, given what may be wrong."""
    of = np.stack(terms)
    square = np.einsum("aim,mn,bin->ab", of, sums.square, of)
    found = np.linalg.lstsq(square, np.einsum("aim,im->a", of, sums.pull), rcond=None)[0]
    return np.asarray(np.einsum("a,aim->im", found, of))


def _left(sums: _Sums, factors: np.ndarray) -> np.ndarray:
    """Squares of how far tiles are off still, (dims,)."""
    explained = 2 * factors * sums.pull - factors * (factors @ sums.square)
    return np.asarray(np.maximum(sums.total - explained.sum(axis=1), 0))


def _test(
    sums: _Sums, chosen: Sequence[np.ndarray], factors: np.ndarray, term: np.ndarray
) -> tuple[float, float]:
    """The probability that one more term helps so much by chance; 1 if nothing is known of it.

    And how unsure it makes the places of all tiles, as a share of the variance of their jitter.
    """
    new = _new_part(sums, chosen, term)
    along = term.any(axis=1)
    told = np.einsum("im,mn,in->i", new, sums.square, new)
    could = np.einsum("im,mn,in->i", term, sums.wide, term)
    shared = [of for of in chosen if of[along].any()]
    free = sums.known * int(along.sum()) - len(shared) - 1
    if free < 1 or (told[along] <= OPEN * could[along]).any():
        return 1.0, 1.0
    better = _fitted(sums, [*chosen, term])
    gain = float((_left(sums, factors) - _left(sums, better)).sum())
    usual = max(float(_left(sums, better)[along].sum()) / free, LEAST_PX**2)
    farther = float(could.sum() / (told.sum() * along.sum()))
    return float(stats.f.sf(gain / usual, 1, free)), farther


def _new_part(sums: _Sums, chosen: Sequence[np.ndarray], term: np.ndarray) -> np.ndarray:
    """What a term has that those chosen have not."""
    if not chosen:
        return term
    of = np.stack(chosen)
    square = np.einsum("aim,mn,bin->ab", of, sums.square, of)
    shared = np.einsum("aim,mn,in->a", of, sums.square, term)
    return np.asarray(term - np.tensordot(np.linalg.lstsq(square, shared, rcond=None)[0], of, 1))


def _shifts(off: np.ndarray, label: np.ndarray, group: np.ndarray) -> np.ndarray:
    """How far tiles of each label lie from those of the first, by groups that have several.

    (labels, dims), in pixels; 0 where that may be by chance, or is not known.
    """
    n = int(label.max()) + 1
    shifts = np.zeros((n, off.shape[1]))
    of = sparse.csr_matrix((np.ones(len(label)), (group, label)), (int(group.max()) + 1, n))
    mixed = np.diff(of.indptr) > 1
    if not mixed.any():
        return shifts
    chosen = np.flatnonzero(mixed[group])
    _, own = np.unique(group[chosen], return_inverse=True)
    counts = of[mixed].toarray()
    square = np.diag(counts.sum(axis=0)) - counts.T @ (counts / counts.sum(axis=1)[:, None])
    apart = _without_means(off[chosen], own)
    pull = np.stack([np.bincount(label[chosen], column, n) for column in apart.T], axis=1)
    told = np.flatnonzero(np.diag(square)[1:] > 0) + 1
    inverse = np.linalg.pinv(square[np.ix_(told, told)])
    values = inverse @ pull[told]
    free = len(chosen) - len(counts) - len(told)
    if not len(told) or free < 1:
        return shifts
    left = np.maximum(np.square(apart).sum(axis=0) - (values * pull[told]).sum(axis=0), 0)
    usual = np.maximum(left / free, LEAST_PX**2)
    by_chance = stats.f.sf(np.square(values) / (np.diag(inverse)[:, None] * usual), 1, free)
    shifts[told] = np.where(by_chance < CHANCE / values.size, values, 0)
    return shifts


__all__ = ["expected_places"]
