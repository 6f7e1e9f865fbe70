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
        Dims are the lattice dims and then the tile's, or those of the volume. Coordinates are the
        lattice's labels, ``{axis}_um`` and ``tile_name``; ``attrs["pixel_size_um"]`` by axis.

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
    lead = 0 if layout.kind == "volume" else len(layout.lattice_dims)
    chunk = [1] * lead + [
        min(n, s) for n, s in zip(layout.array_shape[lead:], layout.shard, strict=True)
    ]
    lazy = da.from_array(  # type: ignore[no-untyped-call, unused-ignore]
        LazyPixels(Path(path), layout),
        chunks=tuple(chunk),
        name=False,  # a tile may be rewritten: no two openings share results
        asarray=True,
        fancy=False,
        inline_array=True,
        meta=np.empty((0,) * len(chunk), layout.dtype),
    )
    return xr.DataArray(
        lazy,
        dims=layout.array_dims,
        coords=_coordinates(layout, lattice),
        name=name or layout.name,
        attrs={"pixel_size_um": dict(layout.pixel_size_um)},
    )


def _coordinates(layout: ArrayLayout, lattice: Any) -> dict[str, Any]:
    coordinates: dict[str, Any] = dict(positions_um(layout, lattice))
    if layout.kind == "volume":
        return coordinates
    for dim, labels in zip(layout.lattice_dims, layout.labels, strict=True):
        coordinates[dim] = np.array(labels)
    if layout.lattice_dims:
        names = np.full(layout.grid, "", dtype=object)
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
                f"where a file is damaged, delete it and run the stage again for its tile"
            ) from error
