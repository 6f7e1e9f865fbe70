"""Who runs a project, and whether they are still there: what the lock file says.

The kernel's file locks decide wherever they can be trusted. They cannot everywhere: a network file
system may keep them to each host (``nolock``, ``localflock``), have none, or drop those of a host
that it lost sight of. So the lock file also holds a **lease**: who has it, and a count that its
process advances every `BEAT_S` seconds. Whoever wants a lease that another machine has not given
back watches that count for `WATCH_S` seconds: if it moves, its holder lives. Only what changes
counts, never a time, because clocks of hosts differ.

A holder that was stopped for long and comes back finds another's name in the file, and stops.
"""

import json
import os
import socket
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Self

BEAT_S = 2.0
"""Seconds between two beats of a holder."""
WATCH_S = 8.0
"""Seconds without a beat after which a holder on another machine is gone."""
LOOK_S = 0.25
"""Seconds between two looks at it."""
SIZE = 512
"""Bytes of the file: it is written in place, whole."""
BOOT = Path("/proc/sys/kernel/random/boot_id")


@cache
def this_machine() -> str:
    """What tells this machine, since it was started, from all others."""
    try:
        return BOOT.read_text().strip()
    except OSError:
        return socket.gethostname()


@dataclass(frozen=True, slots=True)
class Lease:
    """What the lock file says.

    Examples
    --------
    >>> import tempfile
    >>> file = os.open(Path(tempfile.mkdtemp()) / "lock", os.O_RDWR | os.O_CREAT)
    >>> read_lease(file) is None
    True
    >>> mine = Lease.new()
    >>> mine.write(file)
    >>> found = read_lease(file)
    >>> found == mine, found.here, found.ended
    (True, True, False)
    """

    host: str
    """Name of the holder's host."""
    pid: int
    """Its process."""
    since: float
    """Since when, in seconds since 1970 by its clock."""
    machine: str = ""
    """See `this_machine`."""
    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Tells this lease from all others."""
    beat: int = 0
    """Advances while its holder lives."""
    ended: bool = False
    """Whether it was given back."""

    @classmethod
    def new(cls) -> Self:
        """A lease of this process."""
        return cls(socket.gethostname(), os.getpid(), time.time(), this_machine())

    @property
    def here(self) -> bool:
        """Whether its holder is, or was, on this machine."""
        return self.machine == this_machine()

    def beaten(self) -> Self:
        """The same lease a beat later."""
        return replace(self, beat=self.beat + 1)

    def given_back(self) -> Self:
        """The same lease at its end."""
        return replace(self, ended=True)

    def write(self, file: int) -> None:
        """Put it into an open lock file."""
        content = json.dumps(asdict(self)).encode()
        os.pwrite(file, content.ljust(SIZE), 0)

    def __str__(self) -> str:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"process {self.pid} on {self.host} since {since}"


def read_lease(file: int) -> Lease | None:
    """What an open lock file says; None if it says nothing (yet)."""
    try:
        values = json.loads(os.pread(file, SIZE, 0))
        return Lease(**{name: values[name] for name in Lease.__slots__ if name in values})
    except (OSError, ValueError, TypeError):
        return None


def lease_at(path: Path) -> Lease | None:
    """What a lock file says now; None if there is none, or it says nothing.

    It is opened anew each time: a network file system then asks its server what is in it.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return read_lease(file)
    finally:
        os.close(file)


def lives(path: Path, lease: Lease, *, sleep: Callable[[float], None] = time.sleep) -> bool:
    """Whether the holder of a lease does anything within `WATCH_S` seconds.

    Parameters
    ----------
    path
        The lock file.
    lease
        What it said.
    sleep
        Waits.
    """
    until = time.monotonic() + WATCH_S
    while time.monotonic() < until:
        sleep(LOOK_S)
        now = lease_at(path)
        if now is None:
            continue  # it is being written
        if now.ended:
            return False
        if (now.token, now.beat) != (lease.token, lease.beat):
            return True
    return False


__all__ = ["Lease", "lease_at", "lives", "read_lease", "this_machine"]
