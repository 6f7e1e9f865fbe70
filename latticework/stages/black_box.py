"""The black box of a batch: what a worker had done of it, readable when the worker is dead.

A small file in the batch's staging folder, kept open; what was written to it outlives the process
however that ends. (It is not mapped into memory: on a full disk that would end the process.) ::

    number of the row that runs now, int64 (-1: none)
    memory that the process had when last looked at, and that it may have, int64 bytes each
    number of rows, int64
    REPORT rows, in the order of the units: those before the current one are done, or have
        outcome 0, if they had not been written to the end
    name of the host, UTF-8
"""

import contextlib
import os
import struct
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latticework.stages.here import host_name

REPORT = np.dtype(
    [
        ("unit", "<i8"),
        ("attempt", "<u2"),
        ("outcome", "u1"),
        ("started", "<f8"),
        ("ended", "<f8"),
        ("cpu_s", "<f4"),
        ("peak_memory", "<i8"),
        ("bytes_read", "<i8"),
        ("bytes_written", "<i8"),
        ("exit_code", "<i4"),
    ]
)
"""One row per unit of a batch, as it travels back."""
COSTS = struct.Struct("<Bddfqqqi")
"""What is filled in of a row when its unit has ended."""
SKIP = REPORT.fields["outcome"][1]  # type: ignore[index]
HEADER = struct.Struct("<qqqq")
ROW, MEMORY = struct.Struct("<q"), struct.Struct("<qq")
NAME = "box"
"""Name of the file."""


class BlackBox:
    """Written by a worker while it runs a batch.

    Parameters
    ----------
    folder
        The batch's staging folder. If no file can be written there, nothing outlives the process.
    rows
        `REPORT` rows with the ids and attempts of the units.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> rows = np.zeros(3, REPORT)
    >>> rows["unit"] = [7, 8, 9]
    >>> box = BlackBox(folder, rows)
    >>> box.begin(0)
    >>> box.end(0, 1, 10.0, 11.0, 0.9, 1000, 20, 30, 0)
    >>> box.begin(1)
    >>> found = read_box(folder)
    >>> found.running, found.done["unit"].tolist(), found.done["ended"].tolist()
    (1, [7], [11.0])
    """

    def __init__(self, folder: Path, rows: np.ndarray) -> None:
        self._rows = bytearray(rows.tobytes())
        self._done = 0
        self._lock = threading.Lock()
        self._file: int | None = None
        with contextlib.suppress(OSError):
            self._file = os.open(folder / NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        header = HEADER.pack(-1, 0, 0, len(rows))
        self._write(header + bytes(self._rows) + host_name().encode(), 0)

    def _write(self, content: bytes | memoryview, at: int) -> None:
        """Put something into the file; once that has failed, no more."""
        with self._lock:  # others may look at the memory while this one closes
            if self._file is None:
                return
            with contextlib.suppress(OSError):
                os.pwrite(self._file, content, at)
                return
        self.close()

    def close(self) -> None:
        """Nothing more is written to the file."""
        with self._lock:
            if self._file is not None:
                os.close(self._file)
                self._file = None

    def begin(self, row: int) -> None:
        """A unit begins."""
        self._write(ROW.pack(row), 0)

    def saw(self, resident: int, limit: int) -> None:
        """The process has so much memory, of so much that it may have, in bytes."""
        self._write(MEMORY.pack(resident, limit), ROW.size)

    def end(self, row: int, *costs: float) -> None:
        """A unit has ended: outcome, times, processor seconds, bytes, exit code."""
        start = row * REPORT.itemsize + SKIP
        COSTS.pack_into(self._rows, start, *costs)
        self._write(memoryview(self._rows)[start : start + COSTS.size], HEADER.size + start)
        with self._lock:  # what is written behind ends in another thread, after its next unit maybe
            self._done = max(self._done, row + 1)

    def rows(self) -> np.ndarray:
        """Rows up to the last unit that has ended."""
        return np.frombuffer(bytes(self._rows), REPORT, self._done).copy()


@dataclass(frozen=True, slots=True)
class Found:
    """What a black box holds."""

    running: int
    """Row of the unit that ran; -1 if none had begun."""
    done: np.ndarray
    """`REPORT` rows of those before it; outcome 0 if its output was being written still."""
    resident: int
    """Memory that the process had when it was last looked at, bytes; 0 if it was not."""
    limit: int
    """Memory that it may have."""
    host: str
    """Name of the host on which it ran."""


def read_box(folder: Path) -> Found | None:
    """What the black box in a batch's staging folder says; None if there is none to be read."""
    try:
        content = (folder / NAME).read_bytes()
        running, resident, limit, n = HEADER.unpack_from(content)
        host = content[HEADER.size + n * REPORT.itemsize :].decode()
        done = np.frombuffer(content, REPORT, min(max(running, 0), n), HEADER.size)
    except (OSError, ValueError, struct.error):
        return None
    return Found(running, done, resident, limit, host) if running < n else None


__all__ = ["REPORT", "BlackBox", "Found", "read_box"]
