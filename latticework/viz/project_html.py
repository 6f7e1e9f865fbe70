"""A project as a notebook shows it: bars, a map of states for each stage, and what is wrong."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from latticework.lattice.states import State
from latticework.viz.html import escaped, linked
from latticework.viz.lattice_facts import lattice_title
from latticework.viz.stage_bars import StageBar, bars_html
from latticework.viz.state_maps import StateMap, maps_html
from latticework.viz.summary import failure_table, summary_text
from latticework.viz.words import plural

if TYPE_CHECKING:
    from latticework.project.pipeline import Node
    from latticework.project.project import Project

MOST_BYTES = 95_000
"""A project is never more HTML than this, however many tiles and stages it has."""
_CELLS = 9_000
_FEWEST = 40
_GROUPED = 2_000
_LISTED = 8


def maps_of(
    nodes: "Iterable[Node]", *, cells: int = 1200, planes: int = 12, whole: bool = False
) -> dict[str, StateMap]:
    """A map for each stage that has several units.

    Parameters
    ----------
    nodes
        Stages with their states.
    cells, planes
        Squares and planes of a map at most.
    whole
        Whether stages of which every unit is complete have one as well.
    """
    return {
        node.name: StateMap.of(node.lattice, node.units.state, cells=cells, planes=planes)
        for node in nodes
        if len(node.units) > 1 and (whole or node.units.tally[State.COMPLETE] < node.units.present)
    }


def project_html(project: "Project", title: str = "") -> str:
    """See `Project._repr_html_`: self-contained, without scripts, escaped, below 100 kB.

    Parameters
    ----------
    project
        The project.
    title
        Another title than its name.
    """
    nodes = list(project.pipeline)
    title = title or f"Project {project.name}"
    if not nodes:
        return bars_html([], title=escaped(title), foot=escaped(f"in {project.path}", 400)) + (
            project.lattice._repr_html_()
        )
    bars = [StageBar(n.name, n.units.count(), note=_note(project, n.name)) for n in nodes]
    wrong = what_is_wrong(project, nodes)
    cells = _CELLS
    while True:
        each = max(_FEWEST, cells // len(nodes))
        maps = maps_of(nodes, cells=each, whole=True) if _begun(nodes) else {}
        hovers = min(300, cells // (8 * len(nodes)))
        drawn = maps_html(maps, room=_room(len(maps)), hover_cells=hovers)
        page = bars_html(
            bars,
            title=f"{escaped(title)} <small>{_doing(project)}</small>",
            after=f"{drawn}{wrong}{_about(project)}",
        )
        if len(page.encode()) <= MOST_BYTES or cells < _FEWEST:
            return page
        cells //= 2


def project_text(project: "Project") -> str:
    """A project in a few lines of plain text: its stages, and what failed."""
    from latticework.project.failing import count_failed, failures_among

    nodes = list(project.pipeline)
    n_failed = count_failed(nodes)
    groups = failures_among(project, nodes, most=_GROUPED) if n_failed else ()
    return summary_text(
        {node.name: node.units.count() for node in nodes},
        title=f"Project {project.name} at {project.path}",
        failures=[one.as_shown() for one in groups],
        n_failures=n_failed,
        limit=_LISTED,
    )


def _begun(nodes: "Iterable[Node]") -> bool:
    """Whether anything has happened to any unit: else all maps are blank."""
    return any(node.units.tally[State.WAITING] < node.units.present for node in nodes)


def run_html(project: "Project", error: BaseException | None) -> str:
    """A run in the background as it goes on, or the error that ended it."""
    said = "" if error is None else f"{type(error).__name__}: {error}"
    title = f"Run of {project.name}" + (f" ended with {said}" if said else "")
    return project_html(project, title)


def what_is_wrong(project: "Project", nodes: "Iterable[Node]") -> str:
    """Failures by stage and message, and whatever else needs somebody, as HTML."""
    from latticework.project.failing import count_failed, failures_among
    from latticework.project.summary import RETRY

    nodes = list(nodes)
    n_failed = count_failed(nodes)
    groups = failures_among(project, nodes, most=_GROUPED) if n_failed else ()
    table = failure_table([one.as_shown() for one in groups[:_LISTED]], n_failed, RETRY)
    return table + "".join(
        f'<div class="lw-m">{escaped(line, 300)}</div>' for line in _care(project)
    )


def _care(project: "Project") -> list[str]:
    """What needs somebody, besides failures."""
    lines = [project.outage] if project.outage else []
    lines += [
        f"stage {name!r} has paused itself: {why}. When the cause is gone: project.resume({name!r})"
        for name, why in project.settings.gave_up.items()
    ]
    unread = len(project.lattice.problems)
    return [*lines, f"{plural(unread, 'tile')} cannot be read"] if unread else lines


def _note(project: "Project", stage: str) -> str:
    return "paused" if project.settings.holds(stage) else ""


def _doing(project: "Project") -> str:
    """Whether it runs, and where its pages are."""
    link = dashboard_link(project)
    if link:
        return f"runs; dashboard: {linked(link)}"
    if project.running:
        return "runs"
    return "runs in another process" if project.lock().is_taken() else ""


def dashboard_link(project: "Project") -> str:
    """Address of the project's pages on the dashboard of the run of this process, or empty."""
    pages = project.page_links if project.running else None
    return pages.links[0] if pages is not None and pages.links else ""


def _about(project: "Project") -> str:
    text = f"{lattice_title(project.lattice)}; in {project.path}"
    return f'<div class="lw-m" style="margin-top:.4em">{escaped(text, 400)}</div>'


def _room(n_maps: int) -> float:
    """CSS pixels for the longer side of a map."""
    return 150 if n_maps <= 3 else 120 if n_maps <= 8 else 84
