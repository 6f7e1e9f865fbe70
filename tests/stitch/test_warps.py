"""Warps: there and back again, bounds that hold, folds that are told."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latticework.errors import LatticeError
from latticework.stitch.warps import Warp


def random_warp(rng, dims, steepness=0.5, shape=None):
    """A warp whose displacements change by at most `steepness` of the distance."""
    shape = shape or tuple(int(n) for n in rng.integers(1, 60, dims))
    counts = rng.integers(1, 6, dims)
    gap = min((n - 1) / (c - 1) if c > 1 else n for n, c in zip(shape, counts, strict=True))
    grid = rng.uniform(-1, 1, (dims, *counts)) * steepness * gap / (2 * dims)
    matrix = np.eye(dims) + rng.uniform(-1, 1, (dims, dims)) * 0.3 / dims
    return Warp(shape, matrix, grid)


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 3), st.floats(0, 0.65), st.integers(0, 2**31))
def test_what_goes_there_comes_back(dims, steepness, seed):
    rng = np.random.default_rng(seed)
    warp = random_warp(rng, dims, steepness)
    points = rng.uniform(-0.5, 1.5, (200, dims)) * np.array(warp.shape)
    there = warp.forward(points)
    np.testing.assert_allclose(warp.forward(warp.inverse(there)), there, atol=1e-3)
    np.testing.assert_allclose(warp.inverse(there), points, atol=5e-3)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3), st.integers(0, 2**31))
def test_no_pixel_lies_outside_of_the_bounds_and_some_lie_on_them(dims, seed):
    rng = np.random.default_rng(seed)
    warp = random_warp(rng, dims)
    low, high = warp.bounds()
    points = rng.uniform(0, 1, (300, dims)) * np.array(warp.shape) - 0.5
    there = warp.forward(points)
    assert (there >= low - 1e-9).all()
    assert (there <= high + 1e-9).all()
    still = Warp(warp.shape, warp.matrix)
    ends = np.stack(np.meshgrid(*[(-0.5, n - 0.5) for n in warp.shape]), axis=-1)
    corners = still.forward(ends.reshape(-1, dims))
    np.testing.assert_allclose(still.bounds(), (corners.min(axis=0), corners.max(axis=0)))


def test_a_steep_but_smooth_warp_of_a_whole_tile_is_undone():
    at = np.linspace(0, np.pi, 9)
    grid = np.stack([12 * np.sin(at)[:, None] * np.ones(9), -9 * np.sin(at) * np.ones((9, 1))])
    warp = Warp((64, 64), np.array([[0.9, -0.3], [0.3, 0.9]]), grid)
    points = np.stack(np.meshgrid(np.arange(64.0), np.arange(64.0)), axis=-1).reshape(-1, 2)
    np.testing.assert_allclose(warp.inverse(warp.forward(points)), points, atol=1e-3)


def test_displacements_are_those_of_the_control_points_and_linear_in_between():
    grid = np.random.default_rng(0).uniform(-2, 2, (2, 3, 4))
    warp = Warp((21, 31), grid_px=grid)
    for row in range(3):
        for column in range(4):
            found = warp.displacement([[10 * row, 10 * column]])[0]
            np.testing.assert_allclose(found, grid[:, row, column], atol=1e-6)
    between = warp.displacement([[10, 5], [10, -7], [25, 40]])
    np.testing.assert_allclose(between[0], (grid[:, 1, 0] + grid[:, 1, 1]) / 2, atol=1e-6)
    np.testing.assert_allclose(between[1], grid[:, 1, 0], atol=1e-6)
    np.testing.assert_allclose(between[2], grid[:, 2, 3], atol=1e-6)


def test_a_warp_is_kept_as_plain_values():
    warp = random_warp(np.random.default_rng(3), 3)
    again = Warp.from_dict(json.loads(json.dumps(warp.as_dict())))
    assert again.shape == warp.shape
    np.testing.assert_array_equal(again.matrix, warp.matrix)
    np.testing.assert_array_equal(again.grid_px, warp.grid_px)
    assert again.grid_px.dtype == np.float32
    assert again.fingerprint == warp.fingerprint
    other = warp.grid_px.copy()
    other.ravel()[other.size // 2] += 1e-3
    assert repr(Warp(warp.shape, warp.matrix, other)) != repr(warp) == repr(again)


def test_only_what_does_not_bend_is_the_identity():
    assert Warp((4, 5)).is_identity
    assert Warp((4, 5), grid_px=np.zeros((2, 3, 3))).is_identity
    assert not Warp((4, 5), np.diag([1, 1.01])).is_identity
    assert not Warp((4, 5), grid_px=np.ones((2, 1, 1))).is_identity


def test_a_warp_that_folds_is_not_undone():
    grid = np.zeros((1, 5))
    grid[0, 2] = 30  # beyond the next control point, 25 px away
    warp = Warp((101,), grid_px=grid)
    assert warp.folds
    with pytest.raises(LatticeError, match="folds"):
        warp.inverse([[10.0]])
    assert not Warp((101,), grid_px=grid * 0.5).folds


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"matrix": np.eye(3)}, "2 x 2"),
        ({"matrix": [[1, 0], [1, 0]]}, "flattens"),
        ({"matrix": [[1, 0], [0, np.nan]]}, "finite"),
        ({"grid_px": np.zeros((3, 2, 2))}, "displacements of shape"),
        ({"grid_px": np.full((2, 2, 2), np.inf)}, "displacements of shape"),
    ],
)
def test_what_is_no_warp_is_refused(options, message):
    with pytest.raises(LatticeError, match=message):
        Warp((8, 8), **options)
    with pytest.raises(LatticeError, match="points of shape"):
        Warp((8, 8)).forward([1.0, 2.0])


def test_a_warp_says_how_a_tile_is_bent():
    angle = np.radians(2.5)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    assert "((8, 8), turned by 2.5 degrees, " in repr(Warp((8, 8), turn))
    words = repr(Warp((8, 8), turn @ np.diag([1.01, 0.98])))
    assert "turned by 2.5 degrees, stretched 0.9800 to 1.0100 times" in words
    turned = np.eye(3)
    turned[1:, 1:] = turn
    assert "turned by 2.5 degrees" in repr(Warp((4, 8, 8), turned))
    assert "mirrored" in repr(Warp((8, 8), np.diag([1, -1])))
    assert "not bent" in repr(Warp((8, 8)))
    grid = np.zeros((2, 3, 3))
    grid[:, 1, 1] = 3, 4
    assert "displaced by up to 5.00 px at 3 x 3 control points" in repr(Warp((8, 8), grid_px=grid))
