"""A run from the outside: a client, progress, Ctrl-C, the status array, and a summary."""

import contextlib
import json
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.errors import ProjectError, StageError
from latticework.io.status_array import StatusArray
from latticework.lattice.states import State
from latticework.project.adding import definition_of
from latticework.project.clusters import client_for
from latticework.project.coordinator import Coordinator
from latticework.project.creating import renew_source
from latticework.project.ledger import recover
from latticework.project.pipeline import Node
from latticework.project.status import status_columns
from latticework.project.summary import FailedRow, RunSummary, group_failures
from latticework.stages.order import dump
from latticework.stages.paths import status_folder
from latticework.stages.stage import fingerprint
from latticework.stages.worker import check_order

if TYPE_CHECKING:
    from distributed import Client

    from latticework.project.project import Project
    from latticework.viz.progress import Kind, Progress

GRACE_S = 5.0
"""Seconds that Ctrl-C gives to what is out."""
LOOKED_AT = 100_000
"""Tiles up to which the files of the acquisition are looked at before a run."""
STATUS_S = 1.0
"""Seconds between updates of the status array, at least."""
LISTED = 20
"""Kinds of failures that a summary lists."""
GROUPED = 10_000
"""Failed units of a stage that a summary looks at."""


def run_project(
    project: "Project", where: Any, *, stages: Iterable[str] | None, progress: Any
) -> RunSummary:
    """See `Project.run`."""
    if project.running:
        raise ProjectError("this project is running already, in this process")
    only = None if stages is None else [stages] if isinstance(stages, str) else list(stages)
    with project.lock().held():
        refresh_source(project)
        refresh_code(project)
        chosen = chosen_nodes(project, only)
        if not can_run(project, chosen):
            return nothing_to_run(project, chosen, progress)
        try:
            with client_for(where) as client:
                preflight(client, chosen)
                return run_nodes(project, client, chosen, progress)
        except KeyboardInterrupt:  # before the run began: nothing is lost
            return summarise(project, 0.0, 0, interrupted=True)


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
        if names & set(node.parents) or not project.pipeline.unready(node, units).all():
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
    shown.start({node.name: len(node.units) for node in chosen})
    for node in chosen:
        shown.update(node.name, node.units.count())
    StatusWriter(project).write(force=True)
    summary = summarise(project, 0.0, 0, interrupted=False)
    shown.finish(summary)
    return summary


def chosen_nodes(project: "Project", only: list[str] | None) -> list[Node]:
    """The nodes to run.

    Raises
    ------
    ProjectError
        If there are none, or the callable of one is not at hand.
    """
    nodes = list(project.pipeline) if only is None else [project.pipeline[name] for name in only]
    if not nodes:
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
    if not np.array_equal(now.fingerprints(), source.fingerprints()):
        renew_source(project, now)


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


def preflight(client: "Client", nodes: Iterable[Node]) -> None:
    """See that the workers can use every stage before anything is sent.

    Raises
    ------
    StageError
        Naming the stage and the module that is missing.
    """
    workers = list(client.nthreads())
    if not workers:
        return
    for node in nodes:
        assert node.stage is not None
        try:
            payload = dump((node.stage.function, dict(node.stage.params)), node.stage.function)
        except Exception as error:
            raise StageError(
                f"stage {node.name!r} cannot travel to the workers: {error}; give it what it needs "
                "as parameters instead of holding open files, locks or clients"
            ) from error
        try:
            client.run(check_order, payload, workers=workers[:1])
        except ImportError as error:
            raise StageError(
                f"stage {node.name!r}: the workers cannot import its code ({error}). Install it "
                "where they run, or define the function in the notebook or script itself"
            ) from error


def run_nodes(
    project: "Project", client: "Client", chosen: list[Node], progress: "Kind | Progress"
) -> RunSummary:
    """Run some nodes on a client; whoever calls holds the lock."""
    from latticework.viz.progress import make_progress

    shown = make_progress(progress)
    status = StatusWriter(project)
    started = time.perf_counter()
    names = [node.name for node in chosen]

    told = False
    terminated: list[int] = []

    def watch(final: bool) -> None:  # noqa: FBT001 - the coordinator calls it
        nonlocal told
        if coordinator.stopping and not told:
            told = True
            shown.say(f"stopping: {GRACE_S:.0f} s for what is running; Ctrl-C again to drop it now")
        for node in chosen:
            shown.update(node.name, node.units.count())
        status.write(force=final)

    coordinator = Coordinator(project, client, only=names, watch=watch)
    before = project.attempts_made()
    project.running = True
    summary = None
    try:
        shown.start({node.name: len(node.units) for node in chosen})
        with interrupts(coordinator, terminated) as interrupted:
            coordinator.run()
        attempts = project.attempts_made() - before
        seconds = time.perf_counter() - started
        summary = summarise(project, seconds, attempts, interrupted=interrupted.is_set())
        status.write(force=True)
        project.pipeline.derive()
        project.close_writer()
    finally:
        project.running = False
        if summary is None:
            project.forget()  # what is in memory may not be what was recorded
        else:
            project.seen_now()
        shown.finish(summary)
    if terminated:
        signal.raise_signal(signal.SIGTERM)  # stopped in good order; now do as we were told
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


class StatusWriter:
    """Keeps the status array up to date, at a rate that its own cost allows."""

    def __init__(self, project: "Project") -> None:
        self.project = project
        self._array = StatusArray(status_folder(project.path), project.lattice)
        self._next = 0.0
        self._written: dict[str, bytes] = {}

    def write(self, *, force: bool = False) -> None:
        """Write what changed, if it is time."""
        begun = time.monotonic()
        if not force and begun < self._next:
            return
        nodes = [node for node in self.project.pipeline if node.lattice.dims]
        columns, seen = {}, {}
        for node in nodes:
            seen[node.name] = node.units.state.tobytes() + node.units.attempts.tobytes()
            if self._written.get(node.name) != seen[node.name]:
                columns[node.name] = status_columns(node)
        if columns or force:
            self._array.write(columns, order=[node.name for node in nodes])
            self._written = seen
        spent = time.monotonic() - begun
        self._next = time.monotonic() + max(STATUS_S, 20 * spent)


def summarise(
    project: "Project", seconds: float, attempts: int, *, interrupted: bool
) -> RunSummary:
    """The summary of a run that just ended."""
    nodes = list(project.pipeline)
    n_failures = sum(int((node.units.state == State.FAILED).sum()) for node in nodes)
    failures = group_failures(row for node in nodes for row in failed_rows(project, node))[:LISTED]
    counts = {node.name: node.units.count() for node in project.pipeline}
    return RunSummary(
        Path(project.path).name, counts, seconds, attempts, interrupted, failures, n_failures
    )


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
        yield node.name, address, message, int(node.units.attempts[unit]), unit
