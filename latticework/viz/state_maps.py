"""Small maps of the states of a stage's units, for notebooks: the most urgent state of each square.

However many units there are, a map has a bounded number of squares: several units share one then,
and planes are joined to slabs. So a map is a few kilobytes that say where something is wrong.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from latticework.lattice import Lattice, State
from latticework.lattice.views import on_grid
from latticework.viz.folding import Folding, bin_factors, binned_max
from latticework.viz.html import escaped, state_fill
from latticework.viz.plane_svg import dashed_runs, plane_size, step_aspect
from latticework.viz.states import urgency

_RANK = np.zeros(len(State), dtype=np.uint8)
_RANK[list(urgency)] = np.arange(len(urgency), dtype=np.uint8)
_STATE = np.array(urgency, dtype=np.uint8)
_LOOKS = {
    int(state): f'style="stroke:{state_fill(state)}"'
    for state in State
    if state is not State.ABSENT
} | {int(State.ABSENT): 'stroke="currentColor" stroke-opacity=".07"'}


@dataclass(frozen=True, slots=True, eq=False)
class StateMap:
    """The states of one stage on its lattice, the most urgent one of each square.

    Examples
    --------
    >>> import numpy as np
    >>> lattice = Lattice.from_grid({"y": 2, "x": 3}, tile_shape={"y": 8, "x": 8}, dtype="u1")
    >>> found = StateMap.of(lattice, np.array([4, 4, 4, 4, 5, 1], "u1"))
    >>> found.worst[0].tolist()
    [[4, 4, 4], [4, 5, 1]]
    >>> StateMap.of(lattice, np.array([4, 4, 4, 4, 5, 1], "u1"), cells=2).worst[0].tolist()
    [[5, 1]]
    """

    worst: np.ndarray
    """uint8: number of the most urgent state in each square, shape (planes, rows, columns)."""
    factors: tuple[int, int, int]
    """Planes, rows and columns of the lattice in one square."""
    shape: tuple[int, int, int]
    """Planes, rows and columns of the lattice."""
    folding: Folding
    """Which lattice dims these are."""
    aspect: float
    """Height of a grid position by its width."""

    @classmethod
    def of(
        cls, lattice: Lattice, states: np.ndarray, *, cells: int = 1200, planes: int = 12
    ) -> "StateMap":
        """The map of some states.

        Parameters
        ----------
        lattice
            Where the units are.
        states
            Number of the state of each unit, in the order of the lattice's rows.
        cells
            Squares at most.
        planes
            Planes at most.
        """
        folding = Folding.of(lattice.dims, dict(lattice.labels))  # a summary is pickled
        ranks = on_grid(lattice, _RANK[np.asarray(states)], 0)
        folded = folding.fold(ranks)
        n_planes, n_rows, n_columns = folded.shape
        shape = (n_planes, n_rows, n_columns)
        factors = bin_factors(shape, max(1, cells), planes) if folded.size else (1, 1, 1)
        worst = _STATE[binned_max(folded, factors)]
        return cls(worst, factors, shape, folding, step_aspect(lattice, folding))

    @property
    def uniform(self) -> bool:
        """Whether every unit that is there is in the same state."""
        return len(np.unique(self.worst[self.worst != State.ABSENT])) < 2


def maps_html(maps: Mapping[str, StateMap], *, room: float = 120, hover_cells: int = 300) -> str:
    """Maps of several stages side by side, each with its name below.

    Parameters
    ----------
    maps
        A map for each stage.
    room
        CSS pixels for the longer side of a lattice of one plane.
    hover_cells
        Squares of a map, at most, that say on hover which units they are.
    """
    cards = "".join(
        f'<div style="max-width:{2.6 * room:.0f}px">{_name(name)}'
        f"{map_svg(one, room, hover_cells)}</div>"
        for name, one in maps.items()
        if one.worst.size
    )
    if not cards:
        return ""
    notes = {note for one in maps.values() if (note := _note(one))}
    below = f'<div class="lw-m">{escaped("; ".join(sorted(notes)))}</div>' if notes else ""
    return (
        '<div style="display:flex;flex-wrap:wrap;gap:.5em 1.6em;align-items:flex-start;'
        f'margin:.5em 0 .2em">{cards}</div>{below}'
    )


def _name(name: str) -> str:
    return (
        f'<div style="font-size:12px;margin-bottom:2px">{escaped(name, 40)}</div>' if name else ""
    )


def map_svg(one: StateMap, room: float = 120, hover_cells: int = 300) -> str:
    """The planes of one map; see `maps_html`."""
    n_planes, _, n_columns = one.worst.shape
    each = room if n_planes == 1 else max(34.0, room / (1.6 if n_planes <= 4 else 2.4))
    width, height = plane_size(one.shape, one.aspect, each)
    hovers = one.worst.size <= hover_cells
    planes = []
    for plane in range(n_planes):
        picture = dashed_runs(one.worst[plane], _LOOKS, one.factors, width / n_columns)
        caption = _caption(one, plane)
        label = f'<div style="font-size:10px;opacity:.7">{escaped(caption, 24)}</div>'
        planes.append(
            '<div style="display:inline-block;margin:0 5px 3px 0;vertical-align:top;'
            'line-height:1.2">'
            f'<svg width="{width}" height="{height}" preserveAspectRatio="none" role="img" '
            f'viewBox="0 0 {one.shape[2]} {one.shape[1]}" style="display:block">{picture}'
            f"{_hover(one, plane) if hovers else ''}</svg>{label if caption else ''}</div>"
        )
    return "".join(planes)


def _caption(one: StateMap, plane: int) -> str:
    slab = one.factors[0]
    return one.folding.plane_title(plane * slab, min((plane + 1) * slab, one.shape[0]))


def _hover(one: StateMap, plane: int) -> str:
    """Invisible squares that say what is beneath them."""
    slab, down, across = one.factors
    squares = []
    for (row, column), state in np.ndenumerate(one.worst[plane]):
        top, left = row * down, column * across
        bottom, right = min(top + down, one.shape[1]), min(left + across, one.shape[2])
        where = one.folding.where(
            (plane * slab, min((plane + 1) * slab, one.shape[0])), (top, bottom), (left, right)
        )
        some = "" if max(one.factors) == 1 else "some "
        squares.append(
            f'<path d="M{left} {top}h{right - left}v{bottom - top}h{left - right}z">'
            f"<title>{escaped(where, 80)}: {some}{State(state).label}</title></path>"
        )
    return f'<g class="lw-g" fill="#000" fill-opacity="0">{"".join(squares)}</g>'


def _note(one: StateMap) -> str:
    """What a square stands for, where that is more than one unit."""
    slab, down, across = one.factors
    if max(one.factors) == 1:
        return ""
    planes = f" of {slab} planes" if slab > 1 else ""
    return f"a square is {down} × {across} units{planes}, in the most urgent state of any"
