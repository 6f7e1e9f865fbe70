"""Why a unit is in the state it is in."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.lattice.lattice import Lattice
from latticework.lattice.states import State
from latticework.project.delays import wait_left_s
from latticework.project.deriving import beyond, inputs_read
from latticework.project.pipeline import SOURCE, Edge, Node
from latticework.project.pool_facts import what_it_waits_for
from latticework.project.settings import inside
from latticework.project.units import MOST_TRIES
from latticework.project.verifying import not_mended
from latticework.stages.lattices import TILES

if TYPE_CHECKING:
    from latticework.project.folder import ProjectFolder

LISTED = 3


def why(
    project: "ProjectFolder", stage: str, id: int | str | None, labels: Mapping[str, Any]
) -> str:
    """See `Project.why`."""
    node = project.pipeline[stage]
    unit = project.unit_row(node, id, labels)
    state = State(int(node.units.state[unit]))
    if node.name == SOURCE:
        return _source(project, node, unit, state)
    if state == State.COMPLETE:
        return _complete(node, unit)
    explain = {
        State.FAILED: _failed,
        State.BLOCKED: _blocked,
        State.STALE: _stale,
        State.WAITING: _waiting,
        State.ABSENT: _absent,
    }.get(state)
    if explain is None:
        return {
            State.QUEUED: "queued: sent to the workers, none has begun it yet",
            State.RUNNING: "running: a worker computes it now",
            State.CANCELLED: f"cancelled by a user; project.retry({node.name!r}) lets it run again",
        }[state]
    return explain(project, node, unit)


def _source(project: "ProjectFolder", node: Node, unit: int, state: State) -> str:
    """Why a tile of the acquisition is as it is."""
    if state == State.FAILED:
        return f"cannot be read: {project.lattice.problems.get(unit)}"
    if state == State.ABSENT:
        return _absent(project, node, unit)
    if state == State.WAITING:
        return "waiting: the microscope has announced it, but it is not there yet"
    return "complete: the tile is there"


def _absent(project: "ProjectFolder", node: Node, unit: int) -> str:
    """Why there is no such unit."""
    if node.key == TILES:
        reason = _out_of_scope(project, unit)
        if reason is not None:
            return f"absent: {reason}"
    if node.name == SOURCE:
        return "absent: it was announced, but had not come when the acquisition ended"
    for edge in node.edges:
        _, read = edge.dependency.inputs(np.array([unit]))
        gone = project.pipeline[edge.parent].units.state[read] == State.ABSENT
        if edge.reads.missing == "absent" and edge.declared is not None:
            missing = edge.declared - int(np.count_nonzero(~gone))
            if missing:
                return (
                    f"absent: it reads neighbours of {edge.parent!r}, of which {missing} "
                    'are not there (missing="absent"); it runs when they are'
                )
        if gone.all():
            return f"absent: nothing of {edge.parent!r} that it reads is there"
    return "absent: there is no such tile"


def _out_of_scope(project: "ProjectFolder", unit: int) -> str | None:
    """Why a tile does not take part, or None if it does."""
    lattice, settings = project.lattice, project.settings
    for dim, labels in settings.skipped.items():
        label = lattice.labels[dim][lattice.index[unit, lattice.dims.index(dim)]]
        if label in labels:
            axis = dim.removeprefix("tile_")
            return (
                f"the plane {axis}={label} is skipped; project.unskip({axis}={label}) takes it in"
            )
    if settings.region and not inside(lattice, settings.region)[unit]:
        return "it is outside of the region; project.choose_region() takes all tiles in"
    presence = project.pipeline[SOURCE].presence
    if presence is not None and presence[unit] == State.ABSENT:
        return "the tile was withdrawn; project.reinstate takes it in again"
    if presence is not None and presence[unit] == State.WAITING and settings.over:
        return "the tile was announced, but had not come when the acquisition ended"
    return None


def _complete(node: Node, unit: int) -> str:
    units = node.units
    attempt = int(units.published[unit])
    return f"complete: attempt {attempt} took {float(units.duration_s[unit]):.3g} s"


def _failed(project: "ProjectFolder", node: Node, unit: int) -> str:
    error = project.last_error(node, unit)
    return (
        f"failed{_times(node, unit)}: {error}. See project.attempts({node.name!r}, {unit}) for the "
        f"traceback; project.retry({node.name!r}) lets it run again"
    )


def _times(node: Node, unit: int) -> str:
    """How often a unit failed since it completed or was changed, with a space in front.

    Empty where it was told to have failed, whatever it had done before.
    """
    n = int(node.units.tries[unit])
    if n in (0, MOST_TRIES):
        return ""
    return {1: " once", 2: " twice"}.get(n, f" {n} times")


def _blocked(project: "ProjectFolder", node: Node, unit: int) -> str:
    reasons = [
        _input_reason(project, parent, read)
        for parent, read in _inputs(project, node, unit)
        if parent.units.state[read] in (State.FAILED, State.CANCELLED, State.BLOCKED)
    ]
    return f"blocked: it reads {_some(reasons)}"


def _stale(project: "ProjectFolder", node: Node, unit: int) -> str:
    waiting = _incomplete(project, node, unit)
    if waiting:
        return f"stale: it reads {_some(waiting)}, which will be made again first"
    held = _waits_for_tiles(project, node, unit)
    if held:
        return f"stale: {held}"
    if project.outage:
        return f"stale: it runs again later; {project.outage}"
    if node.name in project.settings.gave_up:
        return f"stale, and {_gave_up(project, node)}"
    if project.settings.holds(node.name):
        what = "the project" if project.settings.paused else f"stage {node.name!r}"
        return f"stale, and {what} is paused: it runs again when that is resumed"
    if unit in not_mended(project, node):
        reason = "its file was found damaged"
    elif not node.units.fingerprint[unit]:
        reason = "it was told to run again"
    else:
        reason = "its code, its parameters or something it read has changed since it was made"
    if project.is_run():
        return f"stale: {reason}; {what_it_waits_for(project, node.needs)}"
    return f"stale: {reason}; it runs again in the next run"


def _waiting(project: "ProjectFolder", node: Node, unit: int) -> str:
    waiting = _incomplete(project, node, unit)
    if waiting:
        return f"waiting for {_some(waiting)}"
    open_end = _waits_for_tiles(project, node, unit)
    if open_end:
        return f"waiting: {open_end}"
    if node.missing and not project.is_run():
        return f"waiting: {node.missing}"
    if node.name in project.settings.gave_up:
        return f"ready to run, but {_gave_up(project, node)}"
    if node.units.tries[unit]:
        error, left = project.last_error(node, unit), wait_left_s(node, unit, time.time())
        if left:
            from latticework.viz.words import seconds

            return f"failed{_times(node, unit)}: {error}; tried again in {seconds(left)}"
        return f"waiting to be tried again, after it failed{_times(node, unit)}: {error}"
    if project.outage:
        return f"ready to run, but {project.outage}"
    if project.settings.holds(node.name):
        what = "the project" if project.settings.paused else f"stage {node.name!r}"
        name = "" if project.settings.paused else repr(node.name)
        return f"ready to run, but {what} is paused; project.resume({name}) lets it go on"
    holder = (
        "nothing runs this project now"
        if not project.is_run()
        else what_it_waits_for(project, node.needs)
    )
    return f"ready to run: {holder}"


def _gave_up(project: "ProjectFolder", node: Node) -> str:
    """That a stage has paused itself, and what lets it go on."""
    return (
        f"stage {node.name!r} has paused itself: {project.settings.gave_up[node.name]}; "
        f"project.resume({node.name!r}) lets it go on"
    )


def _waits_for_tiles(project: "ProjectFolder", node: Node, unit: int) -> str:
    """What of the acquisition, which goes on, a unit waits for; empty if for nothing."""
    if not project.pipeline.open:
        return ""
    until = "it waits for one, or for the end of the acquisition (project.end_acquisition())"
    for edge in node.edges:
        if edge.optional:
            continue
        if edge.gathers:
            return (
                f"it reads {edge.reads.pattern} of {edge.parent!r}, and more may come until the "
                "acquisition has ended (project.end_acquisition())"
            )
        if edge.declared is not None and edge.reads.missing == "wait":
            _, read = inputs_read(project.pipeline, edge, np.array([unit]))
            if len(read) < edge.declared:
                places = _missing_places(project, edge, unit)
                if places:
                    return f"it reads {edge.parent!r} at {places}, where there is no tile: {until}"
    return ""


def _missing_places(project: "ProjectFolder", edge: Edge, unit: int) -> str:
    """Where tiles may still come that a unit reads, as labels; empty if nowhere."""
    depends = edge.dependency
    lattice, offsets = depends.lattice, depends.offsets  # type: ignore[attr-defined]
    never = beyond(project.pipeline, edge, np.array([unit]))[0]
    _, read = inputs_read(project.pipeline, edge, np.array([unit]))
    there = {tuple(index) for index in lattice.index[read].tolist()}
    places = []
    for offset in offsets[~never].tolist():
        index = tuple((lattice.index[unit] + offset).tolist())
        if index not in there:
            places.append(_place(lattice, index))
    return ", ".join(places[:LISTED]) + (
        f" and {len(places) - LISTED} more places" if len(places) > LISTED else ""
    )


def _place(lattice: Lattice, index: tuple[int, ...]) -> str:
    """Labels at a grid position, also one beyond the ends of the lattice."""
    parts = []
    for dim, k in zip(lattice.dims, index, strict=True):
        labels = lattice.labels[dim]
        if 0 <= k < len(labels):
            shown = str(labels[k])
        elif labels.dtype.kind in "iu":
            shown = str(int(labels[0]) + k)
        else:
            shown = "(beyond the last)" if k > 0 else "(before the first)"
        parts.append(f"{dim.removeprefix('tile_')}={shown}")
    return f"({', '.join(parts)})"


def _inputs(project: "ProjectFolder", node: Node, unit: int) -> list[tuple[Node, int]]:
    found = []
    for edge in node.edges:
        _, read = inputs_read(project.pipeline, edge, np.array([unit]))
        parent = project.pipeline[edge.parent]
        found += [(parent, int(k)) for k in read]
    return found


def _incomplete(project: "ProjectFolder", node: Node, unit: int) -> list[str]:
    return [
        _input_reason(project, parent, read)
        for parent, read in _inputs(project, node, unit)
        if parent.units.state[read] != State.COMPLETE
    ]


def _input_reason(project: "ProjectFolder", parent: Node, unit: int) -> str:
    tile = parent.lattice.tile(unit)
    what = (
        f"{parent.name!r}" if parent.reduction else f"{parent.name!r} at {tile.name} {tile.address}"
    )
    state = State(int(parent.units.state[unit]))
    if parent.name == SOURCE and state == State.FAILED:
        return f"{what}, which cannot be read: {tile.problem}"
    if parent.name == SOURCE and state == State.WAITING:
        return f"{what}, which the microscope has announced but not brought yet"
    if state == State.FAILED:
        return f"{what}, which failed{_times(parent, unit)}: {project.last_error(parent, unit)}"
    if state == State.BLOCKED:
        return f"{what}, which is {_blocked(project, parent, unit)}"
    return f"{what}, which is {state.label}"


def _some(reasons: list[str]) -> str:
    shown = "; and ".join(reasons[:LISTED])
    return shown + (f"; and {len(reasons) - LISTED} more" if len(reasons) > LISTED else "")
