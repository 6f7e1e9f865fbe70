"""What lamps look like before any tile is seen: brighter somewhere near the middle, and smooth.

Shapes are written as the logarithm of light in Legendre polynomials of y and x over the tile. Lamps
darken towards the rim by a law with a few numbers: a `Lamp` has found these, and expects all else
to be small; `AnyLamp` leaves them open, and expects less.
"""

from functools import cache

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

USUAL = np.array([0.0, 0.0, 0.0, 0.5, 0.15, -0.3, 0.0, 0.0])
"""Numbers of a usual lamp, in the order of `light_of`."""
SPREAD = np.array([0.2, 0.2, 0.12, 0.25, 0.2, 0.5, 0.07, 0.07])
"""How much lamps differ in these."""
FREEDOM = (0.005, 0.005, 0.003, 0.002, 0.001, 0.0008)
"""Spread that each term may have besides, by its degree (the last one for all higher degrees)."""
LOOSE = 6.0
"""The same spreads of `AnyLamp`, as multiples of these."""
LAMPS = 600
"""Lamps that are made up for it."""
SIZE = 24
"""Places along each side of a tile where shapes are turned into terms."""
LEAST = 0.1
"""Light below which a lamp fades away smoothly, and never to nothing."""
STEP = 1e-3
"""Change of a number by which is seen what it does."""
STRIDE = 0.5
"""How far a lamp moves at once, and `FARTHEST` at all, as multiples of the spreads."""
FARTHEST = 2.5


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


def on_pixels(shared: Floats, size: tuple[int, ...], degree: int) -> Floats:
    """A field, given by its terms, at each pixel of a tile, (y, x)."""
    table = np.zeros((degree + 1, degree + 1))
    table[tuple(np.transpose(powers(degree)))] = shared
    y, x = (polynomials(pixels, degree) for pixels in size)
    return np.asarray(y @ table @ x.T)


def light_of(numbers: Floats, size: tuple[int, ...]) -> Floats:
    """Logarithm of the light of a lamp at each pixel.

    With r, half the squared distance from its middle, and ``out = (1 - far) * r + far * r^2``, the
    light is ``(1 + (exp(bend * loss) - 1) * out) ** (-1 / bend)``: for bend -1, a parabola; near 0,
    a Gaussian; for 0.5, the fourth power of a cosine, as in the law of natural vignetting. Where r
    is 1, in the corners of a lamp in the middle, it is ``exp(-loss)`` whatever the bend: no
    bend can take the light away altogether.

    Parameters
    ----------
    numbers
        Middle of the lamp (y, x; the tile goes from -1 to 1), logarithm of how much narrower it is
        along y, loss, far, bend, and slopes along y and x.
    size
        Pixels (y, x).

    Examples
    --------
    >>> np.exp(light_of(np.array([0, 0, 0, 0.5, 0, -1, 0, 0]), (3, 3))[1]).round(3)
    array([0.913, 1.   , 0.913])
    """
    y, x = places(size[0])[:, None], places(size[1])[None, :]
    middle_y, middle_x, narrow, loss, far, bend, slope_y, slope_x = numbers
    r = ((y - middle_y) ** 2 * np.exp(2 * narrow) + (x - middle_x) ** 2 * np.exp(-2 * narrow)) / 2
    bend = bend if abs(bend) > STEP else STEP
    inner = 1 + np.expm1(bend * loss) * ((1 - far) * r + far * r**2)
    fading = 2 * LEAST * np.exp(np.minimum(inner, 2 * LEAST) / LEAST / 2 - 1)
    inner = np.where(inner > 2 * LEAST, inner, fading)
    return np.asarray(-np.log(inner) / bend + slope_y * y + slope_x * x)


@cache
def _from_places(degree: int) -> Floats:
    """What turns values at `SIZE` times `SIZE` places into terms."""
    base = terms((SIZE, SIZE), degree)
    with_constant = np.hstack([np.ones((len(base), 1)), base])
    return np.asarray(np.linalg.pinv(with_constant)[1:])


def _freedom(degree: int) -> Floats:
    """`FREEDOM` of each term."""
    return np.array([FREEDOM[min(i + j, len(FREEDOM)) - 1] for i, j in powers(degree)])


class Lamp:
    """Terms that are expected of a field, if its lamp is near given numbers.

    The law of `light_of` is taken as straight near these: terms are then normally distributed about
    `terms` with an inverse covariance `known`. `near` gives the lamp that fits terms better.

    Examples
    --------
    >>> lamp = Lamp(6)
    >>> field = Lamp(6, USUAL + np.array([0, 0.1, 0, 0, 0, 0, 0, 0])).terms
    >>> for _ in range(5):
    ...     lamp = lamp.near(field)
    >>> bool(abs(lamp.terms - field).max() < abs(Lamp(6).terms - field).max())
    True
    """

    __slots__ = ("_gain", "_own", "degree", "known", "numbers", "terms")

    def __init__(self, degree: int, numbers: Floats = USUAL) -> None:
        self.degree, self.numbers = degree, numbers
        back, size = _from_places(degree), (SIZE, SIZE)
        here = light_of(numbers, size).ravel()
        steps = STEP * np.eye(len(numbers))
        changes = [light_of(numbers + step, size).ravel() - here for step in steps]
        slopes = back @ np.transpose(changes) / STEP
        spread = slopes * SPREAD**2 @ slopes.T + np.diag(_freedom(degree) ** 2)
        self.known: Floats = np.linalg.inv(spread)
        self._own: Floats = back @ here
        self._gain: Floats = (slopes * SPREAD**2).T @ self.known
        self.terms: Floats = self._own + slopes @ (USUAL - numbers)

    def near(self, field: Floats) -> "Lamp":
        """The lamp that is most likely for terms of a field; a step towards it."""
        wanted = USUAL + self._gain @ (field - self.terms)
        step = np.clip(wanted - self.numbers, -STRIDE * SPREAD, STRIDE * SPREAD)
        away = np.clip(self.numbers + step - USUAL, -FARTHEST * SPREAD, FARTHEST * SPREAD)
        return Lamp(self.degree, USUAL + away)

    def beyond(self, size: tuple[int, ...]) -> Floats:
        """What the lamp's law has that polynomials cannot say, at each pixel."""
        y, x = (polynomials(pixels, self.degree) for pixels in size)
        table = np.zeros((self.degree + 1, self.degree + 1))
        table[tuple(np.transpose(powers(self.degree)))] = self._own
        return np.asarray(light_of(self.numbers, size) - y @ table @ x.T)


class AnyLamp:
    """Terms that are expected of a field of which not even the lamp's numbers can be told.

    As a `Lamp`, but about an even light, with the second moments that many random lamps have: it
    does not follow the field, and so cannot follow the outline of a specimen either. It has no
    `near`.

    Examples
    --------
    >>> AnyLamp(2).known.shape
    (5, 5)
    """

    __slots__ = ("degree", "known", "terms")

    def __init__(self, degree: int) -> None:
        self.degree = degree
        self.known: Floats = _known_of_any(degree)
        self.terms: Floats = np.zeros(len(self.known))

    def beyond(self, size: tuple[int, ...]) -> Floats:
        """Nothing, at each pixel."""
        return np.zeros(size)


@cache
def _known_of_any(degree: int) -> Floats:
    """Inverse of the second moments of the terms of random lamps."""
    numbers = np.random.default_rng(0).normal(USUAL, SPREAD, (LAMPS, len(USUAL)))
    shapes = np.array([light_of(lamp, (SIZE, SIZE)).ravel() for lamp in numbers])
    drawn = shapes @ _from_places(degree).T
    moments = drawn.T @ drawn / LAMPS + np.diag((LOOSE * _freedom(degree)) ** 2)
    return np.asarray(np.linalg.inv(moments))
