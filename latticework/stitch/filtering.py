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
DEEPEST = 10.0
"""Counts below the dark, in units of a typical brightness, beyond which they are no light but
marks, as of missing data, and are cut to that."""
ENOUGH = 20_000
"""Pixels by which that is judged."""
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
    return contrast(brightness(image, dark=dark, typical=typical), dims)


def brightness(image: np.ndarray, *, dark: float = 0.0, typical: float | None = None) -> np.ndarray:
    """Brightness that goes by ratios where it is bright, by differences where it is dark.

    Parameters
    ----------
    image, dark, typical
        As for `comparable`.

    Returns
    -------
    numpy.ndarray
        float32, 0 where there is no light; unknown pixels are 0 as well, and marks of missing data
        that lie far below the dark no less than -10.

    Examples
    --------
    >>> brightness(np.array([100, 200, 1100], "u2"), dark=100, typical=100).round(1)
    array([0. , 0.7, 2.4], dtype=float32)
    """
    with np.errstate(over="ignore", invalid="ignore"):
        light = np.subtract(image, dark, dtype="f4")
    np.nan_to_num(light, copy=False, nan=0.0)
    if typical is None:
        typical = float(np.median(light))
    light /= max(typical, 1.0)
    np.maximum(light, -DEEPEST, out=light)
    np.log1p(light, out=light, where=light > 0)
    return np.asarray(light)


def contrast(light: np.ndarray, dims: Sequence[str]) -> np.ndarray:
    """Difference of two Gaussians of a brightness, cut down where it glares.

    Parameters
    ----------
    light
        Of `brightness`.
    dims
        Its axes, of ``z y x``.

    Examples
    --------
    >>> contrast(np.full((9, 9), 3.0, "f4"), "yx").max() < 1e-6
    np.True_
    """
    sigmas = [(SMALL_Z_PX, LARGE_Z_PX) if dim == "z" else (SMALL_PX, LARGE_PX) for dim in dims]
    narrow, wide = zip(*sigmas, strict=True)
    near = ndimage.gaussian_filter(light, narrow, truncate=3.0)
    near -= ndimage.gaussian_filter(light, wide, truncate=3.0)
    near = level_planes(near, dims)
    return cut_down(near)


def cut_down(near: np.ndarray) -> np.ndarray:
    """A contrast around 0, cut down in place where it glares."""
    some = np.abs(near.ravel()[:: max(near.size // ENOUGH, 1)])
    most = GLARING * 1.4826 * quantile(some, 0.5) if some.size else 0.0
    if most > 0:
        np.clip(near, -most, most, out=near)
    return np.asarray(near)


def quantile(values: np.ndarray, share: float) -> float:
    """The value below which a share of finite values lies, 0.5 being the median.

    One of them, none between two: `numpy.median`, which looks for two, takes ten times as long.

    Examples
    --------
    >>> quantile(np.array([[5.0, 1.0], [3.0, 9.0]]), 0.5)
    5.0
    """
    at = round(share * (values.size - 1) + 1e-9)
    return float(np.partition(values, at, axis=None)[at])


def level_planes(image: np.ndarray, dims: Sequence[str]) -> np.ndarray:
    """An image with the mean of each plane along z taken off.

    Light that flickers from plane to plane, or a gain for each plane, is no structure along z.

    Examples
    --------
    >>> level_planes(np.array([[[1.0, 3.0]], [[5.0, 5.0]]]), "zyx").tolist()
    [[[-1.0, 1.0]], [[0.0, 0.0]]]
    """
    if "z" not in dims or image.shape[tuple(dims).index("z")] == image.size:
        return image
    plane = tuple(axis for axis, dim in enumerate(dims) if dim != "z")
    return np.asarray(image - image.mean(axis=plane, keepdims=True))


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


__all__ = [
    "brightness",
    "comparable",
    "contrast",
    "cut_down",
    "level_planes",
    "quantile",
    "unsaturated",
]
