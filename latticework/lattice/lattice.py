"""The lattice: a labelled grid of tiles that knows where each one is and who its neighbours are."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from latticework.errors import LatticeError, TileNotFoundError
from latticework.lattice import blocks, building, grids, growth
from latticework.lattice.geometry import Box
from latticework.lattice.offsets import SPATIAL, Offsets, lattice_dim, resolve_offsets, spatial_axis
from latticework.lattice.selection import label_positions, position_slice
from latticework.lattice.source import TileSource
from latticework.lattice.tile import Tile

if TYPE_CHECKING:
    import matplotlib.figure
    import xarray as xr

Label = int | str


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
        Size of a pixel by spatial axis; 1.0 where not given.
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
    ...     {"y": 7, "x": 9}, tile_shape={"y": 512, "x": 512}, dtype="uint16", overlap={"y": 51, "x": 51}
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

    def __init__(
        self,
        *,
        dims: Sequence[str],
        labels: Mapping[str, Any],
        index: Any,
        tile_dims: Sequence[str],
        tile_shape: Sequence[int],
        dtype: Any,
        pixel_size_um: Mapping[str, float] | None = None,
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
        self.labels: Mapping[str, np.ndarray] = MappingProxyType(
            {dim: np.asarray(labels[dim]) for dim in self.dims}
        )
        self.index: np.ndarray = building.grid_index(index, len(self.dims))
        n = len(self.index)
        self.ids: np.ndarray = np.arange(n) if ids is None else np.asarray(ids, dtype=np.int64)
        self.dtype: np.dtype = np.dtype(dtype)
        self.tile_shape: Mapping[str, int] = MappingProxyType(
            {dim: int(size) for dim, size in zip(self.tile_dims, tile_shape, strict=True)}
        )
        lattice_axes = [axis for axis in map(spatial_axis, self.dims) if axis is not None]
        self.spatial_dims: tuple[str, ...] = tuple(
            axis for axis in SPATIAL if axis in self.tile_dims or axis in lattice_axes
        )
        self.pixel_size_um: Mapping[str, float] = building.pixel_sizes(
            pixel_size_um, self.spatial_dims
        )
        self.step_px: Mapping[str, int] = building.steps(step_px, lattice_axes, self.tile_shape)
        self.shapes: np.ndarray | None = building.tile_shapes(shapes, n, self.tile_shape)
        self.channels: tuple[str, ...] | None = None if channels is None else tuple(channels)
        self.problems: Mapping[int, str] = MappingProxyType(dict(problems or {}))
        self.volume_shape: Mapping[str, int] | None = (
            None if volume_shape is None else MappingProxyType(dict(volume_shape))
        )
        self.source: TileSource | None = source
        self._names = names
        self.position_um: np.ndarray = (
            building.nominal_positions(self)
            if position_um is None
            else np.asarray(position_um, dtype=np.float64).reshape(n, len(self.spatial_dims))
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
            axis to pixels, or to a fraction below 1), ``order`` (``"row"`` or ``"column"``),
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
        block: Mapping[str, int],
        dims: Sequence[str] | None = None,
        pixel_size_um: Mapping[str, float] | None = None,
        source: TileSource | None = None,
    ) -> Self:
        """Blocks of one big array as a lattice like any other; the last blocks may be smaller.

        Parameters
        ----------
        array
            NumPy, dask, zarr or xarray array (or anything with shape, dtype and slicing).
        block
            Pixels of a block by spatial axis; axes not named are not divided.
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
        from latticework.lattice.views import on_grid

        grid = on_grid(self, self.ids, -1)
        grid.setflags(write=False)
        return grid

    @cached_property
    def names(self) -> np.ndarray:
        """Name of every tile, array of str."""
        if self._names is not None:
            return np.asarray(self._names, dtype=object)
        return np.array([self._made_name(row) for row in range(len(self))], dtype=object)

    def _made_name(self, row: int) -> str:
        parts = []
        for dim, position in zip(self.dims, self.index[row].tolist(), strict=True):
            axis = spatial_axis(dim)
            parts.append(f"{axis or dim}{'' if axis else '='}{self.labels[dim][position]}")
        return "_".join(parts) or "all"

    @cached_property
    def dataset(self) -> "xr.Dataset":
        """The lattice as an `xarray.Dataset` over the lattice dims.

        Variables ``tile`` (id, -1 in holes), ``present``, ``name``, ``position_um`` (with a
        dim ``axis``, NaN in holes); labels as coordinates.
        """
        from latticework.lattice.views import as_dataset

        return as_dataset(self)

    # ---------------------------------------------------------------- single tiles

    def rows_of(self, ids: Any) -> np.ndarray:
        """Rows of tiles with these ids.

        Raises
        ------
        TileNotFoundError
            If an id is not of this lattice.
        """
        ids = np.asarray(ids, dtype=np.int64)
        if not self.shuffled:
            rows = ids
            bad = (ids < 0) | (ids >= len(self))
        else:
            order = self._id_order
            where = np.minimum(np.searchsorted(self.ids, ids, sorter=order), len(self) - 1)
            rows = order[where]
            bad = self.ids[rows] != ids
        if bad.any():
            raise TileNotFoundError(f"no tile has id {np.atleast_1d(ids)[np.atleast_1d(bad)][0]}")
        return rows

    @cached_property
    def shuffled(self) -> bool:
        """Whether ids are not simply 0 to n - 1: this is a selection of another lattice."""
        return not np.array_equal(self.ids, np.arange(len(self)))

    @cached_property
    def _id_order(self) -> np.ndarray:
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
        shape = self.tile_shape.values() if self.shapes is None else self.shapes[row].tolist()
        where = self.index[row].tolist()
        tile_id = int(self.ids[row])
        return Tile(
            id=tile_id,
            index=tuple(where),
            labels={
                dim: self.labels[dim][i].item() for dim, i in zip(self.dims, where, strict=True)
            },
            name=self._made_name(row) if self._names is None else str(self._names[row]),
            position_um=dict(zip(self.spatial_dims, self.position_um[row].tolist(), strict=True)),
            dims=self.tile_dims,
            shape=tuple(shape),
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
        where = label_positions(self, labels)
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
        inside = self._touching({axis: (um, um) for axis, um in position_um.items()})
        if not inside.any():
            raise TileNotFoundError(f"no tile contains the position {position_um} (micrometres)")
        rows = np.flatnonzero(inside)
        columns = [self.spatial_dims.index(axis) for axis in position_um]
        centres = (self.position_um + self._extent_um / 2)[rows][:, columns]
        distance = np.linalg.norm(centres - np.array(list(position_um.values())), axis=1)
        return self.tile(int(self.ids[rows[np.argmin(distance)]]))

    def __iter__(self) -> Iterator[Tile]:
        return (self.tile(int(tile_id)) for tile_id in self.ids)

    # ---------------------------------------------------------------- selections

    def sel(self, **labels: Any) -> "Lattice":
        """The tiles with these labels; slices of labels include both ends, as in xarray.

        Dims stay, with fewer positions; ids stay too.
        """
        positions = {}
        for axis, wanted in labels.items():
            dim = building.known_dim(self, axis)
            positions[dim] = position_slice(self.labels[dim], wanted, dim)
        return self.isel(**positions)

    def isel(self, **positions: Any) -> "Lattice":
        """The tiles at these grid positions (integer, slice or list by axis)."""
        keep = {dim: np.arange(size) for dim, size in self.sizes.items()}
        for axis, wanted in positions.items():
            dim = building.known_dim(self, axis)
            keep[dim] = np.atleast_1d(keep[dim][wanted])
        rows = np.ones(len(self), dtype=bool)
        index = np.empty_like(self.index)
        for column, dim in enumerate(self.dims):
            new = np.full(len(self.labels[dim]), -1, dtype=np.int64)
            new[keep[dim]] = np.arange(len(keep[dim]))
            index[:, column] = new[self.index[:, column]]
            rows &= index[:, column] >= 0
        labels = {dim: self.labels[dim][keep[dim]] for dim in self.dims}
        return self._take(np.flatnonzero(rows), index=index[rows], labels=labels)

    def plane(self, **label: Label) -> "Lattice":
        """All tiles that share one label along one lattice axis: ``lattice.plane(z=3)``."""
        if len(label) != 1:
            raise LatticeError(
                f"a plane has one label along one axis, as in plane(z=3), not {label}"
            )
        return self.sel(**label)

    def within(self, **box_um: tuple[float, float]) -> "Lattice":
        """The tiles that touch a box given in micrometres: ``within(y=(0, 500), x=(100, 300))``."""
        return self._take(np.flatnonzero(self._touching(box_um)))

    def take(self, ids: Any) -> "Lattice":
        """The tiles with these ids, on the same grid."""
        return self._take(self.rows_of(ids))

    def _take(self, rows: np.ndarray, **changes: Any) -> "Lattice":
        parts: dict[str, Any] = {"index": self.index[rows], "labels": self.labels}
        ids = self.ids[rows]
        chosen = set(ids.tolist()) if self.problems else set()
        parts |= {
            "ids": ids,
            "position_um": self.position_um[rows],
            "names": None if self._names is None else self.names[rows],
            "shapes": None if self.shapes is None else self.shapes[rows],
            "problems": {i: why for i, why in self.problems.items() if i in chosen},
        }
        return Lattice(**{**building.common_parts(self), **parts, **changes})

    @property
    def _extent_um(self) -> np.ndarray:
        """Extent of the tiles, shape (n or 1, number of spatial dims)."""
        px = np.array([[self.tile_shape.get(axis, 1) for axis in self.spatial_dims]], dtype=float)
        if self.shapes is not None:
            columns = [self.tile_dims.index(axis) for axis in self.spatial_dims]
            px = self.shapes[:, columns].astype(float)
        return px * np.array([self.pixel_size_um[axis] for axis in self.spatial_dims])

    def _touching(self, box_um: Mapping[str, tuple[float, float]]) -> np.ndarray:
        near, far = self.position_um, self.position_um + self._extent_um
        touching = np.ones(len(self), dtype=bool)
        for axis, (low, high) in box_um.items():
            if axis not in self.spatial_dims:
                raise LatticeError(f"no spatial axis {axis!r}: there are {self.spatial_dims}")
            column = self.spatial_dims.index(axis)
            touching &= (near[:, column] <= high) & (far[:, column] > low)
        return touching

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
        where = index[:, None, :] + offsets[None, :, :]
        shape = np.array(self.shape, dtype=np.int64)
        inside = ((where >= 0) & (where < shape)).all(axis=-1)
        where[~inside] = 0
        return np.where(inside, self.id_grid[tuple(np.moveaxis(where, -1, 0))], -1)

    def volume_box(self, id: int) -> Box:
        """Pixels of a tile in nominal coordinates: step times grid position, in tile dims order."""
        row = int(self.rows_of([id])[0])
        shape = list(self.tile_shape.values()) if self.shapes is None else self.shapes[row].tolist()
        start = [0] * len(shape)
        for column, dim in enumerate(self.dims):
            axis = spatial_axis(dim)
            if axis in self.tile_shape:
                start[self.tile_dims.index(axis)] = (
                    int(self.index[row, column]) * self.step_px[axis]
                )
        return Box(tuple(start), tuple(a + n for a, n in zip(start, shape, strict=True)))

    # ---------------------------------------------------------------- growth

    def extend(self, new: "Lattice") -> "Lattice":
        """This lattice with new tiles, which get the next ids; labels and grid grow as needed.

        Raises
        ------
        LatticeError
            If the new tiles are of another kind, or a place is taken already.
        """
        return Lattice(**growth.extended_parts(self, new))

    def replace(self, **changes: Any) -> "Lattice":
        """The lattice with some of its parts (constructor arguments) replaced."""
        parts = {"index": self.index, "labels": self.labels, "ids": self.ids, "names": self._names}
        parts |= {"position_um": self.position_um, "shapes": self.shapes, "problems": self.problems}
        return Lattice(**{**building.common_parts(self), **parts, **changes})

    # ---------------------------------------------------------------- looking

    def __repr__(self) -> str:
        from latticework.viz.lattice_html import lattice_text

        return lattice_text(self)

    def _repr_html_(self) -> str:
        from latticework.viz.lattice_html import lattice_html

        return lattice_html(self)

    def plot(self, **options: Any) -> "matplotlib.figure.Figure":
        """A picture of the tiles at their positions; see `latticework.viz.plot_lattice`."""
        from latticework.viz.lattice_plot import plot_lattice

        return plot_lattice(self, **options)


__all__ = ["Lattice", "lattice_dim"]
