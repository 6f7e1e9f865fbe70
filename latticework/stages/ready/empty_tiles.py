"""What empty tiles show: the camera's offset, and a glow that is as uneven as the lamp.

::

    counts |      ____         other tiles: offset + (glow + specimen) * lamp
           |   .-'    '-.
           |   .-------.       empty tiles: offset + glow * lamp
           |..............     offset
           +-------------- x

The glow alone cannot tell the offset: whatever is taken for that, the rest looks like some lamp.
What other tiles have more than the empty ones in the same place is the lamp's light with any
offset; how uneven that is, says how much of what the empty tiles show is light.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from latticework.stages.ready.likely_lamps import terms

Floats = npt.NDArray[np.float64]

DARKEST = 5.0
"""Per cent of the tiles that are taken for dark."""
ALIKE = 3.0
"""Standard errors of a piece by which tiles may be brighter than these, and be empty too."""
TEXTURED = 2.0
"""Standard errors by which pieces are away from a smooth ground, if there is some specimen."""
LIT = 0.6
"""Standard errors of a piece by which a tile that holds something is brighter in the mean."""
DEGREE = 4
"""Of the polynomial that the ground is made of."""
LIKELY, DIFFERS = 0.134, 0.067
"""Spread of the light of lamps as `likely_lamps` has them, as a share of its mean: the median of
many, and by how much they differ."""
LEAST_SPREAD = 0.04
"""That of the most even lamp."""
LEAST_LIGHT = 0.3
"""Light in the darkest place of any lamp, as a share of its mean."""
CHANCE = 0.02
"""By how much cells may be uneven besides, in the mean over tiles."""
LEAST_TILES = 3
"""Tiles that can say how well they agree."""
LEAST_RIM = 6
"""Pieces along a side from which on the outermost can be left out."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What the darkest tiles show, as a smooth picture.

    Examples
    --------
    >>> lamp = 1 - 0.4 * np.linspace(-1, 1, 8)[:, None] ** 2 * np.ones(8)
    >>> pieces = np.stack([100 + level * lamp for level in (10, 10, 10, 400, 500, 600)])
    >>> ground = ground_of(pieces, np.full(pieces.shape, 0.1))
    >>> ground.empty, bool(abs(ground.picture - pieces[0]).max() < 0.1)
    (True, True)
    >>> bool(abs(offset_of_ground(ground, pieces[3:] - pieces[0]) - 100) < 2)
    True
    """

    picture: Floats
    """Counts, (y, x)."""
    empty: bool
    """Whether that is all these tiles show: no specimen with a texture of its own."""
    noise: float
    """Spread of the picture that is noise."""

    @property
    def most(self) -> float:
        """The largest offset that leaves its darkest place some light, if others have any."""
        mean = float(self.picture.mean())
        return max(mean - (mean - float(self.picture.min())) / (1 - LEAST_LIGHT), 0.0)


def ground_of(pieces: Floats, errors: Floats) -> Ground:
    """The ground of tiles, from the usual brightness of their pieces and its errors.

    Parameters
    ----------
    pieces, errors
        (tile, y, x), with the camera's offset.
    """
    shape = pieces.shape[1:]
    level, noise = np.median(pieces, axis=(1, 2)), np.median(errors, axis=(1, 2))
    darkest = level <= np.percentile(level, DARKEST)
    alike = level <= level[darkest].max() + ALIKE * np.median(noise[darkest])
    error = 1.2533 * float(np.median(noise[alike])) / np.sqrt(alike.sum())
    usual = np.median(pieces[alike], axis=0).ravel()
    base = np.hstack([np.ones((usual.size, 1)), terms(shape, DEGREE)])
    smooth = base @ np.linalg.lstsq(base, usual, rcond=None)[0]
    return Ground(
        picture=smooth.reshape(shape),
        empty=bool(np.median(np.abs(usual - smooth)) <= TEXTURED * error),
        noise=error * float(np.sqrt(base.shape[1] / usual.size)),
    )


def holds_more(excess: Floats, errors: Floats) -> npt.NDArray[np.bool_]:
    """Which tiles hold more than the ground, from what their pieces have more, and its errors."""
    typical = np.median(errors, axis=(1, 2))
    return np.asarray(excess.mean(axis=(1, 2)) > LIT * typical)


def offset_of_ground(ground: Ground, excess: Floats) -> float:
    """The offset with which the ground is as uneven as what tiles have more, or a likely lamp.

    How far these are weighed against each other, is told by how much tiles differ.

    Parameters
    ----------
    ground
        What empty tiles show.
    excess
        What pieces of other tiles have more in the mean, (tile, y, x).
    """
    spread, mean = float(ground.picture.std()), float(ground.picture.mean())
    if spread <= ground.noise:
        return ground.most
    told, weight = LIKELY / DIFFERS**2, 1 / DIFFERS**2
    if len(excess) >= LEAST_TILES:
        uneven, variance = _unevenness(excess, (ground.picture - mean) / spread)
        told, weight = told + uneven / variance, weight + 1 / variance
    light = np.sqrt(spread**2 - ground.noise**2) / max(told / weight, LEAST_SPREAD)
    return float(np.clip(mean - light, 0.0, ground.most))


def _unevenness(excess: Floats, shape: Floats) -> tuple[float, float]:
    """How much of a shape all tiles share, as a share of their brightness, and the variance."""
    if min(shape.shape) >= LEAST_RIM:  # of what lies across the edge, only a part is seen
        excess, shape = excess[:, 1:-1, 1:-1], shape[1:-1, 1:-1]
    shape = shape - shape.mean()
    shape = shape / (shape**2).mean()
    level = excess.mean(axis=(1, 2))
    count = np.minimum(1.0, np.median(level) / level)  # no tile counts for many
    slopes, levels = (excess * shape).mean(axis=(1, 2)) * count, level * count
    without = (slopes.sum() - slopes) / (levels.sum() - levels)
    variance = (len(level) - 1) * float(without.var()) + CHANCE**2
    return float(slopes.sum() / levels.sum()), variance
