"""Fused images as TIFF: the same pixels, at all resolutions, with sizes and channels."""

import numpy as np
import pytest
import tifffile

from latticework.errors import StoreError
from latticework.io import image_planes, ome_tiff
from latticework.io.ome_tiff import to_ome_tiff, to_tiff
from latticework.io.pyramid import Pyramid, coarser
from latticework.io.stored_image import StoredImage


def image_of(folder, dims, pixels, size, version="0.5", channels=None):
    image = Pyramid.plan(
        folder / "image.ome.zarr",
        dims=dims,
        shape=pixels.shape,
        dtype=pixels.dtype,
        pixel_size_um=size,
        origin_um=[10.0 * (k + 1) for k in range(len(size))],
        channels=channels,
        version=version,
    ).create()
    for box in image.blocks():
        image.write_block(box, pixels[box.slices])
    return image.finish(threads=2)


CASES = [
    ("yx", (1300, 2100), (0.5, 0.5), "u2"),
    ("zyx", (5, 700, 1100), (5.0, 1.0, 1.0), "u1"),
    ("czyx", (2, 3, 600, 700), (2.0, 0.7, 0.7), "f4"),
    ("cyx", (3, 520, 400), (1.0, 1.0), "i2"),
    ("zyx", (70, 90, 80), (1.0, 1.0, 1.0), "u2"),
]


@pytest.mark.parametrize("version", ["0.5", "0.4"])
@pytest.mark.parametrize(("dims", "shape", "size", "dtype"), CASES)
def test_an_ome_tiff_holds_the_image_and_its_pyramid(tmp_path, dims, shape, size, dtype, version):
    pixels = np.random.default_rng(0).integers(0, 100, shape).astype(dtype)
    names = [f"stain {k}" for k in range(shape[0])] if "c" in dims else None
    image = image_of(tmp_path, dims, pixels, size, version, names)
    done = []
    source = image if version == "0.5" else image.path
    file = to_ome_tiff(
        source, tmp_path / "image.ome.tif", progress=lambda *state: done.append(state)
    )
    with tifffile.TiffFile(file) as tiff:
        assert tiff.is_ome
        series = tiff.series[0]
        assert series.axes == dims.upper()
        np.testing.assert_array_equal(series.asarray(), pixels)
        expected = pixels
        ratio = [1] * (len(dims) - 2) + [2, 2]
        assert len(series.levels) == 1 + max(0, int(np.ceil(np.log2(max(shape[-2:]) / 512))))
        for level in series.levels[1:]:
            expected = coarser(expected, ratio)
            np.testing.assert_array_equal(level.asarray(), expected)
        assert tiff.pages[0].is_tiled
        ome = tiff.ome_metadata
    assert done[-1][0] == done[-1][1]
    models = pytest.importorskip("ome_types")
    told = models.from_xml(ome).images[0]
    assert (told.pixels.physical_size_x, told.pixels.physical_size_y) == (size[-1], size[-2])
    assert told.pixels.physical_size_x_unit.value == "µm"
    assert [told.pixels.size_x, told.pixels.size_y] == [shape[-1], shape[-2]]
    assert told.pixels.planes[0].position_x == 10.0 * len(size)
    if names:
        assert [channel.name for channel in told.pixels.channels] == names
        assert told.pixels.channels[0].color.as_hex() != told.pixels.channels[1].color.as_hex()


def test_planes_and_regions_are_written(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 9999, (2, 40, 300, 260)).astype("u2")
    image = image_of(tmp_path, "czyx", pixels, (2.0, 1.0, 1.0), channels=["a", "b"])
    where = {"c": 1, "z": 33, "y": (20, 280)}
    file = to_ome_tiff(image, tmp_path / "plane.ome.tif", region=where)
    np.testing.assert_array_equal(tifffile.imread(file), pixels[1, 33, 20:280])
    file = to_tiff(image, tmp_path / "part.tif", region={"c": 0, "z": slice(5, 39)})
    np.testing.assert_array_equal(tifffile.imread(file), pixels[0, 5:39])
    with tifffile.TiffFile(file) as tiff:
        assert len(tiff.pages) == 34
        assert tiff.series[0].axes == "ZYX"
        assert tiff.pages[0].tags["XResolution"].value == (10_000, 1)
    file = to_tiff(image, tmp_path / "all.tif", compression="zlib")
    np.testing.assert_array_equal(tifffile.imread(file), pixels)


def test_a_coarser_level_may_be_written_alone(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 99, (1500, 1100)).astype("u1")
    image = image_of(tmp_path, "yx", pixels, (0.5, 0.5))
    file = to_tiff(image, tmp_path / "small.tif", level=1)
    np.testing.assert_array_equal(tifffile.imread(file), coarser(pixels, (2, 2)))
    with tifffile.TiffFile(file) as tiff:
        assert tiff.pages[0].tags["XResolution"].value == (10_000, 1)
    with pytest.raises(StoreError, match="levels 0 to 2"):
        to_tiff(image, tmp_path / "none.tif", level=3)


@pytest.mark.parametrize("in_memory", [1, 2 * 700 * 600 * 2])
def test_large_planes_are_read_in_strips(tmp_path, monkeypatch, in_memory):
    monkeypatch.setattr(image_planes, "IN_MEMORY", in_memory)
    read = []
    honest = StoredImage.read

    def counted(self, box):
        read.append(box.size * 2)
        return honest(self, box)

    monkeypatch.setattr(StoredImage, "read", counted)
    pixels = np.random.default_rng(0).integers(0, 9999, (7, 700, 600)).astype("u2")
    image = image_of(tmp_path, "zyx", pixels, (3.0, 1.0, 1.0))
    file = to_ome_tiff(image, tmp_path / "image.ome.tif")
    np.testing.assert_array_equal(tifffile.imread(file), pixels)
    assert max(read) <= max(in_memory, 512 * 600 * 2)
    assert sum(read) == pixels.nbytes
    assert sorted(path.name for path in tmp_path.iterdir()) == ["image.ome.tif", "image.ome.zarr"]


def test_large_files_are_big(tmp_path, monkeypatch):
    pixels = np.zeros((64, 64), "u1")
    image = image_of(tmp_path, "yx", pixels, (1.0, 1.0))
    monkeypatch.setattr(ome_tiff, "LARGE", 1000)
    for write, name in ((to_ome_tiff, "a.ome.tif"), (to_tiff, "a.tif")):
        with tifffile.TiffFile(write(image, tmp_path / name)) as tiff:
            assert tiff.is_bigtiff


def test_what_cannot_be_written_is_refused_and_leaves_nothing(tmp_path):
    image = image_of(tmp_path, "zyx", np.zeros((4, 9, 9), "u1"), (1.0, 1.0, 1.0))
    for region, message in [
        ({"t": 0}, "has z y x"),
        ({"z": 4}, "4 pixels along z"),
        ({"z": (2, 9)}, "4 pixels along z"),
        ({"z": (2, 2)}, "4 pixels along z"),
        ({"y": 3}, "need y and x"),
    ]:
        for write in (to_tiff, to_ome_tiff):
            with pytest.raises(StoreError, match=message):
                write(image, tmp_path / "a.tif", region=region)
    (tmp_path / "b.tif").touch()
    with pytest.raises(StoreError, match="exists already"):
        to_tiff(image, tmp_path / "b.tif")
    (tmp_path / "long").mkdir()
    wide = image_of(tmp_path / "long", "yx", np.zeros((9, 9), "i8"), (1.0, 1.0))
    with pytest.raises(StoreError, match="convert"):
        to_ome_tiff(wide, tmp_path / "c.tif")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.tif", "image.ome.zarr", "long"]
