"""Batches of which a worker is to hand back what it has not begun: their stage was paused.

Those that no worker has begun are called back: there is a mark in the session's staging folder, and
who comes to the batch later hands back all of it. A worker makes the batch's own folder first and
looks for the mark then; who calls back makes the mark first and looks for the folder then. So one
of them sees the other, and nothing runs of which nobody wants to know.
"""

import contextlib
import threading
from collections import OrderedDict
from pathlib import Path

KEPT = 1000
"""Batches to remember."""

_lock = threading.Lock()
_wanted: OrderedDict[tuple[str, int], None] = OrderedDict()
_everything = threading.Event()


def hand_back_here(session: str, batch: int) -> None:
    """Hand back what has not begun of a batch; the unit that runs is finished.

    Parameters
    ----------
    session
        Staging folder of the coordinator's session, as text.
    batch
        Number of the batch.
    """
    with _lock:
        _wanted[session, batch] = None
        while len(_wanted) > KEPT:
            _wanted.popitem(last=False)


def is_wanted_back(session: str, batch: int) -> bool:
    """Whether a batch is to be handed back."""
    return _everything.is_set() or (session, batch) in _wanted


def hand_back_everything() -> None:
    """Hand back what has not begun of all batches, from now on: the worker is about to leave."""
    _everything.set()


def mark_called_back(staging: Path, batch: int) -> None:
    """Nobody is to begin a batch any more.

    Parameters
    ----------
    staging
        Staging folder of the coordinator's session.
    batch
        Number of the batch.
    """
    with contextlib.suppress(OSError):  # on a full disk it begins: what it makes is not kept
        _mark(staging, batch).touch()


def is_called_back(staging: Path, batch: int) -> bool:
    """Whether nobody is to begin a batch any more."""
    return _mark(staging, batch).exists()


def begun_batches(staging: Path) -> set[int]:
    """Numbers of the batches that workers of a session have begun, as far as can be seen."""
    names = [path.name.split("-")[0] for path in staging.glob("*-*")]
    return {int(name) for name in names if name.isdecimal()}


def _mark(staging: Path, batch: int) -> Path:
    return staging / f"back-{batch}"
