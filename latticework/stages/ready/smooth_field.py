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

from latticework.stages.ready.likely_lamps import AnyLamp, Lamp, on_pixels, powers, terms

Floats = npt.NDArray[np.float64]

PLAN = ((4.0, 6), (1.0, 5), (0.3, 5), (0.1, 5))
"""Which pieces of a tile count: squared spreads from its level at half weight, and rounds."""
LEAST_SPREAD = 0.02
"""Spread of the pieces of a tile below which it counts no more."""
LEAST_ERRORS = 4.0
"""Standard errors that a tile must be above the dark to tell something."""
STEADY = 0.7
"""Standard errors of a piece of the darkest tiles by which the camera's offset may be wrong."""
FREEDOM = 4.0
"""Of Student's distribution of how much specimens of tiles differ from the field."""


@dataclass(slots=True)
class _State:
    """What is known of the field and of each tile."""

    lamp: Lamp | AnyLamp
    """What is expected of the field."""
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
    glow: float
    """Brightness that all pieces have besides what the lamp gives them."""
    doubt: float
    """How much that may be."""


def smooth_field(
    pieces: Floats, errors: Floats, size: tuple[int, ...], lamp: Lamp | AnyLamp
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
    lamp
        What is expected of the field before, and of which degree its polynomials are.

    Returns
    -------
    tuple
        The logarithm, and its standard error where it is known least (infinite, and the field 0,
        if no tile is above its noise).

    Notes
    -----
    A model with effects of tiles of which the variances are estimated by expectation maximisation
    (Laird and Ware, "Random-effects models for longitudinal data", 1982), weights that bound what
    single pieces do (Holland and Welsch, "Robust regression using iteratively reweighted least-
    squares", 1977), and a `Lamp` as what is expected before, of which the numbers follow the field
    (those of `AnyLamp` do not). What all pieces have besides the lamp's light is found along with
    the field: it bends dark tiles more than bright ones. Whether all of a tile counts, or only the
    pieces near its most frequent brightness, is decided by which says the field best. All pieces
    are judged relative to the field, none chosen by their brightness, which would prefer those
    under the brighter lamp.

    Examples
    --------
    >>> x = np.linspace(-1, 1, 12)
    >>> pieces = np.exp(-0.3 * x**2) * np.arange(100, 109)[:, None, None] * np.ones((9, 12, 12))
    >>> field, error = smooth_field(pieces, np.ones_like(pieces), (24, 24), Lamp(6))
    >>> round(float(field[0, 12] - field[0, 0]), 1)
    0.3
    """
    degree = lamp.degree
    seen = (np.isfinite(errors) & (pieces > 0)).any(axis=(1, 2))
    base = terms(pieces.shape[1:], degree)
    bright, noise = (part[seen].reshape(int(seen.sum()), len(base)) for part in (pieces, errors))
    best: tuple[float, Floats, Lamp | AnyLamp | None] = (np.inf, np.zeros(base.shape[1]), None)
    if seen.any():
        state = _start(bright, noise, lamp)
        for width, rounds in PLAN:
            for _ in range(rounds):
                known = _round(state, bright, noise, base, pieces.shape[1:], width)
                if known is None:
                    break
            if known is None:
                break
            doubt = float(np.sqrt(((base @ known) * base).sum(axis=1).max()))
            if doubt < best[0]:
                best = doubt, state.shared, state.lamp
    field = on_pixels(best[1], size, degree)
    return (field if best[2] is None else field + best[2].beyond(size)), best[0]


def _start(pieces: Floats, errors: Floats, lamp: Lamp | AnyLamp) -> _State:
    tiles = len(pieces)
    unknown = ~np.isfinite(errors)
    level = np.nanmedian(np.where(unknown, np.nan, pieces), axis=1)
    typical = np.nanmedian(np.where(unknown, np.nan, errors), axis=1)
    return _State(
        lamp=lamp,
        shared=lamp.terms,
        own=np.zeros((tiles, len(lamp.terms))),
        level=np.maximum(level, 1e-6),
        spread=np.full(tiles, 0.3),
        rough=np.ones(tiles),
        usual=np.full(lamp.degree, 0.05**2),
        glow=0.0,
        doubt=STEADY * float(np.percentile(typical, 10)),
    )


def _round(
    state: _State,
    pieces: Floats,
    errors: Floats,
    base: Floats,
    shape: tuple[int, ...],
    width: float,
) -> Floats | None:
    """Improve all that is known once; how well the field is known, as the inverse of a covariance.

    None, if no tile tells anything.
    """
    # Relative to what is shared only: an edge of the specimen stays an edge, and counts little.
    light = np.exp(base @ state.shared + state.lamp.beyond(shape).ravel())
    even, noise = (pieces - state.glow) / light, errors / light
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
    return _terms(state, tell, normal, right, _terms_of(1 / light, base))


def _terms_of(values: Floats, base: Floats) -> Floats:
    """The terms of a picture."""
    return np.asarray(np.linalg.lstsq(base, values - values.mean(), rcond=None)[0])


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
    even: Floats,
) -> Floats:
    """The field's terms and the tiles' own, from the normal equations of each tile.

    `even` has the terms of what is evenly bright, as it looks when seen relative to the field.
    """
    count, degree = normal.shape[1], len(state.usual)
    of = np.array([i + j for i, j in powers(degree)]) - 1
    rough, usual = state.rough[tell], state.usual
    # A glow adds the more to a tile's own terms, the darker it is.
    of_glow = even / state.level[tell, None]
    for _ in range(2):
        prior = 1 / (rough[:, None] * usual[of])
        spare = np.linalg.inv(normal + np.eye(count) * prior[:, None, :])
        taken = normal @ spare
        told = normal - taken @ normal
        shown = right - (taken @ right[:, :, None])[:, :, 0]
        known, wanted = _all_tiles(state, told, shown, of_glow)
        change = np.linalg.solve(known, wanted)
        seen = change[:-1] + of_glow * change[-1]
        own = (spare @ (right[:, :, None] - normal @ seen[:, :, None]))[:, :, 0]
        squares = own**2 + np.einsum("tkk->tk", spare)
        rough = (FREEDOM + (squares / usual[of]).sum(axis=1)) / (FREEDOM + count)
        ratio = squares / rough[:, None]
        usual = np.array(
            [(ratio[:, of == d].sum() + 1e-4) / (ratio[:, of == d].size + 1) for d in range(degree)]
        )
    state.rough[tell], state.own[tell], state.usual = rough, own, usual
    state.shared = state.shared + change[:-1]
    state.glow += float(change[-1])
    if isinstance(state.lamp, Lamp):
        state.lamp = state.lamp.near(state.shared)
    return np.asarray(np.linalg.inv(known)[:-1, :-1])


def _all_tiles(
    state: _State, told: Floats, shown: Floats, of_glow: Floats
) -> tuple[Floats, Floats]:
    """Normal equations of what the field's terms, and last the glow, change by."""
    count = told.shape[1]
    pulled = (told @ of_glow[:, :, None])[:, :, 0]
    sure = 1 / max(state.doubt, 1e-9 * float(state.level.max())) ** 2
    known = np.empty((count + 1, count + 1))
    known[:-1, :-1] = told.sum(axis=0) + state.lamp.known
    known[-1, :-1] = known[:-1, -1] = pulled.sum(axis=0)
    known[-1, -1] = (pulled * of_glow).sum() + sure
    wanted = np.empty(count + 1)
    wanted[:-1] = shown.sum(axis=0) - state.lamp.known @ (state.shared - state.lamp.terms)
    wanted[-1] = (shown * of_glow).sum() - sure * state.glow
    return known, wanted
