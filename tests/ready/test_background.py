"""Background goes, cells stay, and a halo makes tiles equal the whole picture."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from latticework.errors import StageError
from latticework.stages.ready import subtract_background
from latticework.testing.strategies import arrays, dtypes


@settings(max_examples=25)
@given(
    picture=arrays(ndim=2, max_side=60),
    radius=st.integers(3, 12),
    start=st.tuples(st.integers(0, 50), st.integers(0, 50)),
)
def test_with_a_halo_of_radius_any_tile_equals_the_whole_picture(picture, radius, start):
    y, x = (min(s, n - 1) for s, n in zip(start, picture.shape, strict=True))
    stop = min(y + 15, picture.shape[0]), min(x + 15, picture.shape[1])
    padded = np.pad(picture, radius, mode="symmetric")
    part = padded[y : stop[0] + 2 * radius, x : stop[1] + 2 * radius]
    tile = subtract_background(part, radius_px=radius)[radius:-radius, radius:-radius]
    whole = subtract_background(picture, radius_px=radius)
    np.testing.assert_array_equal(tile, whole[y : stop[0], x : stop[1]])


def test_a_slope_goes_and_cells_stay():
    y, x = np.mgrid[:200, :300]
    cells = sum(
        500 * np.exp(-((y - a) ** 2 + (x - b) ** 2) / 18)
        for a, b in [(40, 50), (150, 220), (90, 160)]
    )
    noise = np.random.default_rng(0).normal(0, 5, y.shape)
    picture = (1000 + 2.0 * x + y + cells + noise).astype("uint16")
    clean = subtract_background(picture, radius_px=31)
    assert clean.dtype == np.uint16
    for a, b in [(40, 50), (150, 220), (90, 160)]:
        assert clean[a, b] == pytest.approx(500, abs=75)
    assert np.median(clean) < 60


@given(dtype=dtypes)
def test_dtype_and_shape_stay(dtype):
    tile = xr.DataArray(np.ones((2, 3, 9, 8), dtype=dtype), dims=("c", "z", "y", "x"))
    clean = subtract_background(tile, radius_px=5)
    assert clean.dims == tile.dims
    assert clean.dtype == dtype
    assert (clean == 0).all()


def test_planes_are_independent():
    planes = np.random.default_rng(1).integers(0, 60000, (4, 40, 40), dtype="uint16")
    together = subtract_background(planes, radius_px=9)
    for k in range(4):
        np.testing.assert_array_equal(together[k], subtract_background(planes[k], radius_px=9))


def test_too_small_a_radius_is_refused():
    with pytest.raises(StageError, match="at least 3"):
        subtract_background(np.zeros((9, 9)), radius_px=2)
