"""Several tiles as a stage sees them: its neighbours, or the tiles that it intersects."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Self

import numpy as np

from latticework.errors import LatticeError
from latticework.lattice.geometry import Box
from latticework.lattice.tile import Tile

Key = str | int
"""Name of an offset (neighbours), or id of a tile (intersecting)."""
MOST_SHOWN = 12
"""Keys in the repr of many tiles."""


class Tiles(Mapping[Any, Any]):
    """What a unit reads of one parent beside its own tile: a mapping that cannot be changed.

    A stage that reads `latticework.neighbours` is given one after each tile; its keys are the
    offsets that were declared, in that order, and its value is None where there is no neighbour::

        def seam(tile, neighbours):
            right = neighbours["+x"]
            return 0.0 if right is None else float(abs(tile[..., -1] - right[..., 0]).mean())

    A stage that reads `latticework.intersecting` is given one for each parent; its keys are the
    ids of the tiles that there are, in ascending order, and its arrays are cut to the pixels that
    meet the unit's extent::

        def fuse(tiles):
            image = np.zeros(tiles.unit.shape, tiles.unit.dtype)
            for id, part in tiles.items():     # where part lies: part.y_um, part.x_um
                ...
            return image

    Values are what the stage would be given of that tile alone: a labelled array (a NumPy array,
    if it takes NumPy), a table, a record, or the files. Each is read when it is first asked for.

    Examples
    --------
    To try a stage without a project:

    >>> from latticework import Lattice
    >>> lattice = Lattice.from_grid({"y": 2, "x": 2}, tile_shape={"y": 4, "x": 4}, dtype="u1")
    >>> tiles = Tiles.of(lattice.tile(y=0, x=0), {"+x": np.ones((4, 4), "u1"), "-x": None})
    >>> tiles["+x"].sum(), tiles.present, tiles.holes
    (np.uint64(16), ('+x',), ('-x',))
    >>> tiles.unit.name, tiles.extent_um
    ('y0_x0', {'y': (0.0, 4.0), 'x': (0.0, 4.0)})
    >>> tiles
    <Tiles of y0_x0 (tile_y=0, tile_x=0): '+x', '-x' (hole)>
    """

    __slots__ = (
        *("_absent", "_box", "_bytes_of_parts", "_extent_um", "_keys", "_load", "_part", "_tile"),
        *("_unit", "_values"),
    )

    def __init__(
        self,
        unit: Tile,
        keys: Mapping[Key, bool],
        load: Callable[[Any], Any],
        tile: Callable[[Any], Tile],
        *,
        absent: Sequence[Key] = (),
        box: Callable[[Any], Box] | None = None,
        extent_um: Mapping[str, tuple[float, float]] | None = None,
        part: Callable[[Any, Box], Any] | None = None,
    ) -> None:
        self._unit = unit
        self._keys = dict(keys)
        self._load = load
        self._tile = tile
        self._absent = tuple(absent)
        self._box = box
        self._extent_um = extent_um
        self._values: dict[Key, Any] = {}
        self._part = part
        self._bytes_of_parts = 0

    @classmethod
    def of(
        cls,
        unit: Tile,
        values: Mapping[Any, Any],
        *,
        tiles: Mapping[Any, Tile] = MappingProxyType({}),
        extent_um: Mapping[str, tuple[float, float]] | None = None,
        own: Any = None,
    ) -> Self:
        """Tiles made by hand, for trying a stage.

        Parameters
        ----------
        unit
            Address of the unit that reads.
        values
            What it reads by key; None for a hole.
        tiles
            Addresses of the tiles, where the stage asks for them.
        extent_um
            See `extent_um`.
        own
            Pixels of the unit's own tile, for `own`.
        """
        keys = {key: value is not None for key, value in values.items()}

        def part(key: Any, box: Box) -> Any:
            return (own if key is None else values[key])[box.slices]

        load, tile = values.__getitem__, tiles.__getitem__
        return cls(unit, keys, load, tile, extent_um=extent_um, part=part)

    # ---------------------------------------------------------------- as a mapping

    def __getitem__(self, key: Key) -> Any:
        if not self._there(key):
            return None
        if key not in self._values:
            self._values[key] = self._load(key)
        return self._values[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def _there(self, key: Key) -> bool:
        try:
            return self._keys[key]
        except (KeyError, TypeError):
            raise KeyError(
                f"{key!r} is none of what tile {self._unit.name} reads: {self._shown()}"
            ) from None

    # ---------------------------------------------------------------- parts

    def read(self, key: Key, box: Box) -> Any:
        """Pixels of a box of one of the tiles, and no others.

        Parameters
        ----------
        key
            Whose.
        box
            In the pixels of that tile, along all of its dims.

        Raises
        ------
        KeyError
            For what is no key, and for a hole.
        LatticeError
            Where tiles are no arrays.

        Examples
        --------
        >>> from latticework import Lattice
        >>> lattice = Lattice.from_grid({"y": 1, "x": 2}, tile_shape={"y": 4, "x": 4}, dtype="u1")
        >>> beside = np.arange(16, dtype="u1").reshape(4, 4)
        >>> tiles = Tiles.of(lattice.tile(x=0), {"+x": beside}, own=np.zeros((4, 4), "u1"))
        >>> tiles.read("+x", Box((0, 0), (1, 2))), tiles.own(Box((0, 2), (1, 4)))
        (array([[0, 1]], dtype=uint8), array([[0, 0]], dtype=uint8))
        """
        if not self._there(key):
            raise KeyError(f"{key!r} is a hole: there is nothing to be read")
        return self._counted(key, box)

    def own(self, box: Box) -> Any:
        """Pixels of a box of the unit's own tile, where neighbours are read with ``whole=False``.

        Raises
        ------
        LatticeError
            Where the tile itself is given, or is no array.
        """
        return self._counted(None, box)

    def _counted(self, key: Key | None, box: Box) -> Any:
        if self._part is None:
            raise LatticeError(
                f"tile {self._unit.name}: parts can be read of the arrays of neighbours and "
                "intersecting tiles; the tile itself is the argument before, unless they are read "
                "with neighbours(..., whole=False)"
            )
        value = self._part(key, box)
        self._bytes_of_parts += size_of(value)
        return value

    # ---------------------------------------------------------------- facts

    @property
    def unit(self) -> Tile:
        """Address of the unit that reads: its labels, position, shape and pixel sizes."""
        return self._unit

    @property
    def extent_um(self) -> dict[str, tuple[float, float]]:
        """Where the unit begins and ends by spatial axis, micrometres, with its ``overlap``.

        That is what intersecting tiles are cut to, where pixels allow.
        """
        if self._extent_um is not None:
            return dict(self._extent_um)
        unit = self._unit
        pixels = dict(zip(unit.dims, unit.shape, strict=True))
        return {
            axis: (low, low + pixels.get(axis, 1) * unit.pixel_size_um[axis])
            for axis, low in unit.position_um.items()
        }

    @property
    def present(self) -> tuple[Any, ...]:
        """Keys of the tiles that there are."""
        return tuple(key for key, there in self._keys.items() if there)

    @property
    def holes(self) -> tuple[Any, ...]:
        """What there is not, because it was not acquired, was withdrawn or failed.

        Of neighbours the keys whose value is None; of intersecting tiles their ids, which are no
        keys.
        """
        return (*(key for key, there in self._keys.items() if not there), *self._absent)

    def tile(self, key: Key) -> Tile | None:
        """Address of one of the tiles, without its pixels; None for a hole.

        Raises
        ------
        KeyError
            For what is no key, and for tiles made by hand without addresses.
        """
        return self._tile(key) if self._there(key) else None

    def box(self, key: Key) -> Box | None:
        """Which pixels of its tile an array has; None for a hole.

        All of them for a neighbour, those that meet the unit for an intersecting tile.
        """
        tile = self.tile(key)
        if tile is None:
            return None
        return tile.box if self._box is None else self._box(key)

    def place(self, key: Key) -> tuple[slice, ...]:
        """Where the pixels of an intersecting tile lie in the unit, its overlap included.

        In whole pixels, one slice for each dim of the array; dims that have no position, such as
        ``c``, are whole. So ``image[tiles.place(id)] += part`` puts a part where it belongs.

        Raises
        ------
        KeyError
            For what is no key.
        LatticeError
            Where the tile's pixels are of another size than the unit's: then it has to be scaled.
        """
        tile, box = self.tile(key), self.box(key)
        if tile is None or box is None:
            raise KeyError(f"{key!r} is a hole: there is nothing to be put anywhere")
        extent, found = self.extent_um, []
        for dim, start, stop in zip(tile.dims, box.start, box.stop, strict=True):
            if dim not in extent:
                found.append(slice(None))
                continue
            pixel, own = tile.pixel_size_um[dim], self._unit.pixel_size_um[dim]
            if not np.isclose(pixel, own, rtol=1e-3):
                raise LatticeError(
                    f"pixels of tile {tile.name} are {pixel:g} µm along {dim}, those of the unit "
                    f"{self._unit.name} {own:g} µm: scale the tile, its coordinates say where to"
                )
            first = (tile.position_um[dim] + start * pixel - extent[dim][0]) / own
            size = round((extent[dim][1] - extent[dim][0]) / own)
            begin = min(max(round(first), 0), max(size - (stop - start), 0))
            found.append(slice(begin, begin + stop - start))
        return tuple(found)

    @property
    def bytes_read(self) -> int:
        """Bytes of what was asked for so far."""
        return self._bytes_of_parts + sum(size_of(value) for value in self._values.values())

    def _shown(self) -> str:
        keys = [f"{key!r}{'' if there else ' (hole)'}" for key, there in self._keys.items()]
        more = len(keys) - MOST_SHOWN
        return ", ".join([*keys[:MOST_SHOWN], *([f"... {more} more"] if more > 0 else [])]) or (
            "nothing"
        )

    def __repr__(self) -> str:
        return f"<Tiles of {self._unit.name} {self._unit.address}: {self._shown()}>"


def size_of(value: Any) -> int:
    """Bytes of an input: pixels, rows of a table; 0 for what has no such number.

    Examples
    --------
    >>> size_of(np.zeros((4, 4), "u2")), size_of({"n": 3})
    (32, 0)
    """
    if hasattr(value, "memory_usage"):
        return int(value.memory_usage(index=False).sum())
    return int(getattr(value, "nbytes", 0))


def offset_names(offsets: np.ndarray, dims: Sequence[str]) -> tuple[str, ...]:
    """Names of resolved offsets: ``"+z"``, ``"-y+x"``, ``"+2z"``, ``"+round"``.

    Examples
    --------
    >>> offset_names(np.array([[1, 0, 0], [0, -1, 1], [0, 0, 2]]), ("tile_z", "tile_y", "tile_x"))
    ('+z', '-y+x', '+2x')
    """
    axes = [dim.removeprefix("tile_") for dim in dims]
    return tuple(
        "".join(
            f"{'-' if step < 0 else '+'}{abs(step) if abs(step) > 1 else ''}{axis}"
            for axis, step in zip(axes, row, strict=True)
            if step
        )
        for row in offsets.tolist()
    )


class AbsentUnits(Collection[int]):
    """Units of a parent that are holes, whatever the lattice says.

    Examples
    --------
    >>> absent = AbsentUnits(np.array([7, 3]))
    >>> 3 in absent, 4 in absent, absent.without(np.array([2, 3, 4])).tolist()
    (True, False, [2, 4])
    """

    __slots__ = ("ids",)

    def __init__(self, ids: np.ndarray) -> None:
        self.ids = np.unique(ids)

    def __contains__(self, unit: object) -> bool:
        place = int(np.searchsorted(self.ids, unit))  # type: ignore[call-overload]
        return place < len(self.ids) and bool(self.ids[place] == unit)

    def __iter__(self) -> Iterator[int]:
        return iter(self.ids.tolist())

    def __len__(self) -> int:
        return len(self.ids)

    def without(self, units: np.ndarray) -> np.ndarray:
        """Those of `units` that are not absent."""
        return units[~np.isin(units, self.ids)] if len(self.ids) else units
