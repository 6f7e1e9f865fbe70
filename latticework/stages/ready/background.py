"""Smooth background: what is wider than cells, taken off."""

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from latticework.errors import StageError
from latticework.stages.ready.labelled import AnyTile, labelled, like, to_dtype


def subtract_background(
    tile: AnyTile, *, radius_px: int = 25, dtype: npt.DTypeLike | None = None
) -> AnyTile:
    """The tile without what is wider than about `radius_px`: a white top-hat in each plane.

    The background is a morphological opening (a running minimum, then a running maximum, over a
    square) of the tile averaged over 3 x 3 pixels, so that it follows the tissue and not the
    darkest noise.

    A pixel of the result depends on pixels at most `radius_px` away in y and x, none in z: a halo
    of ``{"y": radius_px, "x": radius_px}`` gives exactly what the whole picture would, with
    boundary "reflect" at its rim.

    Parameters
    ----------
    tile
        Some of c z y x; planes and channels are treated one by one.
    radius_px
        How far to look. Structures narrower than this stay, wider ones go. At least 3.
    dtype
        Type of the result, the tile's own if not given; integers are rounded and clipped at 0.

    Raises
    ------
    StageError
        If `radius_px` is below 3.

    Notes
    -----
    The top-hat transform is of Meyer (1979); see Soille, "Morphological Image Analysis", 2003.

    Examples
    --------
    >>> tile = np.full((60, 60), 300, dtype="uint16")
    >>> tile[30:33, 30:33] += 500
    >>> clean = subtract_background(tile, radius_px=15)
    >>> int(clean[31, 31]), int(clean[5, 5])
    (500, 0)
    """
    radius = int(radius_px)
    if radius < 3:
        raise StageError(f"radius_px must be at least 3 pixels, but is {radius_px}")
    half = (radius - 1) // 2  # minimum and maximum each reach this far, the mean one pixel more
    pixels = labelled(tile)
    source = np.asarray(pixels.data)
    result = np.empty(source.shape, dtype=source.dtype if dtype is None else np.dtype(dtype))
    third = np.full(3, 1 / 3, dtype=np.float64)
    for place in np.ndindex(*source.shape[:-2]):  # plane by plane: small buffers, in cache
        plane = source[place].astype(np.float32)
        level = plane
        for axis in (
            0,
            1,
        ):  # not a running sum: its rounding would depend on where the array starts
            level = ndimage.correlate1d(level, third, axis=axis, mode="reflect")
        for running in (ndimage.minimum_filter1d, ndimage.maximum_filter1d):
            for axis in (0, 1):
                level = running(level, 2 * half + 1, axis=axis, mode="reflect")
        result[place] = to_dtype(np.maximum(plane - level, 0.0), result.dtype)
    return like(tile, result)
