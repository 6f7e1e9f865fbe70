"""Pixels that a process keeps of what it wrote are those of the file that is there, or none."""

import os

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from latticework.io.recent import RecentTiles
from latticework.lattice.geometry import Box

PIXELS = np.arange(12, dtype="u2").reshape(3, 4)
WHOLE = Box.whole(PIXELS.shape)
EACH = PIXELS.nbytes


def written(folder, name, content=b"pixels"):
    path = folder / name
    path.write_bytes(content)
    os.utime(path, ns=(1, 1_500_000_001))
    return path


def keep(recent, folder, name, pixels=PIXELS):
    staged = written(folder, f"{name}-staged")
    assert recent.keep(folder / name, staged, pixels)
    return staged.rename(folder / name)


def test_what_was_written_is_found_once_it_is_published(tmp_path):
    recent = RecentTiles(1000)
    staged = written(tmp_path, "staged")
    recent.keep(tmp_path / "tile", staged, PIXELS)
    published = staged.rename(tmp_path / "tile")
    np.testing.assert_array_equal(recent.find(published, WHOLE), PIXELS)
    assert recent.hits == 1


def test_before_it_is_published_nothing_is_found(tmp_path):
    recent = RecentTiles(1000)
    recent.keep(tmp_path / "tile", written(tmp_path, "staged"), PIXELS)
    assert recent.find(tmp_path / "tile", WHOLE) is None


def test_another_attempt_that_was_published_instead_is_not_mistaken_for_it(tmp_path):
    recent = RecentTiles(1000)
    mine = keep(recent, tmp_path, "tile")
    theirs = written(tmp_path, "theirs")  # as large, and written at the same moment
    theirs.replace(mine)
    assert recent.find(mine, WHOLE) is None
    assert recent.held_bytes == 0


def test_a_file_that_was_damaged_since_is_read_from_disk(tmp_path):
    recent = RecentTiles(1000)
    published = keep(recent, tmp_path, "tile")
    with published.open("r+b") as file:
        file.write(b"x")
    assert recent.find(published, WHOLE) is None


def test_nothing_is_kept_where_times_have_no_fractions(tmp_path):
    recent = RecentTiles(1000)
    staged = written(tmp_path, "staged")
    os.utime(staged, ns=(0, 3_000_000_000))
    assert not recent.keep(tmp_path / "tile", staged, PIXELS)


def test_who_changes_what_they_were_given_changes_nobody_elses(tmp_path):
    recent = RecentTiles(1000)
    own = PIXELS.copy()
    published = keep(recent, tmp_path, "tile", own)
    own[:] = 0
    recent.find(published, WHOLE)[:] = 0
    np.testing.assert_array_equal(recent.find(published, WHOLE), PIXELS)


def test_what_has_been_read_makes_room_first(tmp_path):
    recent = RecentTiles(2 * EACH)
    first, second = keep(recent, tmp_path, "first"), keep(recent, tmp_path, "second")
    assert recent.find(second, WHOLE) is not None
    keep(recent, tmp_path, "third")
    assert recent.find(second, WHOLE) is None
    assert recent.find(first, WHOLE) is not None


def test_a_tile_that_alone_is_too_large_leaves_the_others(tmp_path):
    recent = RecentTiles(EACH)
    published = keep(recent, tmp_path, "tile")
    assert not recent.keep(tmp_path / "large", published, np.zeros(EACH, "u2"))
    assert recent.find(published, WHOLE) is not None


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 40), st.booleans())))
def test_no_more_bytes_are_held_than_allowed(tmp_path_factory, steps):
    folder = tmp_path_factory.mktemp("recent")
    recent = RecentTiles(64)
    for name, size, read in steps:
        published = keep(recent, folder, str(name), np.zeros(size, "u1"))
        assert recent.held_bytes <= 64
        found = recent.find(published, Box.whole((size,))) if read else None
        assert found is None or found.nbytes == size
    assert (recent.held_bytes == 0) == (len(recent) == 0)
