"""What becomes of batches that do not come back as they should, or are not wanted any more."""

import contextlib
import json
import shutil
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.errors import StageError
from latticework.io.journal import KILLED, OUTCOMES, STOPPED, SUPERSEDED
from latticework.lattice.states import State
from latticework.project.dispatch import Batch
from latticework.project.fingerprints import failure_stamps
from latticework.project.pipeline import Node
from latticework.stages.failures import NO_CODE, message_of
from latticework.stages.handing_back import hand_back_here
from latticework.stages.running_units import ENDED, call_here, cancel_here
from latticework.stages.worker import REPORT

if TYPE_CHECKING:
    from latticework.project.coordinator import Coordinator

EXCEPTION = 2


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

    # ---------------------------------------------------------------- not reported

    def give_up(self, batch: Batch, outcome: int, error: int | None = None) -> None:
        """A batch that no worker reported on: recorded, not charged, waiting again."""
        self.of.record.unreported(batch.node, batch, outcome, error)
        node = self.of.pipeline.nodes.get(batch.stage)
        if node is None or node.units is not batch.node.units:
            return  # its units are gone with the stage
        told = [k for k, unit in enumerate(batch.units.tolist()) if self._is_cancelled(node, unit)]
        if told:
            units = batch.units[told]
            self.of.journal.add_change(node.id, "cancel", units.astype("<i8").tobytes())
            node.units.mark[units] = State.CANCELLED
        if outcome == KILLED:  # as when the journal is read again
            node.units.fingerprint[batch.units] = failure_stamps(batch.fingerprints)
        self.of.wait_again(node, batch.units)

    def _is_cancelled(self, node: Node, unit: int) -> bool:
        if (node.id, unit) in self._cancelling:
            self._cancelling.discard((node.id, unit))
            return True
        return False

    def cancelled(self, batch: Batch) -> None:
        """It was called back, or the scheduler dropped it, most often because it has ended."""
        self.give_up(batch, STOPPED)
        self.of.look_at_slots()

    def superseded(self, batch: Batch, staging: str) -> None:
        """Its stage has been removed or changed since it was sent: nobody wants what it made."""
        self.give_up(batch, SUPERSEDED)
        if staging:
            shutil.rmtree(staging, ignore_errors=True)

    def broken(self, batch: Batch, error: BaseException | None) -> None:
        """A batch whose task failed as a whole: its worker died, or could not even begin."""
        from distributed import KilledWorker

        of = self.of
        if not of.is_current(batch):
            self.superseded(batch, "")
            return
        node = of.pipeline[batch.stage]
        if not isinstance(error, KilledWorker):
            self._refused(node, batch, error)
            return
        ended = self._ended(batch)
        if ended is not None:
            self._take_in_ended(node, batch, ended)
            return
        message = "its worker died: out of memory, or its code crashed (the worker's log may tell)"
        self.give_up(batch, KILLED, of.journal.error_id("KilledWorker", message, message_of(error)))
        units, began = batch.units.tolist(), self._began(batch)
        cancelled = (node.units.mark[batch.units] == State.CANCELLED).any()
        if cancelled or (not began and not batch.alone):
            return
        if not began or not batch.alone or not of.suspects.blame(node.name, units[0]):
            of.ready[node.name].remove(batch.units)
            of.suspects.add(node.name, units)
            return
        of.change_units(node, "fail", batch.units)

    def _began(self, batch: Batch) -> bool:
        """Whether a worker had begun a batch; what it said last may have been lost with it."""
        return batch.started or any(self.of.staging.glob(f"{batch.number}-*"))

    def _ended(self, batch: Batch) -> dict[str, Any] | None:
        """What a worker said before it ended itself because of a unit that did not react."""
        for path in self.of.staging.glob(f"{batch.number}-*/{ENDED}"):
            try:
                facts = dict(json.loads(path.read_text(encoding="utf-8")))
            except (OSError, ValueError):
                continue
            if facts.get("unit") in batch.units:
                return facts
        return None

    def _take_in_ended(self, node: Node, batch: Batch, ended: dict[str, Any]) -> None:
        """One unit was ended with its worker; the others of its batch had no part in it."""
        its = batch.units == int(ended["unit"])
        mine, others = batch.only(its), batch.only(~its)
        if len(others.units):
            self.give_up(others, STOPPED)
        outcome = int(ended["outcome"])
        self._charge(node, mine, outcome, OUTCOMES[outcome], str(ended["message"]))

    def _refused(self, node: Node, batch: Batch, error: BaseException | None) -> None:
        """The worker could not begin: every unit is charged with what it said."""
        message = (
            message_of(error)
            if isinstance(error, StageError)
            else f"{type(error).__name__}: {message_of(error)}"
        )
        self._charge(node, batch, EXCEPTION, type(error).__name__, message)

    def _charge(self, node: Node, batch: Batch, outcome: int, kind: str, message: str) -> None:
        """Attempts that ended in the same way, as no worker could report."""
        rows = np.zeros(len(batch.units), dtype=REPORT)
        rows["unit"], rows["attempt"], rows["outcome"] = batch.units, batch.attempts, outcome
        rows["started"], rows["ended"] = batch.dispatched, time.time()
        rows["exit_code"] = NO_CODE
        journal, record = self.of.journal, self.of.record
        error_id = journal.error_id(kind, message[:2000], message[-20000:])
        errors = dict.fromkeys(range(len(rows)), error_id)
        record.reported(node, batch, rows, record.worker("no worker", ""), errors)
        self.of.apply(node, batch, rows)

    # ---------------------------------------------------------------- not wanted

    def recall(self, stage: str) -> None:
        """The stage was changed or removed: end what is out of it."""
        for batch, future in self.of.flying.values():
            if batch.stage == stage and not self.of.is_current(batch):
                if batch.started:
                    self._tell(cancel_here, batch.number, batch.units.tolist())
                else:
                    _call_back(future)

    def hand_back(self, batch: Batch, future: Any) -> None:
        """What has not begun of a batch is to come back; what runs goes on."""
        if batch.started:
            self._tell(hand_back_here, batch.number)
        else:
            _call_back(future)

    def cancel(self, node: Node, units: np.ndarray) -> None:
        """Cancel units that workers have; their programs end."""
        wanted = set(units.tolist())
        for batch, future in self.of.flying.values():
            if batch.node.id != node.id:
                continue
            mine = wanted & set(batch.units.tolist())
            self._cancelling |= {(node.id, unit) for unit in mine}
            if mine and not batch.started:
                _call_back(future)
            elif mine:
                self._tell(cancel_here, batch.number, sorted(mine))

    def forget_cancelling(self, node: Node, units: np.ndarray) -> None:
        """These came back: whether they were to be cancelled does not matter any more."""
        if self._cancelling:
            self._cancelling -= {(node.id, unit) for unit in units.tolist()}

    def _tell(self, what: Any, *arguments: Any) -> None:
        """Call something on every worker, without waiting for it."""
        session = str(self.of.staging)
        with contextlib.suppress(Exception):  # a worker that is gone has nothing to cancel
            self.of.client.run(call_here, what, session, *arguments, wait=False, on_error="ignore")


def _call_back(future: Any) -> None:
    with contextlib.suppress(Exception):
        future.cancel()
