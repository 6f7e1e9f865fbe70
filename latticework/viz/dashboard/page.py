"""What every page has: a frame, its place in the navigation, updates of what changed, escaping."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from functools import cache
from typing import Any, ClassVar, TypeVar
from urllib.parse import urlencode

import jinja2
from bokeh.document import Document
from bokeh.events import ConnectionLost
from bokeh.layouts import column
from bokeh.models import CustomJS, Div, UIElement

from latticework.errors import LatticeworkError
from latticework.viz.dashboard.feed import ProjectFeed, Snapshot
from latticework.viz.dashboard.hub import Hub, Shown
from latticework.viz.dashboard.look import (
    PALETTES,
    Palette,
    asset,
    bokeh_theme,
    variables,
    widget_style,
)
from latticework.viz.dashboard.questions import Questions
from latticework.viz.html import escaped
from latticework.viz.states import Theme
from latticework.viz.words import plain

log = logging.getLogger(__name__)

COOKIES = ("lattice-chosen", "lattice-theme")
"""Cookies of ours: the chosen theme, and else the browser's own."""
TICK_MS = 1000
"""Milliseconds between two updates of an open page."""
LOST_MS = 2000
"""Milliseconds between two looks whether a server that has gone is there again."""
Answer = TypeVar("Answer")


@dataclass(slots=True)
class Visit:
    """One browser tab that looks at a project."""

    shown: Shown
    """The project."""
    document: Document
    """What the tab shows."""
    theme: Theme
    """In which colours."""
    arguments: dict[str, str]
    """What the page's address asks for, such as ``{"stage": "clean", "tile": "12"}``."""
    tasks: set["asyncio.Task[Any]"] = field(default_factory=set)
    """What is being done for it."""
    over: bool = False
    """Whether the tab is gone."""

    @property
    def feed(self) -> ProjectFeed:
        """What all pages show of the project."""
        return self.shown.feed

    @property
    def questions(self) -> Questions:
        """Whatever takes longer."""
        return self.shown.questions

    @property
    def palette(self) -> Palette:
        """Colours of its theme."""
        return PALETTES[self.theme]

    def link(self, page: str, **arguments: object) -> str:
        """The address of another page about the same project, for an ``href`` (escaped)."""
        told = {"project": self.shown.key, **{k: str(v) for k, v in arguments.items()}}
        return escaped(f"{page}?{urlencode(told)}", 4000)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Have something done in the server's event loop, as long as the tab is there."""
        if self.over:
            work.close()
            return
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self._done)

    def leave(self) -> None:
        """The tab is gone."""
        self.over = True
        for task in list(self.tasks):
            task.cancel()

    def _done(self, task: "asyncio.Task[Any]") -> None:
        self.tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a page of %s failed", self.shown.path, exc_info=task.exception())

    def show(self, change: Callable[[], None]) -> None:
        """Change the document from a task: at the next moment when nothing else does."""
        if not self.over:
            self.document.add_next_tick_callback(change)

    def ask(
        self,
        question: Callable[[Any], Answer],
        then: Callable[[Answer | LatticeworkError], None],
        *,
        fresh: bool = False,
    ) -> None:
        """Ask the project something in another thread, and show the answer, or what was wrong.

        With ``fresh`` it is asked of its states now, not of those of a moment ago.
        """
        self.spawn(self._answered(lambda: self.questions.ask(question, fresh=fresh), then))

    def change(
        self, action: Callable[[Any], Answer], then: Callable[[Answer | LatticeworkError], None]
    ) -> None:
        """Have the project changed in another thread, and show what came of it."""
        self.spawn(self._answered(lambda: self.questions.change(action), then))

    async def _answered(
        self,
        begin: Callable[[], Awaitable[Answer]],
        then: Callable[[Answer | LatticeworkError], None],
    ) -> None:
        found: Answer | LatticeworkError
        try:
            found = await begin()  # not before: a tab that has gone asks nothing
        except LatticeworkError as error:
            found = error
        except Exception as error:
            log.exception("a question of a page of %s failed", self.shown.path)
            found = LatticeworkError(f"{type(error).__name__}: {error}")
        self.show(lambda: then(found))


class Page:
    """One page in one tab. Subclasses make its parts, and renew them when a snapshot is new.

    Parameters
    ----------
    visit
        The tab.
    """

    title: ClassVar[str]
    """What the navigation calls it."""

    def __init__(self, visit: Visit) -> None:
        self.visit = visit

    def build(self, snapshot: Snapshot) -> UIElement:
        """The page's parts for a project as it is now; again when its `form` is another one."""
        raise NotImplementedError

    def form(self, snapshot: Snapshot) -> object:
        """What the page has to be built anew for: then what a person typed or opened is lost.

        That is which stages there are; everything else, tiles that come too, is for `update`.
        """
        return snapshot.outline

    def update(self, snapshot: Snapshot) -> None:
        """Show what has changed; called every second with a new snapshot, so it must be quick."""
        raise NotImplementedError

    def html(self, text: str = "", **options: Any) -> Div:
        """A part that is HTML; whatever comes from outside in it must have been `escaped`."""
        options = {"sizing_mode": "stretch_width", "margin": (0, 0, 14, 0), **options}
        options["disable_math"] = True  # two dollars in a message are no formula
        return Div(text=text, stylesheets=[widget_style()], **options)


def set_text(part: Div, text: str) -> None:
    """Other HTML for a part, if it is other: what is the same is not sent again."""
    if part.text != text:
        part.text = text


class Frame:
    """A page and what surrounds it: looks for snapshots, builds and updates the page.

    Parameters
    ----------
    visit
        The tab.
    page
        The page in it.
    """

    def __init__(self, visit: Visit, page: Page) -> None:
        self.visit, self.page = visit, page
        self._note = page.html("<p class='faint'>Looking at the project …</p>")
        self.root = column(self._note, sizing_mode="stretch_width", margin=0)
        self._seen = -1
        self._built: object = None
        self._life: int | None = None

    def tick(self) -> None:
        """Show the latest snapshot, if it is new."""
        snapshot = self.visit.feed.snapshot
        if snapshot is None:
            if self.visit.feed.trouble:
                self._say(self.visit.feed.trouble)
            return
        if snapshot.number == self._seen:
            return
        self._seen = snapshot.number
        if self._life not in (None, snapshot.life):  # of another project nothing that we know holds
            self.page, self._built = type(self.page)(self.visit), None
        self._life = snapshot.life
        try:
            now = type(self.page), self.page.form(snapshot)
            if now != self._built:
                body = self.page.build(snapshot)
                self._built = now
                self.root.children = [self._note, body]
            self.page.update(snapshot)
            self._say(snapshot.trouble)
        except Exception as error:  # one page that fails must not end the others' updates
            log.exception("the page %s of %s failed", self.page.title, self.visit.shown.path)
            self._say(f"{type(error).__name__}: {error}")

    def _say(self, trouble: str) -> None:
        self._note.visible = bool(trouble)
        text = f"<div class='panel'><p class='bad'>{escaped(trouble, 2000)}</p></div>"
        set_text(self._note, text if trouble else "")


@cache
def _template() -> jinja2.Template:
    return jinja2.Environment(autoescape=False).from_string(asset("page.html"))  # noqa: S701 - it escapes where needed


def theme_of(document: Document) -> Theme:
    """The theme that a browser asks for, by a cookie of ours."""
    context = document.session_context
    cookies = {} if context is None or context.request is None else context.request.cookies
    chosen = next((cookies[name] for name in COOKIES if name in cookies), None)
    return "dark" if chosen == "dark" else "light"


def arguments_of(document: Document) -> dict[str, str]:
    """What a page's address asks for: the first value of each argument, of bounded length."""
    context = document.session_context
    given = {} if context is None or context.request is None else context.request.arguments
    return {
        str(name)[:100]: values[0].decode("utf-8", "replace")[:1000]
        for name, values in given.items()
        if values
    }


def open_page(
    hub: Hub, pages: dict[str, type[Page]], here: str, document: Document
) -> Callable[[], None]:
    """Fill a new document with a page.

    Parameters
    ----------
    hub
        The projects.
    pages
        All pages by their places.
    here
        The place of this one.
    document
        Bokeh's, of a new tab.

    Returns
    -------
    callable
        To be called when the tab is gone.
    """
    arguments = arguments_of(document)
    shown = hub.get(arguments.get("project"))
    theme = theme_of(document)
    document.theme = bokeh_theme(theme)
    document.template = _template()
    kind = pages[here]
    name = "" if shown is None else plain(shown.name, 100)
    document.title = f"{kind.title} · {name or 'latticework'}"
    query = "" if shown is None else f"?project={shown.key}"
    document.template_variables.update(
        theme=theme,
        variables=variables(theme),
        css=asset("page.css"),
        project=name,
        key="" if shown is None else shown.key,
        nav=[
            {"href": f"{place}{query}", "title": page.title, "here": place == here}
            for place, page in pages.items()
        ],
        projects=[
            {"key": one.key, "name": plain(one.name, 60), "here": one is shown}
            for one in (hub.shown.values() if len(hub.shown) > 1 else ())
        ],
        dask=hub.dask_pages,
    )
    if shown is None:
        text = "<div class='panel'><p class='bad'>There is no such project here.</p></div>"
        document.add_root(Div(text=text, stylesheets=[widget_style()]))
        return lambda: None
    load_again_when_lost(document, shown.key)
    visit = Visit(shown, document, theme, arguments)
    frame = Frame(visit, kind(visit))
    document.add_root(frame.root)
    document.add_periodic_callback(frame.tick, TICK_MS)
    frame.tick()
    return visit.leave


def load_again_when_lost(document: Document, key: str) -> None:
    """Have a page whose server has gone say so, and load itself again when one answers.

    Bokeh's own way, to join a session of the same name, leaves parts of a page dead where the
    session is another one: of a server that was started again, or after some seconds.
    """
    document.config.update(reconnect_session=False, notify_connection_status=False)
    lost = CustomJS(args={"project": key, "every": LOST_MS}, code=asset("lost.js"))
    document.js_on_event(ConnectionLost, lost)


__all__ = ["Frame", "Page", "Visit", "open_page", "set_text"]
