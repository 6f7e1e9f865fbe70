"""Lines of a plane as `destripe` compares them: in columns, without the edges of the specimen.

Where the specimen ends along the stripes, lines differ for good, not for a stripe's width. A median
over more lines than the widest shadow keeps such edges and nothing that is narrower; where it has
one it is taken out before lines are compared::

    line  ──.──────┐               ──.─────────────
                   │       ->
                   └──.──          ───────────.────
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]

LEAST_LENGTH = 48
"""Pixels along the stripes below which nothing is told from anything."""
DIM = 0.1
"""Share of the usual brightness below which little can be said of a multiplicative stripe."""
COLUMNS, MOST_MEAN_PX = 128, 8
"""Pixels along the stripes are averaged, at most 8, as long as so many columns are left."""
RIDGE, FOOT = 0.3, 0.03
"""Logarithm of brightness from which on a line is a ridge, and down to which it reaches."""
LEAST_SEEN = 0.4
"""Share of a stripe, of what is usual, that lines show which are within the specimen."""
EDGE, EDGE_PX = 0.7, 16
"""An edge of the specimen changes lines by so much within twice so many, as `compared` has it."""


@dataclass(frozen=True, slots=True)
class Lines:
    """A plane's lines across the stripes."""

    mean: Singles
    """Means of some pixels along the stripes, (columns, lines); NaN where nothing is known."""
    factors: bool
    """Whether stripes take a share of the light, rather than adding to it."""
    level: float
    """Counts that matter: the spread of the plane; or, for factors, what is dim in it."""
    ground: Singles
    """(columns, lines): edges of the specimen, as `compared` has them; zeros if there are none."""
    beside: Singles | None = None
    """Means of some pixels along its columns, as `mean`; None if there are too few of them."""

    def compared(self, profile: Floats) -> tuple[Singles, Singles]:
        """Values without the stripes found before, and how much of a further one is seen in each.

        Logarithms of factors, or counts in units of `level`.
        """
        values, share = _compared(self.mean, self.level, profile, factors=self.factors)
        if self.ground.any():  # of lines beyond the specimen's edge nothing is to be known
            share = share * (share.mean(axis=0) > LEAST_SEEN * share.mean())
        return values - self.ground, share

    def less(self, profile: Floats, width_px: float) -> "Lines":
        """The lines without stripes that were found, and with edges of what is left."""
        if not profile.any():
            return self
        light = profile.astype(np.float32)
        mean = self.mean * np.exp(-light) if self.factors else self.mean - self.level * light
        values, _ = _compared(mean, self.level, np.zeros_like(profile), factors=self.factors)
        return replace(self, mean=mean, ground=_ground(values, np.isfinite(mean), width_px))

    def across(self, width_px: float) -> "Lines | None":
        """The plane's columns in the same way; None if there are too few of them."""
        if self.beside is None:
            return None
        return _lines_of(self.beside, width_px, factors=self.factors)

    def without(self, profile: Floats) -> Floats:
        """Brightness of lines without a profile, as logarithms of factors, or counts; or NaN."""
        known = np.isfinite(self.mean)
        total = np.where(known, self.mean, 0).sum(axis=0, dtype=np.float64)
        count = known.sum(axis=0)
        line = np.where(count > 0, total / np.maximum(count, 1), np.nan)
        ground = self.ground.mean(axis=0)
        if not self.factors:
            return np.asarray(line - self.level * (profile + ground))
        return np.asarray(np.log(np.maximum(line * np.exp(-profile), 0) + self.level) - ground)


def lines_of(plane: Singles, angle_deg: float, width_px: float, *, factors: bool) -> Lines:
    """Lines of a plane above the camera's offset, (lines, pixels along the stripes); and columns.

    Parameters
    ----------
    plane
        Counts; NaN where nothing is known.
    angle_deg
        Angle of the stripes.
    width_px
        The widest shadows: what is narrower is no edge of the specimen.
    factors
        Whether stripes take a share of the light.

    Examples
    --------
    >>> scene = np.full((120, 256), 500.0, np.float32)
    >>> scene[70:] = 5
    >>> lines = lines_of(scene, 0.0, 20.0, factors=True)
    >>> values, _ = lines.compared(np.zeros(120))
    >>> bool(np.ptp(values) < 1e-5)
    True
    """
    own = _lines_of(_columns(plane, angle_deg), width_px, factors=factors)
    if min(plane.shape) < LEAST_LENGTH:
        return own
    return replace(own, beside=_columns(plane.T, 0.0))


def _lines_of(mean: Singles, width_px: float, *, factors: bool) -> Lines:
    known = mean[np.isfinite(mean)]
    if not known.size:
        return Lines(mean, factors, 1.0, np.zeros_like(mean))
    counts = DIM * float(np.percentile(known, 90)) if factors else float(known.std())
    level = max(counts, 1e-6)
    values, _ = _compared(mean, level, np.zeros(mean.shape[1]), factors=factors)
    return Lines(mean, factors, level, _ground(values, np.isfinite(mean), width_px))


def drop_of(length: int, angle_deg: float) -> Floats:
    """By how many lines a stripe lies lower at each pixel along it than in the middle."""
    return np.asarray(np.tan(np.radians(angle_deg)) * (np.arange(length) - 0.5 * (length - 1)))


def no_ridges(profile: Floats) -> Floats:
    """A profile of logarithms without lines that are much brighter than those around.

    Beside an edge of the specimen that is a bright rim of it, whatever blocks agree about: a sheet
    of light throws shadows.

    Examples
    --------
    >>> no_ridges(np.array([0.0, 0.02, 0.2, 0.6, 0.3, 0.0, -0.4, 0.1, 0.0])).tolist()
    [0.0, 0.02, 0.0, 0.0, 0.0, 0.0, -0.4, 0.1, 0.0]
    """
    runs, _ = ndimage.label(profile > FOOT)
    ridges = np.unique(runs[profile > RIDGE])
    return np.where(np.isin(runs, ridges) & (runs > 0), 0.0, profile)


def _columns(plane: Singles, angle_deg: float) -> Singles:
    lines, length = plane.shape
    if angle_deg:
        rows = np.arange(lines)[:, None] + np.rint(drop_of(length, angle_deg)).astype(int)
        inside = (rows >= 0) & (rows < lines)
        plane = np.take_along_axis(plane, np.clip(rows, 0, lines - 1), 0)
        plane = np.where(inside, plane, np.float32(np.nan))
    size = max(1, min(MOST_MEAN_PX, length // COLUMNS))
    count = length // size
    return np.ascontiguousarray(plane[:, : count * size].reshape(lines, count, size).mean(2).T)


def _compared(
    mean: Singles, level: float, profile: Floats, *, factors: bool
) -> tuple[Singles, Singles]:
    known = np.isfinite(mean)
    filled = np.where(known, mean, np.float32(0))
    if not factors:
        share = known.astype(np.float32)
        scaled = (filled / np.float32(level)).astype(np.float32)
        return scaled - share * profile.astype(np.float32), share
    lifted = filled * np.exp(-profile).astype(np.float32)
    above = np.maximum(lifted, np.float32(-0.5 * level)) + np.float32(level)
    share = np.where(known, np.clip(lifted / above, 0, 1), 0).astype(np.float32)
    return np.log(above).astype(np.float32), share


def _ground(values: Singles, known: npt.NDArray[np.bool_], width_px: float) -> Singles:
    """What is wider than any shadow in each column, if there are edges among it; else zeros."""
    lines = values.shape[1]
    reach = min(2 * int(width_px) + 1, (lines - 1) // 2 * 2 + 1)
    wide = ndimage.median_filter(np.where(known, values, 0), (1, reach), mode="nearest")
    apart = min(2 * EDGE_PX, lines - 1)
    usual = wide.mean(axis=0)
    if not np.abs(usual[apart:] - usual[:-apart]).max(initial=0.0) > EDGE:
        return np.zeros_like(wide)
    return np.asarray(wide - np.median(wide, axis=1, keepdims=True), np.float32)


__all__ = ["Lines", "drop_of", "lines_of", "no_ridges"]
