"""A watcher that begins again, users who withdraw tiles, and files that are no files."""

import os

import numpy as np
import pytest
import tifffile

import latticework as lw
from latticework.errors import SourceError
from latticework.io.growth_store import Growth, apply_growth
from latticework.io.watch_known import presence_of
from latticework.io.watching import watch_folder
from latticework.lattice.states import State


class Night:
    """A folder that fills, a clock, and the lattice as it grows."""

    def __init__(self, folder, **options):
        self.folder, self.options = folder, {"pattern": "y{y}_x{x}.tif", "settle_s": 1, **options}
        self.now, self.lattice, self.watcher, self.notes = 0.0, None, None, []

    def begin(self):
        if self.watcher is not None:
            self.watcher.close()
        self.watcher = watch_folder(self.folder, clock=lambda: self.now, **self.options)

    def write(self, *names, value=1):
        for name in names:
            tifffile.imwrite(self.folder / name, np.full((8, 8), value, "u2"))

    def look(self, times=3):
        for _ in range(times):
            self.now += 5
            found = self.watcher.poll(self.lattice)
            self.notes += found.notes
            if found.growth is not None and self.lattice is None:
                self.lattice = found.growth.tiles
            elif found.growth is not None:
                self.lattice = apply_growth(self.lattice, found.growth)
        return found

    @property
    def absent(self):
        """Names of the tiles that are withdrawn."""
        ids = np.flatnonzero(presence_of(self.lattice) == State.ABSENT)
        return [self.lattice.tile(int(tile)).name for tile in ids]


@pytest.fixture
def night(tmp_path):
    found = Night(tmp_path, removed="withdraw")
    found.write(*(f"y0_x{k}.tif" for k in range(8)))
    found.begin()
    found.look()
    assert len(found.lattice) == 8
    yield found
    found.watcher.close()


def test_tiles_whose_files_left_while_nobody_watched_are_withdrawn(night):
    (night.folder / "y0_x3.tif").unlink()
    night.begin()
    night.look()
    assert night.absent == ["y0_x3.tif"]
    night.write("y0_x3.tif")
    night.look()
    assert night.absent == []


def test_withdrawn_tiles_stay_so_when_the_watcher_begins_again(night):
    (night.folder / "y0_x3.tif").unlink()
    night.look()
    assert night.absent == ["y0_x3.tif"]
    night.begin()
    night.look()
    assert night.absent == ["y0_x3.tif"]


def test_files_that_are_kept_when_they_leave_stay_when_the_watcher_begins_again(night):
    night.options["removed"] = "keep"
    (night.folder / "y0_x3.tif").unlink()
    night.begin()
    night.look()
    assert night.absent == []
    night.folder.joinpath("late").mkdir()
    night.write("late/y0_x3.tif", value=7)  # what has no files gives its place away
    night.look()
    assert len(night.lattice) == 8


def test_what_a_user_withdraws_stays_away_while_the_folder_is_watched(night):
    night.lattice = apply_growth(night.lattice, Growth(presence=([5], State.ABSENT)))
    night.look()
    assert night.absent == ["y0_x5.tif"]
    (night.folder / "y0_x3.tif").unlink()
    night.look()
    night.write("y0_x3.tif")
    night.look()
    assert night.absent == ["y0_x5.tif"]
    night.begin()
    night.look()
    assert night.absent == ["y0_x5.tif"]


def test_a_folder_that_goes_and_comes_back_withdraws_nothing_and_reinstates_nothing(night):
    night.lattice = apply_growth(night.lattice, Growth(presence=([5], State.ABSENT)))
    aside = night.folder.with_name("aside")
    night.folder.rename(aside)
    night.look()
    night.begin()
    night.look()
    aside.rename(night.folder)
    night.look()
    assert night.absent == ["y0_x5.tif"]


def test_a_named_pipe_among_the_tiles_is_not_waited_for(night):
    os.mkfifo(night.folder / "y1_x0.tif")
    found = night.look()
    assert "pipe" in found.held[0].why
    with pytest.raises(SourceError, match="pipe"):
        lw.open_tiles(night.folder, files="y1*")


def test_a_link_to_itself_hides_no_other_file(night):
    (night.folder / "y1_x0.tif").symlink_to(night.folder / "y1_x0.tif")
    night.write("y0_x8.tif")
    night.look()
    assert len(night.lattice) == 9
    assert not any("looked into" in note for note in night.notes)


def test_a_file_whose_name_is_no_text_is_left_out_and_told(night):
    night.write("other.tif")
    nasty = os.fsencode(night.folder) + b"/y1_x0\xff.tif"
    try:
        (night.folder / "other.tif").rename(os.fsdecode(nasty))
    except OSError:
        pytest.skip("this file system has no such names")
    found = night.look()
    assert not found.held
    assert len(night.lattice) == 8
    assert any(r"\udcff" in note and "rename it" in note for note in night.notes)
    with pytest.raises(SourceError, match="rename it"):
        lw.open_tiles(night.folder)
