"""What the camera counts without light, from tiles that were taken with some."""

import numpy as np
import numpy.typing as npt
import xarray as xr

from latticework.errors import StageError
from latticework.stages.ready.empty_tiles import Ground, ground_of, holds_more, offset_of_ground
from latticework.stages.ready.flatfield import block_levels, field_and_error, field_of
from latticework.stages.ready.labelled import Pixels, each_tile, labelled

Floats = npt.NDArray[np.float32]
Wide = npt.NDArray[np.float64]

DARKEST = 5.0
"""Per cent of the tiles that are taken for dark in each place, if none is empty."""
LEAST_UNEVEN = 0.1
"""Spread of the light within a tile from which on it can be told from the offset."""
ROUNDS = 3
DEGREE = 4
"""Of the polynomials that the light is made of here."""
LINES = 8
UNSURE = 0.1
"""What may be wrong with a tile's offset, as a share of the light that it shows."""
TOLD = 0.06
"""Standard error of the worst piece of the lamp up to which bright tiles tell it."""


def estimate_darkfield(tiles: Pixels, *, max_tiles: int = 500, blocks: int = 16) -> xr.DataArray:
    """The offset of the camera, from many tiles of which some are nearly empty.

    What empty tiles show is the offset plus a little light, and this little is as uneven as the
    lamp. How uneven that is, is told by what the other tiles have more in the same place, which
    does not depend on the offset. So a straight line of the empty tiles against the lamp leads to
    where there is no light. Where the other tiles do not tell the lamp either (few tiles, a few
    cells on an empty ground), it is taken to be nearly as uneven as lamps usually are, and the
    offset is known to some third of the glow only. The result is at most the darkest tile, and
    about that if this is evenly dark, or the lamp even.

    A picture taken with the shutter closed is better, where there is one: it also knows the
    pattern of the pixels, which cannot be told from these tiles.

    Parameters
    ----------
    tiles
        Dims ``tile``, then ``y x`` and perhaps ``c`` and ``z``; NumPy or dask.
    max_tiles
        At most so many tiles, evenly spread over all, are read.
    blocks
        Pieces along each axis, to the medians of which tiles are reduced.

    Returns
    -------
    float32 DataArray with dims ``y x`` (``c y x``), the same number everywhere (in each channel).

    Raises
    ------
    StageError
        If there are no tiles, or these have no pixels.

    Notes
    -----
    That uneven light tells the offset is used by CIDRE (Smith et al., 2015) and BaSiC (Peng et al.,
    2017).

    Examples
    --------
    >>> lamp = 1.0 - 0.4 * np.linspace(-1, 1, 64)[:, None] ** 2 * np.ones(80)
    >>> tiles = np.stack([100 + level * lamp for level in (5, 10, 400, 800, 1000)])
    >>> round(float(estimate_darkfield(tiles).mean()))
    100
    """
    stack = labelled(tiles, first=("tile",))
    if not stack.size:
        raise StageError(
            "a dark-field cannot be estimated from no pixels: there are "
            + ", ".join(f"{n} along {dim}" for dim, n in stack.sizes.items())
        )
    count = min(max_tiles, stack.sizes["tile"])
    chosen = np.unique(np.linspace(0, stack.sizes["tile"] - 1, count).round().astype(int))
    size = (stack.sizes["y"], stack.sizes["x"])
    grid = (min(blocks, size[0]), min(blocks, size[1]))
    reduced = np.stack(
        [block_levels(tile, grid) for _, tile in each_tile(stack, chosen, most_planes=8)]
    )
    levels = [
        offset_of(*(reduced[:, level, channel] for level in range(3)))
        for channel in range(reduced.shape[2])
    ]
    dims = ("c", "y", "x") if "c" in stack.dims else ("y", "x")
    images = np.stack([np.full(size, level, np.float32) for level in levels])
    coords = {dim: stack.coords[dim] for dim in dims if dim in stack.coords}
    return xr.DataArray(
        images if "c" in stack.dims else images[0], dims=dims, coords=coords, name="darkfield"
    )


def offset_of(medians: Floats, errors: Floats, means: Floats | None = None) -> float:
    """Counts without light of one channel, from the brightness of pieces of many tiles.

    Parameters
    ----------
    medians, errors
        (tile, y, x): as `latticework.stages.ready.flatfield.block_levels` gives them.
    means
        Of all pixels of the pieces, likewise; they help with cells.
    """
    whole = (medians > 0).reshape(len(medians), -1).all(axis=1)  # zeros are a missing tile
    if not whole.any():
        return 0.0
    medians, errors = medians[whole], errors[whole]
    means = medians if means is None else means[whole]
    bright, noise = medians.astype(np.float64), errors.astype(np.float64)
    ground = ground_of(bright, noise)
    if not ground.empty:
        return _in_turn(medians, errors)
    light, error = _light_above(ground, bright, noise)
    if error > TOLD:
        more = means - ground.picture
        return offset_of_ground(ground, more[holds_more(more, noise)])
    if _uneven(light) < LEAST_UNEVEN:
        return ground.most
    return float(np.clip(_without_light(bright, noise, light), 0.0, ground.most))


def _light_above(ground: Ground, pieces: Wide, errors: Wide) -> tuple[Floats, float]:
    """The lamp, from what tiles have more than the ground, and its error; whatever the offset."""
    above, size = pieces - ground.picture, pieces.shape[1:]
    more = holds_more(above, errors)
    if not more.any():
        return np.ones(size, np.float32), np.inf
    lit, noise = (part[more].astype(np.float32) for part in (above, errors))
    return field_and_error(lit, noise, size, DEGREE)


def _in_turn(medians: Floats, errors: Floats) -> float:
    """Offset of tiles of which none is empty: from it the lamp, and from that the offset."""
    lowest = float(np.percentile(medians, DARKEST, axis=0).min())
    offset = lowest
    for _ in range(ROUNDS):
        light = field_of(medians - np.float32(offset), errors, medians.shape[1:], DEGREE)
        if _uneven(light) < LEAST_UNEVEN:
            return lowest
        bright, noise = medians.astype(np.float64), errors.astype(np.float64)
        offset = float(np.clip(_without_light(bright, noise, light), 0.0, lowest))
    return offset


def _uneven(light: Floats) -> float:
    """Spread of the light within a tile."""
    return float(np.percentile(light, 95) - np.percentile(light, 5))


def _without_light(pieces: Wide, errors: Wide, field: Floats) -> float:
    """Where straight lines of pieces against the light, one for each tile, meet no light."""
    pieces, errors = (part.reshape(len(part), -1) for part in (pieces, errors))
    light = field.ravel().astype(np.float64)
    rest = spread = np.zeros_like(pieces)
    for _ in range(LINES):
        weight = 1 / (errors**2 + spread**2 + rest**2)
        total = weight.sum(axis=1, keepdims=True)
        middle, mean = (
            (weight * values).sum(axis=1, keepdims=True) / total for values in (light, pieces)
        )
        uneven = (weight * (light - middle) ** 2).sum(axis=1, keepdims=True)
        slope = (weight * (light - middle) * (pieces - mean)).sum(axis=1, keepdims=True) / uneven
        slope = np.maximum(slope, 0.0)
        crossing = mean - slope * middle
        rest = pieces - crossing - slope * light
        spread = 1.4826 * np.median(np.abs(rest), axis=1, keepdims=True)
    # The field is known to some per cent only, which is much where there is much light.
    doubt = middle**2 / uneven + 1 / total + (UNSURE * slope) ** 2
    order = np.argsort(crossing, axis=None)
    heaped = np.cumsum((1 / doubt).ravel()[order])
    return float(crossing.ravel()[order][np.searchsorted(heaped, 0.5 * heaped[-1])])
