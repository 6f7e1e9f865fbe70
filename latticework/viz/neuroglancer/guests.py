"""An HTTP server that holds no more connections than a process can afford.

Whoever runs on the same computer may connect, with or without the token, and say nothing. Each
connection is an open file of the process; when there are no more, nothing in it can open one.
"""

from typing import Any

from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream

MOST_GUESTS = 256
"""Connections at once; a viewer has six, and one that listens."""


class GuestServer(HTTPServer):
    """Closes connections at once that come when there are `MOST_GUESTS` already."""

    def handle_stream(self, stream: IOStream, address: Any) -> None:
        """A new connection."""
        if len(self._connections) >= MOST_GUESTS:
            stream.close()
            return
        super().handle_stream(stream, address)


__all__ = ["MOST_GUESTS", "GuestServer"]
