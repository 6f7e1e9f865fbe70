"""Tiles stored by their ids: growth moves nothing, and everything reads as from a grid."""

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import xarray
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from latticework import Box, Lattice
from latticework.errors import StoreError
from latticework.io import list_conversion, list_group, plain_zarr
from latticework.io.layout import ArrayLayout
from latticework.io.list_conversion import MOVING, convert_to_list
from latticework.io.list_group import ListGroup, read_list
from latticework.io.open_tiles import open_tiles
from latticework.io.publish import publish
from latticework.io.stage_group import stored_layout
from latticework.io.tile_array import TileArray, open_labelled
from latticework.testing import strategies
from latticework.testing.strategies import random_array


def planned(lattice, *, kind="list", **options):
    options = {"dtype": lattice.dtype, "name": "clean", **options}
    shape = tuple(lattice.tile_shape.values())
    return ArrayLayout.plan(lattice, dims=lattice.tile_dims, shape=shape, kind=kind, **options)


def put(store, lattice, unit, pixels):
    place = store.layout.place(lattice, unit)
    staging = store.path.with_name("staging")
    store.stage(staging, place, pixels)
    publish(staging, store.path, store.layout.keys(place))


def pixels_of(lattice, unit):
    return random_array(tuple(lattice.tile_shape.values()), lattice.dtype, seed=unit)


def written(folder, lattice, *, kind="list", leave_out=(), **options):
    store = TileArray.create(folder, planned(lattice, kind=kind, **options), lattice)
    for unit in lattice.ids.tolist():
        if unit not in leave_out:
            put(store, lattice, unit, pixels_of(lattice, unit))
    return store


def line(labels, **options):
    """A row of small tiles with these labels, in order of their ids."""
    return Lattice(
        dims=("tile_x",),
        labels={"tile_x": np.arange(min(labels), max(labels) + 1)},
        index=(np.array(labels) - min(labels))[:, None],
        tile_dims=("y", "x"),
        tile_shape=(4, 6),
        dtype="u2",
        pixel_size_um=0.5,
        **options,
    )


def files_below(folder):
    return {
        str(path.relative_to(folder)): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in folder.rglob("c.*")
        if path.is_file()
    }


# ---------------------------------------------------------------- geometry


def test_a_tile_is_named_after_its_id():
    lattice = Lattice.from_grid({"y": 2, "x": 3}, tile_shape={"y": 50, "x": 80}, dtype="u2")
    layout = planned(lattice)
    assert (layout.kind, layout.array_dims, layout.array_shape) == (
        "list",
        ("tile", "y", "x"),
        (6, 50, 80),
    )
    assert layout.place(lattice, 4) == (4,)
    assert layout.keys((4,)) == ("clean/c.4.0.0",)
    assert layout.region((4,), Box((0, 3), (9, 8))) == (slice(4, 5), slice(0, 9), slice(3, 8))
    with pytest.raises(StoreError, match=r"has no tile \(1, 2\)"):
        layout.keys((1, 2))


def test_a_large_tile_is_several_shards():
    lattice = Lattice.from_grid(
        {"y": 2, "x": 1}, tile_shape={"c": 4, "z": 400, "y": 1024, "x": 1024}, dtype="u2"
    )
    assert planned(lattice).keys((1,))[-1] == "clean/c.1.3.0.0.0"


def test_what_does_not_grow_is_stored_as_ever():
    volume = Lattice.from_array(np.zeros((60, 90), "u2"), block={"y": 32, "x": 32})
    assert planned(volume).kind == "volume"
    unit = ArrayLayout.plan(
        Lattice.unit(), dims=("y", "x"), shape=(5, 7), dtype="f4", name="flat", kind="list"
    )
    assert (unit.kind, unit.place(Lattice.unit(), 0)) == ("tiles", ())


def test_names_that_the_ids_have_are_refused():
    with pytest.raises(StoreError, match="cannot be called 'tile'"):
        planned(line([0, 1]), name="tile")
    with pytest.raises(StoreError, match="repeat a name"):
        ArrayLayout.plan(
            line([0]), dims=("tile", "x"), shape=(2, 2), dtype="u2", name="a", kind="list"
        )


@given(strategies.lattices())
def test_a_list_survives_json_and_does_not_depend_on_how_many_there_are(lattice):
    layout = planned(lattice)
    again = ArrayLayout.from_json(layout.to_json())
    assert (again, again.capacity) == (layout, layout.capacity)
    if layout.kind == "list":
        assert planned(lattice.take(lattice.ids[:1])) == layout


# ---------------------------------------------------------------- reading


@settings(max_examples=15)
@given(lattice=strategies.lattices(), data=st.data())
def test_a_list_reads_as_tiles_on_the_grid_do(tmp_path_factory, lattice, data):
    folder = tmp_path_factory.mktemp("store")
    lattice = lattice.replace(volume_shape=None, shapes=None)
    missing = data.draw(st.sets(st.sampled_from(lattice.ids.tolist()), max_size=3))
    grid = written(folder / "grid.zarr", lattice, kind=None, leave_out=missing)
    listed = written(folder / "list.zarr", lattice, leave_out=missing)
    expected = open_labelled(grid.path, lattice)
    found = open_labelled(listed.path, lattice)
    xarray.testing.assert_identical(found.compute(), expected.compute())
    assert found.chunks == expected.chunks
    some = {
        dim: data.draw(st.sampled_from([0, -1, slice(None, None, 2), slice(1, None)]))
        for dim in found.dims
    }
    np.testing.assert_array_equal(found.isel(some).values, expected.isel(some).values)
    reader = TileArray.open(listed.path, cache_bytes=10**6)
    for tile in lattice:
        if tile.id not in missing:
            box = data.draw(strategies.boxes(reader.layout.tile_box((tile.id,)).shape, empty=True))
            np.testing.assert_array_equal(reader.read((tile.id,), box), grid.read(tile.index, box))


def coordinates(lattice, path):
    """What anyone's xarray sees of a list, checked against the lattice."""
    opened = xarray.open_zarr(path).load()
    assert opened.sizes["tile"] == len(lattice)
    for k, dim in enumerate(lattice.dims):
        labels = lattice.labels[dim][lattice.index[:, k]]
        np.testing.assert_array_equal(opened[dim].values.astype(labels.dtype), labels)
    for k, axis in enumerate(lattice.spatial_dims):
        np.testing.assert_array_equal(opened[f"{axis}_um"].values, lattice.position_um[:, k])
        assert opened[f"{axis}_um"].attrs["units"] == "um"
    assert opened.tile_name.values.tolist() == lattice.names.tolist()
    assert set(opened.data_vars) == {"clean"}
    return opened


@settings(max_examples=10)
@given(lattice=strategies.lattices())
def test_anyone_reads_tiles_labels_positions_and_names(tmp_path_factory, lattice):
    lattice = lattice.replace(volume_shape=None, shapes=None)
    store = written(tmp_path_factory.mktemp("store") / "data.zarr", lattice)
    opened = coordinates(lattice, store.path)
    for unit in lattice.ids.tolist():
        np.testing.assert_array_equal(opened.clean.values[unit], pixels_of(lattice, unit))
    assert zarr.open_array(store.path / "clean", mode="r").shape == store.layout.array_shape


# ---------------------------------------------------------------- growth


@settings(max_examples=15)
@given(
    labels=st.permutations(list(range(-4, 5))),
    cuts=st.lists(st.integers(1, 9), max_size=4),
    reopen=st.booleans(),
    chunk=st.sampled_from([1, 2, 8192]),
)
def test_growth_in_any_order_moves_nothing(tmp_path_factory, labels, cuts, reopen, chunk):
    folder = tmp_path_factory.mktemp("store")
    steps = [*sorted(set(cuts)), 9]
    lattice = line(labels[: steps[0]])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(list_group, "CHUNK", chunk)
        store = written(folder / "data.zarr", lattice)
        early = TileArray.open(store.path)
        for n in steps[1:]:
            before, known = files_below(store.path / "clean"), len(lattice)
            lattice = line(labels[:n])
            if reopen:
                store = TileArray.open(store.path)
            store.grow(lattice)
            store.refresh_coordinates(lattice)
            assert files_below(store.path / "clean") == before
            for unit in range(known, n):
                put(store, lattice, unit, pixels_of(lattice, unit))
        coordinates(lattice, store.path)
        again = open_tiles(store.path)
    assert stored_layout(store.path) == store.layout
    assert store.layout.capacity == 9
    found = open_labelled(store.path, lattice)
    assert found.tile_x.values.tolist() == list(range(-4, 5))
    for unit, label in enumerate(labels):
        expected = pixels_of(lattice, unit)
        np.testing.assert_array_equal(found.sel(tile_x=label).values, expected)
        np.testing.assert_array_equal(early.read((unit,)), expected)  # open since the beginning
        np.testing.assert_array_equal(
            again.source.read(again.id_at(x=label), Box.whole((4, 6))), expected
        )


def test_most_arrivals_write_nothing_and_the_last_are_not_forgotten(tmp_path):
    now = [0.0]
    group = ListGroup(tmp_path / "data.zarr", clock=lambda: now[0])
    layout = planned(line([0]))
    assert group.write(layout, line([0]))
    for n in range(2, 30):
        now[0] += list_group.LEAST_S / 20
        group.write(layout, line(range(n)), force=False)
    assert 1 < len(read_list(group.path).columns["tile_x"]) < 29
    group.write(layout, line(range(30)))
    assert len(read_list(group.path).columns["tile_x"]) == 30
    stamp = (group.path / "zarr.json").stat().st_mtime_ns
    assert group.write(layout, line(range(30)))
    assert (group.path / "zarr.json").stat().st_mtime_ns == stamp


def test_only_the_last_chunk_is_written_when_tiles_arrive(tmp_path, monkeypatch):
    monkeypatch.setattr(list_group, "CHUNK", 4)
    layout = planned(line([0]))
    group = ListGroup(tmp_path / "data.zarr")
    group.write(layout, line(range(9)))
    before = files_below(group.path)
    group.write(layout, line(range(11)))
    changed = {name for name, stamp in files_below(group.path).items() if before[name] != stamp}
    assert changed == {f"{name}/c.2" for name in ("tile_x", "tile_name", "x_um", "y_um")}


def test_what_a_killed_writer_left_is_cleared_away_by_the_next(tmp_path):
    layout = planned(line([0]))
    group = ListGroup(tmp_path / "data.zarr")
    group.write(layout, line(range(9)))
    left = [group.path / ".zarr.json.71.5.0.tmp", group.path / "tile_x" / ".c.0.71.5.1.tmp"]
    for file in left:
        file.touch()
    ListGroup(group.path).write(layout, line(range(10)))
    assert not any(file.exists() for file in left)
    assert len(read_list(group.path).columns["tile_x"]) == 10


def test_who_opened_it_before_reads_the_labels_of_before(tmp_path, monkeypatch):
    """Labels that came in front move positions, but never half of them under a reader."""
    monkeypatch.setattr(list_group, "CHUNK", 4)
    store = written(tmp_path / "data.zarr", line([5, 6, 7, 8, 9, 10]))
    before = xarray.open_zarr(store.path)
    store.refresh_coordinates(line([5, 6, 7, 8, 9, 10, 4], names=list("abcdefg")))
    assert before.tile_name.values.tolist() == [f"x{n}" for n in range(5, 11)]
    assert before.x_um.values.tolist() == [3.0 * n for n in range(6)]
    after = xarray.open_zarr(store.path)
    assert after.tile_name.values.tolist() == list("abcdefg")
    assert after.x_um.values.tolist() == [3.0, 6.0, 9.0, 12.0, 15.0, 18.0, 0.0]


class Present:
    """A source that knows which tiles are there."""

    def __init__(self, codes):
        self.codes = np.array(codes, np.uint8)

    def presence(self):
        return self.codes

    def read(self, tile, box):
        return np.full(box.shape, tile, "u2")

    def fingerprints(self):
        return np.zeros(len(self.codes), "u8")


def test_withdrawn_tiles_have_no_place_but_keep_their_id(tmp_path):
    lattice = line([0, 1, 2], source=Present([4, 0, 1]))
    store = written(tmp_path / "data.zarr", lattice, leave_out={1})
    assert np.isnan(read_list(store.path).columns["x_um"]).tolist() == [False, True, False]
    again = open_tiles(store.path)
    assert again.names.tolist() == ["x0", "x2"]
    np.testing.assert_array_equal(again.source.read(1, Box.whole((4, 6))), pixels_of(lattice, 2))


def test_any_labels_come_back(tmp_path):
    lattice = Lattice(
        dims=("well", "tile_x"),
        labels={"well": ["b", "a", "c"], "tile_x": [3, 4, 5, 9]},
        index=[[0, 0], [1, 3], [0, 1]],
        tile_dims=("y", "x"),
        tile_shape=(4, 6),
        dtype="u2",
        position_um=[[0.0, 0.5], [7.0, 8.0], [1.0, 2.0]],
    )
    again = open_tiles(written(tmp_path / "data.zarr", lattice).path)
    assert {dim: labels.tolist() for dim, labels in again.labels.items()} == {
        "well": ["b", "a", "c"],
        "tile_x": [3, 4, 5, 9],
    }
    assert again.index.tolist() == lattice.index.tolist()
    assert again.position_um.tolist() == lattice.position_um.tolist()


def test_labels_of_which_no_tile_is_left_are_kept(tmp_path):
    lattice = line([0, 2, 1])
    store = written(tmp_path / "data.zarr", lattice)
    longer = lattice.replace(labels={"tile_x": np.arange(5)})
    store.refresh_coordinates(longer)
    assert open_tiles(store.path).labels["tile_x"].tolist() == [0, 1, 2, 3, 4]


def test_who_opened_it_long_before_gets_an_error_and_no_rows_of_now(tmp_path, monkeypatch):
    monkeypatch.setattr(list_group, "CHUNK", 4)
    store = written(tmp_path / "data.zarr", line([5, 6, 7, 8, 9]))
    before = xarray.open_zarr(store.path)
    for first in (4, 3):
        store.refresh_coordinates(line(range(first, first + 9)))
        for name in ("tile_x", "tile_name", "x_um"):
            if first == 4:
                assert len(before[name].values) == 5
            else:
                with pytest.raises(ValueError, match="reshape"):
                    before[name].load()
    assert coordinates(line(range(3, 12)), store.path).sizes["tile"] == 9


READER = """
import sys, xarray, zarr
from pathlib import Path
from latticework.io.list_group import read_list
path, ready, seen, reads, late = Path(sys.argv[1]), False, set(), 0, 0
while reads < 30:
    try:
        opened = xarray.open_zarr(path).load()
    except ValueError as error:  # all labels changed twice since it was opened
        assert "reshape" in str(error), error
        late += 1
        continue
    columns = {name: opened[name].values for name in opened.coords}
    assert opened.clean.shape[0] == opened.sizes["tile"]
    for columns in (columns, read_list(path).columns):
        n, first = len(columns["tile_x"]), int(columns["tile_x"][0])
        assert columns["tile_x"].tolist() == list(range(first, first + n)), columns
        assert columns["tile_name"].tolist() == [f"x{k}" for k in range(first, first + n)]
        assert columns["x_um"].tolist() == [3 * k for k in range(n)]
        seen.add((n, first))
    reads += 1
    if not ready:
        ready = not print("ready", flush=True)
assert len(seen) > 5, seen
assert late < 30, late
"""


def test_a_reader_never_sees_half_a_growth(tmp_path):
    store = TileArray.create(tmp_path / "data.zarr", planned(line([0])), line([0]))
    command = [sys.executable, "-c", READER, str(store.path)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as reader:
        assert reader.stdout.readline() == "ready\n", reader.stderr.read()
        n = 1
        while reader.poll() is None:
            n = n + 1 if n < 500 else 1
            first = 0 if n % 50 else n  # sometimes all labels change
            store.refresh_coordinates(line(range(first, first + n)))
            time.sleep(0.004)
        assert reader.returncode == 0, reader.stderr.read()


# ---------------------------------------------------------------- conversion


def grid_with_a_hole():
    full = Lattice.from_grid(
        {"y": 3, "x": 4}, tile_shape={"y": 4, "x": 6}, dtype="u2", snake=True, pixel_size_um=0.5
    )
    return full.replace(
        index=np.delete(full.index, 5, axis=0), ids=None, names=None, position_um=None
    )


def check_converted(path, lattice, missing=()):
    layout = stored_layout(path)
    assert layout.kind == "list"
    found = open_labelled(path, lattice)
    for tile in lattice:
        expected = 0 if tile.id in missing else pixels_of(lattice, tile.id)
        np.testing.assert_array_equal(found.sel(**tile.labels).values, expected)
    coordinates(lattice, path)
    assert sorted(file.name for file in path.parent.iterdir()) == ["data.zarr", "staging"]
    assert not (path / MOVING).exists()


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("exchange", [True, False])
def test_a_store_becomes_a_list_without_a_copy(tmp_path, monkeypatch, links, exchange):
    if not links:
        monkeypatch.setattr(list_conversion.os, "link", no_links)
    if not exchange:
        monkeypatch.setattr(plain_zarr, "exchange", lambda *_: False)
    lattice = grid_with_a_hole()
    store = written(tmp_path / "data.zarr", lattice, kind=None, leave_out={3})
    before = {inode for inode, _ in files_below(store.path / "clean").values()}
    layout = convert_to_list(store.path, lattice)
    assert (layout, layout.capacity) == (planned(lattice), 11)
    check_converted(store.path, lattice, missing={3})
    assert {inode for inode, _ in files_below(store.path / "clean").values()} == before
    assert convert_to_list(store.path, lattice) == layout


def no_links(*_):
    raise PermissionError(1, "no hard links here")


CONVERTER = """
import os, sys, signal
from latticework.io import list_conversion, plain_zarr
from latticework.io.lattice_store import load_lattice
calls, last = 0, int(sys.argv[4])
def counted(function):
    def call(*args, **options):
        global calls
        calls += 1
        if calls == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **options)
    return call
def no_links(*_):
    raise PermissionError(1, "no hard links here")
os.link = counted(os.link) if sys.argv[3] == "links" else no_links
os.replace = counted(os.replace)
plain_zarr.replace_file = counted(plain_zarr.replace_file)
list_conversion.swap_folder = counted(list_conversion.swap_folder)
plain_zarr.shutil.rmtree = counted(plain_zarr.shutil.rmtree)
if sys.argv[5] == "renames":
    plain_zarr.exchange = lambda *_: False
    plain_zarr.Path.rename = counted(plain_zarr.Path.rename)
list_conversion.convert_to_list(sys.argv[1], load_lattice(list_conversion.Path(sys.argv[2])))
print("done")
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["links", "moves"])
@pytest.mark.parametrize("swap", ["exchange", "renames"])
def test_a_conversion_goes_on_after_a_kill_at_any_point(tmp_path, how, swap):
    from latticework.io.lattice_store import save_lattice

    lattice = grid_with_a_hole()
    store = written(tmp_path / "whole" / "data.zarr", lattice, kind=None)
    save_lattice(lattice, tmp_path / "lattice")
    for last in range(1, 60):
        folder = tmp_path / str(last)
        shutil.copytree(store.path.parent, folder)
        path = folder / "data.zarr"
        command = [
            sys.executable,
            "-c",
            CONVERTER,
            path,
            tmp_path / "lattice",
            how,
            str(last),
            swap,
        ]
        ended = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
        assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
        convert_to_list(path, lattice)
        check_converted(path, lattice)
        if ended.stdout == "done\n":
            break
    assert 15 < last < 59


def test_a_kill_while_files_move_loses_none(tmp_path, monkeypatch):
    lattice = grid_with_a_hole()
    store = written(tmp_path / "data.zarr", lattice, kind=None)
    monkeypatch.setattr(list_conversion.os, "link", no_links)
    replace, moved = os.replace, []

    def interrupted(source, target):
        if len(moved) == 4:
            raise KeyboardInterrupt
        moved.append(target)
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(list_conversion.os, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            convert_to_list(store.path, lattice)
    assert stored_layout(store.path).kind == "tiles"
    convert_to_list(store.path, lattice)
    check_converted(store.path, lattice)


def test_a_store_of_another_lattice_is_left_as_it_is(tmp_path):
    lattice = grid_with_a_hole()
    store = written(tmp_path / "data.zarr", lattice, kind=None)
    with pytest.raises(StoreError, match="is of a tile that the lattice does not have"):
        convert_to_list(store.path, lattice.take([0, 1]))
    assert stored_layout(store.path).kind == "tiles"
    assert len(files_below(store.path / "clean")) == 11
    larger = Lattice.from_grid({"y": 5, "x": 6}, tile_shape={"y": 4, "x": 6}, dtype="u2")
    assert convert_to_list(store.path, larger).kind == "list"


def test_a_volume_and_a_reduction_stay_what_they_are(tmp_path):
    lattice = Lattice.from_array(np.zeros((20, 30), "u2"), block={"y": 8, "x": 8})
    layout = planned(lattice)
    TileArray.create(tmp_path / "data.zarr", layout, lattice)
    assert convert_to_list(tmp_path / "data.zarr", lattice) == layout
    with pytest.raises(StoreError, match="no list of tiles"):
        TileArray.open(tmp_path / "data.zarr").refresh_coordinates(lattice)
