"""Spots: somata, nuclei, beads; found, placed to a fraction of a pixel, counted."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

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
from latticework.stages.ready.spot_finding import RATIO, TRUNCATE, find_spots

USUAL_SIGMA_PX, LEAST_SIGMA_PX = 2.0, 0.7
"""Standard deviation of a spot if none is given, and the least of it along z."""


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
    more = math.sqrt(RATIO**2 - 1)
    return {
        a: int(TRUNCATE * s + 0.5) + int(TRUNCATE * s * more + 0.5) + 2 for a, s in sigmas.items()
    }


def detect_spots(
    tile: Pixels,
    *,
    sigma_px: float | Mapping[str, float] | None = None,
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
        by 1.2), one for all axes or by axis. If not given: 2 along y and x, and along z as many as
        make the same length, where the tile knows how large its pixels are.
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
    sigmas = _usual(pixels, axes) if sigma_px is None else per_axis(sigma_px, axes, "sigma_px")
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


def _usual(pixels: xr.DataArray, axes: tuple[str, ...]) -> dict[str, float]:
    """Standard deviations of a round spot, in pixels that may be longer along z."""
    sigmas = dict.fromkeys(axes, USUAL_SIGMA_PX)
    along, across = (axis_um(pixels, axis) for axis in ("z", "x"))
    if "z" in axes and along is not None and across is not None and along[1] > 0:
        ratio = across[1] / along[1]
        sigmas["z"] = float(np.clip(USUAL_SIGMA_PX * ratio, LEAST_SIGMA_PX, 2 * USUAL_SIGMA_PX))
    return sigmas


def _table(
    pixels: xr.DataArray,
    axes: tuple[str, ...],
    sigmas: tuple[float, ...],
    threshold: float | None,
    max_spots: int,
) -> pd.DataFrame:
    """Spots of one channel."""
    first = np.array([first_pixel(pixels, axis) for axis in axes])
    spans = np.array([proper_span(pixels, axis) for axis in axes]) - first[:, None]
    spots = find_spots(np.asarray(pixels.data), sigmas, threshold=threshold, spans=spans)
    if len(spots.places) > max_spots:
        raise StageError(
            f"{len(spots.places)} spots above threshold {spots.level:g} are more than "
            f"max_spots={max_spots}: raise the threshold"
        )
    places = spots.places + first
    columns: dict[str, npt.NDArray[Any]] = {axis: places[:, k] for k, axis in enumerate(axes)}
    for k, axis in enumerate(axes):
        known = axis_um(pixels, axis)
        if known is not None:
            columns[f"{axis}_um"] = known[0] + places[:, k] * known[1]
    columns["intensity"] = spots.intensity
    columns["score"] = spots.score
    return pd.DataFrame(columns)


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
