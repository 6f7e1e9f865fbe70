"""Where tiles that arrive belong on a lattice that is there already."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from latticework.errors import LatticeError
from latticework.io.arriving import Opener
from latticework.io.filenames import match_names, name_numbers
from latticework.io.open_tiles import place_by_table
from latticework.io.placing import GRID_DIMS, Placing, Tiles, to_lattice
from latticework.lattice import Lattice
from latticework.lattice.grids import TOLERANCE, scan_order

FACTS = ("tile_dims", "tile_shape", "dtype")
"""What all tiles have in common."""


def placed_by(tiles: Tiles, placing: Placing) -> str:
    """What decides about the places of tiles: their ``"labels"`` or their ``"positions"``."""
    columns = [str(column) for column in tiles.table]
    measured = any(column.endswith("_um") for column in columns)
    labelled = placing.grid is not None or any(dim in columns for dim in GRID_DIMS)
    return "positions" if measured and not labelled else "labels"


def placed_lattice(opener: Opener, tiles: Tiles, first: int | None = None) -> tuple[Lattice, str]:
    """The lattice of tiles that have arrived, every axis kept, and what decides about places.

    Parameters
    ----------
    opener, tiles
        What opened the files, and what it made of them.
    first
        Number of the first tile of a grid.
    """
    opening = opener.opening
    where = {"positions": opener.table, "columns": opening.columns, "unit": opening.unit}
    tiles = place_by_table(tiles, where, opening.root)
    placing = opening.placing if first is None else replace(opening.placing, first=first)
    by = placed_by(tiles, placing)
    return to_lattice(tiles, placing), by


def conformed(new: Lattice, known: Lattice | None) -> Lattice:
    """New tiles with the axes, channels and pixel size of a known lattice.

    Raises
    ------
    LatticeError
        If they are of another kind; names both values.
    """
    if known is None or not len(known):
        return new
    for fact in FACTS:
        mine, theirs = getattr(known, fact), getattr(new, fact)
        mine, theirs = (dict(f) if isinstance(f, Mapping) else f for f in (mine, theirs))
        if mine != theirs:
            raise LatticeError(
                f"tile {new.names[0]!r} has {fact} {theirs}; expected {mine}, as the other tiles"
            )
    if new.dims != known.dims:
        new = _with_dims(new, known)
    return new.replace(channels=known.channels, pixel_size_um=known.known_pixel_size_um)


def _with_dims(new: Lattice, known: Lattice) -> Lattice:
    """Layers left out where the known lattice, opened when it had one, has no axis for them.

    Or put in the one layer of a known lattice that was made when such axes were kept.
    """
    if [dim for dim in known.dims if dim in new.dims] == list(new.dims) and all(
        len(known.labels[dim]) == 1 for dim in known.dims if dim not in new.dims
    ):
        return _with_one_label(new, known)
    lacking = [dim for dim in new.dims if dim not in known.dims]
    kept = tuple(dim for dim in new.dims if dim in known.dims)
    if kept != known.dims or any(len(new.labels[dim]) > 1 for dim in lacking):
        raise LatticeError(
            f"tile {new.names[0]!r} lies along {', '.join(new.dims)}; expected "
            f"{', '.join(known.dims)}, as the other tiles: watch from the beginning, so that every "
            "axis is there"
        )
    columns = [new.dims.index(dim) for dim in kept]
    axes = {axis for dim in kept if (axis := dim.removeprefix("tile_")) in new.step_px}
    given = new.given_position_um
    if given is not None:
        given = given[:, [new.spatial_dims.index(axis) for axis in known.spatial_dims]]
    return Lattice(
        dims=kept,
        labels={dim: new.labels[dim] for dim in kept},
        index=new.index[:, columns],
        tile_dims=new.tile_dims,
        tile_shape=tuple(new.tile_shape.values()),
        dtype=new.dtype,
        step_px={axis: step for axis, step in new.step_px.items() if axis in axes},
        position_um=given,
        names=new.given_names,
        problems=new.problems,
        source=new.source,
    )


def _with_one_label(new: Lattice, known: Lattice) -> Lattice:
    """New tiles on all axes of the known ones, at the only label where they lack one."""
    zero = np.zeros(len(new), np.int64)
    columns = {dim: new.index[:, k] for k, dim in enumerate(new.dims)}
    given = new.given_position_um
    return Lattice(
        dims=known.dims,
        labels={dim: new.labels.get(dim, known.labels[dim]) for dim in known.dims},
        index=np.stack([columns.get(dim, zero) for dim in known.dims], axis=1),
        tile_dims=new.tile_dims,
        tile_shape=tuple(new.tile_shape.values()),
        dtype=new.dtype,
        step_px={**known.step_px, **new.step_px},
        position_um=given if new.spatial_dims == known.spatial_dims else None,
        names=new.given_names,
        problems=new.problems,
        source=new.source,
    )


def taken(new: Lattice, known: Lattice | None, by: str) -> np.ndarray:
    """Ids of the known tiles at whose places new ones are; -1 where the place is free."""
    owner = np.full(len(new), -1, np.int64)
    if known is None or not len(known):
        return owner
    if by == "positions" and known.given_position_um is not None:
        return _near(new, known, owner)
    place = np.zeros((len(new), len(known.dims)), np.int64)
    there = np.ones(len(new), bool)
    for column, dim in enumerate(known.dims):
        at = {label: i for i, label in enumerate(known.labels[dim].tolist())}
        mine = np.array([at.get(label, -1) for label in new.labels[dim].tolist()], np.int64)
        place[:, column] = mine[new.index[:, new.dims.index(dim)]]
        there &= place[:, column] >= 0
    owner[there] = known.id_grid[tuple(place[there].T)]
    return owner


def _near(new: Lattice, known: Lattice, owner: np.ndarray) -> np.ndarray:
    """By distance: nearer than what makes two lines of a grid, along every axis."""
    others = [dim for dim in known.dims if dim not in GRID_DIMS]
    sizes = [known.tile_shape.get(a, 1) * known.pixel_size_um[a] for a in known.spatial_dims]
    reach = TOLERANCE * np.array(sizes)
    for row in range(len(new)):
        near = np.ones(len(known), bool)
        for column in range(len(reach)):
            near &= (
                np.abs(known.position_um[:, column] - new.position_um[row, column]) <= reach[column]
            )
        for dim in others:
            label = new.labels[dim][new.index[row, new.dims.index(dim)]]
            near &= known.labels[dim][known.index[:, known.dims.index(dim)]] == label
        found = np.flatnonzero(near)
        if len(found):
            owner[row] = known.ids[found[0]]
    return owner


# ------------------------------------------------------------------------ grids by number


class GridNumbers:
    """Which number the first tile of a ``grid=`` has, as the names show in time.

    A tile 0 is the first. So is tile 1 when the tile whose number is that of all places has come,
    or 1, 2, 3 came in this order. Numbers that fill all places say it themselves: 101 to 106.

    Parameters
    ----------
    places
        Tiles of the grid (of one well, time point ...).
    pattern
        As for `open_tiles`; a field ``number`` counts, else the last number of the name.
    first
        The number, where the caller says it.

    Examples
    --------
    >>> numbers = GridNumbers(6, None)
    >>> numbers.note({"t2.tif": 5, "t1.tif": 7}), numbers.first
    (None, None)
    >>> numbers.note({"t6.tif": 9}), numbers.first
    (None, 1)
    """

    def __init__(
        self, places: int, pattern: str | re.Pattern[str] | None, first: int | None = None
    ) -> None:
        self.first = first
        self._places, self._pattern = places, pattern
        self._seen: dict[int, int] = {}

    def _numbers(self, names: Sequence[str]) -> list[int | None]:
        if self._pattern is not None:
            fields, _ = match_names(names, self._pattern)
            if "number" in fields:
                return [value if isinstance(value, int) else None for value in fields["number"]]
        return [found[0] if (found := name_numbers([name])) else None for name in names]

    def note(self, files: Mapping[str, int]) -> None:
        """Take up files and when they were written.

        Raises
        ------
        LatticeError
            For a name without a number: nothing would say which place the tile has.
        """
        if self.first is not None or not files:
            return
        for name, number in zip(files, self._numbers(list(files)), strict=True):
            if number is None:
                raise LatticeError(
                    f"{name!r} has no number, and grid= needs one while tiles arrive (their order "
                    "is known at the end only): name the files tile_1.tif ..., or give "
                    'pattern="{number:d}.tif"'
                )
            self._seen[number] = min(files[name], self._seen.get(number, files[name]))
        in_order = sorted(self._seen, key=lambda number: (self._seen[number], number))
        lowest, highest = min(self._seen), max(self._seen)
        if highest - lowest + 1 == self._places:
            self.first = lowest
        elif lowest == 0:
            self.first = 0
        elif highest == self._places or (in_order[:3] == [1, 2, 3] and highest < self._places):
            self.first = 1

    @property
    def why(self) -> str:
        """Why tiles wait while `first` is None, and what to do about it."""
        if not self._seen or max(self._seen) <= self._places:
            return (
                "it is not known whether the tiles count from 0 or from 1: say first=0 or first=1"
            )
        lowest, highest = min(self._seen), max(self._seen)
        return (
            f"it is not known which number the first of the {self._places:,} tiles of the grid has "
            f"(there are numbers from {lowest} to {highest}): say first={lowest}, if it is that one"
        )

    def learn(self, known: Lattice, names: Sequence[str], placing: Placing) -> None:
        """Take it from the place of the first known tile."""
        if self.first is not None or not names or placing.grid is None:
            return
        number = self._numbers(names[:1])[0]
        shape = tuple(int(n) for n in placing.grid.values())
        order = scan_order(shape, order=placing.order, snake=placing.snake, start=placing.start)
        columns = [i for i, dim in enumerate(known.dims) if dim in GRID_DIMS]
        if number is None or len(columns) != len(shape):
            return
        rank = np.flatnonzero((order == known.index[0, columns]).all(axis=1))
        if len(rank):
            self.first = number - int(rank[0])
