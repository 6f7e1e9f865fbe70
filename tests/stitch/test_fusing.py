"""Whole volumes: what was cut comes back, blocks are found once, memory does not grow."""

import numpy as np
import pytest
import zarr

import latticework as lw
from latticework.errors import LatticeError, StoreError
from latticework.lattice import Lattice
from latticework.stitch import fuse, place, register
from latticework.stitch.fusing import FusionPlan
from tests.stitch.test_registering import Tiles, cut, lattice_of


@pytest.mark.parametrize("blend", ["none", "cosine"])
def test_tiles_cut_out_of_a_volume_give_it_back(tmp_path, blend):
    rng = np.random.default_rng(1)
    scene = rng.integers(0, 60_000, (30, 300, 300)).astype("f4")
    lattice, truth = cut(scene, (3, 3), (24, 110, 110), 90, (2, 3, 3), rng, noise=0.0)
    moved = lattice.replace(position_um=truth)
    image = fuse(moved, tmp_path / "volume.ome.zarr", blend=blend, block=(16, 64, 64), threads=2)
    found = zarr.open_group(image.path, mode="r")["0"][...]
    start = np.floor(truth.min(axis=0)).astype(int)
    whole = scene[tuple(slice(a, a + n) for a, n in zip(start, found.shape, strict=True))] + 100
    covered = np.zeros(found.shape, bool)
    for place_of in (truth - start).astype(int):
        box = tuple(slice(a, a + n) for a, n in zip(place_of, (24, 110, 110), strict=True))
        covered[box] = True
    assert np.abs(found - whole)[covered].max() <= (0 if blend == "none" else 1)
    assert (found[~covered] == 0).all()


def test_three_lines_from_tiles_to_a_volume(tmp_path):
    tiles, _ = lw.simulate({"y": 3, "x": 3}, tile_shape={"y": 96, "x": 96}, seed=5)
    placed = place(tiles, register(tiles))
    image = fuse(placed.lattice, tmp_path / "volume.ome.zarr")
    group = zarr.open_group(image.path, mode="r")
    assert group.attrs["ome"]["multiscales"][0]["axes"][0]["unit"] == "micrometer"
    assert group["0"].shape == image.shape


def test_each_block_knows_its_tiles_however_many_there_are():
    lattice = Lattice.from_grid(
        {"y": 100, "x": 100},
        tile_shape={"y": 512, "x": 512},
        step_px={"y": 460, "x": 460},
        dtype="u2",
    )
    plan = FusionPlan.of(lattice)
    found = plan.meeting((2048, 2048))
    assert max(map(len, found.values())) <= 36
    for index in ((0, 0), (7, 3), (22, 22)):
        start, stop = np.array(index) * 2048, (np.array(index) + 1) * 2048
        meets = ((plan.positions < stop) & (plan.positions + 512 > start)).all(axis=1)
        assert found[index] == np.flatnonzero(meets).tolist()


def test_channels_are_fused_each_by_itself(tmp_path):
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 999, (2, 40, 40)).astype("u2") for _ in range(2)]
    lattice = Lattice(
        dims=("tile_x",),
        labels={"tile_x": [0, 1]},
        index=[[0], [1]],
        tile_dims=("c", "y", "x"),
        tile_shape=(2, 40, 40),
        dtype="u2",
        channels=("nuclei", "fibres"),
        position_um=[[0.0, 0.0], [0.0, 40.0]],
        pixel_size_um=1.0,
        source=Tiles(arrays),
    )
    image = fuse(lattice, tmp_path / "volume.ome.zarr")
    found = zarr.open_group(image.path, mode="r")
    np.testing.assert_array_equal(found["0"][...], np.concatenate(arrays, axis=2))
    labels = [channel["label"] for channel in found.attrs["ome"]["omero"]["channels"]]
    assert labels == ["nuclei", "fibres"]


def test_gains_level_tiles_of_different_brightness(tmp_path):
    arrays = [np.full((40, 40), value, "u2") for value in (1000, 1200)]
    lattice = Lattice(
        dims=("tile_x",),
        labels={"tile_x": [0, 1]},
        index=[[0], [1]],
        tile_dims=("y", "x"),
        tile_shape=(40, 40),
        dtype="u2",
        position_um=[[0.0, 0.0], [0.0, 30.0]],
        pixel_size_um=1.0,
        source=Tiles(arrays),
    )
    image = fuse(lattice, tmp_path / "volume.ome.zarr", gains=[1.0, 1000 / 1200])
    assert (zarr.open_group(image.path, mode="r")["0"][...] == 1000).all()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"blend": "mean"}, ValueError, "cosine, average"),
        ({"gains": [1.0]}, ValueError, "each of the 4 tiles"),
        ({"gains": [1.0, np.nan, 1.0, 1.0]}, ValueError, "finite"),
        ({"version": "0.3"}, StoreError, "0.5 or 0.4"),
        ({"block": (0, 0)}, StoreError, "none"),
    ],
)
def test_what_cannot_be_done_is_refused_and_leaves_nothing(tmp_path, options, error, message):
    tiles, _ = lw.simulate({"y": 2, "x": 2}, tile_shape={"y": 32, "x": 32}, seed=5)
    with pytest.raises(error, match=message):
        fuse(tiles, tmp_path / "volume.ome.zarr", **options)
    assert list(tmp_path.iterdir()) == []


def test_an_image_has_its_name_only_when_it_is_whole(tmp_path):
    tiles, _ = lw.simulate({"y": 2, "x": 2}, tile_shape={"y": 32, "x": 32}, seed=5)

    class Breaks:
        def read(self, tile, box):
            if tile == 3:
                raise OSError("the disk is gone")
            return tiles.source.read(tile, box)

        def fingerprints(self):
            return tiles.source.fingerprints()

    with pytest.raises(OSError, match="the disk is gone"):
        fuse(tiles.with_source(Breaks()), tmp_path / "volume.ome.zarr")
    assert list(tmp_path.iterdir()) == []
    assert fuse(tiles, tmp_path / "volume.ome.zarr").path == tmp_path / "volume.ome.zarr"
    with pytest.raises(StoreError, match="exists already"):
        fuse(tiles, tmp_path / "volume.ome.zarr")


def test_planes_are_not_fused_into_one():
    arrays = [np.full((16, 16), 100 * (k // 2 + 1), "u2") for k in range(6)]
    lattice = lw.open_tiles(arrays, grid={"z": 3, "y": 1, "x": 2})
    with pytest.raises(LatticeError, match="fuse one at a time"):
        fuse(lattice, "nowhere.ome.zarr")


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u4", "i4", "i8", "u8", "f4", "f8"])
def test_pixels_of_every_type_are_copied_where_tiles_lie_alone(tmp_path, dtype):
    kind = np.dtype(dtype)
    ends = (0, 2**52) if kind.itemsize == 8 else (0, 2**24 + 1)
    if kind.kind in "iu":
        ends = max(ends[0], np.iinfo(kind).min), min(ends[1], np.iinfo(kind).max)
    rng = np.random.default_rng(0)
    pixels = rng.integers(*ends, (40, 600), endpoint=True).astype(kind)
    lattice = lattice_of([pixels], [(0, 0)], [(0, 0)])
    image = fuse(lattice, tmp_path / "volume.ome.zarr")
    np.testing.assert_array_equal(zarr.open_group(image.path, mode="r")["0"][...], pixels)


def test_tiles_that_only_touch_between_pixels_leave_no_seam(tmp_path):
    arrays = [np.full((32, 128), 500, "u2")] * 2
    lattice = lattice_of(arrays, [(0, 0), (0, 1)], [(0, 0), (0, 128.5)])
    image = fuse(lattice, tmp_path / "volume.ome.zarr")
    assert (zarr.open_group(image.path, mode="r")["0"][:, :256] == 500).all()
