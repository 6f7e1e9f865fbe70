"""Images made ready to be compared: what varies slowly, noise and a few glaring spots taken out."""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

SMALL_PX, LARGE_PX = 1.0, 6.0
"""Structures between these sizes (standard deviations, in pixels across the plane) are compared."""
SMALL_Z_PX, LARGE_Z_PX = 0.5, 2.0
"""The same along the optical axis, where a pixel is usually larger."""
GLARING = 6.0
"""Contrast beyond so many times its typical size is cut down to that: it is debris, or an edge of
it."""
FULL = 0.98
"""Share of a camera's range from which a pixel counts as saturated."""


def comparable(
    image: np.ndarray, dims: Sequence[str], *, dark: float = 0.0, typical: float | None = None
) -> np.ndarray:
    """Local contrast of an image, as float32: what two views of the same place have in common.

    Above the typical brightness it goes by ratios, so that light and gain make no difference; below
    it by differences, so that noise in the dark counts for little. Of that the difference of two
    Gaussians is taken, and what is glaring is cut down, so that no speck of dust decides alone.

    Parameters
    ----------
    image
        Pixels; any number type.
    dims
        Their axes, of ``z y x``.
    dark
        What the camera counts without light.
    typical
        Brightness above that of a typical pixel; of this image if not given.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> scene = rng.integers(200, 400, (64, 64)).astype("u2")
    >>> one, other = comparable(scene, "yx", dark=100), comparable(3 * scene - 200, "yx", dark=100)
    >>> bool(np.abs(one - other).max() < 1e-5)
    True
    """
    light = np.subtract(image, dark, dtype="f4")
    np.nan_to_num(light, copy=False, nan=0.0)
    np.maximum(light, 0, out=light)
    if typical is None:
        typical = float(np.median(light))
    light /= max(typical, 1.0)
    np.log1p(light, out=light)
    sigmas = [(SMALL_Z_PX, LARGE_Z_PX) if dim == "z" else (SMALL_PX, LARGE_PX) for dim in dims]
    narrow, wide = zip(*sigmas, strict=True)
    near = ndimage.gaussian_filter(light, narrow, truncate=3.0)
    near -= ndimage.gaussian_filter(light, wide, truncate=3.0)
    most = GLARING * 1.4826 * float(np.median(np.abs(near)))
    if most > 0:
        np.clip(near, -most, most, out=near)
    return np.asarray(near)


def unsaturated(image: np.ndarray, dims: Sequence[str]) -> np.ndarray | None:
    """Pixels that are neither saturated nor unknown, nor mixed with such; None if all are."""
    if image.dtype.kind == "f":
        full = ~np.isfinite(image)
    elif image.dtype.kind in "iu":
        full = image >= FULL * np.iinfo(image.dtype).max
    else:
        return None
    if not full.any():
        return None
    reach = [int(LARGE_Z_PX if dim == "z" else LARGE_PX) for dim in dims]
    size = [2 * n + 1 for n in reach]
    return np.asarray(np.logical_not(ndimage.maximum_filter(full, size)))


__all__ = ["comparable", "unsaturated"]
