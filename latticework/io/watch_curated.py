"""Watching a list of tiles that others keep: what it announces, completes and takes back."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from latticework.errors import LatticeError
from latticework.io.arrivals import Arrivals
from latticework.io.growth_store import Growth
from latticework.io.notices import Held, Notices
from latticework.io.parts_source import PartsSource
from latticework.io.wake_up import WakeUp
from latticework.io.watch_known import presence_of, subset
from latticework.io.watch_list import RETRY_S, ListFile
from latticework.io.watch_presence import leaving_tiles
from latticework.lattice import Lattice
from latticework.lattice.states import State

ListReader = Callable[[Path], Lattice]
"""Reads a curated list: the lattice of all its tiles, with a name for each.

`open_tiles` is one, for MouseLight's JSON files; so is any function of yours. A source with
``presence()`` says which tiles are there (COMPLETE) and which are announced (WAITING). An error
that is a `LatticeworkError`, `OSError` or `ValueError` means that the list cannot be used now,
perhaps because it is half written.
"""

WHOLE_SHARE = 20.0
"""After a look at every tile, none follows before so many times the time that it took."""
MOST_HELD = 1000
"""Tiles that are not there yet that are named, at most."""


class _Read(NamedTuple):
    """What was read of a list."""

    every: dict[str, bool] | None
    """Whether each tile is complete, by name, where the reader opens only some."""
    lattice: Lattice | None
    """The tiles that were opened."""


class ListWatcher:
    """Tiles of a list; made by `watch_list`.

    Tiles are told apart by their names. One that the list lacks is withdrawn, and comes back with
    it; one whose fingerprint has changed was imaged again.
    """

    def __init__(
        self,
        path: Path,
        reader: ListReader,
        *,
        settle_s: float,
        end: int | None,
        placed_by: str,
        recheck_s: float,
        clock: Callable[[], float],
        wake_up: WakeUp,
    ) -> None:
        self._notices = Notices()
        self._reader = reader
        self._list: ListFile[_Read] = ListFile(
            path, self._read, settle_s=settle_s, notices=self._notices
        )
        self._before: dict[str, bool] = {}
        self._end, self._placed_by, self._clock = end, placed_by, clock
        self._recheck_s, self._read_at = recheck_s, -np.inf
        self._whole_at, self._whole_took = -np.inf, 0.0
        self._told_to_end = False
        self._wake_up = wake_up
        self._ids: dict[str, int] = {}
        self._unread: dict[int, str] = {}

    def poll(self, known: Lattice | None) -> Arrivals:
        """What the list says that `known` does not; see `latticework.io.arrivals.Watcher`."""
        now = self._clock()
        whole = now - self._whole_at >= max(self._recheck_s, WHOLE_SHARE * self._whole_took)
        soon = bool(self._unread) and now - self._read_at >= RETRY_S
        self._before = {} if whole else self._complete(known)
        if self._list.look(now, again=whole or soon):
            self._read_at = now
            if whole:
                self._whole_at, self._whole_took = now, self._clock() - now
        none = np.zeros(0, np.int64)
        if self._list.value is None:
            return Arrivals(notes=self._notices.taken(), troubles=self._notices.troubles)
        every, listed = self._list.value
        if listed is None:
            return self._without_new(every, known)
        states = presence_of(listed)[listed.ids]
        self._unread = dict(listed.problems)
        if not self._told_to_end:  # listed as complete, but not whole yet
            states[listed.rows_of(list(self._unread))] = State.WAITING
        growth, leaving = self._growth(listed, states, known, every)
        count = int((states == State.COMPLETE).sum()) if every is None else sum(every.values())
        over = self._is_over(count)
        rows = np.flatnonzero(states == State.WAITING)[:MOST_HELD].tolist()
        held = tuple(self._held(str(listed.names[row]), int(listed.ids[row])) for row in rows)
        leaving = none if leaving is None else leaving
        notices = self._notices
        return Arrivals(growth, leaving, over, notices.taken(), held, notices.troubles)

    def _held(self, name: str, tile: int) -> Held:
        """A tile of the list that is not there, or not whole."""
        path, unread = self._list.path.parent / name, self._unread.get(tile)
        if unread is None:
            return Held(path, "it is announced, not there yet", announced=True)
        return Held(path, unread)

    def _is_over(self, count: int) -> bool:
        over = self._told_to_end or (self._end is not None and count >= self._end)
        return over and not self._list.unsettled

    def _read(self, path: Path) -> "_Read":
        changed = getattr(self._reader, "changed", None)
        if changed is None:
            return _Read(None, self._reader(path))
        return _Read(*changed(path, self._before))

    def _complete(self, known: Lattice | None) -> dict[str, bool]:
        """Known tiles by name, and whether they are complete; withdrawn ones are not known."""
        if known is None or not len(known):
            return {}
        self._follow(known)
        states = presence_of(known).tolist()
        return {
            name: states[tile] == State.COMPLETE
            for name, tile in self._ids.items()
            if states[tile] != State.ABSENT
        }

    def _without_new(self, every: dict[str, bool] | None, known: Lattice | None) -> Arrivals:
        """What a list says in which nothing is new: which tiles leave."""
        every = every or {}
        changes, leaving = None, np.zeros(0, np.int64)
        if known is not None and len(known):
            self._follow(known)
            now = presence_of(known)
            wanted = now.copy()
            wanted[[tile for name, tile in self._ids.items() if name not in every]] = State.ABSENT
            changes, leaving = leaving_tiles(now, wanted, self._notices, str(self._list.path))
        growth = None if changes is None else Growth(None, self._placed_by, None, changes)
        over, notices = self._is_over(sum(every.values())), self._notices
        return Arrivals(growth, leaving, over, notices.taken(), (), notices.troubles)

    def _growth(
        self,
        listed: Lattice,
        states: np.ndarray,
        known: Lattice | None,
        every: dict[str, bool] | None,
    ) -> tuple[Growth | None, np.ndarray | None]:
        names = [str(name) for name in listed.names]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise LatticeError(
                f"{self._list.path} has two tiles {twice!r}; expected a name for each: a reader of "
                "a curated list tells tiles apart by their names"
            )
        source = listed.source
        if source is None:
            raise LatticeError(f"the reader of {self._list.path} gives no source of pixels")
        if known is None or not len(known):
            return Growth(_some(listed, np.arange(len(listed)), states), self._placed_by), None
        self._follow(known)
        ids = np.array([self._ids.get(name, -1) for name in names], np.int64)
        new = np.flatnonzero(ids < 0)
        mine = np.flatnonzero(ids >= 0)
        now = presence_of(known)
        wanted = np.full(len(now), State.ABSENT, np.uint8)
        if every is not None:  # the others are listed as they were
            same = [tile for name, tile in self._ids.items() if name in every]
            wanted[same] = now[same]
        wanted[ids[mine]] = states[mine]
        presence, leaving = leaving_tiles(now, wanted, self._notices, str(self._list.path))
        assert known.source is not None
        there = mine[states[mine] == State.COMPLETE]
        before, after = known.source.fingerprints(), source.fingerprints()
        again = there[before[ids[there]] != after[listed.ids[there]]]
        replaced = None
        if len(again):
            replaced = (ids[again], subset(source, listed.ids[again]))
        tiles = _some(listed, new, states) if len(new) else None
        if tiles is None and replaced is None and presence is None:
            return None, leaving
        return Growth(tiles, self._placed_by, replaced, presence), leaving

    def _follow(self, known: Lattice) -> None:
        for row in range(len(self._ids), len(known)):
            self._ids[str(known.names[row])] = int(known.ids[row])

    def end(self) -> None:
        """The user says that the acquisition is over."""
        self._told_to_end = True
        self._wake_up.wake()

    def wait(self, seconds: float) -> bool:
        """Wait until the list may have changed, at most so long."""
        return self._wake_up.wait(seconds)

    def close(self) -> None:
        """Stop watching."""
        self._wake_up.close()


def _some(listed: Lattice, rows: np.ndarray, states: np.ndarray) -> Lattice:
    """Some tiles of a list as a lattice of their own, ids from 0, with a source as small."""
    chosen = listed.take(listed.ids[rows])
    assert listed.source is not None
    source = PartsSource.of(subset(listed.source, chosen.ids))
    source = source.with_presence(np.arange(len(rows)), states[rows])
    place = {tile: row for row, tile in enumerate(chosen.ids.tolist())}
    problems = {
        place[tile]: text
        for tile, text in chosen.problems.items()
        if states[rows[place[tile]]] == State.COMPLETE  # the others are waited for
    }
    return chosen.replace(ids=None, problems=problems, source=source)
