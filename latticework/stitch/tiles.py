"""Tiles as stitching sees them: where each lies and how large it is in pixels, pairs, pixels."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from latticework.errors import LatticeError
from latticework.lattice.geometry import Box
from latticework.lattice.lattice import Lattice
from latticework.lattice.offsets import lattice_dim


class Places(NamedTuple):
    """Where the tiles of a lattice lie, in pixels along their spatial dims.

    Examples
    --------
    >>> lattice = Lattice.from_grid(
    ...     {"y": 1, "x": 2}, tile_shape={"y": 8, "x": 9}, dtype="u1", pixel_size_um=0.5
    ... )
    >>> places = places_of(lattice)
    >>> places.dims, places.positions.tolist(), places.shapes.tolist()
    (('y', 'x'), [[0.0, 0.0], [0.0, 9.0]], [[8, 9], [8, 9]])
    """

    dims: tuple[str, ...]
    """Spatial dims of the tiles."""
    columns: list[int]
    """Which columns of the lattice's positions these are."""
    size_um: np.ndarray
    """Size of a pixel; shape (dims,)."""
    positions: np.ndarray
    """Of each tile's first pixel; shape (tiles, dims)."""
    shapes: np.ndarray
    """Pixels of each tile; shape (tiles, dims)."""


def places_of(lattice: Lattice) -> Places:
    """Where the tiles of a lattice lie."""
    dims = tuple(dim for dim in lattice.tile_dims if dim != "c")
    columns = [lattice.spatial_dims.index(dim) for dim in dims]
    size = np.array([lattice.pixel_size_um[dim] for dim in dims])
    if lattice.shapes is not None:
        own = [lattice.tile_dims.index(dim) for dim in dims]
        shapes = np.asarray(lattice.shapes[:, own], np.int64)
    else:
        shapes = np.tile([lattice.tile_shape[dim] for dim in dims], (len(lattice), 1))
    return Places(dims, columns, size, lattice.position_um[:, columns] / size, shapes)


def pairs_of(lattice: Lattice) -> dict[str, np.ndarray]:
    """All pairs of neighbours along one axis, by axis: (pairs, 2) rows of the lattice.

    Examples
    --------
    >>> lattice = Lattice.from_grid({"y": 2, "x": 2}, tile_shape={"y": 8, "x": 8}, dtype="u1")
    >>> {axis: rows.tolist() for axis, rows in pairs_of(lattice).items()}
    {'y': [[0, 2], [1, 3]], 'x': [[0, 1], [2, 3]]}
    """
    found = {}
    for axis in lattice.spatial_dims:
        if lattice_dim(axis) not in lattice.dims:
            continue
        other = lattice.neighbours(f"+{axis}")[:, 0]
        there = np.flatnonzero(other >= 0)
        found[axis] = np.stack([there, lattice.rows_of(other[there])], axis=1)
    return found


def read_tile(lattice: Lattice, row: int, channel: int = 0) -> Callable[[Box], np.ndarray]:
    """A function that reads boxes of a tile, along its spatial dims.

    Parameters
    ----------
    lattice
        Whose source is read.
    row
        Of the tile.
    channel
        Number of the channel, where tiles have several.

    Raises
    ------
    LatticeError
        If the lattice has no pixels.
    """
    source, tile = lattice.source, int(lattice.ids[row])
    if source is None:
        raise LatticeError("this lattice has no pixels: open it with latticework.open_tiles")
    dims = lattice.tile_dims

    def read(box: Box) -> np.ndarray:
        sides = iter(zip(box.start, box.stop, strict=True))
        ends = [(channel, channel + 1) if dim == "c" else next(sides) for dim in dims]
        whole = Box(tuple(a for a, _ in ends), tuple(b for _, b in ends))
        pixels = np.asarray(source.read(tile, whole))
        return pixels[tuple(0 if dim == "c" else slice(None) for dim in dims)]

    return read


__all__ = ["Places", "pairs_of", "places_of", "read_tile"]
