"""Tiles fused into a block of the volume: where one lies alone its pixels, else a blend.

::

    ┌──────────┬───┬──────────┐     The block is divided along the edges of tiles until each
    │  tile a  │a+b│  tile b  │     part is covered by the same tiles everywhere. Parts under
    │          │   │          │     one tile are copied (or interpolated), the others weighted.
    └──────────┴───┴──────────┘
"""

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np

from latticework.lattice.geometry import Box
from latticework.stitch.pieces import Piece, Sample, as_type, weight_kind

Blend = Literal["cosine", "content", "average", "maximum", "first", "none"]
BLENDS: tuple[Blend, ...] = ("cosine", "content", "average", "maximum", "first", "none")
"""Ways to make one pixel of several: weights that fall towards a tile's edge as a cosine does, such
weights times the fine structure that each tile shows there, all alike, the largest, that of the
first tile, that of the tile of which it is deepest inside."""
SLIVER = 2048
"""Pixels below which a part is not divided any further."""


class Covering(Protocol):
    """What can be blended: a tile in the volume, or what was made of one."""

    @property
    def exact(self) -> bool:
        """Whether its pixels are the volume's as they are."""

    def covers(self) -> Box:
        """Pixels of the volume that it may tell."""

    def weight(self, box: Box, blend: str, kind: str = "f4") -> np.ndarray:
        """Its weight in a box that it covers, if it knows all of it."""

    def sample(self, box: Box, kind: str, blend: str) -> Sample:
        """What it tells of a box that it covers."""


Known = tuple[Covering, Box]
"""A tile, and what it covers."""


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
        How pixels of several tiles become one; see `BLENDS`. Only for ``"first"`` does the order
        of the tiles matter.
    blank
        Value where there is no tile, or only masked pixels.

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
    if blend != "first":
        pieces = sorted(pieces, key=lambda piece: (piece.position, piece.shape))
    known: Sequence[Known] = [(piece, piece.covers()) for piece in pieces]
    if blend == "content":
        from latticework.stitch.contents import with_contents

        known = with_contents(box, pieces, _floats(result.dtype))
    _fuse(box, known, result, box.start, blend)
    return result


def _fuse(
    box: Box, pieces: Sequence[Known], result: np.ndarray, origin: Sequence[int], blend: Blend
) -> None:
    """Fill a part of the result, dividing it as long as tiles cover only some of it."""
    pieces = [(piece, covers) for piece, covers in pieces if box.meets(covers)]
    if len(pieces) == 1:
        box = box.intersect(pieces[0][1])
    if not pieces or not box.size:
        return
    partial = [covers for _, covers in pieces if not covers.contains(box)]
    if partial and box.size > SLIVER:
        for part in _halves(box, partial):
            _fuse(part, pieces, result, origin, blend)
        return
    target = result[box.shift([-o for o in origin]).slices]
    values, known = _blended(box, pieces, blend, _kind(target.dtype, pieces, blend))
    if known is None:
        _put(target, values)
    else:
        np.copyto(target, as_type(values, target.dtype), where=known)


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


def _kind(dtype: np.dtype, pieces: Sequence[Known], blend: Blend) -> str:
    """In which type pixels are blended: their own, if they are only copied."""
    copied = blend in ("maximum", "first", "none") or len(pieces) == 1
    if copied and dtype.kind in "iu" and all(piece.exact for piece, _ in pieces):
        return dtype.name
    return _floats(dtype)


def _floats(dtype: np.dtype) -> str:
    """Floats that hold every pixel of a type exactly, or nearly so for 64 bits."""
    return "f8" if dtype.itemsize > 2 and dtype != np.float32 else "f4"


def _blended(
    box: Box, pieces: Sequence[Known], blend: Blend, kind: str
) -> tuple[np.ndarray, np.ndarray | None]:
    """Values of a part, and which are known; None if all are."""
    whole = all(covers.contains(box) for _, covers in pieces)
    if len(pieces) == 1 and whole:
        values, weight, whole = pieces[0][0].sample(box, kind, "average")
        return values, None if whole else np.broadcast_to(weight > 0, box.shape)
    if blend in ("maximum", "first", "none"):
        return _chosen(box, pieces, blend, kind)
    total, weight = np.zeros(box.shape, kind), np.zeros(box.shape, weight_kind(kind))
    for piece, covers in pieces:
        part = box.intersect(covers)
        here = part.shift([-o for o in box.start]).slices
        values, own, complete = piece.sample(part, kind, blend)
        whole &= complete
        weight[here] += own
        values *= own
        total[here] += values
    if whole:
        total /= weight
        return total, None
    np.divide(total, weight, out=total, where=weight > 0)
    return total, weight > 0


def _chosen(
    box: Box, pieces: Sequence[Known], blend: Blend, kind: str
) -> tuple[np.ndarray, np.ndarray | None]:
    """The same for blends that take each pixel from one tile."""
    total, best = np.zeros(box.shape, kind), np.zeros(box.shape, weight_kind(kind))
    for piece, covers in pieces:
        part = box.intersect(covers)
        here = part.shift([-o for o in box.start]).slices
        if blend == "first" and best[here].all():
            continue
        if blend == "none" and not (piece.weight(part, blend, kind) > best[here]).any():
            continue
        values, own, _ = piece.sample(part, kind, blend)
        if blend == "maximum":
            better = (own > 0) & ((best[here] == 0) | (values > total[here]))
        else:
            better = (own > 0) & (best[here] == 0) if blend == "first" else own > best[here]
        np.copyto(total[here], values, where=better)
        np.copyto(best[here], own, where=better)
    known = best > 0
    return total, None if known.all() else known


def _put(target: np.ndarray, values: np.ndarray) -> None:
    """Values as the target's type: integers rounded and clipped, never wrapped."""
    if target.dtype.kind in "iu" and values.dtype.kind == "f" and target.dtype.itemsize < 8:
        limits = np.iinfo(target.dtype)
        np.rint(values, out=values)
        np.clip(values, float(limits.min), float(limits.max), out=values)
        target[...] = values
    else:
        target[...] = as_type(values, target.dtype)


__all__ = ["BLENDS", "Blend", "Piece", "fuse_block"]
