"""What lamps look like before any tile is seen: brighter somewhere near the middle, and smooth.

Shapes are written as the logarithm of light in Legendre polynomials of y and x over the tile. How
much of each term lamps have, and which terms come together, is counted over many made-up lamps.
"""

from functools import cache

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

LAMPS = 600
"""Lamps that are made up."""
FREEDOM = (0.03, 0.03, 0.01, 0.01, 0.005, 0.005)
"""Spread that each term may have besides, by its degree (the last one for all higher degrees)."""


def powers(degree: int) -> list[tuple[int, int]]:
    """Degrees in y and x of all terms; the constant is not among them.

    Examples
    --------
    >>> powers(2)
    [(0, 1), (0, 2), (1, 0), (1, 1), (2, 0)]
    """
    return [(i, j) for i in range(degree + 1) for j in range(degree + 1 - i) if i + j]


def places(size: int) -> Floats:
    """Middles of the pixels or pieces along a side of the tile, -1 to 1."""
    return (np.arange(size) + 0.5) / size * 2.0 - 1.0


def polynomials(size: int, degree: int) -> Floats:
    """Legendre's polynomials with a mean square of 1, (size, degree + 1)."""
    scale = np.sqrt(2 * np.arange(degree + 1) + 1)
    return np.asarray(np.polynomial.legendre.legvander(places(size), degree) * scale)


def terms(shape: tuple[int, ...], degree: int) -> Floats:
    """All terms at all places of a grid, (places, terms)."""
    y, x = (polynomials(size, degree) for size in shape)
    return np.stack([np.outer(y[:, i], x[:, j]).ravel() for i, j in powers(degree)], axis=1)


@cache
def likely_lamps(degree: int) -> Floats:
    """How much of each pair of terms lamps have: second moments, (terms, terms).

    A lamp darkens towards its rim as a parabola, a Gaussian, the fourth power of a cosine (the
    law of natural vignetting), or a polynomial of degree 4; by up to three quarters in the
    corners. Its middle is near that of the tile, it may be wider along one axis, and tilted.

    Examples
    --------
    >>> likely_lamps(2).shape
    (5, 5)
    """
    generator = np.random.default_rng(0)
    size = 24
    base = terms((size, size), degree)
    shapes = [base.T @ _lamp(generator, size).ravel() / size**2 for _ in range(LAMPS)]
    moments = np.transpose(shapes) @ np.array(shapes) / LAMPS
    free = [FREEDOM[min(i + j, len(FREEDOM)) - 1] ** 2 for i, j in powers(degree)]
    return np.asarray(moments + np.diag(free))


def _lamp(generator: np.random.Generator, size: int) -> Floats:
    """Logarithm of the light of a made-up lamp."""
    y, x = np.meshgrid(places(size), places(size), indexing="ij")
    middle, wide = generator.normal(0, 0.2, 2), np.exp(generator.normal(0, 0.12))
    loss, mixed = generator.uniform(0, 0.75), generator.uniform(0, 1)
    out = (((y - middle[0]) * wide) ** 2 + ((x - middle[1]) / wide) ** 2) / 2
    rim = 1 - loss
    light = (
        1 - loss * out,
        rim**out,
        (1 + out * (rim**-0.5 - 1)) ** -2.0,
        1 - loss * (mixed * out + (1 - mixed) * out**2),
    )[generator.integers(4)]
    tilt = generator.normal(0, 0.07, 2)
    return np.asarray(np.log(np.maximum(light, 0.1)) + tilt[0] * y + tilt[1] * x)
