"""``latticework dashboard``: serves until Ctrl-C, on this machine alone."""

import re
import signal
import socket
import subprocess
import sys
import urllib.request

import numpy as np
import pytest

import latticework as lw
from latticework.lattice import Lattice


@pytest.fixture
def project(tmp_path):
    tiles = Lattice.from_array(np.ones((8, 8), "u1"), block={"y": 4, "x": 4})
    return lw.create(tmp_path / "brain.lw", tiles)


def started(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "latticework.cli", "dashboard", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_it_serves_until_it_is_interrupted(project):
    process = started(project.path, "--port", "0", "--token")
    try:
        url = re.search(r"http://127\.0\.0\.1:\d+/lattice\?\S+", process.stdout.readline()).group()
        steer = process.stdout.readline()
        assert (project.path / "control-token").read_text().strip() in steer
        with urllib.request.urlopen(url, timeout=30) as answer:
            assert "brain.lw" in answer.read().decode()
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=30)
        assert process.returncode == 0, rest
        assert "Traceback" not in rest
    finally:
        process.kill()
        process.wait()


def test_a_taken_port_and_a_missing_project_are_told(project, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = started(project.path, "--port", port)
        text, _ = process.communicate(timeout=60)
        assert process.returncode == 2, text
        assert f"127.0.0.1:{port}" in text
    process = started(tmp_path / "none.lw")
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 2, text
    assert "there is no project" in text
