"""Weights by what tiles show: where several views show the same, the sharpest counts most.

What a view shows is the local energy of its fine structure: the square of what differs between two
scales, averaged around each pixel (as in Preibisch et al., SPIE 7623, 2010, 76234E; here with means
of boxes in place of Gaussians, which cost the same at any size).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from latticework.lattice.geometry import Box
from latticework.stitch.pieces import Piece, Sample, weight_kind

FINE, COARSE, AROUND = 3, 9, 17
"""Sides of the boxes, pixels of the volume: structure is what is finer than the second and coarser
than the first (so that noise counts less), and is averaged in the third, twice."""
HALO = (COARSE - 1) // 2 + (AROUND - 1)
"""Pixels around those that are asked for which have an influence."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What a tile tells of a block, with weights by what it shows."""

    box: Box
    """Pixels of the volume."""
    told: Sample
    """Of all of it."""
    exact: bool = False
    """Values were made floats already."""

    def covers(self) -> Box:
        """Pixels of the volume that it may tell."""
        return self.box

    def weight(self, box: Box, _blend: str, _kind: str = "f4") -> np.ndarray:
        """Weights in a part of the block."""
        return self.told.weight[self._slices(box)]

    def sample(self, box: Box, _kind: str, _blend: str) -> Sample:
        """What it tells of a part of the block."""
        here = self._slices(box)
        weight = self.told.weight[here]
        whole = self.told.whole or bool((weight > 0).all())
        return Sample(self.told.values[here].copy(), weight, whole)

    def _slices(self, box: Box) -> tuple[slice, ...]:
        return box.shift([-o for o in self.box.start]).slices


def with_contents(box: Box, pieces: Sequence[Piece], kind: str) -> Sequence[tuple[Shown, Box]]:
    """Tiles with weights by what they show in a block, and what they cover of it.

    Parameters
    ----------
    box
        The block, in pixels of the volume.
    pieces
        The tiles that may meet it.
    kind
        Type of the values, floats.
    """
    found = []
    for piece in pieces:
        covers = piece.covers()
        part = box.intersect(covers)
        if not part.size:
            continue
        around = [HALO] * box.ndim
        wide = part.dilate(around, around).intersect(covers)
        values, weight, whole = piece.sample(wide, kind, "content")
        known = None if whole else np.broadcast_to(weight > 0, wide.shape)
        energy = local_energy(values, known).astype(weight_kind(kind))
        inner = part.shift([-o for o in wide.start]).slices
        least = np.finfo("f4").tiny ** 0.5  # where nothing is to be seen, edges decide alone
        weighed = np.broadcast_to(weight, wide.shape)[inner] * (energy[inner] + least)
        found.append((Shown(part, Sample(values[inner], weighed, whole)), part))
    return found


def local_energy(values: np.ndarray, known: np.ndarray | None = None) -> np.ndarray:
    """Energy of the fine structure around each pixel.

    Parameters
    ----------
    values
        Pixels, floats.
    known
        Which of them are; all if not given.

    Examples
    --------
    >>> sharp = np.tile([0.0, 0, 0, 9, 9, 9], (40, 10))
    >>> blurred = (np.roll(sharp, -1, 1) + sharp + np.roll(sharp, 1, 1)) / 3
    >>> bool(local_energy(sharp)[20, 30] > 1.5 * local_energy(blurred)[20, 30])
    True
    """
    fine, coarse = _mean(values, FINE, known), _mean(values, COARSE, known)
    fine -= coarse
    np.square(fine, out=fine)
    return np.asarray(np.maximum(_mean(_mean(fine, AROUND, known), AROUND, known), 0))


def _mean(values: np.ndarray, side: int, known: np.ndarray | None) -> np.ndarray:
    """Means of boxes, of known pixels only."""
    from scipy.ndimage import uniform_filter

    if known is None:
        return np.asarray(uniform_filter(values, side, mode="nearest"))
    total = uniform_filter(np.where(known, values, 0), side, mode="nearest")
    share = uniform_filter(known.astype(values.dtype), side, mode="nearest")
    return np.where(known, total / np.maximum(share, 1e-6), 0)


__all__ = ["HALO", "Shown", "local_energy", "with_contents"]
