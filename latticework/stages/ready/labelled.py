"""Tiles with and without labels: what the ready stages share."""

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import xarray as xr

from latticework.errors import StageError

Pixels = xr.DataArray | npt.NDArray[Any]
"""A tile: an `xarray.DataArray` with some of c z y x, or a NumPy array of the last ones."""

AnyTile = TypeVar("AnyTile", xr.DataArray, npt.NDArray[Any])
DIMS = ("c", "z", "y", "x")
SPATIAL = DIMS[1:]


def labelled(tile: Pixels, *, first: tuple[str, ...] = ()) -> xr.DataArray:
    """The tile as a DataArray; a NumPy array gets the last of the dims c z y x.

    Parameters
    ----------
    tile
        Pixels.
    first
        Dims that precede them, such as ``("tile",)``.

    Raises
    ------
    StageError
        If dims are unknown, or there is no y and x.

    Examples
    --------
    >>> labelled(np.zeros((4, 8, 8))).dims
    ('z', 'y', 'x')
    """
    if not isinstance(tile, xr.DataArray):
        pixels = tile if hasattr(tile, "ndim") else np.asarray(tile)
        own = pixels.ndim - len(first)
        if not 2 <= own <= 4:
            raise StageError(
                f"a tile has 2 to 4 dims, the last of c z y x, but the shape is {pixels.shape}"
            )
        return xr.DataArray(pixels, dims=(*first, *DIMS[4 - own :]))
    unknown = [dim for dim in tile.dims if dim not in (*first, *DIMS)]
    if unknown or not {*first, "y", "x"} <= set(tile.dims):
        raise StageError(
            f"expected dims {', '.join((*first, 'y', 'x'))}, perhaps c and z, but found {tile.dims}"
        )
    return tile.transpose(*first, *(dim for dim in DIMS if dim in tile.dims))


def each_tile(
    stack: xr.DataArray, chosen: npt.ArrayLike | None = None, *, most_planes: int | None = None
) -> Iterator[tuple[int, xr.DataArray]]:
    """Tiles of a stack one after the other, in memory; of a dask array, one chunk at a time.

    Parameters
    ----------
    stack
        With a dim ``tile``.
    chosen
        Which, rising; all if not given.
    most_planes
        Of z, only so many planes, evenly spread.

    Examples
    --------
    >>> [k for k, tile in each_tile(labelled(np.zeros((4, 8, 8)), first=("tile",)), [1, 3])]
    [1, 3]
    """
    rows = np.arange(stack.sizes["tile"]) if chosen is None else np.asarray(chosen, dtype=np.int64)
    if most_planes is not None and stack.sizes.get("z", 1) > most_planes:
        stack = stack.isel(z=np.linspace(0, stack.sizes["z"] - 1, most_planes).round().astype(int))
    ends = np.cumsum(stack.chunksizes["tile"]) if stack.chunks else rows + 1
    groups = np.searchsorted(ends, rows, side="right")
    for group in np.unique(groups):
        members = rows[groups == group]
        part = stack.isel(tile=members)
        if part.chunks:  # by this thread: inside a worker there is nobody else to ask
            part = part.compute(scheduler="synchronous")
        for position, row in enumerate(members.tolist()):
            yield row, part.isel(tile=position)


def like(tile: AnyTile, pixels: npt.NDArray[Any]) -> AnyTile:
    """Pixels labelled as the tile they were made from; a NumPy array for a NumPy array."""
    if not isinstance(tile, xr.DataArray):
        return pixels
    ordered = labelled(tile)
    return ordered.copy(data=pixels).transpose(*tile.dims)


def to_dtype(pixels: npt.NDArray[Any], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Pixels as a dtype: rounded and clipped for integers, never wrapped.

    Examples
    --------
    >>> to_dtype(np.array([-3.0, 2.6, 300.0]), "uint8")
    array([  0,   3, 255], dtype=uint8)
    """
    kind = np.dtype(dtype)
    if kind.kind not in "iu":
        return pixels.astype(kind, copy=False)
    limits = np.iinfo(kind)
    # The largest uint32 is no float32: clip in float64 where that matters.
    wide = pixels.astype(np.float64) if kind.itemsize >= 4 else pixels
    return np.asarray(np.clip(np.rint(wide), limits.min, limits.max), dtype=kind)


def per_axis(
    value: float | Mapping[str, float], axes: tuple[str, ...], what: str
) -> dict[str, float]:
    """One number for all axes, or one for each, as a mapping.

    Raises
    ------
    StageError
        If an axis is missing, or a number is negative.
    """
    if isinstance(value, Mapping):
        missing = [axis for axis in axes if axis not in value]
        if missing:
            raise StageError(
                f"{what} gives {dict(value)}, but the tile also has {', '.join(missing)}"
            )
        numbers = {axis: float(value[axis]) for axis in axes}
    else:
        numbers = dict.fromkeys(axes, float(value))
    if any(not number >= 0 for number in numbers.values()):
        raise StageError(f"{what} must not be negative, but is {value}")
    return numbers


def first_pixel(tile: xr.DataArray, axis: str) -> float:
    """Position of the first pixel in the tile's own pixels: 0, or minus the halo."""
    return float(tile.coords[axis][0]) if axis in tile.coords and tile.sizes[axis] else 0.0


def proper_span(tile: xr.DataArray, axis: str) -> tuple[float, float]:
    """Half-open span of the tile without its halo, in pixels of the tile.

    ::

        coordinate  -h ... -1 | 0 ......... n-1 | n ... n+h-1
                      halo    |      tile       |   halo

    `n` comes from ``attrs["tile_shape"]`` (a mapping) where given, else the halo is the same on
    both sides.

    Examples
    --------
    >>> with_halo = xr.DataArray(np.zeros(14), dims="x", coords={"x": np.arange(-2, 12)})
    >>> proper_span(with_halo, "x")
    (0.0, 10.0)
    """
    start, size = first_pixel(tile, axis), tile.sizes[axis]
    shape = tile.attrs.get("tile_shape")
    if isinstance(shape, Mapping) and axis in shape:
        return 0.0, float(shape[axis])
    return (0.0, size + 2 * start) if start < 0 else (start, start + size)


def axis_um(tile: xr.DataArray, axis: str) -> tuple[float, float] | None:
    """Position in um of pixel 0 of the tile and the pixel size; None where unknown.

    From a coordinate ``y_um`` along y, or from the attributes ``position_um`` and ``pixel_size_um``
    (mappings).
    """
    along = tile.coords.get(f"{axis}_um")
    if along is not None and along.dims == (axis,) and along.size > 1:
        values = along.to_numpy()
        pitch = float((values[-1] - values[0]) / (along.size - 1))
        return float(values[0]) - first_pixel(tile, axis) * pitch, pitch
    sizes, positions = tile.attrs.get("pixel_size_um"), tile.attrs.get("position_um")
    size = sizes.get(axis) if isinstance(sizes, Mapping) else None
    if isinstance(positions, Mapping) and axis in positions and size is not None:
        return float(positions[axis]), float(size)
    if along is not None and along.ndim == 0:
        return float(along), float(size or 1.0)
    return None
