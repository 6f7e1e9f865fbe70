"""Positions of all tiles from offsets between pairs: robust least squares over all loops.

Each link says that one tile lies so far from another. The positions that contradict the links
least are sought; links that contradict the others lose their weight (iteratively reweighted least
squares with Cauchy's weights; P. Holland and R. Welsch, 1977). Tiles that no link reaches, and
groups of tiles that no link joins, are put where the model of the stage would have them; inside a
group the model has no say.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import cg, splu

SCALE_PX = 0.5
"""Contradiction at which a link has lost half of its weight."""
ROUNDS = 50
"""Times that weights are set anew, at most."""
AROUND = 3.0
"""How much the tiles around one count, where neighbours are off alike."""
ALIKE = 2.33
"""From how many standard deviations on neighbours are off alike, by no chance (1 %)."""
SMALL = 4000
"""Tiles up to which equations are solved directly."""
LARGE, FLAT = 200_000, 2.3
"""The same for tiles that have hardly more links than those of a plane have: so many for each."""
ENOUGH_PX, STILL_PX = 1e-5, 1e-3
"""What is left undone of each equation, and a change of positions that is none."""


@dataclass(frozen=True, slots=True)
class Solution:
    """Where all tiles lie."""

    positions_px: np.ndarray
    """In pixels; shape (tiles, axes)."""
    residuals_px: np.ndarray
    """How far each link is from being fulfilled; shape (links,)."""
    weights: np.ndarray
    """What each link counts in the end, as a share of what it counted at first; shape (links,)."""
    group: np.ndarray
    """Number of the group of tiles that links join; shape (tiles,)."""


def solve(
    n: int,
    first: np.ndarray,
    second: np.ndarray,
    offsets: np.ndarray,
    weights: np.ndarray,
    model: tuple[np.ndarray, np.ndarray, np.ndarray] | None,
    *,
    scale: float = SCALE_PX,
    firm: np.ndarray | None = None,
    held: tuple[np.ndarray, np.ndarray] | None = None,
    unlikely: np.ndarray | None = None,
    start: np.ndarray | None = None,
) -> Solution:
    """Solve for the positions.

    Parameters
    ----------
    n
        Number of tiles.
    first, second
        (links,): rows of the two tiles of each link.
    offsets
        (links, axes): position of the second minus that of the first, in pixels.
    weights
        (links,): what each counts, above 0.
    model
        The same three (first, second, offsets) for what the stage should have done: they join what
        the links do not. They must join all tiles. Without it, groups lie anyhow to each other.
    scale
        Contradiction, in pixels, at which a link has lost half of its weight.
    firm
        (links,): which links keep their weight whatever contradicts them.
    held
        Rows of tiles whose positions are known, and these, (held tiles, axes), in pixels. If there
        are any, all positions are in their frame; else the first tile is at 0.
    unlikely
        (links,): how far each is from what the stage should have done, in pixels, if that is known:
        where to begin, which the result forgets unless links contradict each other badly.
    start
        Positions near those that are sought, (tiles, axes), if there are any.

    Examples
    --------
    >>> first, second = np.array([0, 1, 0, 2]), np.array([1, 2, 2, 3])
    >>> offsets = np.array([[10.0], [11.0], [21.0], [9.0]])
    >>> found = solve(4, first, second, offsets, np.ones(4), (first, second, offsets))
    >>> [round(float(x), 6) for x in found.positions_px[:, 0] - found.positions_px[0, 0]]
    [0.0, 10.0, 21.0, 30.0]
    """
    graph = sparse.coo_matrix((np.ones(len(first)), (first, second)), (n, n))
    _, group = connected_components(graph, directed=False)
    positions = np.zeros((n, offsets.shape[1])) if start is None else start.astype("f8")
    residuals = np.zeros(len(first)) if unlikely is None else unlikely
    loose = np.ones(len(first)) if firm is None else (~firm).astype("f8")
    w = _weights(weights, loose, residuals, scale)
    known = np.zeros(n, bool)
    if held is not None:
        known[held[0]] = True
        positions[held[0]] = held[1]
    pinned = known.copy()  # where no tile of a group is held, its first is at 0 for the time being
    free_groups = np.setdiff1d(group, group[known])
    pinned[np.unique(group, return_index=True)[1][free_groups]] = True
    for _ in range(ROUNDS if len(first) else 0):
        before = positions
        positions = _least_squares(first, second, offsets, w, pinned, positions)
        residuals = np.linalg.norm(positions[second] - positions[first] - offsets, axis=1)
        w = _weights(weights, loose, residuals, scale)
        if np.abs(positions - before).max() < STILL_PX:
            break
    share = np.divide(w, weights, out=np.ones_like(w), where=weights > 0)
    found = Solution(positions, residuals, share, group)
    return found if model is None else join(found, model, np.flatnonzero(known))


def join(
    found: Solution, model: tuple[np.ndarray, np.ndarray, np.ndarray], held: np.ndarray
) -> Solution:
    """A solution with its groups put where the model of the stage has them.

    Parameters
    ----------
    found
        Where tiles lie in their groups.
    model
        As for `solve`.
    held
        Rows of tiles whose positions are known: their groups stay.

    Examples
    --------
    >>> first, second = np.array([0, 1]), np.array([1, 2])
    >>> offsets = np.array([[10.0], [12.0]])
    >>> alone = solve(3, first[:1], second[:1], offsets[:1], np.ones(1), None)
    >>> both = join(alone, (first, second, offsets), np.array([0]))
    >>> both.positions_px[:, 0].tolist()  # 11 px would be the step of 0 and 1, by the model
    [0.0, 10.0, 22.0]
    """
    n_groups = int(found.group.max(initial=-1)) + 1
    if n_groups < 2:
        return found
    moved = _between_groups(found.group, n_groups, found.positions_px, model, found.group[held])
    return replace(found, positions_px=found.positions_px + moved)


def _weights(
    weights: np.ndarray, loose: np.ndarray, residuals: np.ndarray, scale: float
) -> np.ndarray:
    """What links count, given how much each is contradicted: the scale follows most of them."""
    if not len(residuals):
        return weights.astype("f8")
    usual = max(scale, 1.4826 * float(np.median(residuals)))
    return np.asarray(weights / (1 + loose * (residuals / usual) ** 2))


def _least_squares(
    first: np.ndarray,
    second: np.ndarray,
    offsets: np.ndarray,
    w: np.ndarray,
    pinned: np.ndarray,
    start: np.ndarray,
) -> np.ndarray:
    """Positions for given weights; what is pinned stays where it is at the start."""
    n = len(start)
    weighted = w[:, None] * offsets
    right = np.zeros((n, offsets.shape[1]))
    np.add.at(right, second, weighted)
    np.add.at(right, first, -weighted)
    rows = np.concatenate([first, second, first, second])
    columns = np.concatenate([second, first, first, second])
    laplacian = sparse.csr_matrix((np.concatenate([-w, -w, w, w]), (rows, columns)), (n, n))
    found = start.copy()
    inner = np.flatnonzero(~pinned)
    if not len(inner):
        return found
    matrix = laplacian[inner][:, inner].tocsc()
    right = right[inner] - (laplacian @ start)[inner]  # what is left to be done: it is small
    if len(inner) <= SMALL or (len(first) < FLAT * n and len(inner) <= LARGE):
        factors = splu(matrix, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True})
        found[inner] += factors.solve(right)
        return found
    scaled = sparse.diags(1 / matrix.diagonal())
    enough = ENOUGH_PX * np.sqrt(len(inner)) * float(np.median(w))
    for axis in range(right.shape[1]):
        found[inner, axis] += cg(
            matrix, right[:, axis], rtol=1e-8, atol=enough, maxiter=5000, M=scaled
        )[0]
    return found


def _between_groups(
    group: np.ndarray,
    n_groups: int,
    positions: np.ndarray,
    model: tuple[np.ndarray, np.ndarray, np.ndarray],
    held: np.ndarray,
) -> np.ndarray:
    """What is to be added to the positions of each tile's group, so that groups lie as modelled.

    Where one tile should be, by the model, is told from the others in its group as well: each of
    them is off by itself.
    """
    first, second, _ = model
    across = group[first] != group[second]
    a, b = first[across], second[across]
    aside = _aside(group, positions, model)
    gaps = aside[b] - aside[a]
    moved = np.zeros((n_groups, positions.shape[1]))
    w = np.ones(len(a))
    pinned = np.zeros(n_groups, bool)
    pinned[held if len(held) else 0] = True
    for _ in range(ROUNDS):
        moved = _least_squares(group[a], group[b], gaps, w, pinned, moved)
        left = np.linalg.norm(moved[group[b]] - moved[group[a]] - gaps, axis=1)
        w_new = 1 / (1 + (left / 5.0) ** 2)
        if np.abs(w_new - w).max(initial=0) < 1e-3:
            break
        w = w_new
    return np.asarray(moved[group])


def _aside(
    group: np.ndarray,
    positions: np.ndarray,
    model: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> np.ndarray:
    """How far tiles should be from where they are, by the model, as means over those of its group.

    Where neighbours are off alike (a stage that loses steps, or drifts), only the tiles around each
    tell: some ten, as in a diffusion over neighbours.
    """
    first, second, offsets = model
    n = len(positions)
    one = np.zeros(n, bool)
    one[0] = True
    ideal = _least_squares(first, second, offsets, np.ones(len(first)), one, positions)
    inside = group[first] == group[second]
    a, b = first[inside], second[inside]
    aside = ideal - positions
    counts = np.bincount(group)
    means = np.stack([np.bincount(group, column) / counts for column in aside.T], axis=1)[group]
    alike = _are_alike(aside - means, a, b)
    if alike.any():
        means[:, alike] = _around(aside[:, alike], a, b)
    return np.asarray(means)


def _are_alike(off: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Along which axes pairs of neighbours are off alike, by no chance; (axes,), bool.

    From the mean product of both (P. Moran, 1950), which has a variance of one over the number of
    pairs where each is off by itself.
    """
    if not len(a):
        return np.zeros(off.shape[1], bool)
    usual = np.maximum(np.square(off[np.union1d(a, b)]).mean(axis=0), ENOUGH_PX**2)
    return np.asarray((off[a] * off[b]).sum(axis=0) > ALIKE * np.sqrt(len(a)) * usual)


def _around(aside: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Means over the tiles around each, by a diffusion over these pairs."""
    n = len(aside)
    w = np.full(len(a), AROUND)
    rows, columns = np.concatenate([a, b, a, b]), np.concatenate([b, a, a, b])
    spread = sparse.csc_matrix((np.concatenate([-w, -w, w, w]), (rows, columns)), (n, n))
    spread = (spread + sparse.eye(n)).tocsc()
    if n <= LARGE:
        return np.asarray(splu(spread, permc_spec="MMD_AT_PLUS_A").solve(aside))
    return np.stack([cg(spread, column, rtol=1e-6, maxiter=200)[0] for column in aside.T], axis=1)


__all__ = ["Solution", "solve"]
