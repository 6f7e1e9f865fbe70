"""Which pieces of a tile say most about the lamp: its background, all of it, or its cells.

Cells on nothing leave most places of a tile dark, and its background says nothing. Then the
brightest piece of each part of the tile is taken: parts as small as all (nearly) hold a cell.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

PARTS = (1, 2, 4)
"""Pieces along each side of a part of the tile."""
LIT = 6.0
"""Standard errors above the dark from which on a piece holds light."""
ENOUGH = {1: 0.9, 2: 0.8, 4: 0.4}
"""Share of the parts that must be lit, by their size."""
LEAST_SPREAD = 0.02
"""Spread of pieces as a share of the level, below which it makes no difference."""


def telling_pieces(
    usual: Floats, usual_errors: Floats, means: Floats, errors: Floats
) -> tuple[Floats, Floats]:
    """The pieces of each tile that tell the lamp best, and their errors.

    Parameters
    ----------
    usual, usual_errors
        What most pixels of each piece are like, (tiles, rows, columns).
    means, errors
        Means of all pixels of each piece. Errors are infinite where a piece is not known.

    Returns
    -------
    tuple
        Brightness and errors, with infinite errors for pieces that are not used.

    Examples
    --------
    >>> spots = np.zeros((1, 8, 8))
    >>> spots[0, 1::4, 2::4] = 100
    >>> pieces, errors = telling_pieces(0 * spots, np.ones((1, 8, 8)), spots, np.ones((1, 8, 8)))
    >>> pieces[np.isfinite(errors)]
    array([100., 100., 100., 100.])
    """
    choices = [(usual, usual_errors), *(_brightest(means, errors, part) for part in PARTS)]
    best = np.argmax([_told(*choice) for choice in choices], axis=0)
    tiles = np.arange(len(best))
    pieces, noise = (np.stack(parts)[best, tiles] for parts in zip(*choices, strict=True))
    return pieces, noise


def _told(pieces: Floats, errors: Floats) -> Floats:
    """How much each tile tells of a field: the inverse of the squared error of its level."""
    known = np.isfinite(errors).reshape(len(errors), -1)
    some = known.any(axis=1)
    told = np.zeros(len(pieces))
    values = np.where(known, pieces.reshape(known.shape), np.nan)[some]
    noise = np.where(known, errors.reshape(known.shape), np.nan)[some]
    level = np.maximum(np.nanmedian(values, axis=1), 0.0)
    spread = 1.4826 * np.nanmedian(np.abs(values - level[:, None]), axis=1)
    variance = np.maximum(spread, np.nanmedian(noise, axis=1)) ** 2 + (LEAST_SPREAD * level) ** 2
    told[some] = known.sum(axis=1)[some] * level**2 / np.maximum(variance, 1e-30)
    return told


def _brightest(pieces: Floats, errors: Floats, part: int) -> tuple[Floats, Floats]:
    """The brightest piece of each part of a tile only, if enough parts are lit."""
    tiles, high, wide = pieces.shape
    rows, columns = -(-high // part), -(-wide // part)
    padded = np.full((tiles, rows * part, columns * part), -np.inf)
    padded[:, :high, :wide] = np.where(np.isfinite(errors), pieces, -np.inf)
    parts = padded.reshape(tiles, rows, part, columns, part).swapaxes(2, 3)
    flat = parts.reshape(tiles, rows, columns, part * part)
    chosen = np.zeros(flat.shape, bool)
    np.put_along_axis(chosen, flat.argmax(axis=-1)[..., None], True, axis=-1)
    chosen = chosen.reshape(parts.shape).swapaxes(2, 3).reshape(padded.shape)[:, :high, :wide]
    lit = chosen & np.isfinite(errors) & (pieces > LIT * errors)
    enough = lit.sum(axis=(1, 2)) >= ENOUGH[part] * rows * columns
    return pieces, np.where(lit & enough[:, None, None], errors, np.inf)
