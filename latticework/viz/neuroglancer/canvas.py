"""Pixels of many tiles as one picture that is never made as a whole: any part of it, reduced.

::

    ┌────────┬─┐        tiles lie at whole pixels of the canvas; where two overlap,
    │ tile 0 │1│        the later one is on top; where there is none, it is 0
    └──────┬─┴─┴────┐
           │ tile 2 │
           └────────┘

A reduced part is the mean of pixels along y and x (of labels, one of them), and along z one plane
of several: an overview of a thick specimen costs no more than one of a thin one.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

Place = tuple[int, int, int]
"""Pixels along z, y and x."""

AT_ONCE = 1 << 23
"""Pixels of the finest level that are in memory at once while a part is reduced."""


class Pixels(Protocol):
    """A picture of dims z y x of which any part can be had at any level."""

    @property
    def shape(self) -> Place:
        """Pixels along each dim."""
        ...

    @property
    def dtype(self) -> np.dtype:
        """A type that Neuroglancer knows."""
        ...

    def read(self, start: Place, stop: Place, factor: Place) -> tuple[np.ndarray, bool]:
        """A part, in pixels of a level of which each covers `factor` pixels of the finest.

        And whether everything that belongs there was there.
        """
        ...


def shown_dtype(dtype: Any, *, labels: bool = False) -> np.dtype:
    """The type as which pixels are served: Neuroglancer has no float64, int64 or bool.

    Examples
    --------
    >>> [shown_dtype(t).name for t in ("u2", "f8", "i8", "?")], shown_dtype("i8", labels=True).name
    (['uint16', 'float32', 'float32', 'uint8'], 'uint64')
    """
    given: np.dtype = np.dtype(dtype).newbyteorder("=")
    if given.kind == "b":
        return np.dtype("u1")
    if labels:
        return np.dtype("u8") if given.kind != "u" or given.itemsize == 8 else given
    if given.kind in "fc" or given.itemsize == 8:
        return np.dtype("f4")
    return given


def reduced(block: np.ndarray, factor: Place, *, labels: bool = False) -> np.ndarray:
    """Fewer pixels along y and x; a last one may stand for less than `factor` of them.

    Examples
    --------
    >>> block = np.arange(10, dtype="u2").reshape(1, 2, 5)
    >>> reduced(block, (1, 2, 2)).tolist(), reduced(block, (1, 2, 2), labels=True).tolist()
    ([[[3, 5, 7]]], [[[0, 2, 4]]])
    """
    _, fy, fx = factor
    if fy == fx == 1:
        return block
    if labels:
        return block[:, ::fy, ::fx]
    rows, columns = np.arange(0, block.shape[1], fy), np.arange(0, block.shape[2], fx)
    sums = np.add.reduceat(block, rows, axis=1, dtype=np.float32 if fy < 64 else np.float64)
    sums = np.add.reduceat(sums, columns, axis=2)
    counts = np.outer(
        np.diff([*rows.tolist(), block.shape[1]]), np.diff([*columns.tolist(), block.shape[2]])
    )
    means = sums / counts
    if block.dtype.kind in "iu":
        means = np.floor(means + 0.5)
    return np.asarray(means.astype(block.dtype))


def planes_of(start: int, stop: int, factor: int, size: int) -> np.ndarray:
    """Planes of the finest level that stand for those of a level.

    Examples
    --------
    >>> planes_of(1, 3, 4, 11).tolist()
    [6, 10]
    """
    return np.minimum(np.arange(start, stop) * factor + factor // 2, size - 1)


@dataclass(frozen=True)
class TileCanvas:
    """Tiles at whole pixels of one picture.

    Examples
    --------
    >>> tiles = [np.full((1, 2, 4), k + 1, "u1") for k in range(2)]
    >>> canvas = TileCanvas(
    ...     read_tile=lambda row, a, b: tiles[row][a[0] : b[0], a[1] : b[1], a[2] : b[2]],
    ...     starts=np.array([[0, 0, 0], [0, 0, 3]]),
    ...     shapes=np.array([[1, 2, 4], [1, 2, 4]]),
    ...     dtype=np.dtype("u1"),
    ... )
    >>> canvas.shape, canvas.read((0, 0, 0), (1, 1, 7), (1, 1, 1))[0].tolist()
    ((1, 2, 7), [[[1, 1, 1, 2, 2, 2, 2]]])
    """

    read_tile: Callable[[int, Place, Place], np.ndarray | None] = field(repr=False)
    """Pixels of a part of a tile, given by its row, in tile pixels; None if it is not there."""
    starts: np.ndarray = field(repr=False)
    """First pixel of each tile on the canvas, integers of shape (tiles, 3)."""
    shapes: np.ndarray = field(repr=False)
    """Pixels of each tile, integers of shape (tiles, 3)."""
    dtype: np.dtype
    """A type that Neuroglancer knows."""
    labels: bool = False
    """Whether pixels are numbers of objects: they are not averaged."""

    @property
    def shape(self) -> Place:
        """Pixels of the canvas."""
        ends = (self.starts + self.shapes).max(axis=0) if len(self.starts) else (1, 1, 1)
        z, y, x = (max(1, int(n)) for n in ends)
        return z, y, x

    def read(self, start: Place, stop: Place, factor: Place) -> tuple[np.ndarray, bool]:
        """A part, in pixels of a level; see `Pixels`."""
        planes = planes_of(start[0], stop[0], factor[0], self.shape[0])
        low = np.array([planes[0], start[1] * factor[1], start[2] * factor[2]])
        high = np.array([planes[-1] + 1, stop[1] * factor[1], stop[2] * factor[2]])
        high = np.minimum(high, self.shape)
        met = ((self.starts < high) & (self.starts + self.shapes > low)).all(axis=1)
        rows = np.flatnonzero(met)
        out = np.zeros(tuple(b - a for a, b in zip(start, stop, strict=True)), self.dtype)
        if not len(rows):
            return out, True
        complete = True
        for y, x in _parts(out.shape, factor):
            begin = low[1] + y.start * factor[1], low[2] + x.start * factor[2]
            end = (
                min(low[1] + y.stop * factor[1], high[1]),
                min(low[2] + x.stop * factor[2], high[2]),
            )
            if begin[0] < end[0] and begin[1] < end[1]:
                block, whole = self._full(
                    rows, planes, (int(begin[0]), int(begin[1])), (int(end[0]), int(end[1]))
                )
                complete &= whole
                small = reduced(block, factor, labels=self.labels)
                out[:, y.start : y.start + small.shape[1], x.start : x.start + small.shape[2]] = (
                    small
                )
        return out, complete

    def _full(
        self, rows: np.ndarray, planes: np.ndarray, begin: tuple[int, int], end: tuple[int, int]
    ) -> tuple[np.ndarray, bool]:
        """Some planes of a part, at the finest level; and whether all tiles were there."""
        complete = True
        out = np.zeros((len(planes), end[0] - begin[0], end[1] - begin[1]), self.dtype)
        for row in rows.tolist():
            z0, y0, x0 = self.starts[row].tolist()
            nz, ny, nx = self.shapes[row].tolist()
            ya, yb = max(begin[0], y0), min(end[0], y0 + ny)
            xa, xb = max(begin[1], x0), min(end[1], x0 + nx)
            mine = np.flatnonzero((planes >= z0) & (planes < z0 + nz))
            if ya >= yb or xa >= xb or not len(mine):
                continue
            target = out[:, ya - begin[0] : yb - begin[0], xa - begin[1] : xb - begin[1]]
            for group in _runs(planes, mine):
                first, last = int(planes[group[0]]) - z0, int(planes[group[-1]]) - z0
                found = self.read_tile(row, (first, ya - y0, xa - x0), (last + 1, yb - y0, xb - x0))
                if found is None:
                    complete = False
                else:
                    target[group] = found
        return out, complete


def _parts(shape: tuple[int, ...], factor: Place) -> list[tuple[slice, slice]]:
    """Parts of a block along y and x that are small enough at the finest level."""
    depth, height, width = shape
    most = max(1, AT_ONCE // depth)
    wide = min(width, max(1, int(most**0.5) // factor[2]))
    high = min(height, max(1, most // max(1, wide * factor[2]) // factor[1]))
    return [
        (slice(y, min(y + high, height)), slice(x, min(x + wide, width)))
        for y in range(0, height, high)
        for x in range(0, width, wide)
    ]


def _runs(planes: np.ndarray, mine: np.ndarray) -> list[np.ndarray]:
    """Planes that follow upon each other, which are read at once."""
    breaks = np.flatnonzero(np.diff(planes[mine]) != 1) + 1
    return np.split(mine, breaks)


@dataclass(frozen=True)
class ArrayPixels:
    """An array in memory or a lazy one (dask, zarr, xarray), of dims z y x.

    Examples
    --------
    >>> pixels = ArrayPixels(np.arange(24.0).reshape(1, 4, 6), np.dtype("f4"))
    >>> pixels.read((0, 0, 0), (1, 2, 3), (1, 2, 2))[0].tolist()
    [[[3.5, 5.5, 7.5], [15.5, 17.5, 19.5]]]
    """

    array: Any = field(repr=False)
    dtype: np.dtype
    """A type that Neuroglancer knows."""
    labels: bool = False
    """As for `TileCanvas`."""

    @property
    def shape(self) -> Place:
        """Pixels of the array."""
        z, y, x = map(int, self.array.shape)
        return z, y, x

    def read(self, start: Place, stop: Place, factor: Place) -> tuple[np.ndarray, bool]:
        """A part, in pixels of a level; see `Pixels`."""
        canvas = TileCanvas(
            *(self._read, np.zeros((1, 3), int), np.array([self.shape]), self.dtype, self.labels)
        )
        return canvas.read(start, stop, factor)

    def _read(self, _row: int, start: Place, stop: Place) -> np.ndarray:
        box = tuple(map(slice, start, stop))
        return np.asarray(self.array[box]).astype(self.dtype, copy=False)


__all__ = ["ArrayPixels", "Pixels", "Place", "TileCanvas", "reduced", "shown_dtype"]
