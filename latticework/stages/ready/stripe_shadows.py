r"""Of a profile across a plane, single stripes: dips and ridges that stand out of its noise.

A soft shadow has a centre, a width and a depth. Where these three explain far more of a profile
than its errors let expect, there is a shadow, however wide it is; all else of the profile stays
out of what is taken for it::

    profile  ~~~~\     /~~~~~~~~~~~~~      a clear dip, among what lines differ by anyway
    shadow   -----\   /---------------
                   '-'
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from latticework.stages.ready.stripe_evidence import (
    CERTAIN,
    STRUCTURE,
    random_stripes,
    regular_stripes,
)
from latticework.stages.ready.stripe_profile import Fit, Floats, bands, errors, scales, smooth

Waves = npt.NDArray[np.complex128]
CLEAR = 5.0
"""Standard deviations by which a single stripe stands out."""
NARROWEST, STEP = 0.5, 1.25
"""Sigma, in lines, of the narrowest stripes that are tried, and the ratio of one to the next."""
FULL_WIDTH = 2.355
"""Full width at half depth of a Gaussian, in sigmas."""
BEYOND = 3.0
"""Times the greatest width up to which lines are looked at: what is wider is the specimen's."""
DEEPEST = 0.95
"""Most that a shadow takes of the light."""
MUCH = 1.5
"""Times by which something wider has to stand out more, to be preferred."""
RIDGES = 2.0
"""Times by which a ridge among factors has to stand out more than a dip."""
BROAD = 12.0
"""Width in lines from which on shadows are told from ridges."""
MANY, BOTH_WAYS = 8, 0.2
"""So many stripes, of which such a share are ridges (or dips), are random ones."""
MOST_SHADOWS = 12
"""Shadows of one plane; more of them are no single ones."""
LEAST_LEFT = 0.3
"""Share of the light that shadows leave, alone or where they meet: less is a place of no light."""
INSIDE = 1.5
"""Sigmas from the tile's edge to a broad shadow's centre, so that both its sides are seen."""
TOUCHING = 1.5
"""Shadows meet where they are nearer than so many of their sigmas."""
MOST_FOUND = 48
LOW_MORE = 4.0
"""Times the noise at the widest scale that is reckoned with beyond."""
TURNS = 4
"""Steps of refining a stripe."""
NARROW = 6.0
"""Width in lines up to which random stripes are told from single ones."""
DIM_DOUBT = 0.05
"""Error of the levels of lines that are nearly empty, over the share that is seen of stripes."""
EVERYWHERE = 0.5
"""Energy of most lines, in units of the mean one, from which on stripes are everywhere."""


@dataclass(frozen=True, slots=True)
class Noise:
    """What a profile is made of besides single stripes, by frequency (of the mirrored profile)."""

    power: Floats
    """Of shape (frequencies,), per line."""
    local: list[Floats]
    """The same at each scale, around each line, in units of its mean."""
    sigmas: list[float]


def certain_shadows(
    fit: Fit, width_px: float, *, factors: bool, planes: list[Floats] | None = None
) -> Floats:
    """Of a profile, the soft shadows that stand out of its errors, regular and random stripes.

    `planes` are the profiles of all planes of which `fit` is the mean: they have to agree as well.
    `factors` says that the profile is one of logarithms.
    """
    sigmas = scales(len(fit.profile), width_px)
    error = errors(fit.parts, sigmas)
    groups = [fit.parts]
    if planes is not None:
        groups.append((np.stack(planes) - fit.profile) / len(planes))
        between = errors(groups[1], sigmas)
        error = [np.maximum(a, b) for a, b in zip(error, between, strict=True)]
    dim = (DIM_DOUBT * np.maximum(1 / np.maximum(fit.seen, 0.01) - 2, 0)) ** 2
    error = [variance + dim for variance in error]
    rest = fit.profile - regular_stripes(fit.profile, groups, 0.5 * width_px, shadows=True)
    least = [(STRUCTURE * sigma * fit.contrast) ** 2 for sigma in sigmas]
    random = _dense(rest, error, least, sigmas, width_px)
    noise = noise_of([e + m + r for e, m, r in zip(error, least, random, strict=True)], sigmas)
    return soft_shadows(rest, noise, width_px, factors=factors)


def _dense(
    profile: Floats, error: list[Floats], least: list[float], sigmas: list[float], width_px: float
) -> list[float]:
    """Energy at each scale that narrow stripes have which are everywhere, not single; or 0."""
    each = bands(profile, sigmas)
    usual = [float((1.4826 * np.median(np.abs(band))) ** 2) for band in each]
    random = random_stripes(usual, error, least, sigmas, min(NARROW, width_px))
    mean = [float((band**2).mean()) for band in each]
    doubt = [float(e.mean()) + more for e, more in zip(error, least, strict=True)]
    shares = [
        (usual[k] - doubt[k]) / (mean[k] - doubt[k])
        for k, sigma in enumerate(sigmas)
        if sigma < 0.5 * NARROW and mean[k] > CERTAIN * doubt[k]
    ]
    if not any(random) and shares and float(np.median(shares)) > EVERYWHERE:
        return mean
    return random


def noise_of(variances: list[Floats], sigmas: list[float]) -> Noise:
    """The noise of a profile of which the variance around each line is known at each scale.

    Examples
    --------
    >>> noise_of([np.full(100, 1e-4)] * 3, [0.7, 1.4, 2.8]).power.shape
    (101,)
    """
    lines = len(variances[0])
    turns = np.linspace(0, np.pi, lines + 1)
    passed = np.exp(-0.5 * (np.array([0.0, *sigmas])[:, None] * turns) ** 2)
    responses = passed[:-1] - passed[1:]
    power, last = np.zeros(lines + 1), 0.0
    for variance, response in zip(variances, responses, strict=True):
        last = float(variance.mean()) / float((response**2).mean())
        power += last * response
    power += LOW_MORE * last * passed[-1]
    local = []
    for variance, sigma in zip(variances, sigmas, strict=True):
        around = smooth(variance, min(max(2 * sigma, 3.0), lines / 4))
        local.append(np.maximum(around / max(float(around.mean()), 1e-30), 0.02))
    return Noise(np.maximum(power, 1e-12), local, sigmas)


def soft_shadows(profile: Floats, noise: Noise, width_px: float, *, factors: bool) -> Floats:
    """Of a profile, Gaussian dips up to `width_px` wide at half their depth.

    And ridges, if it is not one of logarithms of `factors`.

    Notes
    -----
    A matching pursuit (Mallat and Zhang, "Matching pursuits with time-frequency dictionaries",
    1993), with noise that depends on the frequency, and each stripe refined by least squares.
    What is best explained by something wider than `width_px` is explained by it, and stays; so do
    ridges among factors, as a sheet of light throws shadows.

    Examples
    --------
    >>> lines = np.arange(300)
    >>> dip = np.log(1 - 0.3 * np.exp(-0.5 * ((lines - 140.4) / 12) ** 2))
    >>> noisy = dip + np.random.default_rng(0).normal(0, 0.01, 300)
    >>> scales = [0.7 * 2**k for k in range(6)]
    >>> noise = noise_of([np.full(300, 1e-4 / 2**k) for k in range(6)], scales)
    >>> bool(np.abs(soft_shadows(noisy, noise, 40.0, factors=True) - dip).max() < 0.02)
    True
    """
    lines = len(profile)
    widths = _widths(lines, width_px)
    templates = np.stack([_spectrum(_bell(lines, 0.0, w)) for w in widths])
    weighed = templates.conj() / noise.power
    worth = np.sqrt(_mean((templates * weighed).real))
    nearest = [int(np.argmin(np.abs(np.log(np.array(noise.sigmas) / w)))) for w in widths]
    doubt = worth[:, None] * np.sqrt(np.stack([noise.local[k] for k in nearest]))
    widest = float(np.log(1.25 * width_px / FULL_WIDTH))
    too_wide = np.log(widths) > widest
    broad = (widths > BROAD / FULL_WIDTH) & ~too_wide
    found = np.zeros((0, 3))
    values = profile - np.median(profile)
    for _ in range(MOST_FOUND):
        rest = values - _shapes(lines, found, factors=factors).sum(axis=0)
        matched = np.fft.irfft(_spectrum(rest) * weighed, 2 * lines)[:, :lines]
        clear = np.abs(matched) / doubt
        if factors:  # what is brighter than its surroundings is rather the specimen
            clear[matched > 0] /= RIDGES
            clear[broad] = np.where(matched[broad] > 0, 0, clear[broad])
        clear[too_wide] /= MUCH
        which, line = np.unravel_index(int(np.argmax(clear)), clear.shape)
        if not clear[which, line] > CLEAR:
            break
        depth = -float(matched[which, line]) / float(worth[which]) ** 2
        found = np.concatenate([found, [[line, np.log(widths[which]), min(depth, DEEPEST)]]])
        found = _refined(values, found, noise, factors=factors, widest=widest)
    found = found[found[:, 1] <= widest]
    light = found[:, 2] * np.exp(found[:, 1])
    ridges, dips = -light[light < 0].sum(), light[light > 0].sum()
    if len(found) >= MANY and min(ridges, dips) > BOTH_WAYS * (ridges + dips):
        return np.zeros(lines)  # so many, up and down: random ones
    if factors:
        found = found[found[:, 2] > 0]
    found = _no_edges(found, lines, factors=factors)
    if len(found) > MOST_SHADOWS:
        return np.zeros(lines)
    return np.asarray(_shapes(lines, found, factors=factors).sum(axis=0), np.float64)


def _no_edges(stripes: Floats, lines: int, *, factors: bool) -> Floats:
    """Stripes that are not part of an edge of the specimen, or of light that falls off.

    Where the specimen ends within a tile, lines beyond have no light, and this goes on to the
    tile's own edge; so does light that falls off. A shadow has light on both sides and leaves some.
    """
    groups = _touching(stripes)
    profile = _shapes(lines, stripes, factors=factors)
    wide = np.exp(stripes[:, 1]) * FULL_WIDTH > BROAD
    kept = np.ones(len(stripes), np.bool_)
    for group in range(groups.max(initial=-1) + 1):
        own = groups == group
        total = profile[own].sum(axis=0)
        if factors and total.min() < np.log(LEAST_LEFT):
            kept &= ~own
        centre, sigma = stripes[own, 0], np.exp(stripes[own, 1])
        open_ended = np.minimum(centre, lines - 1 - centre) < INSIDE * sigma
        if (open_ended & wide[own]).any():
            kept &= ~(own & wide)
    return stripes[kept]


def _touching(stripes: Floats) -> npt.NDArray[np.int64]:
    """A number for each stripe, the same for those that run into each other."""
    order = np.argsort(stripes[:, 0])
    groups = np.zeros(len(stripes), np.int64)
    end, group = -np.inf, -1
    for k in order:
        reach = TOUCHING * np.exp(stripes[k, 1])
        group += stripes[k, 0] - reach > end
        end = max(end, stripes[k, 0] + reach)
        groups[k] = group
    return groups


def _widths(lines: int, width_px: float) -> Floats:
    most = min(BEYOND * width_px / FULL_WIDTH, lines / 4)
    count = max(int(np.log(most / NARROWEST) / np.log(STEP)), 0) + 1
    return np.asarray(NARROWEST * STEP ** np.arange(count), np.float64)


def _bell(lines: int, centre: float | Floats, sigma: float | Floats) -> Floats:
    return np.asarray(np.exp(-0.5 * ((np.arange(lines) - centre) / sigma) ** 2), np.float64)


def _shapes(lines: int, stripes: Floats, *, factors: bool) -> Floats:
    """Profiles of stripes, given as (centre, logarithm of sigma, depth) each."""
    bells = _bell(lines, stripes[:, :1], np.exp(stripes[:, 1:2]))
    dips = stripes[:, 2:] * bells
    return np.asarray(np.log1p(-np.minimum(dips, DEEPEST)) if factors else -dips, np.float64)


def _slopes(lines: int, stripes: Floats, *, factors: bool) -> Floats:
    """How profiles change with centre, logarithm of sigma, and depth, 3 by stripe."""
    sigma = np.exp(stripes[:, 1:2])
    bells = _bell(lines, stripes[:, :1], sigma)
    away = (np.arange(lines) - stripes[:, :1]) / sigma
    dips = stripes[:, 2:] * bells
    changes = np.stack([dips * away / sigma, dips * away**2, bells], axis=1)
    if factors:
        changes = changes / (1 - np.minimum(dips, DEEPEST))[:, None]
    return np.asarray(-changes.reshape(-1, lines), np.float64)


def _spectrum(values: Floats) -> Waves:
    """Of the profile and its mirror image, so that it has no step at its ends."""
    return np.asarray(
        np.fft.rfft(np.concatenate([values, values[..., ::-1]], axis=-1)), np.complex128
    )


def _mean(half: Floats) -> Floats:
    """Mean over all frequencies, of those from 0 to the highest."""
    inner = half[..., 1:-1].sum(axis=-1)
    return np.asarray((half[..., 0] + half[..., -1] + 2 * inner) / (2 * half.shape[-1] - 2))


def _refined(
    values: Floats, stripes: Floats, noise: Noise, *, factors: bool, widest: float
) -> Floats:
    """The stripes near given ones that explain most, all at once (Levenberg-Marquardt)."""
    lines = len(values)
    scale = 1 / np.sqrt(noise.power * lines)

    def weighed(profiles: Floats) -> Floats:
        waves = _spectrum(profiles) * scale
        return np.concatenate([waves.real, waves.imag], axis=-1)

    away = weighed(values - _shapes(lines, stripes, factors=factors).sum(axis=0))
    damping = 1e-2
    for _ in range(TURNS):
        slopes = weighed(_slopes(lines, stripes, factors=factors))
        normal = slopes @ slopes.T
        normal += damping * np.diag(np.diag(normal)) + 1e-9 * np.eye(len(normal))
        change = np.asarray(np.linalg.solve(normal, slopes @ away).reshape(-1, 3), np.float64)
        further = _allowed(stripes, change, lines, factors=factors, widest=widest)
        then = weighed(values - _shapes(lines, further, factors=factors).sum(axis=0))
        if then @ then < away @ away:
            stripes, away, damping = further, then, damping / 4
        else:
            damping *= 16
    return stripes


def _allowed(
    stripes: Floats, change: Floats, lines: int, *, factors: bool, widest: float
) -> Floats:
    """Stripes after a change: not far away, and none wider, deeper or brighter than can be."""
    sigma = np.exp(stripes[:, 1])
    most = np.stack([sigma, np.full_like(sigma, 0.4), np.full_like(sigma, 0.3)], axis=1)
    centre, width, depth = (stripes + np.clip(change, -most, most)).T
    reach = 0.5 * np.exp(widest)
    centre = np.clip(centre, -reach, lines + reach)
    limit = np.where(stripes[:, 1] <= widest, widest, np.inf)
    if factors:
        limit = np.where(depth < 0, np.minimum(limit, np.log(BROAD / FULL_WIDTH)), limit)
        limit = np.where(stripes[:, 1] <= widest, limit, np.inf)
    width = np.clip(width, np.log(NARROWEST), limit)
    return np.stack([centre, width, np.minimum(depth, DEEPEST if factors else np.inf)], axis=1)
