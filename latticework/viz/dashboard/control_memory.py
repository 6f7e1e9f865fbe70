"""The token in a browser's tab: offered by the address's fragment, kept while the tab is open.

::

    #token=...  --page.html--> the tab --HeldToken.given--> looked at --HeldToken.verdict--> the tab
                                                                                    keeps or forgets

What follows ``#`` in an address is sent to no server, so the token is in no log, source or cookie.
"""

import asyncio
from collections.abc import Callable

from bokeh.core.properties import Int, String
from bokeh.model import DataModel
from bokeh.models import CustomJS, PasswordInput

from latticework.viz.dashboard.look import asset
from latticework.viz.dashboard.page import Visit

ASK_S = 0.2
"""Seconds between two questions for the tab's token, until it answers."""
MOST_ASKED = 100
"""Questions until it is left alone: nobody is there."""


class HeldToken(DataModel):  # type: ignore[misc]  # Bokeh is Any to the checker
    """What the tab is asked and told of its token, and what it says."""

    project = String(default="")
    asked = Int(default=0)
    given = String(default="")
    verdict = String(default="")


class TabMemory:
    """The token that a tab has kept.

    Parameters
    ----------
    visit
        The tab.
    then
        Called with the token that the tab has, once; not at all if it has none.
    """

    def __init__(self, visit: Visit, then: Callable[[str], None]) -> None:
        self._visit, self._then = visit, then
        self._answered = False
        self._verdicts = 0
        self.held = HeldToken(project=visit.shown.key)
        self.held.on_change("given", lambda _name, _old, new: self._given(new))
        for name, act in (("asked", "asked"), ("verdict", "verdict")):
            self.held.js_on_change(name, self._script(act))

    def _script(self, act: str) -> CustomJS:
        return CustomJS(args={"held": self.held, "act": act}, code=asset("token.js"))

    def listen_to(self, field: PasswordInput) -> None:
        """Have the tab remember what is typed into a field, until it is known to be right."""
        field.js_on_change("value", self._script("typed"))

    def ask(self) -> None:
        """Ask the tab, once it is there, whether it has a token."""
        if not self._answered:
            self._visit.spawn(self._ask())

    async def _ask(self) -> None:
        for _ in range(MOST_ASKED):
            self._visit.show(self._ask_once)
            await asyncio.sleep(ASK_S)
            if self._answered:
                return

    def _ask_once(self) -> None:
        if not self._answered:
            self.held.asked += 1

    def _given(self, text: str) -> None:
        if text:
            self._answered = True
            self.held.given = ""  # the document is no place for it
            if text.strip():
                self._then(text.strip())

    def say(self, *, good: bool) -> None:
        """Tell the tab whether the token was right: it keeps it, or forgets it."""
        self._verdicts += 1
        self.held.verdict = f"{'good' if good else 'wrong'} {self._verdicts}"
