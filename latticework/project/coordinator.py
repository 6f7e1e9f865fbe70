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

from latticework.errors import StoreError
from latticework.io.journal import STOPPED
from latticework.lattice.states import ACTIVE, State
from latticework.project.care import Care
from latticework.project.dispatch import Batch, Suspects, turns_s
from latticework.project.feeding import Feed
from latticework.project.fetching import fetched
from latticework.project.fingerprints import failure_stamps
from latticework.project.growing import tidy
from latticework.project.ledger import CANCELLED, CHARGED, COMPLETE, save_snapshot
from latticework.project.mishaps import Mishaps
from latticework.project.outage import Outage
from latticework.project.pipeline import Node, Pipeline
from latticework.project.pools import Pools, pools_of
from latticework.project.preview_keeping import PreviewKeeper
from latticework.project.recording import Recorder
from latticework.project.requests import Requests
from latticework.project.restoring import restore_stores
from latticework.project.run_desk import RunDesk
from latticework.project.sending import Sender
from latticework.project.spare import SPARE_S, keep_spare
from latticework.stages.black_box import REPORT
from latticework.stages.paths import staging_folder
from latticework.stages.worker import TOPIC, BatchReport

if TYPE_CHECKING:
    from distributed import Client

    from latticework.project.project import Project

COMMIT_S = 0.2
"""Seconds between commits of the journal."""
SNAPSHOT_ATTEMPTS = 50_000
"""Attempts after which the states are kept as a snapshot, or an eighth of all units if more."""


class Coordinator(RunDesk):
    """One session of running a project.

    Parameters
    ----------
    project
        The project; its lock is held by the caller.
    where
        Where the work goes: pools, or one Dask client.
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
        where: "Pools | Client",
        *,
        only: Iterable[str] | None = None,
        watch: Callable[[bool], None] = lambda _final: None,
        stay: bool = False,
        feed: Feed | None = None,
    ) -> None:
        super().__init__(project, only)
        self.pools, self.watch, self.stay, self.feed = pools_of(where), watch, stay, feed
        self.session = project.start_session()
        self.staging = staging_folder(project.path, self.session)
        self.suspects = Suspects()
        self.events: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self.requests = Requests(self, project.mailbox)
        self.mishaps = Mishaps(self)
        self.sender = Sender(self)
        self.record = Recorder(self.journal, self.session)
        self.care = Care(self)
        self.thread = threading.get_ident()
        self.stopping = False
        self.outage = Outage(project.path, self.staging, lambda: self.stopping)
        self.outage.happened = self.care.outage_changed
        self.publisher.outage = self.outage
        self.journal.commit()
        self.journal.patience = self.outage.bear
        self._janitor = ThreadPoolExecutor(1, thread_name_prefix="latticework-janitor")
        self.previews = PreviewKeeper(self, self.session)
        self._since_snapshot = 0
        self._deadline = float("inf")
        self._due = dict.fromkeys(
            ("commit", "slots", "watch", "lost", "mail", "tidy", "spare"), 0.0
        )
        self._lost: set[int] = set()
        for node in self.pipeline:
            self.stage_put(node)

    # ---------------------------------------------------------------- the loop

    def run(self) -> None:
        """Run until nothing is ready and nothing is out, or until told to stop."""
        for pool in self.pools:
            pool.client.subscribe_topic(TOPIC, self._on_event)
        if self.feed is not None:
            self.feed.start(self)
        try:
            restore_stores(self.project, self.pipeline)
            self.states.begin()
            self.care.begin()
            self._janitor.submit(self.previews.merge_all)
            while True:
                self._look_at_pools()
                self._take_requests()
                self.care.look()
                if not self.stopping:
                    self.sender.send()
                self._watch()
                if self._is_over():
                    break
                if not self.flying and self.feed is not None and self._is_due("tidy", 60.0):
                    tidy(self)
                self._collect()
                self._commit()
                self.outage.look()
        except StoreError:
            if not self.outage.gave_up:
                raise  # else it was told to stop while nothing could be written
        finally:
            if self.feed is not None:
                self.feed.stop()
            for pool in self.pools:
                with contextlib.suppress(Exception):  # the scheduler may be gone
                    pool.client.unsubscribe_topic(TOPIC)
            self._land()
        self.watch(True)

    def _is_over(self) -> bool:
        if time.monotonic() > self._deadline:
            return True
        if self.flying:
            return False
        if self.stopping:
            return True
        if self.stay or self.outage.on or (self.feed is not None and self.feed.going_on):
            return False
        left = {name for name in self.ready if self.sender.has_work(name)}
        held = {name for name in left if self.settings.holds(name)}
        return not left - held and not self.waits_for(held)

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
            with self.outage.noted():
                self.publisher.grow()
            self.watch(False)

    def _is_due(self, what: str, every: float) -> bool:
        now = time.monotonic()
        if now < self._due[what]:
            return False
        self._due[what] = now + every
        return True

    def _look_at_pools(self) -> None:
        if not self._is_due("slots", 1.0):
            return
        self.pools.look()
        self.care.placing.see(address for pool in self.pools for address in pool.addresses)
        for pool in self.pools:
            pool.scale(0 if self.stopping else pool.out + self.sender.demand(pool))

    def look_at_slots(self) -> None:
        """Workers may have gone: count them at once."""
        self._due["slots"] = 0.0

    def _commit(self) -> None:
        units = sum(len(node.units) for node in self.pipeline)
        if self._since_snapshot >= max(SNAPSHOT_ATTEMPTS, units // 8):
            self._snapshot()
        if self._is_due("commit", COMMIT_S):
            self.project.lock().check()
            self.journal.commit(patient=True)
        if self._is_due("spare", SPARE_S):
            keep_spare(self.project, self.pipeline)

    def _snapshot(self) -> None:
        for node in self.pipeline:
            save_snapshot(self.journal, node)
        self._since_snapshot = 0

    def _land(self) -> None:
        """Give up what is still out, keep the states, drop the staging area."""
        mine = self.project.lock().is_mine()
        for batch, future in list(self.flying.values()):
            with contextlib.suppress(Exception):
                future.cancel()
            if mine:
                with self.outage.let_go():
                    self.mishaps.give_up(batch, STOPPED)
        self.flying.clear()
        with self.outage.let_go():
            self.care.end()
        if mine:
            self._keep_states()
        else:
            self.journal.abandon()  # another coordinator writes to it
        self.requests.close()
        self.outage.close()
        if mine:
            self._janitor.submit(self.previews.merge_all)
        self._janitor.shutdown()
        shutil.rmtree(self.staging, ignore_errors=True)

    def _keep_states(self) -> None:
        """Leave everything as whoever looks, or runs next, should find it."""
        with contextlib.suppress(OSError, StoreError):  # only for readers from outside
            self.publisher.grow(at_last=True)
        with self.outage.let_go():
            self._snapshot()
            sql = "update sessions set ended=? where id=?"
            self.journal.write(sql, (time.time(), self.session))
            self.journal.commit()
            keep_spare(self.project, self.pipeline)

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
                    self._done(*self.land(number))
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
                report = fetched(future, 1)
            except TimeoutError:
                self._wait_again(batch, future)
            except CancelledError:
                self.mishaps.cancelled(batch)
            except Exception as error:
                self._broken(batch, future, error)
            else:
                future.release()
                self.take_in(batch, report)
        elif future.status == "cancelled":
            self.mishaps.cancelled(batch)
        elif future.status == "error":
            self._broken(batch, future, future.exception())
        else:
            self._wait_again(batch, future)

    def land(self, number: int) -> tuple[Batch, Any]:
        """A batch is not out any more; it and its future."""
        batch, future = self.flying.pop(number)
        batch.pool.out -= 1
        batch.pool.alone -= batch.alone
        self.nearness.back(batch)
        return batch, future

    def fly(self, batch: Batch, future: Any) -> None:
        """A batch is out."""
        self.flying[batch.number] = batch, future
        batch.pool.out += 1
        batch.pool.alone += batch.alone
        self.nearness.sent(batch)

    def _broken(self, batch: Batch, future: Any, error: BaseException | None) -> None:
        if not self.mishaps.broken(batch, error):
            self._wait_again(batch, future)

    def _wait_again(self, batch: Batch, future: Any) -> None:
        """Its worker died before we had the report of what was done: Dask runs it once more."""
        self.fly(batch, future)
        self._lost.add(batch.number)

    def is_current(self, batch: Batch) -> bool:
        """Whether the stage is still there, and the one that the batch was sent for."""
        node = self.pipeline.nodes.get(batch.stage)
        return node is not None and (node.id, node.fingerprint) == (
            batch.node.id,
            batch.definition,
        )

    def take_in(self, batch: Batch, report: BatchReport) -> None:
        """Publish, record and follow up what a worker says of a batch."""
        if not self.is_current(batch):
            self.mishaps.superseded(batch, report.staging)
            return
        node = self.pipeline[batch.stage]
        if report.left == len(batch.units):
            self.mishaps.not_begun(node, batch)
            return
        if report.left:
            self._hand_back(node, batch, report.left)
        report = self.publisher.agreed(node, report)
        rows = self.mishaps.outgrew(node, batch, np.frombuffer(report.rows, dtype=REPORT))
        good = rows["outcome"] == COMPLETE
        if report.staging and not Path(report.staging).exists():
            self.mishaps.give_up(batch, STOPPED)  # somebody deleted it: nothing was published
            return
        if report.previews:
            self._take_in_previews(batch, report)
        if report.staging:
            self._publish(node, batch, rows["unit"][good].tolist(), Path(report.staging))
            self.nearness.made(node.name, len(node.units), batch.units, report.worker)
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
            seconds = turns_s(rows["started"], rows["ended"])
            late = seconds[len(seconds) // 2 :] if report.left else seconds
            self.pace[node.name].see(float(late.mean()), len(late))
        self.apply(node, batch, rows)
        self.mishaps.unwritable(node, batch, report, rows)
        known = good | np.isin(rows["outcome"], CHARGED)
        self.care.reported(node, report.worker, report.host, rows["unit"][known], good[known])

    def _publish(self, node: Node, batch: Batch, units: list[int], staging: Path) -> None:
        if node.units.published[batch.units].any():
            self.journal.commit()  # that it is out: what is replaced now is not as recorded
        for unit in units:
            self.publisher.publish(node, unit, staging)
        self._janitor.submit(shutil.rmtree, staging, ignore_errors=True)

    def _take_in_previews(self, batch: Batch, report: BatchReport) -> None:
        folder = Path(report.previews)
        self._janitor.submit(self.previews.take_in, folder, batch.number)
        if not report.staging:
            self._janitor.submit(shutil.rmtree, folder.parent, ignore_errors=True)

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
        done, bad = units[good], np.isin(outcome, CHARGED)
        again = facts.published[done] > 0
        facts.forgive(done)
        facts.published[done] = batch.attempts[good]
        facts.fingerprint[done] = batch.fingerprints[good]
        facts.mark[units[cancelled]] = State.CANCELLED
        if again.any():
            node.generation += 1
            self.readers_changed(node)
        if bad.any():
            self.failed.add(node.name)
            stamps, how = failure_stamps(batch.fingerprints[bad]), rows[bad]
            facts.charge(units[bad], stamps, node.budgets, how["outcome"], how["exit_code"])
        self._since_snapshot += len(rows)
        facts.put(units, State.WAITING)
        self.states.spread({node.name: units})
        self.care.came_back(node, units, outcome)

    def about(self) -> dict[str, Any]:
        """Who sits here."""
        return {"running": True, "session": self.session, "workers": self.pools.workers}


__all__ = ["Coordinator", "Pipeline"]
