"""A run from the outside: a client, progress, Ctrl-C, the status array, and a summary."""

import contextlib
import json
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.errors import ProjectError, StageError
from latticework.io.growth_store import replacing
from latticework.lattice.states import State
from latticework.project.adding import definition_of
from latticework.project.coordinator import Coordinator
from latticework.project.deriving import standing_of
from latticework.project.desk import Desk
from latticework.project.feeding import Feed
from latticework.project.growing import grow_project, keep_by_id, tidy
from latticework.project.ledger import recover
from latticework.project.page_links import PageLinks
from latticework.project.pipeline import Node
from latticework.project.pool_kinds import opened
from latticework.project.pools import Pools, pools_of
from latticework.project.status_writer import StatusWriter
from latticework.project.steering import carry_out
from latticework.project.summary import FailedRow, RunSummary, group_failures
from latticework.project.telling import GRACE_S, Telling
from latticework.project.units import MOST_TRIES, Units
from latticework.stages.memory_watch import resident_bytes
from latticework.stages.order import dump
from latticework.stages.stage import fingerprint
from latticework.stages.worker import check_order

if TYPE_CHECKING:
    from distributed import Client

    from latticework.project.project import Project
    from latticework.viz.progress import Kind, Progress

LOOKED_AT = 100_000
"""Tiles up to which the files of the acquisition are looked at before a run."""
PATIENCE_S = 1.0
"""Seconds to wait for a process that holds the project to change something."""
LISTED = 20
"""Kinds of failures that a summary lists."""
GROUPED = 10_000
"""Failed units of a stage that a summary looks at."""


@dataclass(frozen=True, slots=True)
class Going:
    """How a run goes on when nothing is left to do."""

    stay: bool = False
    """Whether it waits for what users ask, until it is told to stop."""
    feed: Feed | None = None
    """Where tiles come from while it runs."""
    begun: Callable[[Coordinator], None] = lambda _coordinator: None
    """Called when the run has begun."""


def run_project(
    project: "Project",
    where: Any,
    *,
    stages: Iterable[str] | None,
    progress: Any,
    going: Going = Going(),
) -> RunSummary:
    """See `Project.run`."""
    if project.running:
        raise ProjectError("this project is running already, in this process")
    try:
        return _run_locked(project, where, stages, progress, going)
    finally:
        with contextlib.suppress(KeyboardInterrupt):  # who presses Ctrl-C does not want to wait
            project.hooks.wait()


def _run_locked(
    project: "Project", where: Any, stages: Iterable[str] | None, progress: Any, going: Going
) -> RunSummary:
    only = None if stages is None else [stages] if isinstance(stages, str) else list(stages)
    with project.lock().held(patience_s=PATIENCE_S):
        tidy(Desk(project), most=50)
        if going.feed is None:
            refresh_source(project)
        else:
            carry_out(Desk(project), "open acquisition", {"extents": going.feed.extents})
            project.close_writer()
            project.seen_now()
        if project.settings.live:
            keep_by_id(Desk(project))
        refresh_code(project)
        waits = going.stay or going.feed is not None
        chosen = chosen_nodes(project, only, may_be_none=waits)
        if not waits and not can_run(project, chosen):
            return nothing_to_run(project, chosen, progress)
        terminated: list[int] = []
        try:
            with opened(where, project.path) as pools:
                preflight(pools, chosen)
                summary = run_nodes(
                    *(project, pools, chosen, progress),
                    only=only,
                    going=going,
                    terminated=terminated,
                )
        except KeyboardInterrupt:  # before the run began: nothing is lost
            return summarise(project, 0.0, 0, interrupted=True)
        if terminated:
            signal.raise_signal(signal.SIGTERM)  # all has ended in good order; now do as told
        return summary


def can_run(project: "Project", chosen: Iterable[Node]) -> bool:
    """Whether any unit of these nodes could run now.

    Raises
    ------
    ProjectError
        If what they read is not complete, and is not among them.
    """
    open_states = (State.WAITING, State.STALE)
    waiting = [n for n in chosen if any(n.units.count().get(state) for state in open_states)]
    names = {node.name for node in waiting}
    for node in waiting:
        units = np.flatnonzero(np.isin(node.units.state, open_states))
        standing = standing_of(project.pipeline, node, units)
        if names & set(node.parents) or not (standing.waits | standing.blocked).all():
            return True
    if waiting:
        node = waiting[0]
        missing = [
            name
            for name in node.parents
            if any(project.pipeline[name].units.count().get(state) for state in open_states)
        ]
        if missing:
            raise ProjectError(
                f"stage {node.name!r} cannot run without {', '.join(map(repr, missing))}, which "
                f"is not complete: run it too (stages={[*missing, node.name]!r})"
            )
    return False


def nothing_to_run(project: "Project", chosen: list[Node], progress: Any) -> RunSummary:
    """The summary of a run for which no cluster is needed."""
    from latticework.viz.progress import make_progress

    shown = make_progress(progress)
    shown.start({node.name: node.units.present for node in chosen})
    for node in chosen:
        shown.update(node.name, node.units.count())
    StatusWriter(project).write(force=True)
    summary = summarise(project, 0.0, 0, interrupted=False)
    shown.finish(summary)
    return summary


def chosen_nodes(
    project: "Project", only: list[str] | None, *, may_be_none: bool = False
) -> list[Node]:
    """The nodes to run.

    Raises
    ------
    ProjectError
        If there are none, or the callable of one is not at hand.
    """
    nodes = list(project.pipeline) if only is None else [project.pipeline[name] for name in only]
    if not nodes and not may_be_none:
        raise ProjectError("there is no stage to run: add one with project.add")
    for node in nodes:
        todo = node.units.count()
        if node.missing and any(todo.get(state) for state in (State.WAITING, State.STALE)):
            raise ProjectError(f"stage {node.name!r} cannot run: {node.missing}")
    return [node for node in nodes if node.stage is not None]


def refresh_source(project: "Project") -> None:
    """Notice files of the acquisition that were replaced: what was made from them is stale.

    Looking at every file takes a while, so lattices of more than `LOOKED_AT` tiles are not looked
    at; `latticework.create` with ``exist_ok=True`` compares those as well.
    """
    source = project.lattice.source
    if source is None or not hasattr(source, "refreshed") or len(project.lattice) > LOOKED_AT:
        return
    now = source.refreshed()
    growth = replacing(project.lattice, now)
    if growth is not None:
        grow_project(Desk(project), growth)
        project.close_writer()
        project.seen_now()


def refresh_code(project: "Project") -> None:
    """Notice callables whose code changed since they were added: their units become stale."""
    changed = False
    for node in list(project.pipeline):
        recover(node)
        if node.stage is None:
            continue
        values = definition_of(node.stage, node.parents)
        if fingerprint(values) != node.fingerprint:
            node.definition, node.fingerprint = values, fingerprint(values)
            project.add_node(node, json.dumps(values))
            changed = True
    if changed:
        project.pipeline.derive()
        project.close_writer()
        project.seen_now()


def preflight(pools: Pools, nodes: Iterable[Node]) -> None:
    """See that the workers can use every stage before anything is sent.

    Raises
    ------
    ProjectError
        If no pool has what a stage needs, or workers have no memory for anything.
    StageError
        Naming the stage and the module that is missing.
    """
    pools.look()
    for node in nodes:
        pools.check(node.name, node.needs)
        assert node.stage is not None
        try:
            payload = dump((node.stage.function, dict(node.stage.params)), node.stage.function)
        except Exception as error:
            raise StageError(
                f"stage {node.name!r} cannot travel to the workers: {error}; give it what it needs "
                "as parameters instead of holding open files, locks or clients"
            ) from error
        try:
            for pool in pools.home(node.needs):
                first = list(pool.client.nthreads())[:1]
                if first:  # those of an elastic pool come when there is work
                    before = pool.client.run(resident_bytes, workers=first)
                    pool.client.run(check_order, payload, workers=first)
                    after = pool.client.run(resident_bytes, workers=first)
                    imported = max(0, sum(after.values()) - sum(before.values()))
                    pool.see_idle(replace(pool.idle, taken=pool.idle.taken + imported))
        except ImportError as error:
            raise StageError(
                f"stage {node.name!r}: the workers cannot import its code ({error}). Install it "
                "where they run, or define the function in the notebook or script itself"
            ) from error


def run_nodes(
    project: "Project",
    where: "Pools | Client",
    chosen: list[Node],
    progress: "Kind | Progress",
    *,
    only: list[str] | None = None,
    going: Going = Going(),
    terminated: list[int] | None = None,
) -> RunSummary:
    """Run some nodes in pools, or on one client; whoever calls holds the lock.

    A SIGTERM ends it as Ctrl-C does, and is noted in `terminated`.
    """
    from latticework.viz.progress import make_progress

    shown = make_progress(progress)
    status = StatusWriter(project)
    started = time.perf_counter()
    pools = pools_of(where)
    project.page_links = PageLinks(project.path, pools)
    told = Telling(project, shown, only, project.page_links)
    terminated = [] if terminated is None else terminated

    def watch(final: bool) -> None:  # noqa: FBT001 - the coordinator calls it
        told.update(coordinator)
        status.write(force=final)

    coordinator = Coordinator(
        project, pools, only=only, watch=watch, stay=going.stay, feed=going.feed
    )
    before = project.attempts_made()
    project.coordinator = coordinator
    if not getattr(shown, "silent", False):
        coordinator.outage.say = lambda text: shown.say(text)  # noqa: PLW0108 - displays may lack it
    summary = None
    try:
        shown.start({node.name: node.units.present for node in chosen})
        going.begun(coordinator)
        with interrupts(coordinator, terminated) as interrupted:
            coordinator.run()
        attempts = project.attempts_made() - before
        seconds = time.perf_counter() - started
        summary = summarise(project, seconds, attempts, interrupted=interrupted.is_set())
        status.write(force=True)
        project.close_writer()
    finally:
        told.close()
        project.coordinator = None
        if summary is None or coordinator.outage.gave_up:
            project.forget()  # what is in memory may not be what was recorded
        else:
            project.seen_now()
        shown.finish(summary)
    return summary


@contextlib.contextmanager
def interrupts(coordinator: Coordinator, terminated: list[int]) -> Iterator[threading.Event]:
    """Turn Ctrl-C into an orderly stop; a second one, or the grace's end, drops what is out.

    SIGTERM does the same; it is noted in `terminated`.
    """
    pressed = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield pressed
        return

    def on_interrupt(number: int, _frame: Any) -> None:
        if number == signal.SIGTERM:
            terminated.append(number)
        again = pressed.is_set()
        pressed.set()
        coordinator.stop()
        if again:
            coordinator.drop()
        else:
            coordinator.drop(after=GRACE_S)

    old = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for number in old:
            signal.signal(number, on_interrupt)
        yield pressed
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def summarise(
    project: "Project", seconds: float, attempts: int, *, interrupted: bool
) -> RunSummary:
    """The summary of a run that just ended."""
    nodes = list(project.pipeline)
    n_failures = sum(int((node.units.state == State.FAILED).sum()) for node in nodes)
    failures = group_failures(row for node in nodes for row in failed_rows(project, node))[:LISTED]
    counts = {node.name: node.units.count() for node in project.pipeline}
    notes = tuple(
        f"Stage {name!r} has paused itself: {why}. When the cause is gone: project.resume({name!r})"
        for name, why in project.settings.gave_up.items()
    )
    return RunSummary(
        *(Path(project.path).name, counts, seconds, attempts, interrupted, failures, n_failures),
        notes=notes,
    )


def failures_of(units: Units, unit: int) -> int:
    """Attempts that failed since a unit completed, or was changed: at least one."""
    tries = int(units.tries[unit])
    return 1 if tries == MOST_TRIES else max(1, tries)


def failed_rows(project: "Project", node: Node) -> Iterator[FailedRow]:
    """The first failed units of a stage, each with its last error: one query for all of them."""
    failed = (node.units.state == State.FAILED).nonzero()[0][:GROUPED].tolist()
    if not failed:
        return
    found = project.query(  # with max(), SQLite takes the other columns from that same row
        "select a.unit, max(a.id), e.type, e.message "
        "from attempts a cross join errors e on e.id = a.error "
        "where a.stage = ? and a.unit in (select value from json_each(?)) group by a.unit",
        (node.id, json.dumps(failed)),
    )
    messages = {unit: f"{kind}: {message}" for unit, _, kind, message in found}
    for unit in failed:
        tile = node.lattice.tile(unit)
        address = tile.address if node.reduction else f"{tile.name} {tile.address}"
        message = messages.get(unit, "no error was recorded")
        yield node.name, address, message, failures_of(node.units, unit), unit
