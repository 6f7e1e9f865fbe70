"""Pixels not to be trusted: those of the camera that are hot, dead or stuck, and saturated ones."""

from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy import ndimage

from latticework.errors import StageError
from latticework.stages.ready.labelled import AnyTile, Pixels, each_tile, labelled, like

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]

LEAST_PICTURES = 8
"""Pictures from which on a camera's pixels can be told from the specimen's."""
CONSISTENT = 25.0
"""Per cent of the pictures that may disagree."""
CELL = 5
"""Edge of the neighbourhood that a pixel is compared with."""
AROUND = 15
"""Edge of the neighbourhood in which noise is measured."""
TOPS = (1023, 4095, 16383)
"""The largest counts of cameras with 10, 12 and 14 bits."""


def estimate_bad_pixels(
    tiles: Pixels, *, threshold: float = 4.0, max_pictures: int = 48
) -> xr.DataArray:
    """Which pixels of the camera are hot, dead or stuck: True in a mask of one plane.

    In each picture, a pixel's difference from the median of its neighbours is measured in units of
    the noise around it. A pixel is bad if it is off to the same side in three of four pictures: of
    all, or (from 16 pictures on) of the darker or the brighter half of what its neighbours show, so
    that pixels are found which are dead, or stuck at some number.

    Parameters
    ----------
    tiles
        Dims ``tile``, then ``y x`` and perhaps ``c`` and ``z``; NumPy or dask. At least 8 pictures
        (tiles, or planes of them), of different places. A pattern that the specimen has in the same
        pixels of most of them would be taken for the camera's.
    threshold
        Standard deviations of the noise by which a bad pixel is off.
    max_pictures
        At most so many are read, evenly spread over tiles and (4 of a tile) planes. 4 bytes a pixel
        of each are kept meanwhile.

    Returns
    -------
    bool DataArray with dims ``y x`` (``c y x``, as channels may have cameras of their own).

    Raises
    ------
    StageError
        If there are fewer than 8 pictures.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> tiles = rng.normal(500, 10, (10, 40, 50))
    >>> tiles[:, 7, 9] += 200
    >>> np.argwhere(estimate_bad_pixels(tiles).values).tolist()
    [[7, 9]]
    """
    stack = labelled(tiles, first=("tile",))
    planes = min(stack.sizes.get("z", 1), 4)
    count = min(max(max_pictures // planes, 1), stack.sizes["tile"])
    if count * planes < LEAST_PICTURES:
        raise StageError(
            f"bad pixels cannot be told from the specimen by {count} tiles of {planes} planes: "
            f"give at least {LEAST_PICTURES} pictures"
        )
    chosen = np.unique(np.linspace(0, stack.sizes["tile"] - 1, count).round().astype(int))
    channels, size = stack.sizes.get("c", 1), (stack.sizes["y"], stack.sizes["x"])
    kept = np.empty((2, channels, len(chosen), planes, *size), np.float16)
    for k, (_, tile) in enumerate(each_tile(stack, chosen, most_planes=planes)):
        pixels = np.asarray(tile.data).reshape(channels, planes, *size)
        for channel, plane in np.ndindex(channels, planes):
            kept[:, channel, k, plane] = _deviation(pixels[channel, plane])
    kept = kept.reshape(2, channels, -1, *size)
    masks = np.stack([_judge(kept[0, c], kept[1, c], threshold) for c in range(channels)])
    if "c" not in stack.dims:
        return xr.DataArray(masks[0], dims=("y", "x"), name="bad_pixels")
    coords = {"c": stack.coords["c"]} if "c" in stack.coords else None
    return xr.DataArray(masks, dims=("c", "y", "x"), coords=coords, name="bad_pixels")


def _deviation(plane: npt.NDArray[Any]) -> tuple[Floats, Floats]:
    """How far pixels are from their neighbours, in noise; and what these show (for ranking)."""
    counts = np.nan_to_num(plane.astype(np.float32))
    around = ndimage.median_filter(counts, CELL, mode="reflect")
    away = counts - around
    size = np.abs(away)
    usual = 1.4826 * float(np.median(size)) or float(size.mean()) or 1.0
    # The square of a bad pixel must not count for all around it.
    noise = 1.2533 * ndimage.uniform_filter(np.minimum(size, 4 * usual), AROUND, mode="reflect")
    deviation = np.clip(away / np.maximum(noise, 0.1 * usual), -1000, 1000)
    return deviation, np.sqrt(np.maximum(around, 0)) if around.max() > 60_000 else around


def _judge(deviations: npt.NDArray[Any], around: npt.NDArray[Any], threshold: float) -> Bools:
    """Pixels that are off to one side in most pictures; both (pictures, y, x)."""
    bad = np.empty(deviations.shape[1:], np.bool_)
    for begin in range(0, len(bad), 64):  # in bands: sorting makes copies
        rows = slice(begin, begin + 64)
        values = deviations[:, rows].astype(np.float32)
        off = _off(values) > threshold
        if len(values) >= 2 * LEAST_PICTURES:
            order = np.argsort(around[:, rows], axis=0, kind="stable")
            ranked = np.take_along_axis(values, order, axis=0)
            half = len(values) // 2
            off |= _off(ranked[:half]) > threshold
            off |= _off(ranked[-half:]) > threshold
        bad[rows] = off
    return bad


def _off(values: Floats) -> Floats:
    low, high = np.percentile(values, [CONSISTENT, 100 - CONSISTENT], axis=0)
    return np.asarray(np.maximum(low, -high), dtype=np.float32)


def correct_bad_pixels(tile: AnyTile, mask: Pixels) -> AnyTile:
    """The tile with bad pixels replaced by the median of their good neighbours.

    Neighbours are those of the same plane, at most 1 pixel away, or 2, 3 and so on where there are
    no good ones. All other pixels stay as they are.

    Parameters
    ----------
    tile
        Some of c z y x, without a halo (a halo has seen other pixels of the camera).
    mask
        True where bad: ``y x`` or ``c y x``, as `estimate_bad_pixels` gives it.

    Raises
    ------
    StageError
        If the mask's shape is not the tile's, or all pixels are bad.

    Examples
    --------
    >>> tile = np.array([[1, 2, 3], [4, 999, 6], [7, 8, 9]], dtype="uint16")
    >>> correct_bad_pixels(tile, tile == 999)[1]
    array([4, 5, 6], dtype=uint16)
    """
    pixels = labelled(tile)
    if isinstance(mask, xr.DataArray):
        mask = mask.transpose(*[d for d in ("c", "y", "x") if d in mask.dims]).data
    bad = np.asarray(mask, dtype=np.bool_)
    ends: tuple[int, int] = (pixels.sizes["y"], pixels.sizes["x"])
    channels = int(pixels.sizes.get("c", 1))
    if bad.shape not in {ends, (channels, *ends)}:
        raise StageError(
            f"a mask of shape {bad.shape} does not fit a tile of {dict(pixels.sizes)}: estimate it "
            "from tiles of this shape, and correct tiles without halo"
        )
    of_channels = np.broadcast_to(bad, (channels, *ends))
    if any(of_channel.all() for of_channel in of_channels):
        raise StageError("all pixels are marked as bad: there is none to replace them by")
    result = np.array(pixels.data)
    for channel, planes in enumerate(result.reshape(channels, -1, *ends)):
        _replace(planes, of_channels[channel])
    return like(tile, result)


def _replace(planes: npt.NDArray[Any], bad: Bools) -> None:
    """Bad pixels of (planes, y, x), in place."""
    rows, columns = np.nonzero(bad)
    reach = 1
    while len(rows):
        window = 2 * reach + 1
        padded = np.pad(bad, reach, constant_values=True)
        y, x = np.divmod(np.arange(window**2), window)
        good = ~padded[rows[:, None] + y, columns[:, None] + x]
        now = good.any(axis=1)
        at_y = np.clip(rows[now][:, None] + y - reach, 0, bad.shape[0] - 1)
        at_x = np.clip(columns[now][:, None] + x - reach, 0, bad.shape[1] - 1)
        for plane in planes:
            around = np.where(good[now], plane[at_y, at_x], np.nan)
            values = np.nanmedian(around, axis=1)
            plane[rows[now], columns[now]] = np.rint(values) if plane.dtype.kind in "iu" else values
        rows, columns = rows[~now], columns[~now]
        reach += 1


def saturation_mask(tile: AnyTile, *, level: float | None = None, grow_px: int = 0) -> AnyTile:
    """Which pixels of a tile are not to be trusted: True where saturated, or not a number.

    Parameters
    ----------
    tile
        Some of c z y x.
    level
        Counts from which on pixels are saturated. If not given, the largest number of an integer
        dtype, or that of a camera with 10, 12 or 14 bits if a 16-bit tile ends at just that number;
        of floats only infinite ones and NaN.
    grow_px
        So many pixels around are not trusted either (in y and x): charge spills over.

    Returns
    -------
    bool, of the tile's shape and with its labels.

    Raises
    ------
    StageError
        If `grow_px` is negative.

    Examples
    --------
    >>> saturation_mask(np.array([[7, 255], [254, 255]], dtype="uint8"))
    array([[False,  True],
           [False,  True]])
    """
    if grow_px < 0:
        raise StageError(f"grow_px must not be negative, but is {grow_px}")
    pixels = labelled(tile)
    counts = np.asarray(pixels.data)
    if counts.dtype.kind == "f":
        mask = ~np.isfinite(counts)
        if level is not None:
            mask |= counts >= level
    else:
        mask = counts >= (_top(counts) if level is None else level)
    if grow_px:
        window = [1] * (mask.ndim - 2) + [2 * grow_px + 1] * 2
        mask = ndimage.maximum_filter(mask, window)
    return like(tile, mask)


def _top(counts: npt.NDArray[Any]) -> int:
    """The number at which a camera with as many bits as this tile seems to have is saturated."""
    largest = int(np.iinfo(counts.dtype).max) if counts.dtype.kind in "iu" else 1
    if counts.dtype.itemsize == 2 and counts.size:
        seen = int(counts.max())
        if seen in TOPS and np.count_nonzero(counts == seen) >= 3:
            return seen
    return largest
