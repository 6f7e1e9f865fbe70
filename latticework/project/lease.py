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


KINDS = {
    "host": str,
    "pid": int,
    "since": float,
    "machine": str,
    "token": str,
    "beat": int,
    "ended": bool,
}
"""Types of what a lock file says."""


def read_lease(file: int) -> Lease | None:
    """What an open lock file says; None if it says nothing that makes sense (yet).

    Nor does one of an older version, which had no leases and relied on the kernel's locks alone.
    """
    try:
        values = json.loads(os.pread(file, SIZE, 0))
        found = Lease(**{name: KINDS[name](values[name]) for name in Lease.__slots__})
        time.localtime(found.since)
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
    return found


def lease_at(path: Path) -> Lease | None:
    """What a lock file says now; None if there is none, or it says nothing.

    It is opened anew each time: a network file system then asks its server what is in it.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
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


@dataclass(slots=True)
class Sight:
    """What this process has seen of the lease of another machine: whether it is renewed.

    At first sight there is nothing but the time of the file to go by, and the clocks of both may
    differ; from then on it counts whether the beat advances.
    """

    _beat: tuple[str, int] | None = None
    _at: float = 0.0
    _alive: bool = False

    def lives(self) -> None:
        """Its beat was seen to advance."""
        self._alive, self._at = True, time.monotonic()

    def see(self, path: Path, lease: Lease) -> bool:
        """Whether it has been renewed not long ago."""
        beat, known = (lease.token, lease.beat), self._beat
        self._beat = beat
        if known is not None and known[0] == beat[0] and known != beat:
            self.lives()
        elif known is None and not self._alive:
            self._at = time.monotonic()
            try:
                self._alive = time.time() - path.stat().st_mtime < 2 * WATCH_S
            except OSError:
                self._alive = False
        return self._alive and time.monotonic() - self._at < 2 * WATCH_S


__all__ = ["Lease", "Sight", "lease_at", "lives", "read_lease", "this_machine"]
