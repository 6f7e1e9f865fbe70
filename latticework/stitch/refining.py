"""A shift between two images made exact: least squares over the pixels that both really show.

A correlation of filtered strips is drawn aside where the strips end: a cell at the edge of one tile
looks cut there, and whole in the other. So near the place that it found, the images themselves are
compared, over just the pixels that both show and whose surroundings both show too::

    first  ├──────────────────────┤
                          ┌───┐            compared: what overlaps, without a margin that
    second            ├──────────────────  smoothing would take from beyond the edges

Sought is the shift, with a gain and a background that vary smoothly across, that leave the least of
the second image unexplained by the first (Gauss-Newton iterations: B. Lucas and T. Kanade, "An
iterative image registration technique with an application to stereo vision", 1981). Both are
smoothed by a Gaussian, the first by one that stands between its pixels, which is interpolation and
smoothing in one and does not favour whole pixels. What does not fit (debris, what has moved) loses
its weight (Cauchy's; P. Holland and R. Welsch, 1977). Where little is to be seen, only the pixels
around it count, so that the noise of all others blurs nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy import linalg, ndimage

from latticework.stitch.filtering import level_planes, quantile

SMOOTH_PX, SMOOTH_Z_PX = 0.75, 0.6
"""Standard deviation of the Gaussian."""
TAIL = 2.6
"""Where it ends, in standard deviations."""
LEAST_PIXELS = 64
"""Pixels that have to count."""
LEAST_PX = 2
"""Pixels along each axis that have to be left."""
ROUNDS = 20
"""Iterations, at most."""
SETTLED_PX = 0.2
"""Step from which on it is asked what does not fit."""
NEAR_PX = 0.003
"""Step after which there is no other."""
SLOPED_PX = 0.05
"""How far from there slopes are the same."""
LEEWAY_PX = 0.5
"""How far it may lead before what is compared is chosen anew."""
RESTARTS = 9
"""Times that that is done, at most."""
LEAST_ALIKE = 0.01
"""Share of slopes that is taken for more than noise, at least."""
SAME_PX = 0.25
"""Places as near to each other as this are the same."""
SEEN = 2.5
"""What that share has to be along an axis, in standard deviations of that of mere noise; else
nothing is to be seen along it: lines tell nothing along themselves."""
ASIDE = 0.1
"""Share of such a direction that makes an axis as blind."""
ASKED_PX, ASKED_ALIKE = 0.3, 0.2
"""Error from which on it is asked where anything is to be seen at all, if they are so alike."""
MOVES = 2
"""Times that the fit of just that may begin anew."""
AROUND_PX, AROUND_Z_PX, BARE = 9, 3, 2.0
"""Size of places for which that is asked, and how much stronger than typical they have to be."""
HOPELESS = 0.1
"""Likeness below which a fit that has moved twice is given up: it wanders through noise."""
PRIOR_PX = 1.0
"""How far from there it is expected, as a standard deviation; counts where little is to be seen."""
STRAY_PX = 4.0
"""How far it may lead from where it began."""
CAUCHY, OUTLYING = 2.385, 0.4
"""Scale of the weights in robust standard deviations of noise, and in true ones at least."""
WIDE_PX, WIDE_Z_PX = 25, 9
"""Size of the surroundings with which a pixel is compared."""


@dataclass(frozen=True, slots=True)
class Fit:
    """A shift between two images, by least squares."""

    shift: tuple[float, ...]
    """Pixel ``x`` of the second image shows what pixel ``x + shift`` of the first shows."""
    likeness: float
    """Correlation of the two over what was compared, backgrounds taken out; at most 1."""
    error_px: tuple[float, ...]
    """Standard error of the shift along each axis, from what remains unexplained; infinite along
    axes along which nothing is to be seen."""


def refine(
    first: np.ndarray,
    second: np.ndarray,
    shift: Sequence[float],
    dims: Sequence[str],
    *,
    valid: tuple[np.ndarray | None, np.ndarray | None] = (None, None),
) -> Fit | None:
    """The shift near a given one at which two images agree best; None if that cannot be told.

    Parameters
    ----------
    first, second
        Images, float32; noise should be about the same everywhere.
    shift
        About where: within a pixel or two.
    dims
        Their axes, of ``z y x``.
    valid
        Boolean masks of the pixels that count, for either image; all if None.

    Examples
    --------
    >>> rng = np.random.default_rng(2)
    >>> scene = ndimage.gaussian_filter(rng.normal(size=(90, 80)), 1.5).astype("f4")
    >>> found = refine(scene[:80, :40], scene[3:83, 21:70], (2, 22), "yx")
    >>> [round(s, 2) for s in found.shift], round(found.likeness, 2)
    ([3.0, 21.0], 1.0)
    """
    found = _settled(first, second, shift, dims, valid)
    if found is None or max(found.error_px) <= ASKED_PX or found.likeness < ASKED_ALIKE:
        return found
    closer = _settled(first, second, shift, dims, valid, near=found)
    if closer is None or max(closer.error_px) >= max(found.error_px):
        return found
    return replace(closer, likeness=found.likeness)


def _settled(
    first: np.ndarray,
    second: np.ndarray,
    shift: Sequence[float],
    dims: Sequence[str],
    valid: tuple[np.ndarray | None, np.ndarray | None],
    *,
    near: Fit | None = None,
) -> Fit | None:
    """The fit near a shift; or near another fit, by only where something is to be seen."""
    begin = at = np.asarray(shift, "f8")
    if near is not None:
        at = np.asarray(near.shift, "f8")
    tried = [at]
    for _ in range(RESTARTS if near is None else MOVES):
        place = _compared(first.shape, second.shape, at, dims)
        if place is None:
            return None
        found = _iterate(first, second, at, begin, place, dims, valid, where_seen=near is not None)
        if not isinstance(found, _Moved):
            return found
        at = found.shift
        if (np.abs(at - begin) > STRAY_PX).any():
            return None
        if len(tried) > 1 and found.likeness < HOPELESS:
            return None
        if min(float(np.abs(at - other).max()) for other in tried) < SAME_PX:
            return None  # two places that each lead to the other
        tried.append(at)
    return None


def is_wide_enough(
    first: Sequence[int], second: Sequence[int], shift: Sequence[float], dims: Sequence[str]
) -> bool:
    """Whether enough overlaps to compare it."""
    return _compared(first, second, np.asarray(shift, "f8"), dims) is not None


class _Place(NamedTuple):
    """Pixels of the second image that are compared, and by how much is smoothed."""

    low: np.ndarray
    high: np.ndarray
    sigmas: list[float]

    @property
    def slices(self) -> tuple[slice, ...]:
        return tuple(slice(a, b) for a, b in zip(self.low, self.high, strict=True))

    @property
    def shared(self) -> float:
        """Pixels that share their noise, in a smoothed image."""
        return max(float(np.prod([2 * np.sqrt(np.pi) * s for s in self.sigmas])), 1.0)


def _compared(
    first: Sequence[int], second: Sequence[int], shift: np.ndarray, dims: Sequence[str]
) -> _Place | None:
    n, m = np.asarray(first), np.asarray(second)
    for factor in (1.0, 0.66):
        sigmas = [factor * (SMOOTH_Z_PX if dim == "z" else SMOOTH_PX) for dim in dims]
        margin = np.array([np.ceil(TAIL * s) for s in sigmas])
        low = np.ceil(np.maximum(margin, margin - shift + LEEWAY_PX)).astype(int)
        high = np.floor(np.minimum(m - margin, n - margin - shift - LEEWAY_PX)).astype(int)
        if (high - low >= LEAST_PX).all():
            return _Place(low, high, sigmas)
    return None


def _smoothed(image: np.ndarray, place: _Place, shift: np.ndarray) -> np.ndarray:
    """The smoothed image at a place plus a shift."""
    for axis in range(len(place.sigmas)):
        image = _passed(image, place, shift, axis)
    return image


def _with_slopes(image: np.ndarray, place: _Place, shift: np.ndarray) -> list[np.ndarray]:
    """Slopes of the smoothed image at a place plus a shift, along each axis; and itself."""
    slopes: list[np.ndarray] = []
    for axis in range(len(place.sigmas)):
        slopes = [_passed(of, place, shift, axis) for of in slopes]
        slopes.append(_passed(image, place, shift, axis, slope=True))
        image = _passed(image, place, shift, axis)
    return [*slopes, image]


def _passed(
    image: np.ndarray, place: _Place, shift: np.ndarray, axis: int, *, slope: bool = False
) -> np.ndarray:
    """An image cut to a place plus a shift along an axis, and smoothed along it; or its slope."""
    sigma, whole = place.sigmas[axis], int(np.rint(shift[axis]))
    reach = int(np.ceil(TAIL * sigma))
    at = np.arange(-reach, reach + 1) - (shift[axis] - whole)
    kernel = np.exp(-(at**2) / (2 * sigma**2))
    kernel /= kernel.sum()
    if slope:
        kernel *= at / sigma**2
    start, stop = place.low[axis] + whole - reach, place.high[axis] + whole + reach
    piece = image[(slice(None),) * axis + (slice(start, stop),)]
    inner = (slice(None),) * axis + (slice(reach, piece.shape[axis] - reach),)
    return np.asarray(ndimage.correlate1d(piece, kernel, axis=axis, mode="nearest")[inner])


def _known(
    valid: tuple[np.ndarray | None, np.ndarray | None],
    here: tuple[slice, ...],
    whole: np.ndarray,
    first: Sequence[int],
) -> np.ndarray | None:
    """Which of the compared pixels count; None if all do."""
    known = None
    if valid[1] is not None:
        known = valid[1][here]
    if valid[0] is not None:
        sides = [
            np.clip(np.arange(s.start, s.stop) + w, 0, n - 1)
            for s, w, n in zip(here, whole, first, strict=True)
        ]
        other = valid[0][np.ix_(*sides)]
        known = other if known is None else known & other
    return None if known is None else known.ravel()


def _local(image: np.ndarray, dims: Sequence[str]) -> np.ndarray:
    """What an image has that its surroundings have not, flattened.

    Surroundings end where the image does. They do so alike in the other image, of just the same
    place, so that this draws nothing aside.
    """
    size = [WIDE_Z_PX if dim == "z" else WIDE_PX for dim in dims]
    local = np.asarray(image - ndimage.uniform_filter(image, size, mode="reflect"))
    return level_planes(local, dims).ravel()


def _iterate(
    first: np.ndarray,
    second: np.ndarray,
    start: np.ndarray,
    begin: np.ndarray,
    place: _Place,
    dims: Sequence[str],
    valid: tuple[np.ndarray | None, np.ndarray | None],
    *,
    where_seen: bool,
) -> "Fit | _Moved | None":
    """The fit; or a shift to begin anew from, as what is compared there is something else.

    What the first image shows is explained by the second, its slopes, which stand for a shift, and
    an even ground. These stay as they are while the first image is moved.
    """
    n = len(start)
    parts = _with_slopes(second, place, np.zeros(n))
    columns = np.stack([*(_local(part, dims) for part in parts), np.ones(parts[0].size, "f4")])
    slopes, goal = _slopes(first, place, start, dims)
    known = _known(valid, place.slices, np.rint(start).astype(int), first.shape)
    seen = _seen(goal, columns[n], parts[0].shape, dims) if where_seen else None
    weight = _product(known, seen)
    if (columns.shape[1] if weight is None else weight.sum()) < LEAST_PIXELS:
        return None
    shift, settled = start.copy(), False
    fit = None
    for _ in range(ROUNDS):
        sums = _sums(columns, goal, weight)
        fit = _fit(sums, _shared_slopes(columns[:n], slopes, weight), n, place.shared)
        if fit is None:
            return None
        step = fit.step(begin - shift)
        shift = shift + step
        if (np.abs(shift - start) > LEEWAY_PX).any():
            return _Moved(shift, fit.likeness)
        largest = float(np.abs(step).max())
        if largest < NEAR_PX and settled:
            break
        if largest < SETTLED_PX and not settled:
            settled = True
            fitting = _weights(goal - np.float32(fit.gain) * columns[n], known)
            weight = _product(fitting, seen)
            if float(np.abs(shift - start).max()) > SLOPED_PX:
                slopes, goal = _slopes(first, place, shift, dims)
                continue
        goal = _local(_smoothed(first, place, shift), dims)
    if fit is None:
        return None
    return Fit(tuple(map(float, shift)), fit.likeness, tuple(map(float, fit.errors)))


class _Moved(NamedTuple):
    """A fit that has led too far for what is compared."""

    shift: np.ndarray
    likeness: float


class _Fit(NamedTuple):
    """Least squares of one round."""

    gain: float
    likeness: float
    curvature: np.ndarray
    """Of the sum of squares, along each pair of axes, by the slopes that both images have."""
    spread: np.ndarray
    """The same by the slopes of the second image, with those of its noise: what noise pulls at."""
    pull: np.ndarray
    """Its slope."""
    noise: float
    """Variance of what is left, times the pixels that share it."""
    blind: np.ndarray
    """Directions in which nothing is to be seen, as columns; they may be none."""

    def step(self, back: np.ndarray) -> np.ndarray:
        """Where the images lead, and a little back to where it was sought."""
        prior = self.noise / PRIOR_PX**2 + 1e-12
        step = np.linalg.solve(self.curvature + prior * np.eye(len(back)), self.pull + prior * back)
        return np.asarray(step * min(1.0, LEEWAY_PX / max(float(np.abs(step).max()), 1e-9)))

    @property
    def errors(self) -> np.ndarray:
        """Standard error along each axis.

        Noise of the first image pulls by the slopes of the second, be they noise or not; what both
        show holds against that by the slopes that they share only.
        """
        held = np.linalg.inv(self.curvature + 1e-9 * np.eye(len(self.curvature)) * self.noise)
        errors = np.sqrt(np.maximum(self.noise * np.diag(held @ self.spread @ held), 0))
        return np.where((np.abs(self.blind) > ASIDE).any(axis=1), np.inf, errors)


def _slopes(
    first: np.ndarray, place: _Place, shift: np.ndarray, dims: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Slopes of the first image along each axis, (axes, compared pixels); and what it shows."""
    *slopes, shown = (_local(part, dims) for part in _with_slopes(first, place, shift))
    return np.stack(slopes), shown


def _shared_slopes(second: np.ndarray, first: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
    """Sums of products of the slopes of two images: of what both show, as their noise differs."""
    both = np.asarray((second if weight is None else second * weight) @ first.T, "f8")
    return np.asarray((both + both.T) / 2)


def _fit(sums: np.ndarray, slopes: np.ndarray, n: int, shared: float) -> _Fit | None:
    """From sums of products of slopes, second image, ones, and first image; and of both's slopes.

    The gain is the ratio of the two images' spreads, not the slope of a regression: that would be
    too small where there is noise, and what it left of the first image would draw the shift aside.
    For the same reason the curvature is that of the slopes that both images have. Noise has steeper
    slopes than what it lies on: by how alike the images are it cannot be told.
    """
    count = max(float(sums[-2, -2]), 1.0)
    ground = sums[:, -2:-1]
    products = sums - ground @ ground.T / count
    own, other = products[-1, -1], products[n, n]
    if own <= 0 or other <= 0:
        return None
    gain, likeness = float(np.sqrt(own / other)), float(products[n, -1] / np.sqrt(own * other))
    if likeness <= 0:
        return None
    left = own + gain**2 * other - 2 * gain * products[n, -1]
    least = float(np.tanh(SEEN / np.sqrt(max(count / shared, 1.0))))  # R. A. Fisher, 1915
    curvature, blind = _between(slopes, gain * products[:n, :n], least)
    return _Fit(
        gain,
        likeness,
        gain * curvature,
        gain**2 * products[:n, :n],
        -gain * (products[:n, -1] - gain * products[:n, n]),
        max(float(left), 1e-12 * float(own)) / count * shared,
        blind,
    )


def _between(
    shared: np.ndarray, all_of_one: np.ndarray, least: float
) -> tuple[np.ndarray, np.ndarray]:
    """Shared slopes as shares of those of one image, not below `LEAST_ALIKE`, nor above all.

    And the directions along which they are less than noise may share, as columns of length 1.
    """
    floor = (1e-12 * np.trace(all_of_one) + 1e-30) * np.eye(len(shared))
    sizes, axes = linalg.eigh(shared, all_of_one + floor)
    back = all_of_one @ axes
    blind = axes[:, sizes < least]
    return (
        np.asarray(back * np.clip(sizes, LEAST_ALIKE, 1.0) @ back.T),
        np.asarray(blind / np.linalg.norm(blind, axis=0)),
    )


def _sums(columns: np.ndarray, goal: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
    """Sums of products of all columns, with weights; the last column is the goal."""
    both = np.concatenate([columns, goal[None]])
    return np.asarray((both if weight is None else both * weight) @ both.T, "f8")


def _seen(
    first: np.ndarray, second: np.ndarray, shape: Sequence[int], dims: Sequence[str]
) -> np.ndarray:
    """What pixels count by how much either image shows around them, 0 where that is typical.

    Typical is noise, where little is to be seen. How well the two match there does not matter:
    it must not make what is wrong look better.
    """
    size = [AROUND_Z_PX if dim == "z" else AROUND_PX for dim in dims]
    one, other = (
        np.maximum(ndimage.uniform_filter(np.square(of).reshape(shape), size), 0)  # rounding
        for of in (first, second)
    )
    shown = np.sqrt(one * other)
    bare = BARE * quantile(shown, 0.5) + 1e-30
    return np.asarray(np.maximum(1 - bare / np.maximum(shown, bare), 0), "f4").ravel()


def _product(one: np.ndarray | None, other: np.ndarray | None) -> np.ndarray | None:
    """What pixels count that have two reasons to count less; None stands for 1 everywhere."""
    if one is None or other is None:
        only = other if one is None else one
        return None if only is None else np.asarray(only, "f4")
    return np.asarray(one * other, "f4")


def _weights(left: np.ndarray, known: np.ndarray | None) -> np.ndarray:
    """What each pixel counts, from what is left of it.

    Where little is to be seen most of what is left is noise, and what there is to be seen, not yet
    in its place, must not count as an outlier: so the scale goes by the mean square too.
    """
    counts = left if known is None else left[known]
    typical = 1.4826 * quantile(np.abs(counts), 0.5)
    scale = CAUCHY * max(typical, OUTLYING * float(np.sqrt(np.square(counts).mean()))) + 1e-12
    weight = np.asarray(1 / (1 + np.square(left / scale)), "f4")
    return weight if known is None else weight * known


__all__ = ["Fit", "is_wide_enough", "refine"]
