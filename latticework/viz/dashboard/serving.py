"""The pages on the Dask dashboard of a run, and on a server of their own."""

import asyncio
import functools
import logging
import threading
import weakref
from pathlib import Path
from typing import Any, Self

from bokeh.application import Application
from bokeh.server.tornado import BokehTornado
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.netutil import bind_sockets
from tornado.web import RedirectHandler

from latticework.errors import LatticeworkError
from latticework.viz.dashboard.hub import Hub, Shown
from latticework.viz.dashboard.leaving import PageHandler
from latticework.viz.dashboard.origins import allowed_origins
from latticework.viz.dashboard.page import COOKIES, Page, open_page
from latticework.viz.html import escaped

log = logging.getLogger(__name__)

FIRST = "lattice"
"""The place of the first page."""
UNUSED_MS = 10_000
"""Milliseconds after which what a closed tab leaves is dropped."""
LARGEST_MESSAGE = 1 << 20
"""Bytes that a browser may send at once: clicks are small."""


def pages() -> dict[str, type[Page]]:
    """All pages, by their places, in the order of the navigation."""
    from latticework.viz.dashboard.control_page import ControlPage
    from latticework.viz.dashboard.failures_page import FailuresPage
    from latticework.viz.dashboard.map_page import LatticeMap
    from latticework.viz.dashboard.overview import Overview
    from latticework.viz.dashboard.tile_page import TilePage
    from latticework.viz.dashboard.work_page import WorkPage

    return {
        FIRST: Overview,
        "lattice-map": LatticeMap,
        "lattice-tile": TilePage,
        "lattice-failures": FailuresPage,
        "lattice-work": WorkPage,
        "lattice-control": ControlPage,
    }


_SESSION = ("bokeh-session-id", "bokeh-token")
"""By which a request could say, to Bokeh, which session it wants."""
_SECRET = ("token",)
"""What is not to come back in a page's source."""


class Pages(BokehTornado):  # type: ignore[misc]  # Bokeh is Any to the checker
    """Bokeh's application, in which no request says which session it gets.

    A link could name a session that somebody else then joins, and sees what is typed there. Nor
    does a token in an address get into the page.
    """

    def find_handler(self, request: Any, **options: Any) -> Any:
        """See tornado's ``Application.find_handler``."""
        for name in (*_SESSION, *_SECRET):
            for arguments in (
                request.arguments,
                request.query_arguments,
                request.body_arguments,
            ):
                arguments.pop(name, None)
            request.headers.pop(name, None)
        return super().find_handler(request, **options)


def bokeh_app(hub: Hub, origins: list[str], *, prefix: str = "") -> BokehTornado:
    """The pages as an application for a tornado server.

    Parameters
    ----------
    hub
        The projects that they show.
    origins
        From where they may be used: hosts with ports.
    prefix
        Of the addresses of the server they are put on.
    """
    all_pages = pages()
    applications = {
        f"/{place}": Application(PageHandler(functools.partial(open_page, hub, all_pages, place)))
        for place in all_pages
    }
    return Pages(
        applications,
        include_headers=[],
        include_cookies=list(COOKIES),
        prefix=prefix,
        use_index=False,
        extra_websocket_origins=origins,
        absolute_url="",
        unused_session_lifetime_milliseconds=UNUSED_MS,
        check_unused_sessions_milliseconds=UNUSED_MS // 2,
        websocket_max_message_size_bytes=LARGEST_MESSAGE,
        websocket_compression_level=1,
    )


# -------------------------------------------------------------------- beside Dask's own pages

_HUBS: "weakref.WeakKeyDictionary[Any, Hub]" = weakref.WeakKeyDictionary()
"""What is shown on the schedulers of this process."""


def mount(project: str, dask_scheduler: Any = None) -> str:
    """Show a project on a scheduler's dashboard; to be called there, in its event loop.

    Parameters
    ----------
    project
        Folder of the project, as the scheduler's machine sees it.
    dask_scheduler
        The scheduler; Dask gives it.

    Returns
    -------
    str
        The place of the first page, relative to the dashboard's address, with the project's key;
        empty if the scheduler has no dashboard, or does not see the folder.
    """
    application = getattr(dask_scheduler, "http_application", None)
    path = Path(project)
    if application is None or not any(
        isinstance(one, BokehTornado) for one in application.applications
    ):
        return ""
    if not path.is_dir():
        return ""
    hub = _HUBS.get(dask_scheduler)
    if hub is None:
        hub = _HUBS[dask_scheduler] = Hub(dask_pages=True)
        server = dask_scheduler.http_server
        origins = allowed_origins(server.address, server.port)
        app = bokeh_app(hub, origins, prefix=_prefix_of(application))
        application.add_application(app)
        app.initialize(IOLoop.current())
        app.start()
        _name_in_navigation(dask_scheduler)
    return f"{FIRST}?project={hub.put(path).key}"


def _prefix_of(application: Any) -> str:
    """The prefix of Dask's own pages."""
    for one in application.applications:
        if isinstance(one, BokehTornado):
            return str(one.prefix)
    return ""


def _name_in_navigation(scheduler: Any) -> None:
    """A link in the navigation bar of Dask's pages; they all share one list of names."""
    try:
        from distributed.dashboard.scheduler import template_variables

        names = template_variables(scheduler)["pages"]
        if FIRST not in names:
            names.append(FIRST)
    except (ImportError, KeyError, TypeError, AttributeError):  # a matter of Dask's own
        log.debug("the navigation bar of Dask's pages cannot be extended", exc_info=True)


def show_on(client: Any, project: Path) -> str:
    """Show a project on the dashboard of a client's scheduler; the address of its first page.

    Empty where that cannot be: the scheduler has no dashboard, no latticework, or no sight of the
    folder. The run goes on all the same.
    """
    try:
        place = client.run_on_scheduler(mount, str(project))
        link = str(client.dashboard_link or "")
    except Exception:
        log.info("the pages of %s are not on the scheduler's dashboard", project, exc_info=True)
        return ""
    return f"{link.rsplit('/', 1)[0]}/{place}" if place and link else ""


# -------------------------------------------------------------------- a server of their own


class PageServer:
    """The pages on a server of their own, in a thread of this process.

    Parameters
    ----------
    project
        Folder of the project.
    port
        Where to listen; a free port if 0.
    address
        Where to listen: this machine alone, unless told otherwise.

    Raises
    ------
    LatticeworkError
        If the port is taken.
    """

    def __init__(self, project: Path, *, port: int = 0, address: str = "127.0.0.1") -> None:
        self.hub = Hub()
        try:
            self._sockets = bind_sockets(port, address)
        except OSError as error:
            raise LatticeworkError(
                f"pages cannot be served at {address}:{port} ({error.strerror or error}): give "
                "another port, or 0 for any that is free"
            ) from error
        self.address, self.port = address, int(self._sockets[0].getsockname()[1])
        self.shown: Shown = self.hub.put(project)
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: asyncio.Event | None = None
        self._app: BokehTornado | None = None
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve()), name="latticework-pages", daemon=True
        )
        self._thread.start()
        self._ready.wait(30)

    @property
    def url(self) -> str:
        """Address of the first page."""
        host = self.address if self.address not in ("", "0.0.0.0", "::") else "127.0.0.1"  # noqa: S104 - compared
        host = f"[{host}]" if ":" in host else host
        return f"http://{host}:{self.port}/{FIRST}?project={self.shown.key}"

    @property
    def control_url(self) -> str:
        """Address of the page that steers, with the project's token in it: not to be shared.

        The token is in the fragment (``#token=``), which browsers send to no server; the page
        removes it from the address, and keeps it for the tab.

        Raises
        ------
        ProjectError
            If there is no token and none can be kept.
        """
        from latticework.viz.dashboard.control_token import control_token

        token = control_token(self.shown.path)
        return f"{self.url.replace(FIRST, f'{FIRST}-control', 1)}#token={token}"

    async def _serve(self) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        app = self._app = bokeh_app(self.hub, allowed_origins(self.address, self.port))
        app.add_handlers(r".*", [(r"/", RedirectHandler, {"url": f"/{FIRST}", "permanent": False})])
        server = HTTPServer(app, max_buffer_size=LARGEST_MESSAGE, idle_connection_timeout=3600)
        app.initialize(IOLoop.current())
        app.start()
        server.add_sockets(self._sockets)
        self._ready.set()
        await self._ended.wait()
        server.stop()
        app.stop()
        await server.close_all_connections()
        self.hub.close()

    def close(self) -> None:
        """Serve no more."""
        loop, ended = self._loop, self._ended
        if loop is not None and ended is not None and self._thread.is_alive():
            loop.call_soon_threadsafe(ended.set)
            self._thread.join(10)

    def wait(self) -> None:
        """Serve until the process is told to end."""
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def _repr_html_(self) -> str:
        url = escaped(self.url, 400)
        return f"<a href='{url}' target='_blank' rel='noopener'>{url}</a>"

    def __repr__(self) -> str:
        return f"<PageServer of {self.shown.path} at {self.url}>"
