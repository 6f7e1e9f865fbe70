"""Spots of which a border cuts a part off: placed by a fit.

What lies beyond a border is not known, and whatever is taken for it draws the maximum of a filtered
picture to the border, or away from it. A Gaussian of the known width is fitted to the pixels that
there are (least squares, Levenberg 1944 and Marquardt 1963), all spots at once.
"""

import math

import numpy as np
import numpy.typing as npt

NEAR = 2.0
"""Standard deviations from a border within which spots are fitted."""
REACH = 2.5
"""Standard deviations within which pixels count, and that a spot may move."""
STEPS = 25
"""Of the fit, at most."""
SETTLED = 1e-3
"""Pixels of a step after which a fit ends."""
AT_ONCE = 400_000
"""Pixels that are fitted at once."""

Floats = npt.NDArray[np.float64]


def placed_by_fit(
    counts: npt.NDArray[np.generic], places: Floats, sigmas: tuple[float, ...]
) -> Floats:
    """The places of spots, along axes on which a border is near by a fit, else as they are.

    Parameters
    ----------
    counts
        Pixels.
    places
        As they were found, shape (spots, axes).
    sigmas
        Standard deviation of a spot along each axis, in pixels.

    Examples
    --------
    >>> y, x = np.mgrid[:40, :50]
    >>> spot = 20 + 300 * np.exp(-((y - 0.6) ** 2 + (x - 30.6) ** 2) / (2 * 2.0**2))
    >>> placed_by_fit(spot, np.array([[0.0, 30.5]]), (2.0, 2.0)).round(2)
    array([[ 0.6, 30.5]])
    """
    width, last = np.array(sigmas), np.array(counts.shape) - 1
    low, high = places < NEAR * width, places > last - NEAR * width
    near = low | high
    inward = np.where(low, width, 0) - np.where(high, width, 0)
    placed = places.copy()
    sides = 2 * np.ceil(REACH * width).astype(int) + 1
    most = max(1, AT_ONCE // math.prod(sides.tolist()))
    chosen = np.flatnonzero(near.any(axis=1))
    for first in range(0, len(chosen), most):
        rows = chosen[first : first + most]
        pixels, at, there = _patches(counts, places[rows], sides)
        fits = [
            _fit(pixels, at, there, places[rows], start, width)
            for start in (places[rows], places[rows] + inward[rows])
        ]
        best = (fits[1][1] < fits[0][1])[:, None]
        fitted = np.where(best, fits[1][0], fits[0][0])
        placed[rows] = np.where(near[rows], fitted, places[rows])
    return placed


def _patches(
    counts: npt.NDArray[np.generic], places: Floats, sides: npt.NDArray[np.int64]
) -> tuple[Floats, Floats, npt.NDArray[np.bool_]]:
    """Pixels around spots, (spots, pixels), where they are, (axes, spots, pixels), if at all."""
    steps = np.stack(np.meshgrid(*[np.arange(n) - n // 2 for n in sides], indexing="ij"))
    at = np.rint(places).astype(int).T[:, :, None] + steps.reshape(len(sides), 1, -1)
    last = np.array(counts.shape)[:, None, None] - 1
    there = ((at >= 0) & (at <= last)).all(axis=0)
    pixels = counts[tuple(np.clip(at, 0, last))].astype(np.float64)
    finite = np.isfinite(pixels)
    return np.where(finite, pixels, 0.0), at.astype(np.float64), there & finite


def _fit(
    pixels: Floats,
    at: Floats,
    there: npt.NDArray[np.bool_],
    found: Floats,
    start: Floats,
    width: Floats,
) -> tuple[Floats, Floats]:
    """Places after a fit begun at `start`, and its squared errors; infinite where it failed."""

    def modelled(place: Floats) -> tuple[Floats, Floats, Floats]:
        """Basis, best height and ground, and what is left."""
        away = (at - place.T[:, :, None]) / width[:, None, None]
        shape = np.exp(-0.5 * np.square(away).sum(axis=0)) * there
        count = there.sum(axis=1).clip(1)
        mean, level = shape.sum(axis=1) / count, (pixels * there).sum(axis=1) / count
        spread = (np.square(shape - mean[:, None]) * there).sum(axis=1).clip(1e-12)
        height = ((shape - mean[:, None]) * pixels * there).sum(axis=1) / spread
        left = (pixels - level[:, None] - height[:, None] * (shape - mean[:, None])) * there
        slopes = height[:, None] * shape * away / width[:, None, None]
        slopes = (slopes - (slopes.sum(axis=2) / count)[:, :, None]) * there
        return slopes, height, left

    place, damping = start.copy(), np.full(len(start), 1e-2)
    slopes, height, left = modelled(place)
    error = np.square(left).sum(axis=1)
    moving = np.ones(len(start), bool)
    for _ in range(STEPS):
        normal = np.einsum("isp,jsp->sij", slopes, slopes)
        diagonal = np.einsum("sii->si", normal)
        diagonal += damping[:, None] * diagonal + 1e-9 * (1 + diagonal.max(axis=1, keepdims=True))
        step = np.linalg.solve(normal, np.einsum("isp,sp->si", slopes, left)[..., None])[..., 0]
        tried = np.clip(place + step, found - REACH * width, found + REACH * width)
        new = modelled(tried)
        after = np.square(new[2]).sum(axis=1)
        better = moving & (after < error)
        # Each by itself, so that what is found does not depend on what else is there.
        moving &= ~(better & (np.abs(tried - place).max(axis=1) < SETTLED)) & (damping < 1e6)
        place[better], error[better] = tried[better], after[better]
        slopes[:, better], height[better], left[better] = (
            new[0][:, better], new[1][better], new[2][better],
        )  # fmt: skip
        damping = np.where(better, damping / 3, damping * 5)
        if not moving.any():
            break
    wrong = ~(height > 0)
    return np.where(wrong[:, None], found, place), np.where(wrong, np.inf, error)


__all__ = ["NEAR", "placed_by_fit"]
