"""Tiles as stages see them: labelled arrays, with the address in coordinates and attributes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from latticework.lattice.geometry import Box
from latticework.lattice.tile import Tile


def labelled_tile(
    tile: Tile,
    array: np.ndarray,
    dims: Sequence[str],
    *,
    before: Sequence[int] | None = None,
    inner: Sequence[int] | None = None,
    name: str | None = None,
    channels: Sequence[str] | None = None,
) -> xr.DataArray:
    """One tile as an `xarray.DataArray`.

    Parameters
    ----------
    tile
        Its address.
    array, dims
        Its pixels and their dims.
    before
        Pixels of halo before the tile along each dim: coordinates ``z y x`` count the tile's own
        pixels from 0, so the halo's are negative (before) or reach beyond the tile (after).
    inner
        Pixels of the tile itself along each dim, where the array has a halo.
    name
        Name of the stage that made it.
    channels
        Names of the channels.

    Returns
    -------
    xarray.DataArray
        With coordinates ``z y x`` (pixels) and the lattice labels (``tile_y`` ...), and the
        attributes ``tile`` (name), ``tile_id``, ``position_um``, ``pixel_size_um``,
        ``tile_shape`` (without halo), ``halo_px`` (before the tile).

    Examples
    --------
    >>> from latticework import Lattice
    >>> lattice = Lattice.from_grid({"y": 1, "x": 2}, tile_shape={"y": 4, "x": 4}, dtype="u1")
    >>> pixels = np.zeros((5, 4), "u1")
    >>> tile = labelled_tile(lattice.tile(x=1), pixels, ("y", "x"), before=(1, 0))
    >>> tile.y.values.tolist(), int(tile.tile_x)
    ([-1, 0, 1, 2, 3], 1)
    """
    before = before or (0,) * array.ndim
    coords: dict[str, Any] = {}
    for dim, size, first in zip(dims, array.shape, before, strict=True):
        if dim in ("z", "y", "x"):
            coords[dim] = np.arange(-first, size - first)
        elif dim == "c" and channels is not None and len(channels) == size:
            coords[dim] = list(channels)
    coords |= tile.labels
    attrs = {
        "tile": tile.name,
        "tile_id": tile.id,
        "position_um": dict(tile.position_um),
        "pixel_size_um": dict(tile.pixel_size_um),
        "tile_shape": dict(zip(dims, inner or array.shape, strict=True)),
        "halo_px": {dim: n for dim, n in zip(dims, before, strict=True) if n},
    }
    return xr.DataArray(array, coords, dims, name, attrs)


def labelled_crop(
    tile: Tile,
    array: np.ndarray,
    dims: Sequence[str],
    box: Box,
    *,
    name: str | None = None,
    channels: Sequence[str] | None = None,
) -> xr.DataArray:
    """Part of a tile as an `xarray.DataArray` that says where each pixel lies.

    Parameters
    ----------
    tile
        Its address.
    array, dims
        The pixels and their dims.
    box
        Which pixels of the tile they are.
    name, channels
        As for `labelled_tile`.

    Returns
    -------
    xarray.DataArray
        Like that of `labelled_tile` (coordinates ``z y x`` count the tile's pixels), with the
        further coordinates ``z_um y_um x_um``: where each pixel begins, in micrometres.

    Examples
    --------
    >>> from latticework import Lattice
    >>> lattice = Lattice.from_grid({"y": 1, "x": 2}, tile_shape={"y": 4, "x": 4}, dtype="u1")
    >>> box = Box((0, 2), (4, 4))
    >>> part = labelled_crop(lattice.tile(x=1), np.zeros((4, 2), "u1"), ("y", "x"), box)
    >>> part.x.values.tolist(), part.x_um.values.tolist()
    ([2, 3], [6.0, 7.0])
    """
    made = labelled_tile(
        *(tile, array, dims),
        before=[-first for first in box.start],
        inner=tile.shape if tile.dims == tuple(dims) else None,
        name=name,
        channels=channels,
    )
    made.attrs["halo_px"] = {}
    return made.assign_coords(
        {
            f"{axis}_um": (axis, first + made[axis].to_numpy() * tile.pixel_size_um[axis])
            if axis in dims
            else first
            for axis, first in tile.position_um.items()
        }
    )
