"""One coordinator at a time: a lock file in the project folder."""

import contextlib
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from latticework.errors import ProjectError, ProjectLockedError


class CoordinatorLock:
    """The lock of a project; held while a coordinator runs, and briefly while stages are added.

    The lock is the kernel's (``flock``), so it ends with the process, however that ends.

    Parameters
    ----------
    path
        The lock file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None
        self._depth = 0
        self._thread = 0
        self._mutex = threading.Lock()

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
        """The lock file, open and locked."""
        try:
            file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise ProjectError(
                f"{self.path.parent} cannot be written to ({error.strerror}): it can be looked at, "
                "but to run or change it, make it writable or copy it"
            ) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(file)
            raise ProjectLockedError(
                f"{self.path.parent} is run by another coordinator ({self.holder()}): stop that "
                "one first; status, data and why can be looked at meanwhile"
            ) from error
        about = {"host": socket.gethostname(), "pid": os.getpid(), "since": time.time()}
        os.ftruncate(file, 0)
        os.pwrite(file, json.dumps(about).encode(), 0)
        return file

    def check(self) -> None:
        """See that the lock that is held is still the one that others would try to take.

        Raises
        ------
        ProjectLockedError
            If the lock file was removed or replaced: another coordinator may have begun.
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

    def is_taken(self) -> bool:
        """Whether any process has the lock."""
        if self._depth:
            return True
        try:
            file = os.open(self.path, os.O_RDONLY)
        except OSError:
            return False
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(file)
        return False

    def holder(self) -> str:
        """Who holds the lock, as far as the file tells."""
        try:
            about = json.loads(self.path.read_text())
            since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(about["since"]))
            return f"process {about['pid']} on {about['host']} since {since}"
        except (OSError, ValueError, KeyError):
            return "unknown process"

    def release(self) -> None:
        """Give the lock back."""
        with self._mutex:
            self._depth -= 1
            if self._depth == 0 and self._file is not None:
                os.close(self._file)
                self._file = None

    @contextlib.contextmanager
    def held(self, *, patience_s: float = 0.0) -> Iterator[Self]:
        """Hold the lock inside; parameters as for `acquire`."""
        self.acquire(patience_s=patience_s)
        try:
            yield self
        finally:
            self.release()
