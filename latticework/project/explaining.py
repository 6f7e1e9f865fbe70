"""Why a unit is in the state it is in."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.lattice.states import State
from latticework.project.pipeline import SOURCE, Node

if TYPE_CHECKING:
    from latticework.project.project import Project

LISTED = 3


def why(project: "Project", stage: str, id: int | str | None, labels: Mapping[str, Any]) -> str:
    """See `Project.why`."""
    node = project.pipeline[stage]
    unit = project.unit_row(node, id, labels)
    if node.name == SOURCE:
        problem = project.lattice.problems.get(unit)
        return "complete: the tile is there" if problem is None else f"cannot be read: {problem}"
    state = State(int(node.units.state[unit]))
    if state == State.COMPLETE:
        return _complete(node, unit)
    explain = {
        State.FAILED: _failed,
        State.BLOCKED: _blocked,
        State.STALE: _stale,
        State.WAITING: _waiting,
    }.get(state)
    if explain is None:
        return {
            State.ABSENT: "absent: there is no such tile",
            State.QUEUED: "queued: sent to the workers, none has begun it yet",
            State.RUNNING: "running: a worker computes it now",
            State.CANCELLED: "cancelled by a user",
        }[state]
    return explain(project, node, unit)


def _complete(node: Node, unit: int) -> str:
    units = node.units
    attempt = int(units.published[unit])
    return f"complete: attempt {attempt} took {float(units.duration_s[unit]):.3g} s"


def _failed(project: "Project", node: Node, unit: int) -> str:
    times = int(node.units.attempts[unit])
    error = project.last_error(node, unit)
    return (
        f"failed {_times(times)}: {error}. See project.attempts({node.name!r}, {unit}) for the "
        f"traceback; project.retry({node.name!r}) lets it run again"
    )


def _times(n: int) -> str:
    return {1: "once", 2: "twice"}.get(n, f"{n} times")


def _blocked(project: "Project", node: Node, unit: int) -> str:
    reasons = [
        _input_reason(project, parent, read)
        for parent, read in _inputs(project, node, unit)
        if parent.units.state[read] in (State.FAILED, State.CANCELLED, State.BLOCKED)
    ]
    return f"blocked: it reads {_some(reasons)}"


def _stale(project: "Project", node: Node, unit: int) -> str:
    waiting = _incomplete(project, node, unit)
    if waiting:
        return f"stale: it reads {_some(waiting)}, which will be made again first"
    if not node.units.fingerprint[unit]:
        return "stale: it was told to run again, and will in the next run"
    return (
        "stale: its code, its parameters or something it read has changed since it was made; "
        "it runs again in the next run"
    )


def _waiting(project: "Project", node: Node, unit: int) -> str:
    waiting = _incomplete(project, node, unit)
    if waiting:
        return f"waiting for {_some(waiting)}"
    if node.missing and not project.is_run():
        return f"waiting: {node.missing}"
    if node.units.tries[unit]:
        error = project.last_error(node, unit)
        times = _times(int(node.units.tries[unit]))
        return f"waiting to be tried again after {times} failing: {error}"
    holder = (
        "nothing runs this project now"
        if not project.is_run()
        else "it will be sent when there is room"
    )
    return f"ready to run: {holder}"


def _inputs(project: "Project", node: Node, unit: int) -> list[tuple[Node, int]]:
    found = []
    for edge, name in zip(node.dependencies, node.parents, strict=True):
        _, read = edge.inputs(np.array([unit]))
        parent = project.pipeline[name]
        found += [(parent, int(k)) for k in read]
    return found


def _incomplete(project: "Project", node: Node, unit: int) -> list[str]:
    return [
        _input_reason(project, parent, read)
        for parent, read in _inputs(project, node, unit)
        if parent.units.state[read] != State.COMPLETE
    ]


def _input_reason(project: "Project", parent: Node, unit: int) -> str:
    tile = parent.lattice.tile(unit)
    what = (
        f"{parent.name!r}" if parent.reduction else f"{parent.name!r} at {tile.name} {tile.address}"
    )
    state = State(int(parent.units.state[unit]))
    if parent.name == SOURCE:
        return f"{what}, which cannot be read: {tile.problem}"
    if state == State.FAILED:
        times = _times(int(parent.units.attempts[unit]))
        return f"{what}, which failed {times}: {project.last_error(parent, unit)}"
    if state == State.BLOCKED:
        return f"{what}, which is {_blocked(project, parent, unit)}"
    return f"{what}, which is {state.label}"


def _some(reasons: list[str]) -> str:
    shown = "; and ".join(reasons[:LISTED])
    return shown + (f"; and {len(reasons) - LISTED} more" if len(reasons) > LISTED else "")
