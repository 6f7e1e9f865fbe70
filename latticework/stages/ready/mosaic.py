"""A picture of all tiles at once, small enough to look at."""

import numpy as np
import numpy.typing as npt
import xarray as xr

from latticework.errors import StageError
from latticework.stages.ready.labelled import Pixels, each_tile, labelled


def mosaic(
    tiles: Pixels,
    *,
    position_px: npt.ArrayLike | None = None,
    downsample: int = 8,
    project: str = "max",
    channel: int = 0,
) -> xr.DataArray:
    """A reduced picture of tiles, each where the stage says it is, averaged where they overlap.

    For previews: nothing is aligned or blended. Tiles are read one dask chunk at a time.

    Parameters
    ----------
    tiles
        Dims ``tile``, then ``y x`` and perhaps ``c`` and ``z``; NumPy or dask.
    position_px
        First pixels, shape (number of tiles, 2) in y x, or (.., 3) in z y x, where z is not used;
        by default the coordinates ``y_um`` and ``x_um`` along ``tile``, divided by the attribute
        ``pixel_size_um``; or else the labels ``tile_y`` and ``tile_x``, times ``step_px``.
    downsample
        Pixels of a tile per pixel of the picture, along y and x.
    project
        ``"max"`` or ``"mean"`` over z.
    channel
        Which, where tiles have channels.

    Returns
    -------
    float32 DataArray ``y x`` with coordinates of pixels' centres in tile pixels; NaN where no tile
    is.

    Raises
    ------
    StageError
        If positions are neither given nor known.

    Examples
    --------
    >>> picture = mosaic(np.ones((2, 16, 16)), position_px=[[0, 0], [0, 12]], downsample=4)
    >>> picture.shape
    (4, 7)
    """
    stack = labelled(tiles, first=("tile",))
    if project not in ("max", "mean"):
        raise StageError(f"project is 'max' or 'mean', not {project!r}")
    if downsample < 1:
        raise StageError(f"downsample must be at least 1, but is {downsample}")
    corners = _corners(stack, position_px)
    origin = corners.min(axis=0)
    places = np.round((corners - origin) / downsample).astype(np.int64)
    small = tuple(-(-stack.sizes[axis] // downsample) for axis in ("y", "x"))
    total = np.zeros(tuple(places.max(axis=0) + small), dtype=np.float32)
    weight = np.zeros(total.shape, dtype=np.float32)
    if "c" in stack.dims:
        stack = stack.isel(c=channel)
    for k, tile in each_tile(stack):
        y, x = places[k].tolist()
        pixels = np.asarray(tile.data)
        if "z" in tile.dims:
            pixels = pixels.max(axis=0) if project == "max" else pixels.mean(axis=0)
        here = np.s_[y : y + small[0], x : x + small[1]]
        total[here] += block_mean(pixels, downsample)
        weight[here] += 1.0
    picture = np.divide(total, weight, out=np.full_like(total, np.nan), where=weight > 0)
    coords = {
        axis: origin[k] + (np.arange(picture.shape[k]) + 0.5) * downsample - 0.5
        for k, axis in enumerate(("y", "x"))
    }
    return xr.DataArray(picture, dims=("y", "x"), coords=coords, name="mosaic")


def block_mean(plane: npt.NDArray[np.generic], factor: int) -> npt.NDArray[np.float32]:
    """Means over squares of `factor` pixels; those at the far edges may be smaller.

    Examples
    --------
    >>> block_mean(np.arange(10.0).reshape(2, 5), 2)
    array([[3. , 5. , 6.5]], dtype=float32)
    """
    total = plane.astype(np.float32)
    for axis in (0, 1):
        starts = np.arange(0, plane.shape[axis], factor)
        sizes = np.diff(np.append(starts, plane.shape[axis])).astype(np.float32)
        total = np.add.reduceat(total, starts, axis=axis)
        total /= sizes[:, None] if axis == 0 else sizes
    return np.asarray(total, dtype=np.float32)


def _corners(stack: xr.DataArray, position_px: npt.ArrayLike | None) -> npt.NDArray[np.float64]:
    """First pixels in y x, float64 (n, 2)."""
    n = stack.sizes["tile"]
    if not n:
        raise StageError("a mosaic needs at least one tile")
    if position_px is not None:
        given = np.asarray(position_px, dtype=np.float64)
        if given.ndim != 2 or given.shape[0] != n or given.shape[1] not in (2, 3):
            raise StageError(
                f"position_px must have shape ({n}, 2) or ({n}, 3), but has {given.shape}"
            )
        return given[:, -2:]
    sizes, steps = stack.attrs.get("pixel_size_um", {}), stack.attrs.get("step_px", {})
    columns = []
    for axis in ("y", "x"):
        along, label = stack.coords.get(f"{axis}_um"), stack.coords.get(f"tile_{axis}")
        if label is not None and along is None and axis in steps and label.dtype.kind in "iu":
            columns.append(label.to_numpy() * float(steps[axis]))
            continue
        if along is None or along.dims != ("tile",):
            raise StageError(
                f"no positions of tiles: give position_px, or a coordinate {axis}_um along 'tile'"
            )
        columns.append(along.to_numpy() / float(sizes.get(axis, 1.0)))
    return np.stack(columns, axis=1)
