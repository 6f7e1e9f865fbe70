"""The profile of stripes across a plane: the one that, taken out, lets lines differ least.

A plane is given as values (logarithms, for shadows) of `columns x lines`, where a stripe is one line
in all columns. Three steps, each a function:

`fit_profile`
    differences of each pixel to those 1, 2, 4 ... 64 lines further on, and the profile that explains
    what most columns agree about;
`gated`
    scale by scale, how much of it is certain: by what blocks of columns disagree by;
`single_stripes`
    lines that stand out of quiet surroundings, which are lifted to these.
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
KNOWN = 0.3
"""Share of the full sensitivity from which on a pixel counts for what is usual."""
STRUCTURE = 1.5e-3
"""Mean over a line of the specimen, in units of its contrast, per line of scale, at least."""
LOCAL = (3.0, 6.0)
"""Energy around a line, in units of its error, from which on it is a stripe; and for certain."""
OVERALL = (2.0, 4.0)
"""The same for all lines, in standard deviations of what chance makes of the energy."""
WIDE = (6.0, 12.0)
"""The same for all lines at scales of half `width_px` and wider, in units of the error."""
STANDING_OUT = 5.0
"""Single stripes stand out by so many times what is usual, and what is uncertain."""
CERTAIN = 3.0
"""Energy at a scale, in units of its error, from which on it counts for what is expected."""
MOST_MISFIT = 0.6
"""Deviation of logarithms of energies up to which stripes pass for random ones."""
REGULAR = 30.0
"""Regular stripes stand out by so many times the energy of the spectrum around them, and of doubt."""
MOST_WAVES = 24
FINER = 4
"""Steps of the spectrum, per step that the number of lines gives."""
MOST_SINGLE = 0.25
"""Share of lines up to which stripes can be single ones."""


@dataclass(frozen=True, slots=True)
class Fit:
    """A profile and what is known of its error."""

    profile: Floats
    """Of shape (lines,)."""
    parts: Floats
    """What each block of columns would change of it, shape (blocks, lines); adds up to 0."""
    contrast: float
    """Spread of the values."""


def fit_profile(values: Singles, share: Singles, rounds: int) -> Fit:
    """The profile that lets lines of a plane differ least, and what blocks of columns say against it.

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
    Least variation across the stripes is the idea of Bouali and Ladjal, "Toward optimal destriping of
    MODIS data using a unidirectional variational model", 2011. Here stripes are constant along their
    length, so there are as many unknowns as lines, and differences are weighted after Cauchy, as
    in robust regression: what columns with an edge of the specimen say counts little.

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
    return Fit(profile - np.median(profile), parts, contrast)


def _from_steps(
    lines: int, lags: list[int], middles: list[Singles], spread: list[np.float32]
) -> Floats:
    """The profile whose steps are closest to the middle ones."""
    matrix, right = np.zeros((lags[-1] + 1, lines)), np.zeros(lines)
    for lag, middle, usual in zip(lags, middles, spread, strict=True):
        _add(matrix, lag, np.full(lines - lag, 1 / usual))
        right[lag:] += middle / usual
        right[:-lag] -= middle / usual
    return _solve(matrix, right)


def _spread(step: Singles, both: Singles, middle: Singles) -> np.float32:
    away = np.abs(step - middle)
    lit = away[both > KNOWN]
    return np.float32(max(1.4826 * float(np.median(lit if lit.size else away)), LEAST_SPREAD))


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


def errors(fit: Fit, sigmas: list[float]) -> list[Floats]:
    """Variance of each line's error at each scale, from blocks, pairs and fours of blocks.

    The specimen may be as wide as several blocks. What it has in common along a whole line, at least,
    is taken to grow with the scale and its contrast.
    """
    found = [np.full(len(fit.profile), (STRUCTURE * s * fit.contrast) ** 2) for s in sigmas]
    most = [np.zeros(len(fit.profile)) for _ in sigmas]
    for size in (1, 2, 4):
        count = len(fit.parts) // size
        if count < 3:
            break
        groups = fit.parts[: count * size].reshape(count, size, -1).sum(axis=1)
        for k, band in enumerate(bands(groups, sigmas)):
            most[k] = np.maximum(most[k], count / (count - 1) * (band**2).sum(axis=0))
    return [floor + error for floor, error in zip(found, most, strict=True)]


def certain_part(fit: Fit, width_px: float, planes: list[Floats] | None = None) -> Floats:
    """Of a profile, what are stripes: single ones, and what is certain of the rest.

    `planes` are the profiles of all planes of which `fit` is the mean: they have to agree as well.
    """
    sigmas = scales(len(fit.profile), width_px)
    error = errors(fit, sigmas)
    if planes is not None:
        apart = np.stack(planes) - fit.profile
        share = 1 / (len(planes) * (len(planes) - 1))
        between = [share * (band**2).sum(axis=0) for band in bands(apart, sigmas)]
        error = [np.maximum(a, b) for a, b in zip(error, between, strict=True)]
    regular = regular_stripes(fit, width_px)
    rest = fit.profile - regular
    single = single_stripes(rest, error, sigmas, width_px)
    return regular + single + gated(rest - single, error, sigmas, width_px)


def regular_stripes(fit: Fit, width_px: float) -> Floats:
    """Of a profile, waves of one frequency each that stand out of its spectrum.

    They have to stand out of what blocks of columns disagree by as well.

    Examples
    --------
    >>> wave = 0.2 * np.sin(0.7 * np.arange(300))
    >>> noise = np.random.default_rng(0).normal(0, 0.02, (16, 300))
    >>> parts = noise - noise.mean(axis=0)
    >>> found = regular_stripes(Fit(wave + noise.mean(axis=0), parts / 16, 1.0), 16.0)
    >>> bool(np.std(found - wave) < 0.002)
    True
    """
    lines = len(fit.profile)
    at = np.arange(lines) - 0.5 * (lines - 1)
    window = np.hanning(lines)
    flat = fit.profile - smooth(fit.profile, 2 * width_px)
    size = FINER * lines
    least = int(size / (4 * width_px))  # waves are up to twice as long as stripes of both kinds
    share = len(fit.parts) / max(len(fit.parts) - 1, 1)
    doubt = share * (np.abs(np.fft.rfft(window * fit.parts, size)) ** 2).sum(axis=0)
    doubt = ndimage.uniform_filter1d(doubt, 16 * FINER) + 1e-12
    total = np.zeros(lines)
    for _ in range(MOST_WAVES):
        spectrum = np.abs(np.fft.rfft(window * (flat - total), size)) ** 2
        usual = ndimage.median_filter(spectrum[::FINER], 31, mode="nearest")
        usual = np.repeat(usual, FINER)[: len(spectrum)]
        clear = spectrum / np.maximum(usual, doubt)
        clear[:least] = 0
        best = int(np.argmax(clear))
        if not clear[best] > REGULAR:
            break
        total = total + _wave(flat - total, at, 2 * np.pi * best / size)
    return total


def _wave(values: Floats, at: Floats, frequency: float) -> Floats:
    """The wave near a frequency that fits best (Gauss-Newton)."""
    wave = np.zeros(len(values))
    for _ in range(4):
        cos, sin = np.cos(frequency * at), np.sin(frequency * at)
        (a, b), *_ = np.linalg.lstsq(np.stack([cos, sin], axis=1), values, rcond=None)
        wave = a * cos + b * sin
        turned = at * (b * cos - a * sin)
        step = float(turned @ (values - wave)) / (float(turned @ turned) + 1e-12)
        frequency += float(np.clip(step, -np.pi / len(values), np.pi / len(values)))
    return wave


def gated(profile: Floats, error: list[Floats], sigmas: list[float], width_px: float) -> Floats:
    """Of a profile, at each scale as much as is certain (Wiener's filter, with a threshold).

    Wider than `width_px`, it takes no more than finer scales let expect of random stripes: what exceeds
    that is the specimen.
    """
    lines = len(profile)
    total, expected = np.zeros(lines), np.zeros(lines)
    each = bands(profile, sigmas)
    random = random_stripes(each, error, sigmas, width_px)
    for band, variance, sigma, likely in zip(each, error, sigmas, random, strict=True):
        window = min(max(3 * sigma, 3.0), lines / 4)
        energy = smooth(band**2, window)
        doubt = smooth(variance, window) + 1e-10
        excess = np.maximum(energy - doubt, 0)
        ratio = float((band**2).mean() / doubt.mean())
        chance = np.sqrt(2 * (2.5 * sigma + 1.5) / lines + 0.02)
        overall = _ramp((ratio - 1) / chance, OVERALL)
        local = _ramp(energy / doubt, LOCAL)
        if sigma > width_px / 2:
            overall = _ramp(ratio, WIDE)
            local = overall * local
        if sigma > width_px:
            overall, local = np.float64(0), 0 * local
        everywhere = overall * max(float(np.median(energy - doubt)), 0.0)
        own = np.maximum(local, overall * np.clip(energy / doubt - 1, 0, 1)) * excess
        signal = np.maximum(np.maximum(own, everywhere), np.minimum(excess, np.maximum(expected, likely)))
        total += band * signal / (signal + doubt + np.maximum(excess - signal, 0))
        expected = 0.5 * np.maximum(smooth(signal, min(2 * sigma, lines / 4)), expected)
    return total


def random_stripes(
    each: list[Floats], error: list[Floats], sigmas: list[float], width_px: float
) -> list[float]:
    """Energy to expect at each scale, if the finer ones look like random stripes of some width; or 0.

    Random stripes are white noise smoothed by a Gaussian. Strength and width are the ones that fit
    scales up to `width_px`, at least three of which have to be certain.
    """
    doubt = np.array([float(e.mean()) for e in error])
    energy = np.array([float((b**2).mean()) for b in each])
    sure = (energy > CERTAIN * doubt) & (np.array(sigmas) <= width_px)
    if sure.sum() < 3:
        return [0.0] * len(sigmas)
    turns = np.linspace(0, np.pi, 1024)
    passed = np.exp(-0.5 * (np.array([0.0, *sigmas])[:, None] * turns) ** 2)
    response = (passed[:-1] - passed[1:]) ** 2
    found = np.log((energy - doubt)[sure])
    best, nearest = np.zeros(len(sigmas)), MOST_MISFIT
    for width in np.concatenate([[0.0], np.geomspace(0.5, width_px, 24)]):
        model = (response * np.exp(-((width * turns) ** 2))).mean(axis=1) + 1e-30
        apart = found - np.log(model[sure])
        if apart.std() < nearest:
            nearest = float(apart.std())
            best = model * np.exp(apart.mean())
    return [float(value) for value in best]


def _ramp(values: npt.ArrayLike, between: tuple[float, float]) -> Floats:
    low, high = between
    return np.asarray(np.clip((np.asarray(values) - low) / (high - low), 0, 1), np.float64)


def single_stripes(
    profile: Floats, error: list[Floats], sigmas: list[float], width_px: float
) -> Floats:
    """Of a profile, stripes that stand out of quiet lines on both sides; 0 at all other lines.

    Examples
    --------
    >>> profile = np.zeros(200)
    >>> profile[50:54] = -0.3
    >>> found = single_stripes(profile, [np.full(200, 1e-6)] * 3, [0.7, 1.4, 2.8], 16.0)
    >>> np.flatnonzero(found < -0.2).tolist()
    [50, 51, 52, 53]
    """
    narrow = [smooth(e, max(3 * s, 3.0)) for e, s in zip(error, sigmas, strict=True)]
    doubt = np.sqrt(sum(e for e, s in zip(narrow, sigmas, strict=True) if s <= 0.75 * width_px))
    window = min(int(4 * width_px) + 1, 2 * (len(profile) // 2) - 1)
    rest = profile - ndimage.median_filter(profile, window, mode="nearest")
    low, high = np.percentile(profile - smooth(profile, width_px / 2), [25, 75])
    striped = np.zeros(len(profile), np.bool_)
    away = rest
    for _ in range(6):
        weight = np.where(striped, 1e-6, 1.0)
        away = rest - smooth(weight * rest, width_px / 2) / smooth(weight, width_px / 2)
        usual = max(1.4826 * float(np.median(np.abs(away[~striped]))), 0.74 * float(high - low))
        clear = np.abs(away) > STANDING_OUT * np.maximum(usual, doubt)
        now = _not_wider(ndimage.binary_dilation(clear), 2 * width_px + 2)
        if now.mean() > MOST_SINGLE:
            return np.zeros(len(profile))
        if (now == striped).all():
            break
        striped = now
    return np.where(striped, away, 0.0)


def _not_wider(lines: npt.NDArray[np.bool_], most: float) -> npt.NDArray[np.bool_]:
    """Without runs that are longer than `most`."""
    runs, _ = ndimage.label(lines)
    fits = np.bincount(runs.ravel()) <= most
    fits[0] = False
    return np.asarray(fits[runs], np.bool_)
