"""The coordinator: decides what runs next, and alone writes state.

One loop in the caller's thread. Dask sees only ready work, in batches, inside a bounded window;
what comes back is published by rename, then written to the journal, then what it makes ready is
sent. The order matters: a crash between any two steps costs at most the repetition of units whose
outputs were not yet recorded.

::

    ready units ──dispatch──> workers ──reports──> publish ──> journal ──> states ──> ready units
"""

import contextlib
import queue
import shutil
import time
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.errors import ProjectError, StageError
from latticework.io.journal import KILLED, STOPPED
from latticework.io.publish import publish
from latticework.io.tables import table_key
from latticework.io.tile_array import TileArray
from latticework.lattice.states import ACTIVE, State
from latticework.project.dispatch import Absence, Batch, Pace, ReadyUnits, Suspects, window
from latticework.project.fingerprints import failure_stamps
from latticework.project.ledger import COMPLETE, save_snapshot
from latticework.project.orders import records_read, work_order
from latticework.project.pipeline import Node, Pipeline
from latticework.project.propagation import Propagation
from latticework.project.recording import Recorder
from latticework.stages.bench import plan_layout
from latticework.stages.failures import message_of
from latticework.stages.order import SealedOrder, seal
from latticework.stages.outputs import Output
from latticework.stages.paths import array_folder, stage_folder, staging_folder, table_folder
from latticework.stages.worker import REPORT, TOPIC, BatchReport, disagreeing, run_batch

if TYPE_CHECKING:
    from distributed import Client

    from latticework.project.project import Project

COMMIT_S = 0.2
"""Seconds between commits of the journal."""
SNAPSHOT_ATTEMPTS = 50_000
"""Attempts after which the states are kept as a snapshot."""
UNSETTLED = 0
"""Stands for no definition: what the stage makes has to be found again."""


class Coordinator:
    """One session of running a project.

    Parameters
    ----------
    project
        The project; its lock is held by the caller.
    client
        Where the work goes.
    only
        Names of the stages to run; all if None.
    watch
        Called now and then, for progress and the status array.
    """

    def __init__(
        self,
        project: "Project",
        client: "Client",
        *,
        only: Iterable[str] | None = None,
        watch: Callable[[bool], None] = lambda _final: None,
    ) -> None:
        self.project, self.client, self.watch = project, client, watch
        self.journal, self.pipeline = project.writable_journal(), project.pipeline
        self.session = project.start_session()
        self.staging = staging_folder(project.path, self.session)
        self.chosen = [node for node in self.pipeline if only is None or node.name in set(only)]
        self.ready = {node.name: ReadyUnits(len(node.units)) for node in self.chosen}
        self.states = Propagation(self.pipeline, self.ready, self._drop_orders)
        self.suspects = Suspects()
        self.pace = {node.name: Pace() for node in self.chosen}
        self.flying: dict[int, tuple[Batch, Any]] = {}
        self.events: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self.stopping = False
        self.slots = 0
        self.workers = 0
        self._janitor = ThreadPoolExecutor(1, thread_name_prefix="latticework-janitor")
        self._orders: dict[str, SealedOrder] = {}
        self._stores: dict[str, TileArray] = {}
        self._record = Recorder(self.journal, self.session)
        self._failed: set[str] = set()
        self._absence = Absence()
        self._batches = 0
        self._since_snapshot = 0
        self._deadline = float("inf")
        self._due = dict.fromkeys(("commit", "slots", "watch", "lost"), 0.0)
        self._lost: set[int] = set()

    # ---------------------------------------------------------------- the loop

    def run(self) -> None:
        """Run until nothing is ready and nothing is out, or until told to stop."""
        self.client.subscribe_topic(TOPIC, self._on_event)
        try:
            for node in self.chosen:
                self.states.find_ready(node, np.arange(len(node.units)))
            while True:
                self._refresh_slots()
                if not self.stopping:
                    self._dispatch()
                self._watch()
                nothing_out = not self.flying and (self.stopping or not self._is_work_left())
                if nothing_out or time.monotonic() > self._deadline:
                    break
                self._collect()
                self._commit()
        finally:
            with contextlib.suppress(Exception):  # the scheduler may be gone
                self.client.unsubscribe_topic(TOPIC)
            self._land()
        self.watch(True)

    def _is_work_left(self) -> bool:
        """Whether anything could be sent, if only there were a worker: they may be on their way."""
        return bool(self.suspects) or any(self.ready.values())

    def stop(self) -> None:
        """Send nothing more; the loop ends when what is out has come back."""
        self.stopping = True

    def drop(self, *, after: float = 0.0) -> None:
        """Do not wait longer than this, in seconds, for what is out."""
        self._deadline = time.monotonic() + after

    def _watch(self) -> None:
        if self._is_due("watch", 0.2):
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

    def _commit(self) -> None:
        if self._since_snapshot >= SNAPSHOT_ATTEMPTS:
            self._snapshot()
        if self._is_due("commit", COMMIT_S):
            self.project.lock().check()
            self.journal.commit(patient=True)

    def _snapshot(self) -> None:
        for node in self.chosen:
            save_snapshot(self.journal, node)
        self._since_snapshot = 0

    def _land(self) -> None:
        """Give up what is still out, keep the states, drop the staging area."""
        for batch, future in list(self.flying.values()):
            with contextlib.suppress(Exception):
                future.cancel()
            self._give_up(batch, STOPPED)
        self.flying.clear()
        self._snapshot()
        self.journal.write("update sessions set ended=? where id=?", (time.time(), self.session))
        self.journal.commit()
        self._janitor.shutdown()
        shutil.rmtree(self.staging, ignore_errors=True)

    # ---------------------------------------------------------------- out

    def _dispatch(self) -> None:
        """Fill the window, the deepest stages first, so that what was just written is read soon."""
        free = window(self.slots) - len(self.flying)
        for node in reversed(self.chosen):
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
        return max(1, self.slots) if known or node.name in self._failed else 1

    def _send(self, node: Node) -> None:
        alone = self._suspect_may_go(node)
        if alone:
            units = np.array([self.suspects.take(node.name)], dtype=np.int64)
        else:
            ready = self.ready[node.name]
            n = 1 if not node.settled else self.pace[node.name].batch_size(len(ready), self.slots)
            units = ready.take(n)
        node.units.state[units] = State.QUEUED
        node.units.attempts[units] += 1
        self._batches += 1
        batch = Batch(
            number=self._batches,
            stage=node.name,
            units=units,
            attempts=node.units.attempts[units],
            fingerprints=self.pipeline.expected(node, units),
            dispatched=time.time(),
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
            key=(node.name, self.project.key, self.session, batch.number),
            pure=False,
            retries=0,
        )
        self.flying[batch.number] = batch, future
        future.add_done_callback(lambda _, number=batch.number: self.events.put(("done", number)))

    def _order(self, node: Node) -> SealedOrder:
        if node.name not in self._orders:
            self._orders[node.name] = seal(work_order(self.project, node, self.staging))
        return self._orders[node.name]

    # ---------------------------------------------------------------- back

    def _on_event(self, event: tuple[float, Any]) -> None:
        self.events.put(("started", event[1]))

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
        self.pipeline[batch.stage].units.state[batch.units] = State.RUNNING

    def _done(self, batch: Batch, future: Any) -> None:
        if future.status == "finished":
            try:
                report = future.result(timeout=1)
            except TimeoutError:
                self._wait_again(batch, future)
            except CancelledError:
                self._cancelled(batch)
            except Exception as error:
                self._broken(batch, error)
            else:
                future.release()
                self._take_in(batch, report)
        elif future.status == "cancelled":
            self._cancelled(batch)
        elif future.status == "error":
            self._broken(batch, future.exception())
        else:
            self._wait_again(batch, future)

    def _cancelled(self, batch: Batch) -> None:
        """The scheduler dropped it, most often because it has ended: see whether it is there."""
        self._give_up(batch, STOPPED)
        self.states.find_ready(self.pipeline[batch.stage], batch.units)
        self._due["slots"] = 0.0

    def _wait_again(self, batch: Batch, future: Any) -> None:
        """Its worker died before we had the report of what was done: Dask runs it once more."""
        self.flying[batch.number] = batch, future
        self._lost.add(batch.number)

    def _take_in(self, batch: Batch, report: BatchReport) -> None:
        node = self.pipeline[batch.stage]
        if report.left:
            self._hand_back(node, batch, report.left)
        report = self._agreed(node, report)
        rows = np.frombuffer(report.rows, dtype=REPORT)
        good = rows["outcome"] == COMPLETE
        if report.staging:
            staging = Path(report.staging)
            if node.units.published[batch.units].any():
                self.journal.commit()  # that it is out: what is replaced now is not as recorded
            for unit in rows["unit"][good].tolist():
                self._publish(node, unit, staging)
            self._janitor.submit(shutil.rmtree, staging, ignore_errors=True)
        if report.records:
            units = rows["unit"].tolist()
            self.journal.write_many(
                "insert or replace into records values (?, ?, ?)",
                [(node.id, units[row], text) for row, text in report.records],
            )
        errors = {failure.row: self._record.error(failure) for failure in report.failures}
        worker = self._record.worker(report.worker, report.host)
        self._record.reported(node, batch, rows, worker, errors)
        seconds = rows["ended"] - rows["started"]
        late = seconds[len(seconds) // 2 :] if report.left else seconds
        self.pace[node.name].see(float(late.mean()))
        self._apply(node, batch, rows)

    def _hand_back(self, node: Node, batch: Batch, left: int) -> None:
        """What a worker has not begun of a batch that took too long can go to others at once."""
        units = batch.cut(len(batch.units) - left)
        node.units.attempts[units] -= 1
        self._wait(node, units)
        self.states.find_ready(node, units)

    def _agreed(self, node: Node, report: BatchReport) -> BatchReport:
        """The report, its units failed if they made something else than those before them.

        The first that make something settle what the stage makes. Those that make nothing settle
        that only for as long as no other makes something.
        """
        found, known = report.output, node.output if node.settled else None
        if found is None or found == known:
            return report
        if known is None or known.kind == "nothing":
            self._settle(node, found)
            return report
        return disagreeing(report, known)

    def _publish(self, node: Node, unit: int, staging: Path) -> None:
        assert node.output is not None
        if node.output.kind == "table":
            publish(staging, table_folder(self.project.path, node.name), (table_key(unit),))
            return
        store = self._stores.get(node.name)
        if store is None:
            store = self._stores[node.name] = TileArray.open(
                array_folder(self.project.path, node.name)
            )
        index = tuple(node.lattice.index[unit].tolist())
        publish(staging, store.path, store.layout.keys(index))

    def _settle(self, node: Node, output: Output) -> None:
        """The first tile decides what the stage makes: create its store."""
        if node.output != output:
            self._drop_outputs(node)
            for child, _ in self.pipeline.children(node.name):
                child.settled_for = UNSETTLED  # what it makes may follow from what it reads
                self.project.keep_output(child)
        node.output, node.settled_for = output, node.fingerprint
        self.project.keep_output(node)
        if output.kind == "array":
            layout = plan_layout(node.lattice, output, node.name)
            TileArray.create(array_folder(self.project.path, node.name), layout, node.lattice)
        self._orders.pop(node.name, None)
        for child, _ in self.pipeline.children(node.name):
            self.pipeline.relink(child)
        self._drop_orders(node)

    def _drop_orders(self, node: Node) -> None:
        """Readers of this node need new work orders."""
        for child, _ in self.pipeline.children(node.name):
            self._orders.pop(child.name, None)

    def _drop_outputs(self, node: Node) -> None:
        """The stage was changed and makes something else now: what it made before goes.

        So does what a run left behind that was killed before anything was complete.
        """
        published = np.flatnonzero(node.units.published)
        done = published[node.units.state[published] == State.COMPLETE]
        self.journal.add_change(node.id, "drop", published.astype("<i8").tobytes())
        self.journal.commit()
        node.units.published[published] = 0
        node.units.state[done] = State.WAITING  # made nothing, before another made something
        self.states.withdrawn(node, done)
        node.generation += 1
        self._stores.pop(node.name, None)
        shutil.rmtree(stage_folder(self.project.path, node.name), ignore_errors=True)

    def _apply(self, node: Node, batch: Batch, rows: np.ndarray) -> None:
        """Costs and states of units that came back."""
        good = rows["outcome"] == COMPLETE
        node.units.duration_s[batch.units] = rows["ended"] - rows["started"]
        node.units.ended[batch.units] = rows["ended"]
        self.states.completed(node, batch, good)
        self._since_snapshot += len(rows)
        if not good.all():
            self._failed.add(node.name)
            self.states.failed(node, batch.units[~good], batch.fingerprints[~good])

    # ---------------------------------------------------------------- mishaps

    def _give_up(self, batch: Batch, outcome: int, error: int | None = None) -> None:
        """A batch that no worker reported on: recorded, not charged, waiting again."""
        node = self.pipeline[batch.stage]
        self._record.unreported(node, batch, outcome, error)
        self._wait(node, batch.units)

    def _wait(self, node: Node, units: np.ndarray) -> None:
        active = np.isin(node.units.state[units], ACTIVE)
        node.units.state[units[active]] = State.WAITING

    def _broken(self, batch: Batch, error: BaseException | None) -> None:
        """A batch whose task failed as a whole: its worker died, or could not even begin."""
        from distributed import KilledWorker

        node = self.pipeline[batch.stage]
        if not isinstance(error, KilledWorker):
            return self._refused(node, batch, error)
        message = "its worker died: out of memory, or its code crashed (the worker's log may tell)"
        self._give_up(
            batch, KILLED, self.journal.error_id("KilledWorker", message, message_of(error))
        )
        units, began = batch.units.tolist(), self._began(batch)
        if not began and not batch.alone:
            self.states.find_ready(node, batch.units)
            return None
        if not began or not batch.alone or not self.suspects.blame(node.name, units[0]):
            self.suspects.add(node.name, units)
            return None
        self.journal.add_change(node.id, "fail", batch.units.astype("<i8").tobytes())
        node.units.fingerprint[batch.units] = failure_stamps(batch.fingerprints)
        self.states.given_up(node, batch.units)
        return None

    def _began(self, batch: Batch) -> bool:
        """Whether a worker had begun a batch; what it said last may have been lost with it."""
        return batch.started or any(self.staging.glob(f"{batch.number}-*"))

    def _refused(self, node: Node, batch: Batch, error: BaseException | None) -> None:
        """The worker could not begin: every unit is charged with what it said."""
        message = (
            message_of(error)
            if isinstance(error, StageError)
            else f"{type(error).__name__}: {message_of(error)}"
        )
        rows = np.zeros(len(batch.units), dtype=REPORT)
        rows["unit"], rows["attempt"], rows["outcome"] = batch.units, batch.attempts, 2
        rows["started"], rows["ended"] = batch.dispatched, time.time()
        error_id = self.journal.error_id(type(error).__name__, message[:2000], message[-20000:])
        errors = dict.fromkeys(range(len(rows)), error_id)
        self._record.reported(node, batch, rows, self._record.worker("no worker", ""), errors)
        self._apply(node, batch, rows)


__all__ = ["Coordinator", "Pipeline"]
