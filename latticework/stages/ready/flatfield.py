"""Uneven illumination: estimated from many tiles, and taken out of each."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from latticework.errors import StageError
from latticework.stages.ready.bright_cells import Tops, cell_tops, field_of_cells, ground_is_dark
from latticework.stages.ready.labelled import (
    AnyTile,
    Pixels,
    each_tile,
    labelled,
    like,
    to_dtype,
)
from latticework.stages.ready.likely_lamps import AnyLamp, Lamp
from latticework.stages.ready.smooth_field import smooth_field
from latticework.stages.ready.telling_pieces import telling_pieces

Floats = npt.NDArray[np.float32]

DEGREE = 6
"""Of the polynomials that the field is made of."""
SURE, UNSURE = 0.02, 0.06
"""Standard errors of the worst pixel up to which a lamp's numbers are told, and may be told."""
BETTER = 0.8
"""Between these, share of the error that there is without them, below which they are told."""
MANY_TILES = 20
"""Tiles from which on a lamp above a ground with light may be told worse than that: the outline of
a specimen is not the same in all of them."""
MOST_PIECES = 16
"""Pieces along each side of a tile that the field is fitted to."""
BRIGHT = 0.2
"""Level of a tile, as a share of that of the brightest, from which on it surely holds light."""
FAR = 2.0
"""Standard errors that the worst pixel is off by, usually, or less."""
DISAGREE = 4.0
"""Standard errors by which fields differ that are not the same."""
LEAST_BELOW = 6.0
"""Standard errors below the dark from which on a piece is missing."""


def estimate_flatfield(
    tiles: Pixels,
    *,
    offset: float | Pixels = 0.0,
    degree: int | None = None,
    max_tiles: int = 1000,
    blocks: int = 32,
) -> xr.DataArray:
    """The share of light that each pixel of a tile gets, from many tiles of one acquisition.

    Each tile is reduced to the brightness of ``blocks x blocks`` pieces. A field that all tiles
    share is fitted to them: that of a likely lamp (of any lamp, where the tiles do not tell which),
    and a polynomial as far as the tiles say otherwise. Bright cells count little; tiles count by
    how little their specimen has slopes of its own, empty ones by how far above the dark they are.
    Dark tiles that disagree with the bright ones do not count. Where cells lie on nothing, and the
    ground is as dark as the camera, the lamp is told by how bright the cells are in all places.
    Tiles are read one dask chunk at a time, and only the pieces and the tops of cells are kept
    (12 kB per tile and channel, and 16 bytes per cell).

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
        If not given, 6.
    max_tiles
        At most so many tiles, evenly spread over all, are read.
    blocks
        Pieces along each axis.

    Returns
    -------
    float32 DataArray with dims ``y x`` (``c y x``), mean 1 (in each channel). Ones, where no tile
    holds anything. ``attrs["expected_error"]`` says roughly how far off the worst pixel is, as a
    share of the light (a list, one for each channel, if there is ``c``): 0.03 is 3 %; 1.0 means
    that the tiles tell nothing.

    Raises
    ------
    StageError
        If there are no tiles, or if they have a single pixel, or are masks (bool).

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
    _check_measurable(stack)
    count = min(max_tiles, stack.sizes["tile"])
    chosen = np.unique(np.linspace(0, stack.sizes["tile"] - 1, count).round().astype(int))
    size = (stack.sizes["y"], stack.sizes["x"])
    grid = (min(blocks, size[0]), min(blocks, size[1]))
    dark = np.float32(0) + _dark(offset, stack)
    levels, tops = [], []
    for _, tile in each_tile(stack, chosen, most_planes=8):
        levels.append(block_levels(tile, grid))
        tops.append(cell_tops(tile, dark))
    reduced = np.stack(levels)
    if dark.ndim:
        planes = np.broadcast_to(dark, (reduced.shape[2], *size))
        dark = block_medians(xr.DataArray(planes, dims=("c", "y", "x")), grid)[0]
    medians, errors, means = reduced[:, 0] - dark, reduced[:, 1], reduced[:, 2] - dark
    found = [
        field_and_error(
            medians[:, k], errors[:, k], size, degree, means[:, k], [cells[k] for cells in tops]
        )
        for k in range(medians.shape[1])
    ]
    fields = [field for field, _ in found]
    several = "c" in stack.dims
    dims = ("c", "y", "x") if several else ("y", "x")
    coords = {dim: stack.coords[dim] for dim in dims if dim in stack.coords}
    expected = [min(FAR * error, 1.0) for _, error in found]
    return xr.DataArray(
        np.stack(fields) if several else fields[0],
        dims=dims,
        coords=coords,
        name="flatfield",
        attrs={"expected_error": expected if several else expected[0]},
    )


def _check_measurable(stack: xr.DataArray) -> None:
    """Refuse tiles that cannot show how light differs from pixel to pixel."""
    if stack.dtype.kind not in "iuf":
        raise StageError(
            f"tiles of {stack.dtype} do not say how bright a pixel is: a flat-field is estimated "
            "from integers or floats, as the camera counted them, not from masks"
        )
    if stack.sizes["y"] * stack.sizes["x"] < 2:
        raise StageError(
            f"a flat-field cannot be estimated from tiles of {stack.sizes['y']} x "
            f"{stack.sizes['x']} pixels (y x): give whole tiles, with dims tile y x"
        )


def _check_light(light: Floats) -> None:
    """Refuse a flat-field that pixels cannot be divided by."""
    wrong = ~(np.isfinite(light) & (light > 0))
    if wrong.any():
        place = tuple(int(index) for index in np.argwhere(wrong)[0])
        raise StageError(
            f"a flat-field has finite numbers above 0 only, but {int(wrong.sum())} of its "
            f"{light.size} pixels have not: the first, at {place}, is {light[place]}; take the "
            "dark-field out of a reference image, and fill in its missing pixels"
        )


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
    """Usual brightness of the pieces of a tile and its standard errors, float32 (2, c, *grid)."""
    return block_levels(tile, grid)[:2]


def block_levels(tile: xr.DataArray, grid: tuple[int, int]) -> Floats:
    """Of the pieces of a tile: usual brightness, standard errors and mean, float32 (3, c, *grid).

    The usual brightness is the mean of the middle half of the pixels: as little moved by cells as a
    median, and not rounded to whole counts as that is.
    """
    size = (tile.sizes["y"], tile.sizes["x"])
    rows, columns = _edges(size[0], grid[0]), _edges(size[1], grid[1])
    high, wide = np.diff(rows).min(), np.diff(columns).min()
    # 64 pixels of a piece and plane are enough.
    y = rows[:-1, None] + np.arange(0, high, max(1, high // 8))
    x = columns[:-1, None] + np.arange(0, wide, max(1, wide // 8))
    channels, planes = tile.sizes.get("c", 1), tile.sizes.get("z", 1)
    pixels = np.asarray(tile.data).reshape(channels, planes, *size)
    pieces = pixels[:, :, y[:, None, :, None], x[None, :, None, :]]  # c z, grid, within the piece
    pieces = np.moveaxis(pieces, 1, 3).reshape(channels, *grid, -1)
    pieces = np.sort(pieces, axis=-1)
    count = pieces.shape[-1]
    median = 0.5 * (pieces[..., (count - 1) // 2].astype(np.float32) + pieces[..., count // 2])
    # What is brighter than usual in a piece are cells; what is darker is noise.
    low = pieces[..., round(0.16 * (count - 1))].astype(np.float32)
    errors = 1.2533 * (median - low + 0.3) / np.sqrt(count)
    bright = pieces[..., count // 4 : count - count // 4].mean(axis=-1, dtype=np.float32)
    mean = pieces.mean(axis=-1, dtype=np.float32)
    # Noise that was cut off at zero has a median, but no mean.
    cut = low == 0
    bright, errors = np.where(cut, median, bright), np.where(cut, errors + median, errors)
    # Nothing but zeros is a missing tile, NaN a masked one.
    masked = np.isnan(pieces[..., -1])
    return np.where(masked, 0.0, np.stack([bright, errors, mean])).astype(np.float32)


def field_of(
    reduced: Floats,
    errors: Floats,
    size: tuple[int, int],
    degree: int | None = None,
    means: Floats | None = None,
) -> Floats:
    """Field of one channel at full size, from (tile, *grid) brightness and its errors.

    Parameters
    ----------
    reduced, errors
        As `block_medians` gives them, without the camera's offset; errors of 0 mean that a piece
        is not known.
    size
        Pixels of a tile, (y, x).
    degree
        As for `estimate_flatfield`.
    means
        Of all pixels of the pieces, without the camera's offset; they help with cells on nothing.
    """
    return field_and_error(reduced, errors, size, degree, means)[0]


def field_and_error(
    reduced: Floats,
    errors: Floats,
    size: tuple[int, int],
    degree: int | None = None,
    means: Floats | None = None,
    tops: Sequence[Tops] = (),
) -> tuple[Floats, float]:
    """As `field_of`, and its standard error where it is known least.

    With few tiles, the outline of their specimen passes for a lamp that follows it. So a lamp's
    numbers count only if they can be told; else no more is expected than a lamp of any kind.

    Above a dark ground, the outlines of cells would pass for the ground's light. So if the lamp's
    numbers are not told, only `tops` of cells count there (as `cell_tops` gives them): without
    any, the field is even and the error infinite.
    """
    usual, its_errors = coarse(reduced, errors)
    pieces, noise = usual, its_errors
    if means is not None:
        pieces, noise = telling_pieces(usual, its_errors, *coarse(means, errors))
    degree = degree or DEGREE
    logarithm, error = _field(pieces, noise, size, Lamp(degree))
    if error > SURE and ground_is_dark(usual, its_errors):
        of_cells, its_error = field_of_cells(tops, size, Lamp(degree))
        if error > min(UNSURE, its_error):
            logarithm, error = of_cells, its_error
    elif error > SURE:
        of_any, its_error = _field(usual, its_errors, size, AnyLamp(degree))
        may_be = np.inf if len(reduced) >= MANY_TILES else UNSURE
        if error > min(may_be, BETTER * its_error):
            logarithm, error = of_any, its_error
    full = np.exp(logarithm)
    return np.asarray(full / full.mean(), dtype=np.float32), error


def _field(
    pieces: npt.NDArray[np.float64],
    errors: npt.NDArray[np.float64],
    size: tuple[int, ...],
    lamp: Lamp | AnyLamp,
) -> tuple[npt.NDArray[np.float64], float]:
    """Logarithm of the field and its error: of all tiles, or bright ones, if dark disagree."""
    everything, error = smooth_field(pieces, errors, size, lamp)
    known = np.isfinite(errors)
    count = np.maximum(known.sum(axis=(1, 2)), 1)
    level = np.where(known, pieces, 0.0).sum(axis=(1, 2)) / count
    bright = level > BRIGHT * np.percentile(level, 95)
    if bright.all() or not bright.any():
        return everything, error
    # A wrong offset, or a glow that is not the lamp's, would pass for the field in dark tiles.
    of_bright, its_error = smooth_field(pieces[bright], errors[bright], size, lamp)
    away = np.abs((everything - everything.mean()) - (of_bright - of_bright.mean())).max()
    if away <= DISAGREE * np.hypot(error, its_error):
        return everything, error
    return of_bright, its_error


def coarse(
    reduced: Floats, errors: Floats
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Means of neighbouring pieces, at most `MOST_PIECES` along each side, and their errors.

    Pieces that are missing, darker than no light at all, get infinite errors.
    """
    bright, variance = reduced.astype(np.float64), errors.astype(np.float64) ** 2
    known = (errors > 0) & (bright > -LEAST_BELOW * errors)
    parts = [known.astype(np.float64), np.where(known, bright, 0), np.where(known, variance, 0)]
    for axis in (1, 2):
        pieces = parts[0].shape[axis]
        starts = _edges(pieces, min(pieces, MOST_PIECES))[:-1]
        parts = [np.add.reduceat(part, starts, axis=axis) for part in parts]
    count = np.maximum(parts[0], 1)
    return parts[1] / count, np.where(parts[0] > 0, np.sqrt(parts[2]) / count, np.inf)


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
        If the flat-field's or the dark-field's shape is not the tile's, or if the flat-field has
        pixels that are NaN, infinite, 0 or negative.

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
    _check_light(light)
    if "z" in pixels.dims:
        light = light[..., None, :, :]
    dark = _dark(offset if darkfield is None else darkfield, pixels)
    if "z" in pixels.dims and dark.ndim == 3:
        dark = dark[:, None]
    # Of hardly any light, there is no brightness to restore.
    corrected = (np.asarray(pixels.data, dtype=np.float32) - dark) / np.maximum(
        light, np.float32(1e-3)
    )
    if "c" not in pixels.dims:
        corrected = corrected.reshape(pixels.shape)
    return like(tile, to_dtype(corrected, pixels.dtype if dtype is None else dtype))
