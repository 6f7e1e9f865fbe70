"""The pages' server: what it refuses and survives, and that runs have it beside Dask's pages."""

import asyncio
import contextlib
import errno
import http.client
import os
import re
import socket
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.websocket import websocket_connect

import latticework as lw
from latticework.errors import LatticeworkError, ProjectError
from latticework.lattice import Lattice
from latticework.viz.dashboard.control_page import ControlPage
from latticework.viz.dashboard.control_token import FILE, control_token, is_token
from latticework.viz.dashboard.origins import allowed_origins
from latticework.viz.dashboard.serving import PageServer


@pytest.fixture
def project(tmp_path):
    tiles = Lattice.from_array(np.ones((16, 16), "u1"), block={"y": 4, "x": 4})
    project = lw.create(tmp_path / "<script>alert(1)<!--.lw", tiles)
    project.add(np.negative)
    return project


@pytest.fixture
def server(project):
    with project.dashboard() as server:
        yield server


def get(url, **headers):
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as answer:
        return answer.read().decode()


def token_of(page):
    """The token with which a browser opens its connection."""
    return re.search(r'"token":"([^"]+)"', page).group(1)


async def connect(url, *, origin=None, token=None):
    """A connection to a page as a browser's, from a page of `origin`."""
    parts = urlsplit(url)
    token = token or token_of(await asyncio.to_thread(get, url))
    request = HTTPRequest(
        f"ws://{parts.netloc}{parts.path}/ws",
        headers={"Origin": origin or f"http://{parts.netloc}"},
    )
    return await websocket_connect(request, subprotocols=["bokeh", token])


def test_it_listens_on_loopback_alone(server):
    assert server.address == "127.0.0.1"
    assert server.url.startswith("http://127.0.0.1:")


def test_a_page_of_its_own_may_connect(server):
    async def first():
        socket = await connect(server.url)
        return await asyncio.wait_for(socket.read_message(), 20)

    assert "ACK" in asyncio.run(first())


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "https://127.0.0.1.evil.example", "null", "http://127.0.0.1:1"],
)
def test_a_page_of_another_origin_is_refused(server, origin):
    with pytest.raises(HTTPClientError) as refused:
        asyncio.run(connect(server.url, origin=origin))
    assert refused.value.code == 403


def test_a_made_up_session_is_refused(server):
    async def says():
        with contextlib.suppress(HTTPClientError):
            socket = await connect(server.url, token="made.up")
            return await asyncio.wait_for(socket.read_message(), 20)

    assert asyncio.run(says()) is None
    assert "Overview" in get(server.url)


def test_the_projects_name_is_text_and_nothing_else(server):
    page = get(server.url)
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_a_project_that_was_not_put_there_is_not_shown(server, tmp_path):
    url = server.url.split("?")[0]
    for asked in (
        str(tmp_path),
        "../../etc/passwd",
        "00000000",
        "%00",
        "<script>alert(2)</script>",
    ):
        page = get(f"{url}?project={urllib.request.quote(asked)}")
        assert str(tmp_path) not in page
        assert "alert(2)" not in page
        assert server.shown.key not in page


@pytest.mark.parametrize(
    "path",
    [
        "/static/../../../../etc/passwd",
        "/static/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/static/js/..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/static//etc/passwd",
        "/journal.sqlite",
        "/lattice/../control-token",
        "/lattice/%00",
        "/" + "a" * 5000,
    ],
)
def test_no_file_is_served(server, path):
    control_token(server.shown.path)
    parts = urlsplit(server.url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=20)
    connection.putrequest("GET", path, skip_accept_encoding=True)
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status in (400, 403, 404)
    assert b"root:" not in answer.read()


@pytest.mark.parametrize(
    "junk",
    [
        b"\x00\xff\x00\xff" * 100,
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /lattice HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n",
        b"GET /lattice HTTP/1.1\r\nHost: x\r\n" + b"X-A: " + b"a" * 200_000 + b"\r\n\r\n",
        b"GET /lattice/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n",
        b"GET /lattice?project=%ff%fe&bokeh-session-id=%00 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /lattice HTTP/1.1\r\nHost: x\r\nCookie: lattice-theme=;=\xff; lattice-chosen\r\n\r\n",
        b"GET /lattice HTTP/1.1\r\n",
    ],
)
def test_malformed_requests_are_survived(server, junk):
    parts = urlsplit(server.url)
    raw = socket.create_connection((parts.hostname, parts.port), timeout=10)
    with raw, contextlib.suppress(OSError):
        raw.sendall(junk)
        raw.settimeout(0.5)
        raw.recv(1000)
    assert "Overview" in get(server.url)


@pytest.mark.parametrize(
    "message", ["", "{", "[]", "null", '{"msgid":"1"}', b"\x00" * 1000, "x" * 2**21]
)
def test_malformed_messages_end_that_connection_only(server, message):
    async def send():
        socket = await connect(server.url)
        with contextlib.suppress(Exception):
            await socket.write_message(message, binary=isinstance(message, bytes))
            for _ in range(3):
                if await asyncio.wait_for(socket.read_message(), 1) is None:
                    break
        socket.close()

    asyncio.run(send())
    assert "Overview" in get(server.url)


@pytest.mark.slow
def test_two_hundred_clients_come_and_go(server):
    async def visit(gate):
        async with gate:
            socket = await connect(server.url)
            await asyncio.wait_for(socket.read_message(), 60)
            socket.close()

    async def everybody():
        gate = asyncio.Semaphore(25)
        await asyncio.gather(*(visit(gate) for _ in range(200)))

    asyncio.run(everybody())
    assert "Overview" in get(server.url)
    app = server._app._applications["/lattice"]
    until = time.monotonic() + 40
    while len(app.sessions) > 2 and time.monotonic() < until:
        time.sleep(0.5)
    assert len(app.sessions) <= 2


def test_a_taken_port_is_told_by_its_number(server, project):
    with pytest.raises(LatticeworkError, match=rf"127\.0\.0\.1:{server.port} .*another port"):
        PageServer(project.path, port=server.port)


def test_a_closed_server_gives_its_port_back(project):
    server = project.dashboard()
    server.close()
    with project.dashboard(port=server.port) as again:
        assert "Overview" in get(again.url)


# -------------------------------------------------------------------- the token


def test_the_token_is_the_owners_alone(project):
    token = control_token(project.path)
    assert (project.path / FILE).stat().st_mode & 0o777 == 0o600
    assert is_token(project.path, f" {token}\n")
    assert not is_token(project.path, token[:-1])
    assert not is_token(project.path, "")
    assert not is_token(project.path, token + "é")


def test_a_token_that_others_can_read_is_refused(project):
    control_token(project.path)
    (project.path / FILE).chmod(0o644)
    with pytest.raises(ProjectError, match="can be read by others"):
        control_token(project.path)


def test_a_folder_that_cannot_be_written_is_said(project, monkeypatch):
    def refuse(*_arguments, **_options):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("latticework.viz.dashboard.control_token.os.open", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(ProjectError, match=r"cannot be made .Read-only file system.*writable"):
        control_token(project.path)


def test_a_token_behind_a_link_is_refused(project, tmp_path):
    other = tmp_path / "known"
    other.write_text("a" * 32)
    other.chmod(0o600)
    (project.path / FILE).symlink_to(other)
    with pytest.raises(ProjectError, match="cannot be read"):
        control_token(project.path)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_token_that_is_no_file_is_refused_at_once(project, make):
    make(project.path / FILE)
    (project.path / FILE).chmod(0o600)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        with pytest.raises(ProjectError, match="no file: remove it"):
            is_token(project.path, "x" * 32)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


def test_an_empty_token_opens_nothing(project):
    (project.path / FILE).write_text("\n")
    (project.path / FILE).chmod(0o600)
    with pytest.raises(ProjectError, match="holds no token"):
        is_token(project.path, "")


# -------------------------------------------------------------------- beside Dask's pages


def test_origins_are_those_of_where_it_listens():
    assert allowed_origins("10.1.2.3", 8787)[3:] == ["10.1.2.3:8787"]
    assert socket.gethostname().lower() + ":80" in allowed_origins("", 80)
    assert "*" not in "".join(allowed_origins("", 80))


def test_a_run_has_the_pages_on_its_dask_dashboard(tmp_path):
    tiles = Lattice.from_array(np.ones((16, 16), "u1"), block={"y": 4, "x": 4})
    project = lw.create(tmp_path / "brain.lw", tiles)
    project.add(linger)
    run = project.start(lw.local(workers=1))
    link = run.dashboard_link  # at once
    assert f"dashboard: {link}" in repr(run)
    assert "brain.lw" in get(link)
    assert 'href="lattice"' in get(link.rsplit("/", 1)[0] + "/status")
    with pytest.raises(HTTPClientError) as refused:
        asyncio.run(connect(link, origin="http://evil.example"))
    assert refused.value.code == 403
    assert run.wait(120)
    assert run.dashboard_link is None


def test_a_run_goes_on_where_the_scheduler_has_no_dashboard(tmp_path, local_client):
    tiles = Lattice.from_array(np.ones((8, 8), "u1"), block={"y": 4, "x": 4})
    project = lw.create(tmp_path / "brain.lw", tiles)
    project.add(np.negative)
    assert project.run(local_client, progress="none")


def linger(tile):
    time.sleep(0.3)
    return tile


@pytest.mark.filterwarnings("ignore:reference already known")
def test_buttons_pressed_behind_the_lock_do_nothing(server, project, monkeypatch):
    from bokeh.client import pull_session
    from bokeh.document.events import MessageSentEvent
    from bokeh.events import ButtonClick
    from bokeh.models import Button

    asked = []
    ask = ControlPage._ask

    def listened(page, make):
        asked.append(page.unlocked)
        ask(page, make)

    monkeypatch.setattr(ControlPage, "_ask", listened)
    parts = urlsplit(server.url)
    before = project.query("select count(*) from commands")
    until = time.monotonic() + 30
    while server.shown.feed.snapshot is None and time.monotonic() < until:
        time.sleep(0.05)  # then the page has its parts when it is opened
    session = pull_session(
        url=f"http://{parts.netloc}/lattice-control", arguments={"project": server.shown.key}
    )
    try:
        buttons = list(session.document.select({"type": Button}))
        assert len(buttons) > 8
        for button in buttons * 2:  # as a browser says it
            session._document_patched(
                MessageSentEvent(session.document, "bokeh_event", ButtonClick(button))
            )
        session.force_roundtrip()
        time.sleep(2)
    finally:
        session.close()
    assert asked
    assert not any(asked)
    assert project.query("select count(*) from commands") == before
    assert not project.settings.paused


def test_a_token_in_an_address_does_not_come_back_in_the_page(server):
    from bokeh.util.token import get_token_payload

    assert "#token=" in server.control_url
    for given in ("&token=s3cret-token-s3cret", "&x=1&token=s3cret-token-s3cret"):
        page = get(server.url.replace("/lattice", "/lattice-control") + given)
        told = str(get_token_payload(token_of(page)))
        assert "s3cret" not in page + told
        assert server.shown.key in told


def test_a_link_cannot_say_which_session_one_gets(server):
    import base64
    import json

    for asked in ("?bokeh-session-id=chosen", "?bokeh-token=chosen"):
        url = server.url.split("?")[0] + asked
        for headers in ({}, {"Bokeh-Session-Id": "chosen"}):
            payload = token_of(get(url, Cookie="jupyter_session=secret", **headers)).split(".")[0]
            told = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)).decode()
            assert json.loads(told)["session_id"] != "chosen"
            assert "secret" not in told


def test_a_token_of_odd_letters_is_just_wrong(project):
    control_token(project.path)
    assert not is_token(project.path, "\ud800x")
