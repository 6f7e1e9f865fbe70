"""How large a shard and its inner chunks are; the numbers come from ``benchmarks/codecs.py``."""

from collections.abc import Sequence
from math import log, prod

INNER_BYTES = 256 * 1024
"""Uncompressed size that inner chunks aim at."""
SHARD_BYTES = 1024**3
"""Uncompressed size above which a tile is split into several shards."""
_ALIGN = 8
"""Bitshuffle works on groups of 8 pixels; edges of inner chunks are multiples of it."""


def inner_chunk(
    dims: Sequence[str],
    shape: Sequence[int],
    itemsize: int,
    *,
    divide: bool = False,
    target_bytes: int = INNER_BYTES,
) -> tuple[int, ...]:
    """Shape of the inner chunks of a tile: near `target_bytes`, about as long along each axis.

    A margin of a tile costs the inner chunks that it meets, so they are cubes (squares in 2-D);
    channels are apart, and a short axis is taken whole.

    Parameters
    ----------
    dims, shape
        Pixel dims and shape of a tile.
    itemsize
        Bytes of a pixel.
    divide
        Whether chunks must divide the tile (blocks of a volume); otherwise the tile is split
        evenly and its shard padded by less than 8 pixels for each chunk.
    target_bytes
        Uncompressed size to aim at.

    Examples
    --------
    >>> inner_chunk(("y", "x"), (2048, 2048), 2)
    (344, 416)
    >>> inner_chunk(("c", "z", "y", "x"), (3, 128, 512, 512), 2)
    (1, 48, 56, 56)
    >>> inner_chunk(("z", "y", "x"), (64, 128, 128), 2, divide=True)
    (64, 64, 32)
    """
    spatial = [axis for axis, dim in enumerate(dims) if dim in ("z", "y", "x")]
    spatial = spatial or list(range(len(dims)))
    chunk = [1 if axis < spatial[0] else int(n) for axis, n in enumerate(shape)]
    rest = [axis for axis in range(spatial[0], len(dims)) if axis not in spatial]
    budget = max(1.0, target_bytes / itemsize)
    for axis in rest:  # vectors of a pixel, such as colours, stay together while they fit
        chunk[axis] = min(chunk[axis], max(1, int(budget)))
        budget = max(1.0, budget / chunk[axis])
    order = sorted(spatial, key=lambda axis: shape[axis])
    for done, axis in enumerate(order):
        ideal = budget ** (1 / (len(order) - done))
        chunk[axis] = (_divisor if divide else _even)(int(shape[axis]), ideal)
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
    """Edge of pieces that split `size` evenly, near `ideal`, a multiple of 8."""
    if size <= ideal * 1.25:
        return size
    edge = -(-size // max(1, round(size / ideal)))
    return min(size, -(-edge // _ALIGN) * _ALIGN)


def _divisor(size: int, ideal: float) -> int:
    """The divisor of `size` nearest to `ideal`, by ratio."""
    divisors = [n for n in range(1, size + 1) if size % n == 0]
    return min(divisors, key=lambda n: abs(log(n / ideal)))
