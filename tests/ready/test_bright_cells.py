"""Where cells lie on nothing, their tops tell the lamp; without any, it is taken for even."""

import dask.array as da
import numpy as np
import pytest
import xarray as xr

from latticework.stages.ready import estimate_flatfield
from latticework.stages.ready.bright_cells import cell_tops, field_of_cells, ground_is_dark
from latticework.stages.ready.flatfield import field_and_error
from latticework.stages.ready.likely_lamps import USUAL, Lamp, light_of

SIZE = (128, 160)
OFFSET = 100


def lamp_of(*middle):
    numbers = USUAL + np.array([*middle, 0, 0.2, 0, 0, 0, 0])
    light = np.exp(light_of(numbers, SIZE))
    return light / light.mean()


def cells(rng, spread, slope=0.0):
    """Light of cells on nothing, of a tile."""
    y, x = np.arange(SIZE[0])[:, None], np.arange(SIZE[1])[None, :]
    light = np.zeros(SIZE)
    for _ in range(int(rng.integers(10, 50))):
        middle, width = rng.uniform(-10, np.add(SIZE, 10)), rng.uniform(1.5, 6)
        bright = 800 * np.exp(spread * rng.normal() + slope * (middle[1] / SIZE[1] - 0.5))
        far = (y - middle[0]) ** 2 + (x - middle[1]) ** 2
        light += bright * np.exp(-far / 2 / width**2)
    return light


def tiles_under(lamp, rng, count=40, ground=0.0, spread=0.6, **more):
    """Half of the tiles empty."""
    light = [lamp * (ground + (cells(rng, spread, **more) if k % 2 else 0)) for k in range(count)]
    counts = rng.poisson(light) + OFFSET + rng.normal(0, 3, (count, *SIZE))
    return np.clip(counts.round(), 0, 65535).astype("uint16")


def off(field, lamp):
    """Worst pixel and root of the mean square, as shares."""
    away = np.asarray(field) / lamp - 1
    return float(np.abs(away).max()), float(np.sqrt((away**2).mean()))


@pytest.mark.parametrize("seed", range(4))
def test_cells_on_nothing_tell_the_lamp(seed):
    rng = np.random.default_rng(seed)
    lamp = lamp_of(*rng.uniform(-0.3, 0.3, 2))
    field = estimate_flatfield(tiles_under(lamp, rng), offset=OFFSET)
    worst, usual = off(field, lamp)
    assert worst < 0.3
    assert usual < 0.6 * off(np.ones(SIZE), lamp)[1]
    assert worst < 1.2 * field.attrs["expected_error"] < 0.6


def test_a_little_light_between_cells_tells_more_than_cells():
    rng = np.random.default_rng(5)
    lamp = lamp_of(0.2, -0.2)
    field = estimate_flatfield(tiles_under(lamp, rng, ground=5.0), offset=OFFSET)
    assert off(field, lamp)[0] < 0.05


@pytest.mark.parametrize("seed", range(3))
def test_a_lamp_that_is_told_badly_is_better_than_none_that_is_told_worse(seed):
    """Middles of cells lie within tiles, on a ground of 5 counts."""
    rng = np.random.default_rng(seed)
    y, x = np.linspace(-1, 1, 128)[:, None], np.linspace(-1, 1, 128)[None, :]
    lamp = 1 - 0.2 * ((x - 0.3) ** 2 + (y + 0.2) ** 2)
    lamp /= lamp.mean()
    tiles = np.full((40, 128, 128), 5.0)
    for k in range(20 * 60):
        middle, width = rng.uniform(-1, 1, 2), rng.uniform(2, 5) / 64
        away = (y - middle[0]) ** 2 + (x - middle[1]) ** 2
        tiles[k // 60 * 2] += rng.uniform(200, 1000) * np.exp(-away / 2 / width**2)
    counts = rng.poisson(tiles * lamp) + OFFSET + rng.normal(0, 2, tiles.shape)
    field = estimate_flatfield(counts.round().astype("uint16"), offset=OFFSET)
    assert off(field, lamp)[0] < 0.1


def test_without_cells_nothing_is_told_on_a_dark_ground():
    pieces, noise = np.zeros((9, 8, 8), np.float32), np.ones((9, 8, 8), np.float32)
    pieces[:, 2:4, 2:4] = 100  # outlines of what lies on the ground, at one place
    field, error = field_and_error(pieces, noise, (64, 64), means=pieces)
    np.testing.assert_array_equal(field, 1)
    assert error == np.inf


def test_faint_cells_that_are_seen_under_bright_light_only_do_not_make_the_lamp_even():
    rng = np.random.default_rng(1)
    light = light_of(USUAL + np.array([0, 0, 0, 0.3, 0, 0, 0, 0]), (40, 40))
    tops = []
    for _ in range(60):
        place = rng.integers(1, 39, (40, 2))
        bright = np.exp(rng.normal(0, 0.8, 40) + light[place[:, 0], place[:, 1]])
        tops.append(
            np.column_stack([place, bright, 0 * bright + 0.5])[bright > 0.5].astype(np.float32)
        )
    field, error = field_of_cells(tops, (160, 160), Lamp(6))
    fall = field[80, 80] - field[2, 2]
    true = light[20, 20] - light[0, 0]
    assert fall == pytest.approx(true, rel=0.2)
    assert error < 0.2


def test_slopes_that_cells_of_a_tile_share_make_the_lamp_less_sure():
    rng = np.random.default_rng(2)
    errors = []
    for slope in (0.0, 2.0):
        tops = []
        for _ in range(20):
            place = rng.integers(1, 39, (60, 2))
            along = rng.choice([-1, 1]) * slope * (place[:, 1] / 40 - 0.5)
            bright = np.exp(0.3 * rng.normal(size=60) + along)
            tops.append(np.column_stack([place, 100 * bright, 0 * bright + 1]).astype(np.float32))
        errors.append(field_of_cells(tops, (160, 160), Lamp(6))[1])
    assert errors[1] > 1.5 * errors[0]


def test_hot_pixels_and_the_rim_have_no_tops_and_planes_are_put_together():
    rng = np.random.default_rng(3)
    pixels = rng.normal(100, 3, (2, 3, 64, 64))
    pixels[:, :, 30, 30] = 5000  # a hot pixel
    pixels[:, :, :3, 20:24] = 5000  # goes on beyond the rim
    far = np.hypot(*np.meshgrid(np.arange(64) - 42, np.arange(64) - 53, indexing="ij"))
    pixels[1, 2] += 900 * np.exp(-(far**2) / 30)
    tops = cell_tops(xr.DataArray(pixels, dims=("c", "z", "y", "x")), 100.0)
    assert [len(found) for found in tops] == [0, 1]
    np.testing.assert_allclose(tops[1][0, :2], [10, 13], atol=0)
    assert tops[1][0, 2] == pytest.approx(880, abs=30)


def test_a_ground_that_is_lit_in_a_fifth_of_the_tiles_is_not_dark():
    noise = np.ones((10, 8, 8))
    ground = np.zeros((10, 8, 8))
    assert ground_is_dark(ground, noise)
    ground[:2] = 8.0
    assert not ground_is_dark(ground, noise)


def test_chunks_and_channels_change_nothing():
    rng = np.random.default_rng(4)
    tiles = tiles_under(lamp_of(0.1, 0.1), rng, count=16)
    plain = estimate_flatfield(tiles, offset=OFFSET)
    both = np.stack([tiles, np.full_like(tiles, 400)], axis=1)
    lazy = xr.DataArray(da.from_array(both, chunks=(4, 1, -1, -1)), dims=("tile", "c", "y", "x"))
    dark = np.full((2, *SIZE), OFFSET, "float32")
    field = estimate_flatfield(lazy, offset=dark)
    np.testing.assert_allclose(field[0], plain, rtol=1e-4)
    np.testing.assert_allclose(field[1], 1, rtol=1e-3)
