"""What becomes of batches that do not come back as they should, or are not wanted any more."""

import contextlib
import json
import shutil
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.errors import StageError
from latticework.io.journal import (
    KILLED,
    LARGER,
    NODE_FAILURE,
    OUTCOMES,
    PREEMPTED,
    STOPPED,
    SUPERSEDED,
    WALLTIME,
)
from latticework.lattice.states import State
from latticework.project.dispatch import Batch
from latticework.project.ledger import failed_for_good
from latticework.project.outgrown import MARGIN, too_few
from latticework.project.pipeline import Node
from latticework.stages.black_box import REPORT, read_box
from latticework.stages.failures import COMPLETE, MEMORY, NO_CODE, message_of
from latticework.stages.handing_back import call_back, hand_back_here
from latticework.stages.previewing import FOLDER as PREVIEWS
from latticework.stages.running_units import ENDED, call_here, cancel_here
from latticework.stages.worker import STAGED, BatchReport

if TYPE_CHECKING:
    from latticework.project.coordinator import Coordinator

EXCEPTION = 2
Worker = tuple[str, str]
"""Address and host of a worker."""
USED_UP = 0.8
"""Share of its memory that a worker had taken when it died, at least, to have died of that."""
INQUEST_S = 6.0
"""Seconds to wait for what SLURM knows of a worker that died."""
TAKEN_AWAY = {
    "preempted": PREEMPTED,
    "walltime": WALLTIME,
    "node failure": NODE_FAILURE,
    "cancelled": KILLED,
    "ended": KILLED,
}
"""What is kept of units whose worker had to go, for no fault of theirs."""
OURS = "ended"
"""Why a worker had to go that the run itself has ended: no news to anybody."""


class Mishaps:
    """Deals with lost, refused, cancelled and superseded batches of one session.

    Parameters
    ----------
    coordinator
        The coordinator.
    """

    def __init__(self, coordinator: "Coordinator") -> None:
        self.of = coordinator
        self._cancelling: set[tuple[int, int]] = set()
        self._called_back: set[int] = set()
        self._asked_since: dict[int, float] = {}

    # ---------------------------------------------------------------- not reported

    def give_up(
        self, batch: Batch, outcome: int, error: int | None = None, worker: int | None = None
    ) -> None:
        """A batch that no worker reported on: recorded, not charged, waiting again."""
        self.of.record.unreported(batch.node, batch, outcome, error, worker)
        node = self.of.pipeline.nodes.get(batch.stage)
        if node is None or node.units is not batch.node.units:
            return  # its units are gone with the stage
        told = [k for k, unit in enumerate(batch.units.tolist()) if self._is_cancelled(node, unit)]
        if told:
            units = batch.units[told]
            self.of.journal.add_change(node.id, "cancel", units.astype("<i8").tobytes())
            node.units.mark[units] = State.CANCELLED
        self.of.wait_again(node, batch.units)

    def _is_cancelled(self, node: Node, unit: int) -> bool:
        if (node.id, unit) in self._cancelling:
            self._cancelling.discard((node.id, unit))
            return True
        return False

    def cancelled(self, batch: Batch) -> None:
        """It was called back, or the scheduler dropped it, most often because it has ended."""
        node = self.of.pipeline.nodes.get(batch.stage)
        ours = batch.number in self._called_back
        self._called_back.discard(batch.number)
        began = not ours and self._began(batch)
        if node is None or node.units is not batch.node.units or began:
            self.give_up(batch, STOPPED)
        else:
            self.not_begun(node, batch)
        self.of.look_at_slots()

    def superseded(self, batch: Batch, staging: str) -> None:
        """Its stage has been removed or changed since it was sent: nobody wants what it made."""
        self.give_up(batch, SUPERSEDED)
        if staging:
            shutil.rmtree(staging, ignore_errors=True)

    def broken(self, batch: Batch, error: BaseException | None) -> bool:
        """A batch whose task failed as a whole: its worker died, or could not even begin.

        Returns
        -------
        bool
            Whether that is dealt with; False while it is not known why the worker died.
        """
        from distributed import KilledWorker

        of = self.of
        if not of.is_current(batch):
            self.superseded(batch, "")
            return True
        node = of.pipeline[batch.stage]
        if not isinstance(error, KilledWorker):
            self._refused(node, batch, error)
            return True
        ended = self._ended(batch)
        if ended is not None:
            self._take_in_ended(node, batch, ended, self._worker_of(error))
        elif not self._began(batch):
            self.not_begun(node, batch)
        else:
            cause = self._cause(batch, error)
            if cause is None:
                return False
            self._killed(node, batch, error, cause)
        of.look_at_slots()
        return True

    def _worker_of(self, error: Any) -> Worker:
        """The worker that died."""
        address = str(getattr(error.last_worker, "address", "") or "")
        return address, self.of.care.placing.host_of(address)

    def _cause(self, batch: Batch, error: Any) -> str | None:
        """Why the worker of a batch died, in words; empty if nobody knows, None if not yet."""
        scaler = batch.pool.scaler
        if scaler is None:
            return ""
        cause = scaler.cause(str(getattr(error.last_worker, "name", "")))
        if cause is not None:
            return cause
        since = self._asked_since.setdefault(batch.number, time.monotonic())
        return None if time.monotonic() < since + INQUEST_S else ""

    def _killed(self, node: Node, batch: Batch, error: Any, cause: str) -> None:
        """The worker of a batch that had begun has died."""
        of = self.of
        self._asked_since.pop(batch.number, None)
        batch, starved, written = self._narrowed(node, batch, error)
        if (starved or cause == "memory") and len(batch.units) == 1:
            text = "its worker was killed when it had no memory left"
            self._charge(node, batch, MEMORY, "MemoryError", text)
            return
        if cause in TAKEN_AWAY:
            outcome = TAKEN_AWAY[cause]
            text = f"its worker was taken away by SLURM: {cause}"
            if cause != OURS:
                of.care.worker_taken(error, cause)
            self.give_up(batch, outcome, of.journal.error_id("KilledWorker", text, text))
            return
        message = "its worker died: out of memory, or its code crashed (the worker's log may tell)"
        error_id = of.journal.error_id("KilledWorker", message, message_of(error))
        self.give_up(batch, KILLED, error_id, of.care.worker_lost(batch, error))
        self._suspect(node, written)
        units = batch.units.tolist()
        if (node.units.mark[batch.units] == State.CANCELLED).any():
            return
        if not batch.alone:
            self._suspect(node, batch.units)
        elif self._move_up(node, batch, units[0]):  # it may have been its memory
            return
        elif of.suspects.blame(node.name, units[0]):
            of.change_units(node, failed_for_good(int(batch.fingerprints[0])), batch.units)
            of.care.failed_for_good(node, batch.units)
        else:
            self._suspect(node, batch.units)

    def _suspect(self, node: Node, units: np.ndarray) -> None:
        """Have units tried by themselves, where they wait: one of them may have killed a worker."""
        waiting = units[node.units.mark[units] != State.CANCELLED]
        self.of.ready[node.name].remove(waiting)
        self.of.suspects.add(node.name, waiting.tolist())

    def _narrowed(self, node: Node, batch: Batch, error: Any) -> tuple[Batch, bool, np.ndarray]:
        """What ran of a batch when its worker died: the whole batch, if nobody knows.

        And whether the worker's memory was used up, and units that were being written still.
        """
        for folder in self.of.staging.glob(f"{batch.number}-*"):
            box = read_box(folder)
            if box is not None and 0 <= box.running < len(batch.units):
                starved = box.resident > USED_UP * box.limit
                address, _ = self._worker_of(error)
                self.of.care.placing.learn(address, box.host)
                who = address, box.host
                written = box.done["unit"][box.done["outcome"] == 0]
                return self._only_running(node, batch, box.running, folder, who), starved, written
        return batch, False, batch.units[:0]

    def not_begun(self, node: Node, batch: Batch) -> None:
        """No worker came to this batch: there is no attempt to be told of."""
        self.of.record.not_begun(batch)
        node.units.attempts[batch.units] -= 1
        cancelled = [u for u in batch.units.tolist() if self._is_cancelled(node, u)]
        if cancelled:
            self.of.change_units(node, "cancel", np.array(cancelled))
        if batch.alone:
            self.of.suspects.add(node.name, batch.units.tolist())
        self.of.wait_again(node, batch.units)
        if batch.alone:
            self.of.ready[node.name].remove(batch.units)

    # ---------------------------------------------------------------- too little memory

    def outgrew(self, node: Node, batch: Batch, rows: np.ndarray) -> np.ndarray:
        """The report, with units that had too little memory and are to go to a larger pool."""
        short = rows["outcome"] == MEMORY
        if not short.any():
            return rows
        rows = rows.copy()
        for row in np.flatnonzero(short).tolist():
            unit, peak = int(rows["unit"][row]), int(rows["peak_memory"][row])
            if self._move_up(node, batch, unit, peak):
                rows["outcome"][row] = LARGER
        return rows

    def _move_up(self, node: Node, batch: Batch, unit: int, peak: int = 0) -> bool:
        """Let a unit run in larger pools from now on, also in later runs; False if there is none.

        That it needs one is kept also where there is none now, but not where that is a guess:
        without a `peak` it may be that its code crashed.
        """
        had, pools = batch.pool.memory_bytes, self.of.pools
        larger = had is not None and bool(pools.larger(node.needs, had))
        if had is None or not (larger or peak):
            return False
        ample = int(MARGIN * peak)
        needs = ample if ample > had and pools.larger(node.needs, ample) else had
        if self.of.outgrown.add(node.name, unit, needs):
            what = too_few(node.fingerprint, needs)
            self.of.journal.add_change(node.id, what, np.array([unit], dtype="<i8").tobytes())
        return larger

    def unwritable(self, node: Node, batch: Batch, report: BatchReport, rows: np.ndarray) -> None:
        """Units that a worker could not write: nobody is charged, the project waits for room."""
        outage = self.of.outage
        for failure in report.failures:
            if failure.trouble is None:
                continue
            unit = int(rows["unit"][failure.row])
            if outage.strike(node.id, unit, failure.trouble):
                of_unit = int(batch.fingerprints[batch.units == unit][0])
                self.of.change_units(node, failed_for_good(of_unit), np.array([unit]))
                self.of.care.failed_for_good(node, np.array([unit]))
                continue
            if outage.is_late(node.id, unit, failure.trouble):
                continue
            tile = node.lattice.tile(unit)
            by = f"stage {node.name!r} for tile {tile.name} {tile.address} on {report.host}"
            if outage.begin(failure.trouble, by):
                self.hand_back(self.of.flying.values())
        if (rows["outcome"] == COMPLETE).any():
            outage.went_well()

    def _began(self, batch: Batch) -> bool:
        """Whether a worker had begun a batch; what it said last may have been lost with it."""
        return batch.started or any(self.of.staging.glob(f"{batch.number}-*"))

    def _ended(self, batch: Batch) -> dict[str, Any] | None:
        """What a worker said before it ended itself because of a unit that did not react."""
        for path in self.of.staging.glob(f"{batch.number}-*/{ENDED}"):
            try:
                facts = dict(json.loads(path.read_text(encoding="utf-8")))
                facts["staging"] = str(path.parent)
            except (OSError, ValueError):
                continue
            if facts.get("unit") in batch.units:
                return facts
        return None

    def _take_in_ended(self, node: Node, batch: Batch, ended: dict[str, Any], who: Worker) -> None:
        """One unit was ended with its worker; the others of its batch had no part in it."""
        row = int(np.flatnonzero(batch.units == int(ended["unit"]))[0])
        mine = self._only_running(node, batch, row, Path(ended["staging"]), who)
        outcome, peak = int(ended["outcome"]), int(ended.get("peak_memory", 0))
        if outcome == STOPPED:  # it had hardly begun, and the process was at fault
            self.not_begun(node, mine)
        else:
            kind = OUTCOMES[outcome]
            self._charge(node, mine, outcome, kind, str(ended["message"]), peak_memory=peak)

    def _only_running(
        self, node: Node, batch: Batch, row: int, staging: Path, who: Worker
    ) -> Batch:
        """Deal with all units of a batch but the one that ran when its worker died; that one."""
        at = np.arange(len(batch.units))
        before, mine, after = (batch.only(which) for which in (at < row, at == row, at > row))
        if len(after.units):
            self.not_begun(node, after)
        if len(before.units):
            self._take_in_done(node, before, staging, who)
        return mine

    def _take_in_done(self, node: Node, before: Batch, staging: Path, who: Worker) -> None:
        """Units that were done, but not reported, when their worker died.

        Of those that failed, or that made records, the rest is lost with it: they run again, and
        so does one whose output was being written.
        """
        box, output = read_box(staging), node.output
        good = np.zeros(len(before.units), dtype=bool)
        rows = np.zeros(0, REPORT) if box is None else box.done[: len(before.units)]
        if output is not None and node.settled and output.kind in STAGED:
            good[: len(rows)] = rows["outcome"] == COMPLETE
        if not good.all():
            self.give_up(before.only(~good), KILLED, self._lost_with_worker())
        if good.any():
            done = rows[good[: len(rows)]].tobytes()
            report = BatchReport(before.number, done, str(staging), output, (), (), *who)
            previews = str(staging / PREVIEWS)
            self.of.take_in(before.only(good), replace(report, previews=previews))

    def _lost_with_worker(self) -> int:
        """Id of the error of units that were done, but not reported or not quite written."""
        text = "it was done, but its worker ended before that was reported: it runs again"
        return self.of.journal.error_id("KilledWorker", text, text)

    def _refused(self, node: Node, batch: Batch, error: BaseException | None) -> None:
        """The worker could not begin: every unit is charged with what it said."""
        message = (
            message_of(error)
            if isinstance(error, StageError)
            else f"{type(error).__name__}: {message_of(error)}"
        )
        self._charge(node, batch, EXCEPTION, type(error).__name__, message)

    def _charge(
        self,
        node: Node,
        batch: Batch,
        outcome: int,
        kind: str,
        message: str,
        *,
        peak_memory: int = 0,
    ) -> None:
        """Attempts that ended in the same way, as no worker could report."""
        rows = np.zeros(len(batch.units), dtype=REPORT)
        rows["unit"], rows["attempt"], rows["outcome"] = batch.units, batch.attempts, outcome
        rows["started"], rows["ended"] = batch.dispatched, time.time()
        rows["exit_code"], rows["peak_memory"] = NO_CODE, peak_memory
        rows = self.outgrew(node, batch, rows)
        journal, record = self.of.journal, self.of.record
        error_id = journal.error_id(kind, message[:2000], message[-20000:])
        errors = dict.fromkeys(range(len(rows)), error_id)
        record.reported(node, batch, rows, record.worker("no worker", ""), errors)
        self.of.apply(node, batch, rows)

    # ---------------------------------------------------------------- not wanted

    def recall(self, stage: str) -> None:
        """The stage was changed or removed: end what is out of it."""
        out = [pair for pair in self.of.flying.values() if pair[0].stage == stage]
        for batch in self._begun_of(p for p in out if not self.of.is_current(p[0])):
            self._tell(batch, cancel_here, batch.units.tolist())

    def hand_back(self, flying: Iterable[tuple[Batch, Any]]) -> None:
        """What has not begun of some batches is to come back; what runs goes on."""
        for batch in self._begun_of(flying):
            self._tell(batch, hand_back_here)

    def cancel(self, node: Node, units: np.ndarray) -> None:
        """Cancel units that workers have; their programs end."""
        wanted = set(units.tolist())
        mine = {
            number: wanted.intersection(batch.units.tolist())
            for number, (batch, _) in self.of.flying.items()
            if batch.node.id == node.id
        }
        self._cancelling |= {(node.id, unit) for some in mine.values() for unit in some}
        out = [self.of.flying[number] for number, some in mine.items() if some]
        for batch in self._begun_of(out):
            self._tell(batch, cancel_here, sorted(mine[batch.number]))

    def _begun_of(self, flying: Iterable[tuple[Batch, Any]]) -> list[Batch]:
        """Batches that workers have begun; the others are called back.

        The folder of a batch may be there before its worker's word of it: to call back what runs
        would only throw away what it makes (`latticework.stages.handing_back`).
        """
        out = list(flying)
        quiet = [batch.number for batch, _ in out if not batch.started]
        there = call_back(self.of.staging, quiet) if quiet else set()
        begun = []
        for batch, future in out:
            if batch.started or batch.number in there:
                begun.append(batch)
            else:
                self._called_back.add(batch.number)
                with contextlib.suppress(Exception):  # the scheduler may be gone
                    future.cancel()
        return begun

    def forget_cancelling(self, node: Node, units: np.ndarray) -> None:
        """These came back: whether they were to be cancelled does not matter any more."""
        if self._cancelling:
            self._cancelling -= {(node.id, unit) for unit in units.tolist()}

    def _tell(self, batch: Batch, what: Any, *arguments: Any) -> None:
        """Call something on every worker that may have a batch, without waiting for it."""
        about = str(self.of.staging), batch.number
        with contextlib.suppress(Exception):  # a worker that is gone has nothing to cancel
            batch.pool.client.run(
                *(call_here, what, *about, *arguments), wait=False, on_error="ignore"
            )
