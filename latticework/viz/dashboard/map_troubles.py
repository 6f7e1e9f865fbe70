"""Units that are not well, as links: for keyboards, and so that no colour has to be found."""

from collections.abc import Callable, Sequence

import numpy as np

from latticework.lattice.states import State
from latticework.viz.dashboard.feed import StageNow
from latticework.viz.dashboard.map_axes import MapAxes
from latticework.viz.dashboard.map_colours import Colours
from latticework.viz.dashboard.map_hover import Pointed, pointed_at
from latticework.viz.dashboard.map_legend import state_key
from latticework.viz.dashboard.map_painting import Painting
from latticework.viz.dashboard.parts import short_name
from latticework.viz.folding import axis_name
from latticework.viz.html import escaped

MOST_LINKS = 12
"""Units that are listed, and planes."""
TROUBLE = (State.FAILED, State.BLOCKED, State.CANCELLED)
"""States of units that are listed."""


def troubled_cells(painting: Painting) -> list[tuple[int, int, int]]:
    """Panes, rows and columns of the first cells that failed, are blocked or cancelled."""
    combination = painting.scene.combination
    found: list[tuple[int, int, int]] = []
    for state in TROUBLE:
        codes = (
            [int(state)]
            if combination is None
            else [k for k, said in enumerate(combination.standings) if said.state == state]
        )
        for number, (plane, counts) in enumerate(zip(painting.codes, painting.counts, strict=True)):
            for code in codes:
                if not counts[code] or len(found) >= MOST_LINKS:
                    continue
                where = np.flatnonzero((plane == code).reshape(-1))[: MOST_LINKS - len(found)]
                found += [(number, *divmod(int(k), plane.shape[1])) for k in where]
    return found


def failed_places(stages: Sequence[StageNow], axes: MapAxes, dim: str) -> list[int]:
    """Places along a dim at which some unit of some stage has failed.

    Parameters
    ----------
    stages
        Stages whose units are on the lattice of `axes`.
    axes
        A plane of it.
    dim
        The dim.
    """
    number = axes.dims.index(dim)
    others = tuple(k for k in range(len(axes.dims)) if k != number)
    found = np.zeros(axes.sizes[number], bool)
    for stage in stages:
        if stage.count(State.FAILED):
            found |= (stage.states == State.FAILED).any(axis=others)
    return [int(place) for place in np.flatnonzero(found)]


def troubles_html(
    painting: Painting,
    colours: Colours,
    link: Callable[[Pointed], str],
    plane_link: Callable[[str, str], str],
) -> str:
    """The first units that are not well, and other planes on which some have failed.

    Parameters
    ----------
    painting
        What is shown.
    colours
        Colours of the states.
    link
        The address of a unit's page, escaped.
    plane_link
        The address of the map at a label along a dim, escaped.
    """
    several = len(painting.scene.panes) > 1 or painting.scene.combination is not None
    rows = []
    for cell in troubled_cells(painting):
        found = pointed_at(painting, *cell)
        if found.shown is not None:
            name, _, state = found.shown
            what = f"{short_name(name, 14)} {state.label}" if several else state.label
            rows.append(
                "<tr><td class='nowrap' style='width:100%'>"
                f"<a href='{link(found)}'>{short_name(found.name, 15 if several else 24)}</a></td>"
                f"<td class='nowrap'>{state_key(state, colours)}{what}</td></tr>"
            )
    here = f"<h2>Not well on this plane</h2><table>{''.join(rows)}</table>" if rows else ""
    return here + _other_planes(painting, plane_link)


def _other_planes(painting: Painting, plane_link: Callable[[str, str], str]) -> str:
    """Links to other planes on which some unit has failed."""
    found = ""
    for pane in painting.scene.panes[:1]:
        for dim in pane.axes.others:
            places = failed_places(pane.stages, pane.axes, dim)
            labels = [pane.lattice.labels[dim][k] for k in places if k != pane.axes.place(dim)]
            if labels:
                links = ", ".join(
                    f"<a href='{plane_link(dim, str(label))}'>{escaped(label, 24)}</a>"
                    for label in labels[:MOST_LINKS]
                )
                more = f" and {len(labels) - MOST_LINKS:,} more" if len(labels) > MOST_LINKS else ""
                found += f"<p>failed at {escaped(axis_name(dim))} {links}{more}</p>"
    return f"<h3>Elsewhere</h3>{found}" if found else ""
