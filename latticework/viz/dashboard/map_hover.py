"""What the map says of the cell under the pointer."""

from dataclasses import dataclass

from latticework.lattice import views
from latticework.lattice.lattice import Lattice
from latticework.lattice.states import State
from latticework.viz.dashboard.map_colours import Colours
from latticework.viz.dashboard.map_legend import state_key
from latticework.viz.dashboard.map_painting import Painting
from latticework.viz.folding import axis_name
from latticework.viz.html import escaped


@dataclass(frozen=True, slots=True)
class Pointed:
    """A cell of the map, and what is there."""

    pane: int
    """Number of the pane."""
    row: int
    """Row of its plane."""
    column: int
    """Column of its plane."""
    unit: int
    """Id of the unit; -1 where there is none."""
    name: str
    """Name of the tile."""
    labels: tuple[tuple[str, str], ...]
    """Its labels by dim."""
    states: tuple[tuple[str, State], ...]
    """Stages, and their states."""
    stage: int
    """Which of them the cell shows."""

    @property
    def shown(self) -> tuple[str, int, State] | None:
        """The stage that the cell shows, its unit and its state."""
        if self.unit < 0 or not self.states:
            return None
        name, state = self.states[self.stage]
        return name, self.unit, state


def pointed_at(painting: Painting, number: int, row: int, column: int) -> Pointed:
    """What is in a cell of a painting."""
    pane = painting.scene.panes[number]
    where = pane.axes.index(row, column)
    unit = int(pane.lattice.id_grid[where])
    labels = tuple(
        (axis_name(dim), str(pane.lattice.labels[dim][place]))
        for dim, place in zip(pane.axes.dims, where, strict=True)
    )
    states: tuple[tuple[str, State], ...] = ()
    stage = 0
    if unit >= 0:
        states = tuple((stage.name, State(int(stage.states[where]))) for stage in pane.stages)
        if painting.scene.combination is not None:
            code = int(painting.codes[number][row, column])
            stage = max(0, painting.scene.combination.standings[code].stage)
    name = unit_name(pane.lattice, unit) if unit >= 0 else ""
    return Pointed(number, row, column, unit, name, labels, states, stage)


def unit_name(lattice: Lattice, unit: int) -> str:
    """Name of a tile; not those of all tiles for its sake.

    Examples
    --------
    >>> lattice = Lattice.from_grid({"y": 2, "x": 3}, tile_shape={"y": 8, "x": 8}, dtype="u2")
    >>> unit_name(lattice, 4)
    'y1_x1'
    """
    row = int(lattice.rows_of([unit])[0])
    if lattice.given_names is not None:
        return str(lattice.given_names[row])
    return views.made_name(lattice, row)


# -------------------------------------------------------------------- as HTML


def pointed_html(found: Pointed | None, states: Colours, reason: str, link: str) -> str:
    """What is under the pointer.

    Parameters
    ----------
    found
        The cell; None where the pointer is nowhere.
    states
        Colours of the states.
    reason
        Why it is in its state; empty while that is not known.
    link
        Address of the tile's page, escaped.
    """
    if found is None:
        return (
            "<h2>Under the pointer</h2><p class='faint'>Point at a tile to see its name, its "
            "state and why; click it to open its page. The wheel zooms, dragging moves.</p>"
        )
    labels = ", ".join(f"{escaped(dim, 20)} {escaped(label, 40)}" for dim, label in found.labels)
    if found.unit < 0:
        return f"<h2>No tile</h2><p class='faint'>{labels or 'none'}</p>"
    lines = "".join(
        f"<tr><td style='width:100%'>{'<b>' if k == found.stage else ''}{escaped(name, 40)}"
        f"{'</b>' if k == found.stage else ''}</td>"
        f"<td class='nowrap'>{state_key(state, states)}{state.label}</td></tr>"
        for k, (name, state) in enumerate(found.states)
    )
    title = f"<a href='{link}'>{escaped(found.name, 120)}</a>" if link else escaped(found.name, 120)
    why = f"<p style='overflow-wrap:anywhere'>{escaped(reason, 600)}</p>" if reason else ""
    return (
        f"<h2 style='overflow-wrap:anywhere'>{title}</h2><p class='faint'>{labels}</p>"
        f"{why}<table>{lines}</table>"
    )
