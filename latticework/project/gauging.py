"""The keep-up gauge of a project, from its journal."""

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.errors import LatticeworkError
from latticework.lattice.states import State
from latticework.project.deriving import held_until_end
from latticework.project.flow import GRAINS, Flow
from latticework.project.keeping_up import KeepingUp, keeping_up
from latticework.project.moments import interval_s
from latticework.project.pipeline import SOURCE

if TYPE_CHECKING:
    from latticework.project.project import Project

OLDER = 200
"""Completions before the window that are looked at, for their bytes."""


def gauge(project: "Project", *, window: Any = "10min", now: float | None = None) -> KeepingUp:
    """See `Project.keeping_up`.

    Parameters
    ----------
    project
        The project; it may run here, elsewhere, or not at all.
    window
        The recent past over which rates are taken.
    now
        Seconds since 1970; the present of a project that runs, and for one that does not the time
        at which it last did anything.
    """
    window_s = interval_s(window)
    if now is None:
        now = time.time() if project.is_run() else last_moment(project)
    nodes = list(project.pipeline)
    there, announced = tiles_so_far(project)
    return keeping_up(
        now,
        there,
        arrivals_of(project, window_s, now),
        completions_of(project, [(node.name, node.id) for node in nodes], window_s, now),
        {node.name: node.units.count() for node in nodes},
        held={name: len(units) for name, units in held_until_end(project.pipeline).items()},
        disk_free_bytes=free_bytes(project.path),
        arrivals_on_disk=on_same_disk(project),
        announced=announced,
    )


def tiles_so_far(project: "Project") -> tuple[int, int]:
    """Tiles that have come, and those that are announced and not there yet."""
    source = project.pipeline[SOURCE]
    assert source.presence is not None
    never = int(np.count_nonzero(source.presence == State.WAITING))
    return len(project.lattice) - never, int(source.units.tally[State.WAITING])


def last_moment(project: "Project") -> float:
    """When anything was last done or arrived; now, if nothing ever was."""
    sql = "select (select max(ended) from attempts), (select max(at) from arrivals)"
    moments = [moment for moment in project.query(sql)[0] if moment is not None]
    return max(moments, default=time.time())


def arrivals_of(project: "Project", window_s: float, now: float) -> Flow:
    """Tiles that arrived."""
    flow = Flow(window_s)
    begin = now - window_s
    old = "select min(at), sum(units), sum(bytes) from arrivals where at < ?"
    first, units, n_bytes = project.query(old, (begin,))[0]
    if first is not None:
        flow.add(first, units, n_bytes)
    recent = "select at, units, bytes from arrivals where at >= ? and at <= ? order by at"
    for at, units, n_bytes in project.query(recent, (begin, now)):
        flow.add(at, units, n_bytes)
    return flow


def completions_of(
    project: "Project", stages: list[tuple[str, int]], window_s: float, now: float
) -> dict[str, Flow]:
    """Units that each stage completed, by its name; `stages` are names and ids."""
    flows = {number: Flow(window_s) for _, number in stages}
    begin, grain = now - window_s, window_s / GRAINS
    old = (
        "select min(ended), count(*), sum(coalesce(bytes_written, 0)) from "
        "(select ended, bytes_written from attempts where stage = ? and outcome = 1 "
        "and +ended < ? limit ?)"
    )
    for number, flow in flows.items():
        first, units, n_bytes = project.query(old, (number, begin, OLDER))[0]
        if first is not None:
            flow.add(first, units, n_bytes)
    recent = (
        "select +stage, cast(ended / ? as integer), min(ended), count(*), "
        "sum(coalesce(bytes_written, 0)) from attempts "
        "where outcome = 1 and ended >= ? and ended <= ? group by 1, 2 order by 2"
    )
    for number, _, at, units, n_bytes in project.query(recent, (grain, begin, now)):
        if number in flows:
            flows[number].add(at, units, n_bytes)
    return {name: flows[number] for name, number in stages}


def free_bytes(path: Path) -> int | None:
    """Bytes free where a folder lies; None where nobody can tell."""
    try:
        return shutil.disk_usage(path).free
    except OSError:
        return None


def on_same_disk(project: "Project") -> bool:
    """Whether the acquisition's files lie on the disk of the project."""
    path = getattr(project.lattice.source, "path", None)
    if not callable(path) or not len(project.lattice):
        return False
    try:
        return Path(path(0)).stat().st_dev == project.path.stat().st_dev
    except (OSError, TypeError, LatticeworkError):
        return False
