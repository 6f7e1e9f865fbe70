"""One entry for every picture of a project."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latticework.errors import ProjectError
from latticework.lattice import Lattice
from latticework.viz.plots import chosen
from latticework.viz.positions import PLACES, positioned
from latticework.viz.states import Theme

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from latticework.project.project import Project
    from latticework.viz.links_map import Colour
    from latticework.viz.placed import Placed

LINKS = "links"
"""Stage of a stitching that says how tiles lie to each other."""


def plot_of_project(project: "Project", what: str, options: Mapping[str, Any]) -> "Figure":
    """A picture of a project; see `Project.plot`.

    Raises
    ------
    ProjectError
        If there is no such picture, or nothing to draw yet.
    """
    kinds: dict[str, Callable[..., Any]] = {
        "states": _states,
        "planes": _planes,
        "previews": _previews(),
        "positions": _positions,
        "links": _links,
        "residuals": _residuals,
    }
    drawn: Figure = chosen(kinds, what, options, "a project", ProjectError)(project, **options)
    return drawn


def _states(
    project: "Project",
    *,
    stage: str | None = None,
    title: str = "",
    theme: Theme = "light",
    path: Path | str | None = None,
) -> "Figure":
    """Every stage's states plane by plane, or those of one stage."""
    from latticework.viz.status_plot import plot_status

    of = project if stage is None else project[stage]
    return plot_status(of, path, title=title, theme=theme)


def _planes(
    project: "Project",
    *,
    names: bool | None = None,
    order: bool | None = None,
    theme: Theme = "light",
    path: Path | str | None = None,
) -> "Figure":
    """The tiles of each plane at their nominal positions."""
    from latticework.viz.lattice_plot import plot_lattice

    return plot_lattice(project.lattice, names=names, order=order, theme=theme, path=path)


def _positions(
    project: "Project",
    *,
    found: Any = "solved",
    planes: int = 6,
    theme: Theme = "light",
    path: Path | str | None = None,
) -> "Figure":
    """Where tiles were found beside where they nominally are."""
    from latticework.viz.positions_plot import plot_positions

    lattice = project.lattice
    other = positioned(project, lattice, found)
    return plot_positions(lattice, other, planes=planes, theme=theme, path=path)


def _links(
    project: "Project",
    *,
    placement: "Placed | None" = None,
    colour: "Colour" = "residual",
    planes: int = 6,
    theme: Theme = "light",
    path: Path | str | None = None,
) -> "Figure":
    """The map of links between tiles."""
    from latticework.viz.links_map import plot_links

    placed = placed_in(project) if placement is None else placement
    return plot_links(placed, colour=colour, planes=planes, theme=theme, path=path)


def _residuals(
    project: "Project",
    *,
    placement: "Placed | None" = None,
    theme: Theme = "light",
    path: Path | str | None = None,
) -> "Figure":
    """How well links agree."""
    from latticework.viz.residuals_plot import plot_residuals

    links = _table(project, LINKS) if placement is None else placement.links
    return plot_residuals(links, theme=theme, path=path)


def _previews() -> Callable[..., Any]:
    from latticework.viz.preview_plot import plot_previews

    return plot_previews


@dataclass(frozen=True, slots=True)
class PlacedTiles:
    """What the tables of a project say of where its tiles lie; see `placed.Placed`."""

    lattice: Lattice
    """With the positions that were found."""
    tiles: "pd.DataFrame"
    """A row for each tile."""
    links: "pd.DataFrame"
    """A row for each link."""


def placed_in(project: "Project") -> PlacedTiles:
    """Where a stitching in this project has placed its tiles so far.

    Raises
    ------
    ProjectError
        If there is none, or it has not come so far.
    """
    tiles, links = _table(project, PLACES), _table(project, LINKS)
    return PlacedTiles(positioned(project, project.lattice, "solved"), tiles, links)


def _table(project: "Project", stage: str) -> "pd.DataFrame":
    if stage not in project.pipeline.nodes:
        raise ProjectError(
            f"nothing in this project has compared its tiles: `latticework.stitch.stitch` (or "
            f"`latticework stitch`) makes the stage {stage!r} that this plot shows. Else give "
            "placement=, what `place` returned"
        )
    table: pd.DataFrame = project[stage].tile()
    return table


__all__ = ["PlacedTiles", "placed_in", "plot_of_project"]
