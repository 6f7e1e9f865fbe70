"""What microscopes and cameras do to a tile is found and undone; what is the specimen's stays."""

import numpy as np
import pytest
import tifffile
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from latticework.errors import StageError
from latticework.stages.ready import (
    correct_bad_pixels,
    correct_flatfield,
    deconvolution_halo,
    deconvolve,
    destripe,
    estimate_bad_pixels,
    estimate_darkfield,
    estimate_flatfield,
    estimate_line_shift,
    estimate_stripe_angle,
    fix_line_shift,
    gaussian_psf,
    saturation_mask,
)
from latticework.testing import simulate


@pytest.fixture(scope="module")
def cells(shared_data):
    """A real plane of labelled cells."""
    volume = tifffile.imread(shared_data / "cells_3d_cellfinder" / "signal.tif")
    return volume[13, 560:1072, 60:572]


@pytest.fixture(scope="module")
def section(shared_data):
    paths = sorted((shared_data / "wsi_brain_2d" / "tiles").glob("*.tif"))
    return np.stack([tifffile.imread(path) for path in paths])


def scene(rng, shape=(160, 200)):
    """Blobs of many sizes on a smooth background."""
    fine = sum(k * ndimage.gaussian_filter(rng.normal(size=shape), k) for k in (1.5, 4, 12))
    return 500 + 150 * fine / fine.std() + 900 * np.clip(fine / fine.std() - 2, 0, None)


# ------------------------------------------------------------------ line shift


def shifted(tile, shift):
    moved = tile.copy()
    moved[..., 1::2, :] = np.roll(moved[..., 1::2, :], shift, axis=-1)
    return moved


@pytest.mark.parametrize("photons", [None, 50, 5])
def test_every_whole_shift_of_a_real_tile_is_found_exactly_also_in_the_dark(cells, photons):
    rng = np.random.default_rng(1)
    for shift in range(-9, 10, 1 if photons is None else 3):
        tile = shifted(cells, shift)
        if photons is not None:
            tile = rng.poisson(tile / np.percentile(tile, 99) * photons)
        assert estimate_line_shift(tile) == shift


def test_the_shift_of_a_section_is_found_and_undone_to_the_last_bit(section):
    for shift in (-9, -1, 0, 4):
        tile = shifted(section[20], shift)
        np.testing.assert_array_equal(fix_line_shift(tile), section[20])


@pytest.mark.parametrize("seed", [3, 5, 8])
def test_the_shift_of_a_small_tile_that_is_bright_at_its_ends_is_found_exactly(seed):
    tiles, _ = simulate({"y": 1, "x": 1}, tile_shape={"y": 128, "x": 128}, seed=seed)
    tile = tiles.source.read(0, tiles.tile(0).box)
    for shift in (-9, -3, 0, 2, 7):
        assert estimate_line_shift(shifted(tile, shift)) == shift
        # As a scanner has it: nothing comes in that went out at the other end.
        assert estimate_line_shift(shifted(tile, shift)[:, 9:-9]) == shift


def test_fractions_of_a_pixel_are_found_to_a_twentieth(section):
    for shift in (-2.3, 0.4, 4.75):
        tile = section[section.mean(axis=(1, 2)).argmax()].astype("float32")
        tile[1::2] = ndimage.shift(tile[1::2], (0, shift), order=3, mode="grid-wrap")
        assert abs(estimate_line_shift(tile, subpixel=True) - shift) < 0.06


@pytest.mark.parametrize("seed", range(5))
def test_blank_tiles_and_noise_have_no_shift(seed):
    rng = np.random.default_rng(seed)
    for tile in (
        rng.poisson(3, (128, 150)),
        rng.normal(100, 5, (4, 64, 100)),
        np.full((64, 64), 7),
        np.zeros((3, 64, 64), "uint16"),
    ):
        assert estimate_line_shift(tile) == 0


@pytest.mark.parametrize(("share", "counts"), [(0.002, 4000), (0.01, 60_000)])
def test_hot_pixels_of_a_blank_tile_are_no_shift(share, counts):
    for seed in range(6):
        rng = np.random.default_rng(seed)
        tile = rng.poisson(100, (256, 256)).astype("u2")
        tile[rng.random(tile.shape) < share] = counts
        assert estimate_line_shift(tile) == 0


def test_fractions_of_a_pixel_are_found_and_undone():
    rng = np.random.default_rng(2)
    whole = scene(rng, (100, 400))
    for shift in (-3.4, 0.3, 2.6):
        tile = whole.copy()
        tile[1::2] = ndimage.shift(whole[1::2], (0, shift), order=3, mode="grid-wrap")
        tile = tile + rng.normal(0, 3, tile.shape)
        found = estimate_line_shift(tile, subpixel=True)
        assert abs(found - shift) < 0.1
        fixed = fix_line_shift(tile, found, interpolate=True)
        assert np.std((fixed - whole)[:, 10:-10]) < 8 < np.std((tile - whole)[:, 10:-10])


def test_one_shift_for_all_planes_channels_and_tiles():
    rng = np.random.default_rng(3)
    tiles = np.stack([scene(rng, (64, 128)) for _ in range(6)]).reshape(3, 2, 64, 128)
    tiles = shifted(tiles, 3) + rng.normal(0, 20, tiles.shape)
    stack = xr.DataArray(tiles, dims=("tile", "c", "y", "x")).chunk(tile=1)
    assert estimate_line_shift(stack) == 3
    upright = stack.isel(tile=0).transpose("c", "x", "y").rename(x="y", y="x")
    assert estimate_line_shift(upright, along="y") == 3


def test_of_a_pattern_that_repeats_itself_the_smallest_shift_is_taken():
    rng = np.random.default_rng(4)
    waves = 300 + 150 * np.sin(2 * np.pi * np.arange(240) / 24) * np.ones((80, 1))
    for shift in (-9, -4, 0, 7):
        assert estimate_line_shift(rng.poisson(shifted(waves, shift))) == shift


@settings(max_examples=20)
@given(shift=st.integers(-12, 12), dtype=st.sampled_from(["uint8", "int32", "float32"]))
def test_the_opposite_shift_gives_the_tile_back(shift, dtype):
    tile = np.arange(3 * 7 * 13).reshape(3, 7, 13).astype(dtype)
    np.testing.assert_array_equal(fix_line_shift(fix_line_shift(tile, shift), -shift), tile)


def test_line_shifts_that_make_no_sense_are_refused():
    with pytest.raises(StageError, match="too short"):
        estimate_line_shift(np.zeros((8, 20)))
    with pytest.raises(StageError, match="edge must be"):
        fix_line_shift(np.zeros((8, 40)), 1, edge="mirror")
    with pytest.raises(StageError, match="longer than"):
        fix_line_shift(np.zeros((8, 40)), 41)


# ------------------------------------------------------------------ stripes


@pytest.mark.parametrize("kind", ["multiplicative", "additive"])
@pytest.mark.parametrize("along", ["x", "y"])
def test_regular_stripes_are_reduced_ten_times_and_structures_stay(section, kind, along):
    field = estimate_flatfield(section, offset=590)
    truth = correct_flatfield(section[40], field, offset=590, dtype="float32")
    truth = truth if along == "x" else truth.T
    wave = 0.25 * np.sin(2 * np.pi * np.arange(512) / 8)[:, None]
    tile = truth * (1 + wave) if kind == "multiplicative" else truth + 2000 * wave
    if along == "y":
        clean = destripe(tile.T, along="y", kind=kind).T
    else:
        clean = destripe(tile, kind=kind)
    assert (clean - truth).std() < 0.1 * (tile - truth).std()
    assert np.corrcoef(clean.ravel(), truth.ravel())[0, 1] > 0.998


def test_a_tile_without_stripes_stays_as_it_is(cells):
    tile = cells.astype("float32")
    assert (destripe(tile) - tile).std() < 0.01 * tile.std()


def test_shadows_are_lifted_to_the_level_of_their_surroundings_without_halos(cells):
    truth = cells[:256].astype("float64") + 20
    truth[100:160, 200:260] += 4000  # a bright block with sharp edges
    tile = truth.copy()
    tile[60:64] *= 0.5
    tile[120:129] *= 0.7
    clean = destripe(tile)
    away = np.abs(clean / truth - 1)
    assert away[60:64].mean() < 0.05
    assert away[120:129].mean() < 0.05
    assert away[95:100].mean() < 0.02  # beside the block, as everywhere
    assert away[160:165].mean() < 0.02


def test_stripes_at_an_angle_are_found_and_taken_out(cells):
    truth = cells.astype("float64") + 20
    y, x = np.mgrid[:512, :512]
    tile = truth * np.where((y - np.tan(np.radians(3)) * x) % 20 < 5, 0.7, 1.0)
    angle = estimate_stripe_angle(tile)
    assert abs(angle - 3) < 0.3
    clean = destripe(tile, angle_deg=angle)
    level = np.median(clean / truth)
    assert np.abs(clean / truth / level - 1).mean() < 0.25 * np.abs(tile / truth / 0.925 - 1).mean()
    assert estimate_stripe_angle(truth) == 0


def test_destriped_integers_are_clipped_and_saturated_pixels_stay():
    tile = np.full((64, 256), 60_000, "uint16")
    tile[30:33] = 30_000
    tile[10, 10:20] = 65_535
    clean = destripe(xr.DataArray(tile, dims=("y", "x"), attrs={"a": 1}))
    assert clean.dtype == np.uint16
    assert clean.attrs == {"a": 1}
    assert (clean.values[10, 10:20] == 65_535).all()
    assert abs(int(clean[31, 100]) - 60_000) < 200


def test_what_stripes_cannot_be_is_refused():
    for wrong in ({"along": "z"}, {"kind": "odd"}, {"width_px": 0}, {"angle_deg": 60}):
        with pytest.raises(StageError, match=str(next(iter(wrong.values())))):
            destripe(np.zeros((64, 256)), **wrong)


# ------------------------------------------------------------------ deconvolution


@pytest.mark.parametrize("iterations", [5, 30])
def test_with_its_halo_a_part_is_sharpened_as_the_whole_is(cells, iterations):
    whole = deconvolve(cells, sigma_px=1.5, iterations=iterations)
    halo = deconvolution_halo(sigma_px=1.5, iterations=iterations)["y"]
    part = cells[200 - halo : 280 + halo, 150 - halo : 260 + halo]
    part = deconvolve(part, sigma_px=1.5, iterations=iterations)[halo:-halo, halo:-halo]
    away = np.abs(part - whole[200:280, 150:260])
    assert away.max() < 1e-3 * whole.max()
    assert away.mean() < 1e-3 * whole.mean()


def test_points_become_sharper_light_is_kept_and_an_even_tile_stays_even():
    truth = np.full((12, 60, 60), 5.0)
    truth[6, 30, 30] = truth[6, 30, 37] = 5000
    sigma = (1.0, 2.0, 2.0)
    blurred = ndimage.gaussian_filter(truth, sigma, mode="reflect") + 100
    sharp = deconvolve(blurred.astype("uint16"), sigma_px=sigma, offset=100, iterations=60)
    assert sharp.dtype == np.float32
    assert sharp.min() >= 0
    assert sharp.sum() == pytest.approx(truth.sum(), rel=0.02)
    assert sharp[6, 30, 30] > 2 * sharp[6, 30, 33]  # two points, hardly seen apart before
    even = deconvolve(np.full((50, 60), 40.0), psf=gaussian_psf(3.0), iterations=40)
    np.testing.assert_allclose(even, 40, rtol=0.01)


def test_sigmas_in_micrometres_need_the_pixel_size():
    tile = xr.DataArray(np.ones((40, 40)), dims=("y", "x"))
    sized = tile.assign_attrs(pixel_size_um={"y": 0.5, "x": 0.5})
    sharp = deconvolve(sized, sigma_um={"y": 1.0, "x": 1.0}, iterations=2)
    xr.testing.assert_identical(sharp, deconvolve(sized, sigma_px=2.0, iterations=2))
    with pytest.raises(StageError, match="pixel_size_um"):
        deconvolve(tile, sigma_um={"y": 1.0, "x": 1.0})
    with pytest.raises(StageError, match="odd"):
        deconvolve(np.ones((40, 40)), psf=np.ones((4, 4)))
    with pytest.raises(StageError, match="either"):
        deconvolve(np.ones((40, 40)))


# ------------------------------------------------------------------ camera


def test_hot_dead_and_stuck_pixels_of_a_camera_are_found_and_replaced(section):
    truth = section[:, :128, :128]
    rng = np.random.default_rng(7)
    places = rng.choice(truth[0].size, 90, replace=False)
    y, x = np.divmod(places, 128)
    tiles = truth.astype(int)
    tiles[:, y[:30], x[:30]] += rng.integers(1000, 8000, 30)
    tiles[:, y[30:60], x[30:60]] = 580
    tiles[:, y[60:], x[60:]] = rng.integers(600, 3000, 30)
    tiles = np.clip(tiles, 0, 65535).astype("uint16")
    own = estimate_bad_pixels(truth).values
    mask = estimate_bad_pixels(tiles).values
    planted = np.zeros((128, 128), bool)
    planted[y, x] = True
    assert mask[planted].mean() > 0.97
    assert (mask & ~planted & ~own).sum() == 0
    clean = correct_bad_pixels(tiles[40], mask)
    off = clean[planted].astype(float) - truth[40][planted]
    assert np.sqrt(np.mean(off**2)) < 0.05 * truth[40].mean()
    np.testing.assert_array_equal(clean[~mask], tiles[40][~mask])


def test_sparse_cells_are_no_bad_pixels():
    rng = np.random.default_rng(8)
    tiles = rng.poisson(20, (12, 100, 100)).astype(float)
    for tile in tiles:
        tile[rng.integers(0, 100, 60), rng.integers(0, 100, 60)] += 900
    assert not estimate_bad_pixels(tiles).any()
    with pytest.raises(StageError, match="at least 8"):
        estimate_bad_pixels(tiles[:5])


def test_a_block_of_bad_pixels_is_filled_from_around_in_every_plane():
    tile = np.full((2, 3, 20, 20), 7, "uint8")
    mask = np.zeros((20, 20), bool)
    mask[5:12, 5:12] = True
    tile[..., mask] = 255
    assert (correct_bad_pixels(tile, mask) == 7).all()
    with pytest.raises(StageError, match="does not fit"):
        correct_bad_pixels(tile, mask[1:])
    with pytest.raises(StageError, match="all pixels"):
        correct_bad_pixels(tile, np.ones((20, 20), bool))


def test_saturated_pixels_are_masked():
    tile = np.full((9, 9), 800, "uint16")
    tile[4, 4:7] = 4095
    assert saturation_mask(tile).sum() == 3  # a camera of 12 bits
    assert saturation_mask(tile, grow_px=1).sum() == 15
    assert saturation_mask(tile, level=800).all()
    assert saturation_mask(np.array([[np.nan, 1.0]])).tolist() == [[True, False]]


def test_the_dark_is_told_from_tiles_with_an_uneven_lamp():
    lattice, truth = simulate(
        {"y": 8, "x": 8}, tile_shape={"y": 96, "x": 96}, empty=0.5, vignetting=0.5, seed=2
    )
    tiles = np.stack([lattice.source.read(tile) for tile in lattice.ids])
    dark = estimate_darkfield(tiles)
    assert dark.shape == (96, 96)
    assert abs(float(dark.mean()) - truth.offset) < 0.05 * truth.offset


def test_the_dark_is_never_above_the_darkest_tile(section):
    dark = float(estimate_darkfield(section).mean())
    assert 500 < dark <= np.percentile(section, 1)


def test_reference_images_are_applied_as_they_are():
    rng = np.random.default_rng(9)
    dark = rng.uniform(90, 110, (6, 8))
    light = rng.uniform(0.5, 1.5, (6, 8))
    truth = rng.uniform(100, 900, (3, 6, 8))
    tile = truth * light + dark
    np.testing.assert_allclose(correct_flatfield(tile, light, dark), truth, rtol=1e-4)
    channels = np.stack([tile, tile])
    both = correct_flatfield(channels, light, np.stack([dark, dark]))
    np.testing.assert_allclose(both, np.stack([truth, truth]), rtol=1e-4)
    with pytest.raises(StageError, match="dark-field of shape"):
        correct_flatfield(tile, light, dark[:5])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_pixels_that_are_not_finite_are_estimated_from_those_around_them(value):
    tile = np.random.default_rng(3).poisson(50, (60, 70)).astype(float)
    broken = tile.copy()
    broken[30, 20] = value
    whole, clean = (deconvolve(each, sigma_px=1.0, iterations=8) for each in (tile, broken))
    assert np.isfinite(clean).all()
    assert abs(clean[30, 20] - 50) < 30
    far = np.ones(tile.shape, bool)
    far[10:51, :41] = False
    assert np.abs(clean - whole)[far].max() < 0.01


def test_in_a_gap_only_what_the_psf_does_not_reach_is_unknown():
    tile = np.full((60, 70), 40.0)
    tile[20:45, 20:50] = np.nan
    clean = deconvolve(tile, sigma_px=1.0)
    unknown = np.isnan(clean)
    assert unknown[25:40, 25:45].all()
    assert not unknown[np.isfinite(tile)].any()
    np.testing.assert_allclose(clean[np.isfinite(tile)], 40, rtol=0.02)
    assert (deconvolve(tile, sigma_px=1.0, dtype="uint16")[unknown] == 0).all()
    assert np.isnan(deconvolve(np.full((20, 20), np.nan), sigma_px=1.0)).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [(np.nan, "1 of its 9"), (np.inf, "1 of its 9"), (-0.5, "negative"), (0.0, "all its pixels")],
)
def test_a_psf_that_makes_no_sense_is_refused(change, message):
    psf = np.zeros((3, 3))
    psf[1, 1] = change
    with pytest.raises(StageError, match=message):
        deconvolve(np.ones((40, 40)), psf=psf)


def test_widths_and_offsets_that_are_not_finite_are_refused():
    with pytest.raises(StageError, match="finite"):
        deconvolve(np.ones((40, 40)), sigma_px=np.inf)
    with pytest.raises(StageError, match="offset"):
        deconvolve(np.ones((40, 40)), sigma_px=1.0, offset=np.nan)


def test_the_sum_of_a_psf_does_not_matter_however_large():
    psf = gaussian_psf(1.0).astype(float)
    tile = np.random.default_rng(4).poisson(50, (40, 40)).astype(float)
    expected = deconvolve(tile, psf=psf)
    for scale in (1e-300, 1e300):
        np.testing.assert_allclose(deconvolve(tile, psf=scale * psf), expected, rtol=1e-3)
