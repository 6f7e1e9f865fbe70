import time

import numpy as np
import pytest
import tifffile

import latticework as lw
from latticework.errors import LatticeError, SourceError
from latticework.testing import simulate, write_ome_tiff, write_pattern, write_zarr
from latticework.testing.live import LiveMicroscope, image_again


@pytest.fixture
def prepared(tmp_path):
    lattice, _ = simulate({"y": 3, "x": 4}, tile_shape={"y": 16, "x": 16}, seed=1)
    write_pattern(lattice, tmp_path / "prepared", pattern="y{tile_y}_x{tile_x}.tif")
    return tmp_path / "prepared"


def run(scope):
    events = []
    while (event := scope.step()) is not None:
        events.append(event)
    return events


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_tidy_microscope_writes_what_was_prepared_in_order(prepared, tmp_path):
    scope = LiveMicroscope(prepared, tmp_path / "scan", rng=np.random.default_rng(0))
    assert [event.name for event in run(scope)] == sorted(scope.names)
    assert scope.finished
    assert contents(tmp_path / "scan") == contents(prepared)


def test_one_seed_makes_one_night(prepared, tmp_path):
    def night(folder, seed):
        scope = LiveMicroscope(
            prepared, folder, rng=np.random.default_rng(seed), order="random", slow=3,
            truncated=2, replaced=3, removed=1, done_marker="{stem}.done", end="END",
        )  # fmt: skip
        return run(scope), contents(folder)

    assert night(tmp_path / "a", 5) == night(tmp_path / "b", 5)
    assert night(tmp_path / "c", 6)[0] != night(tmp_path / "d", 5)[0]


def test_an_untidy_night_ends_with_whole_files(prepared, tmp_path):
    scope = LiveMicroscope(
        prepared, tmp_path / "scan", rng=np.random.default_rng(2), order="random", slow=4,
        truncated=3, replaced=2, removed=2, end="END",
    )  # fmt: skip
    begun, kinds = set(), []
    while (event := scope.step()) is not None:
        kinds.append(event.kind)
        if event.kind == "begin":
            begun.add(event.name)
            with pytest.raises(SourceError):
                lw.open_tiles(tmp_path / "scan" / event.name)
    count = {kind: kinds.count(kind) for kind in set(kinds)}
    assert count == {"write": 5, "begin": 7, "finish": 7, "replace": 2, "remove": 2, "end": 1}
    lattice = lw.open_tiles(tmp_path / "scan")
    assert lattice.n_tiles == 10
    differ = [
        name
        for name, data in contents(tmp_path / "scan").items()
        if name != "END" and data != contents(prepared)[name]
    ]
    assert len(differ) <= 2


def test_the_list_follows_what_is_written_and_withdrawn(prepared, tmp_path):
    said = []
    scope = LiveMicroscope(
        prepared, tmp_path / "scan", rng=np.random.default_rng(3), withdrawn=2,
        write_list=said.append,
    )  # fmt: skip
    run(scope)
    assert said[0] == dict.fromkeys(scope.names, False)
    assert sum(said[12].values()) == 12
    assert len(said[-1]) == 10
    assert len(list((tmp_path / "scan").glob("*.tif"))) == 12


@pytest.mark.parametrize("writer", [write_ome_tiff, write_zarr])
def test_a_tile_imaged_again_has_other_pixels_at_the_same_place(tmp_path, writer):
    lattice, _ = simulate({"y": 1, "x": 2}, tile_shape={"y": 16, "x": 16})
    folder = writer(lattice, tmp_path / "scan")
    before = lw.open_tiles(folder)
    old = before.source.read(1, lw.Box((0, 0), (16, 16)))
    image_again(folder / str(before.names[1]), np.random.default_rng(0))
    after = lw.open_tiles(folder)
    assert (after.position_um == before.position_um).all()
    assert (after.source.read(1, lw.Box((0, 0), (16, 16))) != old).any()
    assert (
        after.source.read(0, lw.Box((0, 0), (4, 4)))
        == before.source.read(0, lw.Box((0, 0), (4, 4)))
    ).all()


def test_a_night_can_pass_in_a_thread(prepared, tmp_path):
    scope = LiveMicroscope(prepared, tmp_path / "scan", rng=np.random.default_rng(0), end="END")
    scope.start(delay_s=0.001).join(20)
    assert scope.finished
    endless = LiveMicroscope(prepared, tmp_path / "slow", rng=np.random.default_rng(0))
    began = time.monotonic()
    endless.start(delay_s=100).stop()
    assert not endless.finished
    assert time.monotonic() - began < 20


def test_what_cannot_be_simulated_is_refused(prepared, tmp_path):
    rng = np.random.default_rng(0)
    with pytest.raises(LatticeError, match="holds 12 tiles"):
        LiveMicroscope(prepared, tmp_path / "scan", rng=rng, replaced=13)
    with pytest.raises(LatticeError, match="expected different ones"):
        LiveMicroscope(prepared, tmp_path / "scan", rng=rng, slow=7, truncated=7)
    (tmp_path / "empty").mkdir()
    with pytest.raises(LatticeError, match="holds no TIFF"):
        LiveMicroscope(tmp_path / "empty", tmp_path / "scan", rng=rng)
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((8, 8), "u2"), compression="zlib")
    with pytest.raises(LatticeError, match="is compressed"):
        image_again(tmp_path / "a.tif", rng)
