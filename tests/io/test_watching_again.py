"""A watcher that begins again, users who withdraw tiles, and files that are no files."""

import os

import numpy as np
import pytest
import tifffile

import latticework as lw
from latticework.errors import SourceError
from latticework.io.arriving_places import conformed
from latticework.io.growth_store import Growth, apply_growth
from latticework.io.watch_known import presence_of
from latticework.io.watching import watch_folder
from latticework.lattice.states import State
from latticework.testing import simulate, write_smartspim
from tests.io.watching_tools import Live, assert_same


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


def test_tiles_that_are_all_planes_of_a_place_have_no_axis_of_layers(tmp_path):
    pixel = {"y": 1.8, "x": 1.8}
    lattice, _ = simulate(
        {"y": 2, "x": 2}, tile_shape={"z": 3, "y": 16, "x": 16}, overlap=0.25, seed=1,
        pixel_size_um={"z": 2.0, **pixel},
    )  # fmt: skip
    write_smartspim(lattice, tmp_path / "raw")
    opened = lw.open_tiles(tmp_path / "raw", pixel_size_um=pixel)
    live = Live(tmp_path / "raw", pixel_size_um=pixel, expect={"z": 3}).settle()
    assert live.lattice.dims == opened.dims == ("tile_y", "tile_x")
    assert dict(live.lattice.step_px) == dict(opened.step_px)
    assert_same(live.lattice, opened)


def test_a_lattice_that_was_watched_with_an_axis_of_layers_goes_on_with_it():
    lattice, _ = simulate(
        {"y": 1, "x": 2}, tile_shape={"z": 3, "y": 16, "x": 16}, overlap=0.25, seed=1,
        pixel_size_um={"z": 2.0, "y": 1.8, "x": 1.8},
    )  # fmt: skip
    zero = np.zeros((len(lattice), 1), np.int64)
    before = lattice.replace(
        dims=("tile_z", *lattice.dims),
        labels={"tile_z": np.arange(1), **lattice.labels},
        index=np.concatenate([zero, lattice.index], axis=1),
    )
    found = conformed(lattice, before)
    assert found.dims == before.dims
    assert found.index.tolist() == before.index.tolist()
    assert dict(found.step_px) == dict(before.step_px)
    np.testing.assert_array_equal(found.position_um, before.position_um)


def test_a_watched_imagexpress_plate_has_the_axes_that_it_has_when_opened(shared_data):
    folder = shared_data / "imagexpress_3d_zero_overlap"
    opened = lw.open_tiles(folder)
    expect = {"c": opened.tile_shape["c"], "z": opened.tile_shape["z"]}
    live = Live(folder, expect=expect).settle()
    assert live.lattice.dims == opened.dims
    assert_same(live.lattice, opened)
