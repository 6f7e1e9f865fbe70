"""Whole volumes: what was cut comes back, blocks are found once, memory does not grow."""

from pathlib import Path

import numpy as np
import pytest
import zarr

import latticework as lw
from latticework.errors import LatticeError, StageError, StoreError
from latticework.io import publish
from latticework.lattice import Lattice
from latticework.stitch import fuse, place, register
from latticework.stitch.fusing import FusionPlan
from latticework.stitch.warps import Warp
from tests.stitch.acquisitions import Tiles, lattice_of
from tests.stitch.test_registering import cut


def pixels_of(image, level=0):
    return zarr.open_group(image.path, mode="r")[str(level)][...]


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
        ({"blend": "mean"}, ValueError, "cosine, content"),
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


def test_an_image_is_replaced_only_by_a_whole_one_and_only_if_it_is_one(tmp_path):
    tiles, _ = lw.simulate({"y": 2, "x": 2}, tile_shape={"y": 32, "x": 32}, seed=5)
    others, _ = lw.simulate({"y": 2, "x": 3}, tile_shape={"y": 32, "x": 32}, seed=6)
    path = tmp_path / "volume.ome.zarr"
    before = fuse(tiles, path)
    expected = pixels_of(before)

    def breaks(_done, _of):
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        fuse(others, path, overwrite=True, progress=breaks)
    np.testing.assert_array_equal(pixels_of(before), expected)
    after = fuse(others, path, overwrite=True)
    assert after.path == path
    assert pixels_of(after).shape[1] > expected.shape[1]
    assert list(tmp_path.iterdir()) == [path]
    (tmp_path / "notes").mkdir()
    with pytest.raises(StageError, match="no OME-Zarr image"):
        fuse(tiles, tmp_path / "notes", overwrite=True)
    with pytest.raises(LatticeError, match="holds the tiles themselves"):
        fuse(lw.open_tiles(path), path, overwrite=True)


@pytest.mark.parametrize("exchanged", [True, False])
def test_an_image_stays_where_a_new_one_cannot_be_put(tmp_path, monkeypatch, exchanged):
    tiles, _ = lw.simulate({"y": 1, "x": 2}, tile_shape={"y": 32, "x": 32}, seed=5)
    path = tmp_path / "volume.ome.zarr"
    expected = pixels_of(fuse(tiles, path))
    if not exchanged:  # as on file systems that cannot
        monkeypatch.setattr(publish, "exchange", lambda _one, _other: False)
    rename = Path.rename

    def fails(self, target):
        if self.suffix == ".part" and target == path:
            raise OSError("the server is gone")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails)
    if exchanged:
        fuse(tiles, path, overwrite=True)
    else:
        with pytest.raises(OSError, match="the server is gone"):
            fuse(tiles, path, overwrite=True)
    np.testing.assert_array_equal(zarr.open_group(path, mode="r")["0"][...], expected)
    assert list(tmp_path.iterdir()) == [path]


def test_planes_become_a_volume_and_not_one_plane(tmp_path):
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 999, (16, 16)).astype("u2") for _ in range(6)]
    size = {"z": 4.0, "y": 2.0, "x": 2.0}
    lattice = lw.open_tiles(arrays, grid={"z": 3, "y": 1, "x": 2}, pixel_size_um=size)
    image = fuse(lattice, tmp_path / "volume.ome.zarr")
    assert (image.dims, image.shape) == (("z", "y", "x"), (3, 16, 32))
    assert image.pixel_size_um == (4.0, 2.0, 2.0)
    expected = np.array(arrays).reshape(3, 2, 16, 16).transpose(0, 2, 1, 3).reshape(3, 16, 32)
    np.testing.assert_array_equal(pixels_of(image), expected)


def test_planes_that_lie_unevenly_or_are_missing(tmp_path):
    arrays = [np.full((8, 8), k + 1, "u1") for k in range(4)]
    lattice = lw.open_tiles(arrays, grid={"z": 4, "y": 1, "x": 1})
    some = lattice.sel(z=[0, 1, 3])
    image = fuse(some, tmp_path / "a.ome.zarr")
    assert pixels_of(image)[:, 0, 0].tolist() == [1, 2, 0, 4]
    uneven = some.replace(position_um=some.position_um + np.array([[0], [0], [0.4]]) * [1, 0, 0])
    with pytest.raises(LatticeError, match="unevenly"):
        fuse(uneven, tmp_path / "b.ome.zarr")
    with pytest.raises(LatticeError, match="for the other axes only"):
        fuse(lattice, tmp_path / "b.ome.zarr", pixel_size_um=2)
    image = fuse(lattice, tmp_path / "b.ome.zarr", pixel_size_um={"y": 2, "x": 4})
    assert image.shape == (4, 4, 2)
    assert pixels_of(image)[:, 0, 0].tolist() == [1, 2, 3, 4]


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


def lattice_with(arrays, dims, labels, index, positions, **options):
    return Lattice(
        dims=dims,
        labels=labels,
        index=index,
        tile_dims=("y", "x"),
        tile_shape=arrays[0].shape,
        dtype=arrays[0].dtype,
        position_um=positions,
        pixel_size_um=1.0,
        source=Tiles(arrays),
        **options,
    )


def test_labels_of_an_axis_channel_become_channels(tmp_path):
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 999, (40, 40)).astype("u2") for _ in range(4)]
    lattice = lattice_with(
        *(arrays, ("channel", "tile_x"), {"channel": ["blue", "red"], "tile_x": [0, 1]}),
        *([[0, 0], [0, 1], [1, 0], [1, 1]], [[0, 0], [0, 40]] * 2),
    )
    image = fuse(lattice, tmp_path / "volume.ome.zarr", gains=[1, 1, 2, 2], offsets=[5, 5, 0, 0])
    found = pixels_of(image)
    assert (image.dims, image.channels) == (("c", "y", "x"), ("blue", "red"))
    np.testing.assert_array_equal(found[0], np.concatenate(arrays[:2], axis=1) + 5)
    np.testing.assert_array_equal(found[1], np.concatenate(arrays[2:], axis=1) * 2)


def test_gains_of_each_channel(tmp_path):
    arrays = [np.full((2, 20, 20), 100, "u2")] * 2
    lattice = Lattice(
        dims=("tile_x",),
        labels={"tile_x": [0, 1]},
        index=[[0], [1]],
        tile_dims=("c", "y", "x"),
        tile_shape=(2, 20, 20),
        dtype="u2",
        position_um=[[0.0, 0.0], [0.0, 20.0]],
        pixel_size_um=1.0,
        source=Tiles(arrays),
    )
    gains, offsets = [[1, 2], [3, 4]], [[0, 0], [0, -50]]
    image = fuse(lattice, tmp_path / "volume.ome.zarr", gains=gains, offsets=offsets)
    assert pixels_of(image)[:, 0, [0, 39]].tolist() == [[100, 300], [200, 350]]
    with pytest.raises(ValueError, match=r"of shape \(2, 2\)"):
        fuse(lattice, tmp_path / "b.ome.zarr", offsets=[[1, 2, 3]] * 2)


def sheets(arrays, labels=("left", "right")):
    return lattice_with(
        arrays,
        ("sheet",),
        {"sheet": list(labels)},
        [[k] for k in range(len(arrays))],
        [[0.0, 0.0]] * len(arrays),
    )


def test_light_sheets_change_over_in_the_middle(tmp_path):
    arrays = [np.full((8, 201), value, "f4") for value in (100, 200)]
    image = fuse(sheets(arrays), tmp_path / "a.ome.zarr", merge="sheet")
    line = pixels_of(image)[4]
    assert line[5] == pytest.approx(100, abs=0.1)
    assert line[100] == pytest.approx(150)
    assert line[195] == pytest.approx(200, abs=0.1)
    assert (np.diff(line) >= -1e-3).all()
    other = sheets(arrays[::-1], ("right", "left"))
    image = fuse(other, tmp_path / "b.ome.zarr", merge="sheet")
    np.testing.assert_allclose(pixels_of(image)[4], line, rtol=1e-6)
    image = fuse(sheets(arrays), tmp_path / "c.ome.zarr", merge="sheet", blend="average")
    np.testing.assert_allclose(pixels_of(image), 150)
    image = fuse(sheets(arrays), tmp_path / "d.ome.zarr", merge="sheet", blend="none")
    assert np.unique(pixels_of(image)[:, :100]).tolist() == [100]
    image = fuse(sheets(arrays), tmp_path / "e.ome.zarr", merge="sheet", merge_axis="y")
    assert np.ptp(pixels_of(image), axis=1).max() == 0


def test_views_are_merged_only_if_that_is_said(tmp_path):
    lattice = sheets([np.full((8, 8), k, "u1") for k in range(2)])
    with pytest.raises(LatticeError, match='merge="sheet"'):
        fuse(lattice, tmp_path / "volume.ome.zarr")
    with pytest.raises(LatticeError, match="it has sheet"):
        fuse(lattice, tmp_path / "volume.ome.zarr", merge="angle")
    with pytest.raises(LatticeError, match="merge_axis='z'"):
        fuse(lattice, tmp_path / "volume.ome.zarr", merge="sheet", merge_axis="z")
    three = sheets([np.full((8, 8), k, "u1") for k in (3, 5, 10)], (0, 1, 2))
    with pytest.raises(LatticeError, match="3 views"):
        fuse(three, tmp_path / "volume.ome.zarr", merge="sheet")
    image = fuse(three, tmp_path / "volume.ome.zarr", merge="sheet", blend="average")
    assert (pixels_of(image) == 6).all()
    assert [path.name for path in tmp_path.iterdir()] == ["volume.ome.zarr"]


def test_a_volume_of_larger_pixels_is_the_coarser_level_of_the_finer_one(tmp_path):
    rng = np.random.default_rng(0)
    scene = rng.integers(0, 4000, (96, 160)).astype("u2")
    arrays = [scene[:64, :96], scene[32:, 64:]]
    lattice = lattice_of(arrays, [(0, 0), (1, 1)], [(0, 0), (32, 64)])
    image = fuse(lattice, tmp_path / "fine.ome.zarr", blend="none")
    half = fuse(lattice, tmp_path / "half.ome.zarr", blend="none", pixel_size_um=2)
    fine = pixels_of(image).reshape(48, 2, 80, 2).mean(axis=(1, 3))
    assert np.abs(pixels_of(half) - fine)[:30].max() <= 0.5
    assert half.pixel_size_um == (2.0, 2.0)
    assert half.origin_um == (0.5, 0.5)
    with pytest.raises(ValueError, match="above 0"):
        fuse(lattice, tmp_path / "none.ome.zarr", pixel_size_um=0)


def test_a_camera_mask_and_masks_of_each_tile(tmp_path):
    arrays = [np.full((20, 20), value, "u2") for value in (10, 20)]
    camera = np.zeros((20, 20), bool)
    camera[3, 12] = True
    lattice = lattice_of(arrays, [(0, 0), (0, 1)], [(0, 0), (0, 10)])
    found = pixels_of(fuse(lattice, tmp_path / "a.ome.zarr", masks=camera, blend="average"))
    assert found[3, [12, 22]].tolist() == [20, 0]
    masks = lattice.with_source(Tiles([camera, ~camera])).replace(dtype=bool)
    found = pixels_of(fuse(lattice, tmp_path / "b.ome.zarr", masks=masks, blend="average"))
    assert found[3, [11, 12, 22]].tolist() == [10, 0, 20]
    found = pixels_of(
        fuse(
            lattice,
            tmp_path / "c.ome.zarr",
            blank=9,
            masks=lambda tile, box: np.full(box.shape, tile == 1),
        )
    )
    assert set(np.unique(found)) == {9, 10}
    with pytest.raises(LatticeError, match="no mask of"):
        fuse(lattice, tmp_path / "d.ome.zarr", masks=np.zeros((20, 21), bool))
    with pytest.raises(ValueError, match="blank=-1"):
        fuse(lattice, tmp_path / "d.ome.zarr", blank=-1)


def test_warps_of_some_tiles_undo_what_bent_them(tmp_path):
    y, x = np.mgrid[:90, :160].astype("f4")
    scene = 1000 + 400 * np.sin(y / 9) * np.cos(x / 7)
    turn = np.array([[np.cos(0.1), -np.sin(0.1)], [np.sin(0.1), np.cos(0.1)]])
    warp = Warp((60, 60), turn)
    at = np.stack([a.ravel() for a in np.indices((60, 60))], axis=1)
    there = warp.forward(at) + np.array([15, 70])
    bent = (1000 + 400 * np.sin(there[:, 0] / 9) * np.cos(there[:, 1] / 7)).reshape(60, 60)
    arrays = [scene[:90, :90], bent.astype("f4")]
    shapes = [[90, 90], [60, 60]]
    lattice = lattice_with(
        [arrays[0], np.pad(arrays[1], (0, 30))],
        ("tile_x",),
        {"tile_x": [0, 1]},
        [[0], [1]],
        [[0.0, 0.0], [15.0, 70.0]],
        shapes=shapes,
    )
    image = fuse(lattice, tmp_path / "a.ome.zarr", warps=[None, warp], interpolation="cubic")
    found = pixels_of(image)
    expected = scene[: found.shape[0], : found.shape[1]]
    told = found > 0
    assert told.mean() > 0.75
    off = np.abs(found - expected)[told]
    assert np.quantile(off, 0.995) < 2
    with pytest.raises(LatticeError, match="1 warps: give one"):
        fuse(lattice, tmp_path / "b.ome.zarr", warps=[warp])
    with pytest.raises(LatticeError, match=r"but the tile has \(90, 90\)"):
        fuse(lattice, tmp_path / "b.ome.zarr", warps=[warp, None])


def test_volumes_and_blocks_of_absurd_sizes_are_refused_before_any_work(tmp_path):
    tiles, _ = lw.simulate({"y": 2, "x": 2}, tile_shape={"y": 64, "x": 64}, seed=2)
    for wrong, words in (
        ({"pixel_size_um": 1e-6}, r"times those of all tiles: .*pixel_size_um=1e-06 x 1e-06"),
        ({"pixel_size_um": 1e-300}, "times those of all tiles"),
        ({"pixel_size_um": 1e9}, "one pixel would be larger than all tiles together"),
        ({"pixel_size_um": "much"}, "give one number above 0"),
        ({"pixel_size_um": 0.003, "block": (1, 1)}, r"would have .* blocks, more than 5,000,000"),
    ):
        with pytest.raises(lw.errors.LatticeError, match=words):
            fuse(tiles, tmp_path / "image.ome.zarr", **wrong)
    assert not list(tmp_path.iterdir())
    large = Lattice.from_grid({"y": 1, "x": 1}, tile_shape={"y": 10**7, "x": 10**7}, dtype="u2")
    with pytest.raises(LatticeError, match=r"a block would be .* GB, and there are .*smaller"):
        fuse(large, tmp_path / "image.ome.zarr", block=(10**7, 10**7))
    assert fuse(tiles, tmp_path / "whole.ome.zarr", block=(10**7, 10**7)).block == (128, 128)


@pytest.mark.parametrize("dtype", ["bool", "c8"])
def test_pixels_that_are_no_real_numbers_are_refused(dtype):
    tiles = lw.open_tiles([np.ones((32, 32), dtype)] * 2, grid={"y": 1, "x": 2}, overlap=8)
    with pytest.raises(LatticeError, match=r"of type .* cannot be compared"):
        register(tiles)
