"""The data server under attack: only what was opened is read, and nothing is left behind."""

import contextlib
import http.client
import json
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import zarr

from latticework.errors import SourceError
from latticework.viz.neuroglancer import ViewError, close_server, guests, serve_with
from latticework.viz.neuroglancer import server as server_module
from latticework.viz.neuroglancer.resources import Client, Folder, Text
from latticework.viz.neuroglancer.server import DataServer, shared_server

SECRET = b"journal of somebody"


@pytest.fixture
def folder(tmp_path):
    """A Zarr array with secrets around it and in it."""
    root = tmp_path / "project.lw" / "open.zarr"
    array = zarr.create_array(root, shape=(8, 8), chunks=(4, 4), dtype="u2")
    array[...] = np.arange(64).reshape(8, 8)
    outside = tmp_path / "project.lw" / "journal.sqlite"
    outside.write_bytes(SECRET)
    (root / ".secret").write_bytes(SECRET)
    (root / "notes.txt").write_bytes(SECRET)
    (root / "journal.sqlite").write_bytes(SECRET)
    (root / "7").symlink_to(outside)
    (root / "8").symlink_to(root / "notes.txt")
    (root / "away").symlink_to(tmp_path / "project.lw")
    (tmp_path / "project.lw" / "9").write_bytes(SECRET)
    return root


@pytest.fixture
def server(folder):
    with DataServer() as running:
        running.add("d", "1", Folder(folder))
        running.add("s", "1", Text(b'{"a": 1}'))
        yield running


def ask(server, path, method="GET", *, raw=False, **headers):
    """Status, headers and body of a request; `path` is behind the token unless `raw`."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    try:
        target = path if raw else f"/{server.token}/{path}"
        connection.putrequest(method, target, skip_host="Host" in headers)
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def test_what_was_opened_is_served(server, folder):
    status, headers, body = ask(server, "d/1/zarr.json")
    assert status == 200
    assert json.loads(body)["shape"] == [8, 8]
    assert headers["Content-Type"] == "application/json"
    assert ask(server, "d/1/c/1/1")[2] == (folder / "c/1/1").read_bytes()
    assert ask(server, "s/1")[2] == b'{"a": 1}'
    assert ask(server, "d/1/c/5/5")[0] == 404


@pytest.mark.parametrize(
    "path",
    [
        "d/1/../journal.sqlite",
        "d/1/%2e%2e/journal.sqlite",
        "d/1/%2E%2E%2Fjournal.sqlite",
        "d/1/..%2fjournal.sqlite",
        "d/1/%252e%252e/journal.sqlite",
        "d/1/..%5cjournal.sqlite",
        "d/1/....//journal.sqlite",
        "d/1/c/../../../journal.sqlite",
        "d/1//etc/passwd",
        "d/1/%2fetc%2fpasswd",
        "d/1/c%00/0",
        "d/1/zarr.json%00.txt",
        "d/1/%c0%ae%c0%ae/journal.sqlite",
        "d/1/%ff",
        "d/1/.secret",
        "d/1/%2esecret",
        "d/1/notes.txt",
        "d/1/journal.sqlite",
        "d/1/7",
        "d/1/8",
        "d/1/away/9",
        "d/1/" + "c/" * 1500 + "0",
        "d/1/" + "7" * 300,
        "d/1/c",
        "d/1/",
        "d/1",
        "d/",
        "d/2/zarr.json",
        "",
        "v/viewer/",
    ],
)
def test_nothing_else_is_read(server, path):
    status, headers, body = ask(server, path)
    assert status in (400, 404)
    assert SECRET not in body
    assert len(body) < 100
    assert "Traceback" not in body.decode("latin1")
    assert "tornado" not in headers.get("Server", "").lower()


def test_without_the_token_there_is_nothing(server):
    for path in ("/d/1/zarr.json", "/", "/wrong/d/1/zarr.json", f"/{server.token[:-1]}/s/1"):
        assert ask(server, path, raw=True)[0] == 404
    assert ask(server, f"/{server.token.upper()}/s/1", raw=True)[0] == 404
    assert len(server.token) >= 32
    with DataServer() as another:
        assert another.token != server.token


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "BREW"])
def test_it_can_only_be_read(server, method):
    assert ask(server, "s/1", method)[0] in (400, 405)
    assert ask(server, "s/1")[0] == 200


def test_pages_of_other_origins_are_refused(server):
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1", "https://127.0.0.1"):
        status, headers, body = ask(server, "s/1", Origin=origin)
        assert (status, body) == (403, b"403\n")
        assert "Access-Control-Allow-Origin" not in headers
        assert ask(server, "s/1", "OPTIONS", Origin=origin)[0] == 403
    own = f"http://127.0.0.1:{server.port}"
    status, headers, _ = ask(server, "s/1", Origin=own)
    assert (status, headers["Access-Control-Allow-Origin"], headers["Vary"]) == (200, own, "Origin")
    assert "Access-Control-Allow-Origin" not in ask(server, "s/1")[1]


def test_an_origin_that_was_named_may_read(folder):
    friend = "https://viewer.example"
    with DataServer(origins=[friend]) as server:
        server.add("d", "1", Folder(folder))
        headers = ask(server, "d/1/zarr.json", Origin=friend)[1]
        assert headers["Access-Control-Allow-Origin"] == friend
        status, headers, _ = ask(server, "d/1/zarr.json", "OPTIONS", Origin=friend)
        assert (status, headers["Access-Control-Allow-Methods"]) == (204, "GET, HEAD")
        assert ask(server, "d/1/zarr.json", Origin="https://other.example")[0] == 403


def test_names_that_others_point_here_are_refused(server):
    """DNS rebinding: a page's own name resolves to 127.0.0.1."""
    for host in ("evil.example", f"evil.example:{server.port}", "127.0.0.1.evil.example", ""):
        assert ask(server, "s/1", Host=host)[0] in (400, 403)
    for host in (f"localhost:{server.port}", "127.0.0.1:9999"):
        assert ask(server, "s/1", Host=host)[0] == 200


def test_a_host_that_is_no_name_is_refused_without_a_traceback(server, caplog):
    for host in ("[", "[::1", "::1]", "[v1.x]", "[]"):
        status, _, body = ask(server, "s/1", Host=host)
        assert (status, body) == (403, b"403\n")
    assert caplog.text == ""


def test_names_of_hosts_have_no_large_letters():
    with DataServer(hosts=["Proxy.Example"]) as server:
        server.add("s", "1", Text(b"{}"))
        assert ask(server, "s/1", Host="proxy.example")[0] == 200
        assert ask(server, "s/1", Host="PROXY.example:80")[0] == 200


class Broken:
    """A resource that cannot be read."""

    def find(self, _parts):
        raise ValueError("chunk 7 is damaged")


def test_what_cannot_be_read_is_told_once_and_without_the_token(server, caplog):
    server.add("d", "2", Broken())
    for k in range(5):
        status, _, body = ask(server, f"d/2/image/c/{k}")
        assert (status, body) == (500, b"500\n")
    assert caplog.text.count("chunk 7 is damaged") == 1
    assert "d/2/image" in caplog.text
    assert server.token not in caplog.text
    assert "Traceback" not in caplog.text


def test_ranges_are_those_of_the_file(server, folder):
    whole = (folder / "zarr.json").read_bytes()
    for asked, expected in {
        "bytes=0-9": whole[:10],
        "bytes=5-": whole[5:],
        "bytes=-7": whole[-7:],
        f"bytes=3-{10**15}": whole[3:],
        f"bytes=-{10**15}": whole,
    }.items():
        status, headers, body = ask(server, "d/1/zarr.json", Range=asked)
        assert (status, body) == (206, expected)
        first = len(whole) - len(expected) if not asked.startswith("bytes=0") else 0
        last = first + len(expected) - 1
        assert headers["Content-Range"] == f"bytes {first}-{last}/{len(whole)}"
        assert headers["Content-Length"] == str(len(expected))
    for asked in (
        *("bytes=9-3", f"bytes={len(whole)}-", "bytes=-0", "bytes=", "bytes=-", "bytes=a-b"),
        *(
            "bytes=0-1,3-4",
            "bytes=0-0," * 500,
            "pages=1-2",
            "bytes=--5",
            "bytes=" + "9" * 400 + "-",
        ),
    ):
        status, headers, body = ask(server, "d/1/zarr.json", Range=asked)
        assert (status, len(body) < 100) == (416, True), asked
        assert headers["Content-Range"] == f"bytes */{len(whole)}"


def test_head_says_what_get_sends(server):
    for path in ("d/1/zarr.json", "d/1/c/0/0", "s/1"):
        got, told = ask(server, path), ask(server, path, "HEAD")
        assert told[2] == b""
        for name in ("Content-Length", "ETag", "Content-Type", "Accept-Ranges"):
            assert told[1][name] == got[1][name]
    status, headers, body = ask(server, "d/1/zarr.json", "HEAD", Range="bytes=2-4")
    assert (status, headers["Content-Length"], body) == (206, "3", b"")


def test_unchanged_files_are_not_sent_again(server, folder):
    _, headers, _ = ask(server, "d/1/c/0/0")
    status, _, body = ask(server, "d/1/c/0/0", If_None_Match=headers["ETag"])
    assert (status, body) == (304, b"")
    assert ask(server, "d/1/c/0/0", If_Modified_Since=headers["Last-Modified"])[0] == 304
    assert ask(server, "d/1/c/0/0", If_Modified_Since="yesterday, or so")[0] == 200
    assert ask(server, "d/1/c/0/0", Range="bytes=0-3", If_Range=headers["ETag"])[0] == 206
    time.sleep(0.01)
    (folder / "c/0/0").write_bytes(b"another")
    assert ask(server, "d/1/c/0/0", If_None_Match=headers["ETag"])[2] == b"another"
    assert ask(server, "d/1/c/0/0", Range="bytes=0-3", If_Range=headers["ETag"])[0] == 200


def test_huge_headers_and_long_addresses_are_refused(server):
    with contextlib.suppress(http.client.RemoteDisconnected):  # without a word
        assert ask(server, "s/1", X_Large="x" * 60_000)[0] in (400, 431)
    assert ask(server, "s/1?" + "x" * 5000)[0] == 414
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as raw:
        with contextlib.suppress(OSError):
            for _ in range(200):
                raw.sendall(b"GET / HTTP/1.1\r\n" + b"A: " + b"b" * 8000 + b"\r\n")
        with contextlib.suppress(OSError):
            while raw.recv(65536):
                pass
    for garbage in (
        b"\x16\x03\x01\x02\x00",
        b"GET\r\n\r\n",
        b"\0" * 100,
        b"GET / HTTP/9.9\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as raw:
            raw.sendall(garbage)
            raw.shutdown(socket.SHUT_WR)
            with contextlib.suppress(OSError):
                assert b" 200 " not in raw.recv(1000)
    assert ask(server, "s/1")[0] == 200


def test_bodies_are_not_taken(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    with contextlib.suppress(OSError):
        connection.request("GET", f"/{server.token}/s/1", body=b"x" * 10_000_000)
        assert connection.getresponse().status in (400, 413)
    connection.close()
    assert ask(server, "s/1")[0] == 200


def test_two_hundred_clients_come_and_go(server):
    def client(number):
        if number % 4 == 0:  # one that leaves in the middle
            with socket.create_connection(("127.0.0.1", server.port), timeout=20) as raw:
                raw.sendall(f"GET /{server.token}/d/1/c/0/0 HTTP/1.1\r\nHost: 127.0.".encode())
            return 200
        return ask(server, "d/1/c/0/0")[0]

    with ThreadPoolExecutor(32) as pool:
        assert set(pool.map(client, range(200))) == {200}
    assert ask(server, "s/1")[0] == 200


def test_those_who_only_connect_do_not_use_up_the_files_of_the_process(server, monkeypatch):
    monkeypatch.setattr(guests, "MOST_GUESTS", 20)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            raw = socket.create_connection(("127.0.0.1", server.port), timeout=10)
            stack.enter_context(raw).sendall(b"GET / HTTP/1.1\r\nHost: 127")
        until = time.monotonic() + 10
        while (n := len(list(Path("/proc/self/fd").iterdir())) - before) > 125:
            assert time.monotonic() < until, n
            time.sleep(0.05)
        assert n <= 125  # 100 are ours
    until = time.monotonic() + 10
    while True:  # when they have gone there is room again
        with contextlib.suppress(OSError, http.client.HTTPException):
            assert ask(server, "s/1")[0] == 200
            break
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_page_hears_that_the_server_is_there(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as raw:
        raw.sendall(
            f"GET /{server.token}/events/viewer HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
        )
        heard = b""
        while b":\n\n" not in heard:
            heard += raw.recv(1000)
        assert b"text/event-stream" in heard
        assert ask(server, "s/1")[0] == 200
        server.close()
        while raw.recv(1000):
            pass  # it ends


def test_the_viewer_comes_from_the_same_place(server):
    server.add("v", "viewer", Client())
    status, headers, body = ask(server, "v/viewer/")
    assert status == 200
    assert b"<script" in body
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "http" not in headers["Content-Security-Policy"]
    name = next(part for part in body.decode().split('"') if part.startswith("main"))
    assert "immutable" in ask(server, f"v/viewer/{name}")[1]["Cache-Control"]
    for path in ("v/viewer/../server.py", "v/viewer/none.js", "v/viewer/main.js/x", "v/viewer/.x"):
        assert ask(server, path)[0] == 404


def test_without_the_package_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(ViewError, match=r"pip install 'latticework\[view\]'"):
        Client()


def test_a_folder_has_to_be_a_zarr(tmp_path):
    with pytest.raises(SourceError, match=r"no zarr\.json"):
        Folder(tmp_path)


# -------------------------------------------------------------------- beginning and end


def listening(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def threads():
    return [t for t in threading.enumerate() if t.name.startswith("latticework-view")]


def test_it_listens_on_this_computer_only(server):
    import psutil

    ours = [
        each.laddr.ip
        for each in psutil.Process().net_connections("tcp")
        if each.status == psutil.CONN_LISTEN and each.laddr.port == server.port
    ]
    assert ours == ["127.0.0.1"]


def test_an_idle_server_closes_and_an_active_one_stays():
    server = DataServer(idle_s=1.0)
    server.add("s", "1", Text(b"{}"))
    until = time.monotonic() + 2.5
    while time.monotonic() < until:
        assert ask(server, "s/1")[0] == 200
        time.sleep(0.2)
    assert server.open
    time.sleep(2.2)
    assert not server.open
    assert not listening(server.port)
    server.close()  # no harm


def test_closed_servers_leave_no_port_and_no_thread():
    ports = []
    for _ in range(20):
        with DataServer() as server:
            server.add("s", "1", Text(b"{}"))
            assert ask(server, "s/1")[0] == 200
            ports.append(server.port)
    assert not any(map(listening, ports))
    until = time.monotonic() + 5
    while threads() and time.monotonic() < until:
        time.sleep(0.05)
    assert threads() == []


def test_views_of_a_process_share_one_server_and_a_dead_one_is_replaced():
    close_server()
    first = shared_server()
    assert shared_server() is first
    address = first.base
    first.close()
    second = shared_server()
    assert second is not first
    assert second.open
    assert second.base == address  # the same place again, if that is free
    second.close()
    with socket.create_server(("127.0.0.1", second.port)):
        third = shared_server()
        assert third.port != second.port
        assert third.token == second.token
    close_server()
    assert not third.open


def test_a_forked_process_has_a_server_of_its_own(monkeypatch):
    close_server()
    parent = shared_server()
    monkeypatch.setattr(server_module.os, "getpid", lambda: -1)
    assert not parent.open
    child = shared_server()
    try:
        assert child is not parent
        assert child.token != parent.token
    finally:
        child.close()
        monkeypatch.undo()
        parent.close()
        close_server()


def test_a_port_that_is_taken_is_said():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ViewError, match=str(port)):
            DataServer(port=port)


def test_where_it_is_served_can_be_chosen():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    try:
        serve_with(port=port, origins=["https://viewer.example"], idle_s=77)
        server = shared_server()
        assert (server.port, server.idle_s) == (port, 77.0)
        assert server.origins == {"https://viewer.example"}
    finally:
        serve_with()


def test_a_resource_that_fails_is_an_error_without_words(server, caplog):
    class Broken:
        def find(self, parts):  # noqa: ARG002  what every resource is asked
            raise RuntimeError(f"secret at {os.getcwd()}")  # noqa: PTH109

    server.add("d", "9", Broken())
    status, _, body = ask(server, "d/9/x")
    assert (status, body) == (500, b"500\n")
    assert "secret" in caplog.text
    assert ask(server, "s/1")[0] == 200
