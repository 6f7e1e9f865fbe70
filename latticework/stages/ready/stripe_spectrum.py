r"""Of a profile across a plane, the stripes that are most likely, where they are everywhere.

Stripes that are everywhere show their strength at wavelengths at which lines of the specimen hardly
differ. So it is known how strong they are at longer ones as well, where the specimen's lines differ
by more; and how much more, blocks of columns tell. Wave by wave, as much of the profile is a stripe
as is to be expected of stripes::

    power    \                    specimen: falls with the frequency
              \
    ===========\===============   stripes from line to line: the same at all frequencies
                \
           rest  |  taken out
"""

from dataclasses import dataclass

import numpy as np
from scipy import fft

from latticework.stages.ready.stripe_evidence import (
    level_of,
    regular_stripes,
    single_stripes,
)
from latticework.stages.ready.stripe_profile import Fit, Floats, bands, scales, smooth
from latticework.stages.ready.stripe_shadows import FULL_WIDTH

NARROWEST = 0.5
"""Sigma, in lines, of the narrowest stripes but those of one line; each further is twice that."""
ALONG = (3, 5)
"""Waves along the stripes below which the specimen's power there is taken: the larger mean."""
AROUND = 4
"""The power of a wave across is averaged over a fourth of its frequency on both sides."""
CAREFUL, LONGEST = 1.5, 8.0
"""Times the specimen's power that is reckoned with; and how many times more of the longest wave."""
STEPS = 60, 15
"""Steps of fitting the strengths, and of fitting them again without one width."""
WORTH = 6.0
"""Logarithm of the likelihood that stripes of one more width have to be worth (twice it)."""
SHADOW_WORTH = 15.0
"""The same of one soft shadow, which has three parameters."""
DENSE = 0.4
"""Share of `width_px` up to which regular and single stripes are looked for."""
SURE = 1e-5
"""Variance at each scale with which single stripes are looked for."""
LEFT = 0.25
"""Share of the energy of fine lines that these have to leave."""
SHORTER = 3
"""The first wave that counts for how strong stripes are; what longer ones have more than is to be
expected is the specimen's."""
FIRST = 8
"""The first wave that counts for whether there are stripes."""
EVERYWHERE = 1.0
"""The same that stripes have to be worth, by line, to be everywhere."""
WIDE, MOST_SPAN = 16.0, 3.5
"""Sigma of what is wide, and times it may span what is fine: more is an edge of the specimen."""
LEAST_POWER = 1e-8
"""Variance of a line that is always reckoned with."""


@dataclass(frozen=True, slots=True)
class _Likely:
    """Stripes at each frequency."""

    power: Floats
    """Power to expect of them, of shape (lines,)."""
    misfit: float
    """Twice the negative logarithm of the likelihood."""
    worth: float
    """How much less that is, by line, than without stripes, from wave `FIRST` on."""


def everywhere(profile: Floats, width_px: float, shadows: Floats) -> bool:
    """Whether of stripes that were found more are left than regular and single ones.

    `shadows` are soft ones, which may be part of the profile.

    Examples
    --------
    >>> at = np.arange(256)
    >>> none = np.zeros(256)
    >>> everywhere(0.1 * np.cos(at), 40.0, none), everywhere(-0.1 * (at // 4 == 20), 40.0, none)
    (False, False)
    >>> everywhere(np.random.default_rng(0).normal(0, 0.1, 256), 40.0, none)
    True
    """
    narrow = DENSE * width_px
    sigmas = scales(profile.size, narrow)
    none = np.zeros((2, profile.size))
    sure = [np.full(profile.size, SURE)] * len(sigmas)
    left = []
    for shadow in (none[0], shadows):
        rest = profile - shadow
        rest = rest - _alternating(rest)
        rest = rest - regular_stripes(rest, [none], narrow)
        rest = rest - single_stripes(rest, sure, sigmas, narrow)
        left.append(sum(float((band**2).mean()) for band in bands(rest, sigmas)))
    return min(left) > LEFT * sum(float((band**2).mean()) for band in bands(profile, sigmas))


def likely_part(
    fit: Fit, width_px: float, *, shadows: Floats, factors: bool, planes: list[Floats] | None = None
) -> Floats:
    """Of a profile, the most likely stripes, if they are everywhere; 0 at all lines if not.

    Parameters
    ----------
    fit
        The profile, and what blocks of columns say against it.
    width_px
        The widest stripes, in lines at half their depth.
    shadows
        Soft shadows that may be part of it, shape (lines,); they are, if that is more likely.
    factors
        Whether the profile is one of logarithms: then the mean of the factors becomes 1.
    planes
        Profiles of all planes of which `fit` is the mean.

    Notes
    -----
    After Wiener ("Extrapolation, interpolation, and smoothing of stationary time series", 1949).
    The power of stripes is a sum of white noises, smoothed by Gaussians of several widths, found by
    the likelihood of Whittle ("The analysis of multiple stationary time series", 1953) with the
    steps of Févotte, Bertin and Durrieu ("Nonnegative matrix factorization with the Itakura-Saito
    divergence", 2009).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> stripes = rng.normal(0, 0.1, 256)
    >>> wide = smooth(rng.normal(0, 3, (16, 256)), 30) / 16
    >>> fit = Fit(stripes + wide.sum(0), wide - wide.mean(0), 0.3, np.ones(256))
    >>> found = likely_part(fit, 40.0, shadows=np.zeros(256), factors=False)
    >>> bool(np.std(found - stripes) < 0.2 * np.std(stripes))
    True
    """
    groups = [fit.parts]
    specimen = _between_blocks(fit.parts)
    if planes is not None:
        apart = (np.stack(planes) - fit.profile) / len(planes)
        groups.append(apart)
        waves = fft.dct(apart, axis=1, norm="ortho") ** 2
        specimen = np.maximum(specimen, _around(waves.sum(axis=0) * len(apart) / (len(apart) - 1)))
    number = np.maximum(np.arange(specimen.size), 1)
    specimen = CAREFUL * specimen * (1 + LONGEST / number**2) + LEAST_POWER
    best, found = np.inf, np.zeros(specimen.size)
    for shadow in (np.zeros(specimen.size), shadows):
        rest = fit.profile - shadow
        regular = _alternating(rest)
        regular = regular + regular_stripes(rest - regular, groups, width_px)
        waves = fft.dct(rest - regular - np.mean(rest - regular), norm="ortho")
        likely = _likely(waves**2, specimen, width_px)
        misfit = likely.misfit + SHADOW_WORTH * _dips(shadow)
        if not likely.worth > EVERYWHERE or misfit >= best:
            continue
        best = misfit
        own = np.where(number < SHORTER, np.maximum(specimen, waves**2 - likely.power), specimen)
        share = likely.power / (likely.power + own)
        dense = regular + fft.idct(share * waves, norm="ortho")
        found = shadow + dense - level_of(dense, factors=factors)
    wide = smooth(found, WIDE)
    if np.ptp(wide) > MOST_SPAN * np.std(found - wide):
        return np.zeros(specimen.size)
    return np.asarray(found, np.float64)


def _between_blocks(parts: Floats) -> Floats:
    """What lines of the specimen differ by in the mean, by frequency: as in long waves along them.

    A wave that runs straight across differs from those that are slightly turned by nothing.
    """
    waves = fft.dctn(parts, norm="ortho") ** 2 * len(parts)
    first, second = (_around(waves[1:last].mean(axis=0)) for last in ALONG)
    return np.maximum(first, second)


def _around(power: Floats) -> Floats:
    """Mean power of waves across of about the same length; of all but the constant one."""
    number = np.arange(power.size)
    reach = np.maximum(1, number // AROUND)
    first = np.maximum(number - reach, 1)
    last = np.maximum(np.minimum(number + reach + 1, power.size), first + 1)
    total = np.concatenate([[0.0], np.cumsum(power)])
    return np.asarray((total[last] - total[first]) / (last - first), np.float64)


def _likely(energy: Floats, specimen: Floats, width_px: float) -> _Likely:
    """The stripes that make the energies of waves most likely, of as few widths as are needed."""
    widest = max(width_px / FULL_WIDTH, NARROWEST)
    widths = [0.0, *(NARROWEST * 2.0 ** np.arange(int(np.log2(widest / NARROWEST)) + 1))]
    turns = np.pi * np.arange(energy.size) / energy.size
    shapes = np.exp(-((np.array(widths)[:, None] * turns) ** 2)) + 1e-9
    strengths = 0.3 * float(energy[1:].mean()) / len(widths) / np.maximum(shapes.mean(axis=1), 0.01)
    strengths = _stronger(strengths, shapes, energy, specimen, STEPS[0])
    misfit = _misfit(strengths @ shapes + specimen, energy)
    for k in reversed(range(len(widths))):
        fewer = np.where(np.arange(len(widths)) == k, 0.0, strengths)
        fewer = _stronger(fewer, shapes, energy, specimen, STEPS[1])
        then = _misfit(fewer @ shapes + specimen, energy)
        if then[SHORTER:].sum() < misfit[SHORTER:].sum() + WORTH:
            strengths, misfit = fewer, then
    gain = float((_misfit(specimen, energy) - misfit)[FIRST:].sum()) / energy.size
    power = np.asarray(strengths @ shapes, np.float64)
    power[0] = 0.0
    return _Likely(power, float(misfit[SHORTER:].sum()), gain)


def _stronger(
    strengths: Floats, shapes: Floats, energy: Floats, specimen: Floats, steps: int
) -> Floats:
    """Strengths of stripes of each width after some steps towards a higher likelihood."""
    for _ in range(steps):
        power = strengths @ shapes + specimen
        up = (shapes * (energy / power**2))[:, SHORTER:].sum(axis=1)
        down = (shapes / power)[:, SHORTER:].sum(axis=1)
        strengths = strengths * np.sqrt(up / down)
    return strengths


def _misfit(power: Floats, energy: Floats) -> Floats:
    """Twice the negative logarithm of the likelihood of each wave."""
    return np.asarray(np.log(power) + energy / power, np.float64)


def _alternating(profile: Floats) -> Floats:
    """Of a profile, what every other line has more than those between."""
    sign = np.where(np.arange(profile.size) % 2, -1.0, 1.0)
    return np.asarray(sign * float((sign * profile).mean()), np.float64)


def _dips(shadow: Floats) -> int:
    inner = shadow[1:-1]
    lowest = (inner < shadow[:-2]) & (inner <= shadow[2:]) & (inner < -0.01)
    return int(lowest.sum())
