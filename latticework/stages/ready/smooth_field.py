"""A smooth field that many tiles share, from how bright their pieces are.

Each tile shows the field times a specimen of its own::

    piece = level of the tile * field * (1 + specimen's texture) + noise
                                  |
             field = exp(what all tiles share + what this tile's specimen adds of the same kind)

How much the specimens of tiles add to each term of the field, they tell by how they differ. So
tiles with a slope of their own count less, and it is known how far off the mean over tiles is.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from latticework.stages.ready.likely_lamps import likely_lamps, polynomials, powers, terms

Floats = npt.NDArray[np.float64]

DEGREE = 6
"""Of the polynomials that the field is made of."""
PLAN = ((4.0, 6), (1.0, 5), (0.3, 5), (0.1, 5))
"""Which pieces of a tile count: squared spreads from its level at half weight, and rounds."""
LEAST_SPREAD = 0.02
"""Spread of the pieces of a tile below which it counts no more."""
LEAST_ERRORS = 4.0
"""Standard errors that a tile must be above the dark to tell something."""
FREEDOM = 4.0
"""Of Student's distribution of how much specimens of tiles differ from the field."""


@dataclass(slots=True)
class _State:
    """What is known of the field and of each tile."""

    shared: Floats
    """Terms of the field."""
    own: Floats
    """What each tile's specimen adds to them, (tiles, terms)."""
    level: Floats
    """Brightness of each tile."""
    spread: Floats
    """Of the pieces of each tile, as a share of its level."""
    rough: Floats
    """Each tile's variance of own terms, as a multiple of the usual one."""
    usual: Floats
    """Variance of tiles' own terms, by degree."""


def smooth_field(
    pieces: Floats, errors: Floats, size: tuple[int, ...], degree: int = DEGREE
) -> tuple[Floats, float]:
    """Logarithm of the field at each pixel, and how far off it may be.

    Parameters
    ----------
    pieces
        Brightness of the pieces of tiles without the camera's offset, (tiles, rows, columns).
    errors
        Standard errors of these; infinite where unknown.
    size
        Pixels of a tile, (y, x).
    degree
        Of the polynomials that the field is made of.

    Returns
    -------
    tuple
        The logarithm, and its standard error where it is known least (infinite, and the field 0,
        if no tile is above its noise).

    Notes
    -----
    A model with effects of tiles of which the variances are estimated by expectation maximisation
    (Laird and Ware, "Random-effects models for longitudinal data", 1982), weights that bound what
    single pieces do (Holland and Welsch, "Robust regression using iteratively reweighted
    least-squares", 1977), and `likely_lamps` as what is expected before. Whether all of a tile
    counts, or only the pieces near its most frequent brightness, is decided by which says the
    field best. All pieces are judged relative to the field, none chosen by their brightness, which
    would prefer those under the brighter lamp.

    Examples
    --------
    >>> x = np.linspace(-1, 1, 12)
    >>> pieces = np.exp(-0.3 * x**2) * np.arange(100, 109)[:, None, None] * np.ones((9, 12, 12))
    >>> field, error = smooth_field(pieces, np.ones_like(pieces), (24, 24))
    >>> round(float(field[0, 12] - field[0, 0]), 1)
    0.3
    """
    seen = (np.isfinite(errors) & (pieces > 0)).any(axis=(1, 2))
    base = terms(pieces.shape[1:], degree)
    expected: Floats = np.asarray(np.linalg.inv(likely_lamps(degree)), dtype=np.float64)
    bright, noise = (part[seen].reshape(int(seen.sum()), len(base)) for part in (pieces, errors))
    best: tuple[float, Floats] = (np.inf, np.zeros(base.shape[1]))
    if seen.any():
        state = _start(bright, noise, base.shape[1], degree)
        for width, rounds in PLAN:
            for _ in range(rounds):
                known = _round(state, bright, noise, base, expected, width)
                if known is None:
                    break
            if known is None:
                break
            doubt = float(np.sqrt(((base @ np.linalg.inv(known)) * base).sum(axis=1).max()))
            if doubt < best[0]:
                best = doubt, state.shared
    table = np.zeros((degree + 1, degree + 1))
    table[tuple(np.transpose(powers(degree)))] = best[1]
    y, x = (polynomials(n, degree) for n in size)
    return np.asarray(y @ table @ x.T), best[0]


def _start(pieces: Floats, errors: Floats, count: int, degree: int) -> _State:
    tiles = len(pieces)
    level = np.nanmedian(np.where(np.isfinite(errors), pieces, np.nan), axis=1)
    return _State(
        shared=np.zeros(count),
        own=np.zeros((tiles, count)),
        level=np.maximum(level, 1e-6),
        spread=np.full(tiles, 0.3),
        rough=np.ones(tiles),
        usual=np.full(degree, 0.05**2),
    )


def _round(
    state: _State, pieces: Floats, errors: Floats, base: Floats, expected: Floats, width: float
) -> Floats | None:
    """Improve all that is known once; how well the field is known, as the inverse of a covariance.

    None, if no tile tells anything.
    """
    # Relative to what is shared only: an edge of the specimen stays an edge, and counts little.
    light = np.exp(base @ state.shared)
    even, noise = pieces / light, errors / light
    _levels(state, even, noise, width)
    sharp = 1 / np.sqrt((1 / noise**2).sum(axis=1))
    tell = state.level > LEAST_ERRORS * sharp
    state.own[~tell] = 0.0
    if not tell.any():
        return None
    level = state.level[tell, None]
    rest = even[tell] / level - 1
    weight = 1 / (state.spread[tell, None] ** 2 + (noise[tell] / level) ** 2 + rest**2 / width)
    total, mean = weight.sum(axis=1), weight @ base
    count = base.shape[1]
    squares = (base[:, :, None] * base[:, None, :]).reshape(len(base), -1)
    normal = (weight @ squares).reshape(-1, count, count)
    normal -= mean[:, :, None] * (mean / total[:, None])[:, None, :]
    right = (weight * (rest - ((weight * rest).sum(axis=1) / total)[:, None])) @ base
    return _terms(state, tell, normal, right, expected)


def _levels(state: _State, even: Floats, noise: Floats, width: float) -> None:
    """Level and spread of each tile, from its pieces under an even lamp."""
    unknown = ~np.isfinite(noise)
    median = np.nanmedian if unknown.any() else np.median
    typical = median(np.where(unknown, np.nan, noise), axis=1)
    for _ in range(2):
        rest = even - state.level[:, None]
        weight = 1 / ((state.spread * state.level)[:, None] ** 2 + noise**2 + rest**2 / width)
        level = (weight * even).sum(axis=1) / weight.sum(axis=1)
        state.level = np.maximum(level, 1e-6)
        away = np.where(unknown, np.nan, np.abs(even - state.level[:, None]))
        away = 1.4826 * median(away, axis=1)
        variance = (away**2 - typical**2) / state.level**2
        state.spread = np.sqrt(np.maximum(variance, LEAST_SPREAD**2))


def _terms(
    state: _State,
    tell: npt.NDArray[np.bool_],
    normal: Floats,
    right: Floats,
    expected: Floats,
) -> Floats:
    """The field's terms and the tiles' own, from the normal equations of each tile."""
    count = normal.shape[1]
    degree = len(state.usual)
    of = np.array([i + j for i, j in powers(degree)]) - 1
    rough, usual = state.rough[tell], state.usual
    for _ in range(2):
        prior = 1 / (rough[:, None] * usual[of])
        spare = np.linalg.inv(normal + np.eye(count) * prior[:, None, :])
        taken = normal @ spare
        known = np.asarray((normal - taken @ normal).sum(axis=0) + expected)
        shown = (right - (taken @ right[:, :, None])[:, :, 0]).sum(axis=0)
        change = np.linalg.solve(known, shown - expected @ state.shared)
        own = (spare @ (right - normal @ change)[:, :, None])[:, :, 0]
        squares = own**2 + np.einsum("tkk->tk", spare)
        rough = (FREEDOM + (squares / usual[of]).sum(axis=1)) / (FREEDOM + count)
        ratio = squares / rough[:, None]
        usual = np.array(
            [(ratio[:, of == d].sum() + 1e-4) / (ratio[:, of == d].size + 1) for d in range(degree)]
        )
    state.rough[tell], state.own[tell], state.usual = rough, own, usual
    state.shared = state.shared + change
    return known
