"""A lattice of any number of dims as planes of rows and columns, as a screen can show it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from latticework.viz.words import plain


@dataclass(frozen=True, slots=True)
class Folding:
    """Which lattice dims go down, which go across, and which make separate planes.

    ``tile_y`` goes down and ``tile_x`` across where the lattice has them, else the last dims do.

    Examples
    --------
    >>> import numpy as np
    >>> folding = Folding.of(("tile_z", "tile_y", "tile_x"), {"tile_z": np.array([3, 4])})
    >>> folding.planes, folding.row, folding.column
    (('tile_z',), 'tile_y', 'tile_x')
    >>> folding.fold(np.zeros((2, 5, 7))).shape
    (2, 5, 7)
    >>> folding.plane_title(1, 2)
    'z 4'
    """

    dims: tuple[str, ...]
    """All lattice dims, in the order of the lattice."""
    planes: tuple[str, ...]
    """Dims of which every combination is a plane."""
    row: str | None
    """Dim that goes down, if any."""
    column: str | None
    """Dim that goes across, if any."""
    labels: Mapping[str, Any]
    """Labels along each dim."""

    @classmethod
    def of(cls, dims: Sequence[str], labels: Mapping[str, Any]) -> "Folding":
        """The folding of a lattice with these dims and labels."""
        left = [str(dim) for dim in dims]
        chosen: list[str | None] = []
        for wanted in ("tile_x", "tile_y"):
            pick: str | None = wanted if wanted in left else None
            if pick is None and left:
                pick = ([dim for dim in left if dim != "tile_y"] or left)[-1]
            if pick is not None:
                left.remove(pick)
            chosen.append(pick)
        return cls(tuple(str(d) for d in dims), tuple(left), chosen[1], chosen[0], labels)

    def fold(self, grid: np.ndarray) -> np.ndarray:
        """`grid`, of one axis per lattice dim, as an array of (planes, rows, columns)."""
        order = (*self.planes, *(dim for dim in (self.row, self.column) if dim is not None))
        moved = grid.transpose([self.dims.index(dim) for dim in order])
        rows = moved.shape[len(self.planes)] if self.row is not None else 1
        columns = moved.shape[-1] if self.column is not None else 1
        return moved.reshape(math.prod(moved.shape[: len(self.planes)]), rows, columns)

    def plane_title(self, start: int, stop: int) -> str:
        """Labels of planes ``start <= plane < stop``, as a caption."""
        if not self.planes:
            return ""
        shape = [len(self.labels[dim]) for dim in self.planes]
        first = np.unravel_index(start, shape)
        last = np.unravel_index(stop - 1, shape)
        if stop - start == 1 or len(shape) == 1:
            return ", ".join(
                span(dim, self.labels[dim], int(a), int(b) + 1)
                for dim, a, b in zip(self.planes, first, last, strict=True)
            )
        return f"{self.plane_title(start, start + 1)} to {self.plane_title(stop - 1, stop)}"

    def where(
        self, planes: tuple[int, int], rows: tuple[int, int], columns: tuple[int, int]
    ) -> str:
        """Labels of a range of planes, rows and columns, each given as start and stop."""
        parts = [
            self.plane_title(*planes),
            span(self.row, self.labels.get(self.row or ""), *rows),
            span(self.column, self.labels.get(self.column or ""), *columns),
        ]
        return ", ".join(part for part in parts if part) or "the one unit"


def axis_name(dim: str) -> str:
    """Short name of a lattice dim: ``z`` for ``tile_z``.

    Examples
    --------
    >>> axis_name("tile_z"), axis_name("sheet")
    ('z', 'sheet')
    """
    return plain(dim.removeprefix("tile_"), 20)


def span(dim: str | None, labels: Any, start: int, stop: int) -> str:
    """A range of labels along a dim: ``z 3`` or ``z 3-7``."""
    if dim is None:
        return ""
    first, last = plain(labels[start], 24), plain(labels[stop - 1], 24)
    return f"{axis_name(dim)} {first}" if stop - start == 1 else f"{axis_name(dim)} {first}–{last}"


def binned_sum(counts: np.ndarray, factors: Sequence[int]) -> np.ndarray:
    """Sums over bins of `factors` cells along each axis; the last bins may hold fewer.

    Examples
    --------
    >>> import numpy as np
    >>> binned_sum(np.ones((1, 3, 5), int), (1, 2, 2))
    array([[[4, 4, 2],
            [2, 2, 1]]])
    """
    for axis, factor in enumerate(factors):
        if factor > 1:
            counts = np.add.reduceat(counts, np.arange(0, counts.shape[axis], factor), axis=axis)
    return counts


def binned_max(values: np.ndarray, factors: Sequence[int]) -> np.ndarray:
    """Maxima over bins of `factors` cells along each axis; the last bins may hold fewer.

    Examples
    --------
    >>> import numpy as np
    >>> binned_max(np.array([[[1, 2, 3], [4, 0, 0]]]), (1, 2, 2))
    array([[[4, 3]]])
    """
    for axis, factor in enumerate(factors):
        if factor > 1:
            starts = np.arange(0, values.shape[axis], factor)
            values = np.maximum.reduceat(values, starts, axis=axis)
    return values


def bin_factors(shape: tuple[int, int, int], cells: int, planes: int) -> tuple[int, int, int]:
    """Smallest bins that leave at most `planes` planes and `cells` cells in all.

    Examples
    --------
    >>> bin_factors((10, 20, 20), 4000, 40), bin_factors((100, 100, 100), 4000, 40)
    ((1, 1, 1), (3, 10, 10))
    """
    slab = -(-shape[0] // planes)
    n_planes = -(-shape[0] // slab)
    factor = 1
    while n_planes * -(-shape[1] // factor) * -(-shape[2] // factor) > cells:
        if factor >= max(shape[1:]):
            slab, n_planes, factor = slab * 2, -(-n_planes // 2), 1
        else:
            factor += 1
    return slab, min(factor, shape[1]), min(factor, shape[2])
