"""A stage's array as a lazy, labelled `xarray.DataArray` over all tiles."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.errors import StoreError
from latticework.io.handles import open_handle, shared_context
from latticework.io.layout import ArrayLayout
from latticework.io.stage_group import positions_um, stored_layout

if TYPE_CHECKING:
    import xarray as xr


def open_labelled(path: Path | str, lattice: Any, *, name: str | None = None) -> "xr.DataArray":
    """All tiles of a stage, lazily: a dask chunk is a shard, tiles not there are NaN or 0.

    Parameters
    ----------
    path
        Folder of the group, such as ``stages/clean/data.zarr``.
    lattice
        The lattice, for positions and names of tiles.
    name
        Name of the result; the stage's by default.

    Returns
    -------
    xarray.DataArray
        Dims are the lattice dims and then the tile's, or those of the volume. Tiles that are stored
        as a list lie where the given lattice has them. Coordinates are the lattice's labels,
        ``{axis}_um`` and ``tile_name``; ``attrs["pixel_size_um"]`` by axis.

    Examples
    --------
    >>> import tempfile
    >>> from latticework import Lattice
    >>> from latticework.io.tile_array import TileArray
    >>> lattice = Lattice.from_grid({"y": 2, "x": 3}, tile_shape={"y": 50, "x": 80}, dtype="u2")
    >>> layout = ArrayLayout.plan(
    ...     lattice, dims=("y", "x"), shape=(50, 80), dtype="uint16", name="clean"
    ... )
    >>> path = Path(tempfile.mkdtemp()) / "data.zarr"
    >>> store = TileArray.create(path, layout, lattice)
    >>> open_labelled(path, lattice).isel(tile_y=1).sizes
    Frozen({'tile_x': 3, 'y': 50, 'x': 80})
    """
    import dask.array as da
    import xarray as xr

    layout = stored_layout(Path(path))
    by_id = layout.kind == "list"
    pixels = LazyList(Path(path), layout, lattice) if by_id else LazyPixels(Path(path), layout)
    lead = pixels.ndim - len(layout.dims)
    chunk = [1] * lead + [min(n, s) for n, s in zip(pixels.shape[lead:], layout.shard, strict=True)]
    lazy = da.from_array(  # type: ignore[no-untyped-call, unused-ignore]
        pixels,
        chunks=tuple(chunk),
        name=False,  # a tile may be rewritten: no two openings share results
        asarray=True,
        fancy=False,
        inline_array=not by_id,  # the ids of a list travel once, not with every chunk
        meta=np.empty((0,) * len(chunk), layout.dtype),
    )
    return xr.DataArray(
        lazy,
        dims=(*lattice.dims, *layout.dims) if by_id else layout.array_dims,
        coords=_coordinates(layout, lattice),
        name=name or layout.name,
        attrs={"pixel_size_um": dict(layout.pixel_size_um)},
    )


def _coordinates(layout: ArrayLayout, lattice: Any) -> dict[str, Any]:
    coordinates: dict[str, Any] = dict(positions_um(layout, lattice))
    if layout.kind == "volume":
        return coordinates
    by_id = layout.kind == "list"
    for k, dim in enumerate(layout.lattice_dims):
        coordinates[dim] = np.array(lattice.labels[dim] if by_id else layout.labels[k])
    if layout.lattice_dims:
        names = np.full(tuple(lattice.shape) if by_id else layout.grid, "", dtype=object)
        names[tuple(np.asarray(lattice.index).T)] = np.asarray(lattice.names, dtype=object)
        coordinates["tile_name"] = (layout.lattice_dims, names)
    return coordinates


class LazyPixels:
    """What dask slices: reads through tensorstore, on whichever worker it lands."""

    def __init__(self, path: Path, layout: ArrayLayout) -> None:
        self.path = path
        self.layout = layout
        self.shape = layout.array_shape
        self.dtype = np.dtype(layout.dtype)
        self.ndim = len(self.shape)

    def __getitem__(self, region: Any) -> np.ndarray:
        return self._read(region)

    def _read(self, region: Any) -> np.ndarray:
        """What the array has there, with blanks for tiles that are not."""
        handle = open_handle(
            self.path / self.layout.name,
            self.layout,
            context=shared_context(None, 0),
            lenient=True,
        )
        try:
            return np.asarray(handle[region].read().result())
        except (ValueError, RuntimeError, OSError, NotImplementedError) as error:
            raise StoreError(
                f"cannot read {region} of array {self.layout.name!r} at {self.path}: {error}; "
                "where files are damaged, project.verify(thorough=True) finds them, and the next "
                "run makes them again"
            ) from error


class LazyList(LazyPixels):
    """The same for a list: its tiles on the grid of a lattice."""

    def __init__(self, path: Path, layout: ArrayLayout, lattice: Any) -> None:
        super().__init__(path, layout)
        self.ids = np.asarray(lattice.id_grid, dtype=np.int64)
        if self.ids.size and self.ids.max() < np.iinfo(np.int32).max:
            self.ids = self.ids.astype(np.int32)
        self.shape = (*self.ids.shape, *layout.tile_shape)
        self.ndim = len(self.shape)

    def __getitem__(self, region: Any) -> np.ndarray:
        region = region if isinstance(region, tuple) else (region,)
        whole = (*region, *[slice(None)] * (self.ndim - len(region)))
        ids, pixels = np.asarray(self.ids[whole[: self.ids.ndim]]), whole[self.ids.ndim :]
        if ids.size == 1 and ids.flat[0] >= 0:  # a chunk, as good as always
            tile = self._read((int(ids.flat[0]), *pixels))
            return tile.reshape(ids.shape + tile.shape)
        shape = np.broadcast_to(False, self.layout.tile_shape)[pixels].shape
        blank = np.nan if self.dtype.kind in "fc" else 0
        out = np.full(ids.shape + shape, blank, self.dtype)
        for where in zip(*np.nonzero(ids >= 0), strict=True):
            out[where] = self._read((int(ids[where]), *pixels))
        return out
