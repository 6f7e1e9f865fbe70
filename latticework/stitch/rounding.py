"""Brightness that a camera or a file rounds more coarsely than its noise, made smooth again.

Where there is hardly any noise, whole counts make stairs of an even ground::

    brightness  ......----``````          counts  ________¯¯¯¯¯¯¯¯

Their edges are sharp, and run where the brightness passes from one count to the next: with another
gain, or nearer to the middle of a tile, elsewhere. They match, too, but not where the specimen is.

So on stairs (where neighbours differ by a count at most) the smoothest brightness is sought that
rounds to the same counts, by turns smoothed and brought back to within half a count (a projection
onto convex sets; A. Zakhor, "Iterative procedures for reduction of blocking effects in transform
image coding", 1992). Where in that count it really was remains unknown: that is noise, and
is added as such, lest what little is left of stairs pass for exact. Noise of the camera's own makes
single pixels differ, where stairs have edges: then rounding does no harm, and pixels stay.
"""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

SMOOTH_PX = (12.0, 6.0, 3.0)
"""Standard deviations of the Gaussians by which stairs are smoothed, one after the other."""
FEW = 0.02
"""Share of pixels on stairs below which these are left alone."""
SINGLE = 0.5
"""Share of steps that single pixels make, from which they are noise enough: a sixth of a count."""


def unrounded(pixels: np.ndarray, dims: Sequence[str], *, seed: int = 0) -> np.ndarray:
    """Pixels without the stairs that rounding has made of smooth brightness.

    Parameters
    ----------
    pixels
        Of a tile; any number type. Those of integers may have stairs.
    dims
        Their axes, of ``z y x``; planes along z are looked at one by one.
    seed
        Of the noise that stands for what is not known; has to differ between views to be compared.

    Returns
    -------
    numpy.ndarray
        float32, within a count of what it was; or the pixels themselves, if they have no stairs.

    Examples
    --------
    >>> slope = np.linspace(100, 106, 60 * 300).reshape(300, 60).T.copy()
    >>> found = unrounded(np.rint(slope).astype("u1"), "yx")
    >>> bool(np.abs(found - slope).max() < 1)
    True
    """
    axes = [axis for axis, dim in enumerate(dims) if dim != "z"]
    if pixels.dtype.kind not in "iu" or not pixels.size or not axes:
        return pixels
    span = _around(np.maximum, pixels, axes) - _around(np.minimum, pixels, axes)
    stairs = (span == 0) | (span == 1)
    steps = stairs & (span > 0)
    if stairs.mean() < FEW or not steps.any() or _is_noise(pixels, steps, axes):
        return pixels
    noise = np.random.default_rng(seed).random(pixels.shape, "f4") - np.float32(0.5)
    return np.asarray(_smoothest(pixels.astype("f4"), stairs, axes) + noise * stairs)


def _around(of: np.ufunc, pixels: np.ndarray, axes: Sequence[int]) -> np.ndarray:
    """The largest, or smallest, of each pixel and its neighbours along some axes."""
    found = pixels
    for axis in axes:
        before = found
        found = before.copy()
        ahead, behind = (
            (slice(None),) * axis + (part,) for part in (slice(1, None), slice(None, -1))
        )
        of(found[ahead], before[behind], out=found[ahead])
        of(found[behind], before[ahead], out=found[behind])
    return found


def _is_noise(pixels: np.ndarray, steps: np.ndarray, axes: Sequence[int]) -> bool:
    """Whether it is single pixels that differ from their neighbours, not one side from another."""
    beside = np.zeros((3,) * pixels.ndim, bool)
    for axis in axes:
        line = (1,) * axis + (slice(None, None, 2),) + (1,) * (pixels.ndim - axis - 1)
        beside[line] = True
    high = pixels > ndimage.maximum_filter(pixels, footprint=beside)
    low = pixels < ndimage.minimum_filter(pixels, footprint=beside)
    single = np.count_nonzero((high | low) & steps)
    touched = 3 ** len(axes)  # by one that differs: its neighbours, and itself
    return bool(touched * single > SINGLE * np.count_nonzero(steps))


def _smoothest(light: np.ndarray, stairs: np.ndarray, axes: Sequence[int]) -> np.ndarray:
    """Brightness that is smooth on stairs, and rounds to the same counts."""
    counts = stairs.astype("f4")
    smooth = light
    for size in SMOOTH_PX:
        sigmas = [size if axis in axes else 0.0 for axis in range(light.ndim)]
        known = ndimage.gaussian_filter(counts, sigmas, truncate=2.5)
        smooth = ndimage.gaussian_filter(smooth * counts, sigmas, truncate=2.5)
        smooth = smooth / np.maximum(known, 1e-6)
        smooth = np.where(stairs, np.clip(smooth, light - 0.5, light + 0.5), light)
    return smooth


__all__ = ["unrounded"]
