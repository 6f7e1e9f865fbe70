"""Uneven illumination: estimated from many tiles, and taken out of each."""

from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy import ndimage

from latticework.errors import StageError
from latticework.stages.ready.labelled import (
    AnyTile,
    Pixels,
    each_tile,
    labelled,
    like,
    to_dtype,
)
from latticework.stages.ready.smooth_field import smooth_field

Floats = npt.NDArray[np.float32]

LEAST_ERRORS = 4.0
"""Standard errors that a piece must be above the dark to tell something."""


def estimate_flatfield(
    tiles: Pixels,
    *,
    offset: float | Pixels = 0.0,
    degree: int | None = None,
    max_tiles: int = 1000,
    blocks: int = 32,
) -> xr.DataArray:
    """The share of light that each pixel of a tile gets, from many tiles of one acquisition.

    Each tile is reduced to medians over ``blocks x blocks`` pieces. How their logarithms differ
    from one piece to the next is compared over all tiles: medians of that leave out bright cells
    and edges of the specimen; what holds no specimen does not count. The field that fits the
    differences bends as little as lets it foretell other tiles. Tiles are read one dask chunk at a
    time, and only the medians are kept (8 kB per tile and channel).

    That tiles share a smooth multiplicative field is the model of CIDRE (Smith et al., 2015) and
    BaSiC (Peng et al., 2017); the notes of `smooth_field` say where the rest comes from.

    Parameters
    ----------
    tiles
        Dims ``tile``, then ``y x`` and perhaps ``c`` and ``z``; NumPy or dask, any number type.
    offset
        Counts of the camera in the dark, as a number or an image (see `estimate_darkfield`). If it
        is left at 0 though it is not, the field comes out too even.
    degree
        Degree of the polynomial: what bends more often within a tile is not seen as illumination.
        If not given, the field is as smooth as foretells other tiles best.
    max_tiles
        At most so many tiles, evenly spread over all, are read.
    blocks
        Pieces along each axis.

    Returns
    -------
    float32 DataArray with dims ``y x`` (``c y x``), mean 1 (in each channel). Ones, where no tile
    holds anything.

    Raises
    ------
    StageError
        If there are no tiles.

    Examples
    --------
    >>> lamp = 1.0 - 0.4 * np.linspace(-1, 1, 64)[:, None] ** 2 * np.ones(80)
    >>> tiles = np.stack([level * lamp for level in (50, 400, 800, 1000)])
    >>> field = estimate_flatfield(tiles)
    >>> bool(np.abs(field * lamp.mean() - lamp).max() < 0.02)
    True
    """
    stack = labelled(tiles, first=("tile",))
    if not stack.sizes["tile"]:
        raise StageError("a flat-field cannot be estimated from no tiles")
    count = min(max_tiles, stack.sizes["tile"])
    chosen = np.unique(np.linspace(0, stack.sizes["tile"] - 1, count).round().astype(int))
    size = (stack.sizes["y"], stack.sizes["x"])
    grid = (min(blocks, size[0]), min(blocks, size[1]))
    reduced = np.stack(
        [block_medians(tile, grid) for _, tile in each_tile(stack, chosen, most_planes=8)]
    )
    dark = np.float32(0) + _dark(offset, stack)
    if dark.ndim:
        planes = np.broadcast_to(dark, (reduced.shape[2], *size))
        dark = block_medians(xr.DataArray(planes, dims=("c", "y", "x")), grid)[0]
    medians, errors = reduced[:, 0] - dark, reduced[:, 1]
    fields = [
        field_of(medians[:, channel], errors[:, channel], size, degree)
        for channel in range(medians.shape[1])
    ]
    coords = {dim: stack.coords[dim] for dim in ("c", "y", "x") if dim in stack.coords}
    if "c" in stack.dims:
        return xr.DataArray(np.stack(fields), dims=("c", "y", "x"), coords=coords, name="flatfield")
    coords.pop("c", None)
    return xr.DataArray(fields[0], dims=("y", "x"), coords=coords, name="flatfield")


def _dark(offset: float | Pixels, tile: xr.DataArray) -> npt.NDArray[Any]:
    """A number, or an image of y x or c y x that fits a tile, as an array."""
    if isinstance(offset, xr.DataArray):
        offset = offset.transpose(*[dim for dim in ("c", "y", "x") if dim in offset.dims]).data
    dark = np.asarray(offset, dtype=np.float32)
    size = (tile.sizes["y"], tile.sizes["x"])
    if dark.ndim and dark.shape not in {size, (tile.sizes.get("c", 1), *size)}:
        raise StageError(
            f"a dark-field of shape {dark.shape} does not fit a tile of {dict(tile.sizes)}: give a "
            "number, or an image of y x (or c y x) as large as a tile without halo"
        )
    return dark


def _edges(size: int, pieces: int) -> npt.NDArray[np.int64]:
    return np.linspace(0, size, pieces + 1).round().astype(np.int64)


def block_medians(tile: xr.DataArray, grid: tuple[int, int]) -> Floats:
    """Medians of the pieces of a tile and their standard errors, float32 (2, c, *grid)."""
    size = (tile.sizes["y"], tile.sizes["x"])
    rows, columns = _edges(size[0], grid[0]), _edges(size[1], grid[1])
    high, wide = np.diff(rows).min(), np.diff(columns).min()
    step_y, step_x = (
        max(1, high // 8),
        max(1, wide // 8),
    )  # 64 pixels of a piece and plane are enough
    y = rows[:-1, None] + np.arange(0, high, step_y)
    x = columns[:-1, None] + np.arange(0, wide, step_x)
    pixels = np.asarray(tile.data).reshape(tile.sizes.get("c", 1), tile.sizes.get("z", 1), *size)
    pieces = pixels[:, :, y[:, None, :, None], x[None, :, None, :]]  # c z, grid, within the piece
    # Nothing but zeros is a missing tile, NaN a masked one.
    medians = np.median(pieces, axis=(1, 4, 5)).astype(np.float32)
    # What is brighter than usual in a piece are cells; what is darker is noise.
    low = np.percentile(pieces, 16, axis=(1, 4, 5)).astype(np.float32)
    count = pieces.shape[1] * pieces.shape[4] * pieces.shape[5]
    errors = 1.2533 * (medians - low + 0.3) / np.sqrt(count)
    both = np.stack([medians, errors])
    return np.asarray(np.where(np.isnan(both), 0.0, both), dtype=np.float32)


def _specimen(reduced: Floats) -> npt.NDArray[np.bool_]:
    """Which pieces hold specimen: above Otsu's threshold of the logarithm, if two kinds exist."""
    positive = reduced > 0
    if not positive.any():
        return positive
    bright = np.percentile(reduced[positive], 95)
    logs = np.log(np.maximum(reduced, 1e-3 * bright))
    counts, edges = np.histogram(logs, bins=128)
    middle = 0.5 * (edges[1:] + edges[:-1])
    below, above = np.cumsum(counts), counts.sum() - np.cumsum(counts)
    sums = np.cumsum(counts * middle)
    with np.errstate(invalid="ignore", divide="ignore"):
        low, high = sums / below, (sums[-1] - sums) / above
        between = np.nan_to_num(below * above * (low - high) ** 2)
    best = int(np.argmax(between))
    apart = high[best] - low[best] if counts.sum() else 0.0
    # A lamp alone spreads brightness by less than a factor of 2.5 around each kind's mean.
    if not apart > np.log(2.5):
        return np.asarray(positive)
    return np.asarray(reduced > np.exp(edges[best + 1]))


def field_of(
    reduced: Floats, errors: Floats, size: tuple[int, ...], degree: int | None = None
) -> Floats:
    """Field of one channel at full size, from (tile, *grid) medians and their errors."""
    # What is dark is known too little to tell anything, and depends on the offset most.
    known = (reduced > LEAST_ERRORS * errors) & (reduced > 0)
    # A glow around the specimen, and what the offset is off by, would pass for the lamp's.
    known &= ndimage.binary_erosion(_specimen(reduced), np.ones((1, 3, 3)), border_value=1)
    enough = known.reshape(len(known), -1).mean(axis=1) > 0.1
    if not enough.any():
        return np.ones(size, dtype=np.float32)
    safe = np.where(known, reduced, 1.0).astype(np.float64)
    logs = np.where(known, np.log(safe), np.nan)[enough]
    doubt = np.where(known, errors / safe, 1.0)[enough]
    logarithm = smooth_field(logs, doubt, size)
    if degree is not None:
        rows, columns = (np.arange(n) for n in logs.shape[1:])
        at = [
            np.round((k + 0.5) / len(k) * n - 0.5).astype(int)
            for k, n in zip((rows, columns), size, strict=True)
        ]
        coarse = logarithm[np.ix_(*at)]
        logarithm = _fit(coarse, np.ones_like(coarse), degree, size)
    full = np.exp(logarithm)
    return np.asarray(full / full.mean(), dtype=np.float32)


def _fit(
    raw: npt.NDArray[np.floating],
    weight: npt.NDArray[np.floating],
    degree: int,
    size: tuple[int, ...],
) -> npt.NDArray[np.float64]:
    """A polynomial in y and x fitted robustly to the pieces, at another number of pixels."""
    powers = [(i, j) for i in range(degree + 1) for j in range(degree + 1 - i)]
    powers = [(i, j) for i, j in powers if i < raw.shape[0] and j < raw.shape[1]]

    def places(n: int) -> npt.NDArray[np.float64]:
        return (np.arange(n) + 0.5) / n * 2.0 - 1.0

    def terms(shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
        y, x = (np.polynomial.legendre.legvander(places(n), degree) for n in shape)
        return np.stack([np.outer(y[:, i], x[:, j]).ravel() for i, j in powers], axis=1)

    base, values, trust = terms(raw.shape), raw.ravel(), weight.ravel()
    solution = np.zeros(len(powers))
    for _ in range(4):
        solution = np.linalg.lstsq(base * trust[:, None], values * trust, rcond=None)[0]
        away = np.abs(values - base @ solution)
        scale = 3.0 * 1.4826 * np.median(away[weight.ravel() > 0]) + 1e-9
        trust = weight.ravel() / np.maximum(1.0, away / scale)
    rows, columns = places(size[0]), places(size[1])
    y = np.polynomial.legendre.legvander(rows, degree)
    x = np.polynomial.legendre.legvander(columns, degree)
    table = np.zeros((degree + 1, degree + 1))
    for (i, j), value in zip(powers, solution, strict=True):
        table[i, j] = value
    return np.asarray(y @ table @ x.T)


def correct_flatfield(
    tile: AnyTile,
    flatfield: Pixels,
    darkfield: float | Pixels | None = None,
    *,
    offset: float = 0.0,
    dtype: npt.DTypeLike | None = None,
) -> AnyTile:
    """The tile under an even lamp and without offset: ``(tile - darkfield) / flatfield``.

    Parameters
    ----------
    tile
        Some of c z y x, without a halo (a halo belongs to other places of the neighbours' lamp).
    flatfield
        ``y x``, or ``c y x`` for one per channel, as `estimate_flatfield` gives it, or a reference
        image of an even specimen, without its dark-field and with a mean of 1.
    darkfield
        What the camera counts without light: a number, or an image of ``y x`` (``c y x``), such as
        one taken with the shutter closed, or of `estimate_darkfield`.
    offset
        The same as a number, if no `darkfield` is given.
    dtype
        Type of the result, the tile's own if not given; integers are rounded and clipped.

    Raises
    ------
    StageError
        If the flat-field's or the dark-field's shape is not the tile's.

    Examples
    --------
    >>> tile = np.array([[110, 120], [130, 140]], dtype="uint16")
    >>> correct_flatfield(tile, np.array([[0.5, 1], [1, 2]]), offset=100)
    array([[20, 20],
           [30, 20]], dtype=uint16)
    """
    pixels = labelled(tile)
    field = flatfield if isinstance(flatfield, xr.DataArray) else np.asarray(flatfield)
    ndim = len(field.dims) if isinstance(field, xr.DataArray) else field.ndim
    if not isinstance(field, xr.DataArray):
        if not 2 <= ndim <= 3:
            raise StageError(f"a flat-field has dims y x or c y x, but its shape is {field.shape}")
        field = xr.DataArray(field, dims=("c", "y", "x")[3 - ndim :])
    wrong = [dim for dim in field.dims if field.sizes[dim] != pixels.sizes.get(dim)]
    if wrong:
        raise StageError(
            f"flat-field of {dict(field.sizes)} does not fit a tile of {dict(pixels.sizes)}: "
            "estimate it from tiles of this shape, and correct tiles without halo"
        )
    order = [dim for dim in ("c", "y", "x") if dim in field.dims]
    light = np.asarray(field.transpose(*order).data, dtype=np.float32)
    if "z" in pixels.dims:
        light = light[..., None, :, :]
    dark = _dark(offset if darkfield is None else darkfield, pixels)
    if "z" in pixels.dims and dark.ndim == 3:
        dark = dark[:, None]
    # A pixel without light has no brightness to restore; it stays near 0, not infinite.
    corrected = (np.asarray(pixels.data, dtype=np.float32) - dark) / np.maximum(
        light, np.float32(1e-3)
    )
    if "c" not in pixels.dims:
        corrected = corrected.reshape(pixels.shape)
    return like(tile, to_dtype(corrected, pixels.dtype if dtype is None else dtype))
