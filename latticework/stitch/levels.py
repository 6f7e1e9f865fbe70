"""Tiles of different brightness and background made alike: a gain and an offset for each tile.

In each overlap, patches that both tiles show are fitted by a straight line: its slope is the ratio
of the two gains, and what is left is the difference of their backgrounds. Gains are solved for
first, over all loops, then offsets; an overlap that is evenly bright tells nothing of gains, and
all of what it shows goes into the offsets::

    second │      ·/            slope: how much brighter the second tile is
           │   ·/·
           │  /·                where the line starts: how much more background
           └────────── first
"""

from dataclasses import dataclass

import numpy as np

from latticework.errors import LatticeError
from latticework.lattice.lattice import Lattice
from latticework.stitch.levelling import (
    gains_of,
    lines_of_overlaps,
    say_unknown,
    solve_differences,
)
from latticework.stitch.seam_measures import less_sure


@dataclass(frozen=True, slots=True)
class Levels:
    """What makes tiles alike: ``pixel * gain + offset``, a gain and an offset for each tile.

    Examples
    --------
    >>> levels = Levels(np.array([1.0, 0.8]), np.array([0.0, 20.0]))
    >>> levels.apply(np.array([100.0, 200.0]), 1)
    array([100., 180.])
    """

    gains: np.ndarray
    """(tiles,) factors, in the order of the lattice's rows; the mean of their logarithms is 0."""
    offsets: np.ndarray
    """(tiles,) counts, to be added after the gain."""

    def apply(self, pixels: np.ndarray, row: int) -> np.ndarray:
        """Pixels of the tile in a row of the lattice, levelled; as floats."""
        return np.asarray(pixels * self.gains[row] + self.offsets[row])


def estimate_levels(
    lattice: Lattice,
    *,
    dark: float | None = None,
    channel: int = 0,
    threads: int | None = None,
) -> Levels:
    """A gain and an offset for each tile, which make overlapping tiles alike.

    Parameters
    ----------
    lattice
        Tiles at their final positions, with pixels; correct uneven illumination first.
    dark
        What the camera counts without light, if backgrounds differ by nothing else: then overlaps
        that are evenly bright tell of gains as well. If not given, both are found from overlaps
        that are not even.
    channel
        Number of the channel.
    threads
        Overlaps at a time; as many as there are cores if not given.

    Returns
    -------
    Levels
        With a mean of 0 of the gains' logarithms, and offsets that keep the mean brightness of the
        overlaps, over all tiles.

    Raises
    ------
    LatticeError
        If the lattice has no pixels.

    Notes
    -----
    Lines are fitted by iteratively reweighted least squares of the distance from the line, so that
    neither view is taken to be without noise (Deming, 1943).

    Examples
    --------
    >>> import latticework as lw
    >>> tiles, truth = lw.simulate({"y": 1, "x": 2}, tile_shape={"y": 96, "x": 96}, seed=2)
    >>> levels = estimate_levels(tiles)
    >>> levels.gains.shape, levels.offsets.shape
    ((2,), (2,))
    """
    if lattice.source is None:
        raise LatticeError("this lattice has no pixels: open it with latticework.open_tiles")
    pairs, axes, lines, uneven = lines_of_overlaps(lattice, dark, channel=channel, threads=threads)
    say_unknown(lattice, pairs, lines)
    slopes, trust, first, second, counts = lines
    tiles, a, b = len(lattice), pairs[:, 0], pairs[:, 1]
    gains = np.exp(gains_of(tiles, pairs, slopes, less_sure(trust, uneven), axes))
    seen = counts > 0
    first, second = np.where(seen, first, 0.0), np.where(seen, second, 0.0)
    if dark is not None:  # the background is the camera's: it is not brightened
        return Levels(gains, dark * (1 - gains))
    # What is left of the difference where both are as bright as usual; a gain of 0 for log ratios.
    steps = np.where(seen, gains[b] * second - gains[a] * first, 0.0)
    offsets = solve_differences(tiles, a, b, steps, counts)
    usual = np.bincount(a, first, tiles) + np.bincount(b, second, tiles)
    number = np.bincount(a, seen, tiles) + np.bincount(b, seen, tiles)
    mean = usual / np.maximum(number, 1)
    change = (mean * gains + offsets - mean)[number > 0]
    return Levels(gains, offsets - (change.mean() if len(change) else 0.0))


__all__ = ["Levels", "estimate_levels"]
