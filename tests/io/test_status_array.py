"""The status group opens at any time and says what was last written."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
import xarray
from hypothesis import given, settings
from hypothesis import strategies as st

from latticework import Lattice, State
from latticework.errors import StoreError
from latticework.io import plain_zarr
from latticework.io.status_array import StatusArray, write_status
from latticework.testing import strategies


@pytest.fixture
def lattice():
    return Lattice.from_grid({"y": 3, "x": 4}, tile_shape={"y": 8, "x": 8}, dtype="u2", snake=True)


def columns(lattice, state, **more):
    n = len(lattice)
    return {"state": np.full(n, state, "u1"), "duration_s": np.full(n, 0.5, "f4"), **more}


@settings(max_examples=15)
@given(lattice=strategies.lattices(), data=st.data())
def test_values_lie_where_their_tiles_lie(tmp_path_factory, lattice, data):
    path = tmp_path_factory.mktemp("status") / "status.zarr"
    seed = data.draw(st.integers(0, 99))
    states = np.random.default_rng(seed).integers(1, 9, len(lattice)).astype("u1")
    write_status(path, lattice, {"clean": {"state": states, "seconds_s": states / 2}})
    status = xarray.open_zarr(path).load()
    assert status.state.dims == ("stage", *lattice.dims)
    for tile in lattice:
        unit = status.isel(stage=0, **dict(zip(lattice.dims, tile.index, strict=True)))
        assert int(unit.state) == states[tile.id]
        assert float(unit.seconds_s) == states[tile.id] / 2
        assert int(unit.tile) == tile.id
    holes = status.tile.values < 0
    assert (status.state.values[0][holes] == State.ABSENT).all()
    assert np.isnan(status.seconds_s.values[0][holes]).all()


def test_states_carry_their_names(tmp_path, lattice):
    write_status(tmp_path / "s.zarr", lattice, {"clean": columns(lattice, State.FAILED)})
    state = xarray.open_zarr(tmp_path / "s.zarr").state
    meanings = dict(zip(state.flag_values, state.flag_meanings.split(), strict=True))
    assert meanings[int(state[0, 0, 0])] == "failed"
    assert state.dtype == np.uint8


def test_only_changed_stages_are_written(tmp_path, lattice):
    status = StatusArray(tmp_path / "s.zarr", lattice)
    status.write({name: columns(lattice, State.WAITING) for name in ("a", "b")})
    before = {f: f.stat().st_mtime_ns for f in status.path.rglob("*") if f.is_file()}
    status.write({"b": {"state": np.full(12, State.COMPLETE, "u1")}})
    changed = {f for f, at in before.items() if f.stat().st_mtime_ns != at}
    assert changed == {status.path / "state" / "c.1.0.0"}
    assert xarray.open_zarr(status.path).state.max(("tile_y", "tile_x")).values.tolist() == [1, 4]


def test_stages_come_go_and_move(tmp_path, lattice):
    path = tmp_path / "s.zarr"
    write_status(path, lattice, {"a": columns(lattice, 1), "b": columns(lattice, 2)})
    write_status(path, lattice, {"c": columns(lattice, 3)}, order=["b", "c", "a"])
    status = xarray.open_zarr(path)
    assert status.stage.values.tolist() == ["b", "c", "a"]
    assert status.state[:, 0, 0].values.tolist() == [2, 3, 1]
    write_status(path, lattice, {}, order=["c"])
    assert xarray.open_zarr(path).state[:, 0, 0].values.tolist() == [3]
    write_status(path, lattice, {"d": columns(lattice, 4, attempts=np.ones(12, "u2"))})
    status = xarray.open_zarr(path)
    assert status.stage.values.tolist() == ["c", "d"]
    assert status.attempts[:, 0, 0].values.tolist() == [0, 1]


def test_a_grown_lattice_and_a_deleted_folder_are_written_anew(tmp_path, lattice):
    status = StatusArray(tmp_path / "s.zarr", lattice)
    status.write({"a": columns(lattice, 1)})
    shutil.rmtree(status.path)
    status.write({"a": columns(lattice, 4)})
    assert int(xarray.open_zarr(status.path).state.sum()) == 48
    shutil.rmtree(status.path / "state")
    status.write({"a": columns(lattice, 4)})
    assert int(xarray.open_zarr(status.path).state.sum()) == 48
    (status.path / "zarr.json").write_text("{")
    status.write({"a": columns(lattice, 4)})
    grown = Lattice.from_grid({"y": 4, "x": 4}, tile_shape={"y": 8, "x": 8}, dtype="u2")
    write_status(status.path, grown, {"a": columns(grown, 4)})
    assert xarray.open_zarr(status.path).state.shape == (1, 4, 4)


def tiles_at(places, labels):
    """Tiles on a row with these labels, by id."""
    return Lattice(
        dims=("tile_x",),
        labels={"tile_x": labels},
        index=np.array(places)[:, None],
        tile_dims=("x",),
        tile_shape=(4,),
        dtype="u2",
    )


def seen(path):
    """State of every tile id of every stage, as anyone sees it."""
    status = xarray.open_zarr(path).load()
    ids = status.tile.values
    return {
        str(stage): {int(i): int(v) for i, v in zip(ids[ids >= 0], row[ids >= 0], strict=True)}
        for stage, row in zip(status.stage.values, status.state.values, strict=True)
    }


@given(data=st.data())
@settings(max_examples=15)
def test_values_follow_their_tiles_when_the_lattice_grows(tmp_path_factory, data):
    """Labels may come in front and in between, and tiles may get other places."""
    path = tmp_path_factory.mktemp("status") / "status.zarr"
    order = data.draw(st.permutations(range(8)))
    cuts = [*sorted(data.draw(st.sets(st.integers(1, 7), max_size=3))), 8]
    gaps = data.draw(st.booleans())
    expected = {}
    status = None
    for n in cuts:
        some = sorted(order[:n])
        labels = np.arange(8) if gaps else np.array(some)
        places = [int(np.searchsorted(labels, order[i])) for i in range(n)]
        lattice = tiles_at(places, labels)
        if status is None:
            status = StatusArray(path, lattice)
        else:
            status.grow(lattice)
        for stage in data.draw(st.sets(st.sampled_from("abc"), min_size=1)):
            states = np.array(data.draw(st.lists(st.integers(1, 8), min_size=n, max_size=n)), "u1")
            status.write({stage: {"state": states}})
            expected[stage] = dict(enumerate(states.tolist()))
        found = seen(path)
        for stage, states in expected.items():
            assert found[stage] == {i: states.get(i, 0) for i in range(n)}
        assert xarray.open_zarr(path).tile_x.values.tolist() == labels.tolist()


def test_a_tile_in_a_hole_needs_no_new_group(tmp_path):
    status = StatusArray(tmp_path / "s.zarr", tiles_at([0, 3], np.arange(5)))
    status.write({"a": {"state": np.array([4, 5], "u1")}, "b": {"state": np.array([4, 4], "u1")}})
    folder, other = status.path.stat().st_ino, (status.path / "state" / "c.1.0").stat().st_mtime_ns
    status.grow(tiles_at([0, 3, 1], np.arange(5)))
    status.write({"a": {"state": np.array([4, 5, 6], "u1")}})
    assert seen(status.path) == {"a": {0: 4, 2: 6, 1: 5}, "b": {0: 4, 2: 0, 1: 4}}
    assert status.path.stat().st_ino == folder
    assert (status.path / "state" / "c.1.0").stat().st_mtime_ns == other


def test_tiles_that_change_places_are_found_there(tmp_path):
    status = StatusArray(tmp_path / "s.zarr", tiles_at([0, 1, 2], np.arange(3)))
    status.write({name: {"state": np.array([3, 4, 5], "u1")} for name in ("a", "b")})
    status.grow(tiles_at([2, 1, 0], np.arange(3)))
    status.write({"a": {"state": np.array([6, 7, 8], "u1")}})
    assert seen(status.path) == {"a": {0: 6, 1: 7, 2: 8}, "b": {0: 3, 1: 4, 2: 5}}


def test_what_a_killed_writer_left_is_cleared_away_by_the_next(tmp_path, lattice):
    path = tmp_path / "s.zarr"
    write_status(path, lattice, {"a": columns(lattice, State.WAITING)})
    whole = sorted(tmp_path.rglob("*"))
    (path / "state" / ".c.0.0.0.71.5.0.tmp").touch()
    (path / ".zarr.json.71.5.1.tmp").touch()
    shutil.copytree(path, tmp_path / ".s.zarr.new")
    write_status(path, lattice, {"a": columns(lattice, State.COMPLETE)})
    assert sorted(tmp_path.rglob("*")) == whole
    assert int(xarray.open_zarr(path).state[0, 0, 0]) == State.COMPLETE


def test_where_folders_cannot_be_exchanged_they_are_renamed(tmp_path, lattice, monkeypatch):
    monkeypatch.setattr(plain_zarr, "exchange", lambda *_: False)
    path = tmp_path / "s.zarr"
    write_status(path, lattice, {"a": columns(lattice, 1)})
    write_status(path, lattice, {"b": columns(lattice, 2)})
    assert xarray.open_zarr(path).state[:, 0, 0].values.tolist() == [1, 2]
    assert [file.name for file in tmp_path.iterdir()] == ["s.zarr"]


def test_people_plot_states_with_stages_along_an_axis(tmp_path, lattice):
    import matplotlib.pyplot as plt

    write_status(tmp_path / "s.zarr", lattice, {"a": columns(lattice, 1), "b": columns(lattice, 2)})
    state = xarray.open_zarr(tmp_path / "s.zarr").state
    state.sel(stage="a").plot()
    state.isel(tile_y=0).plot()
    plt.close("all")


def test_what_does_not_fit_is_refused(tmp_path, lattice):
    with pytest.raises(StoreError, match="has shape"):
        write_status(tmp_path / "s.zarr", lattice, {"a": {"state": np.zeros(5, "u1")}})
    with pytest.raises(StoreError, match="cannot be of type"):
        write_status(tmp_path / "s.zarr", lattice, {"a": {"note": np.array(["x"] * 12)}})
    with pytest.raises(StoreError, match="is not one of"):
        write_status(tmp_path / "s.zarr", lattice, {"a": columns(lattice, 1)}, order=["b"])


READER = """
import sys, xarray
reads = 0
print("ready", flush=True)
while reads < 60:
    status = xarray.open_zarr(sys.argv[1])
    for stage in range(status.sizes["stage"]):
        values = status.state.isel(stage=stage).values
        assert values.min() == values.max(), values
    reads += 1
print(reads)
"""


def test_a_reader_never_sees_a_torn_stage(tmp_path):
    lattice = Lattice.from_grid({"y": 500, "x": 500}, tile_shape={"y": 8, "x": 8}, dtype="u2")
    status = StatusArray(tmp_path / "s.zarr", lattice)
    status.write({"a": columns(lattice, 0), "b": columns(lattice, 0)})
    command = [sys.executable, "-c", READER, str(status.path)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as reader:
        assert reader.stdout.readline() == "ready\n"
        value = 0
        while reader.poll() is None:
            value = (value + 1) % 200
            status.write({"a": columns(lattice, value)})
            if value % 50 == 10:
                status.write({f"new {value}": columns(lattice, value)})
        assert reader.returncode == 0, reader.stderr.read()
