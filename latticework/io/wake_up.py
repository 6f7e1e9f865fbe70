"""Waiting for a folder to change: by notification where the system has it, else by the clock.

A notification only wakes up the next look, which is complete by itself: nothing is lost where one
is late or never comes.
"""

import logging
import sys
import threading
from pathlib import Path
from typing import Any, Literal

from latticework.errors import LatticeError

log = logging.getLogger(__name__)

Notify = Literal["auto", "poll", "inotify"]

LOCAL = frozenset(
    (
        *("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "tmpfs", "ramfs", "overlay"),
        *("apfs", "hfs", "vfat", "exfat", "ntfs3", "reiserfs", "bcachefs", "jfs"),
    )
)
"""File systems whose changes this machine hears of, whoever makes them."""


def file_system(path: Path, mounts: Path = Path("/proc/self/mounts")) -> str | None:
    """Type of the file system that a path is on; None where the system does not say."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    absolute = path.resolve()
    best, kind = -1, None
    for line in lines:
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = Path(fields[1].replace("\\040", " "))
        if absolute.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), fields[2]
    return kind


class WakeUp:
    """Waits for changes below a folder.

    Parameters
    ----------
    path
        The folder, with all below it.
    deep
        False where the path is that of a file: then only its own folder is listened to.
    notify
        ``"auto"``: by notification on local file systems, where `watchfiles` is installed (the
        extra ``[watch]``); ``"inotify"``: by notification, or an error; ``"poll"``: by the clock.

    Raises
    ------
    LatticeError
        For ``"inotify"`` where it cannot be.
    """

    def __init__(self, path: Path, notify: Notify = "auto", *, deep: bool = True) -> None:
        if notify not in ("auto", "poll", "inotify"):
            raise LatticeError(f"notify={notify!r}: expected 'auto', 'poll' or 'inotify'")
        self._event, self._stop = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self.notified = False
        """Whether notifications come."""
        if notify == "poll":
            return
        kind = file_system(path) if sys.platform == "linux" else None
        if notify == "auto" and kind is not None and kind not in LOCAL:
            log.info("%s is on a %s file system: looked at by the clock", path, kind)
            return
        try:
            import watchfiles
        except ImportError as error:
            if notify == "inotify":
                raise LatticeError(
                    'notify="inotify" needs watchfiles: pip install "latticework[watch]", or leave '
                    "it out"
                ) from error
            log.info("%s is looked at by the clock: watchfiles is not installed", path)
            return
        folder = path if deep else path.parent
        if not folder.is_dir():
            log.info("%s is not there yet: looked at by the clock", path)
            return
        self.notified = True
        self._thread = threading.Thread(
            target=self._listen,
            args=(watchfiles, folder, deep),
            name=f"watch {folder}",
            daemon=True,
        )
        self._thread.start()

    def _listen(self, watchfiles: Any, folder: Path, deep: bool) -> None:  # noqa: FBT001 (a thread's)
        try:
            changes = watchfiles.watch(
                folder, watch_filter=None, stop_event=self._stop, rust_timeout=500,
                yield_on_timeout=False, raise_interrupt=False, recursive=deep, step=50,
                debounce=400,
            )  # fmt: skip
            for _ in changes:
                self._event.set()
        except Exception as error:  # too many folders, or one that left
            log.warning("no more notifications of %s (%s): looked at by the clock", folder, error)
        self.notified = False

    def wait(self, seconds: float) -> bool:
        """Wait until something changed, at most so long; whether something did, as far as known."""
        changed = self._event.wait(seconds)
        self._event.clear()
        return changed

    def wake(self) -> None:
        """End a wait in another thread."""
        self._event.set()

    def close(self) -> None:
        """Stop listening."""
        self._stop.set()
        self._event.set()
        if self._thread is not None:
            self._thread.join(5.0)
