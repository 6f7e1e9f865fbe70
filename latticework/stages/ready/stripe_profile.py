"""The profile of stripes across a plane: the one that, taken out, lets lines differ least.

A plane is given as values (logarithms, for shadows) of `columns x lines`, where a stripe is one
line in all columns. Each pixel is compared with those 1, 2, 4 ... 64 lines further on; the profile
is what most columns agree about. What of it are stripes is decided by `stripe_evidence`.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.linalg import solveh_banded

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
LAGS = (1, 2, 4, 8, 16, 32, 64)
"""Distances, in lines, over which pixels are compared."""
BLOCKS = 16
"""Blocks of columns that are asked whether they agree."""
FINEST = 0.7
"""Sigma, in lines, of the finest scale; each further one is twice as wide."""
LEAST_SPREAD = 1e-3
"""Least spread of differences that is believed."""
SMOOTH_SPREAD = 9
"""Lines over which the spread of differences is averaged."""
FAR_MORE = 3.0
KNOWN = 0.3
"""Share of the full sensitivity from which on a pixel counts for what is usual."""


@dataclass(frozen=True, slots=True)
class Fit:
    """A profile and what is known of its error."""

    profile: Floats
    """Of shape (lines,)."""
    parts: Floats
    """What each block of columns would change of it, shape (blocks, lines); adds up to 0."""
    contrast: float
    """Spread of the values."""
    seen: Floats
    """How much of the profile is seen in each line in the mean, 0 to 1."""


def fit_profile(values: Singles, share: Singles, rounds: int) -> Fit:
    """The profile that lets lines of a plane differ least, and what blocks say against it.

    Parameters
    ----------
    values
        Of shape (columns, lines).
    share
        How much of the profile is seen in each pixel, 0 (nothing is known) to 1.
    rounds
        Rounds of reweighting.

    Notes
    -----
    Least variation across the stripes is the idea of Bouali and Ladjal, "Toward optimal destriping
    of MODIS data using a unidirectional variational model", 2011. Here stripes are constant along
    their length, so there are as many unknowns as lines, and differences are weighted after Cauchy,
    as in robust regression: what columns with an edge of the specimen say counts little.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> stripes = rng.normal(0, 0.2, 100)
    >>> values = (stripes + 0.05 * rng.normal(size=(128, 100))).astype("float32")
    >>> found = fit_profile(values, np.ones_like(values), 5).profile
    >>> bool(np.std(found - stripes) < 0.01)
    True
    """
    columns, lines = values.shape
    starts = np.linspace(0, columns, min(BLOCKS, columns // 6) + 1).astype(int)[:-1]
    lags = [lag for lag in LAGS if lag <= lines // 4]
    seen = [np.minimum(share[:, lag:], share[:, :-lag]) for lag in lags]
    steps = [values[:, lag:] - values[:, :-lag] for lag in lags]
    middles = [np.median(step, axis=0) for step in steps]
    spread = [_spread(*each) ** 2 for each in zip(steps, seen, middles, strict=True)]
    profile = _from_steps(lines, lags, middles, spread)
    parts = np.zeros((len(starts), lines))
    for turn in range(rounds):
        matrix = np.zeros((lags[-1] + 1, lines))
        slope = np.zeros_like(matrix)
        force = np.zeros((len(starts), lines))
        for lag, step, both, usual in zip(lags, steps, seen, spread, strict=True):
            rise = (profile[lag:] - profile[:-lag]).astype(np.float32)
            away = step - both * rise
            weight = 1 / (usual + away * away)
            if turn < rounds - 2:  # as for a median, which finds the way from far
                weight = np.sqrt(weight)
            pull = weight * both
            total = np.einsum("ij,ij->j", pull, both)
            _add(matrix, lag, total)
            if turn == rounds - 1:  # how the force changes with the profile: less than its weight
                turned = pull * both * weight * (usual - away * away)
                _add(slope, lag, np.maximum(turned.sum(axis=0), 0.1 * total))
            pulled = np.add.reduceat(pull * away, starts, axis=0)
            force[:, lag:] += pulled
            force[:, :-lag] -= pulled
        profile = profile + _solve(matrix, force.sum(axis=0))
        if turn == rounds - 1:
            parts = _solve(slope, (force - force.mean(axis=0)).T).T
    known = values[share > KNOWN]
    contrast = 1.4826 * float(np.median(np.abs(known - np.median(known)))) if known.size else 0.0
    seen = share.mean(axis=0, dtype=np.float64)
    return Fit(profile - np.median(profile), parts, contrast, seen)


def _from_steps(
    lines: int, lags: list[int], middles: list[Singles], spread: list[Singles]
) -> Floats:
    """The profile whose steps are closest to the middle ones."""
    matrix, right = np.zeros((lags[-1] + 1, lines)), np.zeros(lines)
    for lag, middle, usual in zip(lags, middles, spread, strict=True):
        _add(matrix, lag, 1 / usual)
        right[lag:] += middle / usual
        right[:-lag] -= middle / usual
    return _solve(matrix, right)


def _spread(step: Singles, both: Singles, middle: Singles) -> Singles:
    """What steps between two lines differ by: as over the plane, or here, if that is far more."""
    away = np.abs(step - middle)
    lit = away[both > KNOWN]
    usual = max(float(np.median(lit if lit.size else away)), LEAST_SPREAD)
    here = ndimage.uniform_filter1d(np.median(away, axis=0), SMOOTH_SPREAD)
    return np.asarray(1.4826 * np.where(here > FAR_MORE * usual, here, usual), np.float32)


def _add(matrix: Floats, lag: int, weight: npt.NDArray[np.floating]) -> None:
    matrix[0, lag:] += weight
    matrix[0, :-lag] += weight
    matrix[lag, :-lag] -= weight


def _solve(matrix: Floats, right: Floats) -> Floats:
    matrix[0] += 1e-7 * matrix[0].mean() + 1e-12
    return np.asarray(solveh_banded(matrix, right, lower=True))


def scales(lines: int, width_px: float) -> list[float]:
    """Sigmas at which a profile is looked at: up to 8 times the width, a quarter of the plane."""
    found = [FINEST]
    while 2 * found[-1] <= min(8 * width_px, lines / 4):
        found.append(2 * found[-1])
    return found


def smooth(values: npt.NDArray[np.floating], sigma: float) -> Floats:
    """Gaussian mean along the lines (last axis)."""
    return np.asarray(
        ndimage.gaussian_filter1d(values, sigma, axis=-1, mode="nearest", truncate=3.0)
    )


def bands(values: Floats, sigmas: list[float]) -> list[Floats]:
    """Parts of a profile at each scale, the finest first; what is wider than all is left out."""
    means = [values]
    for before, sigma in pairwise([0.0, *sigmas]):
        means.append(smooth(means[-1], float(np.sqrt(sigma**2 - before**2))))
    return [fine - coarse for fine, coarse in pairwise(means)]


def errors(parts: Floats, sigmas: list[float]) -> list[Floats]:
    """Variance of each line's error at each scale, from blocks, pairs and fours of blocks.

    `parts` is what each block would change, shape (blocks, lines).

    The specimen may be as wide as several blocks, so the largest of these counts.
    """
    most = [np.zeros(parts.shape[1]) for _ in sigmas]
    for k, band in enumerate(bands(parts, sigmas)):
        for size in (1, 2, 4):
            count = len(parts) // size
            if count < 3:
                break
            groups = band[: count * size].reshape(count, size, -1).sum(axis=1)
            most[k] = np.maximum(most[k], count / (count - 1) * (groups**2).sum(axis=0))
    return most
