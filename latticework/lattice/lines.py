"""Grid lines along one axis, from the positions of tiles, that more tiles can join."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from latticework.lattice.grids import TOLERANCE, line_numbers


@dataclass(frozen=True, slots=True)
class GridLines:
    """Positions along one axis, sorted into lines.

    Positions closer than `gap` to their neighbour (sorted) are one line. Only the ends, the sum
    and the number of each line's positions are kept, so that a tile joins in time proportional to
    the number of lines.

    Examples
    --------
    >>> lines = GridLines.of(np.array([0.0, 101.0, 1.0]), extent=100.0)
    >>> lines.number.tolist(), lines.step
    ([0, 1], 100.5)
    >>> more, moved = lines.with_values(np.array([-200.0]))
    >>> more.number.tolist(), moved.tolist(), more.positions_of(np.array([0.5, 101.0])).tolist()
    ([0, 2, 3], [1, 2], [2, 3])
    """

    extent: float
    """Extent of a tile."""
    gap: float
    """Distance up to which neighbours share a line."""
    low: np.ndarray
    """Least position of each line, ascending."""
    high: np.ndarray
    """Greatest position of each line."""
    total: np.ndarray
    """Sum of each line's positions."""
    count: np.ndarray
    """Number of each line's positions."""
    number: np.ndarray
    """Grid position of each line; holes count."""
    step: float
    """Distance of adjacent grid positions."""

    @classmethod
    def of(cls, values: np.ndarray, extent: float, tolerance: float = TOLERANCE) -> Self:
        """Lines of positions."""
        return cls._made(extent, tolerance * extent, values, values, values, None)[0]

    def with_values(self, values: np.ndarray) -> tuple[Self, np.ndarray]:
        """The lines with further positions, and the new row of each line that there was."""
        lines, of_part = self._made(
            self.extent,
            self.gap,
            np.concatenate([self.low, values]),
            np.concatenate([self.high, values]),
            np.concatenate([self.total, values]),
            np.concatenate([self.count, np.ones(len(values), dtype=np.int64)]),
        )
        return lines, of_part[: len(self.low)]

    def positions_of(self, values: np.ndarray) -> np.ndarray:
        """Grid position of each of the lines' positions."""
        rows = np.searchsorted(self.low, values, side="right") - 1
        return self.number[np.maximum(rows, 0)]

    @classmethod
    def _made(
        cls,
        extent: float,
        gap: float,
        low: np.ndarray,
        high: np.ndarray,
        total: np.ndarray,
        count: np.ndarray | None,
    ) -> tuple[Self, np.ndarray]:
        order = np.argsort(low, kind="stable")
        low, reach = low[order], np.maximum.accumulate(high[order])
        line = np.concatenate([[0], np.cumsum(low[1:] - reach[:-1] > gap)])
        first = np.flatnonzero(np.diff(line, prepend=-1))
        number_of = np.ones(len(low), dtype=np.int64) if count is None else count[order]
        totals = np.bincount(line, total[order])
        counts = np.add.reduceat(number_of, first)
        number, step = line_numbers(totals / counts, extent)
        of_part = np.empty(len(line), dtype=np.int64)
        of_part[order] = line
        last = np.append(first[1:], len(low)) - 1
        return cls(extent, gap, low[first], reach[last], totals, counts, number, step), of_part
