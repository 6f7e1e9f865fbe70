"""Points and lines as Neuroglancer's annotations, made from arrays when they are asked for.

The format is Neuroglancer's own, "precomputed annotations": few of the points stand for all of them
when one looks from far away, and more come as one comes nearer::

    level 0   ┌───────────────┐   at most LIMIT of all points, chosen by chance
    level 1   ├───────┬───────┤   of the others, at most LIMIT in each half
    level 2   ├───┬───┼───┬───┤   and so on, until none is left
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from latticework.viz.neuroglancer.resources import TYPES, Answer, ViewError

LIMIT = 5000
"""Annotations of a cell of the index."""
DEEPEST = 20
"""Levels of the index."""
SMALLEST = 1e-3
"""Extent of the index along an axis, at least, in micrometres."""


class Cells(NamedTuple):
    """One level of the index."""

    grid: tuple[int, ...]
    """Cells along each axis."""
    size: np.ndarray
    """Micrometres of a cell along each axis."""
    rows: dict[tuple[int, ...], np.ndarray]
    """Annotations of each cell that has any."""


@dataclass(frozen=True)
class Annotations:
    """Points, or lines between two points.

    Examples
    --------
    >>> points = Annotations(np.array([[1.0, 2.0, 3.0]]), {"score": np.array([7.0], "f4")})
    >>> info = json.loads(points.find(("info",)).body)
    >>> info["annotation_type"], info["properties"][0]["id"]
    ('POINT', 'score')
    >>> points.find(("0", "0_0_0")).size  # count, place, score, id
    32
    """

    first_um: np.ndarray = field(repr=False)
    """Where they are, or begin: shape (n, 3), along z, y and x."""
    properties: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)
    """What is told of each: numbers of 32 bits."""
    second_um: np.ndarray | None = field(default=None, repr=False)
    """Where lines end."""

    def __post_init__(self) -> None:
        wrong = [n for n, v in self.properties.items() if v.dtype.itemsize != 4]
        if wrong:
            raise ViewError(f"properties {wrong} of annotations must be float32, int32 or uint32")

    def __len__(self) -> int:
        return len(self.first_um)

    def find(self, parts: tuple[str, ...]) -> Answer | None:
        """The description, a cell of the index, or one annotation."""
        if parts == ("info",):
            return Answer.of(json.dumps(self.info()).encode(), TYPES["json"])
        if len(parts) != 2 or not parts[1].replace("_", "").isdigit():
            return None
        if parts[0] == "id":
            row = int(parts[1]) if parts[1].isdigit() else len(self)
            return Answer.of(self._records(np.array([row])).tobytes()) if row < len(self) else None
        if not parts[0].isdigit() or len(parts[0]) > 2 or int(parts[0]) >= len(self.index):
            return None
        rows = self.index[int(parts[0])].rows.get(tuple(map(int, parts[1].split("_"))))
        return Answer.of(self._cell(np.zeros(0, int) if rows is None else rows))

    def info(self) -> dict[str, Any]:
        """The ``info`` document."""
        low, high = self.bounds_um
        kinds = {"f": "float32", "i": "int32", "u": "uint32"}
        return {
            "@type": "neuroglancer_annotations_v1",
            "dimensions": {axis: [1e-6, "m"] for axis in "zyx"},
            "lower_bound": low.tolist(),
            "upper_bound": high.tolist(),
            "annotation_type": "POINT" if self.second_um is None else "LINE",
            "properties": [
                {"id": name, "type": kinds[values.dtype.kind]}
                for name, values in self.properties.items()
            ],
            "relationships": [],
            "by_id": {"key": "id"},
            "spatial": [
                {
                    "key": str(number),
                    "grid_shape": list(cells.grid),
                    "chunk_size": cells.size.tolist(),
                    "limit": max(map(len, cells.rows.values()), default=1),
                }
                for number, cells in enumerate(self.index)
            ],
        }

    @cached_property
    def bounds_um(self) -> tuple[np.ndarray, np.ndarray]:
        """Corners of the box that holds them."""
        both = [self.first_um] if self.second_um is None else [self.first_um, self.second_um]
        places = np.concatenate(both)
        if not len(places):
            return np.zeros(3), np.ones(3)
        low, high = places.min(axis=0), places.max(axis=0)
        return low, np.maximum(high, low + SMALLEST)

    @cached_property
    def index(self) -> list[Cells]:
        """The levels, the coarsest first; a line is where its middle is."""
        low, high = self.bounds_um
        middle = self.first_um
        if self.second_um is not None:
            middle = (self.first_um + self.second_um) / 2
        left = np.random.default_rng(0).permutation(len(self))
        grid, found = np.ones(3, int), list[Cells]()
        while True:
            size = (high - low) / grid
            cells = np.clip(((middle[left] - low) / size).astype(int), 0, grid - 1)
            number = np.ravel_multi_index(tuple(cells.T), tuple(grid)) if len(left) else left
            order = np.argsort(number, kind="stable")
            starts = np.flatnonzero(np.diff(number[order], prepend=-1))
            within = np.arange(len(left)) - np.repeat(starts, np.diff([*starts, len(left)]))
            last = len(found) + 1 == DEEPEST
            taken = order[(within < LIMIT) | last]
            rows = _by_cell(cells[taken], left[taken])
            found.append(Cells(tuple(map(int, grid)), size, rows))
            left = np.delete(left, taken)
            if not len(left):
                return found
            grid = np.where(size >= size.max() / 1.5, grid * 2, grid)

    @cached_property
    def _dtype(self) -> np.dtype:
        places = 3 if self.second_um is None else 6
        columns = [(name, values.dtype.newbyteorder("<")) for name, values in self._columns]
        return np.dtype([("", "<f4", (places,)), *columns])

    @property
    def _columns(self) -> list[tuple[str, np.ndarray]]:
        return [(f"p_{name}", values) for name, values in self.properties.items()]

    def _records(self, rows: np.ndarray) -> np.ndarray:
        """Annotations as they are stored."""
        records = np.zeros(len(rows), self._dtype)
        places = self.first_um[rows]
        if self.second_um is not None:
            places = np.concatenate([places, self.second_um[rows]], axis=1)
        records["f0"] = places
        for name, values in self._columns:
            records[name] = values[rows]
        return records

    def _cell(self, rows: np.ndarray) -> bytes:
        count = np.array([len(rows)], "<u8").tobytes()
        return count + self._records(rows).tobytes() + rows.astype("<u8").tobytes()


def _by_cell(cells: np.ndarray, rows: np.ndarray) -> dict[tuple[int, ...], np.ndarray]:
    """Rows of each cell; equal cells follow upon each other."""
    if not len(rows):
        return {}
    breaks = np.flatnonzero(np.diff(cells, axis=0).any(axis=1)) + 1
    firsts = [0, *breaks.tolist()]
    parts = np.split(rows, breaks)
    return {tuple(cells[k].tolist()): part for k, part in zip(firsts, parts, strict=True)}


__all__ = ["Annotations"]
