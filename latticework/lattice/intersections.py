"""Which units of two lattices lie, in micrometres, where the other lies.

::

    tiles of the acquisition        blocks of a volume
    ┌─────┐                         ┌───┬───┬───┐      block b reads tiles 0 and 1;
    │ 0 ┌─┴───┐                     │ a │ b │ c │      tile 1 reads blocks b, c, e, f
    └───┤ 1   │                     ├───┼───┼───┤
        └─────┘                     │ d │ e │ f │
                                    └───┴───┴───┘

Extents are half-open: units that only touch do not meet. A unit with a margin reads what meets
its extent and margin.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Self

import numpy as np

from latticework.lattice.dependencies import csr_rows
from latticework.lattice.geometry import Box
from latticework.lattice.halo import Halo
from latticework.lattice.lattice import Lattice
from latticework.lattice.offsets import spatial_axis
from latticework.lattice.places import extents_um
from latticework.lattice.tile import Tile

TOLERANCE_PX = 1e-3
"""Overlaps below this fraction of a pixel are rounding of positions, and no overlap."""
PAIRS_AT_ONCE = 1 << 21
"""Pairs of units that are compared at once: bounds the memory."""
MOST_CELLS = 1 << 20
"""Cells of the search grid along an axis; three axes fit a 64-bit number."""


@dataclass(frozen=True, slots=True)
class IntersectingUnits:
    """The units of the parent whose extents meet those of each unit.

    Examples
    --------
    >>> tiles = Lattice.from_grid({"y": 1, "x": 3}, tile_shape={"y": 8, "x": 8}, dtype="u1")
    >>> blocks = Lattice.from_array(np.zeros((8, 24), "u1"), block={"x": 12})
    >>> edge = IntersectingUnits.between(blocks, tiles)
    >>> edge.inputs(np.array([1]))[1].tolist(), edge.readers(np.array([1])).tolist()
    ([1, 2], [0, 1])
    """

    starts: np.ndarray
    """Where the inputs of each unit begin in `read`."""
    read: np.ndarray
    """Units of the parent, by reader, in order of their ids."""
    back_starts: np.ndarray
    """Where the readers of each parent's unit begin in `back`."""
    back: np.ndarray
    """Units of the stage, by what they read."""

    @classmethod
    def between(cls, lattice: Lattice, parent: Lattice, halo: Halo | None = None) -> Self:
        """Find them once, for all units.

        Parameters
        ----------
        lattice
            Whose units read.
        parent
            Whose units are read.
        halo
            Margin around the reading units, in their own pixels and order of dims.

        Only axes that both lattices have restrict, and lattice dims that are no axes (``round``,
        ``channel``) where both have one of that name: then the labels must be the same.
        """
        found = list(_pairs(lattice, parent, halo))
        which = np.concatenate([np.zeros(0, np.int64), *(pair[0] for pair in found)])
        read = np.concatenate([np.zeros(0, np.int64), *(pair[1] for pair in found)])
        found.clear()
        order = np.lexsort((read, which))
        which, read = which[order], read[order]
        back_order = np.argsort(read, kind="stable")
        return cls(
            starts=_starts(which, len(lattice)),
            read=read,
            back_starts=_starts(read, len(parent)),
            back=which[back_order],
        )

    def inputs(self, units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The units that meet each unit."""
        return csr_rows(self.starts, self.read, units)

    def readers(self, parents: np.ndarray) -> np.ndarray:
        """The units that meet any of these."""
        return np.unique(csr_rows(self.back_starts, self.back, parents)[1])


def _starts(sorted_rows: np.ndarray, n: int) -> np.ndarray:
    counts = np.bincount(sorted_rows, minlength=n)
    return np.concatenate([[0], np.cumsum(counts)])


# -------------------------------------------------------------------- extents


def spans_um(lattice: Lattice, halo: Halo | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Where units begin and end, widened by a margin: two arrays (n, spatial dims), micrometres."""
    near = lattice.position_um
    far = near + extents_um(lattice)
    if halo is None or halo.empty:
        return near, far
    before, after = (_margin_um(lattice, margins) for margins in (halo.before, halo.after))
    return near - before, far + after


def _margin_um(lattice: Lattice, margins: tuple[int, ...]) -> np.ndarray:
    pixels = dict(zip(lattice.tile_dims, margins, strict=True))
    return np.array([pixels.get(a, 0) * lattice.pixel_size_um[a] for a in lattice.spatial_dims])


def extent_um(tile: Tile, halo: Halo | None = None) -> dict[str, tuple[float, float]]:
    """Where one unit begins and ends by spatial axis, micrometres, widened by a margin.

    Examples
    --------
    >>> lattice = Lattice.from_grid({"y": 1, "x": 2}, tile_shape={"y": 8, "x": 8}, dtype="u1")
    >>> extent_um(lattice.tile(x=1), Halo((0, 2), (0, 3), ("none", "none")))
    {'y': (0.0, 8.0), 'x': (6.0, 19.0)}
    """
    pixels = dict(zip(tile.dims, tile.shape, strict=True))
    none = dict.fromkeys(tile.dims, 0)
    before = none if halo is None else dict(zip(tile.dims, halo.before, strict=True))
    after = none if halo is None else dict(zip(tile.dims, halo.after, strict=True))
    return {
        axis: (
            first - before.get(axis, 0) * tile.pixel_size_um[axis],
            first + (pixels.get(axis, 1) + after.get(axis, 0)) * tile.pixel_size_um[axis],
        )
        for axis, first in tile.position_um.items()
    }


def crop(lattice: Lattice, unit: int, extent: Mapping[str, tuple[float, float]]) -> Box:
    """Pixels of a unit that meet an extent (`extent_um`); at least one along each dim.

    Axes that the extent does not name do not restrict.

    Examples
    --------
    >>> lattice = Lattice.from_grid({"y": 1, "x": 2}, tile_shape={"y": 8, "x": 8}, dtype="u1")
    >>> crop(lattice, 1, {"x": (4.0, 10.5)})
    Box(start=(0, 0), stop=(8, 3))
    """
    sizes = lattice.tile_shape.values() if lattice.shapes is None else lattice.shapes[unit].tolist()
    at = dict(zip(lattice.spatial_dims, lattice.position_um[unit].tolist(), strict=True))
    start, stop = [], []
    for dim, size in zip(lattice.tile_dims, sizes, strict=True):
        first, last = 0, size
        if dim in extent and dim in at:
            low, high = ((edge - at[dim]) / lattice.pixel_size_um[dim] for edge in extent[dim])
            first = min(max(int(np.floor(low + TOLERANCE_PX)), 0), size - 1)
            last = max(min(int(np.ceil(high - TOLERANCE_PX)), size), first + 1)
        start.append(first)
        stop.append(last)
    return Box(tuple(start), tuple(stop))


# -------------------------------------------------------------------- search


def _pairs(
    lattice: Lattice, parent: Lattice, halo: Halo | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs (unit, unit of the parent) that meet, in no order, each once.

    The parent's units are sorted by the cell of a uniform grid in which they begin. Cells are as
    large as the largest extents, so that what meets a unit begins in one of three cells along each
    axis; those along the last axis are neighbours in the sorted order.
    """
    if not len(lattice) or not len(parent):
        return
    axes = [axis for axis in lattice.spatial_dims if axis in parent.spatial_dims]
    near, far = _columns(spans_um(lattice, halo), lattice, axes)
    parent_near, parent_far = _columns(spans_um(parent), parent, axes)
    sizes = [[side.pixel_size_um[axis] for axis in axes] for side in (lattice, parent)]
    slack = TOLERANCE_PX * np.min(sizes, axis=0, initial=np.inf)
    kinds, parent_kinds = _label_codes(lattice, parent)

    reach = (parent_far - parent_near).max(axis=0)
    origin = parent_near.min(axis=0)
    span = parent_near.max(axis=0) - origin
    cell = np.maximum(np.maximum((far - near).max(axis=0), reach), span / (MOST_CELLS - 2))
    cells = np.floor((parent_near - origin) / cell).astype(np.int64)
    last = cells.max(axis=0)
    low = np.floor((near - reach - origin) / cell)
    high = np.floor((far - origin) / cell)
    low, high = (np.clip(edge, -1, last + 1).astype(np.int64) for edge in (low, high))

    stride = np.concatenate([np.cumprod((last + 1)[::-1])[::-1][1:], [1]]).astype(np.int64)
    key = cells @ stride
    order = np.argsort(key, kind="stable")
    key = key[order]
    for steps in product(*(range(int(n)) for n in (high - low).max(axis=0)[:-1] + 1)):
        rows = low[:, :-1] + np.array(steps, dtype=np.int64)
        inside = (rows <= high[:, :-1]) & (rows >= 0) & (rows <= last[:-1])
        ask = inside.all(axis=1) & (high[:, -1] >= 0) & (low[:, -1] <= last[-1])
        units = np.flatnonzero(ask)
        row = rows[units] @ stride[:-1]
        first = np.searchsorted(key, row + np.maximum(low[units, -1], 0), "left")
        end = np.searchsorted(key, row + np.minimum(high[units, -1], last[-1]), "right")
        for part in _parts(end - first):
            counts = (end - first)[part]
            which = np.repeat(units[part], counts)
            offset = np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts)
            other = order[np.repeat(first[part], counts) + offset]
            meet = kinds[which] == parent_kinds[other]
            for k in range(len(axes)):
                meet &= near[which, k] < parent_far[other, k] - slack[k]
                meet &= parent_near[other, k] < far[which, k] - slack[k]
            yield which[meet], other[meet]


def _columns(
    spans: tuple[np.ndarray, np.ndarray], lattice: Lattice, axes: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """The columns of some axes; one along which all lie at the same place if there are none."""
    if not axes:
        return np.zeros((len(lattice), 1)), np.ones((len(lattice), 1))
    columns = [lattice.spatial_dims.index(axis) for axis in axes]
    near, far = spans
    return near[:, columns], far[:, columns]


def _parts(counts: np.ndarray) -> Iterator[slice]:
    """Slices of rows whose counts add up to about `PAIRS_AT_ONCE` at most."""
    total = np.cumsum(counts)
    first = 0
    while first < len(counts):
        done = int(total[first - 1]) if first else 0
        end = max(int(np.searchsorted(total, done + PAIRS_AT_ONCE, "right")), first + 1)
        yield slice(first, end)
        first = end


def _label_codes(lattice: Lattice, parent: Lattice) -> tuple[np.ndarray, np.ndarray]:
    """A number per unit, the same where the labels of all shared dims that are no axes agree."""
    codes = [np.zeros(len(side), dtype=np.int64) for side in (lattice, parent)]
    for dim in lattice.dims:
        if spatial_axis(dim) is not None or dim not in parent.dims:
            continue
        words = [side.labels[dim] for side in (lattice, parent)]
        if len({word.dtype.kind == "U" for word in words}) > 1:  # a text is no number
            words = [word.astype(str) for word in words]
        known, places = np.unique(np.concatenate(words), return_inverse=True)
        split = np.split(places.ravel(), [len(words[0])])
        for k, side in enumerate((lattice, parent)):
            codes[k] = codes[k] * len(known) + split[k][side.index[:, side.dims.index(dim)]]
    return codes[0], codes[1]
