"""The user's code on a worker: its tracebacks show the user's own lines."""

import linecache
import pickle
import subprocess
import sys

import pytest

from latticework.stages import travelling
from latticework.stages.order import dump

CELL = """
def sharpen(tile):
    def inner():
        raise ValueError("out of focus")  # the cell's line
    return inner()
"""
WORKER = """
import pickle, sys, traceback
try:
    pickle.loads(sys.stdin.buffer.read())(None)
except ValueError:
    traceback.print_exc()
"""


def defined(source, name):
    names = {"__name__": "__main__"}
    exec(compile(source, name, "exec"), names)
    return names["sharpen"]


def traceback_elsewhere(function):
    """What a process that knows nothing of it says when the function raises."""
    payload = dump(function, function)
    done = subprocess.run(
        [sys.executable, "-c", WORKER], input=payload, capture_output=True, check=False
    )
    return done.stderr.decode()


@pytest.fixture
def cell():
    """A cell of a notebook: its source is known to the notebook's process alone."""
    name = "/tmp/ipykernel_0/1234567.py"
    lines = CELL.splitlines(keepends=True)
    linecache.cache[name] = (len(CELL), None, lines, name)
    yield name
    del linecache.cache[name]


def test_a_traceback_shows_the_line_of_a_file(tmp_path):
    file = tmp_path / "brain.py"
    file.write_text(CELL)
    text = traceback_elsewhere(defined(CELL, str(file)))
    assert f'File "{file}", line 4, in inner' in text
    assert "# the cell's line" in text


def test_a_traceback_shows_the_line_of_a_cell(cell):
    text = traceback_elsewhere(defined(CELL, cell))
    assert f'File "{cell}", line 4, in inner' in text
    assert "# the cell's line" in text


def test_a_source_travels_once_and_not_if_it_is_long(cell, monkeypatch):
    function = defined(CELL, cell)
    assert dump(function, function).count(b"# the cell's line") == 1
    monkeypatch.setattr(travelling, "LONGEST_SOURCE", 10)
    short = dump(function, function)
    assert b"# the cell's line" not in short
    assert cell in pickle.loads(short).__code__.co_filename


def test_what_is_pickled_twice_is_the_same(cell):
    function = defined(CELL, cell)
    assert dump(function, function) == dump(function, function)
