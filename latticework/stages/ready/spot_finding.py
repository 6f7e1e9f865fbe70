"""Bright spots of about one size in an array: where they are, to a fraction of a pixel.

A spot is a local maximum of a difference of Gaussians (T. Lindeberg, "Feature detection with
automatic scale selection", 1998; the ratio 1.6: D. Marr and E. Hildreth, 1980).
"""

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from latticework.stages.ready.border_spots import placed_by_fit

RATIO = 1.6
"""Width of the wider Gaussian, in widths of the narrower one."""
TRUNCATE = 3.0
"""Where Gaussians end, in standard deviations."""


class Spots(NamedTuple):
    """Spots of an array."""

    places: npt.NDArray[np.float64]
    """Their centres in pixels, 0 is the centre of the first pixel; shape (spots, axes)."""
    intensity: npt.NDArray[np.float32]
    """Smoothed counts there; shape (spots,)."""
    score: npt.NDArray[np.float32]
    """Height above the surroundings; shape (spots,)."""
    level: float
    """Least score that was asked for, or that noise does not reach."""


def find_spots(
    counts: npt.NDArray[Any],
    sigmas_px: tuple[float, ...],
    *,
    threshold: float | None = None,
    spans: npt.NDArray[np.float64] | None = None,
) -> Spots:
    """Spots of one width.

    Parameters
    ----------
    counts
        Pixels.
    sigmas_px
        Standard deviation of a spot along each axis, in pixels.
    threshold
        Least score, in counts; 6 times the noise of the score if not given.
    spans
        Half-open range along each axis in which the pixel of a spot has to lie, shape (axes, 2);
        all of the array if not given.

    Examples
    --------
    >>> y, x = np.mgrid[:40, :50]
    >>> spot = 300 * np.exp(-((y - 12.3) ** 2 + (x - 30.6) ** 2) / (2 * 2.0**2))
    >>> find_spots(spot, (2.0, 2.0), threshold=100).places.round(1)
    array([[12.3, 30.6]])
    """
    if not counts.size:
        nothing = np.zeros(0, np.float32)
        level = math.nan if threshold is None else threshold
        return Spots(np.zeros((0, counts.ndim)), nothing, nothing, level)
    score, smooth = _difference_of_gaussians(np.asarray(counts, dtype=np.float32), sigmas_px)
    level = _automatic_threshold(score, smooth) if threshold is None else threshold
    if spans is None:
        spans = np.array([(0.0, float(n)) for n in score.shape])
    peaks = _peaks(score, level, spans)
    at = tuple(peaks.T)
    inside = _within_the_picture(counts, spans)
    first = np.array([part.start for part in inside], float)
    places = peaks + _parabola(score, peaks)
    places = placed_by_fit(np.asarray(counts)[inside], places - first, sigmas_px) + first
    # A spot stays in the tile of its pixel.
    places = np.clip(places, spans[:, 0] - 0.4999, spans[:, 1] - 0.5001)
    return Spots(places, smooth[at], score[at], level)


def _within_the_picture(
    counts: npt.NDArray[Any], spans: npt.NDArray[np.float64]
) -> tuple[slice, ...]:
    """The array without halos that only mirror it: those of tiles at the picture's border."""
    parts = []
    for axis, size in enumerate(counts.shape):
        first, last = (int(np.clip(round(end), 0, size)) for end in spans[axis])
        lines = np.moveaxis(np.asarray(counts), axis, 0)
        inner = lines[first:last]
        before, after, most = lines[:first][::-1], lines[last:], len(inner)
        begins = first and np.array_equal(before[:most], inner[:first])
        ends = len(after) and np.array_equal(after[:most], inner[::-1][: len(after)])
        start = first if begins else 0
        parts.append(slice(start, last if ends else size))
    return tuple(parts)


def _difference_of_gaussians(
    counts: npt.NDArray[np.float32], sigmas: tuple[float, ...]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Score (height of a matching spot) and the smoothed counts."""
    smooth = ndimage.gaussian_filter(counts, sigmas, mode="reflect", truncate=TRUNCATE)
    more = [s * math.sqrt(RATIO**2 - 1) for s in sigmas]
    score = smooth - ndimage.gaussian_filter(smooth, more, mode="reflect", truncate=TRUNCATE)
    n = len(sigmas)
    score /= np.float32(2.0 ** (-n / 2) - (1 + RATIO**2) ** (-n / 2))
    return score, smooth


def _automatic_threshold(score: npt.NDArray[np.float32], smooth: npt.NDArray[np.float32]) -> float:
    if not score.size:
        return 1.0
    sample = score.reshape(-1)[:: max(1, score.size // 500_000)]
    noise = 1.4826 * float(np.median(np.abs(sample - np.median(sample))))
    # Rounding makes ripples even in a tile of one value.
    return max(6.0 * noise, 1e-3 * float(np.abs(smooth).max()), 1e-6)


def _peaks(
    score: npt.NDArray[np.float32], level: float, spans: npt.NDArray[np.float64]
) -> npt.NDArray[np.int64]:
    """Indices (n, ndim) of local maxima above a level and within spans; one for each plateau."""
    rim = np.pad(score, 1, mode="edge")
    found = np.argwhere(score > level)
    # First the halo, then the plateaus: a spot on the rim of the whole picture is mirrored in the
    # halo, and the two halves are one plateau, of which the half inside must stay.
    found = found[np.all((found >= spans[:, 0]) & (found < spans[:, 1]), axis=1)]
    height = score[tuple(found.T)]
    level_with = np.zeros(len(found), dtype=bool)  # as high as a neighbour
    for step in np.ndindex(*(3,) * score.ndim):  # only bright pixels are compared: they are few
        if all(s == 1 for s in step):
            continue
        other = rim[tuple((found + step).T)]
        higher = height >= other
        level_with |= height == other
        found, height, level_with = found[higher], height[higher], level_with[higher]
    if not level_with.any():
        return found
    peak = np.zeros(score.shape, dtype=bool)
    peak[tuple(found.T)] = True
    groups, _ = ndimage.label(peak, structure=np.ones((3,) * score.ndim))
    _, first = np.unique(groups[tuple(found.T)], return_index=True)
    return found[np.sort(first)]


def _parabola(
    score: npt.NDArray[np.float32], peaks: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Distance of the true maximum from each peak along each axis, less than half a pixel."""
    away = np.zeros(peaks.shape)
    middle = score[tuple(peaks.T)].astype(np.float64)
    for axis, size in enumerate(score.shape):
        before, after = peaks.copy(), peaks.copy()
        before[:, axis] = np.maximum(peaks[:, axis] - 1, 0)  # mirrored at the rim
        after[:, axis] = np.minimum(peaks[:, axis] + 1, size - 1)
        low = score[tuple(before.T)].astype(np.float64)
        high = score[tuple(after.T)].astype(np.float64)
        bend = low - 2 * middle + high
        shift = np.divide(0.5 * (low - high), bend, out=np.zeros_like(bend), where=bend < 0)
        away[:, axis] = np.clip(shift, -0.4999, 0.4999)  # so that a spot stays in its pixel's tile
    return away


__all__ = ["RATIO", "TRUNCATE", "Spots", "find_spots"]
