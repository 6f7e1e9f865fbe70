"""The data server: one for each process, in a thread, on this computer's own address.

Addresses have a random token in front, which is the permission to read::

    http://127.0.0.1:40123/Qm3…/v/viewer/        Neuroglancer
                               /d/1/clean-c0/    data of view 1: a Zarr, annotations
                               /s/1              the state with which view 1 opens
                               /events/…         tells an open page that the server is there

It closes by itself when nothing was asked for a while; a view that is used again opens it again,
at the same address if that is free.
"""

import asyncio
import atexit
import contextlib
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

from latticework.viz.neuroglancer.resources import Answer, Resource, Shelf, ViewError

IDLE_S = 8 * 3600.0
"""Without a request, after which the server closes."""
THREADS = 4
"""That read and reduce pixels."""
LARGEST_HEADERS = 16 * 1024
"""Bytes."""
MOST_TOLD = 100
"""Different failures that a server logs."""


class DataServer:
    """Serves resources until it is closed, or idle for too long.

    Parameters
    ----------
    host
        Address to listen at. Any other than this computer's own lets others in who know the
        token.
    port
        0 for any that is free.
    idle_s
        Seconds without a request after which it closes.
    origins
        Web addresses (``https://host``) of other viewers whose pages may read the data.
    hosts
        Further names under which this computer is reached, such as that of a proxy.
    sources
        Web addresses from which the viewer may load further layers, such as
        ``https://storage.googleapis.com``.
    token
        Of an earlier server, to have the same addresses.
    clock
        Seconds.

    Examples
    --------
    >>> from urllib.request import urlopen
    >>> from latticework.viz.neuroglancer.resources import Text
    >>> with DataServer() as server:
    ...     server.add("s", "1", Text(b"{}"))
    ...     urlopen(server.base + "s/1").read()
    b'{}'
    >>> server.open
    False
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        idle_s: float = IDLE_S,
        origins: Iterable[str] = (),
        hosts: Iterable[str] = (),
        sources: Iterable[str] = (),
        token: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.host = host
        self.idle_s = float(idle_s)
        self.origins = frozenset(origins)
        self.name = socket.gethostname() if host in ("0.0.0.0", "::") else host  # noqa: S104
        names = {"127.0.0.1", "localhost", "::1", self.name, *hosts}
        self.hosts = frozenset(name.lower() for name in names)
        self.sources = frozenset(sources)
        self.token = token or secrets.token_urlsafe(24)
        self.pid = os.getpid()
        self._clock = clock
        self._resources: dict[tuple[str, str], Resource] = {}
        self._told: set[str] = set()
        self._busy = 0
        self._asked = clock()
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="latticework-view")
        self._started = threading.Event()
        self._ended = threading.Event()
        self._error: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.port = port
        self.closing = asyncio.Event()
        self._thread = threading.Thread(
            target=self._run, name="latticework-view-server", daemon=True
        )
        self._thread.start()
        self._started.wait()
        if self._error is not None:
            self._pool.shutdown(wait=False)
            raise ViewError(
                f"no server can listen at {host}:{port or 'any port'}: {self._error}. Choose "
                "another port, or leave it out for any that is free"
            ) from self._error
        atexit.register(self.close)

    # ---------------------------------------------------------------- for its owner

    @property
    def base(self) -> str:
        """What all its addresses begin with; ends in a slash."""
        name = f"[{self.name}]" if ":" in self.name else self.name
        return f"http://{name}:{self.port}/{self.token}/"

    @property
    def open(self) -> bool:
        """Whether it answers; not in a process that was forked from this one."""
        return self.pid == os.getpid() and not self._ended.is_set() and self._thread.is_alive()

    def add(self, area: str, name: str, resource: Resource) -> None:
        """Serve a resource below ``area/name/``; one that was there before is replaced."""
        self._resources[area, name] = resource
        self.touch()

    def add_below(self, area: str, name: str, key: str, resource: Resource) -> None:
        """Serve a resource below ``area/name/key/``."""
        shelf = self._resources.setdefault((area, name), Shelf({}))
        assert isinstance(shelf, Shelf)
        shelf.resources[key] = resource
        self.touch()

    def remove(self, area: str, name: str) -> None:
        """Serve it, and what is below it, no more."""
        self._resources.pop((area, name), None)

    def touch(self) -> None:
        """Someone uses it now."""
        self._asked = self._clock()

    def close(self) -> None:
        """End it: the port is free when this returns."""
        loop = self._loop
        if self.pid != os.getpid() or loop is None:
            return
        with contextlib.suppress(RuntimeError):  # it has closed by itself
            loop.call_soon_threadsafe(self.closing.set)
        if threading.current_thread() is not self._thread:
            self._ended.wait(10)
            self._thread.join(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *about: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = f"at {self.host}:{self.port}" if self.open else "closed"
        return f"<DataServer {state}, {len(self._resources)} resources>"

    # ---------------------------------------------------------------- in its thread

    async def find(self, parts: tuple[str, ...], gone: Callable[[], bool]) -> Answer | None:
        """The answer of the resource that a path names, made in another thread.

        Parameters
        ----------
        parts
            Of the path, behind the token.
        gone
            Whether the asker has gone away: then nothing is made when its turn comes.
        """
        if len(parts) < 2 or (resource := self._resources.get((parts[0], parts[1]))) is None:
            return None

        def work() -> Answer | None:
            return None if gone() else resource.find(parts[2:])

        self._busy += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._busy -= 1
            self.touch()

    def is_news(self, text: str) -> bool:
        """Whether this is told for the first time: each chunk of a viewer would tell it again."""
        if text in self._told or len(self._told) >= MOST_TOLD:
            return False
        self._told.add(text)
        return True

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self._error = error
        finally:
            atexit.unregister(self.close)
            self._resources.clear()
            self._ended.set()
            self._started.set()
            self._pool.shutdown(wait=False, cancel_futures=True)

    async def _serve(self) -> None:
        from tornado.netutil import bind_sockets
        from tornado.web import Application

        from latticework.viz.neuroglancer.answering import Handler
        from latticework.viz.neuroglancer.guests import GuestServer

        application = Application(
            [(r".*", Handler, {"server": self})], log_function=lambda _handler: None
        )
        server = GuestServer(
            application,
            max_header_size=LARGEST_HEADERS,
            max_body_size=1024,
            max_buffer_size=1 << 20,
            idle_connection_timeout=120.0,
            body_timeout=10.0,
        )
        sockets = bind_sockets(self.port, self.host, backlog=512)
        self.port = sockets[0].getsockname()[1]
        server.add_sockets(sockets)
        self._loop = asyncio.get_running_loop()
        self._started.set()
        try:
            await self._until_idle()
        finally:
            server.stop()
            self.closing.set()
            await server.close_all_connections()

    async def _until_idle(self) -> None:
        """Returns when the server is to close."""
        while True:
            left = self.idle_s - (self._clock() - self._asked)
            if left <= 0 and not self._busy:
                return
            try:
                await asyncio.wait_for(self.closing.wait(), min(max(left, 0.05), 1.0))
            except TimeoutError:
                continue
            return


# -------------------------------------------------------------------- one for each process

_lock = threading.RLock()
_shared: DataServer | None = None
_options: dict[str, Any] = {}


def shared_server(*, idle_s: float | None = None) -> DataServer:
    """The server of this process, opened if there is none, or none any more.

    Parameters
    ----------
    idle_s
        From now on, close after so many seconds without a request.
    """
    global _shared  # noqa: PLW0603  there is one for each process
    with _lock:
        if _shared is None or not _shared.open:
            earlier = None if _shared is None or _shared.pid != os.getpid() else _shared
            _shared = _opened(earlier)
        if idle_s is not None:
            _shared.idle_s = float(idle_s)
        _shared.touch()
        return _shared


def _opened(earlier: DataServer | None) -> DataServer:
    """A server, where possible at the address of an earlier one."""
    if earlier is None:
        return DataServer(**_options)
    options = {**_options, "token": earlier.token, "idle_s": earlier.idle_s}
    try:
        return DataServer(**{**options, "port": earlier.port})
    except ViewError:
        return DataServer(**options)


def serve_with(
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    idle_s: float = IDLE_S,
    origins: Iterable[str] = (),
    hosts: Iterable[str] = (),
    sources: Iterable[str] = (),
) -> None:
    """How views of this process are served from now on; a server that runs is closed.

    Parameters
    ----------
    host, port, idle_s, origins, hosts, sources
        As for `DataServer`.
    """
    global _options  # noqa: PLW0603  as for the server
    with _lock:
        close_server()
        _options = {
            "host": host,
            "port": port,
            "idle_s": idle_s,
            "origins": tuple(origins),
            "hosts": tuple(hosts),
            "sources": tuple(sources),
        }


def close_server() -> None:
    """Close the server of this process, and with it every view; nothing if there is none."""
    global _shared  # noqa: PLW0603  as above
    with _lock:
        if _shared is not None:
            _shared.close()
        _shared = None


__all__ = ["DataServer", "close_server", "serve_with", "shared_server"]
