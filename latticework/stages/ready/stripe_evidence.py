"""Of a profile across a plane, what are certainly stripes, and not lines of the specimen.

`certain_part` keeps

- regular stripes: waves that stand out of the spectrum;
- single stripes: lines that stand out of quiet ones, which are lifted to these;
- of the rest, scale by scale, as much as is certain: blocks of columns are asked whether they
  agree.
"""

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from latticework.stages.ready.stripe_profile import (
    LAGS,
    Fit,
    Floats,
    bands,
    errors,
    scales,
    smooth,
)

STRUCTURE = 1.5e-3
"""What a whole line of specimen differs by at least, in units of contrast, per line of scale."""
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
LUCK = 2.5
"""Times the expected energy that random stripes may have in one place."""
REGULAR = 30.0
"""Regular stripes stand out by so many times the energy around them, and the doubt."""
MOST_WAVES = 24
"""Waves, at most; a stripe with sharp edges is made of several."""
LEAST_PERIODS = 6
"""Periods that a tile has at least of a regular stripe, where there may be shadows."""
HARDLY = 0.03
"""Share by which differences of lines may grow where a shadow is taken out."""
FINER = 4
"""Steps of the spectrum, per step that the number of lines gives."""
MOST_SINGLE = 0.25
"""Share of lines up to which stripes can be single ones."""
SKEW = (0.5, 0.8)
"""Skewness from which on stripes are dips (or ridges), and for certain."""
BRIGHTER = 0.75
"""Share of lines that are not brighter than those without dips."""


def certain_part(
    fit: Fit, width_px: float, *, factors: bool, planes: list[Floats] | None = None
) -> Floats:
    """Of a profile, what are stripes: regular and single ones, and what is certain of the rest.

    `planes` are the profiles of all planes of which `fit` is the mean: they have to agree as well.
    Where nearly all lines are striped they are levelled to their mean: that of `factors`, if the
    profile is one of logarithms.
    """
    sigmas = scales(len(fit.profile), width_px)
    error = errors(fit.parts, sigmas)
    groups = [fit.parts]
    if planes is not None:
        groups.append((np.stack(planes) - fit.profile) / len(planes))
        between = errors(groups[1], sigmas)
        error = [np.maximum(a, b) for a, b in zip(error, between, strict=True)]
    regular = regular_stripes(fit.profile, groups, width_px)
    rest = fit.profile - regular
    least = [(STRUCTURE * sigma * fit.contrast) ** 2 for sigma in sigmas]
    careful = [variance + more for variance, more in zip(error, least, strict=True)]
    single = single_stripes(rest, careful, sigmas, width_px)
    dense = regular + gated(rest - single, error, least, sigmas, width_px)
    return single + dense - level_of(dense, factors=factors)


def level_of(profile: Floats, *, factors: bool) -> float:
    """The level of lines without a stripe, of a profile of stripes that are everywhere.

    Their mean; but that of brighter lines where stripes are dips rather than ridges, as shadows
    are. Of a profile that is not one of logarithms of `factors`, that of darker lines where they
    are ridges.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> bool(abs(level_of(rng.normal(0.2, 0.1, 400), factors=False) - 0.2) < 0.02)
    True
    >>> level_of(np.log(np.where(np.arange(300) % 4, 1.0, 0.7)), factors=True)
    0.0
    """
    values = np.exp(profile) if factors else profile
    mean = float(values.mean())
    away = values - mean
    skew = float((away**3).mean() / max(float((away**2).mean()) ** 1.5, 1e-30))
    share = float(_ramp(abs(skew), SKEW))
    if skew > 0:
        share = 0.0 if factors else share
    other = float(np.quantile(values, BRIGHTER if skew < 0 else 1 - BRIGHTER))
    level = (1 - share) * mean + share * other
    return float(np.log(level)) if factors else level


def flatter(first: Floats, second: Floats) -> bool:
    """Whether lines differ less from those further on than with another profile taken out.

    Or hardly more: where a shadow is lifted, lines of the specimen differ more, too.

    Parameters
    ----------
    first, second
        Brightness of lines, shape (lines,), without two profiles that one may believe; NaN where
        nothing is known.

    Examples
    --------
    >>> even = np.sin(np.arange(200) / 40)
    >>> striped = even + (np.arange(200) % 2)
    >>> flatter(even, striped), flatter(striped, even), flatter(even, even)
    (True, False, True)
    """
    known = np.isfinite(first) & np.isfinite(second)
    one, other = first[known], second[known]
    ratios: list[float] = []
    for lag in LAGS:
        if lag <= len(one) // 4:
            steps = [float(np.abs(m[lag:] - m[:-lag]).mean()) + 1e-9 for m in (one, other)]
            ratios.append(float(np.log(steps[0] / steps[1])))
    return not ratios or float(np.mean(ratios)) < HARDLY


def regular_stripes(
    profile: Floats, groups: list[Floats], width_px: float, *, shadows: bool = False
) -> Floats:
    """Of a profile, waves of one frequency each that stand out of its spectrum.

    They have to stand out of what blocks of columns (and planes) disagree by as well: each of the
    `groups` has what its members would change of the profile. Where there may be soft `shadows`,
    which have all low frequencies, a wave has to stand out of those beside it as well.

    Examples
    --------
    >>> wave = 0.2 * np.sin(0.7 * np.arange(300))
    >>> noise = np.random.default_rng(0).normal(0, 0.02, (16, 300))
    >>> parts = noise - noise.mean(axis=0)
    >>> found = regular_stripes(wave + noise.mean(axis=0), [parts / 16], 16.0)
    >>> bool(np.std(found - wave) < 0.002)
    True
    """
    lines = len(profile)
    at: Floats = np.arange(lines, dtype=np.float64) - 0.5 * (lines - 1)
    window = np.hanning(lines)
    flat: Floats = profile - smooth(profile, 2 * width_px)
    size = FINER * lines
    least = int(size / (4 * width_px))  # waves are up to 4 widths long
    if shadows:
        least = max(least, LEAST_PERIODS * FINER)
    ring = np.ones(15, np.bool_)
    ring[5:10] = False  # the wave itself
    doubt = np.full(size // 2 + 1, 1e-12)
    for parts in groups:
        apart = (np.abs(np.fft.rfft(window * parts, size)) ** 2).sum(axis=0)
        doubt = np.maximum(doubt, ndimage.uniform_filter1d(apart, 16 * FINER))
    total = np.zeros(lines)
    for _ in range(MOST_WAVES):
        spectrum = np.abs(np.fft.rfft(window * (flat - total), size)) ** 2
        usual = ndimage.median_filter(spectrum[::FINER], 31, mode="nearest")
        if shadows:
            beside = ndimage.median_filter(spectrum[::FINER], footprint=ring, mode="mirror")
            usual = np.maximum(usual, beside)
        usual = np.repeat(usual, FINER)[: len(spectrum)]
        clear = spectrum / np.maximum(usual, doubt)
        clear[:least] = 0
        best = int(np.argmax(clear))
        if not clear[best] > REGULAR:
            break
        total = total + _wave(np.asarray(flat - total, np.float64), at, 2 * np.pi * best / size)
    return total


def _wave(values: Floats, at: Floats, frequency: float) -> Floats:
    """The wave near a frequency that fits best (Gauss-Newton)."""
    wave = np.zeros(len(values))
    for _ in range(4):
        cos, sin = np.cos(frequency * at), np.sin(frequency * at)
        (a, b), *_ = np.linalg.lstsq(np.stack([cos, sin], axis=1), values, rcond=None)
        wave = np.asarray(a * cos + b * sin, np.float64)
        turned = at * (b * cos - a * sin)
        least = 1e-3 * float(at @ at) * float(values @ values) / len(values) + 1e-12
        step = float(turned @ (values - wave)) / (float(turned @ turned) + least)
        frequency += float(np.clip(step, -np.pi / len(values), np.pi / len(values)))
    return wave


def gated(
    profile: Floats, error: list[Floats], least: list[float], sigmas: list[float], width_px: float
) -> Floats:
    """Of a profile, at each scale as much as is certain (Wiener's filter, with a threshold).

    Wider than `width_px`, it takes no more than finer scales let expect of random stripes: what
    exceeds that is the specimen. Whether there are stripes at all is judged with `least` added to
    the error: what a specimen has in common along whole lines is not seen by comparing their parts.
    """
    lines = len(profile)
    total, expected = np.zeros(lines), np.zeros(lines)
    each = bands(profile, sigmas)
    energies = [float((band**2).mean()) for band in each]
    random = random_stripes(energies, error, least, sigmas, width_px)
    for k, (band, variance, sigma) in enumerate(zip(each, error, sigmas, strict=True)):
        window = min(max(3 * sigma, 3.0), lines / 4)
        energy = smooth(band**2, window)
        doubt = smooth(variance, window) + 1e-10
        excess = np.maximum(energy - doubt, 0)
        careful = doubt + least[k]
        ratio = float((band**2).mean() / careful.mean())
        chance = np.sqrt(2 * (2.5 * sigma + 1.5) / lines + 0.02)
        overall = _ramp((ratio - 1) / chance, OVERALL)
        local = _ramp(energy / careful, LOCAL)
        if sigma > width_px / 2:
            overall = _ramp(ratio, WIDE)
            local = overall * local
        if sigma > width_px:
            overall, local = 0 * overall, 0 * local
        everywhere = overall * max(float(np.median(energy - doubt)), 0.0)
        own = np.maximum(local, overall * np.clip(energy / careful - 1, 0, 1)) * excess
        signal = np.maximum(
            np.maximum(own, everywhere), np.minimum(excess, np.maximum(expected, LUCK * random[k]))
        )
        total += band * signal / (signal + doubt + np.maximum(excess - signal, 0))
        expected = 0.5 * np.maximum(smooth(signal, min(2 * sigma, lines / 4)), expected)
    return total


def random_stripes(
    energies: list[float],
    error: list[Floats],
    least: list[float],
    sigmas: list[float],
    width_px: float,
) -> list[float]:
    """Energy to expect at each scale, if finer ones look like random stripes of some width; or 0.

    Random stripes are white noise smoothed by a Gaussian. Strength and width are the ones that fit
    scales up to `width_px`, at least three of which have to be certain.
    """
    doubt = np.array([float(e.mean()) for e in error])
    energy = np.array(energies)
    sure = (energy > CERTAIN * (doubt + np.array(least))) & (np.array(sigmas) <= width_px)
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
