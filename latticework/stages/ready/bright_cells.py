"""The lamp from how bright cells are, where they lie on nothing and the ground tells nothing.

The top of a cell is as bright as the cell by itself, times the light there. Cells differ much, but
there are many of them, and any place of a tile may hold a bright one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr

from latticework.stages.ready.likely_lamps import Lamp, on_pixels, terms

Floats = npt.NDArray[np.float64]
Tops = npt.NDArray[np.float32]

PIECES = 64
"""Pieces along each side of a tile, at most, of which each may hold the top of a cell."""
LEAST_PIXELS = 4
"""Along each side of these pieces."""
TOP = 12.0
"""Spreads of the pixels that the top of a cell is above the ground, at least."""
GROUND = 2
"""Percentile of the pieces of a tile that lie on its ground at the most."""
DARK = 3.0
"""Standard errors above the dark up to which the ground is dark."""
LEAST_CELLS = 8
"""Fewer tell nothing."""
MOST_CELLS = 50_000
"""No more are looked at."""
LEAST_SHARE = 0.5
"""Of the cells that count, whatever could be seen where the light is weakest."""
ROUNDS = 25
"""Of improving the lamp."""
BOUND = 1.5
"""Spreads from the usual brightness from which on a cell counts less."""
LEAST_SPREAD = 0.02
"""Of the logarithms of the brightness of cells."""


def pieces_of(size: tuple[int, int]) -> tuple[int, int]:
    """Pieces along y and x of a tile in which tops of cells are looked for."""
    rows, columns = (max(1, min(PIECES, pixels // LEAST_PIXELS)) for pixels in size)
    return rows, columns


def cell_tops(tile: xr.DataArray, dark: npt.ArrayLike) -> list[Tops]:
    """Tops of cells: row and column of the piece, light, and least light that is one, (cells, 4).

    There is an array for each channel.

    The top of a cell is the brightest pixel of a piece and of the eight pieces around it, in the
    brightest of its planes (at the rim, the cell may go on). Of the nine pixels about it, the
    median is taken: a hot pixel is no cell.

    Parameters
    ----------
    tile
        Dims ``y x``, and perhaps ``c`` and ``z``.
    dark
        What the camera counts without light: a number, ``y x`` or ``c y x``.

    Examples
    --------
    >>> spot = 10 * np.exp(-(np.linspace(-3, 3, 25) ** 2))
    >>> tops = cell_tops(xr.DataArray(np.outer(spot, spot) + 5, dims=("y", "x")), 5.0)
    >>> tops[0].round()
    array([[ 3.,  3., 94.,  7.]], dtype=float32)
    """
    channels, planes = tile.sizes.get("c", 1), tile.sizes.get("z", 1)
    pixels = np.asarray(tile.data).reshape(channels, planes, tile.sizes["y"], tile.sizes["x"])
    light = pixels.max(axis=1).astype(np.float32) - np.asarray(dark, dtype=np.float32)
    return [_tops(np.nan_to_num(plane, posinf=0.0)) for plane in light]


def _tops(light: Tops) -> Tops:
    """As `cell_tops`, of one plane."""
    step = max(1, min(light.shape) // 128)
    # Of noise about a dark ground, these are two spreads and one below its middle.
    lowest, low = np.percentile(light[::step, ::step], (2.3, 15.9))
    spread = max(low - lowest, 0.5)
    least = low + (1 + TOP) * spread
    rows, columns = (
        np.linspace(0, pixels, pieces + 1).round().astype(int)
        for pixels, pieces in zip(light.shape, pieces_of(light.shape), strict=True)
    )
    most = np.maximum.reduceat(light, rows[:-1], axis=0)
    most = np.maximum.reduceat(most, columns[:-1], axis=1)
    if min(most.shape) < 3:
        return np.zeros((0, 4), dtype=np.float32)
    around = np.lib.stride_tricks.sliding_window_view(most, (3, 3)).max(axis=(2, 3))
    inner = most[1:-1, 1:-1]
    tops = []
    for i, j in 1 + np.argwhere((inner >= around) & (inner > least)):
        piece = light[rows[i] : rows[i + 1], columns[j] : columns[j + 1]]
        y, x = np.unravel_index(int(piece.argmax()), piece.shape)
        y, x = y + rows[i], x + columns[j]
        tops.append((i, j, np.median(light[y - 1 : y + 2, x - 1 : x + 2]), least))
    found = np.array(tops, dtype=np.float32).reshape(-1, 4)
    return np.asarray(found[found[:, 2] > least])


def ground_is_dark(usual: Floats, errors: Floats) -> bool:
    """Whether what lies between the cells is dark to within its noise in (nearly) all tiles.

    Parameters
    ----------
    usual
        What most pixels of each piece are like without the camera's offset, (tiles, rows, columns).
    errors
        Of these; infinite where a piece is not known.

    Examples
    --------
    >>> noise = np.ones((4, 8, 8))
    >>> ground_is_dark(0 * noise, noise), ground_is_dark(9 * noise, noise)
    (True, False)
    """
    known = np.isfinite(errors)
    some = known.any(axis=(1, 2))
    if not some.any():
        return False
    above = np.where(known, usual / np.where(known, errors, 1.0), np.nan)[some]
    ground = np.nanpercentile(above.reshape(len(above), -1), GROUND, axis=1)
    return bool(np.percentile(ground, 90) < DARK)


@dataclass(slots=True)
class _State:
    """What is known of the lamp and of the cells."""

    lamp: Lamp
    """What is expected of the field."""
    shared: Floats
    """Terms of the field."""
    level: float
    """Logarithm of the usual brightness of cells."""
    apart: float = 0.0
    """Variance of the usual brightness among tiles."""
    alike: float = 1.0
    """How much more sums over a tile vary than its single cells say."""
    covariance: Floats | None = None
    """Of the terms."""


def field_of_cells(tops: Sequence[Tops], size: tuple[int, int], lamp: Lamp) -> tuple[Floats, float]:
    """Logarithm of the field at each pixel from the tops of cells, and how far off it may be.

    Parameters
    ----------
    tops
        Of each tile, as `cell_tops` gives them.
    size
        Pixels of a tile, (y, x).
    lamp
        What is expected of the field before, and of which degree its polynomials are.

    Returns
    -------
    tuple
        The logarithm, and its standard error where it is known least (infinite, and the field 0,
        if there are hardly any cells).

    Notes
    -----
    The logarithm of a top is that of the light, of the tile's cells and of this cell, added up. The
    first is a `Lamp`, the second is normally distributed among tiles; very bright and very faint
    cells count less (Huber, "Robust estimation of a location parameter", 1964). Cells that are too
    faint to be seen where the light is weakest do not count elsewhere either: else the field came
    out too even. If cells of a tile have more in common than their level (a slope of the
    specimen), sums over tiles vary more than single cells say, and all is as much less sure.
    """
    tile = np.repeat(np.arange(len(tops)), [len(cells) for cells in tops])
    if len(tile) < LEAST_CELLS:
        return np.zeros(size), np.inf
    some = slice(None, None, -(-len(tile) // MOST_CELLS))
    tile, (i, j, light, least) = tile[some], np.concatenate(tops)[some].astype(np.float64).T
    shape, degree = pieces_of(size), lamp.degree
    place = (i * shape[1] + j).astype(np.int64)
    base, height = terms(shape, degree), np.log(light)
    state = _State(lamp, lamp.terms, float(np.median(height)))
    for _ in range(ROUNDS):
        field = base @ state.shared + state.lamp.beyond(shape).ravel()
        seen = height - field[place]
        faintest = np.log(least) - field.min()
        kept = seen >= np.minimum(faintest, np.quantile(seen, 1 - LEAST_SHARE))
        _improve(state, seen[kept] - state.level, base[place[kept]], tile[kept])
    assert state.covariance is not None
    doubt = float(np.sqrt(((base @ state.covariance) * base).sum(axis=1).max()))
    return on_pixels(state.shared, size, degree) + state.lamp.beyond(size), doubt


def _improve(state: _State, rest: Floats, base: Floats, tile: npt.NDArray[np.int64]) -> None:
    """Improve all that is known once, by what cells have besides what is known."""
    spread = max(1.4826 * float(np.median(np.abs(rest - np.median(rest)))), LEAST_SPREAD)
    weight = 1 / np.maximum(1.0, np.abs(rest) / (BOUND * spread)) / spread**2
    design = np.hstack([np.ones((len(rest), 1)), base])
    first, of = np.unique(tile, return_index=True, return_inverse=True)[1:]
    # Without what the cells of a tile have in common.
    total = np.add.reduceat(weight, first)
    mean = np.add.reduceat(weight[:, None] * design, first)
    shrunk = state.apart / (1 + state.apart * total)
    normal = design.T @ (weight[:, None] * design) - mean.T @ (shrunk[:, None] * mean)
    right = weight * (rest - (shrunk * np.add.reduceat(weight * rest, first))[of]) @ design
    told, wanted = normal / state.alike, right / state.alike
    told[1:, 1:] += state.lamp.known
    wanted[1:] -= state.lamp.known @ (state.shared - state.lamp.terms)
    change = np.linalg.solve(told, wanted)
    state.covariance = np.asarray(np.linalg.inv(told)[1:, 1:], dtype=np.float64)
    state.level += float(change[0])
    state.shared = state.shared + change[1:]
    state.lamp = state.lamp.near(state.shared)
    left = rest - design @ change
    level = np.add.reduceat(weight * left, first) / total
    size = np.minimum(total, 3 * np.median(total))
    state.apart = max(float(np.average(level**2 - 1 / total, weights=size)), 0.0)
    own = weight * (left - (shrunk * np.add.reduceat(weight * left, first))[of])
    parts = own[:, None] * base
    sums = np.add.reduceat(parts, first)
    state.alike = max(1.0, float((sums**2).sum() / max((parts**2).sum(), 1e-30)))
