"""Random numbers and smooth random fields that are functions of a place.

An ordinary random generator gives its numbers in an order; to draw one corner of a volume one would
have to draw all that comes before it. Here a number belongs to an integer grid position: it is the
hash of (seed, stream, position), so any box of an endless volume can be computed alone and always
looks the same.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


def _mix(h: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Scramble 64-bit integers (the finaliser of SplitMix64; Steele, Lea and Flood, 2014)."""
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return h ^ (h >> np.uint64(31))


def hash_uniform(seed: int, stream: int, *position: npt.ArrayLike) -> Floats:
    """Uniform numbers in [0, 1) that depend only on seed, stream and integer position.

    Parameters
    ----------
    seed, stream
        Any integers; different streams are independent draws at the same position.
    *position
        Integer arrays that broadcast against each other, one per axis.

    Returns
    -------
    float64 array of the broadcast shape.

    Examples
    --------
    >>> a = hash_uniform(1, 0, np.arange(4)[:, None], np.arange(5))
    >>> bool((a[2:, 3:] == hash_uniform(1, 0, np.arange(2, 4)[:, None], np.arange(3, 5))).all())
    True
    """
    start = (seed * _GOLDEN + (stream + 1) * 0xD1B54A32D192ED03) & _MASK
    h = _mix(np.asarray([start], dtype=np.uint64))
    for axis in position:
        steps = np.asarray(axis, dtype=np.int64).astype(np.uint64)
        h = _mix((h + np.uint64(_GOLDEN)) ^ (steps * np.uint64(0xA0761D6478BD642F)))
    shape = np.broadcast_shapes(*(np.shape(axis) for axis in position))
    return ((h >> np.uint64(11)).astype(np.float64) * 2.0**-53).reshape(shape)


def value_noise(seed: int, stream: int, scale: float, *position: npt.ArrayLike) -> Floats:
    """A smooth random field with values in [0, 1) and features of about `scale`, at any positions.

    Hashed values at the corners of a grid of pitch `scale`, interpolated with the smooth step ``3
    t^2 - 2 t^3`` ("value noise").

    Examples
    --------
    >>> field = value_noise(1, 0, 50.0, np.linspace(0, 200, 9)[:, None], np.linspace(0, 100, 5))
    >>> field.shape
    (9, 5)
    """
    lower: list[Ints] = []
    weights: list[Floats] = []
    for axis in position:
        u = np.asarray(axis, dtype=np.float64) / scale
        floor = np.floor(u)
        t = u - floor
        lower.append(floor.astype(np.int64))
        weights.append(t * t * (3.0 - 2.0 * t))
    total: Floats = np.zeros(np.broadcast_shapes(*(w.shape for w in weights)))
    for corner in np.ndindex(*(2,) * len(position)):
        term = hash_uniform(seed, stream, *(k + bit for k, bit in zip(lower, corner, strict=True)))
        for weight, bit in zip(weights, corner, strict=True):
            term = term * (weight if bit else 1.0 - weight)
        total = total + term
    return total


def smooth_step(x: npt.ArrayLike) -> Floats:
    """0 below 0, 1 above 1, and a smooth rise between."""
    t = np.clip(np.asarray(x, dtype=np.float64), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def interpolate_nodes(
    nodes: Callable[[list[Ints]], npt.NDArray[np.floating]],
    origin: Sequence[float],
    shape: Sequence[int],
    pitch: Sequence[float],
) -> npt.NDArray[np.float32]:
    """A field known at the nodes of a coarse endless grid, at the pixels of a box.

    Quadratic B-splines (three nodes per axis, continuous slope). A pixel's value does not depend on
    the box that it is computed in, to the last bit.

    Parameters
    ----------
    nodes
        Gives the field at node indices, one 1-D integer array per axis.
    origin, shape
        Position of the first pixel (pixels, may be fractional) and size of the box.
    pitch
        Pixels between nodes, per axis.

    Examples
    --------
    >>> box = interpolate_nodes(lambda at: np.add.outer(*at), (0, 0), (4, 6), (2.0, 2.0))
    >>> bool(np.allclose(box, np.add.outer(np.arange(4), np.arange(6)) / 2))
    True
    """
    around: list[Ints] = []
    taps: list[tuple[Ints, npt.NDArray[np.float32]]] = []
    for first, size, step in zip(origin, shape, pitch, strict=True):
        u = (first + np.arange(size)) / step
        k = np.floor(u + 0.5).astype(np.int64)
        t = u - k
        weights = np.stack([0.5 * (0.5 - t) ** 2, 0.75 - t**2, 0.5 * (0.5 + t) ** 2])
        around.append(np.arange(k[0] - 1, k[-1] + 2))
        taps.append((k - k[0], weights.astype(np.float32)))
    field = np.asarray(nodes(around), dtype=np.float32)
    for axis in reversed(range(len(taps))):
        k, weights = taps[axis]
        column = (-1,) + (1,) * (field.ndim - axis - 1)
        total = np.take(field, k, axis=axis) * weights[0].reshape(column)
        for tap in (1, 2):
            total += np.take(field, k + tap, axis=axis) * weights[tap].reshape(column)
        field = total
    return field
