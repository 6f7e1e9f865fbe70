"""Batches of which a worker is to hand back what it has not begun: their stage was paused."""

import threading
from collections import OrderedDict

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
