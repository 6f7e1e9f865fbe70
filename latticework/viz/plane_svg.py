"""Planes of a lattice as small pictures in SVG: what the maps of lattices and of states share."""

from collections.abc import Iterator, Mapping

import numpy as np

from latticework.lattice import Lattice
from latticework.viz.folding import Folding


def runs(mask: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """Row, first column and length of every run of True in a plane.

    Examples
    --------
    >>> import numpy as np
    >>> list(runs(np.array([[True, True, False, True]])))
    [(0, 0, 2), (0, 3, 1)]
    """
    edges = np.diff(np.pad(mask.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    rows, starts = np.nonzero(edges == 1)
    stops = np.nonzero(edges == -1)[1]
    yield from zip(rows.tolist(), starts.tolist(), (stops - starts).tolist(), strict=True)


def step_aspect(lattice: Lattice, folding: Folding) -> float:
    """Height of a grid position by its width, as the stage goes; between a third and three."""

    def step_um(dim: str | None) -> float:
        axis = (dim or "").removeprefix("tile_")
        return lattice.step_px.get(axis, 0) * lattice.pixel_size_um.get(axis, 1.0)

    down, across = step_um(folding.row), step_um(folding.column)
    return min(3.0, max(1 / 3, down / across)) if down > 0 and across > 0 else 1.0


def plane_size(shape: tuple[int, ...], aspect: float, room: float) -> tuple[int, int]:
    """Width and height of a plane on the page, in CSS pixels.

    Parameters
    ----------
    shape
        Planes, rows and columns of the folded lattice.
    aspect
        Of one grid position, as `step_aspect`.
    room
        The longer side at most.

    Examples
    --------
    >>> plane_size((1, 10, 20), 1.0, 100)
    (100, 50)
    """
    cell = min(room / shape[2], room / (shape[1] * aspect), 28.0)
    return max(6, round(cell * shape[2])), max(6, round(cell * aspect * shape[1]))


def dashed_runs(
    classes: np.ndarray, looks: Mapping[int, str], factors: tuple[int, int, int], cell_px: float
) -> str:
    """One plane as dashed lines, in units of grid positions: one dash for each square.

    Parameters
    ----------
    classes
        Number of how each square is drawn, shape (rows, columns).
    looks
        Attributes of an SVG path for each number; what is not named is not drawn.
    factors
        Planes, rows and columns of the lattice in one square.
    cell_px
        Width of a square on the page, in CSS pixels: narrow ones are drawn without gaps.
    """
    down, across = factors[1:]
    gap = 0.14 if cell_px >= 5 else 0.0
    dash = f' stroke-dasharray="{(1 - gap) * across:g} {gap * across:g}"' if gap else ""
    edges = "" if gap else ' shape-rendering="crispEdges"'
    parts = [f'<g fill="none" stroke-width="{(1 - gap) * down:g}"{dash}{edges}>']
    for number, look in looks.items():
        path = "".join(
            f"M{column * across + gap * across / 2:g} {(row + 0.5) * down:g}h{n * across:g}"
            for row, column, n in runs(classes == number)
        )
        if path:
            parts.append(f'<path {look} d="{path}"/>')
    return "".join(parts) + "</g>"
