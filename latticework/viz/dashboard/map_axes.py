"""Which two lattice dims a picture spans, and where it stands along the others."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from latticework.lattice.lattice import Lattice
from latticework.lattice.offsets import spatial_axis
from latticework.viz.folding import Folding


@dataclass(frozen=True, slots=True)
class MapAxes:
    """A plane through a grid of any number of dims.

    Examples
    --------
    >>> grid = {"z": 3, "y": 2, "x": 4}
    >>> lattice = Lattice.from_grid(grid, tile_shape={"y": 8, "x": 8}, dtype="u2")
    >>> axes = MapAxes.of(lattice).moved("tile_z", 2)
    >>> axes.down, axes.across, axes.others, axes.shape
    ('tile_y', 'tile_x', ('tile_z',), (2, 4))
    >>> axes.plane(lattice.id_grid)
    array([[16, 17, 18, 19],
           [20, 21, 22, 23]])
    >>> axes.index(1, 3)
    (2, 1, 3)
    """

    dims: tuple[str, ...]
    """All dims of the grid, in its order."""
    sizes: tuple[int, ...]
    """Places along each of them."""
    down: str | None
    """The dim that goes down, if any."""
    across: str | None
    """The dim that goes across, if any."""
    at: tuple[int, ...]
    """The place along each dim; those of `down` and `across` do not count."""

    @classmethod
    def of(cls, lattice: Lattice) -> Self:
        """The usual plane of a lattice: its first one, with y down and x across."""
        folding = Folding.of(lattice.dims, lattice.labels)
        at = (0,) * len(lattice.dims)
        return cls(lattice.dims, lattice.shape, folding.row, folding.column, at)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the plane."""
        sizes = dict(zip(self.dims, self.sizes, strict=True))
        return (
            1 if self.down is None else sizes[self.down],
            1 if self.across is None else sizes[self.across],
        )

    @property
    def others(self) -> tuple[str, ...]:
        """Dims along which the plane stands at one place."""
        return tuple(dim for dim in self.dims if dim not in (self.down, self.across))

    def place(self, dim: str) -> int:
        """Where it stands along a dim."""
        return self.at[self.dims.index(dim)]

    def moved(self, dim: str, place: int) -> Self:
        """The same at another place along a dim; beyond an end is at that end."""
        number = self.dims.index(dim)
        place = max(0, min(self.sizes[number] - 1, place))
        return replace(self, at=(*self.at[:number], place, *self.at[number + 1 :]))

    def turned(self, down: str, across: str) -> Self:
        """The same with two other dims down and across; they change places if they are equal."""
        if down == across:
            down, across = (self.across or down, self.down or across)
        return replace(self, down=down, across=across)

    def plane(self, grid: np.ndarray) -> np.ndarray:
        """The plane of a grid, (rows, columns); a view, not a copy."""
        shown = [dim for dim in (self.down, self.across) if dim is not None]
        where = tuple(
            slice(None) if dim in shown else place
            for dim, place in zip(self.dims, self.at, strict=True)
        )
        plane = grid[where]
        left = [dim for dim in self.dims if dim in shown]
        return plane.transpose([left.index(dim) for dim in shown]).reshape(self.shape)

    def index(self, row: int, column: int) -> tuple[int, ...]:
        """Where a cell of the plane is on the grid."""
        chosen = {self.down: row, self.across: column}
        return tuple(chosen.get(dim, place) for dim, place in zip(self.dims, self.at, strict=True))

    def regrown(self, old: Lattice, new: Lattice) -> Self:
        """The same plane of a lattice that has grown: at the same labels, as far as they are left.

        Examples
        --------
        >>> grid = {"z": 2, "y": 2, "x": 2}
        >>> old = Lattice.from_grid(grid, tile_shape={"y": 8, "x": 8}, dtype="u2")
        >>> new = old.replace(labels={"tile_z": [5, 6], "tile_y": [0, 1], "tile_x": [0, 1]})
        >>> MapAxes.of(new).moved("tile_z", 1).regrown(new, old).at  # 6 has gone
        (1, 0, 0)
        """
        known = replace(self, sizes=new.shape)
        for dim in self.dims:
            label = old.labels[dim][self.place(dim)]
            found = np.flatnonzero(new.labels[dim] == label)
            known = known.moved(dim, int(found[0]) if len(found) else self.place(dim))
        return known

    def alike(self, other: "MapAxes") -> "MapAxes":
        """`other` at the places at which this one stands, as far as they share dims.

        Where the two have another number of places along a dim (tiles and blocks of one volume,
        say), it is as far along as this one.

        Examples
        --------
        >>> tiles = MapAxes(("tile_z", "tile_x"), (11, 4), None, "tile_x", (5, 0))
        >>> tiles.alike(MapAxes(("tile_z", "tile_y"), (5, 2), None, "tile_y", (0, 0))).at
        (2, 0)
        """
        for dim in other.others:
            if dim in self.others:
                mine, size = self.place(dim), self.sizes[self.dims.index(dim)]
                theirs = other.sizes[other.dims.index(dim)]
                share = mine if theirs == size else round(mine * (theirs - 1) / max(1, size - 1))
                other = other.moved(dim, share)
        return other


def step_um(lattice: Lattice, dim: str | None) -> float | None:
    """Micrometres from one place to the next along a dim; None where it is not a length.

    Examples
    --------
    >>> lattice = Lattice.from_grid(
    ...     {"y": 2, "x": 4}, tile_shape={"y": 8, "x": 8}, dtype="u2", pixel_size_um=0.5
    ... )
    >>> step_um(lattice, "tile_x"), step_um(lattice, None)
    (4.0, None)
    """
    axis = None if dim is None else spatial_axis(dim)
    if axis is None or axis not in lattice.step_px or not lattice.step_px[axis]:
        return None
    return float(lattice.step_px[axis] * lattice.pixel_size_um[axis])


def cell_shape(lattice: Lattice, axes: MapAxes) -> float:
    """Height of a cell by its width: as the steps between tiles are, within reason.

    Examples
    --------
    >>> lattice = Lattice.from_grid({"y": 2, "x": 4}, tile_shape={"y": 8, "x": 16}, dtype="u2")
    >>> cell_shape(lattice, MapAxes.of(lattice))
    0.5
    """
    height, width = step_um(lattice, axes.down), step_um(lattice, axes.across)
    if height is None or width is None or {axes.down, axes.across} != {"tile_y", "tile_x"}:
        return 1.0
    return min(4.0, max(0.25, height / width))


def asked_for(axes: MapAxes, lattice: Lattice, arguments: Mapping[str, str]) -> MapAxes:
    """The plane that an address asks for by labels, as ``z=3`` or ``round=a``; others are ignored.

    Examples
    --------
    >>> grid = {"z": 3, "y": 2, "x": 4}
    >>> lattice = Lattice.from_grid(grid, tile_shape={"y": 8, "x": 8}, dtype="u2")
    >>> asked_for(MapAxes.of(lattice), lattice, {"z": "2", "stage": "clean"}).at
    (2, 0, 0)
    """
    for dim in axes.others:
        wanted = arguments.get(dim, arguments.get(dim.removeprefix("tile_")))
        found = [k for k, label in enumerate(lattice.labels[dim].tolist()) if str(label) == wanted]
        if found:
            axes = axes.moved(dim, found[0])
    return axes
