"""Which tiles leave, and when so many leave that it is rather a mistake."""

import numpy as np

from latticework.io.notices import Notices, suspicious
from latticework.lattice.states import State

Changes = tuple[np.ndarray, np.ndarray]
"""Ids and their new states."""


def leaving_tiles(
    now: np.ndarray, wanted: np.ndarray, notices: Notices, where: str
) -> tuple[Changes | None, np.ndarray]:
    """Changes from one presence to another, and the ids of the tiles that leave.

    Where more leave at once than is likely (over ten and over a fifth of those that are there, or
    all of them: a disk that is not mounted looks empty), none leaves, and that is told.

    Examples
    --------
    >>> now, wanted = np.array([4, 4, 0], "u1"), np.array([4, 0, 4], "u1")
    >>> changes, leaving = leaving_tiles(now, wanted, Notices(), "list.json")
    >>> [c.tolist() for c in changes], leaving.tolist()
    ([[1, 2], [0, 4]], [1])
    """
    wanted = wanted.copy()
    leaving = np.flatnonzero((wanted == State.ABSENT) & (now != State.ABSENT))
    there = int((now != State.ABSENT).sum())
    if suspicious(len(leaving), there):
        notices.begins(
            f"suspicious {where}",
            f"{where}: {len(leaving):,} of {there:,} tiles left at once, which is suspicious: "
            "nothing is withdrawn",
            lasting=True,
        )
        wanted[leaving] = now[leaving]
        leaving = leaving[:0]
    else:
        notices.ends(f"suspicious {where}", f"{where} has most of its tiles again")
    ids = np.flatnonzero(wanted != now)
    return ((ids, wanted[ids]) if len(ids) else None), leaving
