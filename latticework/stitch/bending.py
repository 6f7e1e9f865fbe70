"""Pixels of the volume out of a tile that is bent: where each lies in the tile, and what is there.

Where a pixel lies in the tile is worked out on a coarse grid and interpolated; where that is not
good enough, as beside control points, for each pixel by itself.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from latticework.lattice.geometry import Box
from latticework.stitch.pieces import (
    LEANING,
    Piece,
    Sample,
    edge_weight,
    leaning,
    levelled,
    shared,
    weight_kind,
)
from latticework.stitch.warps import Warp

ROUNDING_PX = 1e-3
"""What a place in a tile may be off by rounding."""
GRID = 8
"""Pixels of the volume from one point of the coarse grid to the next."""
GOOD_PX = 0.004
"""Interpolated places that are off by more, in the middle between such points, are made better."""
MARGIN = {"linear": 1, "cubic": 12}
"""Pixels around those that are asked for: what splines feel of more distant ones is below 1e-6."""


def sample_bent(piece: Piece, box: Box, kind: str, blend: str) -> Sample:
    """What a bent tile tells of a box of the volume; see `Piece.sample`."""
    at = places(piece, box)
    inside = np.ones(box.shape, bool)
    for place, n in zip(at, piece.shape, strict=True):
        inside &= (place >= -0.5 - ROUNDING_PX) & (place < n - 0.5 + ROUNDING_PX)
    if not inside.any():
        nothing = np.zeros(box.shape, weight_kind(kind))
        return Sample(np.zeros(box.shape, kind), nothing, whole=False)
    values, known = _values(piece, at, inside, kind)
    if known is not None:
        known &= inside
    elif not inside.all():
        known = inside
    return levelled(piece, values, _weight(piece, at, box, kind, blend), known)


def places(piece: Piece, box: Box) -> np.ndarray:
    """Where pixels of the volume lie in a bent tile.

    Parameters
    ----------
    piece
        With a warp.
    box
        In pixels of the volume.

    Returns
    -------
    np.ndarray
        In pixels of the tile, right to 0.02; shape (dims, *pixels of the box*), float64.
    """
    assert piece.warp is not None
    if piece.warp.grid_px is None:
        return _straight_places(piece, piece.warp, box)
    lines = [
        np.arange(a // GRID, (b - 1) // GRID + 2) * GRID
        for a, b in zip(box.start, box.stop, strict=True)
    ]
    coarse = piece.warp.inverse(_relative(piece, lines))
    shape = [len(line) for line in lines]
    nodes = coarse.T.reshape(box.ndim, *shape)
    at = nodes
    for axis, (a, b) in enumerate(zip(box.start, box.stop, strict=True)):
        at = _denser(at, axis + 1, np.arange(a, b) - lines[axis][0])
    poor = _poor_cells(piece, piece.warp, nodes, lines)
    if poor.any():
        _improve(piece, piece.warp, box, lines, poor, at)
    return at


def _straight_places(piece: Piece, warp: Warp, box: Box) -> np.ndarray:
    """The same for a tile that is turned, scaled and sheared only: exact."""
    back = np.linalg.inv(warp.matrix)
    at = np.zeros((box.ndim, *box.shape))
    at += (warp.centre - back @ warp.centre).reshape(-1, *(1,) * box.ndim)
    for axis, (a, b) in enumerate(zip(box.start, box.stop, strict=True)):
        line = (np.arange(a, b) - piece.position[axis]) * piece.steps[axis]
        shape = [box.ndim, *(1,) * box.ndim]
        shape[axis + 1] = b - a
        at += (back[:, axis, None] * line).reshape(shape)
    return at


def _relative(piece: Piece, lines: Sequence[np.ndarray]) -> np.ndarray:
    """Crossings of lines of the volume, relative to the tile's position, in its pixels."""
    sides = [
        (line - p) * step for line, p, step in zip(lines, piece.position, piece.steps, strict=True)
    ]
    return np.stack([a.ravel() for a in np.meshgrid(*sides, indexing="ij")], axis=1)


def _denser(nodes: np.ndarray, axis: int, at: np.ndarray) -> np.ndarray:
    """Interpolated linearly along an axis, from one point per `GRID` pixels."""
    cell = np.minimum(at // GRID, nodes.shape[axis] - 2)
    shape = [1] * nodes.ndim
    shape[axis] = -1
    near, far = np.take(nodes, cell, axis), np.take(nodes, cell + 1, axis)
    far -= near
    far *= ((at - cell * GRID) / GRID).reshape(shape)
    far += near
    return np.asarray(far)


def _poor_cells(
    piece: Piece, warp: Warp, nodes: np.ndarray, lines: Sequence[np.ndarray]
) -> np.ndarray:
    """Cells of the coarse grid in which interpolated places would not be good enough.

    They are looked at halfway between the grid's points, along each axis by itself as well: bends
    along two axes may cancel each other in the middle of a cell, not on its edges.
    """
    dims = len(lines)
    halves = [np.arange(2 * len(line) - 1) * (GRID // 2) for line in lines]
    at = nodes
    for axis, half in enumerate(halves):
        at = _denser(at, axis + 1, half)
    wanted = _relative(piece, [line[0] + half for line, half in zip(lines, halves, strict=True)])
    missed = np.abs(warp.forward(at.reshape(dims, -1).T) - wanted).max(axis=1)
    poor: np.ndarray = missed.reshape(at.shape[1:]) > GOOD_PX
    for place, n, step in zip(at, piece.shape, piece.steps, strict=True):
        poor &= (place > -2 * GRID * step) & (place < n + 2 * GRID * step)  # else it is not asked
    for axis, line in enumerate(lines):
        ends = [np.take(poor, 2 * np.arange(len(line) - 1) + k, axis) for k in range(3)]
        poor = ends[0] | ends[1] | ends[2]
    return poor


def _improve(
    piece: Piece,
    warp: Warp,
    box: Box,
    lines: Sequence[np.ndarray],
    poor: np.ndarray,
    at: np.ndarray,
) -> None:
    """Places in these cells, each by itself."""
    for axis, (a, b) in enumerate(zip(box.start, box.stop, strict=True)):
        poor = np.take(poor, (np.arange(a, b) - lines[axis][0]) // GRID, axis)
    index = np.nonzero(poor)
    wanted = np.stack(
        [
            (i + a - p) * step
            for i, a, p, step in zip(index, box.start, piece.position, piece.steps, strict=True)
        ],
        axis=1,
    )
    here: Any = (slice(None), *index)
    at[here] = warp.inverse(wanted, near=at[here].T, accuracy_px=GOOD_PX).T


def _values(
    piece: Piece, at: np.ndarray, inside: np.ndarray, kind: str
) -> tuple[np.ndarray, np.ndarray | None]:
    """Pixels at these places, and which are known; None if all that lie inside are."""
    from scipy.ndimage import binary_dilation, distance_transform_edt, map_coordinates

    coarse = _reduction(piece)
    margin = MARGIN[piece.interpolation]
    start, stop = [], []
    for place, n, r in zip(at, piece.shape, coarse, strict=True):
        mine = place[inside]
        low, high = (float(mine.min()) - (margin * r), float(mine.max()) + margin * r + 1)
        start.append(max(int(np.floor(low)), 0) // r * r)
        stop.append(min(-(-int(np.ceil(high)) // r) * r, n))
    own = Box(tuple(start), tuple(stop))
    values, usable = piece.read_usable(own, kind)
    local = np.stack(
        [(p + 0.5 - a) / r - 0.5 for p, a, r in zip(at, own.start, coarse, strict=True)]
    )

    def make(array: np.ndarray, order: int = 1) -> np.ndarray:
        small = _means(array, coarse)
        return np.asarray(map_coordinates(small, local, output=kind, order=order, mode="nearest"))

    if usable is None:
        return make(values, 1 if piece.interpolation == "linear" else 3), None
    straight, known = shared(values, usable, make)
    if piece.interpolation == "linear":
        return straight, known
    if not usable.any():
        return straight, known
    nearest = distance_transform_edt(~usable, return_distances=False, return_indices=True)
    beside = make(binary_dilation(~usable).astype(kind)) > 0
    return np.where(beside, straight, make(values[tuple(nearest)], 3)), known


def _reduction(piece: Piece) -> list[int]:
    """Of how many pixels of the tile means are made first, where the volume's are larger."""
    assert piece.warp is not None
    way = np.linalg.inv(piece.warp.matrix) * np.array(piece.steps)
    return [max(1, round(float(size))) for size in np.linalg.norm(way, axis=1)]


def _means(values: np.ndarray, ratio: Sequence[int]) -> np.ndarray:
    for axis, r in enumerate(ratio):
        if r > 1:
            starts = np.arange(0, values.shape[axis], r)
            shape = [1] * values.ndim
            shape[axis] = -1
            counts = np.diff([*starts, values.shape[axis]]).astype(values.dtype)
            values = np.add.reduceat(values, starts, axis=axis) / counts.reshape(shape)
    return values


def _weight(piece: Piece, at: np.ndarray, box: Box, kind: str, blend: str) -> np.ndarray:
    """By the distance to the tile's edge, in the tile."""
    weight = np.ones(box.shape, weight_kind(kind))
    for place, n, ramp in zip(at, piece.shape, piece.ramp, strict=True):
        weight *= edge_weight(place.astype(weight.dtype), n, ramp, blend)
    if piece.lean is not None and blend in LEANING:
        axis = piece.lean.axis
        line = leaning(np.arange(box.start[axis], box.stop[axis]), piece.lean)
        weight *= line.reshape([-1 if a == axis else 1 for a in range(box.ndim)])
    return weight


__all__ = ["places", "sample_bent"]
