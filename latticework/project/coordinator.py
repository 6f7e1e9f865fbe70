"""The coordinator: decides what runs next, and alone writes state.

One loop in one thread. Dask sees only ready work, in batches, inside a bounded window;
what comes back is published by rename, then written to the journal, then what it makes ready is
sent. The order matters: a crash between any two steps costs at most the repetition of units whose
outputs were not yet recorded.

::

    ready units ──dispatch──> workers ──reports──> publish ──> journal ──> states ──> ready units
         ^                                                                    ^
         └──── users: pause, retry, change (`steering`) ── tiles that arrive ─┘
"""

import contextlib
import queue
import shutil
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.errors import ProjectError, StoreError
from latticework.io.journal import STOPPED
from latticework.lattice.states import ACTIVE, State
from latticework.project.deriving import settle
from latticework.project.dispatch import Absence, Batch, Suspects, window
from latticework.project.feeding import Feed
from latticework.project.fingerprints import failure_stamps
from latticework.project.growing import tidy
from latticework.project.ledger import CANCELLED, COMPLETE, save_snapshot
from latticework.project.mishaps import Mishaps
from latticework.project.orders import absent_inputs, records_read, work_order
from latticework.project.pipeline import Node, Pipeline
from latticework.project.recording import Recorder
from latticework.project.requests import Requests
from latticework.project.run_desk import RunDesk
from latticework.stages.order import SealedOrder, seal
from latticework.stages.paths import staging_folder
from latticework.stages.worker import REPORT, TOPIC, BatchReport, run_batch

if TYPE_CHECKING:
    from distributed import Client

    from latticework.project.project import Project

COMMIT_S = 0.2
"""Seconds between commits of the journal."""
SNAPSHOT_ATTEMPTS = 50_000
"""Attempts after which the states are kept as a snapshot."""


class Coordinator(RunDesk):
    """One session of running a project.

    Parameters
    ----------
    project
        The project; its lock is held by the caller.
    client
        Where the work goes.
    only
        Names of the stages to run; all if None, also those that are added while it runs.
    watch
        Called now and then, for progress and the status array.
    stay
        Whether to go on when nothing is left to do, until told to stop.
    feed
        Where tiles come from that are added while it runs.
    """

    def __init__(
        self,
        project: "Project",
        client: "Client",
        *,
        only: Iterable[str] | None = None,
        watch: Callable[[bool], None] = lambda _final: None,
        stay: bool = False,
        feed: Feed | None = None,
    ) -> None:
        super().__init__(project, only)
        self.client, self.watch, self.stay, self.feed = client, watch, stay, feed
        self.session = project.start_session()
        self.staging = staging_folder(project.path, self.session)
        self.suspects = Suspects()
        self.events: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self.requests = Requests(self, project.mailbox)
        self.mishaps = Mishaps(self)
        self.record = Recorder(self.journal, self.session)
        self.thread = threading.get_ident()
        self.stopping = False
        self.slots = 0
        self.workers = 0
        self._janitor = ThreadPoolExecutor(1, thread_name_prefix="latticework-janitor")
        self._absence = Absence()
        self._batches = 0
        self._since_snapshot = 0
        self._deadline = float("inf")
        self._due = dict.fromkeys(("commit", "slots", "watch", "lost", "mail", "tidy"), 0.0)
        self._lost: set[int] = set()
        for node in self.pipeline:
            self.stage_put(node)

    # ---------------------------------------------------------------- the loop

    def run(self) -> None:
        """Run until nothing is ready and nothing is out, or until told to stop."""
        self.client.subscribe_topic(TOPIC, self._on_event)
        if self.feed is not None:
            self.feed.start(self)
        try:
            self.states.begin()
            while True:
                self._refresh_slots()
                self._take_requests()
                if not self.stopping:
                    self._dispatch()
                self._watch()
                if self._is_over():
                    break
                if not self.flying and self.feed is not None and self._is_due("tidy", 60.0):
                    tidy(self)
                self._collect()
                self._commit()
        finally:
            if self.feed is not None:
                self.feed.stop()
            with contextlib.suppress(Exception):  # the scheduler may be gone
                self.client.unsubscribe_topic(TOPIC)
            self._land()
        self.watch(True)

    def _is_over(self) -> bool:
        if time.monotonic() > self._deadline:
            return True
        if self.flying:
            return False
        if self.stopping:
            return True
        if self.stay or (self.feed is not None and self.feed.going_on):
            return False
        left = {name for name in self.ready if self.suspects.of(name) or self.ready[name]}
        held = {name for name in left if self.settings.holds(name)}
        return not left - held and not (held and self.paused_here)

    def stop(self) -> None:
        """Send nothing more; the loop ends when what is out has come back."""
        self.stopping = True

    def drop(self, *, after: float = 0.0) -> None:
        """Do not wait longer than this, in seconds, for what is out."""
        self._deadline = time.monotonic() + after

    def _take_requests(self) -> None:
        if self._is_due("mail", 0.1):
            self.requests.collect()
        self.requests.carry_out()
        if self.feed is not None:
            self.feed.take_in()

    def _watch(self) -> None:
        if self._is_due("watch", 0.2):
            self.publisher.grow()
            self.watch(False)

    def _is_due(self, what: str, every: float) -> bool:
        now = time.monotonic()
        if now < self._due[what]:
            return False
        self._due[what] = now + every
        return True

    def _refresh_slots(self) -> None:
        if not self._is_due("slots", 1.0):
            return
        if self.client.status != "running":
            raise ProjectError(
                f"the Dask scheduler is gone (client {self.client.status}): start a cluster and "
                "run again; everything finished so far is kept"
            )
        threads = self.client.nthreads()
        self.workers, self.slots = len(threads), sum(threads.values())
        self._absence.see(self.workers)

    def look_at_slots(self) -> None:
        """Workers may have gone: count them at once."""
        self._due["slots"] = 0.0

    def _commit(self) -> None:
        if self._since_snapshot >= SNAPSHOT_ATTEMPTS:
            self._snapshot()
        if self._is_due("commit", COMMIT_S):
            self.project.lock().check()
            self.journal.commit(patient=True)

    def _snapshot(self) -> None:
        for node in self.pipeline:
            save_snapshot(self.journal, node)
        self._since_snapshot = 0

    def _land(self) -> None:
        """Give up what is still out, keep the states, drop the staging area."""
        for batch, future in list(self.flying.values()):
            with contextlib.suppress(Exception):
                future.cancel()
            self.mishaps.give_up(batch, STOPPED)
        self.flying.clear()
        with contextlib.suppress(OSError, StoreError):  # only for readers from outside
            self.publisher.grow(at_last=True)
        self._snapshot()
        self.journal.write("update sessions set ended=? where id=?", (time.time(), self.session))
        self.journal.commit()
        self.requests.close()
        self._janitor.shutdown()
        shutil.rmtree(self.staging, ignore_errors=True)

    # ---------------------------------------------------------------- out

    def _dispatch(self) -> None:
        """Fill the window, the deepest stages first, so that what was just written is read soon."""
        free = window(self.slots) - len(self.flying)
        for node in reversed(list(self.pipeline)):
            if free <= 0:
                break
            if node.name not in self.ready or self.settings.holds(node.name):
                continue
            while free > 0 and (self.ready[node.name] or self._suspect_may_go(node)):
                if not node.settled and self._out(node) >= self._scouts(node):
                    break  # the first tile decides what the stage makes
                self._send(node)
                free -= 1

    def _suspect_may_go(self, node: Node) -> bool:
        """Whether a unit that may have killed a worker can be tried by itself now.

        As many as there are workers, if those have one thread: what had not begun is not blamed.
        (Sent to one worker by name, it would wait for that one for ever, should it go.)
        """
        if not self.suspects.of(node.name):
            return False
        out = sum(batch.alone for batch, _ in self.flying.values())
        return out < (self.workers if self.slots == self.workers else 1)

    def _out(self, node: Node) -> int:
        return sum(batch.stage == node.name for batch, _ in self.flying.values())

    def _scouts(self, node: Node) -> int:
        """How many units may be out of a stage of which none has told yet what it makes.

        One, unless that was declared, or the first failed and many may have to be tried.
        """
        declared = node.stage.output if node.stage is not None else None
        known = declared is not None and declared.settled
        return max(1, self.slots) if known or node.name in self.failed else 1

    def _next_units(self, node: Node) -> tuple[np.ndarray, bool]:
        """Units of the next batch, and whether it is one to be tried alone."""
        while self._suspect_may_go(node):
            unit = np.array([self.suspects.take(node.name)], dtype=np.int64)
            there = unit[0] < len(node.units)  # the stage may be another of the same name
            if there and settle(self.pipeline, node, unit)[0]:
                self.ready[node.name].remove(unit)
                return unit, True
        ready = self.ready[node.name]
        n = 1 if not node.settled else self.pace[node.name].batch_size(len(ready), self.slots)
        return ready.take(n), False

    def _send(self, node: Node) -> None:
        units, alone = self._next_units(node)
        if not len(units):
            return
        node.units.put(units, State.QUEUED)
        node.units.attempts[units] += 1
        self._batches += 1
        batch = Batch(
            number=self._batches,
            stage=node.name,
            units=units,
            attempts=node.units.attempts[units],
            fingerprints=self.pipeline.expected(node, units),
            dispatched=time.time(),
            node=node,
            definition=node.fingerprint,
            alone=alone,
        )
        self.journal.write(
            "insert into batches values (?, ?, ?, ?, ?, ?)",
            (
                *(self.session, batch.number, node.id),
                *(units.astype("<i8").tobytes(), batch.attempts.astype("<u2").tobytes()),
                batch.dispatched,
            ),
        )
        future = self.client.submit(
            run_batch,
            self._order(node),
            batch.number,
            units.astype("<i8").tobytes(),
            batch.attempts.astype("<u2").tobytes(),
            records_read(self.project, node, units),
            absent_inputs(self.pipeline, node, units),
            key=(node.name, self.project.key, self.session, batch.number),
            pure=False,
            retries=0,
        )
        self.flying[batch.number] = batch, future
        future.add_done_callback(lambda _, number=batch.number: self.events.put(("done", number)))

    def _order(self, node: Node) -> SealedOrder:
        if node.name not in self.orders:
            self.orders[node.name] = seal(work_order(self.project, node, self.staging))
        return self.orders[node.name]

    # ---------------------------------------------------------------- back

    def _on_event(self, event: tuple[float, Any]) -> None:
        self.events.put(("started", event[1]))

    def wake(self) -> None:
        """Look at requests and arrivals at once."""
        self.events.put(("wake", None))

    def _collect(self) -> None:
        """Wait a moment for batches that come back, and take in all that did."""
        if self._lost and self._is_due("lost", 0.2):
            for number in self._lost:
                self.events.put(("done", number))
            self._lost.clear()
        try:
            what, number = self.events.get(timeout=0.1)
        except queue.Empty:
            return
        while True:
            if number in self.flying:
                if what == "started":
                    self._started(self.flying[number][0])
                else:
                    self._done(*self.flying.pop(number))
            try:
                what, number = self.events.get_nowait()
            except queue.Empty:
                return

    def _started(self, batch: Batch) -> None:
        batch.started = True
        units = batch.node.units
        units.put(batch.units[units.state[batch.units] == State.QUEUED], State.RUNNING)

    def _done(self, batch: Batch, future: Any) -> None:
        if future.status == "finished":
            try:
                report = future.result(timeout=1)
            except TimeoutError:
                self._wait_again(batch, future)
            except CancelledError:
                self.mishaps.cancelled(batch)
            except Exception as error:
                self.mishaps.broken(batch, error)
            else:
                future.release()
                self._take_in(batch, report)
        elif future.status == "cancelled":
            self.mishaps.cancelled(batch)
        elif future.status == "error":
            self.mishaps.broken(batch, future.exception())
        else:
            self._wait_again(batch, future)

    def _wait_again(self, batch: Batch, future: Any) -> None:
        """Its worker died before we had the report of what was done: Dask runs it once more."""
        self.flying[batch.number] = batch, future
        self._lost.add(batch.number)

    def is_current(self, batch: Batch) -> bool:
        """Whether the stage is still there, and the one that the batch was sent for."""
        node = self.pipeline.nodes.get(batch.stage)
        return node is not None and (node.id, node.fingerprint) == (
            batch.node.id,
            batch.definition,
        )

    def _take_in(self, batch: Batch, report: BatchReport) -> None:
        if not self.is_current(batch):
            self.mishaps.superseded(batch, report.staging)
            return
        node = self.pipeline[batch.stage]
        if report.left:
            self._hand_back(node, batch, report.left)
        report = self.publisher.agreed(node, report)
        rows = np.frombuffer(report.rows, dtype=REPORT)
        good = rows["outcome"] == COMPLETE
        if report.staging:
            self._publish(node, batch, rows["unit"][good].tolist(), Path(report.staging))
        if report.records:
            units = rows["unit"].tolist()
            self.journal.write_many(
                "insert or replace into records values (?, ?, ?)",
                [(node.id, units[row], text) for row, text in report.records],
            )
        errors = {failure.row: self.record.error(failure) for failure in report.failures}
        worker = self.record.worker(report.worker, report.host)
        self.record.reported(node, batch, rows, worker, errors)
        if len(rows):
            seconds = rows["ended"] - rows["started"]
            late = seconds[len(seconds) // 2 :] if report.left else seconds
            self.pace[node.name].see(float(late.mean()))
        self.apply(node, batch, rows)

    def _publish(self, node: Node, batch: Batch, units: list[int], staging: Path) -> None:
        if node.units.published[batch.units].any():
            self.journal.commit()  # that it is out: what is replaced now is not as recorded
        for unit in units:
            self.publisher.publish(node, unit, staging)
        self._janitor.submit(shutil.rmtree, staging, ignore_errors=True)

    def _hand_back(self, node: Node, batch: Batch, left: int) -> None:
        """What a worker has not begun of a batch that took too long can go to others at once."""
        units = batch.cut(len(batch.units) - left)
        node.units.attempts[units] -= 1
        self.wait_again(node, units)

    def wait_again(self, node: Node, units: np.ndarray) -> None:
        """These are not on their way any more."""
        active = units[np.isin(node.units.state[units], ACTIVE)]
        node.units.put(active, State.WAITING)
        self.states.spread({node.name: active})

    def apply(self, node: Node, batch: Batch, rows: np.ndarray) -> None:
        """Facts and states of units that came back."""
        facts, units, outcome = node.units, batch.units, rows["outcome"]
        self.mishaps.forget_cancelling(node, units)
        facts.duration_s[units] = rows["ended"] - rows["started"]
        facts.ended[units] = rows["ended"]
        good, cancelled = outcome == COMPLETE, outcome == CANCELLED
        done, bad = units[good], ~good & ~cancelled
        again = facts.published[done] > 0
        facts.mark[done], facts.tries[done] = 0, 0
        facts.published[done] = batch.attempts[good]
        facts.fingerprint[done] = batch.fingerprints[good]
        facts.mark[units[cancelled]] = State.CANCELLED
        if again.any():
            node.generation += 1
            self.readers_changed(node)
        if bad.any():
            self.failed.add(node.name)
            facts.charge(units[bad], failure_stamps(batch.fingerprints[bad]), node.retries)
        self._since_snapshot += len(rows)
        facts.put(units, State.WAITING)
        self.states.spread({node.name: units})

    def about(self) -> dict[str, Any]:
        """Who sits here."""
        return {"running": True, "session": self.session, "workers": self.workers}


__all__ = ["Coordinator", "Pipeline"]
