"""Batches of which a worker is to hand back what it has not begun: their stage was paused.

Those that no worker has begun are called back: a file in the session's staging folder has their
numbers, and who comes to such a batch later hands back all of it. A worker makes the batch's own
folder first and looks into the file then; who calls back writes the file first and looks for the
folders then. So one of them sees the other, and nothing runs of which nobody wants to know.
"""

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

KEPT = 1000
"""Batches to remember."""
FILE = "called-back"
"""Numbers of batches, int64, one after the other."""

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


def call_back(staging: Path, batches: Sequence[int]) -> set[int]:
    """Nobody is to begin these batches any more.

    Parameters
    ----------
    staging
        Staging folder of the coordinator's session.
    batches
        Their numbers.

    Returns
    -------
    set of int
        Numbers of all batches of the session that workers had begun before, as far as can be seen.

    Examples
    --------
    >>> import tempfile
    >>> staging = Path(tempfile.mkdtemp())
    >>> call_back(staging, [7, 9])
    set()
    >>> is_called_back(staging, 9), is_called_back(staging, 8)
    (True, False)
    """
    numbers = np.asarray(batches, "<i8").tobytes()
    with contextlib.suppress(OSError), (staging / FILE).open("ab", buffering=0) as file:
        file.write(numbers)  # on a full disk they begin, and what they make is not kept
    return begun_batches(staging)


def is_called_back(staging: Path, batch: int) -> bool:
    """Whether nobody is to begin a batch any more."""
    try:
        numbers = (staging / FILE).read_bytes()
    except OSError:  # there is none
        return False
    return batch in np.frombuffer(numbers, "<i8", len(numbers) // 8)


def begun_batches(staging: Path) -> set[int]:
    """Numbers of the batches that workers of a session have begun, as far as can be seen."""
    names: list[str] = []
    with contextlib.suppress(OSError):  # a disk that is in trouble is told of elsewhere
        names = [path.name.split("-")[0] for path in staging.glob("*-*")]
    return {int(name) for name in names if name.isdecimal()}
