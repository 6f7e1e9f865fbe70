"""What is left of stripes over an even ground: all that lines differ by more than columns do.

Where nearly every line shows the same ground, its level is known in each line, however wide stripes
are. Whether the ground is even, the other direction tells: what columns differ by is the
specimen's, and lines of a specimen differ by about as much. Scale by scale, what exceeds that is
taken for stripes, as far as quarters of the plane agree::

    lines    ▔▔▔▁▁▁▁▔▔▔▔▔▁▁      differ by 5 %
    columns  ▔▔▔▔▔▁▔▔▔▔▔▔▔▔      differ by 1 %: so most of that is stripes
"""

from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy import ndimage, stats

from latticework.stages.ready.stripe_evidence import level_of
from latticework.stages.ready.stripe_levels import fit_levels
from latticework.stages.ready.stripe_lines import Lines
from latticework.stages.ready.stripe_profile import bands, scales

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]

ROUNDS, PASSES = 6, 2
"""Rounds of finding the place of each line in the distribution of all, and how often from anew."""
QUARTERS = 4
"""Parts of the plane that are asked whether they agree."""
LEAST_GROUND, FEW = 0.3, 5.0
"""Share of a line's pixels that lie on the ground, in all lines but this percentage."""
BINS, BLUR = 400, 3.0
"""Of the histogram in which the ground is the most frequent value."""
CHANCE = 0.2
"""Probability with which lines of a specimen differ by more than is reckoned with."""
LONG, FEWEST = 3.0, 1.5
"""Sigmas of a scale by which lines have to be apart to be independent; and how many these are."""
CLEAR = 2.5
"""Times that, in squares, by which lines differ at some scale, or there is nothing."""


def ground_part(lines: Lines, profile: Floats, width_px: float) -> Floats:
    """What a profile leaves of stripes over an even ground; zeros where that cannot be told.

    Nor is it where the specimen has edges.

    Parameters
    ----------
    lines
        The plane's lines.
    profile
        Stripes that were found before, in the units of `Lines.compared`.
    width_px
        The widest shadows.

    Notes
    -----
    That lines have one distribution is the idea of Horn and Woodham, "Destriping Landsat MSS images
    by histogram modification", 1979; see `fit_levels`.

    Examples
    --------
    >>> from latticework.stages.ready.stripe_lines import lines_of
    >>> rng = np.random.default_rng(0)
    >>> wide = ndimage.gaussian_filter1d(rng.normal(0, 0.5, 256), 10)
    >>> tile = rng.normal(500, 20, (256, 256)) * np.exp(wide)[:, None]
    >>> lines = lines_of(tile.astype("float32"), 0.0, 40.0, factors=True)
    >>> found = ground_part(lines, np.zeros(256), 40.0)
    >>> bool(np.std(found - wide) < 0.1 * np.std(wide))
    True
    """
    none = np.zeros(len(profile))
    if lines.ground.any():
        return none
    values, share = lines.compared(profile)
    whole, rest = np.zeros(len(profile)), values
    for _ in range(PASSES):
        whole = whole + fit_levels(rest, share, ROUNDS, 0.0).profile
        rest = values - share * whole.astype(np.float32)
    if np.percentile(_on_ground(rest, share), FEW) < LEAST_GROUND:
        return none
    across = lines.across(width_px)
    if across is None or across.ground.any():
        return none
    sigmas = scales(len(whole), width_px)
    columns = fit_levels(*across.compared(np.zeros(across.mean.shape[1])), ROUNDS, 0.0)
    usual = [float((band**2).mean()) for band in _every(columns.profile, sigmas)]
    doubts = _doubts(values, share, sigmas)
    total, clear = none, 0.0
    for k, band in enumerate(_every(whole, sigmas)):
        energy = max(float((band**2).mean()), 1e-12)
        doubt = max(_more(len(profile), sigmas[k : k + 1]) * usual[k], doubts[k])
        clear = max(clear, energy / doubt)
        total = total + band * max(0.0, 1.0 - doubt / energy)
    if clear < CLEAR:
        return none
    return total - level_of(total, factors=lines.factors)


def _on_ground(values: Singles, share: Singles) -> Floats:
    """Share of each line's pixels that lie near the most frequent value."""
    known = share > 0
    low, high = np.quantile(values[known], [0.001, 0.999]) if known.any() else (0.0, 0.0)
    if not high > low:
        return np.zeros(values.shape[1])
    counts, edges = np.histogram(values[known], BINS, (low, high))
    frequent = int(np.argmax(ndimage.gaussian_filter1d(counts.astype(np.float64), BLUR)))
    mode = 0.5 * (edges[frequent] + edges[frequent + 1])
    away = np.abs(values - mode)
    steps = np.diff(values, axis=0)
    near = known[1:] & (away[1:] <= np.median(away[known]))
    noise = 1.4826 * float(np.median(np.abs(steps[near]))) / np.sqrt(2) if near.any() else 0.0
    return np.asarray(((away <= 2 * noise) & known).mean(axis=0))


def _more(lines: int, sigma: list[float]) -> float:
    """Times what columns differ by, in squares, that lines of a specimen may differ by.

    The wider a scale, the fewer independent lines there are, of which chance has made some.
    """
    independent = max(lines / (LONG * sigma[0]), FEWEST) if sigma else FEWEST
    return float(stats.f.ppf(1 - CHANCE, independent, independent))


def _doubts(values: Singles, share: Singles, sigmas: list[float]) -> list[float]:
    """Variance of the profile at each scale, from what quarters of the plane disagree by."""
    edges = np.linspace(0, len(values), QUARTERS + 1).astype(int)
    parts = [slice(*ends) for ends in pairwise(edges)]
    each = np.stack([fit_levels(values[p], share[p], ROUNDS, 0.0).profile for p in parts])
    each -= each.mean(axis=0)
    number = QUARTERS * (QUARTERS - 1)
    return [float((band**2).sum(axis=0).mean() / number) for band in _every(each, sigmas)]


def _every(values: Floats, sigmas: list[float]) -> list[Floats]:
    """Parts of a profile at each scale, and what is wider than all; without its mean."""
    values = values - values.mean(axis=-1, keepdims=True)
    found = bands(values, sigmas)
    return [*found, values - np.sum(found, axis=0)]


__all__ = ["ground_part"]
