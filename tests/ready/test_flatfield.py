"""The lamp is found from tiles, also when half of them are empty, and taken out."""

import tracemalloc

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from scipy import ndimage

from latticework.cli.demo_truth import simulated
from latticework.errors import StageError
from latticework.stages.ready import correct_flatfield, estimate_darkfield, estimate_flatfield
from latticework.stages.ready.likely_lamps import light_of
from latticework.testing import simulate
from tests.ready.made_up_tiles import make_up

LEAST_GOOD = 0.75
"""Share of made-up acquisitions whose lamp must be found; cells on nothing are not enough."""


def tiles_of(lattice):
    return np.stack([lattice.source.read(tile) for tile in lattice.ids])


@pytest.mark.parametrize("seed", [1, 2])
def test_the_lamp_is_found_with_half_the_tiles_empty(seed):
    lattice, truth = simulate(
        {"y": 12, "x": 12}, tile_shape={"y": 96, "x": 128}, empty=0.5, seed=seed
    )
    field = estimate_flatfield(tiles_of(lattice), offset=truth.offset)
    assert field.dims == ("y", "x")
    assert field.dtype == np.float32
    assert float(field.mean()) == pytest.approx(1, abs=1e-5)
    error = np.abs(field / truth.flatfield - 1)
    assert float(np.abs(1 / truth.flatfield - 1).max()) > 0.3  # there is something to find
    assert float(error.max()) < 0.05
    assert float(error.mean()) < 0.015


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("glow", [0, 15])
def test_the_lamp_is_found_within_5_percent_under_cells_on_glass(seed, glow):
    rng = np.random.default_rng(seed)
    y, x = np.meshgrid(np.linspace(-1, 1, 96), np.linspace(-1, 1, 128), indexing="ij")
    middle = rng.uniform(-0.25, 0.25, 2)
    lamp = np.exp(-rng.uniform(0.2, 0.45) * ((y - middle[0]) ** 2 + (x - middle[1]) ** 2))
    lamp /= lamp.mean()
    tiles = np.empty((48, 96, 128), "uint16")
    for i in range(48):
        cells = 150 * (ndimage.gaussian_filter(rng.normal(size=(96, 128)), 4) > 0.09)
        light = lamp * (100 + cells if i % 2 else glow)
        tiles[i] = np.clip(100 + rng.poisson(light) + rng.normal(0, 3, light.shape), 0, None)
    field = estimate_flatfield(tiles, offset=100)
    assert float(np.abs(field / lamp - 1).max()) < 0.05


@pytest.mark.parametrize("seed", [90002, 90005])
def test_the_lamp_of_made_up_tiles_is_found_and_its_error_is_said(seed):
    made = make_up(seed, pixels=128, count=40)
    field = estimate_flatfield(made.tiles, offset=made.offset)
    error = np.abs(field.values / made.lamp - 1)
    assert error.max() < 0.05
    assert error.mean() < 0.02
    assert 0 < field.attrs["expected_error"] < 0.1


@pytest.mark.slow
def test_most_lamps_are_found_within_5_percent_with_half_the_tiles_empty():
    worst, mean, said = [], [], []
    for seed in range(70000, 70030):
        made = make_up(seed)
        field = estimate_flatfield(made.tiles, offset=made.offset)
        error = np.abs(field.values / made.lamp - 1)
        worst.append(float(error.max()))
        mean.append(float(error.mean()))
        said.append(field.attrs["expected_error"])
    assert np.mean(np.array(worst) < 0.05) >= LEAST_GOOD
    assert np.mean(np.array(mean) < 0.02) >= LEAST_GOOD
    # What it says is what happens, for most.
    assert np.mean(np.array(worst) < 2 * np.array(said)) >= LEAST_GOOD


def test_tiles_that_tell_nothing_say_so():
    rng = np.random.default_rng(0)
    noise = np.clip(rng.normal(100, 4, (30, 64, 64)).round(), 0, None).astype("uint16")
    field = estimate_flatfield(noise, offset=100)
    assert field.attrs["expected_error"] > 0.1


def test_an_offset_that_is_a_little_wrong_does_little_harm():
    made = make_up(90002, pixels=128, count=40)
    right = estimate_flatfield(made.tiles, offset=made.offset)
    wrong = estimate_flatfield(made.tiles, offset=made.offset - 1)
    assert float(np.abs(wrong / right - 1).max()) < 0.03


def test_channels_have_expected_errors_of_their_own():
    tiles = xr.DataArray(np.full((5, 2, 20, 30), 300, "uint16"), dims=("tile", "c", "y", "x"))
    assert len(estimate_flatfield(tiles).attrs["expected_error"]) == 2


def test_tiles_of_a_single_pixel_and_masks_are_refused():
    with pytest.raises(StageError, match="tiles of 1 x 1 pixels"):
        estimate_flatfield(np.ones((4, 1, 1)))
    with pytest.raises(StageError, match=r"tiles of bool .* masks"):
        estimate_flatfield(np.ones((4, 8, 8), bool))


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, -0.5])
def test_a_field_that_cannot_be_divided_by_is_refused(value):
    field = np.ones((2, 8, 9), "float32")
    field[1, 2, 3] = value
    tile = np.ones((2, 1, 8, 9), "uint16")  # c z y x
    with pytest.raises(StageError, match=r"1 of its 144 pixels .* at \(1, 2, 3\), is "):
        correct_flatfield(tile, field)


@pytest.mark.parametrize(
    ("grid", "most", "usual"),
    [
        ({"y": 3, "x": 4}, 0.2, 0.045),  # the outline of the brain looks like a lamp
        ({"y": 4, "x": 5}, 0.05, 0.015),  # and in more tiles it does not
    ],
)
def test_a_dozen_3d_tiles_of_two_channels_tell_the_lamp_and_a_score_tells_it_well(
    grid, most, usual
):
    lattice, truth = simulate(
        grid, tile_shape={"z": 16, "y": 160, "x": 160}, channels=("a", "b"), seed=7
    )
    tiles = xr.DataArray(
        tiles_of(lattice), dims=("tile", *lattice.tile_dims), coords={"c": list(lattice.channels)}
    )
    field = estimate_flatfield(tiles, offset=truth.offset)
    assert field.dims == ("c", "y", "x")
    assert list(field.c.values) == ["a", "b"]
    error = np.abs(field.values / truth.flatfield - 1)
    assert error.max() < most
    assert error.mean() < usual


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 7])
def test_half_a_dozen_tiles_are_not_taken_for_a_lamp_with_dark_corners(seed):
    lattice, truth = simulated({"y": 2, "x": 3}, seed)
    tiles = xr.DataArray(tiles_of(lattice), dims=("tile", *lattice.tile_dims))
    error = np.abs(estimate_flatfield(tiles, offset=truth.offset).values / truth.flatfield - 1)
    assert error.max() < 0.3
    assert error.mean() < 0.04


@pytest.mark.parametrize("bend", [-1.5, -1.0, 0.0, 0.7])
def test_no_bend_of_a_lamp_takes_the_light_of_its_corners_away(bend):
    light = np.exp(light_of(np.array([0, 0, 0, 0.9, 0.2, bend, 0, 0]), (200, 200)))
    assert light.max() == pytest.approx(1, abs=0.01)
    assert light[0, 0] == pytest.approx(np.exp(-0.9), abs=0.01)


@pytest.mark.parametrize("group", [1, 4])
def test_tiles_are_read_once_and_a_chunk_at_a_time(group):
    reads = []

    def block(block_info=None):
        first, last = block_info[None]["array-location"][0]
        reads.extend(range(first, last))
        return np.full((last - first, 512, 512), 500, dtype="uint16")

    lazy = da.map_blocks(
        block,
        chunks=((group,) * (240 // group), (512,), (512,)),
        dtype="uint16",
        meta=np.empty((0, 0, 0), "uint16"),
    )
    tiles = xr.DataArray(lazy, dims=("tile", "y", "x"))
    estimate_flatfield(np.ones((2, 9, 9)))  # what is imported at first use does not count
    tracemalloc.start()
    field = estimate_flatfield(tiles, max_tiles=60)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(reads) == len(set(reads))
    assert (min(reads), max(reads)) == (0, 239)
    assert len(reads) == 60 if group == 1 else len(reads) <= 240
    assert peak < 30e6  # a tile has 0.5 MB, all have 126 MB
    np.testing.assert_allclose(field, 1, rtol=1e-3)


def test_bright_debris_in_some_tiles_does_not_matter():
    lattice, truth = simulate({"y": 8, "x": 8}, tile_shape={"y": 96, "x": 96}, seed=3)
    tiles = tiles_of(lattice)
    clean = estimate_flatfield(tiles, offset=truth.offset)
    tiles[::6, 20:45, 30:60] = 60000
    dirty = estimate_flatfield(tiles, offset=truth.offset)
    assert float(np.abs(dirty / clean - 1).max()) < 0.05


@pytest.mark.parametrize("value", [0, 300])
def test_tiles_without_structure_give_a_flat_field(value):
    field = estimate_flatfield(np.full((5, 30, 40), value, dtype="uint16"))
    np.testing.assert_allclose(field, 1, rtol=1e-3)


def test_no_tiles_are_refused():
    with pytest.raises(StageError, match="no tiles"):
        estimate_flatfield(np.zeros((0, 4, 4)))


def test_a_corrected_tile_is_as_bright_in_the_corners_as_in_the_middle():
    lattice, truth = simulate(
        {"y": 1, "x": 1},
        tile_shape={"z": 8, "y": 128, "x": 128},
        overlap=0,
        jitter_px=0,
        vignetting=0.6,
    )
    tile = lattice.source.read(0)
    clean = correct_flatfield(tile, truth.flatfield, offset=truth.offset)
    assert clean.dtype == tile.dtype
    truly = truth.tile(0) * 2000
    assert abs(float((clean - truly).mean())) < 2
    assert (
        np.corrcoef(clean.ravel(), truly.ravel())[0, 1]
        > np.corrcoef(tile.ravel(), truly.ravel())[0, 1]
    )


def test_integers_are_clipped_and_never_wrap():
    tile = np.array([[50, 65000], [100, 101]], dtype="uint16")
    corrected = correct_flatfield(tile, np.array([[1.0, 0.5], [1.0, 1.0]]), offset=100)
    np.testing.assert_array_equal(corrected, [[0, 65535], [0, 1]])
    assert correct_flatfield(tile, np.ones((2, 2)), offset=100, dtype="float32").min() == -50


def test_labels_and_order_of_dims_stay():
    tile = xr.DataArray(
        np.full((4, 6, 2), 100, dtype="uint8"),
        dims=("y", "x", "c"),
        coords={"c": ["r", "g"], "y": np.arange(4)},
        attrs={"pixel_size_um": {"y": 1.0}},
        name="raw",
    )
    field = xr.DataArray(np.full((2, 4, 6), 2.0), dims=("c", "y", "x"))
    out = correct_flatfield(tile, field)
    assert out.dims == tile.dims
    assert out.attrs == tile.attrs
    assert out.name == "raw"
    assert (out == 50).all()
    assert list(out.c.values) == ["r", "g"]
    assert (tile == 100).all()


def test_a_field_of_another_shape_is_refused():
    with pytest.raises(StageError, match="does not fit a tile"):
        correct_flatfield(np.zeros((8, 8)), np.ones((8, 9)))


@pytest.mark.parametrize("shape", [(0, 8, 8), (3, 0, 8), (3, 8, 0)])
def test_no_pixels_tell_nothing_of_the_camera(shape):
    with pytest.raises(StageError, match=r"no pixels: there are \d along tile"):
        estimate_darkfield(np.zeros(shape, "u2"))
