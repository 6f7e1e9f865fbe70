"""What the coordinator writes to the journal about attempts."""

import time

import numpy as np

from latticework.io.journal import Journal
from latticework.project.dispatch import Batch
from latticework.project.pipeline import Node
from latticework.stages.failures import NO_CODE, Failure

NAMES = ("unit", "attempt", "outcome")
COSTS = ("started", "ended", "cpu_s", "peak_memory", "bytes_read", "bytes_written")


class Recorder:
    """Writes attempts of one session.

    Parameters
    ----------
    journal
        The journal, writable.
    session
        The session's number.
    """

    def __init__(self, journal: Journal, session: int) -> None:
        self.journal, self.session = journal, session
        self._workers: dict[tuple[str, str], int] = {}

    def error(self, failure: Failure) -> int:
        """Id of an error."""
        return self.journal.error_id(failure.error, failure.message, failure.text)

    def worker(self, address: str, host: str) -> int:
        """Id of a worker."""
        key = (address, host)
        if key not in self._workers:
            self._workers[key] = self.journal.worker_id(address, host)
        return self._workers[key]

    def reported(
        self, node: Node, batch: Batch, rows: np.ndarray, worker: int, errors: dict[int, int]
    ) -> None:
        """Attempts that a worker reported on; `errors` are ids by row."""
        n = len(rows)
        self.journal.add_attempts(
            zip(
                [node.id] * n,
                *(rows[name].tolist() for name in NAMES),
                [self.session] * n,
                *(rows[name].tolist() for name in COSTS),
                batch.fingerprints.view("i8").tolist(),
                [worker] * n,
                [errors.get(row) for row in range(n)] if errors else [None] * n,
                exit_codes(rows),
                [batch.dispatched] * n,
                strict=True,
            )
        )
        self._forget(batch)

    def unreported(
        self, node: Node, batch: Batch, outcome: int, error: int | None, worker: int | None = None
    ) -> None:
        """Attempts of a batch that no worker reported on; `worker` died with it, where known."""
        now = time.time()
        self.journal.add_attempts(
            (
                *(node.id, unit, attempt, outcome, self.session, batch.dispatched, now),
                *(None, None, None, None, fingerprint, worker, error, None, batch.dispatched),
            )
            for unit, attempt, fingerprint in zip(
                batch.units.tolist(),
                batch.attempts.tolist(),
                batch.fingerprints.view("i8").tolist(),
                strict=True,
            )
        )
        self._forget(batch)

    def not_begun(self, batch: Batch) -> None:
        """No worker had begun this batch: there is nothing to tell of it."""
        self._forget(batch)

    def _forget(self, batch: Batch) -> None:
        self.journal.write(
            "delete from batches where session=? and batch=?", (self.session, batch.number)
        )


def exit_codes(rows: np.ndarray) -> list[int | None]:
    """Exit codes of the programs that units ran; None where there was none."""
    codes = rows["exit_code"]
    if (codes == NO_CODE).all():
        return [None] * len(rows)
    return [None if code == NO_CODE else code for code in codes.tolist()]
