"""The output of a stage as a lattice to begin from."""

import numpy as np
import pytest

from latticework import Lattice
from latticework.errors import LatticeError, SourceError
from latticework.io.layout import ArrayLayout
from latticework.io.open_tiles import open_tiles
from latticework.io.publish import publish
from latticework.io.sources import load_source, save_source
from latticework.io.tile_array import TileArray
from latticework.lattice import Box

RNG = np.random.default_rng(8)


def write(path, lattice, pixels):
    """A stage's store with some tiles in it."""
    shape = tuple(lattice.tile_shape.values())
    layout = ArrayLayout.plan(
        lattice, dims=lattice.tile_dims, shape=shape, dtype=lattice.dtype, name="clean"
    )
    store = TileArray.create(path / "data.zarr", layout, lattice)
    for tile_id, data in pixels.items():
        index = lattice.tile(tile_id).index
        store.stage(path / "staging", index, data)
        publish(path / "staging", store.path, layout.keys(index))
    return store.path


def tiles_with_a_hole():
    full = Lattice.from_grid(
        {"y": 2, "x": 3},
        tile_shape={"y": 20, "x": 30},
        dtype="u2",
        overlap={"y": 4, "x": 6},
        pixel_size_um={"y": 0.5, "x": 0.25},
    )
    return full.replace(labels={"tile_y": ["a", "b"], "tile_x": [3, 4, 5]}).take([0, 1, 2, 3, 5])


@pytest.mark.parametrize("inside", ["", "clean"])
def test_tiles_come_back_with_labels_positions_and_holes(tmp_path, inside):
    lattice = tiles_with_a_hole()
    pixels = {i: RNG.integers(0, 99, (20, 30), dtype="u2") for i in lattice.ids.tolist()}
    pixels[0][:] = 0  # a tile of nothing is a tile
    again = open_tiles(write(tmp_path, lattice, pixels) / inside)
    assert again.sizes == lattice.sizes
    assert again.labels["tile_y"].tolist() == ["a", "b"]
    assert again.index.tolist() == lattice.index.tolist()
    assert again.position_um.tolist() == lattice.position_um.tolist()
    assert again.step_px == lattice.step_px
    assert again.pixel_size_um == lattice.pixel_size_um
    save_source(again.source, tmp_path / "saved")
    for source in (again.source, load_source(tmp_path / "saved")):
        for row, data in enumerate(pixels.values()):
            assert np.array_equal(source.read(row, Box((2, 3), (20, 9))), data[2:20, 3:9])
    assert len(np.unique(again.source.fingerprints())) == 5


def test_blocks_come_back_as_blocks_of_one_volume(tmp_path):
    volume = RNG.integers(0, 99, (50, 70), dtype="u2")
    lattice = Lattice.from_array(volume, block=32, pixel_size_um=0.4)
    pixels = {t.id: lattice.source.read(t.id, Box.whole(t.shape)) for t in lattice}
    path = write(tmp_path, lattice, pixels)
    for again in (open_tiles(path), open_tiles(path, block={"y": 20, "x": 64})):
        assert again.volume_shape == {"y": 50, "x": 70}
        assert again.pixel_size_um == {"y": 0.4, "x": 0.4}
        box = Box((25, 10), (45, 66))
        assert np.array_equal(again.source.read_volume(box), volume[box.slices])
        last = again.tile(int(again.ids[-1]))
        there = again.volume_box(last.id)
        read = again.source.read(last.id, Box.whole(last.shape))
        assert np.array_equal(read, volume[there.slices])
    assert open_tiles(path).sizes == lattice.sizes


def test_tiles_that_were_not_computed_are_named_or_marked(tmp_path):
    lattice = tiles_with_a_hole()
    path = write(tmp_path, lattice, {0: np.ones((20, 30), "u2")})
    with pytest.raises(SourceError, match="no output for 4 of 5 tiles"):
        open_tiles(path)
    again = open_tiles(path, errors="mark")
    assert list(again.problems) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("options", "message"),
    [({"grid": {"y": 2, "x": 3}}, "leave out grid="), ({"block": 8}, "separate tiles")],
)
def test_what_a_stage_says_itself_need_not_be_said(tmp_path, options, message):
    with pytest.raises(LatticeError, match=message):
        open_tiles(write(tmp_path, tiles_with_a_hole(), {}), **options)


def test_a_reduction_is_one_tile(tmp_path):
    unit = Lattice.unit()
    layout = ArrayLayout.plan(unit, dims=("y", "x"), shape=(8, 9), dtype="f4", name="lamp")
    store = TileArray.create(tmp_path / "data.zarr", layout, unit)
    store.stage(tmp_path / "staging", (), np.ones((8, 9), "f4"))
    publish(tmp_path / "staging", store.path, layout.keys(()))
    again = open_tiles(store.path)
    assert again.n_tiles == 1
    assert again.source.read(0, Box((0, 0), (8, 9))).sum() == 72
