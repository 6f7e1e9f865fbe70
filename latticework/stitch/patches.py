"""Two views of one place, patch by patch: how the brightness of the one goes with the other's.

The means of small patches are fitted by a straight line. Its slope says by how much the second view
is brighter; where the lines of several pairs cross the diagonal is what all count without light::

    second │      ·/            slope: how much brighter
           │   ·/·
           │  /·                where it starts: how much more background
           └────────── first
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

PATCH_PX = 8
"""Edge of the patches that are compared."""
LARGEST = float(np.finfo("f4").max)
"""Counts beyond this cannot be compared: that is what 32 bits hold, in which light is corrected."""
LEAST_PATCHES = 12
"""Patches from which an overlap tells something."""
FAINT = 0.25
"""Patches below this share of a view's own brightness tell nothing of ratios."""
ROUNDS = 20
LEAST_SLOPE_ERROR = 0.003
"""No slope is believed to be known better than this."""
MOST_SLOPE_ERROR = 0.2
"""Slopes that are known less well tell nothing."""
CHOSEN = 1000
"""Patches that say how far others may lie from the line, bright ones several times."""
DECIDE = 8
"""Patches that decide on that at least, if so many are bright."""
SIGNIFICANT, NEAR_LINE = 5.0, 4.0
"""Correlation of the patches, in standard deviations of chance, from which they have a line; of
those that lie no further off it than so many standard deviations."""
FEW = 0.1
"""Patches of a single cell may all be wrong by so much: its edges lie elsewhere in both views."""
USUAL_SHIFT = 0.3
"""Pixels by which places are wrong, as a rule."""
LEAST_COMMON = 1e-6
"""Views whose patches go together by less than this share of how they vary have no line."""
LOW, TOP = 0.1, 0.99
"""Share of the patches that is taken to be without light, for a first guess; and how many are less
bright than the brightest."""
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


FAR, BY_CHANCE = 3.0, 4.0
"""Deviations from which on ratios are far off, and rows of patches differ not by chance."""


class Line(NamedTuple):
    """The line that the patches of two views lie on; all 0 where too little is seen."""

    slope: float
    """Logarithm of how much brighter the second view is; 0 if that is not known."""
    trust: float
    """What the slope counts: the inverse of its variance; 0 if it is not known."""
    first: float
    """Usual counts of the first view; NaN if there is none that can be compared."""
    second: float
    """Usual counts of the second view."""
    weight: float
    """What these two count."""

    def beside(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """By how many counts the second view of patches is brighter than the line has it."""
        return np.asarray(second - self.second - np.exp(self.slope) * (first - self.first))

    @property
    def cross(self) -> float:
        """The count that both views have in common; not finite if their slopes are alike."""
        ratio = np.exp(self.slope)
        return float((self.second - ratio * self.first) / (1 - ratio)) if self.slope else np.inf


def patch_means(image: np.ndarray) -> np.ndarray:
    """Mean brightness of patches; NaN of those that cannot be compared.

    Examples
    --------
    >>> patch_means(np.array([[3.0, 5.0]])), patch_means(np.array([[3.0, 1e300]]))
    (array([4.]), array([nan]))
    """
    return _means(image, [min(PATCH_PX, n) for n in image.shape])


def _means(image: np.ndarray, sides: Sequence[int]) -> np.ndarray:
    """Means of blocks of an image, one after the other."""
    cut = image[tuple(slice(0, n // s * s) for n, s in zip(image.shape, sides, strict=True))]
    shape = [part for n, s in zip(cut.shape, sides, strict=True) for part in (n // s, s)]
    with np.errstate(over="ignore", invalid="ignore"):
        means = cut.reshape(shape).mean(axis=tuple(range(1, 2 * image.ndim, 2)), dtype="f8")
    return np.where(np.abs(means) <= LARGEST, means, np.nan).ravel()


def patch_rises(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(dims, patches): by how much two views get brighter per pixel, along each axis.

    That is told by the faces of the patches alone: means of rises are differences of ends.

    Examples
    --------
    >>> x = np.tile(np.arange(16.0), (8, 1))
    >>> patch_rises(x, x)[:, 0].tolist()
    [0.0, 0.9375]
    """
    sides = [min(PATCH_PX, n) for n in first.shape]
    found = []
    for axis, (side, n) in enumerate(zip(sides, first.shape, strict=True)):
        edges = np.arange(0, n // side * side + 1, side)
        beside = np.maximum(edges - 1, 0), np.minimum(edges, n - 1)
        with np.errstate(over="ignore", invalid="ignore"):
            faces = sum(
                view.take(at, axis).astype("f8") for view in (first, second) for at in beside
            )
            rises = np.diff(faces, axis=axis) / (4 * side)
        found.append(_means(rises, [*sides[:axis], 1, *sides[axis + 1 :]]))
    return np.stack(found)


def patch_places(shape: Sequence[int]) -> np.ndarray:
    """Where the patches of an image lie, in patches, in the order of `patch_means`.

    Examples
    --------
    >>> patch_places((16, 24)).tolist()
    [[0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 1, 2]]
    """
    return np.indices([n // min(PATCH_PX, n) for n in shape]).reshape(len(shape), -1)


def unevenness(ratios: np.ndarray, places: np.ndarray) -> float:
    """By how much ratios change along an axis, beyond what those beside each other do by chance.

    Parameters
    ----------
    ratios
        (patches,): logarithms of how much brighter the second view is.
    places
        (dims, patches): where they lie, as `patch_places` has it.

    Returns
    -------
    float
        Standard deviation along the axis of the largest; 0 if all may be chance.

    Notes
    -----
    Variance between rows of patches and within them (Fisher, 1925), with those that are far off
    moved nearer. Uneven light changes along or across an overlap, and so do stripes.

    Examples
    --------
    >>> rng, places = np.random.default_rng(0), patch_places((320, 32))
    >>> noise = rng.normal(0, 0.02, places.shape[1])
    >>> unevenness(noise, places), round(unevenness(noise + 0.1 * (places[1] % 2), places), 2)
    (0.0, 0.06)
    """
    middle = np.median(ratios)
    spread = 1.4826 * np.median(np.abs(ratios - middle))
    ratios = np.clip(ratios, middle - FAR * spread, middle + FAR * spread)
    ratios, total, most = ratios - ratios.mean(), len(ratios), 0.0
    for at in places:
        _, row, n = np.unique(at, return_inverse=True, return_counts=True)
        free = len(n) - 1
        if not free or total <= len(n):
            continue
        means = np.bincount(row, ratios) / n
        within = np.square(ratios - means[row]).sum() / (total - len(n))
        between = (n * np.square(means)).sum() / free
        if between > (1 + BY_CHANCE * np.sqrt(2 / free)) * within:
            most = max(most, (between - within) * free / (total - np.square(n).sum() / total))
    return float(np.sqrt(most))


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
    much longer than wide the cloud of the patches is, and how far it turns without single ones.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> scene = rng.uniform(100, 900, (64, 16))
    >>> line = line_between(scene, 1.2 * scene + 30)
    >>> round(float(np.exp(line.slope)), 2), round(line.second - 1.2 * line.first)
    (1.2, 30)
    """
    return line_of(patch_means(first), patch_means(second), patch_rises(first, second), dark)


def line_of(a: np.ndarray, b: np.ndarray, rises: np.ndarray, dark: float | None = None) -> Line:
    """The same of the patches of the two views, as `patch_means` and `patch_rises` give them."""
    return line_and_moved(a, b, rises, dark)[0]


def line_and_moved(
    a: np.ndarray, b: np.ndarray, rises: np.ndarray, dark: float | None = None
) -> tuple[Line, np.ndarray]:
    """The line, and the second view's patches as they were if it lay where the first one does."""
    ok = np.isfinite(a) & np.isfinite(b) & np.isfinite(rises).all(axis=0)
    if ok.sum() < LEAST_PATCHES:
        usual = 0.0 if ok.any() or not len(ok) else np.nan
        return Line(0.0, 0.0, usual, usual, 0.0), b
    line, moved = _line(a[ok], b[ok], rises[:, ok], dark)
    if not line.trust:
        return line, b
    b = b.copy()
    b[ok] = moved
    return line, b


def _line(
    a: np.ndarray, seen: np.ndarray, rises: np.ndarray, dark: float | None
) -> tuple[Line, np.ndarray]:
    """The same of patches that are all known."""
    b = seen
    slope, at, chosen = _first_guess(a, b, dark)
    for _ in range(ROUNDS):
        rest = (b - at[1] - slope * (a - at[0])) / np.sqrt(1 + slope**2)
        scale = max(float(np.median(np.abs(of))) for of in (rest, rest[chosen]))
        scale = 1.4826 * scale + 1e-9 * (1 + abs(at[0]))
        weight = 1 / (1 + (rest / (2 * scale)) ** 2) ** 2
        b = seen - _moved(a, seen, (slope, at), rises, weight / scale**2)
        if dark is None:
            at = float(np.average(a, weights=weight)), float(np.average(b, weights=weight))
        x, y = a - at[0], b - at[1]
        aa, bb, ab = (float((weight * u * v).sum()) for u, v in ((x, x), (y, y), (x, y)))
        root = float(np.hypot(bb - aa, 2 * ab))
        goes = ab > LEAST_COMMON * (aa + bb)
        slope = (bb - aa + root) / (2 * ab) if goes else 1.0
    total = float(weight.sum())
    long, wide = (aa + bb + root) / 2, max((aa + bb - root) / 2, total * scale**2 / 4)
    turns, few = _few(x, y, weight, slope)
    angle = max(np.sqrt(long * wide / total) / max(long - wide, 1e-12), turns)
    error = np.hypot(angle * (slope + 1 / slope), few)
    near = np.abs(rest) <= NEAR_LINE * scale
    certain = goes and error < MOST_SLOPE_ERROR and _go_together(a[near], b[near], dark)
    usual = float(np.average(a, weights=weight))
    line = Line(
        float(np.log(slope)) if certain else 0.0,
        float(1 / (error**2 + LEAST_SLOPE_ERROR**2)) if certain else 0.0,
        usual,
        float(np.average(b, weights=weight)),
        float(total / (scale**2 + 1e-6 * usual**2 + 1e-12)),
    )
    return line, b


def _moved(
    a: np.ndarray,
    b: np.ndarray,
    line: tuple[float, tuple[float, float]],
    rises: np.ndarray,
    weight: np.ndarray,
) -> np.ndarray:
    """By how much the second view is brighter than the line for where it lies.

    Places are wrong by a part of a pixel, which makes one edge of each cell brighter and the other
    darker: the shift that explains most of that is as wide as places are usually wrong.
    """
    slope, at = line
    beside = b - at[1] - slope * (a - at[0])
    weight = weight / (1 + slope**2)
    known = (rises * weight) @ rises.T + np.eye(len(rises)) / USUAL_SHIFT**2
    return np.asarray(np.linalg.solve(known, rises @ (weight * beside)) @ rises)


def _go_together(a: np.ndarray, b: np.ndarray, dark: float | None) -> bool:
    """Whether two views have more in common than the noise of so many patches has by chance.

    The line's own fit does not tell: what lies off the line counts less there, so that a round
    cloud looks long.
    """
    at = (dark, dark) if dark is not None else (a.mean(), b.mean())
    x, y = a - at[0], b - at[1]
    alike = float(x @ y) / max(float(np.sqrt((x @ x) * (y @ y))), 1e-300)
    deviate = np.arctanh(np.clip(alike, 0, 1 - 1e-12)) * np.sqrt(max(len(a) - 3, 0))  # Fisher, 1915
    return bool(deviate > SIGNIFICANT)


def _first_guess(
    a: np.ndarray, b: np.ndarray, dark: float | None
) -> tuple[float, tuple[float, float], np.ndarray]:
    """A slope to begin with, a point of the line, and the patches that decide.

    These are chosen as often as they are bright in both views: neither the many patches that show
    nothing say how far others may lie from the line, nor a few that are bright in one view only.
    """
    low = (dark, dark) if dark is not None else (np.quantile(a, LOW), np.quantile(b, LOW))
    at = low if dark is not None else (float(np.median(a)), float(np.median(b)))
    x, y = a - low[0], b - low[1]
    light = np.maximum(np.minimum(x, y), 0.0)
    for _ in range(ROUNDS):
        light = np.minimum(light, light.sum() / DECIDE)
    sums = np.cumsum(light)
    if not sums[-1] > 0:
        return 1.0, at, np.arange(len(a))
    evenly = (np.arange(CHOSEN) + 0.5) / CHOSEN
    chosen = np.searchsorted(sums, evenly * sums[-1])
    return float(np.median(y[chosen] / x[chosen])), at, chosen


def _few(x: np.ndarray, y: np.ndarray, weight: np.ndarray, slope: float) -> tuple[float, float]:
    """How far the line turns if patches are left out, one by one, and what it is wrong by besides.

    Where few patches are bright the line passes through these, however wrong they are.
    """
    length = np.sqrt(1 + slope**2)
    along, off = (x + slope * y) / length, (y - slope * x) / length
    pull = weight * along**2
    share = pull / max(float(pull.sum()), 1e-300)
    turns = share * off / np.where(along == 0, 1.0, along) / np.maximum(1 - share, 1e-3)
    return float(np.sqrt(np.square(turns).sum())), FEW * float(np.square(share).sum()) ** 2


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


__all__ = [
    "Line",
    "common_count",
    "line_and_moved",
    "line_between",
    "line_of",
    "lit_in_both",
    "patch_means",
    "patch_places",
    "patch_rises",
    "unevenness",
]
