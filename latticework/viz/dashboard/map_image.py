"""States as images of a byte a cell: cut out, made coarser by the worst state, compared.

Colours are looked up in the browser, so that a cell costs one byte on its way there, and only
rectangles in which something has changed are sent again. Of planes that are larger than a screen,
the browser has a coarse image of the whole and a finer one of what is looked at.
"""

from dataclasses import dataclass

import numpy as np

from latticework.lattice.states import State
from latticework.viz.states import urgency

HOLE = len(State)
"""Code of a place of the grid that has no tile; other codes are states."""
CELLS = 512
"""Cells down or across an image beyond which several tiles share one."""
BLOCK = 32
"""Cells down and across the rectangles in which changes are looked for."""


def urgency_ranks() -> np.ndarray:
    """Rank of each code, uint8: a hole 0, the most urgent state the highest.

    Examples
    --------
    >>> ranks = urgency_ranks()
    >>> ranks[State.FAILED] > ranks[State.RUNNING] > ranks[State.COMPLETE] > ranks[HOLE]
    np.True_
    """
    ranks = np.zeros(HOLE + 1, np.uint8)
    for rank, state in enumerate(urgency):
        ranks[state] = rank + 1
    return ranks


def worst(codes: np.ndarray, factor: int, ranks: np.ndarray) -> np.ndarray:
    """The code of the highest rank in each block of ``factor`` x ``factor`` cells.

    Parameters
    ----------
    codes
        Unsigned integers, (rows, columns).
    factor
        Cells down and across a block; the last blocks may have fewer.
    ranks
        Rank of each code: a permutation of ``range(n)``.

    Returns
    -------
    ndarray
        (ceil(rows / factor), ceil(columns / factor)), of the type of `codes`.

    Examples
    --------
    >>> worst(np.array([[4, 4, 1], [4, 5, 1]], "u1"), 2, urgency_ranks())
    array([[5, 1]], dtype=uint8)
    """
    if factor == 1:
        return codes
    codes_by_rank = np.empty(len(ranks), codes.dtype)
    codes_by_rank[ranks] = np.arange(len(ranks))
    high = _highest(ranks[codes], factor)
    high = _highest(np.ascontiguousarray(high.T), factor).T
    return np.asarray(codes_by_rank[high])


def _highest(values: np.ndarray, factor: int) -> np.ndarray:
    """Maximum over every `factor` rows: whole rows at once, which is quick."""
    n = -(-len(values) // factor)
    high = values[::factor].copy()
    for k in range(1, min(factor, len(values))):
        more = values[k::factor]
        np.maximum(high[: len(more)], more, out=high[: len(more)])
    assert len(high) == n
    return high


@dataclass(frozen=True, slots=True)
class Cut:
    """A part of a plane, and how coarse an image of it is."""

    row: int
    """First row."""
    stop_row: int
    """Row after the last."""
    column: int
    """First column."""
    stop_column: int
    """Column after the last."""
    factor: int
    """Cells down and across that share one of the image."""

    @classmethod
    def whole(cls, shape: tuple[int, int], cells: int = CELLS) -> "Cut":
        """All of a plane, in at most `cells` down and across.

        Examples
        --------
        >>> Cut.whole((1000, 300))
        Cut(row=0, stop_row=1000, column=0, stop_column=300, factor=2)
        """
        return cls(0, shape[0], 0, shape[1], coarseness(max(shape), cells))

    def of(self, plane: np.ndarray) -> np.ndarray:
        """The part of a plane, in full."""
        return plane[self.row : self.stop_row, self.column : self.stop_column]


def coarseness(n: int, cells: int) -> int:
    """The smallest power of two by which `n` places fit into `cells`.

    Examples
    --------
    >>> coarseness(512, 512), coarseness(513, 512), coarseness(5000, 512)
    (1, 2, 16)
    """
    return 1 << max(0, (-(-n // cells) - 1).bit_length())


def seen_part(
    shape: tuple[int, int],
    rows: tuple[float, float],
    columns: tuple[float, float],
    cells: int = CELLS,
) -> Cut | None:
    """What to have at hand of a plane of which a part is looked at: that, and some around it.

    Parameters
    ----------
    shape
        Rows and columns of the plane.
    rows, columns
        What is looked at; may reach beyond the plane.
    cells
        Cells down or across an image at most.

    Returns
    -------
    Cut or None
        None where nothing of the plane is looked at. Its corners are multiples of 32 cells of the
        image, so that it stays the same while one moves a little.

    Examples
    --------
    >>> seen_part((1000, 1000), (400, 500), (380, 500))
    Cut(row=352, stop_row=544, column=320, stop_column=544, factor=1)
    """
    if rows[1] <= 0 or columns[1] <= 0 or rows[0] >= shape[0] or columns[0] >= shape[1]:
        return None
    extent = max(rows[1] - rows[0], columns[1] - columns[0], 1.0)
    factor = coarseness(int(np.ceil(extent * 1.5)), cells - 2 * BLOCK)
    spans = []
    for (low, high), n in zip((rows, columns), shape, strict=True):
        margin, raster = (high - low) / 4, BLOCK * factor
        start = int(np.floor((low - margin) / raster)) * raster
        stop = int(np.ceil((high + margin) / raster)) * raster
        spans.append((max(0, start), min(n, stop)))
    return Cut(*spans[0], *spans[1], factor)


@dataclass(frozen=True, slots=True)
class Change:
    """A rectangle of an image that is other than before."""

    rows: slice
    """Down."""
    columns: slice
    """Across."""
    values: np.ndarray
    """What is there now, flat."""


def changes(old: np.ndarray, new: np.ndarray, most: int = 64) -> list[Change] | None:
    """Rectangles that turn an image into another one of the same shape; None: send all of it.

    Parameters
    ----------
    old, new
        (rows, columns).
    most
        Rectangles beyond which sending all of it is better; neither are they more than half of it.

    Examples
    --------
    >>> old = np.zeros((100, 100), "u1")
    >>> new = old.copy()
    >>> new[70, 5:7] = 4
    >>> changes(old, new)
    [Change(rows=slice(70, 71, None), columns=slice(5, 7, None), values=array([4, 4], dtype=uint8))]
    """
    if old.shape != new.shape or old.dtype != new.dtype:
        return None
    other = old != new
    if not other.any():
        return []
    down, across = (np.arange(0, n, BLOCK) for n in new.shape)
    blocks = np.logical_or.reduceat(np.logical_or.reduceat(other, down, axis=0), across, axis=1)
    where = np.argwhere(blocks)
    if len(where) > most:
        return None
    found = [_tight(other, new, int(i) * BLOCK, int(j) * BLOCK) for i, j in where]
    return found if 2 * sum(len(change.values) for change in found) <= new.size else None


def _tight(other: np.ndarray, new: np.ndarray, row: int, column: int) -> Change:
    """The smallest rectangle around what is other within a block."""
    block = other[row : row + BLOCK, column : column + BLOCK]
    rows, columns = np.flatnonzero(block.any(axis=1)), np.flatnonzero(block.any(axis=0))
    down = slice(row + int(rows[0]), row + int(rows[-1]) + 1)
    across = slice(column + int(columns[0]), column + int(columns[-1]) + 1)
    return Change(down, across, np.ascontiguousarray(new[down, across]).reshape(-1))
