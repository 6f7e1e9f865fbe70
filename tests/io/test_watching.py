import os
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

import latticework as lw
from latticework.errors import LatticeError
from latticework.io.watching import Watcher, watch_folder
from latticework.testing import (
    seed_formats,
    simulate,
    write_ome_tiff,
    write_pattern,
    write_tiff_csv,
    write_zarr,
)
from latticework.testing.live import LiveMicroscope, image_again
from tests.io.watching_tools import Live, assert_same


def image(value, shape=(32, 32)):
    return np.full(shape, value, np.uint16)


def write(folder, name, value=1, shape=(32, 32)):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, image(value, shape), photometric="minisblack")
    return path


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "scan"
    path.mkdir()
    return path


# ---------------------------------------------------------------- arriving


def test_a_tile_joins_when_its_file_has_settled(folder):
    live = Live(folder)
    assert isinstance(live.watcher, Watcher)
    write(folder, "y0_x0.tif")
    assert live.look().growth is None
    assert "changed lately" in live.held["y0_x0.tif"]
    live.look(1.0)
    assert live.lattice is None
    live.look(1.5)
    assert live.names == ["y0_x0.tif"]
    assert live.look().growth is None


def test_a_file_that_keeps_changing_is_not_read(folder):
    live = Live(folder)
    for value in range(4):
        write(folder, "y0_x0.tif", value)
        live.look()
    assert live.lattice is None
    live.look()
    assert live.lattice.n_tiles == 1


def test_a_truncated_file_joins_when_it_is_complete(folder):
    whole = write(folder, "y0_x0.tif").read_bytes()
    (folder / "y0_x1.tif").write_bytes(whole[:-100])
    live = Live(folder).settle()
    assert live.names == ["y0_x0.tif"]
    assert "truncated" in live.held["y0_x1.tif"]
    (folder / "y0_x1.tif").write_bytes(whole)
    live.settle()
    assert live.names == ["y0_x0.tif", "y0_x1.tif"]
    assert not live.held


def test_a_file_that_stays_truncated_joins_with_a_problem_at_the_end(folder):
    whole = write(folder, "y0_x0.tif").read_bytes()
    (folder / "y1_x1.tif").write_bytes(whole[:100])
    live = Live(folder, end="*.finished").settle()
    (folder / "run.finished").touch()
    live.settle()
    assert live.ended
    assert live.lattice.sizes == {"tile_y": 2, "tile_x": 2}
    assert list(live.lattice.problems) == [1]
    assert any("y1_x1.tif" in note and "joins with a problem" in note for note in live.notes)
    (folder / "y1_x1.tif").write_bytes(whole)
    live.settle()
    assert live.replaced == [1]
    assert not live.lattice.problems


def test_growth_that_was_not_applied_is_told_again(folder):
    live = Live(folder)
    write(folder, "y0_x0.tif")
    live.settle()
    write(folder, "y0_x1.tif")
    live.look()
    live.clock.now += 3
    first = live.watcher.poll(live.lattice).growth
    again = live.watcher.poll(live.lattice).growth
    assert first.tiles.names.tolist() == again.tiles.names.tolist() == ["y0_x1.tif"]


@pytest.mark.parametrize("marker", ["*.done", "{stem}.done", "{name}.done", "READY"])
def test_a_marker_says_that_a_file_is_finished(folder, marker):
    live = Live(folder, done_marker=marker)
    write(folder, "a/y0_x0.tif")
    live.settle()
    assert live.lattice is None
    assert "no marker" in live.held["y0_x0.tif"]
    name = marker.replace("*", "y0_x0").replace("{stem}", "y0_x0").replace("{name}", "y0_x0.tif")
    (folder / "a" / name).touch()
    live.look(0.1)
    assert live.names == ["a/y0_x0.tif"]


def test_a_truncated_file_with_a_marker_is_not_read(folder):
    whole = write(folder, "y0_x0.tif").read_bytes()
    (folder / "y0_x0.tif").write_bytes(whole[:-1])
    (folder / "y0_x0.done").touch()
    live = Live(folder, done_marker="*.done").settle()
    assert live.lattice is None
    assert "truncated" in live.held["y0_x0.tif"]


# ---------------------------------------------------------------- formats


def formats(lattice):
    def pattern(text):
        return lambda path: write_pattern(lattice, path, pattern=text)

    number = "tile_{id}.tif"
    grid = {"y": 3, "x": 4}
    return {
        "names": (pattern("z{tile_z}/y{tile_y:02d}_x{tile_x:02d}.tif"), {"overlap": 0.1}),
        "ome": (lambda path: write_ome_tiff(lattice, path), {}),
        "csv": (lambda path: write_tiff_csv(lattice, path), {"positions": "positions.csv"}),
        "zarr": (lambda path: write_zarr(lattice, path), {}),
        "grid": (pattern(number), {"grid": grid, "overlap": 0.1}),
        "pattern": (pattern("r{tile_y}c{tile_x}.tif"), {"pattern": "r{row:d}c{col:d}.tif"}),
        "planes": (
            pattern("r{tile_y}c{tile_x}_w{c}_z{z}.tif"),
            {"pattern": "r{row:d}c{col:d}_w{c:d}_z{z:d}.tif"},
        ),
    }


@pytest.mark.parametrize("form", ["names", "ome", "csv", "zarr", "grid", "pattern", "planes"])
@pytest.mark.parametrize("order", ["given", "random"])
def test_what_was_watched_is_what_open_tiles_opens(tmp_path, form, order):
    shape = {"z": 2, "y": 32, "x": 32} if form == "planes" else {"y": 32, "x": 32}
    extra = {"channels": ("a", "b")} if form == "planes" else {}
    lattice, _ = simulate({"y": 3, "x": 4}, tile_shape=shape, seed=3, **extra)
    writer, options = formats(lattice)[form]
    writer(tmp_path / "prepared")
    rng = np.random.default_rng(5)
    scope = LiveMicroscope(
        tmp_path / "prepared", tmp_path / "scan", rng=rng, order=order, end="END",
        slow=0 if form == "zarr" else 3, truncated=0 if form == "zarr" else 2, replaced=3,
    )  # fmt: skip
    watching = {"expect": {"c": 2, "z": 2}} if form == "planes" else {}
    live = Live(tmp_path / "scan", end="END", **options, **watching)
    while scope.step() is not None:
        live.look(float(rng.uniform(0.5, 3)))
    live.settle()
    assert live.ended
    assert not live.held
    assert_same(live.lattice, lw.open_tiles(tmp_path / "scan", **options))


def test_a_tile_of_several_files_joins_when_all_are_there(folder):
    live = Live(folder, pattern="y{row:d}_x{col:d}_c{c:d}.tif", expect={"c": 2})
    write(folder, "y0_x0_c1.tif")
    live.settle()
    assert live.lattice is None
    assert "1 of 2" in live.held["y0_x0_c1.tif"]
    write(folder, "y0_x0_c2.tif")
    write(folder, "y0_x1_c2.tif")
    live.settle()
    assert live.lattice.n_tiles == 1
    assert live.held == {"y0_x1_c2.tif": "its tile lacks 1 of 2 files: c=1"}
    write(folder, "y0_x1_c1.tif")
    live.settle()
    assert live.lattice.n_tiles == 2
    assert live.lattice.tile_shape == {"c": 2, "y": 32, "x": 32}


def test_how_many_files_make_a_tile_has_to_be_said(folder):
    write(folder, "y0_x0_c1.tif")
    live = Live(folder, pattern="y{row:d}_x{col:d}_c{c:d}.tif")
    with pytest.raises(LatticeError, match=r'expect=\{"c": \.\.\.\}'):
        live.settle()


def test_a_missing_plane_that_comes_after_the_end_completes_its_tile(folder):
    live = Live(folder, pattern="y{row:d}_x{col:d}_c{c:d}.tif", expect={"c": 2})
    for name in ("y0_x0_c1.tif", "y0_x0_c2.tif", "y0_x1_c1.tif"):
        write(folder, name)
    live.settle()
    live.watcher.end()
    live.settle()
    assert live.ended
    assert list(live.lattice.problems) == [1]
    write(folder, "y0_x1_c2.tif", 7)
    live.settle()
    assert live.replaced == [1]
    assert live.lattice.source.read(1, lw.Box((1, 0, 0), (2, 1, 1))) == 7


def test_layers_of_measured_positions_are_kept_apart(tmp_path):
    lattice, _ = simulate({"z": 2, "y": 2, "x": 2}, tile_shape={"y": 32, "x": 32})
    write_ome_tiff(lattice, tmp_path / "prepared")
    scope = LiveMicroscope(tmp_path / "prepared", tmp_path / "scan", rng=np.random.default_rng(1))
    live = Live(tmp_path / "scan")
    while scope.step() is not None:
        live.look()
    live.settle()
    assert_same(live.lattice, lw.open_tiles(tmp_path / "scan"))
    assert live.lattice.sizes == {"tile_z": 2, "tile_y": 2, "tile_x": 2}


def test_files_of_another_form_are_held(folder):
    live = Live(folder)
    write(folder, "y0_x0.tif")
    live.settle()
    write(folder, "y0_x1.tif", shape=(16, 32))
    write(folder, "overview.tif")
    live.settle()
    assert live.names == ["y0_x0.tif"]
    assert "expected 32 x 32 uint16" in live.held["y0_x1.tif"]
    assert "does not fit" in live.held["overview.tif"]


def test_a_second_file_at_a_taken_place_is_held_and_stops_nothing(folder):
    live = Live(folder)
    write(folder, "y0_x0.tif")
    live.settle()
    write(folder, "b/y0_x0.tif")
    write(folder, "c/y0_x1.tif")
    write(folder, "d/y0_x1.tif")
    live.settle()
    assert live.lattice.n_tiles == 1
    assert "its place is that of 'y0_x0.tif', tile 0" in live.held["y0_x0.tif"]
    assert "are the same plane of one tile" in live.held["y0_x1.tif"]
    (folder / "d" / "y0_x1.tif").unlink()
    live.settle()
    assert live.lattice.n_tiles == 2


# ---------------------------------------------------------------- grids by number


def test_the_number_in_a_name_decides_about_the_place_in_a_grid(folder):
    live = Live(folder, grid={"y": 2, "x": 2}, snake=True)
    for number in (3, 4, 1, 2):
        write(folder, f"t{number}.tif", number)
        live.settle(2)
    grid = live.lattice.id_grid
    assert [live.names[tile] for tile in grid.ravel()] == ["t1.tif", "t2.tif", "t4.tif", "t3.tif"]


def test_tiles_wait_until_it_is_known_what_the_first_number_is(folder):
    live = Live(folder, grid={"y": 3, "x": 2})
    write(folder, "t3.tif")
    live.settle()
    assert "say first=" in live.held["t3.tif"]
    write(folder, "t0.tif")
    live.settle()
    assert live.lattice.tile(1).index == (1, 1)
    said = Live(folder, grid={"y": 3, "x": 2}, first=0).settle()
    assert said.lattice.n_tiles == 2


def test_numbers_that_fill_all_places_say_which_is_the_first(folder):
    live = Live(folder, grid={"y": 2, "x": 2})
    for number in (104, 102, 103):
        write(folder, f"t{number}.tif")
    live.settle()
    assert "numbers from 102 to 104): say first=102" in live.held["t103.tif"]
    write(folder, "t101.tif")
    live.settle()
    names = [live.names[tile] for tile in live.lattice.id_grid.ravel()]
    assert names == ["t101.tif", "t102.tif", "t103.tif", "t104.tif"]


def test_a_grid_ends_when_all_its_tiles_are_there_and_never_later(folder):
    live = Live(folder, grid={"y": 2, "x": 2})
    for number in range(3):
        write(folder, f"t{number}.tif")
    live.settle()
    assert not live.look().ended
    write(folder, "t3.tif")
    live.settle()
    assert live.look().ended
    with pytest.raises(LatticeError, match=r"end=5: .* has 4 tiles, so it would never end"):
        watch_folder(folder, grid={"y": 2, "x": 2}, end=5)
    by_well = {"pattern": "{well}_{number:d}.tif", "end": 5}
    watch_folder(folder, grid={"y": 2, "x": 2}, **by_well).close()
    with pytest.raises(LatticeError, match="first='1': expected the number"):
        watch_folder(folder, grid={"y": 2, "x": 2}, first="1")


def test_what_is_left_out_at_the_end_is_told(folder):
    live = Live(folder, grid={"y": 2, "x": 2})
    write(folder, "t2.tif")
    live.settle()
    live.watcher.end()
    assert any("left out: it is not known whether" in note for note in live.look().notes)


def test_a_grid_needs_numbers_in_the_names(folder):
    write(folder, "tile_a.tif")
    with pytest.raises(LatticeError, match="has no number, and grid= needs one"):
        Live(folder, grid={"y": 2, "x": 2}).settle()


# ---------------------------------------------------------------- replaced and removed


def test_a_replaced_file_is_told(folder):
    live = Live(folder)
    for x in range(3):
        write(folder, f"y0_x{x}.tif", x)
    live.settle()
    image_again(folder / "y0_x1.tif", np.random.default_rng(0))
    assert live.look().growth is None
    live.settle()
    assert live.replaced == [1]
    expected = tifffile.imread(folder / "y0_x1.tif")
    assert (live.lattice.source.read(1, lw.Box((0, 0), (32, 32))) == expected).all()


def test_a_file_replaced_by_rename_with_its_old_time_is_noticed(folder):
    live = Live(folder)
    path = write(folder, "y0_x0.tif", 1)
    live.settle()
    stat = path.stat()
    other = write(folder.parent, "other.tif", 2)
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    other.replace(path)
    live.settle()
    assert live.replaced == [0]


def test_a_file_that_leaves_changes_nothing_and_is_told_once(folder):
    live = Live(folder)
    path = write(folder, "y0_x0.tif")
    live.settle()
    data = path.read_bytes()
    path.unlink()
    live.settle(5)
    assert len([note for note in live.notes if "left" in note]) == 1
    assert live.lattice.n_tiles == 1
    path.write_bytes(data)
    live.settle()
    assert any("is back" in note for note in live.notes)


def test_a_folder_that_vanishes_changes_nothing_and_is_told_when_it_ends(folder):
    live = Live(folder, removed="withdraw")
    write(folder, "y0_x0.tif")
    live.settle()
    folder.rename(folder.parent / "away")
    live.settle(4)
    assert len(live.notes) == 1
    assert "cannot be looked into" in live.notes[0]
    (folder.parent / "away").rename(folder)
    live.settle()
    assert len(live.notes) == 2
    assert "again" in live.notes[1]
    assert live.there.tolist() == [True]
    assert live.replaced == []


def test_a_folder_that_is_not_there_yet_is_waited_for(folder):
    shutil.rmtree(folder)
    live = Live(folder).settle()
    assert "nothing changes" in live.notes[0]
    folder.mkdir()
    write(folder, "y0_x0.tif")
    live.settle()
    assert live.lattice.n_tiles == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_without_permission_changes_nothing(folder):
    live = Live(folder, removed="withdraw")
    write(folder, "a/y0_x0.tif")
    live.settle()
    (folder / "a").chmod(0)
    try:
        live.settle()
        assert "Permission denied" in live.notes[0]
        assert live.there.tolist() == [True]
    finally:
        (folder / "a").chmod(0o755)


def test_an_unreadable_subfolder_takes_no_tiles_away(folder, monkeypatch):
    from latticework.io import watch_scan

    live = Live(folder, removed="withdraw")
    write(folder, "a/y0_x0.tif")
    write(folder, "b/y0_x1.tif")
    live.settle()
    stat = watch_scan._stat

    def stale(path):
        if "/a" in str(path):
            raise OSError(116, "Stale file handle")
        return stat(path)

    monkeypatch.setattr(watch_scan, "_stat", stale)
    live.settle()
    assert "Stale file handle" in live.notes[0]
    assert live.there.all()
    monkeypatch.setattr(watch_scan, "_stat", stat)
    live.settle()
    assert len(live.notes) == 2


def test_removed_files_withdraw_their_tiles_where_asked(folder):
    live = Live(folder, removed="withdraw")
    for x in range(5):
        write(folder, f"y0_x{x}.tif")
    live.settle()
    (folder / "y0_x2.tif").unlink()
    found = live.look()
    assert found.withdrawn.tolist() == [2]
    assert live.there.tolist() == [True, True, False, True, True]
    write(folder, "y0_x2.tif", 9)
    live.settle()
    assert live.there.all()
    assert live.replaced == [2]


def test_too_many_removed_files_are_suspicious(folder):
    live = Live(folder, removed="withdraw")
    for x in range(20):
        write(folder, f"y0_x{x}.tif")
    live.settle()
    for x in range(11):
        (folder / f"y0_x{x}.tif").unlink()
    live.settle()
    assert live.there.all()
    assert any("suspicious" in note for note in live.notes)


def test_a_withdrawn_tiles_place_is_taken_by_a_file_of_another_name(folder):
    live = Live(folder, removed="withdraw")
    write(folder, "y0_x0.tif", 1)
    write(folder, "y0_x1.tif", 2)
    live.settle()
    (folder / "y0_x1.tif").unlink()
    live.settle()
    write(folder, "again/y0_x1.tif", 5)
    live.settle()
    assert live.there.tolist() == [True, True]
    assert live.lattice.source.read(1, lw.Box((0, 0), (1, 1))) == 5


def test_a_disk_that_is_not_mounted_takes_no_tiles_away(folder):
    live = Live(folder, removed="withdraw")
    for x in range(3):
        write(folder, f"y0_x{x}.tif")
    live.settle()
    shutil.rmtree(folder)
    folder.mkdir()
    live.settle()
    assert live.there.all()
    assert any("suspicious" in note for note in live.notes)


def test_a_file_that_was_renamed_takes_the_place_of_its_tile(folder):
    live = Live(folder)
    path = write(folder, "a_y0_x0.tif", 3)
    write(folder, "a_y0_x1.tif", 4)
    live.settle()
    path.rename(folder / "b_y0_x0.tif")
    live.settle()
    assert live.replaced == [0]
    assert not live.held
    assert live.lattice.source.read(0, lw.Box((0, 0), (1, 1))) == 3
    image_again(folder / "b_y0_x0.tif", np.random.default_rng(0))
    live.settle()
    assert live.replaced == [0, 0]


def test_waiting_ends_when_a_file_has_settled(folder):
    live = Live(folder, settle_s=0.2)
    write(folder, "y0_x0.tif")
    live.look()
    began = time.monotonic()
    live.watcher.wait(60.0)
    assert time.monotonic() - began < 30
    live.watcher.close()


# ---------------------------------------------------------------- restart


def test_a_watcher_that_starts_again_finds_what_happened_meanwhile(folder):
    live = Live(folder)
    for x in range(4):
        write(folder, f"y0_x{x}.tif", x)
    live.settle()
    write(folder, "y1_x0.tif", 8)
    write(folder, "y0_x3.tif", 9)
    again = Live(folder, known=live.lattice).settle()
    assert again.replaced == [3]
    assert again.names == [*live.names, "y1_x0.tif"]
    assert_same(again.lattice, lw.open_tiles(folder))


@pytest.mark.parametrize("form", ["ome", "zarr", "csv", "planes", "grid"])
def test_a_lattice_that_was_opened_before_is_watched_on(tmp_path, form):
    shape = {"z": 2, "y": 32, "x": 32} if form == "planes" else {"y": 32, "x": 32}
    extra = {"channels": ("a", "b")} if form == "planes" else {}
    lattice, _ = simulate({"y": 3, "x": 4}, tile_shape=shape, seed=3, **extra)
    writer, options = formats(lattice)[form]
    writer(tmp_path / "prepared")
    folder = tmp_path / "scan"
    scope = LiveMicroscope(tmp_path / "prepared", folder, rng=np.random.default_rng(0))
    for _ in range(len(scope.events) // 3 * 2):
        scope.step()
    known = lw.open_tiles(folder, errors="mark", **options)
    live = Live(folder, known=known, **options)
    while scope.step() is not None:
        live.look()
    live.settle()
    assert live.replaced == []
    assert_same(live.lattice, lw.open_tiles(folder, **options))


def test_chunks_of_a_zarr_image_that_change_are_noticed_also_later(tmp_path):
    lattice, _ = simulate({"y": 1, "x": 2}, tile_shape={"y": 32, "x": 32})
    folder = write_zarr(lattice, tmp_path / "scan")
    opened = lw.open_tiles(folder)
    live = Live(folder, known=opened).settle()
    assert live.replaced == []
    before = opened.source.fingerprints()
    image_again(folder / "tile_001.ome.zarr", np.random.default_rng(0))
    live.settle()
    assert live.replaced == [1]
    assert (live.lattice.source.fingerprints() != before).tolist() == [False, True]
    again = Live(folder, known=live.lattice).settle()
    assert again.replaced == []
    image_again(folder / "tile_001.ome.zarr", np.random.default_rng(1))
    later = Live(folder, known=live.lattice).settle()
    assert later.replaced == [1]


def test_a_half_written_image_is_held(folder):
    lattice, _ = simulate({"y": 1, "x": 2}, tile_shape={"y": 32, "x": 32})
    write_zarr(lattice, folder)
    metadata = folder / "tile_001.ome.zarr" / "zarr.json"
    text = metadata.read_text()
    metadata.write_text(text[:-10])
    live = Live(folder).settle()
    assert live.names == ["tile_000.ome.zarr"]
    assert "cannot be read" in live.held["tile_001.ome.zarr"]
    metadata.write_text(text)
    live.settle()
    assert live.lattice.n_tiles == 2


@pytest.mark.parametrize("seed", ["lavision", "smartspim", "mouselight"])
def test_folders_of_known_microscopes_are_watched(tmp_path, seed):
    shape, um = {"z": 2, "y": 32, "x": 32}, {"z": 2.0, "y": 2.0, "x": 2.0}
    channels = ("a", "b")
    lattice, _ = simulate(
        {"y": 2, "x": 2}, tile_shape=shape, pixel_size_um=um, channels=channels, seed=3
    )
    expect, options = {"c": 2, "z": 2}, {}
    if seed == "lavision":
        seed_formats.write_lavision(lattice, tmp_path / "prepared")
        options = {"overlap": 0.1}
    elif seed == "smartspim":
        seed_formats.write_smartspim(lattice, tmp_path / "prepared")
        options = {"pixel_size_um": {"y": 2.0, "x": 2.0}}
    else:
        layers, _ = simulate(
            {"z": 1, "y": 2, "x": 2}, tile_shape=shape, pixel_size_um=um, channels=channels
        )
        seed_formats.write_mouselight(layers, tmp_path / "prepared", form="none")
        expect = {"c": 2}
    rng = np.random.default_rng(0)
    scope = LiveMicroscope(
        tmp_path / "prepared", tmp_path / "scan", rng=rng, order="random", slow=2, truncated=1,
        replaced=1, end="END",
    )  # fmt: skip
    live = Live(tmp_path / "scan", expect=expect, end="END", **options)
    while scope.step() is not None:
        live.look(float(rng.uniform(0.5, 3)))
    live.settle()
    assert live.ended
    assert not live.held
    assert_same(live.lattice, lw.open_tiles(tmp_path / "scan", **options))
    again = Live(tmp_path / "scan", known=live.lattice, **options).settle()
    assert again.replaced == []
    assert again.lattice is live.lattice
    with pytest.raises(LatticeError, match="watch with expect="):
        Live(tmp_path / "scan", **options).settle()


def test_a_long_untidy_night_ends_in_what_open_tiles_opens(tmp_path):
    lattice, _ = simulate({"y": 15, "x": 20}, tile_shape={"y": 8, "x": 8}, seed=2)
    write_pattern(lattice, tmp_path / "prepared", pattern="z0/y{tile_y:02d}_x{tile_x:02d}.tif")
    rng = np.random.default_rng(9)
    scope = LiveMicroscope(
        tmp_path / "prepared", tmp_path / "scan", rng=rng, order="random", slow=20,
        truncated=5, replaced=10, removed=3, end="END",
    )  # fmt: skip
    live = Live(tmp_path / "scan", removed="withdraw", end="END")
    while scope.step() is not None:
        if rng.random() < 0.4:
            live.look(float(rng.uniform(0.1, 3)))
    live.settle()
    assert live.ended
    assert live.there.sum() == 297
    assert 1 <= len(live.replaced) <= 10
    assert_same(live.lattice, lw.open_tiles(tmp_path / "scan"))


# ---------------------------------------------------------------- tables as curated lists


def table(folder, names):
    text = "".join(f"{name},0,{29 * int(name[1])}\n" for name in names)
    (folder / "table.csv").write_text("file,y_px,x_px\n" + text)


def test_a_table_of_positions_is_a_curated_list(folder):
    names = [f"t{x}.tif" for x in range(4)]
    for x, name in enumerate(names):
        write(folder, name, x)
    table(folder, names[:2])
    live = Live(folder, positions="table.csv").settle()
    assert live.names == names[:2]
    assert "has no row" in live.held["t2.tif"]
    table(folder, names)
    live.settle()
    assert live.names == names
    table(folder, [names[0], *names[2:]])
    live.settle()
    assert live.there.tolist() == [True, False, True, True]
    (folder / "table.csv").unlink()
    live.settle()
    assert live.there.tolist() == [True, False, True, True]
    assert any("cannot be found" in note for note in live.notes)
    table(folder, names)
    live.settle()
    assert live.there.all()
    (folder / "table.csv").write_text("")
    live.settle()
    assert live.there.all()
    assert any("cannot be used" in note for note in live.notes)


def test_fijis_tile_configuration_is_a_curated_list(folder):
    def configure(names):
        lines = "".join(f"{name}; ; ({29.0 * int(name[1])}, 0.0)\n" for name in names)
        (folder / "TileConfiguration.txt").write_text("dim = 2\n" + lines)

    names = [f"t{x}.tif" for x in range(3)]
    for x, name in enumerate(names):
        write(folder, name, x)
    configure(names[:1])
    live = Live(folder, positions="TileConfiguration.txt").settle()
    configure(names)
    live.settle()
    assert live.lattice.sizes == {"tile_y": 1, "tile_x": 3}
    configure(names[1:])
    live.settle()
    assert live.there.tolist() == [False, True, True]


# ---------------------------------------------------------------- the end, options


def test_a_number_of_tiles_ends_the_acquisition(folder):
    live = Live(folder, end=2)
    write(folder, "y0_x0.tif")
    live.settle()
    assert not live.ended
    write(folder, "y0_x1.tif")
    live.settle()
    assert live.ended


def test_the_acquisition_does_not_end_while_files_settle(folder):
    live = Live(folder, end="END")
    write(folder, "y0_x0.tif")
    (folder / "END").touch()
    assert not live.look().ended
    assert live.look().ended


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"settle_s": -1}, "settle_s"),
        ({"done_marker": "*"}, "done_marker"),
        ({"done_marker": "{tile}.done"}, "expected {stem}"),
        ({"removed": "yes"}, "removed"),
        ({"end": 0}, "end=0"),
        ({"expect": {"q": 1}}, "expect"),
        ({"gird": {}}, "no option gird"),
        ({"pattern": "tile.tif"}, "names no field"),
        ({"notify": "bell"}, "notify"),
        ({"flip": "y", "grid": {"y": 1, "x": 1}}, "flip"),
    ],
)
def test_options_that_make_no_sense_are_refused(folder, options, text):
    with pytest.raises(LatticeError, match=text):
        watch_folder(folder, **options)


def test_only_new_files_have_their_headers_read(folder, monkeypatch):
    from latticework.io import arriving

    read = []
    scan = arriving.scan_tiffs

    def count(root, names):
        read.extend(names)
        return scan(root, names)

    monkeypatch.setattr(arriving, "scan_tiffs", count)
    live = Live(folder)
    for x in range(5):
        write(folder, f"y0_x{x}.tif")
    live.settle()
    write(folder, "y1_x0.tif")
    live.settle(5)
    assert sorted(read) == sorted([*(f"y0_x{x}.tif" for x in range(5)), "y1_x0.tif"])


# ---------------------------------------------------------------- any order of events

EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["write", "part", "rest", "again", "look", "wait", "restart"]),
        st.integers(0, 5),
    ),
    max_size=25,
)


@settings(max_examples=40, deadline=None)
@given(EVENTS, st.booleans())
def test_any_sequence_of_events_ends_in_what_open_tiles_opens(events, ome):
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "scan"
        folder.mkdir()
        lattice, _ = simulate({"y": 2, "x": 3}, tile_shape={"y": 16, "x": 16}, seed=1)
        prepared = Path(temporary) / "prepared"
        if ome:
            write_ome_tiff(lattice, prepared)
        else:
            write_pattern(lattice, prepared, pattern="y{tile_y}_x{tile_x}.tif")
        names = sorted(path.name for path in prepared.iterdir())
        live, rng = Live(folder), np.random.default_rng(0)
        for kind, tile in events:
            source, target = prepared / names[tile], folder / names[tile]
            if kind == "write" or (kind == "rest" and target.exists()):
                shutil.copyfile(source, target)
            elif kind == "part":
                target.write_bytes(source.read_bytes()[: 40 + 60 * tile])
            elif kind == "again" and target.exists():
                shutil.copyfile(source, target)
                image_again(target, rng)
            elif kind == "restart":
                live = Live(folder, known=live.lattice)
            else:
                live.look(0.5 if kind == "look" else 3.0)
        for name in names:
            if not (folder / name).exists() or (
                (folder / name).stat().st_size != (prepared / name).stat().st_size
            ):
                shutil.copyfile(prepared / name, folder / name)
        live.settle(4)
        assert_same(live.lattice, lw.open_tiles(folder))
        assert not live.held
        assert live.there.all()
