"""States of all units of one stage: a few small arrays, and how they are kept in a snapshot."""

import zlib
from dataclasses import dataclass
from typing import Self

import numpy as np

from latticework.lattice.states import State

DURABLE = np.dtype(
    [
        ("state", "u1"),
        ("tries", "u1"),
        ("attempts", "<u2"),
        ("published", "<u2"),
        ("duration_s", "<f4"),
        ("ended", "<f8"),
        ("fingerprint", "<u8"),
    ]
)
"""One row per unit, as it is kept in snapshots; 26 bytes."""


@dataclass(slots=True)
class Units:
    """Every unit of one stage.

    Of the states only `FAILED` and `CANCELLED` are durable: the others follow from what is
    published, from fingerprints, from the pipeline and from what is on its way
    (`Pipeline.derive`).
    """

    state: np.ndarray
    """uint8, `State`."""
    tries: np.ndarray
    """uint8: attempts charged since the unit was last told to run."""
    attempts: np.ndarray
    """uint16: attempts made, ever."""
    published: np.ndarray
    """uint16: number of the attempt whose output is published; 0 for none."""
    duration_s: np.ndarray
    """float32: seconds that the last attempt took."""
    ended: np.ndarray
    """float64: when the last attempt ended."""
    fingerprint: np.ndarray
    """uint64: of what made the published output."""

    @classmethod
    def waiting(cls, n: int) -> Self:
        """Units that have never run."""
        columns = {name: np.zeros(n, dtype=DURABLE[name]) for name in DURABLE.names or ()}
        columns["state"][:] = State.WAITING
        return cls(**columns)

    def __len__(self) -> int:
        return len(self.state)

    def count(self) -> dict[State, int]:
        """Units in each state."""
        counts = np.bincount(self.state, minlength=len(State))
        return {state: int(counts[state]) for state in State if counts[state]}

    def grown(self, n: int) -> "Units":
        """The same with new units, waiting, at the end."""
        more = Units.waiting(n - len(self))
        names = DURABLE.names or ()
        return Units(**{k: np.concatenate([getattr(self, k), getattr(more, k)]) for k in names})

    # ---------------------------------------------------------------- snapshots

    def to_bytes(self) -> bytes:
        """The durable part, packed: column by column, compressed."""
        state = self.state.copy()
        derived = (State.QUEUED, State.RUNNING, State.BLOCKED, State.STALE)
        state[np.isin(state, derived)] = State.WAITING
        columns = [state, *(getattr(self, name) for name in (DURABLE.names or ())[1:])]
        packed = [zlib.compress(column.tobytes(), 1) for column in columns]
        sizes = [len(self), *map(len, packed)]
        return b"".join([*(size.to_bytes(8, "little") for size in sizes), *packed])

    @classmethod
    def from_bytes(cls, packed: bytes) -> Self:
        """From `to_bytes`."""
        names = DURABLE.names or ()
        start = 8 * (1 + len(names))
        n, *sizes = np.frombuffer(packed, "<i8", 1 + len(names)).tolist()
        columns = {}
        for name, size in zip(names, sizes, strict=True):
            raw = zlib.decompress(memoryview(packed)[start : start + size])
            columns[name] = np.frombuffer(raw, DURABLE[name], n).copy()
            start += size
        return cls(**columns)
