"""One coordinator at a time: a lock file in the project folder."""

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from latticework.errors import ProjectLockedError


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

    def acquire(self) -> None:
        """Take the lock.

        Raises
        ------
        ProjectLockedError
            If another process has it; says which.
        """
        if self._depth:
            self._depth += 1
            return
        file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
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
        self._file, self._depth = file, 1

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
        self._depth -= 1
        if self._depth == 0 and self._file is not None:
            os.close(self._file)
            self._file = None

    @contextlib.contextmanager
    def held(self) -> Iterator[Self]:
        """Hold the lock inside."""
        self.acquire()
        try:
            yield self
        finally:
            self.release()
