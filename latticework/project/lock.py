"""One coordinator at a time: a lock file in the project folder."""

import contextlib
import errno
import fcntl
import logging
import os
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from latticework.errors import ProjectError, ProjectLockedError
from latticework.project.lease import BEAT_S, WATCH_S, Lease, Sight, lease_at, lives, read_lease

TAKEN = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)
"""What the kernel says where another process has the lock; anything else: it has no locks."""
SETTLE_S = 1.0
"""Seconds after which a lease that was taken over without certainty must still be one's own."""

HOW = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
"""How a lock file is opened: links are not followed, and what is no file is not waited for."""

log = logging.getLogger(__name__)


class CoordinatorLock:
    """The lock of a project; held while a coordinator runs, and briefly while stages are added.

    On one machine it is the kernel's (``flock``), so it ends with the process, however that ends.
    Between machines, and on file systems without locks, the lease in the file decides, too
    (`latticework.project.lease`).

    Parameters
    ----------
    path
        The lock file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None
        self._lease: Lease | None = None
        self._depth = 0
        self._thread = 0
        self._mutex = threading.Lock()
        self._beating = threading.Lock()
        self._over = threading.Event()
        self._told: str | None = None
        self._sight = Sight()
        _ALL.add(self)

    # ---------------------------------------------------------------- taking

    def acquire(self, *, patience_s: float = 0.0) -> None:
        """Take the lock.

        Parameters
        ----------
        patience_s
            Seconds to wait for a process that only changes something and goes.

        Raises
        ------
        ProjectLockedError
            If another process has it; says which.
        """
        me = threading.get_ident()
        with self._mutex:
            if self._depth and self._thread != me:
                raise ProjectLockedError(
                    f"{self.path.parent} is run by another thread of this process: wait for it"
                )
            if not self._depth:
                self._file = self._take_patiently(patience_s)
                self._thread = me
                self._over = threading.Event()
                beat = threading.Thread(
                    target=self._beat, args=(self._over,), name="latticework-lease", daemon=True
                )
                beat.start()
            self._depth += 1

    def _take_patiently(self, patience_s: float) -> int:
        until = time.monotonic() + patience_s
        while True:
            try:
                return self._take()
            except ProjectLockedError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.05)

    def _take(self) -> int:
        """The lock file, open, locked, and with a lease of this process in it."""
        try:
            file = os.open(self.path, HOW | os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            if error.errno in (errno.EISDIR, errno.ELOOP, errno.ENXIO):
                raise ProjectError(
                    f"{self.path} is no file of a lock: remove it, unless something runs the "
                    "project"
                ) from error
            raise ProjectError(
                f"{self.path.parent} cannot be written to ({error.strerror}): it can be looked at, "
                "but to run or change it, make it writable or copy it"
            ) from error
        try:
            certain = self._lock(file)
            earlier = read_lease(file)
            if earlier is not None and not earlier.ended and not (certain and earlier.here):
                self._see_that_it_is_gone(earlier)
            self._lease = Lease.new()
            self._write(file, self._lease)
            if not certain or not (earlier is None or earlier.ended or earlier.here):
                os.fsync(file)
                time.sleep(SETTLE_S)  # another may have seen the same
                self._check_lease()
        except BaseException:
            os.close(file)
            raise
        return file

    def _write(self, file: int, lease: Lease) -> None:
        try:
            lease.write(file)
        except OSError as error:
            raise ProjectError(
                f"{self.path} cannot be written ({error.strerror}): free some space, and run again"
            ) from error

    def _lock(self, file: int) -> bool:
        """Lock the file; False where the file system has no locks.

        Raises
        ------
        ProjectLockedError
            If another process has it.
        """
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in TAKEN:
                raise self._taken(self.holder()) from error
            return False
        return True

    def _taken(self, holder: str) -> ProjectLockedError:
        return ProjectLockedError(
            f"{self.path.parent} is run by another coordinator ({holder}): stop that "
            "one first; status, data and why can be looked at meanwhile"
        )

    def _see_that_it_is_gone(self, earlier: Lease) -> None:
        if self._told != earlier.token:  # once
            self._told = earlier.token
            log.warning(
                "%s was run by %s, which has not said that it ended: watching for %g seconds "
                "whether it still does anything",
                *(self.path.parent, earlier, WATCH_S),
            )
        if lives(self.path, earlier):
            self._sight.lives()
            raise self._taken(str(lease_at(self.path) or earlier))

    # ---------------------------------------------------------------- holding

    def _beat(self, over: threading.Event) -> None:
        """Show that this process lives, until the lock is given back or another has it."""
        wait_s = BEAT_S / 8  # most changes are over before the first beat
        while not over.wait(wait_s):
            wait_s = BEAT_S
            with self._beating, contextlib.suppress(OSError):  # a full disk; `check` looks, too
                if over.is_set() or self._file is None or self._lease is None:
                    return
                found = lease_at(self.path)
                if found is not None and found.token != self._lease.token:
                    return
                self._lease = self._lease.beaten()
                self._lease.write(self._file)
                os.fsync(self._file)

    def check(self) -> None:
        """See that the lock that is held is still the one that others would try to take.

        Raises
        ------
        ProjectLockedError
            If the lock file was removed or replaced, or holds the lease of another coordinator.
        """
        try:
            there = self.path.stat()
            mine = os.fstat(self._file if self._file is not None else -1)
        except OSError:
            same = False
        else:
            same = (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)
        if not same:
            raise ProjectLockedError(
                f"{self.path} was removed or replaced while this process ran the project: stopped, "
                "because another coordinator may run it now; what was recorded is kept"
            )
        self._check_lease()

    def is_mine(self) -> bool:
        """Whether it is held, and nobody else has taken it over."""
        try:
            self.check()
        except ProjectLockedError:
            return False
        return True

    def _check_lease(self) -> None:
        found = lease_at(self.path)
        if found is not None and self._lease is not None and found.token != self._lease.token:
            raise ProjectLockedError(
                f"{self.path.parent} is run by another coordinator now ({found}): this process was "
                "out of touch for so long that it was taken for dead. It stopped; what was "
                "recorded is kept"
            )

    # ---------------------------------------------------------------- looking

    def is_taken(self) -> bool:
        """Whether any process has the lock, as far as can be told at once."""
        if self._depth:
            return True
        try:
            file = os.open(self.path, HOW | os.O_RDONLY)
        except OSError:
            return False
        certain = True
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in TAKEN:
                return True
            certain = False
        finally:
            os.close(file)
        return self._was_renewed(certain=certain)

    def _was_renewed(self, *, certain: bool) -> bool:
        """Whether a lease of which the kernel cannot know was renewed a moment ago."""
        lease = lease_at(self.path)
        if lease is None or lease.ended or (lease.here and certain):
            return False
        return self._sight.see(self.path, lease)

    def holder(self) -> str:
        """Who holds the lock, as far as the file tells."""
        return str(lease_at(self.path) or "unknown process")

    # ---------------------------------------------------------------- giving back

    def release(self) -> None:
        """Give the lock back."""
        with self._mutex:
            self._depth -= 1
            if self._depth == 0 and self._file is not None:
                self._over.set()
                with self._beating:
                    self._give_back(self._file)
                    self._file = self._lease = None

    def _give_back(self, file: int) -> None:
        found = lease_at(self.path)
        with contextlib.suppress(OSError):  # a full disk: others will watch for a moment
            if self._lease is not None and found is not None and found.token == self._lease.token:
                self._lease.given_back().write(file)
        os.close(file)

    def begin_anew(self) -> None:
        """In a fork of the process that may hold the lock: it does not."""
        self._mutex, self._beating = threading.Lock(), threading.Lock()
        if self._file is not None:
            os.close(self._file)  # the lock is the other's, and stays
        self._file, self._lease, self._depth = None, None, 0

    @contextlib.contextmanager
    def held(self, *, patience_s: float = 0.0) -> Iterator[Self]:
        """Hold the lock inside; parameters as for `acquire`."""
        self.acquire(patience_s=patience_s)
        try:
            yield self
        finally:
            self.release()


def _after_fork() -> None:
    for lock in list(_ALL):
        lock.begin_anew()


_ALL: "weakref.WeakSet[CoordinatorLock]" = weakref.WeakSet()
"""All locks of this process."""
os.register_at_fork(after_in_child=_after_fork)

__all__ = ["CoordinatorLock"]
