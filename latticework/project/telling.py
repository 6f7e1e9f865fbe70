"""What a run tells of itself while it goes on: counts, pauses, arrivals, stopping."""

import time
from typing import TYPE_CHECKING

from latticework.project.following import Following, forget_following, write_following
from latticework.project.gauging import gauge
from latticework.project.pool_facts import PoolTelling

if TYPE_CHECKING:
    from latticework.project.coordinator import Coordinator
    from latticework.project.feeding import Feed
    from latticework.project.page_links import PageLinks
    from latticework.project.project import Project
    from latticework.viz.progress import Progress

GRACE_S = 5.0
"""Seconds that Ctrl-C gives to what is out."""
GAUGE_S = 3.0
"""Seconds between two looks at the keep-up gauge, at least."""


class Telling:
    """Keeps a progress display up to date with a run.

    Parameters
    ----------
    project
        The project.
    shown
        The display.
    only
        Names of the stages that run; all if None.
    pages
        Where the project's pages are.
    """

    def __init__(
        self,
        project: "Project",
        shown: "Progress",
        only: list[str] | None,
        pages: "PageLinks",
    ) -> None:
        self.project, self.shown, self._pages = project, shown, pages
        self.only = None if only is None else set(only)
        self._stopping = False
        self._held: tuple[str, ...] = ()
        self._notes = self._cares = 0
        self._followed: Following | None = None
        self._next_gauge = 0.0
        self._pools = PoolTelling(project.path)

    def update(self, coordinator: "Coordinator") -> None:
        """Show how it stands now."""
        if coordinator.stopping and not self._stopping:
            self._stopping = True
            self.shown.say(
                f"stopping: {GRACE_S:.0f} s for what is running; Ctrl-C again to drop it now"
            )
        for text in [*self._pools.update(coordinator.pools), *self._pages.news()]:
            self.shown.say(text)
        settings = coordinator.settings
        held = ("the project",) if settings.paused else settings.paused_stages
        if held != self._held:
            self._held = held
            named = ", ".join(held)
            self.shown.say(f"paused: {named}" if held else "resumed")
        for note in coordinator.care.notes[self._cares :]:
            self.shown.say(note)
        self._cares = len(coordinator.care.notes)
        feed = coordinator.feed
        if feed is not None:
            for note in feed.notes[self._notes :]:
                self.shown.say(note)
            self._notes = len(feed.notes)
            self._follow(feed)
        for node in coordinator.pipeline:
            if self.only is None or node.name in self.only:
                self.shown.update(node.name, node.units.count())

    def _follow(self, feed: "Feed") -> None:
        """Leave for others what is held back, and show the keep-up gauge now and then."""
        from latticework.viz.keeping_up import gauge_brief

        following = Following.of(feed)
        if following != self._followed:
            self._followed = following
            write_following(self.project.path, following)
        begun = time.monotonic()
        show = getattr(self.shown, "gauge", None)
        if show is None or begun < self._next_gauge:
            return
        show(gauge_brief(gauge(self.project), held=following.n_held))
        spent = time.monotonic() - begun
        self._next_gauge = begun + max(GAUGE_S, 20 * spent)

    def close(self) -> None:
        """The run is over."""
        self._pools.close()
        if self._followed is not None:
            forget_following(self.project.path)
