"""Spots: somata, nuclei, beads; found, placed to a fraction of a pixel, counted."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from scipy import ndimage

from latticework.errors import StageError
from latticework.stages.ready.labelled import (
    SPATIAL,
    Pixels,
    axis_um,
    first_pixel,
    labelled,
    per_axis,
    proper_span,
)

_RATIO = 1.6
_TRUNCATE = 3.0


def spot_halo(
    sigma_px: float | Mapping[str, float], axes: tuple[str, ...] = SPATIAL
) -> dict[str, int]:
    """Halo in pixels by axis with which `detect_spots` finds what it would on the whole picture.

    Examples
    --------
    >>> spot_halo({"y": 2.0, "x": 2.0}, ("y", "x"))
    {'y': 15, 'x': 15}
    """
    sigmas = per_axis(sigma_px, axes, "sigma_px")
    more = math.sqrt(_RATIO**2 - 1)
    return {
        a: int(_TRUNCATE * s + 0.5) + int(_TRUNCATE * s * more + 0.5) + 2 for a, s in sigmas.items()
    }


def detect_spots(
    tile: Pixels,
    *,
    sigma_px: float | Mapping[str, float] = 2.0,
    threshold: float | None = None,
    max_spots: int = 1_000_000,
) -> pd.DataFrame:
    """A table of bright spots of about one size, one row each.

    Spots are local maxima of a difference of Gaussians (widths 1 and 1.6 times `sigma_px`), scaled
    so that a spot of just this size and of height `h` above its surroundings scores `h`. A parabola
    through the neighbours of the maximum gives the place to a fraction of a pixel.

    Parameters
    ----------
    tile
        Some of c z y x. If it carries a halo (its coordinates start below 0), only spots whose
        centre lies in the tile proper are returned: with the halo of `spot_halo`, every spot of
        abutting tiles is found in exactly one. Where tiles overlap, both find what they share.
    sigma_px
        Standard deviation of a spot in pixels (half its full width at half maximum, roughly divided
        by 1.2), one for all axes or by axis.
    threshold
        Least score, in counts. If not given: 6 times the noise of the score in this tile (from its
        median absolute deviation), which differs from tile to tile.
    max_spots
        Refuse to return more: a threshold far too low fills disks.

    Returns
    -------
    DataFrame
        Columns ``z y x`` (float64; pixels of the tile, 0 is the centre of its first pixel; only
        axes of the tile), ``z_um y_um x_um`` where the tile knows its position, ``intensity``
        (float32, smoothed counts at the maximum), ``score`` (float32), and ``c`` first where the
        tile has channels. No rows for an empty tile.

    Raises
    ------
    StageError
        For a sigma or threshold that is not positive, or too many spots.

    Notes
    -----
    Scale-space maxima: Lindeberg, "Feature detection with automatic scale selection", 1998; the
    ratio 1.6: Marr and Hildreth, 1980.

    Examples
    --------
    >>> z, y, x = np.mgrid[:20, :40, :40]
    >>> tile = 100 + 400 * np.exp(-((z - 9) ** 2 + (y - 12.3) ** 2 + (x - 25.6) ** 2) / (2 * 2**2))
    >>> detect_spots(tile, sigma_px=2.0, threshold=100)[["z", "y", "x"]].round(1)
         z     y     x
    0  9.0  12.3  25.6
    """
    pixels = labelled(tile)
    axes = tuple(axis for axis in SPATIAL if axis in pixels.dims)
    sigmas = per_axis(sigma_px, axes, "sigma_px")
    if min(sigmas.values()) <= 0 or (threshold is not None and not threshold > 0):
        raise StageError(
            f"sigma_px and threshold must be above 0, but are {sigma_px} and {threshold}"
        )
    if "c" not in pixels.dims:
        return _table(pixels, axes, tuple(sigmas.values()), threshold, max_spots)
    tables = []
    for k in range(pixels.sizes["c"]):
        table = _table(pixels.isel(c=k), axes, tuple(sigmas.values()), threshold, max_spots)
        label = pixels.coords["c"].to_numpy()[k].item() if "c" in pixels.coords else k
        kind = np.int64 if isinstance(label, int) else "str"
        table.insert(0, "c", pd.Series([label] * len(table), index=table.index, dtype=kind))
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _table(
    pixels: xr.DataArray,
    axes: tuple[str, ...],
    sigmas: tuple[float, ...],
    threshold: float | None,
    max_spots: int,
) -> pd.DataFrame:
    """Spots of one channel."""
    counts = np.asarray(pixels.data, dtype=np.float32)
    score, smooth = _difference_of_gaussians(counts, sigmas)
    level = _automatic_threshold(score, smooth) if threshold is None else threshold
    first = np.array([first_pixel(pixels, axis) for axis in axes])
    spans = np.array([proper_span(pixels, axis) for axis in axes]) - first[:, None]
    peaks = _peaks(score, level, spans)
    if len(peaks) > max_spots:
        raise StageError(
            f"{len(peaks)} spots above threshold {level:g} are more than max_spots={max_spots}: "
            "raise the threshold"
        )
    places, at = peaks + _parabola(score, peaks) + first, tuple(peaks.T)
    columns: dict[str, npt.NDArray[Any]] = {axis: places[:, k] for k, axis in enumerate(axes)}
    for k, axis in enumerate(axes):
        known = axis_um(pixels, axis)
        if known is not None:
            columns[f"{axis}_um"] = known[0] + places[:, k] * known[1]
    columns["intensity"] = smooth[at]
    columns["score"] = score[at]
    return pd.DataFrame(columns)


def _difference_of_gaussians(
    counts: npt.NDArray[np.float32], sigmas: tuple[float, ...]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Score (height of a matching spot) and the smoothed counts."""
    smooth = ndimage.gaussian_filter(counts, sigmas, mode="reflect", truncate=_TRUNCATE)
    more = [s * math.sqrt(_RATIO**2 - 1) for s in sigmas]
    score = smooth - ndimage.gaussian_filter(smooth, more, mode="reflect", truncate=_TRUNCATE)
    n = len(sigmas)
    score /= np.float32(2.0 ** (-n / 2) - (1 + _RATIO**2) ** (-n / 2))
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


def count_spots(spots: pd.DataFrame) -> dict[str, float | int]:
    """How many spots a tile has and how bright they are, as a small record.

    Parameters
    ----------
    spots
        As `detect_spots` gives them.

    Returns
    -------
    dict with ``spots`` (int), and ``median_score`` and ``median_intensity`` (0.0 where there are
    none).

    Examples
    --------
    >>> count_spots(pd.DataFrame({"score": [10.0, 30.0, 20.0], "intensity": [100.0, 120.0, 140.0]}))
    {'spots': 3, 'median_score': 20.0, 'median_intensity': 120.0}
    """
    return {
        "spots": len(spots),
        "median_score": float(spots["score"].median()) if len(spots) else 0.0,
        "median_intensity": float(spots["intensity"].median()) if len(spots) else 0.0,
    }
