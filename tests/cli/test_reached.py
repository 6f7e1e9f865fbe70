"""A stage's code is its function and what that uses of one's own files."""

import sys

import pytest

from latticework.stages.callables import reference_to
from latticework.stages.files import load_file
from latticework.stages.reached import reached

FILE = """\
import math
from functools import partial

import numpy as np

import side_of_mine
from side_of_mine import shift

GAIN = 2
SIZES = {"y": 3}
_cache = {}
UNUSED = 1


class Scale:
    def __init__(self, by):
        self.by = by

    def __call__(self, tile):
        return helper(tile) * self.by

    @property
    def tenth(self):
        return self.by / 10


def helper(tile):
    return deeper(tile) + 1


def deeper(tile):
    _cache[1] = math.pi
    return [recursive(t) * GAIN for t in tile]


def recursive(n):
    return n if n < 1 else recursive(n - 1) + SIZES["y"]


def stage(tile):
    return shift(np.asarray(helper(tile))) + side_of_mine.offset(1) + Scale(3).tenth


def unrelated(tile):
    return tile
"""

SIDE = """\
DARK = 100


def offset(n):
    return DARK + n


def shift(n):
    return n


def other(n):
    return n
"""


@pytest.fixture
def code_of(tmp_path, monkeypatch):
    """Hash of the code of a name in the file, with something replaced in it or beside it."""
    monkeypatch.syspath_prepend(tmp_path)

    def code(old="", new="", what=lambda module: module.stage):
        sys.modules.pop("side_of_mine", None)
        (tmp_path / "side_of_mine.py").write_text(SIDE.replace(old, new) if old else SIDE)
        file = tmp_path / "reaching.py"
        file.write_text(FILE.replace(old, new) if old else FILE)
        load_file(file)
        file.write_text(file.read_text() + "\n")  # so that it is run again, with its neighbour
        return reference_to(what(load_file(file))).code

    yield code
    sys.modules.pop("side_of_mine", None)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("deeper(tile) + 1", "deeper(tile) + 2"),
        ("recursive(t) * GAIN", "recursive(t) + GAIN"),
        ("GAIN = 2", "GAIN = 3"),
        ('SIZES = {"y": 3}', 'SIZES = {"y": 4}'),
        ("DARK = 100", "DARK = 101"),
        ("self.by / 10", "self.by / 100"),
        ("return DARK + n", "return DARK - n"),
        ("def shift(n):\n    return n", "def shift(n):\n    return -n"),
    ],
)
def test_a_change_of_what_a_stage_uses_is_a_change_of_the_stage(code_of, old, new):
    assert code_of(old, new) != code_of()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("UNUSED = 1", "UNUSED = 2"),
        ("_cache = {}", "_cache = {2: 2}"),
        ("def unrelated(tile):\n    return tile", "def unrelated(tile):\n    return 0"),
        ("def other(n):\n    return n", "def other(n):\n    return 0"),
    ],
)
def test_a_change_of_anything_else_is_none(code_of, old, new):
    assert code_of(old, new) == code_of()


def test_objects_that_can_be_called_reach_what_their_class_uses(code_of):
    def scale(module):
        return module.Scale(2)

    assert code_of("GAIN = 2", "GAIN = 3", scale) != code_of(what=scale)
    assert code_of(what=scale) == code_of("UNUSED = 1", "UNUSED = 2", scale)


def test_libraries_are_not_followed():
    from scipy.ndimage import median_filter

    from latticework.stages import detect_spots

    assert reached(median_filter) == {}
    assert reached(detect_spots) == {}
    assert reached(3) == {}
