"""What the patches that two tiles both show tell of their brightness: a row of numbers.

Some tell of overlaps that are bright all over, by what both count there; some of overlaps that
show something on nothing, by the line through all patches.
"""

import numpy as np

from latticework.stitch.patches import (
    FAINT,
    LEAST_PATCHES,
    LOW,
    TOP,
    Line,
    line_and_moved,
    lit_in_both,
    unevenness,
)
from latticework.stitch.shared_views import Shared

MEASURES = (
    "bright",
    "other",
    "spread",
    "patches",
    "apart",
    "uneven",
    "slope",
    "error",
    "cross",
    "low",
    "top",
)
"""Names of the numbers; see `latticework.stitch.seams.measure_seams`."""


def measures_of(shared: Shared, dark: float) -> dict[str, float]:
    """What patches of two tiles tell, by the names of `MEASURES`.

    Parameters
    ----------
    shared
        The patches that both show.
    dark
        What the camera counts without light.

    Examples
    --------
    >>> scene = np.linspace(200.0, 900.0, 100)
    >>> rises, places = np.zeros((2, 100)), np.indices((20, 5)).reshape(2, -1)
    >>> found = measures_of(Shared(scene, 1.2 * scene - 20, rises, places), 100.0)
    >>> [round(found[what], 3) for what in ("slope", "cross", "uneven")]
    [1.2, 100.0, 0.0]
    """
    line, moved = line_and_moved(shared.first, shared.second, shared.rises)
    shared = shared._replace(second=moved)
    known = np.isfinite(shared.first) & np.isfinite(shared.second)
    shared = Shared(*(of[..., known] for of in shared))
    least = np.minimum(shared.first, shared.second)
    low, top = np.quantile(least, (LOW, TOP)) if len(least) else (np.nan, np.nan)
    told = (np.exp(line.slope), line.trust**-0.5, line.cross) if line.trust else (np.nan,) * 3
    values = (*_bright(shared, min(dark, low), line), *told, low, top)
    return {what: float(value) for what, value in zip(MEASURES, values, strict=True)}


def _bright(
    shared: Shared, dark: float, line: Line
) -> tuple[float, float, float, int, float, float]:
    """What patches count that are bright in both views, and how their ratios spread."""
    lit = lit_in_both(shared.first - dark, shared.second - dark)
    if lit.sum() < LEAST_PATCHES:
        return np.nan, np.nan, np.nan, 0, np.nan, np.nan
    a, b = shared.first[lit], shared.second[lit]
    ratios = np.log((b - dark) / (a - dark))
    middle = float(np.median(ratios))
    spread = 1.4826 * float(np.median(np.abs(ratios - middle)))
    apart = float(np.median(np.abs(ratios)))
    ends = float(np.median(a)), float(np.median(b))
    return *ends, spread, len(a), apart, uneven_beside(shared, line, dark)


def uneven_beside(shared: Shared, line: Line, dark: float) -> float:
    """By how much ratios change along an axis; NaN where too little is seen.

    It is told beside the line, where there is one: what counts without light is not known well, and
    ratios are others where it is darker.
    """
    a, b = shared.first - dark, shared.second - dark
    least = np.minimum(a, b)
    known = np.isfinite(least)
    if known.sum() < LEAST_PATCHES:
        return np.nan
    shows = known & (least > max(FAINT * float(np.quantile(least[known], TOP)), 0.0))
    if shows.sum() < LEAST_PATCHES:
        return np.nan
    a, b, places = a[shows], b[shows], shared.places[:, shows]
    if line.trust:
        beside = line.beside(a + dark, b + dark) / np.sqrt(a * b)
    else:
        beside = np.log(b / a)
    return unevenness(beside, places)


def at_least_usual(uneven: np.ndarray) -> np.ndarray:
    """By how much ratios change over overlaps, at least by as much as over most of them.

    Where little is seen, as NaN says, it is not seen how even light is.
    """
    seen = uneven[np.isfinite(uneven)]
    return np.asarray(np.fmax(uneven, np.median(seen) if len(seen) else 0.0))


def less_sure(weights: np.ndarray, uneven: np.ndarray) -> np.ndarray:
    """What ratios count if they change over their overlaps.

    Parameters
    ----------
    weights
        (overlaps,): what they count, the inverse of their variances; 0 of those that are not known.
    uneven
        (overlaps,): by how much they change; NaN where too little is seen.

    Examples
    --------
    >>> less_sure(np.array([1e4, 1e4, 0.0]), np.array([0.1, np.nan, np.nan])).round().tolist()
    [99.0, 99.0, 0.0]
    """
    known = weights > 0
    variances = 1 / np.where(known, weights, 1.0) + at_least_usual(uneven) ** 2
    return np.where(known, 1 / variances, 0.0)


__all__ = ["MEASURES", "at_least_usual", "less_sure", "measures_of", "uneven_beside"]
