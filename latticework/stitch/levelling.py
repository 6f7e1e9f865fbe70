"""Tiles of different brightness made alike: a gain for each, from what neighbours both show.

In each overlap the line between the counts of both views, through what the camera counts without
light, says by how much one tile is brighter (`latticework.stitch.patches`). What all neighbours
along an axis have in common is no matter of gains: uneven illumination makes every tile brighter at
one edge than its neighbour is there, and would add up over the lattice. From the rest the gains
that contradict it least are solved for (sparse least squares), with the mean of all kept at 1.
"""

import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

from latticework.lattice.lattice import Lattice
from latticework.stitch.patches import LARGEST, Line, common_count, line_and_moved
from latticework.stitch.seam_measures import less_sure, uneven_beside
from latticework.stitch.shared_views import Shared, common_boxes, shared_patches
from latticework.stitch.tiles import pairs_of, places_of, read_tile

LEAST_PAIRS = 6
"""Neighbours along an axis from which on that what they have in common is taken out."""
WORSE = 1.05
"""Neighbours may differ by so much more, all in all, without what they have in common."""
PRIOR = 1e-2
"""What holds gains at 1 where overlaps tell nothing, as a share of what a good overlap counts."""
USUAL_GAIN = 0.3
"""By how much gains differ, as logarithms, where overlaps tell nothing."""
SURE = 0.03
"""Error of a slope up to which it is believed without knowing what is counted without light."""
CONTRADICTS = 2.0
"""Errors of a slope from which on it contradicts another."""
MOST = 2.0
"""Gains beyond this, or its inverse, are no matter of the camera any more: it is said."""

log = logging.getLogger(__name__)


def estimate_gains(
    lattice: Lattice, *, dark: float | None = None, channel: int = 0, threads: int | None = None
) -> np.ndarray:
    """A gain for each tile, which makes overlapping tiles alike.

    Parameters
    ----------
    lattice
        Tiles at their final positions, with pixels.
    dark
        What the camera counts without light. If not given, it is where the lines between the counts
        of neighbours cross, which tells it as soon as gains differ and tiles are not evenly bright;
        if nothing tells it, 0 is taken for overlaps that are evenly bright.
    channel
        Number of the channel.
    threads
        Overlaps at a time; as many as there are cores if not given.

    Returns
    -------
    numpy.ndarray
        (tiles,), in the order of the lattice's rows; the mean of their logarithms is 0.

    Examples
    --------
    >>> import latticework as lw
    >>> tiles, truth = lw.simulate({"y": 1, "x": 2}, tile_shape={"y": 96, "x": 96}, seed=2)
    >>> gains = estimate_gains(tiles)
    >>> gains.shape, bool(np.abs(np.log(gains)).max() < 0.1)
    ((2,), True)
    """
    look = partial(lines_of_overlaps, lattice, channel=channel, threads=threads)
    pairs, axes, lines, uneven = look(dark)
    say_unknown(lattice, pairs, lines)
    if dark is None:
        dark = _dark_of(lines)
        *_, through, uneven_through = look(dark or 0.0)
        free = _surer(lines, through, uneven) if dark is None else np.zeros(len(pairs), bool)
        lines, uneven = np.where(free, lines, through), uneven_through
    logs = gains_of(len(lattice), pairs, lines[0], less_sure(lines[1], uneven), axes)
    far = np.flatnonzero(np.abs(logs) > np.log(MOST))
    if len(far):
        log.warning(
            "gains of %d of %d tiles are beyond %g, as of %s: look whether these overlaps show the "
            "same place, and correct uneven illumination first",
            *(len(far), len(lattice), MOST, lattice.names[far[0]]),
        )
    return np.asarray(np.exp(logs))


def _surer(lines: np.ndarray, through: np.ndarray, uneven: np.ndarray) -> np.ndarray:
    """Which lines are believed rather than those through a count that nothing tells.

    These are known better, if that count is right: those that contradict it say that it is not. But
    uneven light turns lines, and says nothing of that count.
    """
    contradicted = np.square(lines[0] - through[0]) * lines[1] > CONTRADICTS**2
    contradicted &= (lines[1] > 0) & ~(uneven > SURE)
    return np.asarray((lines[1] > SURE**-2) | contradicted)


def lines_of_overlaps(
    lattice: Lattice, dark: float | None, *, channel: int, threads: int | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The pairs, their axes, the fields of `Line` of each, and by how much ratios change in it."""

    def compare(shared: Shared) -> tuple[float, ...]:
        line, moved = line_and_moved(shared.first, shared.second, shared.rises, dark)
        return *line, uneven_beside(shared._replace(second=moved), line, dark or 0.0)

    count = len(Line._fields) + 1
    pairs, axes, found = each_overlap(lattice, compare, count, channel=channel, threads=threads)
    return pairs, axes, found[:-1], found[-1]


def say_unknown(lattice: Lattice, pairs: np.ndarray, lines: np.ndarray) -> None:
    """Log which overlaps have no pixels that can be compared, as `lines_of_overlaps` has them."""
    unknown = np.flatnonzero(np.isnan(lines[2]))
    if len(unknown):
        first, second = lattice.names[pairs[unknown[0]]]
        log.warning(
            "%d of %d overlaps cannot be compared, as that of %s and %s: their pixels are no "
            "numbers, or beyond what 32 bits hold (%.0e)",
            *(len(unknown), len(pairs), first, second, LARGEST),
        )


def _dark_of(lines: np.ndarray) -> float | None:
    """What the camera counts without light, if lines between neighbours tell it."""
    seen = lines[:, lines[1] > 0]
    slopes, trust, first, _, _ = seen
    usual = float(np.median(first)) if len(first) else 0.0
    crossings = np.array([Line(*of).cross for of in seen.T])
    found = common_count(slopes, trust**-0.5, crossings, usual)
    log.info(
        "without light the camera counts %s, as differences of gains tell",
        "0 or anything else" if found is None else f"{found:.4g}",
    )
    return found


def each_overlap(
    lattice: Lattice,
    compare: Callable[[Shared], tuple[float, ...]],
    count: int,
    *,
    channel: int,
    threads: int | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What all neighbours show where they overlap, compared.

    Parameters
    ----------
    lattice
        Tiles at their final positions, with pixels.
    compare
        Called with the patches that the two tiles of a pair both show.
    count
        Numbers that it gives; all are 0 where tiles do not overlap.
    channel
        Number of the channel.
    threads
        Overlaps at a time; as many as there are cores if not given.

    Returns
    -------
    (pairs, axes, numbers)
        Rows of the two tiles of each pair, shape (pairs, 2); along which axis they are neighbours,
        shape (pairs,); and what `compare` gave, shape (count, pairs).
    """
    places = places_of(lattice)
    positions, shapes = np.rint(places.positions).astype(int), places.shapes
    beyond = places.positions - positions
    along = pairs_of(lattice)
    pairs = np.concatenate([np.zeros((0, 2), np.int64), *along.values()])

    def look(pair: Sequence[int]) -> tuple[float, ...]:
        a, b = (int(row) for row in pair)
        boxes = common_boxes(positions[a], shapes[a], positions[b], shapes[b])
        if not boxes[0].size:
            return (0.0,) * count
        readers = [read_tile(lattice, row, channel) for row in (a, b)]
        [shared] = shared_patches(readers, boxes, beyond[b] - beyond[a])
        return compare(shared)

    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        found = list(pool.map(look, pairs.tolist()))
    axes = np.repeat(list(along), [len(of) for of in along.values()])
    return pairs, axes, np.array(found, "f8").reshape(-1, count).T


def gains_of(
    n: int, pairs: np.ndarray, ratios: np.ndarray, weights: np.ndarray, axes: np.ndarray
) -> np.ndarray:
    """Logarithms of the gains that make pairs alike, without what all along an axis share.

    Parameters
    ----------
    n
        Number of tiles.
    pairs
        (pairs, 2): their rows.
    ratios, weights
        (pairs,): logarithm of how much brighter the second is, and what that counts: the inverse
        of its variance.
    axes
        (pairs,): along which axis they are neighbours.
    """
    ratios = ratios.copy()
    for axis in np.unique(axes):
        part = axes == axis
        ratios[part] -= in_common(pairs[part], ratios[part], weights[part])
    prior = USUAL_GAIN**-2 / max(weights.max(initial=0.0), USUAL_GAIN**-2)
    return solve_differences(n, pairs[:, 0], pairs[:, 1], ratios, weights, prior=prior)


def solve_differences(
    n: int,
    first: np.ndarray,
    second: np.ndarray,
    ratios: np.ndarray,
    weights: np.ndarray,
    *,
    prior: float = PRIOR,
) -> np.ndarray:
    """Logarithms of the gains: the second of a pair needs less by their ratio than the first."""
    if not n:
        return np.zeros(0)
    w = weights / max(weights.max(initial=0.0), 1e-30)
    rows = np.concatenate([first, second, first, second])
    columns = np.concatenate([second, first, first, second])
    matrix = sparse.csc_matrix((np.concatenate([-w, -w, w, w]), (rows, columns)), (n, n))
    right = np.zeros(n)
    np.add.at(right, second, -w * ratios)
    np.add.at(right, first, w * ratios)
    found = splu((matrix + prior * sparse.eye(n)).tocsc()).solve(right)
    return np.asarray(found - found.mean())


def in_common(pairs: np.ndarray, ratios: np.ndarray, weights: np.ndarray) -> float:
    """What all log ratios along an axis have in common; 0 where they have nothing.

    Told from two steps on end: uneven illumination adds up over them, while the gains of every
    second tile cancel, whatever their pattern. Steps of gains that go one way by chance leave many
    neighbours alike, and these would differ then.

    Parameters
    ----------
    pairs
        (pairs, 2) rows of tiles, along one axis.
    ratios, weights
        (pairs,): logarithms of how much brighter the second is, and what these count.

    Examples
    --------
    >>> pairs = np.stack([np.arange(9), np.arange(1, 10)], axis=1)
    >>> in_common(pairs, np.where(np.arange(9) % 2, -0.2, 0.2), np.ones(9))
    0.0
    >>> in_common(pairs, np.full(9, 0.1), np.ones(9))
    0.1
    """
    known = weights > 0
    to = dict(
        zip(
            pairs[known, 0].tolist(),
            zip(pairs[known, 1].tolist(), ratios[known].tolist(), strict=True),
            strict=True,
        )
    )
    double = np.array([r + to[b][1] for b, r in to.values() if b in to])
    if len(double) < LEAST_PAIRS:
        return 0.0
    middle = float(np.median(double))
    spread = 1.4826 * float(np.median(np.abs(double - middle)))
    if abs(middle) <= spread:
        return 0.0
    before, after = (np.abs(ratios[known] - of).sum() for of in (0.0, 0.5 * middle))
    return 0.5 * middle if after < WORSE * before else 0.0


__all__ = [
    "each_overlap",
    "estimate_gains",
    "gains_of",
    "in_common",
    "lines_of_overlaps",
    "say_unknown",
    "solve_differences",
]
