"""What the camera counts without light, from tiles that were taken with some."""

import numpy as np
import numpy.typing as npt
import xarray as xr

from latticework.errors import StageError
from latticework.stages.ready.flatfield import block_medians, field_of
from latticework.stages.ready.labelled import Pixels, each_tile, labelled

Floats = npt.NDArray[np.float32]
Wide = npt.NDArray[np.float64]

DARKEST = 5.0
"""Per cent of the tiles that are taken for dark in each place."""
LEAST_UNEVEN = 0.1
"""Spread of the light within a tile from which on it can be told from the offset."""
ROUNDS = 3
DEGREE = 4
"""Of the polynomials that the light is made of here."""
LINES = 8
UNSURE = 0.1
"""What may be wrong with a tile's offset, as a share of the light that it shows."""


def estimate_darkfield(tiles: Pixels, *, max_tiles: int = 500, blocks: int = 16) -> xr.DataArray:
    """The offset of the camera, from many tiles of which some are nearly empty.

    The darkest that each place of a tile gets to is the offset plus a little light of the
    surroundings, and this little is as uneven as the lamp. So a straight line through the darkest
    against the flat-field leads to where there is no light. The result is at most the
    darkest tile, and is that if the lamp is too even for telling more.

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
        [block_medians(tile, grid) for _, tile in each_tile(stack, chosen, most_planes=8)]
    )
    levels = [
        offset_of(reduced[:, 0, channel], reduced[:, 1, channel])
        for channel in range(reduced.shape[2])
    ]
    dims = ("c", "y", "x") if "c" in stack.dims else ("y", "x")
    images = np.stack([np.full(size, level, np.float32) for level in levels])
    coords = {dim: stack.coords[dim] for dim in dims if dim in stack.coords}
    return xr.DataArray(
        images if "c" in stack.dims else images[0], dims=dims, coords=coords, name="darkfield"
    )


def offset_of(medians: Floats, errors: Floats) -> float:
    """Counts without light of one channel, from the brightness of pieces of many tiles.

    Parameters
    ----------
    medians, errors
        (tile, y, x): as `latticework.stages.ready.flatfield.block_medians` gives them.
    """
    whole = (medians > 0).reshape(len(medians), -1).all(axis=1)  # zeros are a missing tile
    if not whole.any():
        return 0.0
    medians, errors = medians[whole], errors[whole]
    lowest = float(np.percentile(medians, DARKEST, axis=0).min())
    offset = lowest
    for _ in range(ROUNDS):
        light = field_of(medians - np.float32(offset), errors, medians.shape[1:], DEGREE)
        uneven = float(np.percentile(light, 95) - np.percentile(light, 5))
        if uneven < LEAST_UNEVEN:
            return lowest
        bright, noise = (a.reshape(len(a), -1).astype(np.float64) for a in (medians, errors))
        offset = float(
            np.clip(_without_light(bright, noise, light.ravel().astype(np.float64)), 0.0, lowest)
        )
    return offset


def _without_light(pieces: Wide, errors: Wide, light: Wide) -> float:
    """Where straight lines of pieces against the light, one for each tile, meet no light."""
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
