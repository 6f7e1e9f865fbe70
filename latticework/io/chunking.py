"""How large a shard and its inner chunks are; the numbers come from ``benchmarks/codecs.py``."""

from collections.abc import Sequence
from math import log, prod

INNER_BYTES = {1: 256 * 1024, 2: 256 * 1024, 3: 512 * 1024}
"""Uncompressed size that inner chunks aim at, by number of spatial axes.

Below it, whole tiles and margins take longer to read; above it, margins do.
"""
LEAST_EDGE = 16
"""Edge, in pixels, below which inner chunks do not go unless they must."""
SHARD_BYTES = 1024**3
"""Uncompressed size above which a tile is split into several shards."""
_EVEN = 2
"""Bitshuffle works on groups of 8 pixels: edges are even, so that a chunk is such groups."""


def inner_chunk(
    dims: Sequence[str],
    shape: Sequence[int],
    itemsize: int,
    *,
    divide: bool = False,
    target_bytes: int | None = None,
) -> tuple[int, ...]:
    """Shape of the inner chunks of a tile: near `target_bytes`, with the proportions of the tile.

    A margin along an axis costs ``chunk / tile`` of the pixels along it. The sum over the axes is
    least where this is the same for all: chunks have the proportions of the tile, but no edge
    below 16 pixels, which margins would cross. Channels are apart.

    Parameters
    ----------
    dims, shape
        Pixel dims and shape of a tile.
    itemsize
        Bytes of a pixel.
    divide
        Whether chunks must divide the tile (blocks of a volume); otherwise the tile is split
        evenly, and its shard padded to whole chunks where no number near the ideal divides it.
    target_bytes
        Uncompressed size to aim at; default by number of axes, `INNER_BYTES`.

    Examples
    --------
    >>> inner_chunk(("y", "x"), (2048, 2048), 2)
    (256, 512)
    >>> inner_chunk(("c", "z", "y", "x"), (3, 128, 512, 512), 2)
    (1, 32, 64, 128)
    >>> inner_chunk(("z", "y", "x"), (64, 128, 128), 2, divide=True)
    (32, 64, 128)
    """
    spatial = [axis for axis, dim in enumerate(dims) if dim in ("z", "y", "x")]
    spatial = spatial or list(range(len(dims)))
    chunk = [1 if axis < spatial[0] else int(n) for axis, n in enumerate(shape)]
    rest = [axis for axis in range(spatial[0], len(dims)) if axis not in spatial]
    target_bytes = target_bytes or INNER_BYTES[min(len(spatial), 3)]
    budget = max(1.0, target_bytes / itemsize)
    for axis in rest:  # vectors of a pixel, such as colours, stay together while they fit
        chunk[axis] = min(chunk[axis], max(1, int(budget)))
        budget = max(1.0, budget / chunk[axis])
    order = sorted(spatial, key=lambda axis: shape[axis])
    for done, axis in enumerate(order):
        left = order[done:]
        part = (budget / prod(shape[other] for other in left)) ** (1 / len(left))
        ideal = min(budget, max(shape[axis] * part, LEAST_EDGE))
        chunk[axis] = (_divisor if divide else _even)(int(shape[axis]), max(1.0, ideal))
        budget = max(1.0, budget / chunk[axis])
    return tuple(chunk)


def shard_shape(
    shape: Sequence[int],
    chunk: Sequence[int],
    itemsize: int,
    *,
    divide: bool = False,
    limit_bytes: int = SHARD_BYTES,
) -> tuple[int, ...]:
    """Shape of a tile's shards: the whole tile, padded to inner chunks, unless that is too much.

    Examples
    --------
    >>> shard_shape((1000, 1000), (256, 256), 2)
    (1024, 1024)
    >>> shard_shape((4, 600, 1024, 1024), (1, 40, 64, 64), 2)
    (1, 320, 1024, 1024)
    """
    shard = [-(-n // c) * c for n, c in zip(shape, chunk, strict=True)]
    for axis, edge in enumerate(chunk):
        if prod(shard) * itemsize <= limit_bytes:
            break
        most = int(limit_bytes // (prod(shard) // shard[axis] * itemsize) // edge)
        pieces = shard[axis] // edge
        most = max(1, most)
        if divide:
            most = max(n for n in range(1, most + 1) if pieces % n == 0)
        else:
            most = -(-pieces // -(-pieces // most))  # parts of about the same size
        shard[axis] = most * edge
    return tuple(shard)


def _even(size: int, ideal: float) -> int:
    """Edge of even pieces of `size`, near `ideal`; without padding where that is nearly as near."""
    best, least = size, abs(log(size / ideal))
    for pieces in range(max(1, int(size / ideal / 2)), int(2 * size / ideal) + 2):
        edge = -(-size // pieces)
        if edge * pieces != size:
            edge = min(size, -(-edge // _EVEN) * _EVEN)
        padded = -(-size // edge) * edge
        cost = abs(log(edge / ideal)) + 4 * log(padded / size) + 0.3 * (padded != size)
        if cost <= least + 1e-9:
            best, least = edge, cost
    return best


def _divisor(size: int, ideal: float) -> int:
    """The divisor of `size` nearest to `ideal`, by ratio; the smaller of two as near."""
    divisors = [n for n in range(1, size + 1) if size % n == 0]
    return min(divisors, key=lambda n: round(abs(log(n / ideal)), 6))
