"""Stripes are reduced ten times, and what has none stays as it is."""

import numpy as np
import pytest
import xarray as xr
from scipy import ndimage

import latticework as lw
from latticework.stages.ready import destripe, estimate_stripe_angle, estimate_stripes


def tissue(rng, shape=(320, 384)):
    """Rough all over: structures of many sizes, as strong as a third of the brightness."""
    fine = sum(k * ndimage.gaussian_filter(rng.normal(size=shape), k) for k in (1.5, 4, 12))
    return 100 + 500 * np.exp(0.35 * fine / fine.std())


def nuclei(rng, shape=(320, 384)):
    """Bright discs on a dim ground, with the noise of photons."""
    scene = np.full(shape, 60.0)
    y, x = np.mgrid[-12:13, -12:13]
    for _ in range(110):
        top, left = rng.integers(0, shape[0] - 25), rng.integers(0, shape[1] - 25)
        disc = np.hypot(y, x) < rng.uniform(4, 10)
        scene[top : top + 25, left : left + 25] += disc * rng.uniform(200, 900)
    return rng.poisson(ndimage.gaussian_filter(scene, 1.2) * 4) / 4


def half_empty(rng, shape=(320, 384)):
    y, x = np.mgrid[: shape[0], : shape[1]]
    inside = y + 0.6 * x + 40 * np.sin(x / 30) > 280
    return 8 + tissue(rng, shape) * ndimage.gaussian_filter(inside.astype(float), 2)


SCENES = [tissue, nuclei, half_empty]


def reduction(truth, tile, clean, widest=None):
    """How many times less the means of lines are away from the truth; of what is not wider."""
    before, after = (tile - truth).mean(axis=1), (clean - truth).mean(axis=1)
    if widest is not None:
        before = before - ndimage.gaussian_filter1d(before, widest, mode="nearest")
        after = after - ndimage.gaussian_filter1d(after, widest, mode="nearest")
    return before.std() / after.std()


def random_profile(rng, lines, width):
    profile = rng.normal(size=lines)
    profile = ndimage.gaussian_filter1d(profile, width) if width else profile
    return (profile - profile.mean()) / profile.std()


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize(
    ("period", "kind"),
    [(2, "multiplicative"), (5, "additive"), (16, "multiplicative")],
)
def test_regular_stripes_are_reduced_ten_times(scene, period, kind):
    rng = np.random.default_rng(period)
    truth = scene(rng)
    wave = 0.15 * np.cos(2 * np.pi * np.arange(320) / period)[:, None]
    tile = truth * (1 + wave) if kind == "multiplicative" else truth + 300 * wave
    clean = destripe(tile, along="x", kind=kind)
    assert reduction(truth, tile, clean) > 10
    assert np.corrcoef(clean.ravel(), truth.ravel())[0, 1] > 0.999


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("width", [0, 1.5, 3])
def test_random_stripes_are_reduced_ten_times_where_the_specimen_leaves_some_ground(seed, width):
    rng = np.random.default_rng(seed)
    truth = nuclei(rng)
    tile = truth * np.maximum(1 + 0.15 * random_profile(rng, 320, width), 0.2)[:, None]
    clean = destripe(tile.round().astype("uint16"), along="x")
    assert reduction(truth, tile, clean, widest=16) > 10
    assert np.corrcoef(clean.ravel(), truth.ravel())[0, 1] > 0.998


@pytest.mark.parametrize("width", [0, 1.5, 3])
def test_random_stripes_of_all_widths_are_reduced_ten_times_over_an_even_ground(width):
    rng = np.random.default_rng(1)
    truth = nuclei(rng)
    tile = truth * np.maximum(1 + 0.15 * random_profile(rng, 320, width), 0.2)[:, None]
    assert reduction(truth, tile, destripe(tile, along="x")) > 20


def test_an_edge_of_the_specimen_along_the_stripes_is_no_stripe():
    rng = np.random.default_rng(12)
    truth = tissue(rng)
    truth[:150] *= 0.1
    tile = truth * (1 + 0.1 * random_profile(rng, 320, 0))[:, None]
    clean = destripe(tile, along="x")
    step, found = (p[:150].mean() / p[150:].mean() for p in (truth, clean))
    assert abs(found / step - 1) < 0.25


@pytest.mark.parametrize("seed", range(3))
def test_single_shadows_are_reduced_ten_times(seed):
    rng = np.random.default_rng(seed)
    truth = nuclei(rng)
    tile = truth.copy()
    for top in (50, 130, 240, 300):
        tile[top : top + rng.integers(2, 7)] *= rng.uniform(0.5, 0.7)
    assert reduction(truth, tile, destripe(tile, along="x")) > 10


@pytest.mark.parametrize(("scene", "width"), [(tissue, 0), (nuclei, 4), (half_empty, 2)])
def test_weak_stripes_are_never_made_stronger(scene, width):
    rng = np.random.default_rng(5)
    truth = scene(rng)
    tile = truth * (1 + 0.01 * random_profile(rng, 320, width))[:, None]
    assert reduction(truth, tile, destripe(tile, along="x")) > 0.95


@pytest.mark.parametrize(
    ("scene", "kind"),
    [(tissue, "multiplicative"), (nuclei, "multiplicative"), (half_empty, "additive")],
)
def test_what_has_no_stripes_stays_as_it_is(scene, kind):
    truth = scene(np.random.default_rng(6))
    assert (destripe(truth, kind=kind) - truth).std() < 0.01 * truth.std()


def test_the_direction_of_stripes_is_found():
    rng = np.random.default_rng(7)
    tile = half_empty(rng) * (1 + 0.1 * random_profile(rng, 384, 1))
    assert np.array_equal(destripe(tile), destripe(tile, along="y"))
    assert np.array_equal(destripe(tile.T), destripe(tile.T, along="x"))


def test_stripes_of_all_planes_are_seen_better_than_those_of_one():
    rng = np.random.default_rng(8)
    truth = np.stack([tissue(rng) for _ in range(6)])
    tile = truth * (1 + 0.1 * random_profile(rng, 320, 1))[:, None]
    together = destripe(xr.DataArray(tile, dims=("z", "y", "x")), along="x").values
    alone = [reduction(t, p, destripe(p, along="x")) for t, p in zip(truth, tile, strict=True)]
    pooled = [reduction(*each) for each in zip(truth, tile, together, strict=True)]
    assert np.median(pooled) > 1.3 * np.median(alone)


def test_stripes_of_one_plane_are_not_put_into_others():
    rng = np.random.default_rng(9)
    truth = np.stack([nuclei(rng) for _ in range(4)])
    tile = truth.copy()
    tile[2] *= (1 + 0.2 * random_profile(rng, 320, 1))[:, None]
    clean = destripe(tile, along="x")
    assert reduction(truth[2], tile[2], clean[2], widest=16) > 10
    for k in (0, 1, 3):
        assert (clean[k] - truth[k]).std() < 0.01 * truth[k].std()


def test_pixels_that_say_nothing_are_left_out():
    rng = np.random.default_rng(10)
    truth = nuclei(rng)
    tile = truth * (1 + 0.2 * np.cos(np.arange(320))[:, None])
    tile[:, 100:140] = np.nan
    clean = destripe(tile, along="x")
    assert np.isnan(clean[:, 100:140]).all()
    seen = np.r_[0:100, 140:384]
    assert reduction(truth[:, seen], tile[:, seen], clean[:, seen]) > 10


@pytest.mark.parametrize("value", [0.0, 7.0, np.nan])
@pytest.mark.parametrize("shape", [(8, 48), (5, 300), (60, 100)])
def test_a_tile_without_anything_has_no_stripes(value, shape):
    tile = np.full(shape, value)
    assert (estimate_stripes(tile).values == 1).all()
    assert np.array_equal(destripe(tile), tile, equal_nan=True)


@pytest.mark.parametrize("shape", [(0, 40), (40, 0)])
def test_a_tile_without_pixels_has_no_stripes_at_any_angle(shape):
    assert estimate_stripe_angle(np.zeros(shape, "u2")) == 0


@pytest.mark.parametrize("row", [1, 5, 9])
def test_a_specimen_that_ends_within_a_tile_is_no_stripe(row):
    """Empty lines at a tile's edge are no shadow, nor is light that falls off towards it."""
    tiles, _ = lw.simulate({"y": 3, "x": 4}, tile_shape={"y": 256, "x": 256}, seed=7)
    tile = tiles.source.read(row, tiles.tile(row).box).astype("float32")
    assert (destripe(tile, offset=100) - tile).std() < 0.02 * tile.std()


@pytest.mark.parametrize("edge", [20, 60])
def test_lines_without_light_at_the_edge_of_a_tile_stay_dark(edge):
    truth = nuclei(np.random.default_rng(3))
    truth[:edge] = 2
    clean = destripe(truth, along="x")
    assert abs(clean[:edge].mean() - 2) < 0.3
    assert (clean - truth).std() < 0.02 * truth.std()


@pytest.mark.parametrize("width", [8, 15, 30])
def test_wide_stripes_are_told_where_lines_differ_and_columns_do_not(width):
    rng = np.random.default_rng(width)
    truth = nuclei(rng)
    tile = truth * (1 + 0.1 * random_profile(rng, 320, width))[:, None]
    assert reduction(truth, tile, destripe(tile, along="x")) > 5


@pytest.mark.parametrize("along", ["x", "y"])
def test_an_uneven_ground_is_not_taken_for_wide_stripes(along):
    rng = np.random.default_rng(4)
    wide = ndimage.gaussian_filter(rng.normal(size=(320, 384)), 60)
    truth = rng.poisson(400 * np.exp(0.3 * wide / wide.std())).astype(float)
    assert (destripe(truth, along=along) - truth).std() < 0.01 * truth.std()


@pytest.mark.parametrize("seed", range(2))
def test_what_the_camera_adds_to_its_lines_is_not_taken_out_of_bright_cells_as_a_share(seed):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:512, :512]
    cells = np.full((512, 512), 30.0)
    for middle_y, middle_x in rng.uniform(20, 490, (25, 2)):
        away = (y - middle_y) ** 2 + (x - middle_x) ** 2
        cells += 20_000 * np.exp(-away / 2 / rng.uniform(4, 7) ** 2)
    seen = rng.poisson(cells) + 110 + rng.normal(0, 2, cells.shape)
    tile = seen + rng.normal(0, 2, (512, 1))
    clean = destripe(tile, along="x", offset=110)
    assert np.abs(clean / tile - 1)[cells > 5000].max() < 0.005  # a quarter, as shares of light
    ground = np.where(cells < 31, 1.0, np.nan)
    left, there = (np.nanmean((of - seen) * ground, axis=1).std() for of in (clean, tile))
    assert left < there / 4
