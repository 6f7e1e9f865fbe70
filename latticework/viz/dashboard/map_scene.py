"""What the map shows: planes of stages, side by side in one picture.

::

    +-----------+-----------+     a pane is a plane of one stage, or of all stages combined;
    | pane      | pane      |     one unit of the picture is as long down as across, rows of a
    | clean     | spots     |     plane go down, and a plane begins at its pane's (x, y)
    +-----------+-----------+
"""

import math
from dataclasses import dataclass, field, replace

import numpy as np

from latticework.lattice.lattice import Lattice
from latticework.viz.dashboard.feed import StageNow
from latticework.viz.dashboard.map_axes import MapAxes, cell_shape
from latticework.viz.dashboard.map_combined import Combination

TITLE = 0.16
"""Room above a pane among others, as a part of its width."""
GAP = 0.06
"""Room between panes, likewise."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What of a picture a browser has in view."""

    left: float
    """Least x."""
    right: float
    """Greatest x."""
    top: float
    """Least y."""
    bottom: float
    """Greatest y."""
    width_px: float
    """Pixels from left to right."""
    height_px: float
    """Pixels from top to bottom."""

    @property
    def pixels_across(self) -> float:
        """Pixels of a unit of the picture, from left to right."""
        return self.width_px / max(1e-12, self.right - self.left)

    @property
    def pixels_down(self) -> float:
        """Pixels of a unit of the picture, from top to bottom."""
        return self.height_px / max(1e-12, self.bottom - self.top)


@dataclass(frozen=True, slots=True)
class Pane:
    """A plane of cells, and where it is in the picture.

    Examples
    --------
    >>> lattice = Lattice.from_grid({"y": 2, "x": 4}, tile_shape={"y": 8, "x": 8}, dtype="u2")
    >>> pane = Pane("clean", MapAxes.of(lattice), lattice, (), x=10.0, y=0.0, width=0.5, height=0.5)
    >>> pane.cell_at(11.9, 0.6), pane.cell_at(12.1, 0.6)
    ((1, 3), None)
    """

    title: str
    """What it is called."""
    axes: MapAxes
    """The plane."""
    lattice: Lattice
    """Of its units."""
    stages: tuple[StageNow, ...] = field(repr=False)
    """The stages: one, or those that are combined."""
    x: float = 0.0
    """Its left end."""
    y: float = 0.0
    """Its upper end."""
    width: float = 1.0
    """Of a cell."""
    height: float = 1.0
    """Of a cell."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.axes.shape

    @property
    def version(self) -> tuple[object, ...]:
        """What tells whether anything in it is other."""
        return self.title, self.axes, tuple((one.number, one.version) for one in self.stages)

    @property
    def extent(self) -> tuple[float, float]:
        """Its width and height in the picture."""
        rows, columns = self.shape
        return columns * self.width, rows * self.height

    def cell_at(self, x: float, y: float) -> tuple[int, int] | None:
        """Row and column at a point of the picture; None beside the plane."""
        row, column = (y - self.y) / self.height, (x - self.x) / self.width
        rows, columns = self.shape
        if not (0 <= row < rows and 0 <= column < columns):
            return None
        return int(row), int(column)

    def seen(self, sight: Sight) -> tuple[tuple[float, float], tuple[float, float]]:
        """Rows and columns that are in view, from and to; they may lie beyond the plane."""
        return (
            ((sight.top - self.y) / self.height, (sight.bottom - self.y) / self.height),
            ((sight.left - self.x) / self.width, (sight.right - self.x) / self.width),
        )


@dataclass(frozen=True, slots=True)
class Scene:
    """All that the map shows at one moment."""

    panes: tuple[Pane, ...]
    """Its panes."""
    combination: Combination | None = None
    """How stages are combined, where they are."""
    pictures: bool = False
    """Whether pictures of tiles lie on it."""

    @property
    def extent(self) -> tuple[float, float]:
        """Width and height of the picture."""
        return (
            max((pane.x + pane.extent[0] for pane in self.panes), default=1.0),
            max((pane.y + pane.extent[1] for pane in self.panes), default=1.0),
        )

    @property
    def is_strip(self) -> bool:
        """Whether it is a single row of cells, which may be as high as it likes."""
        return len(self.panes) == 1 and self.panes[0].shape[0] == 1

    @property
    def form(self) -> tuple[object, ...]:
        """What tells whether the picture's geometry is another one."""
        return tuple(
            (
                (pane.axes.dims, pane.axes.sizes, pane.axes.down, pane.axes.across),
                (pane.x, pane.y, pane.width, pane.height),
            )
            for pane in self.panes
        )

    @property
    def version(self) -> tuple[object, ...]:
        """What tells whether anything in it is other."""
        return tuple(pane.version for pane in self.panes)

    def at(self, x: float, y: float) -> tuple[int, int, int] | None:
        """Number of the pane, row and column at a point; None where there is none."""
        for number, pane in enumerate(self.panes):
            cell = pane.cell_at(x, y)
            if cell is not None:
                return number, *cell
        return None


def grown_by(old: Scene, new: Scene) -> tuple[float, float] | None:
    """How far the cells of a picture of one pane move, across and down, as its lattice grows.

    None where they are not the same cells, or of another size.

    Examples
    --------
    >>> old = Lattice.from_grid({"y": 2, "x": 2}, tile_shape={"y": 8, "x": 8}, dtype="u2")
    >>> new = Lattice.from_grid({"y": 3, "x": 3}, tile_shape={"y": 8, "x": 8}, dtype="u2")
    >>> new = new.replace(labels={"tile_y": [0, 1, 2], "tile_x": [-1, 0, 1]})
    >>> scenes = [one_pane(Pane("clean", MapAxes.of(one), one, ())) for one in (old, new)]
    >>> grown_by(*scenes), grown_by(scenes[0], Scene(()))
    ((1.0, 0.0), None)
    """
    if len(old.panes) != 1 or len(new.panes) != 1 or old.is_strip != new.is_strip:
        return None
    before, after = old.panes[0], new.panes[0]
    if [one.key for one in before.stages[:1]] != [one.key for one in after.stages[:1]]:
        return None
    if (before.axes.dims, before.axes.down, before.axes.across, before.width, before.height) != (
        after.axes.dims,
        after.axes.down,
        after.axes.across,
        after.width,
        after.height,
    ):
        return None
    steps = []
    for dim in (before.axes.across, before.axes.down):
        step = 0
        if dim is not None:
            found = np.flatnonzero(after.lattice.labels[dim] == before.lattice.labels[dim][0])
            step = int(found[0]) if len(found) else 0
        steps.append(step)
    return steps[0] * after.width, steps[1] * after.height


def one_pane(pane: Pane, combination: Combination | None = None) -> Scene:
    """A scene of one pane, with cells one unit wide."""
    if pane.shape[0] == 1:
        return Scene((pane,), combination)
    return Scene((replace(pane, height=cell_shape(pane.lattice, pane.axes)),), combination)


def side_by_side(panes: tuple[Pane, ...], wide: float = 1.5) -> Scene:
    """Panes in rows, each as wide as the others; the picture about `wide` times as wide as high."""
    if not panes:
        return Scene(())
    sizes = [_size(pane) for pane in panes]
    columns = _columns(sizes, wide)
    placed, top = [], 0.0
    for start in range(0, len(panes), columns):
        row = range(start, min(start + columns, len(panes)))
        for k in row:
            width, height = sizes[k]
            rows, across = panes[k].shape
            placed.append(
                replace(
                    panes[k],
                    x=(k - start) * (1 + GAP),
                    y=top + TITLE,
                    width=width / across,
                    height=height / rows,
                )
            )
        top += TITLE + max(sizes[k][1] for k in row) + GAP
    return Scene(tuple(placed))


def _size(pane: Pane) -> tuple[float, float]:
    """Width and height of a pane among others: 1 at most, and not thinner than a finger."""
    rows, columns = pane.shape
    ratio = cell_shape(pane.lattice, pane.axes) * rows / columns
    if rows == columns == 1:
        return 0.25, 0.25
    return (1.0, max(0.08, ratio)) if ratio <= 1 else (max(0.08, 1 / ratio), 1.0)


def _columns(sizes: list[tuple[float, float]], wide: float) -> int:
    """In how many columns panes make a picture of about the wanted proportions."""

    def off(columns: int) -> float:
        rows = range(0, len(sizes), columns)
        height = sum(TITLE + GAP + max(size[1] for size in sizes[k : k + columns]) for k in rows)
        return abs(math.log(columns * (1 + GAP) / height / wide))

    return min(range(1, len(sizes) + 1), key=off)
