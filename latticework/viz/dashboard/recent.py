"""The attempts of the recent past, as they come: for durations, memory and rates."""

import numpy as np

from latticework.io.journal import Journal
from latticework.project.flow import Flow

MOST = 100_000
"""Attempts that are kept."""
RATE_WINDOW_S = 600.0
"""Seconds over which rates are taken."""
AT_ONCE = 20_000
"""Attempts that are read at once, so that no look takes long."""
ATTEMPT = np.dtype(
    [
        ("id", "i8"),
        ("stage", "i4"),
        ("unit", "i8"),
        ("outcome", "i2"),
        ("started", "f8"),
        ("ended", "f8"),
        ("memory", "f8"),
        ("bytes", "f8"),
        ("worker", "i4"),
    ]
)
"""One attempt: numbers of stage, unit, outcome and worker; seconds since 1970; bytes."""
_SQL = (
    "select id, stage, unit, outcome, coalesce(started, ended, dispatched, 0), "
    "coalesce(ended, dispatched, 0), coalesce(peak_memory, 0), coalesce(bytes_written, 0), "
    "coalesce(worker, -1) from attempts where id > ? order by id limit ?"
)


class RecentAttempts:
    """The last attempts of a project, and the rate of each stage; only new ones are ever read.

    Parameters
    ----------
    window_s
        Seconds over which rates are taken.
    """

    def __init__(self, window_s: float = RATE_WINDOW_S) -> None:
        self.window_s = window_s
        self.rows = np.zeros(0, ATTEMPT)
        """The last attempts, in their order."""
        self.last = 0
        """Number of the last attempt that was read."""
        self.arrived = Flow(window_s)
        """Tiles that arrived."""
        self.completed: dict[int, Flow] = {}
        """Units that each stage completed, by the stage's number."""
        self._last_arrival = 0

    def look(self, journal: Journal) -> np.ndarray:
        """Read what is new of a journal; the new attempts."""
        if not self.last:
            newest = int(journal.query("select coalesce(max(id), 0) from attempts")[0][0])
            self.last = max(0, newest - MOST)
        self._see_arrivals(journal)
        new = np.array(journal.query(_SQL, (self.last, AT_ONCE)), dtype=ATTEMPT)
        if not len(new):
            return new
        self.last = int(new["id"][-1])
        self.rows = np.concatenate([self.rows, new])[-MOST:]
        self._count(new[new["outcome"] == 1])
        return new

    def _count(self, complete: np.ndarray) -> None:
        """Completed units go into the rates, in steps of a second."""
        for stage in np.unique(complete["stage"]).tolist():
            mine = complete[complete["stage"] == stage]
            flow = self.completed.setdefault(stage, Flow(self.window_s))
            moments, where = np.unique(mine["ended"].astype("i8"), return_inverse=True)
            units = np.bincount(where)
            sizes = np.bincount(where, mine["bytes"])
            for at, n, n_bytes in zip(
                moments.tolist(), units.tolist(), sizes.tolist(), strict=True
            ):
                flow.add(float(at), n, int(n_bytes))

    def _see_arrivals(self, journal: Journal) -> None:
        rows = journal.query(
            "select rowid, at, units, bytes from arrivals where rowid > ? order by rowid limit ?",
            (self._last_arrival, AT_ONCE),
        )
        for number, at, units, n_bytes in rows:
            self._last_arrival = number
            self.arrived.add(at, units, n_bytes)

    def of(self, stage: int) -> np.ndarray:
        """The attempts of one stage among the last ones."""
        return np.asarray(self.rows[self.rows["stage"] == stage])
