"""Tiles fused into a block of the volume: where one lies alone its pixels, else a blend.

::

    ┌──────────┬───┬──────────┐     The block is divided along the edges of tiles until each
    │  tile a  │a+b│  tile b  │     part is covered by the same tiles everywhere. Parts under
    │          │   │          │     one tile are copied (or interpolated), the others weighted.
    └──────────┴───┴──────────┘
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from latticework.lattice.geometry import Box

Blend = Literal["cosine", "average", "maximum", "first", "none"]
BLENDS: tuple[Blend, ...] = ("cosine", "average", "maximum", "first", "none")
"""Ways to make one pixel of several: weights that fall towards a tile's edge as a cosine does, all
alike, the largest, that of the first tile, that of the tile of which it is deepest inside."""
WHOLE_PX = 1e-3
"""Positions that are nearer than this to a whole pixel are taken for it."""
SLIVER = 2048
"""Pixels below which a part is not divided any further."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One tile in the volume."""

    position: tuple[float, ...]
    """Of its first pixel, in pixels of the volume."""
    shape: tuple[int, ...]
    """Pixels along each axis."""
    read: Callable[[Box], np.ndarray]
    """Gives the pixels of a box of it."""
    ramp: tuple[float, ...]
    """Pixels from its edge, along each axis, over which its weight grows to the full."""
    gain: float = 1.0
    """Its pixels are multiplied by this."""

    def covers(self) -> Box:
        """Pixels of the volume that it can tell: those that lie in its own, or between them."""
        start = [_ceil(p - 0.5) for p in self.position]
        stop = [_ceil(p + n - 0.5) for p, n in zip(self.position, self.shape, strict=True)]
        return Box(tuple(start), tuple(map(max, start, stop)))

    def pixels(self, box: Box, kind: str = "f4") -> np.ndarray:
        """Pixels of the volume in a box that it covers, floats, linearly interpolated."""
        offsets = [p - round(p) if abs(p - round(p)) < WHOLE_PX else None for p in self.position]
        first = [
            a - round(p) if whole is not None else int(np.floor(a - p))
            for a, p, whole in zip(box.start, self.position, offsets, strict=True)
        ]
        rests = [
            0.0 if whole is not None else (a - p) - f
            for a, p, f, whole in zip(box.start, self.position, first, offsets, strict=True)
        ]
        more = [int(rest > 0) for rest in rests]
        stop = [f + n + m for f, n, m in zip(first, box.shape, more, strict=True)]
        own = Box(
            tuple(max(f, 0) for f in first),
            tuple(min(s, n) for s, n in zip(stop, self.shape, strict=True)),
        )
        values = np.asarray(self.read(own)).astype(kind)
        beyond = [
            (a - f, s - b) for f, s, a, b in zip(first, stop, own.start, own.stop, strict=True)
        ]
        if any(map(any, beyond)):  # half a pixel beyond the last one is as that
            values = np.pad(values, beyond, mode="edge")
        for axis, rest in enumerate(rests):
            if rest:
                values = _between(values, axis, values.dtype.type(rest))
        if self.gain != 1.0:
            values *= values.dtype.type(self.gain)
        return values

    def weights(self, box: Box, blend: Blend) -> list[np.ndarray]:
        """Its weight in a box: one factor for each axis, to be multiplied with each other."""
        factors = []
        for axis in range(box.ndim):
            at = np.arange(box.start[axis], box.stop[axis], dtype="f8") - self.position[axis]
            inside = np.minimum(at + 1, self.shape[axis] - at)
            share = np.clip(inside / max(self.ramp[axis], 1.0), 1e-3, 1.0)
            if blend == "cosine":
                share = np.square(np.sin(0.5 * np.pi * share))
            factor = np.ones_like(share) if blend == "average" else share
            shape = [1] * box.ndim
            shape[axis] = -1
            factors.append(factor.astype("f4").reshape(shape))
        return factors


def fuse_block(
    box: Box,
    pieces: Sequence[Piece],
    dtype: np.dtype | str,
    *,
    blend: Blend = "cosine",
    blank: float = 0,
) -> np.ndarray:
    """The pixels of a block of the volume.

    Parameters
    ----------
    box
        The block, in pixels of the volume.
    pieces
        The tiles that may meet it; those that are not asked for pixels are not read.
    dtype
        Of the result: of an integer type, values are rounded and clipped to its range.
    blend
        How pixels of several tiles become one; see `BLENDS`.
    blank
        Value where there is no tile.

    Examples
    --------
    >>> left, right = np.full((4, 6), 10, "u2"), np.full((4, 6), 20, "u2")
    >>> pieces = [
    ...     Piece((0.0, at), (4, 6), lambda own, of=of: of[own.slices], (1, 2))
    ...     for at, of in ((0.0, left), (4.0, right))
    ... ]
    >>> fuse_block(Box((0, 0), (1, 11)), pieces, "u2", blend="average").tolist()
    [[10, 10, 10, 10, 15, 15, 20, 20, 20, 20, 0]]
    """
    if blend not in BLENDS:
        raise ValueError(f"blend={blend!r}: choose one of {', '.join(BLENDS)}")
    result = np.full(box.shape, blank, dtype)
    if result.dtype.kind not in "iuf":
        raise ValueError(f"pixels of type {result.dtype} cannot be blended: convert them to uint8")
    known = [(piece, piece.covers()) for piece in pieces]
    _fuse(box, known, result, box.start, blend)
    return result


def _fuse(
    box: Box,
    pieces: Sequence[tuple[Piece, Box]],
    result: np.ndarray,
    origin: Sequence[int],
    blend: Blend,
) -> None:
    """Fill a part of the result, dividing it as long as tiles cover only some of it."""
    pieces = [(piece, covers) for piece, covers in pieces if box.intersect(covers).size]
    if not pieces or not box.size:
        return
    partial = [covers for _, covers in pieces if not covers.contains(box)]
    target = result[box.shift([-o for o in origin]).slices]
    if not partial:
        _put(target, _blended(box, [piece for piece, _ in pieces], blend, _floats(target.dtype)))
    elif box.size <= SLIVER or len(pieces) == 1:
        _fuse_mixed(box, pieces, target, blend)
    else:
        for part in _halves(box, partial):
            _fuse(part, pieces, result, origin, blend)


def _halves(box: Box, covers: Sequence[Box]) -> tuple[Box, Box]:
    """A part divided at an edge of a tile within it: the one nearest to its middle, by share."""
    edges = []
    for cover in covers:
        for axis in range(box.ndim):
            for edge in (cover.start[axis], cover.stop[axis]):
                if box.start[axis] < edge < box.stop[axis]:
                    share = (edge - box.start[axis]) / (box.stop[axis] - box.start[axis])
                    edges.append((abs(share - 0.5), axis, edge))
    _, axis, edge = min(edges)
    near, far = list(box.stop), list(box.start)
    near[axis] = far[axis] = edge
    return Box(box.start, tuple(near)), Box(tuple(far), box.stop)


def _floats(dtype: np.dtype) -> str:
    """Floats that hold every pixel of a type exactly, or nearly so for 64 bits."""
    return "f8" if dtype.itemsize > 2 and dtype != np.float32 else "f4"


def _blended(box: Box, pieces: Sequence[Piece], blend: Blend, kind: str) -> np.ndarray:
    """A part that all of these tiles cover."""
    if len(pieces) == 1 or blend == "first":
        return pieces[0].pixels(box, kind)
    if blend == "maximum":
        values = pieces[0].pixels(box, kind)
        for piece in pieces[1:]:
            np.maximum(values, piece.pixels(box, kind), out=values)
        return values
    if blend == "none":
        return _deepest(box, pieces, kind)
    total = np.zeros(box.shape, kind)
    weight = np.zeros(box.shape, "f4")
    for piece in pieces:
        values, own = piece.pixels(box, kind), _product(piece.weights(box, blend))
        weight += own
        values *= own
        total += values
    total /= weight
    return total


def _deepest(box: Box, pieces: Sequence[Piece], kind: str) -> np.ndarray:
    """Each pixel of the tile of which it is deepest inside."""
    best = np.zeros(box.shape, "f4")
    values = np.zeros(box.shape, kind)
    for piece in pieces:
        depth = np.broadcast_to(_product(piece.weights(box, "none")), box.shape)
        mine = depth > best
        if mine.any():
            values[mine] = piece.pixels(box, kind)[mine]
            best = np.maximum(best, depth)
    return values


def _fuse_mixed(
    box: Box, pieces: Sequence[tuple[Piece, Box]], target: np.ndarray, blend: Blend
) -> None:
    """A small part that tiles cover in part."""
    kind = _floats(target.dtype)
    total = np.zeros(box.shape, kind)
    weight = np.zeros(box.shape, "f4")
    for piece, covers in pieces:
        part = box.intersect(covers)
        here = part.shift([-o for o in box.start]).slices
        own = np.broadcast_to(_product(piece.weights(part, blend)), part.shape)
        values = piece.pixels(part, kind)
        if blend in ("cosine", "average"):
            total[here] += own * values
            weight[here] += own
            continue
        before = weight[here]
        if blend == "maximum":
            better = (before == 0) | (values > total[here])
        else:
            better = (before == 0) if blend == "first" else own > before
        total[here] = np.where(better, values, total[here])
        weight[here] = np.where(better, own, before)
    if blend in ("cosine", "average"):
        np.divide(total, weight, out=total, where=weight > 0)
    known = weight > 0
    values = np.empty(box.shape, target.dtype)
    _put(values, total)
    target[known] = values[known]


def _product(factors: Sequence[np.ndarray]) -> np.ndarray:
    result = factors[0]
    for factor in factors[1:]:
        result = result * factor
    return result


def _put(target: np.ndarray, values: np.ndarray) -> None:
    """Values as the target's type: integers rounded and clipped, never wrapped."""
    if target.dtype.kind in "iu":
        limits = np.iinfo(target.dtype)
        np.rint(values, out=values)
        np.clip(values, float(limits.min), float(limits.max), out=values)
        if target.dtype.itemsize == 8:  # the largest integers are no floats
            values = np.minimum(values, np.nextafter(float(limits.max), 0))
    target[...] = values


def _between(values: np.ndarray, axis: int, rest: np.float32) -> np.ndarray:
    """What lies `rest` of the way from each pixel to the next along an axis."""
    n = values.shape[axis]
    near = values[(slice(None),) * axis + (slice(0, n - 1),)]
    far = values[(slice(None),) * axis + (slice(1, n),)]
    result = far - near
    result *= rest
    result += near
    return np.asarray(result)


def _ceil(value: float) -> int:
    return round(value) if abs(value - round(value)) < WHOLE_PX else int(np.ceil(value))


__all__ = ["BLENDS", "Blend", "Piece", "fuse_block"]
