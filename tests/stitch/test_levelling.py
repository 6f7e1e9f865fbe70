"""Tiles of different brightness leave no step at their seams."""

import numpy as np
import pytest
from scipy import ndimage

from latticework.stitch.levelling import estimate_gains, gains_of
from latticework.stitch.levels import estimate_levels
from latticework.stitch.patches import line_between, patch_means, patch_places, patch_rises
from latticework.stitch.seam_measures import measures_of
from latticework.stitch.shared_views import Shared
from tests.stitch.acquisitions import lattice_of
from tests.stitch.test_registering import cut, scene_of


def test_gains_of_up_to_a_fifth_are_found_to_a_percent():
    rng = np.random.default_rng(6)
    gains = rng.choice([1.0, 1.2], (4, 4))
    scene = scene_of((700, 700), rng)
    lattice, truth = cut(scene, (4, 4), (160, 160), 140, (2, 2), rng, gains=gains)
    found = estimate_gains(lattice.replace(position_um=truth), dark=100.0)
    made = found * gains.ravel()
    assert np.abs(made / np.exp(np.log(made).mean()) - 1).max() < 0.01


def test_a_checkerboard_of_four_tiles_keeps_steps_of_less_than_two_percent():
    rng = np.random.default_rng(9)
    gains = np.array([[1.0, 1.2], [1.2, 1.0]])
    scene = scene_of((420, 420), rng)
    lattice, truth = cut(scene, (2, 2), (200, 200), 170, (2, 2), rng, gains=gains)
    found = estimate_gains(lattice.replace(position_um=truth), dark=100.0)
    steps = found * gains.ravel()
    assert steps.max() / steps.min() < 1.02


def test_tiles_between_pixels_have_their_gains_told_within_a_percent():
    """Patches at the edges of cells differ by the place of the pixels, not by the gain."""
    rng = np.random.default_rng(3)
    places = list(np.ndindex(3, 4))
    truth = np.array(places) * 148.0 + rng.uniform(-1, 1, (12, 2))
    gains = rng.choice([1.0, 1.2], 12)
    cells = rng.uniform(-20, 620, (700, 3)) * [1, 1, 0] + rng.uniform(4.0, 8.0, (700, 1)) * [
        0,
        0,
        1,
    ]
    tiles = [
        100 + gain * spots(cells, at, (160, 160)) for gain, at in zip(gains, truth, strict=True)
    ]
    lattice = lattice_of([tile.astype("f4") for tile in tiles], places, truth)
    made = estimate_gains(lattice, dark=100.0) * gains
    assert made.max() / made.min() < 1.007


def spots(cells, at, shape):
    """Round cells of their own sizes on an even ground, seen from any place."""
    y, x = np.indices(shape)
    scene = np.full(shape, 100.0)
    for cy, cx, size in cells:
        near = (np.abs(cy - at[0] - 80) < 110) and (np.abs(cx - at[1] - 80) < 110)
        if near:
            away = (y + at[0] - cy) ** 2 + (x + at[1] - cx) ** 2
            scene += 600 * np.exp(-away / (2 * size**2))
    return scene


@pytest.mark.parametrize("between", [0.0, 0.4])
def test_counts_that_cannot_be_compared_tell_of_no_gain_and_that_is_said(caplog, between):
    rng = np.random.default_rng(2)
    tile = rng.uniform(1.0, 2.0, (64, 64))
    places, nominal = (
        [(0, 0), (0, 1), (0, 2)],
        [(0, 40.0 * k + between * (k > 0)) for k in range(3)],
    )
    for huge in (1e160, 1e300, np.finfo("f8").max / 2):
        lattice = lattice_of([tile, np.roll(tile, -40, 1), tile * huge], places, nominal)
        for dark in (None, 0.0):
            caplog.clear()
            gains = estimate_gains(lattice, dark=dark)
            assert np.abs(np.log(gains)).max() < 0.1
            [said] = [record.getMessage() for record in caplog.records if record.levelno > 20]
            assert said.startswith("1 of 2 overlaps cannot be compared, as that of y0_x1 and y0_x2")
        levels = estimate_levels(lattice)
        assert np.isfinite([levels.gains, levels.offsets]).all()
    tile[30, 50] = 1e300  # a single pixel spoils its patch, and no other
    one = lattice_of([tile, 1.2 * np.roll(tile, -40, 1)], places[:2], nominal[:2])
    assert estimate_gains(one, dark=0.0)[0] == pytest.approx(np.sqrt(1.2), rel=0.02)


def test_dark_overlaps_and_single_tiles_keep_their_gain():
    rng = np.random.default_rng(1)
    dark = [rng.normal(100, 5, (64, 64)).astype("u2") for _ in range(3)]
    places = [(0, 0), (0, 1), (0, 2)]
    lattice = lattice_of(dark, places, [(0, 50 * k) for k in range(3)])
    assert np.abs(np.log(estimate_gains(lattice, dark=100.0))).max() < 0.3
    alone = lattice_of(dark[:1], places[:1], [(0, 0)])
    assert estimate_gains(alone).tolist() == [1.0]


def test_a_bright_speck_in_one_view_does_not_decide():
    rng = np.random.default_rng(1)
    scene = rng.uniform(500, 600, (80, 24))
    other = scene.copy()
    other[:16, :16] = 65_000
    assert abs(line_between(scene, other, 0.0).slope) < 0.01


def test_uneven_illumination_does_not_add_up_over_the_lattice():
    rng = np.random.default_rng(4)
    lamp = np.linspace(0.7, 1.3, 160)[None, :] * np.ones((160, 1))
    scene = scene_of((1000, 1300), rng)
    lattice, truth = cut(scene, (6, 8), (160, 160), 140, (2, 2), rng)
    for array in lattice.source.arrays:
        array[...] = np.clip((array - 100.0) * lamp + 100, 0, 65535)
    found = estimate_gains(lattice.replace(position_um=truth), dark=100.0)
    assert np.abs(np.log(found)).max() < np.log(1.1)


def test_tiles_of_a_fifth_of_the_light_are_levelled():
    rng = np.random.default_rng(6)
    gains = np.where(np.indices((3, 3)).sum(axis=0) % 2, 5.0, 1.0)
    scene = scene_of((560, 560), rng)
    lattice, truth = cut(scene, (3, 3), (160, 160), 140, (2, 2), rng, gains=gains)
    made = estimate_gains(lattice.replace(position_um=truth), dark=100.0) * gains.ravel()
    assert made.max() / made.min() < 1.05


@pytest.mark.parametrize("kind", ["cells on a dark ground", "nothing is dark", "evenly lit"])
def test_gains_are_told_though_nobody_says_what_the_camera_counts_in_the_dark(kind):
    rng = np.random.default_rng(12)
    gains = rng.choice([1.0, 1.2], (4, 5))
    scene = {"evenly lit": np.full((700, 860), 900.0), "nothing is dark": scene_of((700, 860), rng)}
    cells = np.zeros((700, 860))
    cells[rng.integers(0, 700, 200), rng.integers(0, 860, 200)] = rng.uniform(1e5, 3e5, 200)
    cells = ndimage.gaussian_filter(cells, 5)
    lattice, truth = cut(scene.get(kind, cells), (4, 5), (160, 160), 124, (2, 2), rng, gains=gains)
    lattice = lattice.replace(position_um=truth)
    made = estimate_gains(lattice) * gains.ravel()
    assert made.max() / made.min() < (1.03 if kind == "evenly lit" else 1.02)
    made = estimate_gains(lattice, dark=100.0) * gains.ravel()
    assert made.max() / made.min() < 1.02


def test_views_of_noise_alone_tell_of_no_gain():
    rng = np.random.default_rng(3)
    told = [
        line_between(*rng.normal(100, 3, (2, 40, 200)), dark).trust > 0
        for dark in (None, 100.0)
        for _ in range(100)
    ]
    assert np.mean(told) < 0.05


def test_gains_that_rise_along_an_axis_by_chance_are_no_uneven_illumination():
    """They are alike between most neighbours, which light that falls off is nowhere."""
    rng = np.random.default_rng(1)
    rows = np.arange(12).reshape(3, 4)
    pairs = np.concatenate(
        [np.stack([of[:, :-1], of[:, 1:]], axis=-1).reshape(-1, 2) for of in (rows, rows.T)]
    )
    axes = np.where(pairs[:, 1] - pairs[:, 0] == 1, "x", "y")
    for _ in range(200):
        gains = rng.choice([0.0, np.log(1.2)], 12)
        ratios = gains[pairs[:, 1]] - gains[pairs[:, 0]] + rng.normal(0, 0.004, len(pairs))
        left = gains + gains_of(12, pairs, ratios, np.full(len(pairs), 1e5), axes)
        assert np.ptp(left) < 0.03


def test_tiles_of_nothing_but_the_cameras_noise_have_no_gains():
    """Weights by the distance from the line make a round cloud look long."""
    for seed in range(4):
        rng = np.random.default_rng(seed)
        noise = rng.normal(100, 3, (2, 200, 200, 120)).astype("f4")
        line = line_between(noise[0], noise[1])
        assert line.trust == 0


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.3, -0.2), (-0.4, 0.1)])
def test_cells_that_lie_a_part_of_a_pixel_off_tell_the_same_gain(shift):
    """One edge of each is brighter then and the other darker, and where few are seen that turned
    the line by several percent."""
    rng = np.random.default_rng(4)
    cells = rng.uniform((5, 0, 3), (180, 32, 6), (7, 3))
    first, second = (spots(cells, at, (200, 32)) for at in ((0.0, 0.0), shift))
    views = [
        100 + gain * (view - 100) + rng.normal(0, 2, view.shape)
        for gain, view in ((1.0, first), (1.2, second))
    ]
    line = line_between(*views)
    assert abs(line.slope - np.log(1.2)) < 0.003
    assert line.trust**-0.5 < 0.005


@pytest.mark.parametrize("seed", range(4))
def test_a_cell_on_an_offset_that_nobody_says_is_not_led_through_0(seed):
    cells = np.random.default_rng(seed).uniform((5, 64, 3), (180, 96, 5), (1, 3))
    tiles = [
        np.rint(100 + gain * (spots(cells, at, (200, 96)) - 100)).astype("u2")
        for gain, at in ((1.0, (0, 0)), (1.2, (0, 64)))
    ]
    lattice = lattice_of(tiles, [(0, 0), (0, 1)], [(0, 0), (0, 64)])
    made = estimate_gains(lattice) * [1.0, 1.2]
    assert made.max() / made.min() < 1.02


def test_uneven_light_and_stripes_are_told_from_chance():
    rng = np.random.default_rng(7)
    scene = scene_of((400, 48), rng) - 100.0
    stripes = np.exp(0.1 * ndimage.gaussian_filter1d(rng.normal(size=400), 6) * 4.6)[:, None]
    lamps = {
        "even": np.ones((1, 1)),
        "falls off": np.linspace(0.9, 1.1, 48)[None],
        "striped": stripes,
    }
    found = {}
    for name, lamp in lamps.items():
        views = [of + 100 + rng.normal(0, 20, scene.shape) for of in (scene, 1.2 * scene * lamp)]
        means, places = [patch_means(view) for view in views], patch_places(scene.shape)
        shared = Shared(means[0], means[1], patch_rises(*views), places)
        found[name] = measures_of(shared, 100.0)["uneven"]
    assert found["even"] == 0
    assert found["falls off"] == pytest.approx(0.06, rel=0.3)  # of a slope of a fifth
    assert found["striped"] == pytest.approx(0.1, rel=0.4)
