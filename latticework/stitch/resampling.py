"""Pixels of a volume between those of a tile: along each axis by itself.

Where both have pixels of one size, each pixel of the volume is made of the same number of pixels
of the tile by the same weights: two for linear interpolation, four for cubic convolution. Larger
pixels are means of all that lies in them, smaller ones are interpolated::

    tile      |   a   |   b   |   c   |      linear   (1 - t) b + t c
    volume         |       |  t  |           larger   b / 4 + c / 2 + d / 4  ...
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from latticework.lattice.geometry import Box

Interpolation = Literal["linear", "cubic"]
INTERPOLATIONS: tuple[Interpolation, ...] = ("linear", "cubic")
"""Between pixels: linear, or by cubic convolution (Keys, IEEE Trans. Acoust. Speech Signal Process.
29, 1981, 1153), which keeps fine structures sharper and may overshoot beside them."""
WHOLE_PX = 0.02
"""Positions nearer than this to a whole pixel are taken for it: they are known no better, and a
pixel that is copied is sharper than one that is interpolated."""


@dataclass(frozen=True, slots=True)
class Along:
    """How pixels along one axis of the volume are made of a tile's."""

    start: int
    """First pixel of the tile that is needed."""
    stop: int
    """One past the last."""
    before: int = 0
    """How many more would be needed before the tile's first pixel."""
    after: int = 0
    """How many more beyond its last."""
    taps: tuple[float, ...] = (1.0,)
    """Weights of as many pixels, one after another, of which each pixel is made."""
    matrix: Any = None
    """If the pixels differ in size: weights, sparse, of shape (pixels, pixels of the tile)."""

    def apply(self, values: np.ndarray, axis: int) -> np.ndarray:
        """The pixels of the volume along this axis, of those of the tile that are needed."""
        if self.matrix is not None:
            return _multiplied(self.matrix, values, axis)
        if len(self.taps) == 2:
            return _between(values, axis, values.dtype.type(self.taps[1]))
        return values if len(self.taps) == 1 else _convolved(values, axis, self.taps)

    def absolute(self) -> "Along":
        """The same with all weights above 0: what is not 0 then has an influence."""
        matrix = None if self.matrix is None else abs(self.matrix)
        return replace(self, taps=tuple(map(abs, self.taps)), matrix=matrix)


def along(
    start: int, stop: int, position: float, n: int, step: float, interpolation: Interpolation
) -> Along:
    """How pixels of the volume from `start` to `stop` are made of a tile's `n` pixels.

    Parameters
    ----------
    start, stop
        In pixels of the volume.
    position
        Of the tile's first pixel, in pixels of the volume.
    n
        Pixels of the tile.
    step
        Size of the volume's pixels, in pixels of the tile.
    interpolation
        Between pixels.

    Examples
    --------
    >>> along(3, 6, 0.25, 100, 1.0, "linear")
    Along(start=2, stop=6, before=0, after=0, taps=(0.25, 0.75), matrix=None)
    >>> along(0, 3, -0.25, 100, 2.0, "linear").matrix.toarray()[1].tolist()
    [0.0, 0.0, 0.5, 0.5, 0.0, 0.0]
    """
    if abs(step - 1) > 1e-9:
        return _resized(start, stop, position, n, step, interpolation)
    if abs(position - round(position)) < WHOLE_PX:
        first, taps, before = start - round(position), (1.0,), 0
    else:
        first = int(np.floor(start - position))
        rest = (start - position) - first
        taps, before = ((1 - rest, rest), 0) if interpolation == "linear" else (_cubic(rest), 1)
    first -= before
    last = first + (stop - start) + len(taps) - 1
    low, high = min(max(first, 0), n - 1), max(min(last, n), 1)
    return Along(low, high, low - first, last - high, taps)


def apply(values: np.ndarray, ways: Sequence[Along]) -> np.ndarray:
    """The pixels of the volume of those that are needed of a tile, floats."""
    beyond = [(way.before, way.after) for way in ways]
    if any(map(any, beyond)):  # half a pixel beyond the last one is as that
        values = np.pad(values, beyond, mode="edge")
    for axis, way in enumerate(ways):
        values = way.apply(values, axis)
    return values


def needed(ways: Sequence[Along]) -> Box:
    """Pixels of the tile that are needed."""
    return Box(tuple(way.start for way in ways), tuple(way.stop for way in ways))


def _cubic(rest: Any) -> tuple[Any, ...]:
    """Weights of the four pixels around a place, of which the second is `rest` before it."""
    t, t2, t3 = rest, rest**2, rest**3
    outer, inner = (-t3 + 2 * t2 - t) / 2, (-3 * t3 + 4 * t2 + t) / 2
    last = (t3 - t2) / 2
    return (outer, 1 - outer - inner - last, inner, last)


def _between(values: np.ndarray, axis: int, rest: np.floating[Any]) -> np.ndarray:
    """What lies `rest` of the way from each pixel to the next along an axis."""
    n = values.shape[axis]
    near = values[(slice(None),) * axis + (slice(0, n - 1),)]
    far = values[(slice(None),) * axis + (slice(1, n),)]
    result = far - near
    result *= rest
    result += near
    return np.asarray(result)


def _convolved(values: np.ndarray, axis: int, taps: Sequence[float]) -> np.ndarray:
    n = values.shape[axis] - len(taps) + 1
    total: np.ndarray | None = None
    for k, tap in enumerate(taps):
        part = values[(slice(None),) * axis + (slice(k, k + n),)] * values.dtype.type(tap)
        total = part if total is None else np.add(total, part, out=total)
    assert total is not None
    return total


def _resized(
    start: int, stop: int, position: float, n: int, step: float, interpolation: Interpolation
) -> Along:
    """Pixels of another size: means of areas where they are larger, else interpolated."""
    from scipy.sparse import csr_matrix

    at = (np.arange(start, stop) - position) * step
    if step > 1:
        low, high = np.clip(at - step / 2, -0.5, n - 0.5), np.clip(at + step / 2, -0.5, n - 0.5)
        columns = np.floor(low + 0.5 + 1e-9)[:, None] + np.arange(int(np.ceil(step)) + 1)
        ends = np.minimum(high[:, None], columns + 0.5), np.maximum(low[:, None], columns - 0.5)
        weights = np.clip(ends[0] - ends[1], 0, None)
        weights[weights < 1e-6] = 0
        weights[weights.sum(axis=1) == 0, 0] = 1  # nothing of it lies in the tile: the nearest
    else:
        near = np.floor(at)
        rest = at - near
        if interpolation == "linear":
            weights, columns = np.stack([1 - rest, rest], axis=1), near[:, None] + np.arange(2)
        else:
            weights = np.stack(_cubic(rest), axis=1)
            columns = near[:, None] + np.arange(-1, 3)
    weights /= weights.sum(axis=1, keepdims=True)
    columns = np.clip(columns, 0, n - 1).astype(np.intp)
    used = columns[weights != 0]
    first, last = int(used.min()), int(used.max()) + 1
    rows = np.repeat(np.arange(len(at)), weights.shape[1]).reshape(weights.shape)
    there = weights != 0
    matrix = csr_matrix(
        (weights[there], (rows[there], columns[there] - first)), shape=(len(at), last - first)
    )
    return Along(first, last, matrix=matrix)


def _multiplied(matrix: Any, values: np.ndarray, axis: int) -> np.ndarray:
    """A sparse matrix times the values along an axis."""
    first = np.moveaxis(values, axis, 0)
    flat = np.ascontiguousarray(first).reshape(len(first), -1)
    result = matrix.astype(values.dtype) @ flat
    return np.moveaxis(result.reshape(-1, *first.shape[1:]), 0, axis)


__all__ = ["INTERPOLATIONS", "WHOLE_PX", "Along", "Interpolation", "along", "apply", "needed"]
