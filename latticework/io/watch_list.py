"""Lists of tiles that a microscope or a person keeps: read again when they change, never half."""

from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from latticework.io.notices import Notices
from latticework.io.settling import Settling, Stamp

T = TypeVar("T")

RETRY_S = 20.0
"""A list that could not be used is tried again after so many seconds, even if it has not changed:
what it names may be there by now."""


class ListFile(Generic[T]):
    """A file that is read again when it has changed and is finished.

    What is missing, half-written or not valid changes nothing: what was read last stays, and the
    trouble is told once.

    Parameters
    ----------
    path
        The file.
    read
        Makes something of it; what it raises for a bad file is told.
    settle_s
        How long the file must not have changed.
    notices
        Where troubles go.
    """

    def __init__(
        self, path: Path, read: Callable[[Path], T], *, settle_s: float, notices: Notices
    ) -> None:
        self.path = path
        self.value: T | None = None
        """What was read last."""
        self.unsettled = False
        """Whether the file is there, but has changed lately."""
        self._read, self._notices = read, notices
        self._settling = Settling(settle_s)
        self._stamp: Stamp | None = None
        self._failed: tuple[Stamp, float] | None = None

    def look(self, now: float, *, again: bool = False) -> bool:
        """Whether there is something new in `value`; `again` reads also what has not changed."""
        key = str(self.path)
        try:
            stat = self.path.stat()
        except OSError as error:
            self.unsettled = False
            text = f"{key} cannot be found ({error.strerror}): nothing changes"
            self._notices.begins(f"list {key}", text, lasting=True)
            return False
        self._notices.ends(f"list {key}", f"{key} is back")
        stamp = (stat.st_size, stat.st_mtime_ns, stat.st_ino)
        settled = self._settling.settled(key, stamp, now)
        self.unsettled = not settled
        if not settled or (stamp == self._stamp and not again):
            return False
        failed = self._failed
        if failed is not None and failed[0] == stamp and now - failed[1] < RETRY_S:
            return False
        try:
            value = self._read(self.path)
        except Exception as error:  # whatever a reader says of half a file
            news = self._failed is None or self._failed[0] != stamp
            self._failed = (stamp, now)
            if news:
                self._notices.ends(f"bad {key}")
            text = f"{key} cannot be used, nothing changes: {error}"
            self._notices.begins(f"bad {key}", text, lasting=True)
            return False
        self._notices.ends(f"bad {key}", f"{key} can be used again")
        self.value, self._stamp, self._failed = value, stamp, None
        return True
