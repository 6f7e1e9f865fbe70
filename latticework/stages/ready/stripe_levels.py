"""The profile of stripes across a plane: the one that gives all lines the same distribution.

Lines next to each other tell a fine profile well, but what is wide adds up from many small steps,
and with it their errors. So each line is compared with all lines at once as well: where the
specimen leaves some ground, or has one usual brightness, that is seen in every line. Scale by scale
the better of both counts, which blocks of columns tell.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage

from latticework.stages.ready.stripe_profile import (
    BLOCKS,
    Fit,
    Floats,
    Singles,
    bands,
    errors,
    scales,
    smooth,
)

SEARCHES = 1
"""Rounds that look for a line's place anywhere, before it is made finer."""
CONTRARY = 4.0
"""Times the expected square by which two fits differ, before both are doubted."""
FAR_APART = 2.0
"""Times that quarters of a line may differ by more than expected."""
BINS = 400
"""Steps of the histogram of a plane."""
ENDS = 0.001
"""Share of pixels at either end of the histogram that say nothing."""
KERNEL = 0.15
"""Sigma by which a histogram is smoothed, in units of its spread."""
LEAST_SLOPE = 0.1
"""Share of the usual slope that is reckoned with at least."""
MOST_STEP = 0.2
"""Most that a line changes in one round."""


def fit_levels(values: Singles, share: Singles, rounds: int, contrast: float) -> Fit:
    """The profile by which lines differ from what is usual in the whole plane.

    Parameters
    ----------
    values
        Of shape (columns, lines); what is known of stripes should be taken out before.
    share
        How much of the profile is seen in each pixel, 0 (nothing is known) to 1.
    rounds
        Rounds of finding the usual distribution, and each line's place in it.
    contrast
        Spread of the values, which is passed on.

    Notes
    -----
    That lines have one distribution is the idea of Horn and Woodham, "Destriping Landsat MSS images
    by histogram modification", 1979. Here it has one unknown per line, its place, which is found by
    scoring: maximum likelihood, given the distribution of all lines.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> stripes = rng.normal(0, 0.05, 100)
    >>> scene = rng.normal(0, 0.02, (128, 100)) + 2.0 * (rng.random((128, 100)) < 0.4)
    >>> values = (stripes + scene).astype("float32")
    >>> found = fit_levels(values, np.ones_like(values), 6, 0.1).profile
    >>> bool(np.std(found - stripes) < 0.01)
    True
    """
    columns, lines = values.shape
    starts = np.linspace(0, columns, min(BLOCKS, columns // 6) + 1).astype(int)[:-1]
    profile = np.zeros(lines)
    seen = (share * share).sum(axis=0, dtype=np.float64)
    force, slope = np.zeros((len(starts), lines)), np.ones(lines)
    for turn in range(rounds):
        rest = values - share * profile.astype(np.float32)
        usual = _usual(rest, share)
        if usual is None:
            break
        if turn < SEARCHES:
            profile = profile + _most_likely(usual, rest, share)
            continue
        place = _places(usual, rest)
        turning = usual.turn.astype(np.float32)[place]
        beside = rest - (usual.low + usual.step * (place + np.float32(0.5))).astype(np.float32)
        beside = np.clip(beside, -0.5 * usual.step, 0.5 * usual.step).astype(np.float32)
        pull = (usual.score.astype(np.float32)[place] + beside * turning) * share
        force = np.add.reduceat(pull, starts, axis=0).astype(np.float64)
        everywhere = usual.information * (seen + 1e-3 * columns) + 1e-9
        here = (pull * pull).sum(axis=0, dtype=np.float64)  # what this line's own pixels tell
        turned = (turning * share * share).sum(axis=0, dtype=np.float64)
        stiffness = np.maximum(np.maximum(here, turned), LEAST_SLOPE * everywhere)
        profile = profile + np.clip(force.sum(axis=0) / stiffness, -MOST_STEP, MOST_STEP)
        slope = np.maximum(turned, LEAST_SLOPE * here) + 1e-4 * everywhere
    parts = (force - force.mean(axis=0)) / slope
    parts = _doubtful(parts, values, share, profile, starts)
    return Fit(profile, parts, contrast, share.mean(axis=0, dtype=np.float64))


def _doubtful(
    parts: Floats, values: Singles, share: Singles, profile: Floats, starts: npt.NDArray[np.int_]
) -> Floats:
    """`parts`, but where quarters of a line have places far from each other, what that makes."""
    rest = values - share * profile.astype(np.float32)
    usual = _usual(rest, share)
    size = len(starts) // 4
    if usual is None or not size:
        return parts
    edges = [*starts[: 4 * size : size], values.shape[0]]
    places = np.stack(
        [_most_likely(usual, rest[a:b], share[a:b]) for a, b in pairwise(edges)], axis=0
    )
    apart = (places - places.mean(axis=0)) / 4
    blocks = np.add.reduceat(parts, np.arange(0, 4 * size, size), axis=0)
    far = (apart**2).sum(axis=0) > FAR_APART**2 * (blocks**2).sum(axis=0) + (2 * usual.step) ** 2
    quarter = np.minimum(np.arange(len(starts)) // size, 3)
    members = np.bincount(quarter)
    return np.where(far, (apart / members[:, None])[quarter], parts)


@dataclass(frozen=True, slots=True)
class _Usual:
    """The distribution of values in a plane, in bins."""

    low: float
    """Where bins begin."""
    step: float
    """Their width."""
    likely: Floats
    """Logarithm of the density."""
    score: Floats
    """Its slope, downwards; 0 at the ends."""
    turn: Floats
    """The slope of `score`."""
    information: float
    """What a pixel tells of its line's place, in the mean (after Fisher)."""


def _usual(values: Singles, share: Singles) -> _Usual | None:
    some = values[::3, ::3][share[::3, ::3] > 0]
    if not some.size:
        return None
    low, middle, high = np.quantile(some, [ENDS, 0.5, 1 - ENDS])
    step = float(high - low) / BINS
    if not step > 0:
        return None
    spread = 1.4826 * float(np.median(np.abs(some - middle)))
    place = np.clip(((values - low) / step).astype(np.int32), 0, BINS - 1)
    count = np.bincount(place.ravel(), share.ravel(), minlength=BINS)
    count[0], count[-1] = count[1], count[-2]
    sigma = max(1.0, KERNEL * spread / step)
    dense = ndimage.gaussian_filter1d(count, sigma, mode="nearest")
    if not dense.max() > 0:  # all in the ends: an even plane
        return None
    dense += 1e-4 * dense.max()
    likely = np.log(dense)
    score = -np.gradient(likely, step)
    turn = np.gradient(score, step)
    for ends in (score, turn):
        ends[:2] = ends[-2:] = 0
    information = float((dense * score * score).sum() / dense.sum())
    return _Usual(float(low), step, likely, score, turn, max(information, 1e-9))


def _places(usual: _Usual, values: Singles) -> npt.NDArray[np.int32]:
    return np.clip(((values - usual.low) / usual.step).astype(np.int32), 0, BINS - 1)


def _most_likely(usual: _Usual, values: Singles, share: Singles) -> Floats:
    """The shift of each line, in whole bins, by which it fits the usual distribution best."""
    lines = values.shape[1]
    place = _places(usual, values) + BINS * np.arange(lines, dtype=np.int32)
    count = np.bincount(place.ravel(), share.ravel(), minlength=BINS * lines).reshape(lines, BINS)
    count = count.astype(np.float32)
    reach = BINS // 4
    wide = np.pad(usual.likely - usual.likely.max(), reach, mode="edge").astype(np.float32)
    size = fft.next_fast_len(BINS + 2 * reach, real=True)
    both = fft.rfft(count, size)
    both = np.conj(both, out=both)
    both *= fft.rfft(wide, size)
    fits = fft.irfft(both, size)[:, : 2 * reach + 1]  # at [k], values lie k - reach bins higher
    return np.asarray((reach - fits.argmax(axis=1)) * usual.step, np.float64)


def better_of(first: Fit, second: Fit, width_px: float) -> Fit:
    """Of two fits of the same profile, at each scale the one that blocks agree about more.

    Examples
    --------
    >>> from dataclasses import replace
    >>> sure, unsure = (s * np.array([[1.0], [-1.0], [1.0], [-1.0]]) for s in (1e-3, 1.0))
    >>> wave = np.sin(np.arange(64))
    >>> blocks = np.random.default_rng(0).normal(size=(4, 64))
    >>> one, other = (
    ...     Fit(wave, s * blocks, 1.0, np.ones(64)) for s in (sure, unsure)
    ... )
    >>> found = better_of(one, replace(other, profile=0 * wave), 8.0)
    >>> bool(np.allclose(found.profile, wave - np.median(wave), atol=1e-3))
    True
    """
    lines = len(first.profile)
    sigmas = scales(lines, width_px)
    apart = first.profile - second.profile
    weights, doubts = [], []
    for sigma, one, other, away in zip(
        sigmas,
        errors(first.parts, sigmas),
        errors(second.parts, sigmas),
        bands(apart, sigmas),
        strict=True,
    ):
        window = min(max(4 * sigma, 8.0), lines / 4)
        a, b = smooth(one, window) ** 2, smooth(other, window) ** 2
        weights.append((b + 1e-20) / (a + b + 2e-20))
        near = min(max(sigma, 2.0), lines / 4)
        expected = smooth(one + other, near) + 1e-8
        doubts.append(np.sqrt(np.maximum(smooth(away**2, near) / (CONTRARY * expected), 1.0)))
    profile = second.profile + _weighed(apart, weights, sigmas)
    parts = second.parts + _weighed(first.parts - second.parts, weights, sigmas)
    parts = _weighed(parts, doubts, sigmas)  # more where the two contradict each other
    return Fit(profile - np.median(profile), parts, first.contrast, first.seen)


def _weighed(values: Floats, weights: list[Floats], sigmas: list[float]) -> Floats:
    """Bands of `values` times their weights; what is wider than all bands has the last one's."""
    each = bands(values, sigmas)
    rest = values - np.sum(each, axis=0)
    total: npt.NDArray[np.float64] = rest * weights[-1]
    for band, weight in zip(each, weights, strict=True):
        total = total + band * weight
    return total
