"""The browser that other tests look through sees what a person would see."""

import http.server
import threading

import numpy as np
import pytest

from tests.viz.browser import BrowserError, need_chromium

PAGE = b"""<!doctype html><title>page</title><style>
body { margin: 0; background: rgb(10, 200, 30) }
@media (prefers-color-scheme: dark) { body { background: rgb(1, 2, 3) } }
</style><button id="count" onclick="this.textContent = 1 + Number(this.textContent)">0</button>
<input id="name">"""


@pytest.fixture
def address():
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            found = self.path == "/"
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(PAGE if found else b"")

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
        thread.join()


def test_a_page_is_clicked_typed_into_and_looked_at(browser, address, tmp_path):
    with browser.open(address, viewport=(640, 480)) as page:
        page.click("#count")
        page.click("#count")
        page.wait_for("document.querySelector('#count').textContent == '2'")
        page.click("#name")
        page.type_text("tile")
        assert page.evaluate("document.querySelector('#name').value") == "tile"
        page.screenshot(tmp_path / "page.png")
        assert (tmp_path / "page.png").read_bytes().startswith(b"\x89PNG")
        light = page.pixels()
        assert light.shape == (480, 640, 3)
        np.testing.assert_array_equal(light[400, 600], [10, 200, 30])
        page.emulate(viewport=(800, 600), colour_scheme="dark")
        dark = page.pixels()
        assert dark.shape == (600, 800, 3)
        np.testing.assert_array_equal(dark[400, 600], [1, 2, 3])
        assert page.heap_bytes() > 0


def test_the_console_s_errors_are_collected(browser, address):
    with browser.open(address) as page:
        page.evaluate("fetch('/none')")
        page.evaluate("setTimeout(() => { throw new Error('from a timer') }, 0)")
        page.evaluate("console.error('said so')")
        page.evaluate(
            "new Worker(URL.createObjectURL(new Blob(['throw new Error(\"in a worker\")']))), 1"
        )
        page.wait_for("new Promise(done => setTimeout(() => done(true), 300))")
        found = "\n".join(page.errors)
        for expected in ("404", "from a timer", "said so", "in a worker"):
            assert expected in found
        assert any(request.endswith("/none") for request in page.requests)
        with pytest.raises(BrowserError, match="nothing_such"):
            page.evaluate("nothing_such")
        with pytest.raises(TimeoutError, match="1 == 2"):
            page.wait_for("1 == 2", timeout_s=0.2)


def test_nothing_outside_this_computer_is_reached(browser):
    with pytest.raises(BrowserError, match="ERR_NAME_NOT_RESOLVED"):
        browser.open("http://example.org/")


def test_without_chromium_tests_are_skipped_or_fail_as_asked(monkeypatch):
    monkeypatch.setattr("tests.viz.browser.chromium_path", lambda: None)
    monkeypatch.delenv("LATTICEWORK_NEED_CHROMIUM", raising=False)
    with pytest.raises(pytest.skip.Exception, match="chromium"):
        need_chromium()
    monkeypatch.setenv("LATTICEWORK_NEED_CHROMIUM", "1")
    with pytest.raises(pytest.fail.Exception, match="chromium"):
        need_chromium()
