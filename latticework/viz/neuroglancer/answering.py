"""Answers to HTTP requests: what is refused, and which bytes of what are sent.

A request is answered only if

- its method is GET, HEAD or OPTIONS, and its path is of a reasonable length;
- its ``Host`` is this computer's own (or one that was allowed): no page of the web reaches the
  server by pointing a name of its own at it;
- its ``Origin``, if it has one, is the server itself or one that was allowed;
- its path begins with the server's token;
- the rest of the path, decoded once, has no empty, hidden or upward part.

Everything else is one of a few short refusals that say nothing of what there is.
"""

import asyncio
import email.utils
import hmac
import logging
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from tornado.httputil import HTTPOutputError
from tornado.iostream import StreamClosedError
from tornado.web import HTTPError, RequestHandler

from latticework.viz.neuroglancer.resources import Answer

if TYPE_CHECKING:
    from latticework.viz.neuroglancer.server import DataServer

log = logging.getLogger(__name__)

LONGEST_URI = 4096
"""Characters."""
PIECE_BYTES = 1 << 20
"""Of a file, sent at once."""
KEEP_ALIVE_S = 15.0
"""Between two signs of life to a page that listens."""
RANGE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})")
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; "
    "connect-src 'self' data: blob:{more}; base-uri 'none'; form-action 'none'; object-src 'none'"
)
"""What the viewer's page may load: nothing but what this server serves. Its own scripts use
``eval``, to decode Blosc and to read annotations."""


def parts_of(path: str) -> tuple[str, ...] | None:
    """The parts of a request's path, decoded once; None where one of them is not allowed.

    Examples
    --------
    >>> parts_of("/token/d/1/c/0"), parts_of("/token/%2e%2e/journal"), parts_of("/a%00b")
    (('token', 'd', '1', 'c', '0'), None, None)
    """
    found = []
    for raw in path.removeprefix("/").removesuffix("/").split("/"):
        try:
            part = unquote(raw, errors="strict")
        except UnicodeDecodeError:
            return None
        if part in ("", ".", "..") or set(part) & set("/\\\0") or not part.isprintable():
            return None
        found.append(part)
    return tuple(found)


def host_of(header: str) -> str:
    """The name in a ``Host``, in small letters, without a port; empty where it has none.

    Examples
    --------
    >>> host_of("LocalHost:8080"), host_of("[::1]:80"), host_of("[::1")
    ('localhost', '::1', '')
    """
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:  # a bracket without the other
        return ""


def span_of(header: str | None, size: int) -> tuple[int, int] | None:
    """First byte, and one past the last, that a ``Range`` asks for; None for everything.

    Raises
    ------
    HTTPError
        416 for one that cannot be satisfied, or is no single range of bytes.

    Examples
    --------
    >>> span_of("bytes=2-5", 10), span_of("bytes=-3", 10), span_of("bytes=4-", 10), span_of(None, 1)
    ((2, 6), (7, 10), (4, 10), None)
    """
    if header is None:
        return None
    asked = RANGE.fullmatch(header.strip())
    if asked is None or not any(asked.groups()):
        raise HTTPError(416)
    first, last = asked.groups()
    if not first:
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), min(size, int(last) + 1) if last else size
    if start >= stop or start >= size:
        raise HTTPError(416)
    return start, stop


class Handler(RequestHandler):
    """Answers one request."""

    SUPPORTED_METHODS = ("GET", "HEAD", "OPTIONS")

    parts: tuple[str, ...] = ()

    def initialize(self, server: "DataServer") -> None:
        """Of which server."""
        self.server = server
        self.size: int | None = None
        self.gone = False

    def set_default_headers(self) -> None:
        """Of every answer, also of refusals."""
        self.clear_header("Server")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Referrer-Policy", "no-referrer")
        self.set_header("Cache-Control", "no-store")
        self.set_header("Content-Security-Policy", "default-src 'none'")

    # ---------------------------------------------------------------- what is refused

    def prepare(self) -> None:
        """Refuse what must not be answered."""
        if len(self.request.uri or "") > LONGEST_URI:
            raise HTTPError(414)
        if host_of(self.request.host) not in self.server.hosts:
            raise HTTPError(403)
        self._check_origin()
        parts = parts_of(self.request.path)
        if parts is None or not hmac.compare_digest(parts[0].encode(), self.server.token.encode()):
            raise HTTPError(404)
        self.parts = parts[1:]
        self.server.touch()

    def _check_origin(self) -> None:
        origin = self.request.headers.get("Origin")
        if origin is None:
            return
        own = f"{self.request.protocol}://{self.request.host}"
        if origin != own and origin not in self.server.origins:
            raise HTTPError(403)
        self.set_header("Access-Control-Allow-Origin", origin)
        self.set_header("Vary", "Origin")
        self.set_header("Access-Control-Expose-Headers", "Content-Range, Content-Length, ETag")

    def write_error(self, status_code: int, **_about: Any) -> None:
        """A refusal: its number and no more."""
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        if status_code == 405:
            self.set_header("Allow", ", ".join(self.SUPPORTED_METHODS))
        if status_code == 416 and self.size is not None:
            self.set_header("Content-Range", f"bytes */{self.size}")
        self.finish(f"{status_code}\n")

    def log_exception(self, *about: Any) -> None:
        """Refusals are no news; what went wrong here is, once, and without the token."""
        error = about[1]
        if isinstance(error, HTTPError | HTTPOutputError | StreamClosedError):
            return
        text = f"{'/'.join(self.parts[:3])}: {type(error).__name__}: {error}"
        if self.server.is_news(text):
            log.warning("what a viewer asked for cannot be shown: %s", text)
            log.debug("where it failed", exc_info=error)

    # ---------------------------------------------------------------- what is answered

    def options(self) -> None:
        """What a page of an allowed origin may ask."""
        self.set_status(204)
        self.set_header("Allow", ", ".join(self.SUPPORTED_METHODS))
        if "Origin" in self.request.headers:
            self.set_header("Access-Control-Allow-Methods", "GET, HEAD")
            self.set_header("Access-Control-Allow-Headers", "Range")

    async def get(self) -> None:
        """The bytes that are asked for."""
        if self.parts[:1] == ("events",):
            await self._listen()
            return
        await self._answer(send=True)

    async def head(self) -> None:
        """What there is, without the bytes."""
        await self._answer(send=False)

    async def _answer(self, *, send: bool) -> None:
        answer = await self.server.find(self.parts, lambda: self.gone)
        if answer is None:
            raise HTTPError(404)
        self.size = answer.size
        self._describe(answer)
        if self.check_etag_header() or self._not_modified(answer):
            self.set_status(304)
            return
        span = span_of(self._range(answer), answer.size)
        start, stop = span or (0, answer.size)
        if span is not None:
            self.set_status(206)
            self.set_header("Content-Range", f"bytes {start}-{stop - 1}/{answer.size}")
        self.set_header("Content-Length", str(stop - start))
        if not send:
            return
        if answer.body is not None:
            self.write(answer.body[start:stop])
        else:
            await self._send_file(answer, start, stop)

    def compute_etag(self) -> str | None:
        """That of the answer, not one of what is in the buffer."""
        return None

    def _describe(self, answer: Answer) -> None:
        self.set_header("Content-Type", answer.content_type)
        self.set_header("Accept-Ranges", "bytes")
        self.set_header("ETag", answer.etag)
        keep = "private, max-age=31536000, immutable" if answer.lasting else "private, no-cache"
        self.set_header("Cache-Control", keep)
        if answer.modified is not None:
            self.set_header("Last-Modified", email.utils.formatdate(answer.modified, usegmt=True))
        if answer.content_type.startswith(("text/html", "text/javascript")):
            more = "".join(f" {origin}" for origin in sorted(self.server.sources))
            self.set_header("Content-Security-Policy", POLICY.format(more=more))

    def _not_modified(self, answer: Answer) -> bool:
        since = self.request.headers.get("If-Modified-Since")
        if since is None or answer.modified is None or "If-None-Match" in self.request.headers:
            return False
        try:
            return int(answer.modified) <= email.utils.parsedate_to_datetime(since).timestamp()
        except ValueError:
            return False

    def _range(self, answer: Answer) -> str | None:
        """The range, unless it is wanted only of something that is not there any more."""
        condition = self.request.headers.get("If-Range")
        if condition is not None and condition != answer.etag:
            return None
        return self.request.headers.get("Range")

    async def _send_file(self, answer: Answer, start: int, stop: int) -> None:
        assert answer.file is not None
        loop = asyncio.get_running_loop()
        try:
            handle = await loop.run_in_executor(None, answer.file.open, "rb")
        except OSError as error:  # gone since it was found
            raise HTTPError(404) from error
        with handle:
            handle.seek(start)
            while start < stop:
                piece = await loop.run_in_executor(
                    None, handle.read, min(PIECE_BYTES, stop - start)
                )
                if not piece:  # shorter than it was: the connection ends before its length
                    return
                start += len(piece)
                self.write(piece)
                try:
                    await self.flush()
                except StreamClosedError:
                    return

    # ---------------------------------------------------------------- pages

    def on_connection_close(self) -> None:
        """Nobody waits for the answer any more."""
        self.gone = True

    async def _listen(self) -> None:
        """Tells a viewer's page that the server is there, until either of them is not."""
        self.set_header("Content-Type", "text/event-stream")
        try:
            while not self.gone and not self.server.closing.is_set():
                self.write(":\n\n")
                await self.flush()
                try:
                    await asyncio.wait_for(self.server.closing.wait(), KEEP_ALIVE_S)
                except TimeoutError:
                    continue
        except StreamClosedError:
            pass


__all__ = ["Handler", "host_of", "parts_of", "span_of"]
