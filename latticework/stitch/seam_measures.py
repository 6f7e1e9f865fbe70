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
    """What patches count that are bright in both views, and how their ratios spread.

    How uneven these are is told beside the line, where there is one: what counts without light is
    not known well, and ratios are others where it is darker.
    """
    lit = lit_in_both(shared.first - dark, shared.second - dark)
    if lit.sum() < LEAST_PATCHES:
        return np.nan, np.nan, np.nan, 0, np.nan, np.nan
    a, b, _, places = (of[..., lit] for of in shared)
    ratios = np.log((b - dark) / (a - dark))
    middle = float(np.median(ratios))
    spread = 1.4826 * float(np.median(np.abs(ratios - middle)))
    apart = float(np.median(np.abs(ratios)))
    ends = float(np.median(a)), float(np.median(b))
    least = np.minimum(a, b) - dark
    shows = least > FAINT * np.quantile(least, TOP)
    if shows.sum() < LEAST_PATCHES:
        return *ends, spread, len(a), apart, np.nan
    beside = line.beside(a, b) / np.sqrt((a - dark) * (b - dark)) if line.trust else ratios
    return *ends, spread, len(a), apart, unevenness(beside[shows], places[:, shows])


__all__ = ["MEASURES", "measures_of"]
