"""Mosaics, pictures in files and lattice plots."""

from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr

from latticework.errors import LatticeError, ProjectError
from latticework.lattice import Lattice
from latticework.viz import compare_png, mosaic_picture, plot_lattice, save_png


@pytest.fixture
def image():
    return np.random.default_rng(1).integers(0, 60_000, (130, 170)).astype("u2")


def test_blocks_give_the_image_back(image):
    lattice = Lattice.from_array(image, block={"y": 32, "x": 50})
    np.testing.assert_array_equal(mosaic_picture(lattice, scale=False), image)


def test_overlapping_tiles_of_one_image_give_it_back(image):
    lattice = Lattice.from_grid(
        {"y": 3, "x": 3}, tile_shape={"y": 50, "x": 70}, dtype="u2", overlap={"y": 10, "x": 20},
        pixel_size_um={"y": 0.4065, "x": 0.4065}, snake=True,
    )  # fmt: skip

    def read(tile):
        y, x = tile.index[0] * 40, tile.index[1] * 50
        return image[y : y + 50, x : x + 70]

    np.testing.assert_array_equal(mosaic_picture(lattice, read, scale=False), image)


class Stage:
    """Stands for project["clean"]."""

    kind = "array"

    def __init__(self, lattice, made):
        self.project, self.made = SimpleNamespace(lattice=lattice), made

    def tile(self, id):
        if id == 3:
            raise ProjectError("no result for this tile")
        return self.made(self.project.lattice, id)


def test_a_stage_of_a_project_gives_its_mosaic(image):
    lattice = Lattice.from_array(image, block={"y": 65, "x": 85})

    def whole(lattice, k):
        return 2.0 * lattice.source.read(k, lattice.tile(k).box)

    picture = mosaic_picture(Stage(lattice, whole), scale=False)
    np.testing.assert_array_equal(picture[:65], 2.0 * image[:65])
    assert np.isnan(picture[65:, 85:]).all()  # not made yet
    planes = Stage(
        lattice, lambda _, k: xr.DataArray(np.full((2, 13, 17), k), dims=("c", "y", "x"))
    )
    picture = mosaic_picture(planes, scale=False)  # a fifth of the pixels, over all of the tile
    assert np.unique(picture[:65, 85:]).tolist() == [1]
    planes.kind = "table"
    with pytest.raises(LatticeError, match="table"):
        mosaic_picture(planes)


@pytest.mark.parametrize("max_px", [170, 85, 61, 17, 1])
def test_a_reduced_mosaic_is_the_mean_and_has_no_gaps(image, max_px):
    lattice = Lattice.from_array(image, block={"y": 32, "x": 50})
    whole = Lattice.from_array(image, block={"y": 130, "x": 170})
    small = mosaic_picture(lattice, max_px=max_px, scale=False)
    assert max(small.shape) == max_px
    assert np.isfinite(small).all()
    assert small.shape == mosaic_picture(whole, max_px=max_px, scale=False).shape
    if max_px == 85:
        exact = image.reshape(65, 2, 85, 2).mean(axis=(1, 3))
        np.testing.assert_allclose(small, exact, rtol=1e-6)


@pytest.mark.parametrize(("projection", "expected"), [("max", 9), ("mean", 4.5), ("middle", 5)])
def test_projections_go_over_pixels_and_planes(projection, expected):
    volume = np.broadcast_to(np.arange(10, dtype="u1")[:, None, None], (10, 8, 8))
    lattice = Lattice.from_array(volume, block={"z": 5, "y": 4, "x": 4})
    picture = mosaic_picture(lattice, projection=projection, scale=False)
    assert picture.shape == (8, 8)
    if projection == "middle":
        assert np.unique(picture).tolist() == [7]  # the middle of the middle plane of tiles
    else:
        assert np.unique(picture).tolist() == [expected]


def test_channels_are_chosen_by_name_or_number():
    pixels = np.stack([np.full((8, 8), 10 * k, "u2") for k in (1, 2)])
    lattice = Lattice(
        dims=("tile_x",), labels={"tile_x": [0]}, index=[[0]], tile_dims=("c", "y", "x"),
        tile_shape=pixels.shape, dtype="u2", channels=["DAPI", "GFP"],
    )  # fmt: skip
    for channel, value in (("GFP", 20), (1, 20), (None, 10), (-1, 20)):
        assert (
            mosaic_picture(lattice, lambda _: pixels, channel=channel, scale=False)[0, 0] == value
        )
    for wrong in ("RFP", 2):
        with pytest.raises(LatticeError, match="no channel"):
            mosaic_picture(lattice, lambda _: pixels, channel=wrong)


def test_holes_problems_and_missing_tiles_are_black():
    lattice = Lattice.from_grid({"y": 2, "x": 2}, tile_shape={"y": 4, "x": 4}, dtype="u1")
    lattice = lattice.take([0, 1, 2]).replace(problems={1: "truncated"})
    read = {0: np.full((4, 4), 7), 2: None}
    picture = mosaic_picture(lattice, lambda tile: read[tile.id], scale=False)
    assert np.isfinite(picture).sum() == 16
    assert mosaic_picture(lattice, lambda tile: read[tile.id]).dtype == np.uint8


def test_a_lattice_without_pixels_says_so():
    lattice = Lattice.from_grid({"y": 2, "x": 2}, tile_shape={"y": 4, "x": 4}, dtype="u1")
    with pytest.raises(LatticeError, match="read="):
        mosaic_picture(lattice)
    with pytest.raises(LatticeError, match="y and x"):
        mosaic_picture(Lattice.unit())


def test_pictures_are_written(tmp_path, image):
    from matplotlib.image import imread

    path = save_png(
        mosaic_picture(Lattice.from_array(image, block={"y": 99, "x": 99})),
        tmp_path / "new" / "m.png",
    )
    assert imread(path).shape[:2] == image.shape
    both = compare_png(image, image[:40], tmp_path / "both.png", ("raw $", "clean"))
    assert both.read_bytes().startswith(b"\x89PNG")


def test_tiles_are_drawn_where_they_are(tmp_path):
    lattice = Lattice.from_grid(
        {"y": 2, "x": 3},
        tile_shape={"y": 100, "x": 100},
        dtype="u1",
        overlap={"y": 10, "x": 10},
        names=["$a_"] * 6,
    )
    figure = plot_lattice(lattice, path=tmp_path / "lattice.png")
    axes = figure.axes[0]
    assert axes.get_xlim() == (0, 280)
    assert axes.get_ylim() == (190, 0)  # downwards
    assert [text.get_text() for text in axes.texts] == ["$a_"] * 6
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_planes_are_drawn_apart_and_axes_can_be_given():
    from matplotlib.figure import Figure

    lattice = Lattice.from_grid({"z": 3, "y": 2, "x": 2}, tile_shape={"y": 9, "x": 9}, dtype="u1")
    assert len(plot_lattice(lattice).axes) == 3
    own = Figure()
    axes = own.add_subplot()
    assert plot_lattice(lattice.plane(z=1), ax=axes) is own
    assert axes.get_ylim() == (18, 0) or axes.yaxis_inverted()


def test_a_plot_of_many_tiles_is_quick(tmp_path):
    import time

    lattice = Lattice.from_grid({"y": 1000, "x": 1000}, tile_shape={"y": 9, "x": 9}, dtype="u1")
    start = time.process_time()
    plot_lattice(lattice, path=tmp_path / "big.png")
    assert time.process_time() - start < 5
    with pytest.raises(LatticeError, match="positions"):
        plot_lattice(lattice.take([]))
