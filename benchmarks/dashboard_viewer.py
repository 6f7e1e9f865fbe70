"""A tab without a browser: opens a page's connection, and reads whatever comes.

``python -m benchmarks.dashboard_viewer URL`` prints a line when the page's document is there.
"""

import asyncio
import re
import sys
import urllib.request
from urllib.parse import urlsplit

from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect


def fetch(url: str) -> str:
    """A page as a browser gets it."""
    with urllib.request.urlopen(url, timeout=60) as answer:
        return str(answer.read().decode())


async def view(url: str) -> None:
    """Look at a page until it is closed."""
    parts = urlsplit(url)
    page = await asyncio.to_thread(fetch, url)
    found = re.search(r'"token":"([^"]+)"', page)
    assert found is not None, "the page has no session"
    request = HTTPRequest(
        f"ws://{parts.netloc}{parts.path}/ws", headers={"Origin": f"http://{parts.netloc}"}
    )
    connection = await websocket_connect(request, subprotocols=["bokeh", found.group(1)])
    await connection.read_message()
    for part in (
        '{"msgid":"1","msgtype":"PULL-DOC-REQ"}',
        "{}",
        "{}",
    ):
        await connection.write_message(part)
    told = False
    while True:
        message = await connection.read_message()
        if message is None:
            return
        if not told and isinstance(message, str) and "roots" in message:
            told = True
            print("open", flush=True)


if __name__ == "__main__":
    asyncio.run(view(sys.argv[1]))
