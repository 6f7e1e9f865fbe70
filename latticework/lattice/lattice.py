"""The lattice: a labelled grid of tiles that knows where each one is and who its neighbours are."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from latticework.errors import LatticeError, TileNotFoundError
from latticework.lattice import blocks, building, grids, growth, places, selection, views
from latticework.lattice.geometry import Box
from latticework.lattice.offsets import SPATIAL, Offsets, lattice_dim, resolve_offsets, spatial_axis
from latticework.lattice.source import TileSource
from latticework.lattice.tile import Tile

if TYPE_CHECKING:
    import matplotlib.figure
    import xarray as xr

Label = int | str

NEIGHBOURS_AT_ONCE = 2**18
"""Neighbours looked up at once: what fits a processor's cache."""


class Lattice:
    """A labelled grid of tiles.

    A lattice has *lattice dims* (``tile_z tile_y tile_x``, and others by name such as
    ``sheet`` or ``well``), each with a label per grid position, and every tile has
    *tile dims* (some of ``c z y x``) of pixels. The grid may have holes. Tiles have an id,
    their place in acquisition order, which never changes; arrays over tiles
    (``index``, ``position_um``, ``names``, ...) have one row per tile in order of ``ids``.

    ::

        tile_x=0      tile_x=1          step_px     first pixel to first pixel
        +---------+···+---------+       overlap_px  tile_shape - step_px:
        | tile 0  |   | tile 1  |                   0 where tiles abut,
        +---------+···+---------+                   above 0 where pixels are imaged twice

    Make one with `open_tiles`, `Lattice.from_grid`, `Lattice.from_positions` or
    `Lattice.from_array`; the constructor takes the parts as they are.

    Parameters
    ----------
    dims
        Lattice dims, in order.
    labels
        For each lattice dim the labels of its grid positions (integers or strings), unique.
    index
        Grid position of every tile, shape (n, len(dims)), in acquisition order.
    tile_dims, tile_shape
        Pixel dims and pixels along each of them (the largest, where tiles differ).
    dtype
        Type of the pixels.
    pixel_size_um
        Size of a pixel by spatial axis, or one number for y and x; 1.0 where not given
        (`known_pixel_size_um` has those that were).
    step_px
        Nominal step between tiles by spatial axis, in pixels; the tile's shape where not given.
    position_um
        Position of every tile's first pixel, shape (n, len(spatial_dims)); nominal if not given.
    names
        Name of every tile; made from the labels if not given.
    shapes
        Pixels of every tile, shape (n, len(tile_dims)), where they differ.
    ids
        Ids of the tiles; 0 to n - 1 if not given.
    problems
        Why some tiles cannot be read, by id.
    channels
        Names of the channels, where ``c`` is a tile dim.
    volume_shape
        For blocks of one volume: its shape by tile dim.
    source
        Where the pixels come from.

    Raises
    ------
    LatticeError
        If the parts do not fit together.

    Examples
    --------
    >>> from latticework import Lattice
    >>> lattice = Lattice.from_grid(
    ...     {"y": 7, "x": 9},
    ...     tile_shape={"y": 512, "x": 512},
    ...     dtype="uint16",
    ...     overlap={"y": 51, "x": 51},
    ... )
    >>> lattice.sizes, lattice.n_tiles, dict(lattice.step_px)
    ({'tile_y': 7, 'tile_x': 9}, 63, {'y': 461, 'x': 461})
    >>> lattice.tile(y=1, x=2).name
    'y1_x2'
    >>> lattice.sel(y=slice(0, 1)).n_tiles
    18
    >>> lattice.neighbours("+x")[:9, 0].tolist()
    [1, 2, 3, 4, 5, 6, 7, 8, -1]
    """

    growing: "growth.Growing | None" = None
    """Room behind the arrays of a lattice that grows."""

    def __init__(
        self,
        *,
        dims: Sequence[str],
        labels: Mapping[str, Any],
        index: Any,
        tile_dims: Sequence[str],
        tile_shape: Sequence[int],
        dtype: Any,
        pixel_size_um: Mapping[str, float] | float | None = None,
        step_px: Mapping[str, int] | None = None,
        position_um: Any = None,
        names: Any = None,
        shapes: Any = None,
        ids: Any = None,
        problems: Mapping[int, str] | None = None,
        channels: Sequence[str] | None = None,
        volume_shape: Mapping[str, int] | None = None,
        source: TileSource | None = None,
    ) -> None:
        self.dims: tuple[str, ...] = tuple(dims)
        self.tile_dims: tuple[str, ...] = tuple(tile_dims)
        self.labels: Mapping[str, np.ndarray] = building.grid_labels(labels, self.dims)
        self.index: np.ndarray = building.grid_index(index, len(self.dims))
        n = len(self.index)
        self.ids: np.ndarray = np.arange(n) if ids is None else np.asarray(ids, dtype=np.int64)
        self.dtype: np.dtype = np.dtype(dtype)
        self.tile_shape: Mapping[str, int] = building.tile_sizes(self.tile_dims, tile_shape)
        lattice_axes = [axis for axis in map(spatial_axis, self.dims) if axis is not None]
        self.spatial_dims: tuple[str, ...] = tuple(
            axis for axis in SPATIAL if axis in self.tile_dims or axis in lattice_axes
        )
        #: Pixel sizes that were given; `pixel_size_um` has 1.0 for the axes that are missing here.
        self.known_pixel_size_um: Mapping[str, float] = building.known_pixel_sizes(
            pixel_size_um, self.spatial_dims
        )
        self.pixel_size_um: Mapping[str, float] = building.pixel_sizes(
            self.known_pixel_size_um, self.spatial_dims
        )
        self.step_px: Mapping[str, int] = building.steps(step_px, lattice_axes, self.tile_shape)
        self.shapes: np.ndarray | None = building.tile_shapes(shapes, n, self.tile_shape)
        self.channels: tuple[str, ...] | None = None if channels is None else tuple(channels)
        self.problems: Mapping[int, str] = MappingProxyType(dict(problems or {}))
        self.volume_shape: Mapping[str, int] | None = (
            None if volume_shape is None else MappingProxyType(dict(volume_shape))
        )
        self.source: TileSource | None = source
        #: Names as they were given; None where they are made from the labels.
        self.given_names: Any = names
        #: Positions as they were given; None where they are nominal.
        self.given_position_um: np.ndarray | None = (
            None
            if position_um is None
            else building.tile_rows(position_um, "position_um", float, n, self.spatial_dims)
        )
        building.check(self)

    # ---------------------------------------------------------------- making

    @classmethod
    def from_grid(cls, grid: Mapping[str, int], **options: Any) -> Self:
        """A full grid of equal tiles; see `latticework.lattice.grids.grid_parts` for options.

        Parameters
        ----------
        grid
            Number of tiles by axis, such as ``{"y": 7, "x": 9}``; slowest first.
        **options
            ``tile_shape`` (mapping of pixel dim to pixels), ``dtype``, ``overlap`` (mapping of
            axis to pixels, or to a fraction: 0.1, ``"10%"``), ``order`` (``"row"``, ``"column"``),
            ``snake``, ``start`` (``"top-left"``, ``"top-right"``, ...), ``pixel_size_um``,
            ``names``, ``channels``, ``source``.
        """
        return cls(**grids.grid_parts(grid, **options))

    @classmethod
    def from_positions(cls, position_um: Any, **options: Any) -> Self:
        """Tiles at measured positions, sorted into a grid.

        Parameters
        ----------
        position_um
            Positions of the tiles' first pixels, shape (n, number of axes), acquisition order.
        **options
            ``axes`` (names of the columns, default the last of ``z y x``), ``other`` (mapping of
            further lattice dims to a label per tile), ``tile_shape``, ``dtype``,
            ``pixel_size_um``, ``names``, ``tolerance`` (fraction of a tile's extent within which
            positions share a row, default 0.35), ``channels``, ``problems``, ``source``.
        """
        return cls(**grids.position_parts(position_um, **options))

    @classmethod
    def from_array(
        cls,
        array: Any,
        *,
        block: Mapping[str, int] | int,
        dims: Sequence[str] | None = None,
        pixel_size_um: Mapping[str, float] | float | None = None,
        source: TileSource | None = None,
    ) -> Self:
        """Blocks of one big array as a lattice like any other; the last blocks may be smaller.

        Parameters
        ----------
        array
            NumPy, dask, zarr or xarray array (or anything with shape, dtype and slicing).
        block
            Pixels of a block by spatial axis, or one number for y and x; axes not named are not
            divided.
        dims
            Names of the array's dims; an xarray array's own, else the last of ``c z y x``.
        pixel_size_um
            Size of a pixel by spatial axis.
        source
            Where workers read the pixels from; the array itself if not given.

        Examples
        --------
        >>> import numpy as np
        >>> lattice = Lattice.from_array(np.zeros((100, 250), "u2"), block={"y": 64, "x": 64})
        >>> lattice.sizes, lattice.tile(y=1, x=3).shape
        ({'tile_y': 2, 'tile_x': 4}, (36, 58))
        """
        return cls(**blocks.block_parts(array, block, dims, pixel_size_um, source))

    @classmethod
    def unit(cls) -> Self:
        """The lattice of no dims and one unit, where whole-lattice reductions live."""
        return cls(
            dims=(), labels={}, index=np.zeros((1, 0)), tile_dims=(), tile_shape=(), dtype="f8"
        )

    # ---------------------------------------------------------------- facts

    @property
    def n_tiles(self) -> int:
        """Number of tiles; holes do not count."""
        return len(self.index)

    def __len__(self) -> int:
        return len(self.index)

    @property
    def shape(self) -> tuple[int, ...]:
        """Grid positions along each lattice dim."""
        return tuple(len(self.labels[dim]) for dim in self.dims)

    @property
    def sizes(self) -> dict[str, int]:
        """Grid positions by lattice dim."""
        return dict(zip(self.dims, self.shape, strict=True))

    @property
    def overlap_px(self) -> dict[str, int]:
        """Pixels that neighbours both image, by spatial lattice axis; 0 where tiles abut."""
        return {axis: self.tile_shape.get(axis, 1) - step for axis, step in self.step_px.items()}

    @cached_property
    def id_grid(self) -> np.ndarray:
        """Tile id at every grid position, int64 of shape `shape`; -1 where there is a hole."""
        grid = views.on_grid(self, self.ids, -1)
        grid.setflags(write=False)
        return grid

    @cached_property
    def position_um(self) -> np.ndarray:
        """Position of every tile's first pixel, micrometres, shape (n, len(spatial_dims))."""
        given = self.given_position_um
        return building.nominal_positions(self) if given is None else given

    @cached_property
    def names(self) -> np.ndarray:
        """Name of every tile, array of str."""
        if self.given_names is not None:
            return np.asarray(self.given_names, dtype=object)
        return views.made_names(self)

    @cached_property
    def dataset(self) -> "xr.Dataset":
        """The lattice as an `xarray.Dataset` over the lattice dims.

        Variables ``tile`` (id, -1 in holes), ``present``, ``name``, ``position_um`` (with a
        dim ``axis``, NaN in holes); labels as coordinates.
        """
        return views.as_dataset(self)

    # ---------------------------------------------------------------- single tiles

    def rows_of(self, ids: Any) -> np.ndarray:
        """Rows of tiles with these ids.

        Raises
        ------
        TileNotFoundError
            If an id is not of this lattice.
        """
        return selection.rows_of(self, np.asarray(ids, dtype=np.int64))

    @cached_property
    def shuffled(self) -> bool:
        """Whether ids are not simply 0 to n - 1: this is a selection of another lattice."""
        return not np.array_equal(self.ids, np.arange(len(self)))

    @cached_property
    def id_order(self) -> np.ndarray:
        """Rows sorted by id."""
        return np.argsort(self.ids)

    def tile(self, id: int | None = None, /, **labels: Label) -> Tile:
        """One tile, by id or by its labels.

        Parameters
        ----------
        id
            Tile id.
        **labels
            Label by axis: ``z=3`` or ``tile_z=3``; axes with a single label may be left out.

        Raises
        ------
        TileNotFoundError
            If there is none, or a hole.
        """
        row = int(self.rows_of([self.id_at(**labels) if id is None else int(id)])[0])
        where = self.index[row].tolist()
        tile_id, named = int(self.ids[row]), self.given_names is not None
        return Tile(
            id=tile_id,
            index=tuple(where),
            labels={
                dim: self.labels[dim][i].item() for dim, i in zip(self.dims, where, strict=True)
            },
            name=str(self.given_names[row]) if named else views.made_name(self, row),
            position_um=dict(zip(self.spatial_dims, self.position_um[row].tolist(), strict=True)),
            dims=self.tile_dims,
            shape=places.row_shape(self, row),
            dtype=self.dtype,
            pixel_size_um=dict(self.pixel_size_um),
            problem=self.problems.get(tile_id),
        )

    def id_at(self, **labels: Label) -> int:
        """Id of the tile at these labels.

        Raises
        ------
        TileNotFoundError
            If there is none, or a hole, or too few axes are named.
        """
        where = selection.label_positions(self, labels)
        tile_id = int(self.id_grid[where])
        if tile_id < 0:
            raise TileNotFoundError(f"there is a hole at {labels}: no tile was acquired there")
        return tile_id

    def at(self, **position_um: float) -> Tile:
        """The tile whose centre is nearest to a position in micrometres, which it must contain.

        Raises
        ------
        TileNotFoundError
            If no tile contains the position.
        """
        return self.tile(int(self.ids[places.nearest_row(self, position_um)]))

    def __iter__(self) -> Iterator[Tile]:
        return (self.tile(int(tile_id)) for tile_id in self.ids)

    # ---------------------------------------------------------------- selections

    def sel(self, **labels: Any) -> "Lattice":
        """The tiles with these labels; slices of labels include both ends, as in xarray.

        Dims stay, with fewer positions; ids stay too.
        """
        return self.isel(**selection.positions_of(self, labels))

    def isel(self, **positions: Any) -> "Lattice":
        """The tiles at these grid positions (integer, slice or list by axis)."""
        return Lattice(**selection.position_parts(self, positions))

    def plane(self, **label: Label) -> "Lattice":
        """All tiles that share one label along one lattice axis: ``lattice.plane(z=3)``."""
        if len(label) != 1:
            raise LatticeError(
                f"a plane has one label along one axis, as in plane(z=3), not {label}"
            )
        return self.sel(**label)

    def within(self, **box_um: tuple[float, float]) -> "Lattice":
        """The tiles that touch a box given in micrometres: ``within(y=(0, 500), x=(100, 300))``."""
        rows = np.flatnonzero(places.touching(self, box_um))
        return Lattice(**selection.row_parts(self, rows))

    def take(self, ids: Any) -> "Lattice":
        """The tiles with these ids, on the same grid."""
        return Lattice(**selection.row_parts(self, self.rows_of(ids)))

    # ---------------------------------------------------------------- neighbours

    def neighbours(self, offsets: Offsets) -> np.ndarray:
        """Ids of every tile's neighbours, int64 of shape (n, number of offsets); -1 where none.

        Parameters
        ----------
        offsets
            ``"faces"``, ``"edges"``, ``"corners"``, ``"all"``, ``"+z"``, ``{"z": 1}``, tuples
            in the order of `dims`, or several of these
            (`latticework.lattice.offsets.resolve_offsets`).
        """
        return self.neighbours_of(self.index, resolve_offsets(offsets, self.dims))

    def neighbours_of(self, index: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        """Ids at resolved `offsets` from grid positions `index`, shape (len(index), n offsets)."""
        grid, shape = self.id_grid, np.array(self.shape, dtype=np.int64)
        found = np.empty((len(index), len(offsets)), dtype=np.int64)
        rows = max(1, NEIGHBOURS_AT_ONCE // max(1, len(offsets)))
        for first in range(0, len(index), rows):
            where = index[first : first + rows, None, :] + offsets[None, :, :]
            inside = ((where >= 0) & (where < shape)).all(axis=-1)
            where[~inside] = 0
            ids = grid[tuple(np.moveaxis(where, -1, 0))]
            found[first : first + rows] = np.where(inside, ids, -1)
        return found

    def volume_box(self, id: int) -> Box:
        """Pixels of a tile in nominal coordinates: step times grid position, in tile dims order."""
        return places.nominal_box(self, int(self.rows_of([id])[0]))

    # ---------------------------------------------------------------- growth

    def extend(self, new: "Lattice") -> "Lattice":
        """The lattice with new tiles, which get the next ids; labels and grid grow as needed.

        `latticework.lattice.growth.grown` says more, and places tiles by their positions too.

        Raises
        ------
        LatticeError
            If the new tiles are of another kind, or a place is taken already.
        """
        return growth.grown(self, new, placed_by="labels")

    def with_source(self, source: TileSource | None) -> "Lattice":
        """The lattice with its pixels from elsewhere, in no time; all else stays."""
        return growth.made(self, growth.DERIVED, source=source)

    def replace(self, **changes: Any) -> "Lattice":
        """The lattice with some of its parts (constructor arguments) replaced.

        With ``ids=None`` its tiles are numbered from 0; each keeps its pixels and its problem.
        """
        if "ids" in changes and changes["ids"] is None and self.shuffled:
            changes = {**selection.renumbered(self), **changes}
        parts = {
            "index": self.index,
            "labels": self.labels,
            "ids": self.ids,
            "names": self.given_names,
        }
        parts |= {
            "position_um": self.given_position_um,
            "shapes": self.shapes,
            "problems": self.problems,
        }
        return Lattice(**{**building.common_parts(self), **parts, **changes})

    # ---------------------------------------------------------------- looking

    def __repr__(self) -> str:
        from latticework.viz.lattice_html import lattice_text

        return lattice_text(self)

    def _repr_html_(self) -> str:
        from latticework.viz.lattice_html import lattice_html

        return lattice_html(self)

    def plot(
        self, what: Literal["planes", "positions"] = "planes", **options: Any
    ) -> "matplotlib.figure.Figure":
        """Draw ``"planes"`` (`viz.plot_lattice`), or ``"positions"`` (`viz.plot_positions`)."""
        from latticework.viz.plots import plot_of_lattice

        return plot_of_lattice(self, what, options)


__all__ = ["Lattice", "lattice_dim"]
