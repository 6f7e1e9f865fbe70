"""What was stitched is opened again: labelled, and as a lattice of one tile."""

import pickle

import numpy as np
import pytest
import zarr

import latticework as lw
from latticework.errors import SourceError, StoreError
from latticework.io import open_image
from latticework.io.pyramid import Pyramid

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """An image that says what made it, as those of `stitch` do."""
    pyramid = Pyramid.plan(
        tmp_path_factory.mktemp("stitched") / "brain.ome.zarr", dims="yx", shape=(180, 170),
        dtype="u2", pixel_size_um=(0.5, 2.0), origin_um=(-3.0, 8.0),
    ).create()  # fmt: skip
    for box in pyramid.blocks():
        pyramid.write_block(box, RNG.integers(0, 999, box.shape, dtype="u2"))
    return pyramid.finish(about={"latticework": {"plan": "0f", "asked": "1e"}}).path


def test_a_stitched_image_is_a_lattice_of_one_tile(image):
    (tile,) = lattice = lw.open_tiles(image)
    assert dict(lattice.pixel_size_um) == {"y": 0.5, "x": 2.0}
    pixels = zarr.open_group(image, mode="r")["0"][:]
    np.testing.assert_array_equal(lattice.source.read(tile.id, tile.box), pixels)


def test_a_stitched_image_is_opened_labelled_in_micrometres(image):
    pixels = zarr.open_group(image, mode="r")["0"][:]
    volume = open_image(image)
    assert volume.chunks is not None
    np.testing.assert_array_equal(volume, pixels)
    first = float(volume.y_um[0])
    some = volume.sel(y_um=slice(first + 2.1, first + 4.1)).isel(x=slice(3, 60, 5))
    np.testing.assert_array_equal(some, pixels[5:9, 3:60:5])
    np.testing.assert_allclose(np.diff(volume.x_um), 2.0)
    np.testing.assert_array_equal(volume[4, 5], pixels[4, 5])


def test_a_file_that_is_no_image_folder_is_told_with_what_opens_it(tmp_path):
    for name, words in (("brain.ome.tif", "a TIFF file.*open_tiles.*tifffile"), ("a.h5", "a file")):
        (tmp_path / name).write_bytes(b"II")
        with pytest.raises(SourceError, match=rf"{name} is {words}"):
            open_image(tmp_path / name)


@pytest.mark.parametrize("version", ["0.5", "0.4"])
def test_every_level_lies_where_the_finest_does(tmp_path, version):
    pyramid = Pyramid.plan(
        tmp_path / "a.ome.zarr", dims="czyx", shape=(2, 4, 600, 700), dtype="u2",
        pixel_size_um=(3.0, 0.5, 0.5), version=version,
    ).create()  # fmt: skip
    pixels = RNG.integers(0, 999, (2, 4, 600, 700), dtype="u2")
    for box in pyramid.blocks():
        pyramid.write_block(box, pixels[box.slices])
    pyramid.finish()
    fine, coarse = (open_image(pyramid.path, level=level) for level in (0, 1))
    np.testing.assert_array_equal(fine, pixels)
    assert coarse.sizes == {"c": 2, "z": 4, "y": 300, "x": 350}
    np.testing.assert_allclose(coarse.y_um, fine.y_um.to_numpy().reshape(-1, 2).mean(axis=1))
    np.testing.assert_allclose(coarse, pixels.reshape(2, 4, 300, 2, 350, 2).mean((3, 5)), atol=1)
    again = pickle.loads(pickle.dumps(coarse))
    np.testing.assert_array_equal(again, coarse)
    with pytest.raises(StoreError, match="levels 0 to"):
        open_image(pyramid.path, level=9)
