"""Keeps the mosaic of previews on the map up to date with what is in view."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

from latticework.errors import LatticeworkError
from latticework.lattice.states import State
from latticework.viz.dashboard.feed import Snapshot
from latticework.viz.dashboard.map_mosaic import (
    Mosaic,
    Wanted,
    ask_mosaic,
    blank,
    can_show,
    wanted_mosaic,
)
from latticework.viz.dashboard.map_scene import Pane, Sight
from latticework.viz.dashboard.page import Visit

AGAIN_S = 2.0
"""Seconds after which previews are looked for again: tiles have changed, or some are missing."""


def best_pictured(snapshot: Snapshot) -> str:
    """Of what previews show most at first: the last stage that has made some, else the tiles.

    Empty where there are previews of nothing.
    """
    pictured = [one.name for one in snapshot.pictured]
    made = [one.name for one in snapshot.pictured if one.count(State.COMPLETE)]
    return made[-1] if made else "".join(pictured[:1])


class PreviewKeeper:
    """Asks the project for mosaics, one at a time, and has the last answer at hand.

    Parameters
    ----------
    visit
        The tab.
    then
        Called when there is another mosaic, or when it is time to ask for one.
    """

    def __init__(self, visit: Visit, then: Callable[[], None]) -> None:
        self._visit, self._then = visit, then
        self.mosaic: Mosaic | None = None
        """The last one."""
        self._asked: Wanted | None = None
        self._at = 0.0
        self._later = False

    def look(self, pane: Pane, sight: Sight | None, *, solved: bool) -> None:
        """Ask for the mosaic of what is in view, unless it is there already or being made."""
        if self._asked is not None or sight is None:
            return
        wanted = wanted_mosaic(pane, sight, solved=solved)
        if wanted is None:
            return
        if not can_show(pane):
            self.mosaic = blank(wanted, "previews are seen along z: choose y down and x across")
            return
        have = self.mosaic
        if have is not None and replace(have.wanted, version=wanted.version) == wanted:
            if have.wanted == wanted and not have.missing:
                return
            if time.monotonic() < self._at + AGAIN_S:
                self._wait()
                return
        self._asked = wanted
        self._visit.ask(lambda project: ask_mosaic(project, pane, wanted), self._answered)

    def _answered(self, found: Mosaic | LatticeworkError) -> None:
        wanted, self._asked, self._at = self._asked, None, time.monotonic()
        if isinstance(found, LatticeworkError):
            if wanted is not None:
                self.mosaic = blank(wanted, str(found))
        else:
            self.mosaic = found
        self._then()

    def _wait(self) -> None:
        """Look again in a moment, once."""
        if not self._later:
            self._later = True
            self._visit.spawn(self._wake())

    async def _wake(self) -> None:
        await asyncio.sleep(AGAIN_S)
        self._later = False
        self._visit.show(self._then)
