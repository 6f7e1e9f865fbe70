"""Spots of two tiles find each other, moved, bent and mostly without a partner."""

import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latticework.errors import StageError
from latticework.stages.ready import detect_spots
from latticework.stages.ready.points import match_points
from latticework.stitch import place, register
from latticework.stitch.point_links import register_points
from tests.stitch.scenes import image_of, lattice_of, smooth, two_sets

SIZES = {2: np.array([500.0, 500.0]), 3: np.array([100.0, 400.0, 400.0])}


def partners(found, first, second):
    """Which of the matches are right, and the share of partners that were found."""
    right = first[found.first] == second[found.second]
    return right, right.sum() / (first >= 0).sum()


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("n", [25, 100, 500])
def test_half_the_points_have_no_partner_and_the_rest_is_bent(dims, n):
    rng = np.random.default_rng(n)
    shift = np.array([4.0, -37.0, 52.0])[-dims:]
    one, other, own, theirs = two_sets(n, SIZES[dims], shift, rng)
    found = match_points(one, other)
    right, share = partners(found, own, theirs)
    assert right.mean() > 0.85
    assert share > 0.9
    # where the partner is said to be, against where it is
    at = {name: place for name, place in zip(theirs, other, strict=True) if name >= 0}
    known = own[found.first] >= 0
    said, true = other[found.second][known], np.array([at[k] for k in own[found.first][known]])
    assert np.median(np.linalg.norm(said - true, axis=1)) < 0.5
    assert np.median(found.residual_px) < (1 if n > 100 else 5)  # of few, a plane says little
    assert len(set(found.second.tolist())) == len(found.second)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(2, 3), st.integers(20, 80), st.integers(0, 2**31),
    st.floats(-90, 90), st.floats(-0.05, 0.05),
)  # fmt: skip
def test_any_shift_and_a_small_turn_are_found(dims, n, seed, shift, turn):
    rng = np.random.default_rng(seed)
    one, other, own, theirs = two_sets(
        n, SIZES[dims], np.full(dims, shift), rng, amplitude=0, outliers=0.3
    )
    matrix = np.eye(dims)
    matrix[-2:, -2:] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    found = match_points(one, other @ matrix.T)
    right, share = partners(found, own, theirs)
    assert share > 0.7
    assert right.mean() > 0.85


@pytest.mark.parametrize("n", [30, pytest.param(150, marks=pytest.mark.slow)])
def test_match_rate_is_far_above_chance_where_points_are_the_same_and_not_else(n):
    for seed in range(12):
        rng = np.random.default_rng(seed)
        scene, moved = rng.uniform(0, 400, (n, 2)), np.array([30.0, -12.0])
        bent = scene + moved + 4 * np.sin(scene[:, ::-1] / 80)
        one = np.concatenate([scene, rng.uniform(0, 400, (n, 2))])
        other = np.concatenate([bent, moved + rng.uniform(0, 400, (n, 2))])
        for sets in ((one, other), (scene, bent)):
            found = match_points(*sets, chance=True)
            assert found.match_rate > 3 * found.by_chance
        found = match_points(one, rng.uniform(0, 400, (2 * n, 2)), chance=True)
        assert found.match_rate < 3 * found.by_chance


def test_partners_no_surer_than_chance_gives_are_refused():
    refused = 0
    for seed in range(12):
        one, other = np.random.default_rng(seed).uniform(0, 400, (2, 50, 2))
        refused += len(match_points(one, other).first) == 0
    assert refused >= 8


def test_pixels_that_are_longer_along_z_are_no_matter():
    rng = np.random.default_rng(5)
    one, other, own, theirs = two_sets(80, SIZES[3], np.array([10.0, 30.0, -20.0]), rng)
    size = np.array([5.0, 1.0, 1.0])
    found = match_points(one / size, other / size, pixel_size=size)
    right, share = partners(found, own, theirs)
    assert right.mean() > 0.9
    assert share > 0.9
    np.testing.assert_allclose(
        found.offset_px, np.array([10.0, 30, -20]) / size, atol=4
    )  # bent by 5


def test_two_thousand_points_match_in_well_under_a_second():
    rng = np.random.default_rng(1)
    one, other, own, theirs = two_sets(1000, SIZES[2], np.array([30.0, -40.0]), rng)
    match_points(one[:50], other[:50])  # imports
    began = time.process_time()
    found = match_points(one, other)
    assert time.process_time() - began < 2  # 0.4 s on a quiet machine
    right, share = partners(found, own, theirs)
    assert share > 0.95
    assert right.mean() > 0.9


def test_tables_of_spots_are_matched_by_their_positions():
    rng = np.random.default_rng(3)
    places = rng.uniform(0, 200, (60, 2))
    spots = pd.DataFrame({"c": "nuclei", "x": places[:, 1], "y": places[:, 0], "score": 9.0})
    moved = spots.assign(y=spots.y + 4.0, x=spots.x - 30.0)
    found = match_points(spots, moved)
    assert found.first.tolist() == found.second.tolist() == list(range(60))
    assert found.offset_px == pytest.approx((4.0, -30.0))
    table = found.table(spots, moved)
    np.testing.assert_allclose(table[["first_y_px", "first_x_px"]], places)
    np.testing.assert_allclose(table["second_x_px"], places[:, 1] - 30.0)
    with pytest.raises(StageError, match="the first points have to be numbers, not object"):
        match_points(spots[["c"]], moved)


def test_too_few_points_match_nothing():
    found = match_points(np.zeros((0, 2)), np.ones((3, 2)))
    assert len(found.first) == 0
    assert found.match_rate == 0
    assert repr(found) == "<Matches: none>"
    assert len(found.table(np.zeros((0, 2)), np.ones((3, 2)))) == 0


def test_what_is_no_point_is_refused():
    with pytest.raises(StageError, match="the second points have to be finite"):
        match_points(np.zeros((4, 2)), [[np.nan, 1.0]])
    with pytest.raises(StageError, match="points of 2 axes cannot be matched with points of 3"):
        match_points(np.zeros((4, 2)), np.zeros((4, 3)))
    with pytest.raises(StageError, match="pixel_size has to be 2 numbers above 0"):
        match_points(np.zeros((4, 2)), np.zeros((4, 2)), pixel_size=[0, 1])


# ------------------------------------------------------------------ from pictures


@pytest.mark.parametrize(
    ("shape", "sigma"),
    [((240, 240), (2, 2)), ((22, 128, 128), (1, 2, 2)), ((30, 110, 110), (3, 1.5, 1.5))],
)
@pytest.mark.parametrize("height", [400, 60])
def test_fifty_planted_spots_are_found_within_a_pixel(shape, sigma, height):
    rng = np.random.default_rng(7)
    spots = []
    while len(spots) < 50:
        spot = rng.uniform(2 * np.array(sigma), np.array(shape) - 1 - 2 * np.array(sigma))
        if all(np.linalg.norm((spot - other) / sigma) > 5 for other in spots):
            spots.append(spot)
    uneven = 100 + 80 * np.sin(np.arange(shape[-1]) / 60)
    picture = image_of(spots, shape, rng, sigma=sigma, height=height, background=uneven)
    axes = "zyx"[-len(shape) :]
    table = detect_spots(picture, sigma_px=dict(zip(axes, sigma, strict=True)))
    apart = np.linalg.norm(
        table[list(axes)].to_numpy()[None] - np.array(spots)[:, None], axis=2
    ).min(axis=1)
    assert (apart < 1).mean() >= 0.95
    assert np.median(apart) < 0.4
    assert len(table) <= 53


def pair_of_tiles(shape, overlap, truth, rng, *, spots, amplitude, sigma=2.0):
    """Two tiles along x, the second at `truth`; half of the spots in each are its own."""
    shape = np.array(shape)
    area = shape.copy().astype(float)
    area[-1] = overlap + 40
    scene = rng.uniform(0, 1, (spots, len(shape))) * area
    scene[:, -1] += shape[-1] - overlap - 20
    own = [rng.uniform(0, 1, scene.shape) * area for _ in range(2)]
    own[0][:, -1] += shape[-1] - overlap - 20
    own[1][:, -1] -= 20
    bent = scene + smooth(scene, amplitude, 220, 0.7)
    images = [
        image_of(np.concatenate([places, more]), tuple(shape), rng, sigma=sigma)
        for places, more in ((scene, own[0]), (bent - truth, own[1]))
    ]
    return images, scene, bent - truth


@pytest.mark.parametrize(
    ("shape", "sigma", "size"),
    [((400, 320), 1.6, None), ((36, 200, 200), (1.0, 1.6, 1.6), {"z": 2.0, "y": 1.0, "x": 1.0})],
)
def test_spots_of_two_pictures_are_matched_within_a_pixel(shape, sigma, size):
    rng = np.random.default_rng(4)
    dims = len(shape)
    overlap = 120
    truth = np.array([2.0, -25.0, shape[-1] - overlap + 14.0])[-dims:]
    nominal = np.array([0.0, 0.0, shape[-1] - overlap])[-dims:]
    amplitude = np.array([1.0, 3.0, 3.0])[-dims:]
    images, scene, bent = pair_of_tiles(
        shape, overlap, truth, rng, spots=120, amplitude=amplitude, sigma=sigma
    )
    lattice = lattice_of(images, [(0, 0), (0, 1)], [np.zeros(dims), nominal], pixel_size=size)
    links, points = register_points(
        lattice, reach=(4, 40, 40)[-dims:], sigma_px=None, with_points=True
    )
    assert links.trusted.all()
    assert links.spots[0] == len(points) > 40
    axes = "zyx"[-dims:]
    at = points[[f"first_{axis}_px" for axis in axes]].to_numpy()
    to = points[[f"second_{axis}_px" for axis in axes]].to_numpy()
    which = np.linalg.norm(at[:, None] - scene[None], axis=2)
    shared = which.min(axis=1) < 1.5
    error = np.linalg.norm(to - bent[which.argmin(axis=1)], axis=1)[shared]
    assert shared.mean() > 0.8
    assert np.median(error) < 0.5
    offset = links[[f"offset_{axis}_px" for axis in axes]].to_numpy()[0]
    np.testing.assert_allclose(offset, truth, atol=3.5)  # bent by up to 3


def test_spots_place_tiles_as_pixels_do():
    rng = np.random.default_rng(9)
    scene = rng.uniform(0, 460, (700, 2))
    arrays, nominal, truth, places = [], [], [], []
    for row, column in np.ndindex(3, 3):
        at = np.array([10.0 + 140 * row, 10.0 + 140 * column])
        true = at + rng.uniform(-5, 5, 2)
        arrays.append(image_of(scene - true, (170, 170), rng, sigma=1.7))
        nominal.append(at)
        truth.append(true)
        places.append((row, column))
    lattice = lattice_of(arrays, places, nominal)
    by_spots, by_pixels = register_points(lattice), register(lattice)
    assert by_spots.columns[: len(by_pixels.columns)].tolist() == by_pixels.columns.tolist()
    assert by_spots.trusted.mean() > 0.9
    error = place(lattice, by_spots).lattice.position_um - truth
    assert np.linalg.norm(error - np.median(error, axis=0), axis=1).max() < 0.3


@pytest.mark.parametrize("spots", [15, 40, 150])
def test_tiles_that_share_no_spots_are_not_linked(spots):
    rng = np.random.default_rng(spots)
    arrays = [image_of(rng.uniform(0, 200, (spots, 2)), (200, 200), rng) for _ in range(7)]
    arrays += [rng.poisson(100, (200, 200)).astype("u2") for _ in range(2)]
    places = list(np.ndindex(3, 3))
    lattice = lattice_of(arrays, places, [(150.0 * r, 150.0 * c) for r, c in places])
    links, points = register_points(lattice, with_points=True)
    assert not links.trusted.any()
    empty = register_points(lattice.take([7, 8]), with_points=True)[1]
    assert isinstance(empty, pd.DataFrame)
    assert empty.columns.tolist() == points.columns.tolist()
    assert empty.empty
