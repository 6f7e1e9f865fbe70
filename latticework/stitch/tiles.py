"""Tiles as stitching sees them: where each lies and how large it is in pixels, pairs, pixels."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np

from latticework.errors import LatticeError
from latticework.lattice.geometry import Box
from latticework.lattice.lattice import Label, Lattice
from latticework.lattice.offsets import lattice_dim, spatial_axis


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


NO_OVERLAP = "the tiles do not overlap"
"""Why a pair tells nothing."""
LEAST_OVERLAP_PX = 2
"""Nominal overlap of a pair, along each axis, from which it is looked at."""


class Pairs(NamedTuple):
    """Pairs of tiles that may show the same."""

    rows: np.ndarray
    """Rows of the lattice; shape (pairs, 2)."""
    axes: list[str]
    """Along which axis the two of each are neighbours; or, across which lattice dim."""
    kinds: list[Hashable]
    """Pairs of one kind should lie to each other in the same way."""
    nominal: np.ndarray
    """Nominal position of the second minus that of the first, in pixels; shape (pairs, dims)."""
    there: np.ndarray
    """Whether they overlap, nominally; shape (pairs,)."""
    dims: tuple[str, ...]
    """Spatial dims of the tiles."""
    sizes: np.ndarray
    """Pixels of each tile of the lattice; shape (tiles, dims)."""

    def shapes(self, k: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Pixels of the two tiles of a pair."""
        first, second = (tuple(self.sizes[row].tolist()) for row in self.rows[k])
        return first, second


def overlapping(
    lattice: Lattice, *, across: str | None = None, reference: Label | None = None
) -> Pairs:
    """The pairs that are compared.

    Parameters
    ----------
    lattice
        The tiles.
    across
        A lattice dim beside the spatial ones: tiles at the same place of the grid are pairs, too.
    reference
        Label of that dim with which the others are paired; the first if not given.

    Raises
    ------
    LatticeError
        If there is no such dim, or label.

    Examples
    --------
    >>> lattice = Lattice.from_grid(
    ...     {"y": 1, "x": 2}, tile_shape={"y": 8, "x": 8}, dtype="u1", overlap={"x": 3}
    ... )
    >>> pairs = overlapping(lattice)
    >>> pairs.rows.tolist(), pairs.axes, pairs.nominal.tolist(), pairs.there.tolist()
    ([[0, 1]], ['x'], [[0.0, 5.0]], [True])
    """
    dims, _, _, position, sizes = places_of(lattice)
    along = pairs_of(lattice)
    rows = [np.zeros((0, 2), np.int64), *along.values()]
    axes = [axis for axis, of in along.items() for _ in of]
    kinds: list[Hashable] = list(axes)
    if across is not None:
        beside = _pairs_across(lattice, across, reference)
        rows.append(beside)
        axes += [across] * len(beside)
        kinds += [
            (across, label) for label in lattice.index[beside[:, 1], lattice.dims.index(across)]
        ]
    pairs = np.concatenate(rows)
    nominal = position[pairs[:, 1]] - position[pairs[:, 0]]
    there = overlap_at(nominal, sizes[pairs[:, 0]], sizes[pairs[:, 1]])
    return Pairs(pairs, axes, kinds, nominal, there, dims, sizes)


def overlap_at(offset: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Whether tiles overlap enough to be compared: `LEAST_OVERLAP_PX` along each axis.

    Where both have a single pixel along an axis it is enough that they share most of that.

    Parameters
    ----------
    offset
        Position of the second minus that of the first, in pixels; shape (..., dims).
    first, second
        Their pixels; of that shape.

    Examples
    --------
    >>> overlap_at(np.array([[0.0, 5.0], [0.0, 7.0]]), np.array([8, 8]), np.array([8, 8])).tolist()
    [True, False]
    """
    overlap = np.minimum(first, offset + second) - np.maximum(offset, 0)
    flat = np.maximum(first, second) == 1
    return np.asarray((overlap >= np.where(flat, 0.5, LEAST_OVERLAP_PX)).all(axis=-1))


def _pairs_across(lattice: Lattice, across: str, reference: Label | None) -> np.ndarray:
    """Tiles of the reference, and those of other labels at the same place of the grid."""
    beside = [dim for dim in lattice.dims if spatial_axis(dim) is None]
    if across not in beside:
        raise LatticeError(
            f"across={across!r} is no lattice dim beside the spatial ones; there are "
            f"{', '.join(beside) or 'none'}"
        )
    column, labels = lattice.dims.index(across), lattice.labels[across].tolist()
    if reference is not None and reference not in labels:
        raise LatticeError(f"{across} has no label {reference!r}; there are {labels}")
    chosen = 0 if reference is None else labels.index(reference)
    others = np.flatnonzero(lattice.index[:, column] != chosen)
    where = lattice.index[others].copy()
    where[:, column] = chosen
    partner = lattice.id_grid[tuple(where.T)]
    there = partner >= 0
    return np.stack([lattice.rows_of(partner[there]), others[there]], axis=1).astype(np.int64)


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
    return of_channel(lattice.tile_dims, channel, lambda box: source.read(tile, box))


def channel_box(dims: Sequence[str], box: Box, channel: int) -> Box:
    """A box along the spatial dims as one along all dims of a tile, of one channel.

    Examples
    --------
    >>> box = Box((0, 2), (8, 9))
    >>> channel_box("cyx", box, 1) == Box((1, 0, 2), (2, 8, 9)), channel_box("yx", box, 1) == box
    (True, True)
    """
    sides = iter(zip(box.start, box.stop, strict=True))
    ends = [(channel, channel + 1) if dim == "c" else next(sides) for dim in dims]
    return Box(tuple(a for a, _ in ends), tuple(b for _, b in ends))


def of_channel(
    dims: Sequence[str], channel: int, read: Callable[[Box], Any]
) -> Callable[[Box], np.ndarray]:
    """A function that reads boxes along the spatial dims, of one channel.

    Parameters
    ----------
    dims
        Those of the tile.
    channel
        Number of the channel, where there are several.
    read
        Reads boxes along all dims.
    """
    kept = tuple(0 if dim == "c" else slice(None) for dim in dims)
    return lambda box: np.asarray(read(channel_box(dims, box, channel)))[kept]


__all__ = [
    "LEAST_OVERLAP_PX",
    "Pairs",
    "Places",
    "channel_box",
    "of_channel",
    "overlap_at",
    "overlapping",
    "pairs_of",
    "places_of",
    "read_tile",
]
