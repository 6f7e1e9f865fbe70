"""Facts and states of all units of one stage: a few small arrays, and how they are kept."""

import zlib
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from latticework.lattice.states import State
from latticework.stages.budgets import Retries, add_failures, plain_failures

DURABLE = np.dtype(
    [
        ("mark", "u1"),
        ("tries", "u1"),
        ("attempts", "<u2"),
        ("published", "<u2"),
        ("duration_s", "<f4"),
        ("ended", "<f8"),
        ("fingerprint", "<u8"),
        ("spent", "<u8"),
    ]
)
"""One row per unit, as it is kept in snapshots; 34 bytes."""
COLUMNS: tuple[str, ...] = DURABLE.names or ()
FIRST_COLUMNS = 7
"""Columns of the first snapshots: all but `Units.spent`."""
MOST_TRIES = 255
"""Tries are counted in a byte."""
MARKS = (State.FAILED, State.CANCELLED)
"""What stays of a unit until a user, or a change of what it reads, lets it run again."""


@dataclass(slots=True)
class Units:
    """Every unit of one stage.

    `state` follows from the other columns, from the pipeline and from what is on its way
    (`latticework.project.deriving`); the others are durable facts, rebuilt from the journal.
    States are changed with `put`, which keeps their `tally`.

    Examples
    --------
    >>> units = Units.waiting(3)
    >>> units.put(np.array([0, 2]), State.COMPLETE)
    >>> units.count(), int(units.tally[State.COMPLETE])
    ({<State.WAITING: 1>: 1, <State.COMPLETE: 4>: 2}, 2)
    >>> units.grow(5)
    >>> len(units), units.state.tolist()
    (5, [4, 1, 4, 1, 1])
    """

    state: np.ndarray
    """uint8: `State`."""
    mark: np.ndarray
    """uint8: ``State.FAILED`` or ``State.CANCELLED`` of units that do not run by themselves; 0."""
    tries: np.ndarray
    """uint8: failures of what failed last, since it completed or was told to run again."""
    attempts: np.ndarray
    """uint16: attempts ever begun."""
    published: np.ndarray
    """uint16: number of the attempt whose output is published; 0 for none."""
    duration_s: np.ndarray
    """float32: seconds that the last attempt took."""
    ended: np.ndarray
    """float64: when the last attempt ended."""
    fingerprint: np.ndarray
    """uint64: of what made the published output."""
    spent: np.ndarray
    """uint64: failures of each kind among `tries` (`latticework.stages.budgets`)."""
    tally: np.ndarray
    """int64: number of units in each state."""
    room: dict[str, np.ndarray] = field(default_factory=dict)
    """The arrays with spare room behind them, once units have been added."""

    @classmethod
    def waiting(cls, n: int) -> Self:
        """Units that have never run."""
        state = np.full(n, State.WAITING, dtype=np.uint8)
        columns: dict[str, Any] = {name: np.zeros(n, dtype=DURABLE[name]) for name in COLUMNS}
        return cls(state, **columns, tally=np.bincount(state, minlength=len(State)))

    def __len__(self) -> int:
        return len(self.state)

    @property
    def present(self) -> int:
        """Units that there are: those that are absent do not count."""
        return len(self) - int(self.tally[State.ABSENT])

    def count(self) -> dict[State, int]:
        """Units in each state."""
        return {state: int(self.tally[state]) for state in State if self.tally[state]}

    def put(self, units: np.ndarray, states: "np.ndarray | int") -> None:
        """Set the states of some units, each named once."""
        self.tally -= np.bincount(self.state[units], minlength=len(State))
        self.state[units] = states
        self.tally += np.bincount(self.state[units], minlength=len(State))

    def charge(
        self,
        units: np.ndarray,
        stamps: np.ndarray,
        budgets: Retries,
        outcomes: np.ndarray,
        codes: np.ndarray,
    ) -> None:
        """These failed once more: they may be tried again, or have failed for good.

        Parameters
        ----------
        units
            Ids.
        stamps
            What failed, as `latticework.project.fingerprints.failure_stamps`.
        budgets
            How often they may fail in each way.
        outcomes, codes
            In which way each failed now, and the exit code of its program.
        """
        same = self.fingerprint[units] == stamps
        before = np.where(same, self.tries[units], 0)
        self.tries[units] = np.minimum(before.astype(int) + 1, MOST_TRIES)
        spent = np.where(same, self.spent[units], np.uint64(0))
        self.spent[units] = add_failures(spent, outcomes, codes)
        self.fingerprint[units] = stamps
        self.mark[units] = 0
        self.judge(budgets, units)

    def forgive(self, units: "np.ndarray | int") -> None:
        """These completed, or are told to run again: no failure of theirs counts any more."""
        self.mark[units], self.tries[units], self.spent[units] = 0, 0, 0

    def judge(self, budgets: Retries, units: "np.ndarray | slice" = slice(None)) -> None:
        """Mark as failed for good what has failed more often than it may.

        What was marked and may be tried again now, because it is given more retries, is not.
        """
        failed = self.tries[units] == MOST_TRIES
        some = np.flatnonzero(self.tries[units])
        failed[some] |= budgets.used_up(self.spent[units][some])
        mark = np.where(failed, np.uint8(State.FAILED), np.uint8(0))
        cancelled = self.mark[units] == State.CANCELLED
        self.mark[units] = np.where(cancelled, self.mark[units], mark)

    def grow(self, n: int) -> None:
        """Have so many units: the new ones, waiting, at the end.

        There is room behind the arrays, so that adding a few costs time in proportion to those.
        """
        old = len(self)
        if n <= old:
            return
        for name in ("state", *COLUMNS):
            buffer = self.room.get(name)
            if buffer is None or len(buffer) < n:
                column = getattr(self, name)
                buffer = np.zeros(n + n // 2 + 64, dtype=column.dtype)
                buffer[:old] = column
                self.room[name] = buffer
            setattr(self, name, buffer[:n])
        self.state[old:] = State.WAITING
        self.tally[State.WAITING] += n - old

    def copy(self) -> "Units":
        """The same, apart."""
        columns = {name: getattr(self, name).copy() for name in ("state", *COLUMNS, "tally")}
        return Units(**columns)

    # ---------------------------------------------------------------- snapshots

    def to_bytes(self) -> bytes:
        """The durable part, packed: column by column, compressed."""
        packed = [
            zlib.compress(np.ascontiguousarray(getattr(self, name)).tobytes(), 1)
            for name in COLUMNS
        ]
        sizes = [len(self), *map(len, packed)]
        return b"".join([*(size.to_bytes(8, "little") for size in sizes), *packed])

    @classmethod
    def from_bytes(cls, packed: bytes) -> Self:
        """From `to_bytes`; every unit waits, until its state is worked out."""
        columns = COLUMNS
        n, *sizes = np.frombuffer(packed, "<i8", 1 + len(columns)).tolist()
        if sum(sizes) + 8 * (1 + len(columns)) != len(packed):  # it is of an earlier version
            columns, sizes = COLUMNS[:FIRST_COLUMNS], sizes[:FIRST_COLUMNS]
        start = 8 * (1 + len(columns))
        units = cls.waiting(n)
        for name, size in zip(columns, sizes, strict=True):
            raw = zlib.decompress(memoryview(packed)[start : start + size])
            setattr(units, name, np.frombuffer(raw, DURABLE[name], n).copy())
            start += size
        if len(columns) < len(COLUMNS):
            units.spent = plain_failures(units.tries)
        units.mark[~np.isin(units.mark, MARKS)] = 0  # older snapshots kept the whole state
        return units
