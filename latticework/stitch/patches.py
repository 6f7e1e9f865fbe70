"""Two views of one place, patch by patch: how the brightness of the one goes with the other's.

The means of small patches are fitted by a straight line. Its slope says by how much the second view
is brighter; where the lines of several pairs cross the diagonal is what all count without light::

    second │      ·/            slope: how much brighter
           │   ·/·
           │  /·                where it starts: how much more background
           └────────── first
"""

from typing import NamedTuple

import numpy as np

PATCH_PX = 8
"""Edge of the patches that are compared."""
LEAST_PATCHES = 12
"""Patches from which an overlap tells something."""
FAINT = 0.25
"""Patches below this share of a view's own brightness tell nothing of ratios."""
ROUNDS = 20
LEAST_SLOPE_ERROR = 0.003
"""No slope is believed to be known better than this."""
MOST_SLOPE_ERROR = 0.2
"""Slopes that are known less well tell nothing."""
LOW = 0.1
"""Share of the patches that is taken to be without light, for a first guess."""
LEAST_CROSSINGS = 4
"""Lines that cross the diagonal, from which on they say where."""
LEAST_DIFFERENCE, ERRORS, ERRORS_OF_FEW = 0.05, 6.0, 15.0
"""A line crosses the diagonal somewhere if its slope differs from 1 by so much, and by so many
errors; by more of them if there are few lines."""
LIT = 0.1
"""Light of an empty overlap, as a share of what its tiles count, when it is weighed with others."""
AGREED = 0.2
"""Crossings agree if they spread by no more than this share of the light."""
ABOVE = 1.5
"""What tiles count without light is not more than so many times what they usually count."""


class Line(NamedTuple):
    """The line that the patches of two views lie on; all 0 where too little is seen."""

    slope: float
    """Logarithm of how much brighter the second view is; 0 if that is not known."""
    trust: float
    """What the slope counts: the inverse of its variance; 0 if it is not known."""
    first: float
    """Usual counts of the first view."""
    second: float
    """Usual counts of the second view."""
    weight: float
    """What these two count."""

    @property
    def cross(self) -> float:
        """The count that both views have in common; not finite if their slopes are alike."""
        ratio = np.exp(self.slope)
        return float((self.second - ratio * self.first) / (1 - ratio)) if self.slope else np.inf


def patch_means(image: np.ndarray) -> np.ndarray:
    """Mean brightness of patches."""
    sides = [min(PATCH_PX, n) for n in image.shape]
    cut = image[tuple(slice(0, n // s * s) for n, s in zip(image.shape, sides, strict=True))]
    shape = [part for n, s in zip(cut.shape, sides, strict=True) for part in (n // s, s)]
    return np.asarray(
        cut.reshape(shape).mean(axis=tuple(range(1, 2 * image.ndim, 2)), dtype="f8")
    ).ravel()


def lit_in_both(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Which patches are bright enough in both views for their ratio to tell something.

    Each view is measured by itself: the one may be several times as bright as the other.

    Parameters
    ----------
    first, second
        Counts of the same patches, above what the camera counts without light.

    Examples
    --------
    >>> lit_in_both(np.array([500.0, 400, 20, -1]), np.array([100.0, 80, 4, 1])).tolist()
    [True, True, False, False]
    """
    lit = np.minimum(first, second) > 0
    for view in (first, second):
        if lit.any():
            lit = lit & (view > FAINT * np.median(view[lit]))
    return np.asarray(lit)


def line_between(first: np.ndarray, second: np.ndarray, dark: float | None = None) -> Line:
    """How the second view of a place goes with the first.

    Parameters
    ----------
    first, second
        Two views of the same place, of one shape.
    dark
        What the camera counts without light: the line is led through it. Of evenly lit views the
        slope is only known then.

    Notes
    -----
    Fitted by iteratively reweighted least squares of the distance from the line, so that neither
    view is taken to be without noise (Deming, 1943). How well the slope is known follows from how
    much longer than wide the cloud of the patches is.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> scene = rng.uniform(100, 900, (64, 16))
    >>> line = line_between(scene, 1.2 * scene + 30)
    >>> round(float(np.exp(line.slope)), 2), round(line.second - 1.2 * line.first)
    (1.2, 30)
    """
    a, b = patch_means(first), patch_means(second)
    ok = np.isfinite(a) & np.isfinite(b)
    a, b = a[ok], b[ok]
    if len(a) < LEAST_PATCHES:
        return Line(0.0, 0.0, 0.0, 0.0, 0.0)
    slope, at = _first_guess(a, b, dark)
    for _ in range(ROUNDS):
        rest = (b - at[1] - slope * (a - at[0])) / np.sqrt(1 + slope**2)
        scale = 1.4826 * float(np.median(np.abs(rest))) + 1e-9 * (1 + abs(at[0]))
        weight = 1 / (1 + (rest / (2 * scale)) ** 2) ** 2
        if dark is None:
            at = float(np.average(a, weights=weight)), float(np.average(b, weights=weight))
        x, y = a - at[0], b - at[1]
        aa, bb, ab = (float((weight * u * v).sum()) for u, v in ((x, x), (y, y), (x, y)))
        root = float(np.hypot(bb - aa, 2 * ab))
        slope = (bb - aa + root) / (2 * ab) if ab > 0 else 1.0
    total = float(weight.sum())
    long, wide = (aa + bb + root) / 2, max((aa + bb - root) / 2, total * scale**2 / 4)
    error = np.sqrt(long * wide / total) / max(long - wide, 1e-12) * (slope + 1 / slope)
    certain = ab > 0 and error < MOST_SLOPE_ERROR
    usual = float(np.average(a, weights=weight))
    return Line(
        float(np.log(slope)) if certain else 0.0,
        float(1 / (error**2 + LEAST_SLOPE_ERROR**2)) if certain else 0.0,
        usual,
        float(np.average(b, weights=weight)),
        float(total / (scale**2 + 1e-6 * usual**2 + 1e-12)),
    )


def _first_guess(
    a: np.ndarray, b: np.ndarray, dark: float | None
) -> tuple[float, tuple[float, float]]:
    """A slope to begin with, and a point of the line.

    The median of the patches' ratios, each as much as is bright in both views: neither the many
    patches that show nothing decide, nor a few that are bright in one view only.
    """
    low = (dark, dark) if dark is not None else (np.quantile(a, LOW), np.quantile(b, LOW))
    x, y = a - low[0], b - low[1]
    lit = np.minimum(x, y) > 0
    at = low if dark is not None else (float(np.median(a)), float(np.median(b)))
    if not lit.any():
        return 1.0, at
    ratios, counts = y[lit] / x[lit], np.minimum(x, y)[lit]
    order = np.argsort(ratios)
    half = np.searchsorted(np.cumsum(counts[order]), 0.5 * counts.sum())
    return float(ratios[order[half]]), at


def common_count(
    slopes: np.ndarray, errors: np.ndarray, crossings: np.ndarray, usual: float
) -> float | None:
    """The count that is the same in all tiles, whatever their gains; None if nothing tells.

    Where gains differ, the lines between two tiles' counts cross the diagonal there.

    Parameters
    ----------
    slopes, errors
        (lines,): logarithms of the slopes, and how well they are known.
    crossings
        (lines,): where they cross; not finite if they do not.
    usual
        What tiles usually count.

    Examples
    --------
    >>> slopes = np.log([1.2, 0.8, 1.1, 1.3])
    >>> common_count(slopes, np.full(4, 0.001), np.array([99.0, 101, 100, 100]), 500.0)
    100.0
    """
    differ = np.abs(slopes)
    told = (differ > ERRORS * errors) & (differ > LEAST_DIFFERENCE) & np.isfinite(crossings)
    if told.sum() < LEAST_CROSSINGS:
        told &= differ > ERRORS_OF_FEW * errors
    found = crossings[told]
    if not len(found):
        return None
    middle = float(np.median(found))
    spread = 1.4826 * float(np.median(np.abs(found - middle)))
    least = LIT * abs(usual)  # in empty overlaps nothing but the camera counts
    if middle > ABOVE * abs(usual):
        return None
    return middle if spread < AGREED * max(usual - middle, least) else None


__all__ = ["Line", "common_count", "line_between", "lit_in_both", "patch_means"]
