"""Writes that fail because of the disk: recognised through chains of errors, and put in words.

A full disk and a folder that may not be written to are nobody's fault but the disk's: no code, no
tile and no worker is to blame. They come as `OSError` with a number, as SQLite's own errors, as
text from tensorstore, and as lines that programs print.
"""

import errno
import os
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Numbers of errors that mean: no room."""
FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
"""Numbers of errors that mean: not allowed."""
_NUMBER = re.compile(r"os_error_code='(\d+)'")  # how tensorstore says it
_WORDS = re.compile(r"No space left on device|Disk quota exceeded|database or disk is full")
_SQLITE_FULL = sqlite3.SQLITE_FULL
_SQLITE_FORBIDDEN = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM)
_SQLITE_WRITES = (  # also a quota that is used up comes as one of these
    sqlite3.SQLITE_IOERR_WRITE,
    sqlite3.SQLITE_IOERR_FSYNC,
    sqlite3.SQLITE_IOERR_TRUNCATE,
    sqlite3.SQLITE_IOERR_DELETE,
)


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why something cannot be written.

    Examples
    --------
    >>> trouble_of(OSError(errno.ENOSPC, "No space left on device", "/data/brain.lw/a"))
    Trouble(full=True, reason='No space left on device', path='/data/brain.lw/a', free_bytes=None)
    >>> trouble_of(ValueError("there is a bubble")) is None
    True
    """

    full: bool
    """Whether there is no room; else it is not allowed, or the disk refuses."""
    reason: str
    """What the system says."""
    path: str = ""
    """The file, where it is known."""
    free_bytes: int | None = None
    """Bytes that were free when it was met, as far as that could be told."""


def trouble_of(error: BaseException | None) -> Trouble | None:
    """The trouble with a disk behind an error; None if it is another error."""
    for one in _chain(error):
        found = _trouble(one)
        if found is not None:
            return found
    return None


def trouble_within(error: BaseException, folders: tuple[Path, ...]) -> Trouble | None:
    """As `trouble_of`; what is not allowed counts only where a file in these folders is meant.

    A stage's own code may open what it likes, and is to blame where it may not read that. No
    room is no room, wherever.
    """
    found = trouble_of(error)
    if found is None or found.full:
        return found
    texts = [found.path, *(_text(one) for one in _chain(error))]
    roots = [os.path.abspath(folder) for folder in folders]  # noqa: PTH100 - keeps links
    return found if any(root in text for root in roots for text in texts) else None


def free_bytes(path: Path | str) -> int | None:
    """Bytes that are free for us where a file is, or would be; None if nobody can tell."""
    there = Path(os.path.abspath(path))  # noqa: PTH100 - keeps links
    for folder in (there, *there.parents):
        try:
            found = os.statvfs(folder)
        except OSError:
            continue
        return found.f_bavail * found.f_frsize
    return None


def takes_files(path: Path | str) -> bool:
    """Whether the file system of a folder takes more files, as far as it says."""
    try:
        found = os.statvfs(path)
    except OSError:
        return True
    return found.f_favail > 0 or found.f_files == 0


def total_bytes(path: Path | str) -> int | None:
    """Size of the file system where a folder is."""
    try:
        found = os.statvfs(path)
    except OSError:
        return None
    return found.f_blocks * found.f_frsize


def mount_point(path: Path | str) -> Path:
    """Where the file system begins in which a file is, or would be.

    Examples
    --------
    >>> mount_point("/no-such-folder/file")
    PosixPath('/')
    """
    there = Path(os.path.abspath(path))  # noqa: PTH100 - keeps links
    return next(folder for folder in (there, *there.parents) if os.path.ismount(folder))


def _trouble(error: BaseException) -> Trouble | None:
    text = _text(error)
    if isinstance(error, sqlite3.Error):
        return _of_sqlite(error, text)
    number, path = None, ""
    if isinstance(error, OSError) and error.errno is not None:
        number = error.errno
        path = "" if error.filename is None else os.fsdecode(error.filename)
    elif (said := _NUMBER.search(text)) is not None:
        number = int(said[1])
        file = re.search(r'local file "([^"]+)"', text)
        path = "" if file is None else file[1]
    if number in FULL or (number is None and (said := _WORDS.search(text)) is not None):
        return Trouble(True, said[0] if number is None and said else os.strerror(number or 0), path)
    return Trouble(False, os.strerror(number), path) if number in FORBIDDEN else None


def _of_sqlite(error: sqlite3.Error, text: str) -> Trouble | None:
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return None
    if code & 0xFF == _SQLITE_FULL:
        return Trouble(True, text)
    forbidden = code & 0xFF in _SQLITE_FORBIDDEN or code in _SQLITE_WRITES
    return Trouble(False, text) if forbidden else None


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException:  # it may be a stage's own class
        return ""


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and what it came from, the outermost first."""
    seen: set[int] = set()
    open_ends = [error]
    while open_ends:
        one = open_ends.pop(0)
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        if isinstance(one, BaseExceptionGroup):
            open_ends.extend(one.exceptions)
        open_ends.append(one.__cause__ or (None if one.__suppress_context__ else one.__context__))
