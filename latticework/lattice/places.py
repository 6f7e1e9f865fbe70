"""Where tiles lie: extents in micrometres, what touches a box, boxes in nominal pixels."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from latticework.errors import LatticeError, TileNotFoundError
from latticework.lattice.geometry import Box
from latticework.lattice.offsets import spatial_axis

if TYPE_CHECKING:
    from latticework.lattice.lattice import Lattice


def extents_um(lattice: "Lattice") -> np.ndarray:
    """Extent of the tiles, shape (n or 1, number of spatial dims); one row where all are equal.

    Along an axis that tiles have no pixels of, they are one pixel thick.
    """
    if lattice.shapes is None:
        px = np.array([[lattice.tile_shape.get(axis, 1) for axis in lattice.spatial_dims]])
    else:
        px = np.ones((len(lattice), len(lattice.spatial_dims)), dtype=np.int64)
        for column, axis in enumerate(lattice.spatial_dims):
            if axis in lattice.tile_shape:
                px[:, column] = lattice.shapes[:, lattice.tile_dims.index(axis)]
    sizes = np.array([lattice.pixel_size_um[axis] for axis in lattice.spatial_dims])
    return np.asarray(px * sizes, dtype=np.float64)


def touching(lattice: "Lattice", box_um: Mapping[str, tuple[float, float]]) -> np.ndarray:
    """For every tile, whether it touches a box; its near side belongs to it, its far side not."""
    near, far = lattice.position_um, lattice.position_um + extents_um(lattice)
    found = np.ones(len(lattice), dtype=bool)
    for axis, (low, high) in box_um.items():
        if axis not in lattice.spatial_dims:
            raise LatticeError(f"no spatial axis {axis!r}: there are {lattice.spatial_dims}")
        if not low <= high:
            raise LatticeError(f"a box from {low} to {high} um along {axis} ends before it starts")
        column = lattice.spatial_dims.index(axis)
        found &= (near[:, column] <= high) & (far[:, column] > low)
    return found


def nearest_row(lattice: "Lattice", position_um: Mapping[str, float]) -> int:
    """Row of the tile that contains a position, the one with the nearest centre if several do."""
    if not position_um:
        raise LatticeError("at() needs a position in micrometres, as in at(y=120, x=40)")
    rows = np.flatnonzero(touching(lattice, {a: (um, um) for a, um in position_um.items()}))
    if not len(rows):
        raise TileNotFoundError(f"no tile contains the position {position_um} (micrometres)")
    columns = [lattice.spatial_dims.index(axis) for axis in position_um]
    centres = (lattice.position_um + extents_um(lattice) / 2)[rows][:, columns]
    distance = np.linalg.norm(centres - np.array(list(position_um.values())), axis=1)
    return int(rows[np.argmin(distance)])


def row_shape(lattice: "Lattice", row: int) -> tuple[int, ...]:
    """Pixels of the tile in a row, in order of tile dims."""
    if lattice.shapes is None:
        return tuple(lattice.tile_shape.values())
    return tuple(lattice.shapes[row].tolist())


def nominal_box(lattice: "Lattice", row: int) -> Box:
    """Pixels of the tile in a row: step times grid position, in order of tile dims."""
    start = [0] * len(lattice.tile_dims)
    for column, dim in enumerate(lattice.dims):
        axis = spatial_axis(dim)
        if axis is not None and axis in lattice.tile_shape:
            position = int(lattice.index[row, column])
            start[lattice.tile_dims.index(axis)] = position * lattice.step_px[axis]
    return Box.whole(row_shape(lattice, row)).shift(start)
