"""A real browser for tests: headless Chromium, driven over the DevTools protocol.

``browser``        fixture: one Chromium for the whole session, or a skip that says so
``Browser.start``  a Chromium of one's own; ``open`` gives a page, ``close`` ends it
``Page``           ``wait_for``, ``evaluate``, ``click``, ``errors``, ``screenshot``, ``pixels`` ...

Chromium is found as ``chromium`` on the path, or where ``LATTICEWORK_CHROMIUM`` says. Without it
tests are skipped; with ``LATTICEWORK_NEED_CHROMIUM=1`` they fail instead. Names other than this
computer's own do not resolve, so that a page that needs the network is found out. Every page has a
profile of its own (cookies, storage), which is gone when the page is closed.

    with browser.open(url, viewport=(1920, 1080), colour_scheme="dark") as page:
        page.wait_for("document.querySelectorAll('.tile').length == 63")
        page.click("#pause")
        page.screenshot("pause.png")
        assert page.errors == []
"""

import asyncio
import base64
import io
import itertools
import json
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
from PIL import Image
from tornado.websocket import WebSocketClientConnection, websocket_connect

START_S = 60.0
ANSWER_S = 60.0
"""Longest wait for an answer of the browser itself; a shared machine stutters."""

OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--use-angle=swiftshader",  # WebGL without a graphics card
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--no-first-run",
    "--no-default-browser-check",
    "--no-proxy-server",
    "--password-store=basic",
    "--mute-audio",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--remote-debugging-port=0",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1 , EXCLUDE localhost",
)


def chromium_path() -> str | None:
    """The program, or None where there is none."""
    return os.environ.get("LATTICEWORK_CHROMIUM") or shutil.which("chromium")


def need_chromium() -> str:
    """The program; skips the test without it, or fails it where LATTICEWORK_NEED_CHROMIUM=1."""
    path = chromium_path()
    if path is not None:
        return path
    message = "no chromium on the path: install it, or set LATTICEWORK_CHROMIUM to the program"
    if os.environ.get("LATTICEWORK_NEED_CHROMIUM") == "1":
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session")
def browser() -> Iterator["Browser"]:
    """One headless Chromium for the session; each page that it opens is a profile of its own."""
    need_chromium()
    with Browser.start() as started:
        yield started


class BrowserError(Exception):
    """What the browser answered instead of doing what it was asked."""


class Connection:
    """The DevTools websocket, in a thread with an event loop of its own; ``send`` waits."""

    def __init__(self, url: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.pages: dict[str, Page] = {}
        self._socket: WebSocketClientConnection = self._wait(self._connect(url))

    def _wait(self, work: Coroutine[Any, Any, Any], timeout_s: float = ANSWER_S) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout_s)

    async def _connect(self, url: str) -> WebSocketClientConnection:
        socket = await websocket_connect(url, max_message_size=256 << 20)
        self._reader = asyncio.create_task(self._read(socket))
        return socket

    async def _read(self, socket: WebSocketClientConnection) -> None:
        while (text := await socket.read_message()) is not None:
            message = json.loads(text)
            if (answer := self._answers.pop(message.get("id"), None)) is not None:
                if not answer.done():
                    answer.set_result(message)
            elif (page := self.pages.get(message.get("sessionId"))) is not None:
                page._heard(message["method"], message["params"])
        for answer in self._answers.values():
            answer.cancel("the browser is gone")

    async def _send(self, method: str, session: str | None, params: dict[str, Any]) -> Any:
        answer = self.post(method, session, params)
        message = await answer
        if "error" in message:
            raise BrowserError(f"{method}: {message['error']['message']}")
        return message["result"]

    def post(
        self, method: str, session: str | None, params: dict[str, Any]
    ) -> "asyncio.Future[dict[str, Any]]":
        """Sends without waiting; for the loop's own thread."""
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        answer = self._answers[number] = self._loop.create_future()
        self._socket.write_message(json.dumps(message))
        return answer

    def send(self, method: str, session: str | None = None, **params: Any) -> Any:
        """The answer to one DevTools command."""
        return self._wait(self._send(method, session, params))

    def close(self) -> None:
        async def end() -> None:
            self._socket.close()
            await self._reader

        self._wait(end(), 10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


class Browser:
    """A running headless Chromium; ``close`` ends it and removes its temporary profile."""

    def __init__(
        self, process: "subprocess.Popen[bytes]", folder: Path, connection: Connection
    ) -> None:
        self.process = process
        self._folder = folder
        self._connection = connection

    @classmethod
    def start(cls, *, options: tuple[str, ...] = ()) -> Self:
        """Starts Chromium; `options` are further ones for its command line."""
        program = chromium_path()
        if program is None:
            raise FileNotFoundError("no chromium on the path")
        folder = Path(tempfile.mkdtemp(prefix="latticework-chromium-"))
        process = subprocess.Popen(
            [program, *OPTIONS, f"--user-data-dir={folder}", *options, "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            url = _devtools_url(process, folder)
            return cls(process, folder, Connection(url))
        except BaseException:
            _end(process, folder)
            raise

    def open(
        self,
        url: str,
        *,
        viewport: tuple[int, int] = (1280, 800),
        colour_scheme: str = "light",
    ) -> "Page":
        """A new page, with a profile of its own; `colour_scheme` is ``light`` or ``dark``."""
        send = self._connection.send
        context = send("Target.createBrowserContext")["browserContextId"]
        target = send(
            "Target.createTarget",
            url="about:blank",
            browserContextId=context,
            width=viewport[0],
            height=viewport[1],
        )["targetId"]
        session = send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self._connection, context, session)
        page.emulate(viewport=viewport, colour_scheme=colour_scheme)
        page.go(url)
        return page

    def memory_bytes(self) -> int:
        """Resident memory of the browser with all its processes."""
        import psutil

        total = 0
        for process in [(main := psutil.Process(self.process.pid)), *main.children(recursive=True)]:
            try:
                total += process.memory_info().rss
            except psutil.Error:
                continue
        return total

    def close(self) -> None:
        try:
            self._connection.send("Browser.close")
            self._connection.close()
        except Exception:  # it may be gone already
            pass
        _end(self.process, self._folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class Page:
    """A page of the browser, driven as a person would: it waits, clicks, types and looks.

    `errors` collects what a person would see in red in the browser's console: exceptions, failed
    requests, ``console.error``, refusals by CORS or a content policy; in the page and its workers.
    `console` has every line that the page printed, `requests` every address that it asked for.
    """

    def __init__(self, connection: Connection, context: str, session: str) -> None:
        self._connection = connection
        self._context = context
        self._session = session
        self.errors: list[str] = []
        self.console: list[str] = []
        self.requests: list[str] = []
        connection.pages[session] = self
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")
        self.send(
            "Target.setAutoAttach", autoAttach=True, waitForDebuggerOnStart=False, flatten=True
        )

    def send(self, method: str, **params: Any) -> Any:
        """Any other command of the DevTools protocol, sent to this page."""
        return self._connection.send(method, self._session, **params)

    def _heard(self, method: str, params: dict[str, Any]) -> None:
        if method == "Target.attachedToTarget":  # a worker or frame of this page
            inner = params["sessionId"]
            self._connection.pages[inner] = self
            for domain in ("Runtime", "Log", "Network"):
                self._connection.post(f"{domain}.enable", inner, {})
        elif method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            thrown = details.get("exception", {}).get("description", "")
            self.errors.append(f"{details['text']} {thrown} at {details.get('url', '')}".strip())
        elif method == "Runtime.consoleAPICalled":
            said = " ".join(str(a.get("value", a.get("description", ""))) for a in params["args"])
            self.console.append(f"{params['type']}: {said}")
            if params["type"] in ("error", "assert"):
                self.errors.append(said)
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            entry = params["entry"]
            self.errors.append(f"{entry['text']} {entry.get('url', '')}".strip())
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])

    def emulate(
        self, *, viewport: tuple[int, int] | None = None, colour_scheme: str | None = None
    ) -> None:
        """Changes the size of the window in CSS pixels, and ``prefers-color-scheme``."""
        if viewport is not None:
            self.send(
                "Emulation.setDeviceMetricsOverride",
                width=viewport[0],
                height=viewport[1],
                deviceScaleFactor=1,
                mobile=False,
            )
        if colour_scheme is not None:
            feature = {"name": "prefers-color-scheme", "value": colour_scheme}
            self.send("Emulation.setEmulatedMedia", features=[feature])

    def go(self, url: str) -> None:
        """Opens another address and waits until the document has loaded."""
        answer = self.send("Page.navigate", url=url)
        if answer.get("errorText"):
            raise BrowserError(f"{url}: {answer['errorText']}")
        self.wait_for(f"location.href != 'about:blank' || {url == 'about:blank'!r}".lower())
        self.wait_for("document.readyState == 'complete'")

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression (JSON); a promise is waited for."""
        answer = self.send(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            thrown = details.get("exception", {}).get("description", details["text"])
            raise BrowserError(f"{expression}: {thrown}")
        return answer["result"].get("value")

    def wait_for(self, condition: str, *, timeout_s: float = 30.0) -> Any:
        """Waits until a JavaScript expression is true, and gives its value."""
        until = time.monotonic() + timeout_s
        last: object = None
        while time.monotonic() < until:
            try:
                if last := self.evaluate(condition):
                    return last
            except BrowserError as error:  # not there yet, or the page is just changing
                last = error
            time.sleep(0.05)
        raise TimeoutError(
            f"after {timeout_s:g} s still not true: {condition} (it is {last!r}); "
            f"errors in the console: {self.errors}"
        )

    def click(self, selector: str, *, timeout_s: float = 30.0) -> None:
        """Clicks the middle of the first element that a CSS selector finds, with the mouse."""
        element = f"document.querySelector({selector!r})"
        self.wait_for(f"{element} !== null", timeout_s=timeout_s)
        x, y = self.evaluate(
            f"(() => {{ const e = {element}; e.scrollIntoView({{block: 'center'}});"
            " const b = e.getBoundingClientRect();"
            " return [b.x + b.width / 2, b.y + b.height / 2] })()"
        )
        self.click_at(x, y)

    def click_at(self, x: float, y: float, *, button: str = "left") -> None:
        """Clicks a point of the window, in CSS pixels from its upper left corner."""
        self.move_to(x, y)
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button=button, clickCount=1)

    def move_to(self, x: float, y: float) -> None:
        """Moves the mouse over a point of the window, for what shows on hover."""
        self.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def scroll(self, x: float, y: float, *, down: float) -> None:
        """Turns the mouse wheel over a point of the window by `down` pixels."""
        self.send("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=down)

    def type_text(self, text: str) -> None:
        """Types into what has the focus."""
        self.send("Input.insertText", text=text)

    def press(self, key: str, *, code: int = 0, text: str = "") -> None:
        """Presses a key by its DOM name, such as ``Enter`` or ``Escape``."""
        codes = {"Enter": (13, "\r"), "Escape": (27, ""), "Tab": (9, "")}
        code, text = codes.get(key, (code, text))
        for kind in ("keyDown", "keyUp"):
            self.send(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                windowsVirtualKeyCode=code,
                text=text if kind == "keyDown" else "",
            )

    def heap_bytes(self) -> int:
        """Bytes of JavaScript objects in use, after collecting garbage."""
        self.send("HeapProfiler.collectGarbage")
        return int(self.send("Runtime.getHeapUsage")["usedSize"])

    def screenshot(self, path: str | os.PathLike[str] | None = None) -> bytes:
        """The window as PNG, written to `path` where given."""
        png = base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"])
        if path is not None:
            Path(path).write_bytes(png)
        return png

    def pixels(self) -> np.ndarray:
        """The window as an array: uint8, (height, width, red green blue)."""
        return np.asarray(Image.open(io.BytesIO(self.screenshot())).convert("RGB"))

    def close(self) -> None:
        """Closes the page and forgets its profile."""
        self._connection.send("Target.disposeBrowserContext", browserContextId=self._context)
        for session in [s for s, page in self._connection.pages.items() if page is self]:
            del self._connection.pages[session]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _devtools_url(process: "subprocess.Popen[bytes]", folder: Path) -> str:
    """Waits until Chromium has written its port, and gives the websocket's address."""
    file = folder / "DevToolsActivePort"
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        if process.poll() is not None:
            raise BrowserError(f"chromium ended at once with exit code {process.returncode}")
        lines = file.read_text().split() if file.exists() else []
        if len(lines) == 2:
            return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
        time.sleep(0.05)
    raise TimeoutError(f"chromium did not open its DevTools port within {START_S:g} s")


def _end(process: "subprocess.Popen[bytes]", folder: Path) -> None:
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)
    for _ in range(20):  # its children may still write for a moment
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.1)
