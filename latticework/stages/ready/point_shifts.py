"""By how much one set of points is moved against another on the whole: a vote.

Differences of points that are the same lie close together, those of all others are scattered, even
if most points have no partner. Of few points all differences vote. Of many only those of points
that have a neighbour in the same direction and distance: the constellation of the two is the same,
which by chance is rare. How close the votes lie depends on how much the one set is bent, so they
are counted in cells of several sizes; and as all of a set may be bent by more than lies between two
points, its quarters are looked at on their own as well.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import cKDTree

Points = npt.NDArray[np.float64]

WIDTHS = (0.15, 0.4, 1.0)
"""Sizes of cells, in distances between neighbouring points."""
FEW = 200_000
"""Differences up to which all of them vote."""
MOST = 600_000
"""Votes, at most."""
NEIGHBOURS = 6
"""Of each point: its constellation."""
ALIKE, ALIKE_PX = 0.1, 0.7
"""How alike two constellations are, in distances between neighbouring points, and in pixels."""
CELLS = 1_000_000
"""Cells, at most."""
WINDOW, AROUND = 3, 15
"""Cells along each axis that are added up, and those that say what scattered ones would give."""


def spacing_of(points: Points) -> float:
    """Distance between neighbouring points: the median.

    Examples
    --------
    >>> spacing_of(np.array([[0.0, 0.0], [0.0, 3.0], [4.0, 0.0], [4.0, 3.0]]))
    3.0
    """
    if len(points) < 2:
        return 1.0
    distance = cKDTree(points).query(points, k=2)[0][:, 1]
    apart = distance[distance > 0]
    return float(np.median(apart)) if len(apart) else 1.0


def likely_shifts(
    first: Points,
    second: Points,
    *,
    expected: Points | None = None,
    reach: Points | None = None,
    most: int = 4,
) -> Points:
    """What may have to be added to the first points to come to the second ones, the best first.

    Parameters
    ----------
    first, second
        Points, (points, axes), at least one each.
    expected, reach
        What is expected, and how far it may be from that along each axis; anything if not given.
    most
        How many.

    Returns
    -------
    ndarray
        (shifts, axes), at most `most`; none if no difference is within reach.

    Examples
    --------
    >>> rng = np.random.default_rng(2)
    >>> first = rng.uniform(0, 100, (80, 2))
    >>> second = np.concatenate([first[:40] + [7.0, 40.0], rng.uniform(0, 100, (40, 2))])
    >>> np.abs(likely_shifts(first, second)[0] - [7.0, 40.0]).max() < 2
    np.True_
    """
    spacing = min(spacing_of(first), spacing_of(second))
    where, apart = _votes(first, second, spacing)
    if reach is not None and expected is not None:
        inside = _within(apart, expected, reach)
        where, apart = where[:, inside], apart[:, inside]
    found: list[_Peak] = []
    for some in _parts(where):
        for width in WIDTHS if some.any() else ():
            found += _peaks(apart[:, some], width * spacing)
    found.sort(key=lambda peak: -peak.excess)
    kept: list[Points] = []
    for peak in found:
        if all(np.linalg.norm(peak.middle - other) > 2 * spacing for other in kept):
            close = _within(peak.apart, peak.middle, np.full(len(peak.middle), peak.reach))
            kept.append(np.median(peak.apart[:, close], axis=1) if close.any() else peak.middle)
            if len(kept) == most:
                break
    return np.reshape(kept, (-1, first.shape[1]))


class _Peak(NamedTuple):
    """Where differences are more numerous than around."""

    excess: float
    """In standard deviations of a count."""
    middle: Points
    reach: float
    """Half the width of what was counted."""
    apart: Points
    """All differences, (axes, differences)."""


def _within(apart: Points, middle: Points, reach: Points) -> npt.NDArray[np.bool_]:
    """Which differences are within reach, without the detour of a short last axis."""
    inside = np.ones(apart.shape[1], bool)
    for along, centre, far in zip(apart, middle, reach, strict=True):
        inside &= np.abs(along - centre) <= far
    return inside


def _votes(first: Points, second: Points, spacing: float) -> tuple[Points, Points]:
    """Points of the first set, and differences to those of the second: (axes, votes) both."""
    if len(first) * len(second) <= FEW:
        one = np.repeat(np.arange(len(first)), len(second))
        other = np.tile(np.arange(len(second)), len(first))
    else:
        (one, from_one), (other, from_other) = (_constellations(of) for of in (first, second))
        reach = ALIKE * spacing + ALIKE_PX
        trees = cKDTree(from_one), cKDTree(from_other)
        most = trees[0].count_neighbors(trees[1], reach)
        if most > MOST:
            some = np.random.default_rng(0).permutation(len(one))[: int(len(one) * MOST / most)]
            one, trees = one[some], (cKDTree(from_one[some]), trees[1])
        pairs = trees[0].sparse_distance_matrix(trees[1], reach, output_type="ndarray")
        one, other = one[pairs["i"]], other[pairs["j"]]
    start = first.T[:, one]
    return start, second.T[:, other] - start


def _constellations(points: Points) -> tuple[npt.NDArray[np.int64], Points]:
    """Where the nearest neighbours of each point lie from it: rows of the points, and vectors."""
    _, near = cKDTree(points).query(points, k=NEIGHBOURS + 1)
    vectors = points[near[:, 1:]] - points[:, None]
    return np.repeat(np.arange(len(points)), NEIGHBOURS), vectors.reshape(-1, points.shape[1])


def _parts(where: Points) -> list[npt.NDArray[np.bool_]]:
    """All votes, and those of each quarter of where they come from."""
    parts = [np.ones(where.shape[1], bool)]
    if where.shape[1]:
        longest = np.argsort(np.ptp(where, axis=1))[-2:]
        upper = [where[axis] > np.median(where[axis]) for axis in longest]
        parts += [(upper[0] == i) & (upper[1] == j) for i in (True, False) for j in (True, False)]
    return parts


def _peaks(apart: Points, width: float, most: int = 2) -> list[_Peak]:
    """The best places at which to look, counted in cells of one width."""
    low, high = apart.min(axis=1), apart.max(axis=1)
    room = high - low
    width = max(width, float(np.prod(room + width) / CELLS) ** (1 / len(room)), 1e-9)
    shape = tuple((room // width).astype(int) + 1)
    at = np.zeros(apart.shape[1], np.int64)
    for along, start, size in zip(apart, low, shape, strict=True):
        at = at * size + np.minimum(((along - start) / width).astype(np.int64), size - 1)
    counts = np.bincount(at, minlength=int(np.prod(shape))).reshape(shape).astype("f4")
    here, around = (
        ndimage.uniform_filter(counts, size, mode="constant") * WINDOW ** len(shape)
        for size in (WINDOW, AROUND)
    )
    excess = (here - around) / np.sqrt(np.maximum(around, 0) + 1)
    found = []
    for _ in range(most):
        best = np.unravel_index(int(excess.argmax()), shape)
        if excess[best] <= 0:
            break
        middle = low + (np.array(best) + 0.5) * width
        found.append(_Peak(float(excess[best]), middle, 0.5 * WINDOW * width, apart))
        excess[tuple(slice(max(k - 4, 0), k + 5) for k in best)] = -np.inf
    return found


__all__ = ["likely_shifts", "spacing_of"]
