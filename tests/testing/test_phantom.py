"""The phantom is a function of place: what is drawn does not depend on the box it is drawn in."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latticework.testing import Phantom
from latticework.testing.fields import hash_uniform, interpolate_nodes, value_noise
from latticework.testing.strategies import boxes

BRAIN = Phantom(seed=5, centre_um=(20, 60, 90), half_size_um=(60, 55, 85))
SHAPE = (24, 110, 170)


@pytest.fixture(scope="module")
def whole():
    return BRAIN.render((0, 0, 0), SHAPE)


@settings(max_examples=30)
@given(box=boxes(SHAPE))
def test_any_box_equals_the_crop_to_the_last_bit(whole, box):
    np.testing.assert_array_equal(BRAIN.render(box.start, box.shape), whole[box.slices])


@given(
    shift=st.tuples(*[st.integers(-3, 3)] * 3),
    fraction=st.tuples(*[st.sampled_from([0.0, 0.25, 0.5])] * 3),
    size=st.sampled_from([(1.0, 1.0, 1.0), (2.5, 0.7, 0.7)]),
)
def test_boxes_at_equal_fractions_of_a_pixel_agree(shift, fraction, size):
    origin = np.array([4.0, 20.0, 30.0]) + fraction
    first = BRAIN.render(origin, (10, 30, 40), pixel_size_um=size)
    other = BRAIN.render(origin + shift, (10, 30, 40), pixel_size_um=size)
    start = np.maximum(shift, 0)
    stop = np.minimum(np.array([10, 30, 40]) + shift, (10, 30, 40))
    inside = tuple(map(slice, start, stop))
    moved = tuple(map(slice, start - shift, stop - shift))
    np.testing.assert_allclose(first[inside], other[moved], rtol=2e-6)


def test_the_phantom_is_the_same_every_time_and_differs_by_seed(whole):
    again = Phantom.from_spec(BRAIN.spec()).render((0, 0, 0), SHAPE)
    np.testing.assert_array_equal(again, whole)
    other = Phantom(seed=6, centre_um=BRAIN.centre_um, half_size_um=BRAIN.half_size_um)
    assert not np.array_equal(other.render((0, 0, 0), SHAPE), whole)


def test_outside_the_outline_there_is_only_glass():
    far = BRAIN.render((0, 1000, 1000), (4, 30, 30))
    assert (far == np.float32(0.01)).all()
    assert len(BRAIN.cells((0, 1000, 1000), (50, 1100, 1100))) == 0


def test_cells_of_two_halves_are_the_cells_of_the_whole():
    both = BRAIN.cells((0, 0, 0), (24, 110, 170))
    left = BRAIN.cells((0, 0, 0), (24, 110, 81.3))
    right = BRAIN.cells((0, 0, 81.3), (24, 110, 170))
    assert len(both) > 10
    together = np.concatenate([left.centre_um, right.centre_um])
    assert set(map(tuple, together)) == set(map(tuple, both.centre_um))
    assert len(left) + len(right) == len(both)


def test_a_cell_is_brightest_at_its_centre():
    phantom = Phantom(seed=2)
    cells = phantom.cells((20, 20, 20), (80, 180, 180))
    image = phantom.render((0, 0, 0), (100, 200, 200), fibres=0, tissue=0)
    centre = np.round(cells.centre_um).astype(int)
    height = image[tuple(centre.T)] - 0.01
    assert len(cells) > 50
    # Blurred by the microscope, and lit a little by neighbours.
    assert (height > 0.45 * cells.brightness).all()
    assert (height < 1.0 * cells.brightness + 0.3).all()


def test_hashed_numbers_are_uniform_and_uncorrelated():
    draws = hash_uniform(3, 1, np.arange(300)[:, None], np.arange(-150, 150))
    counts = np.histogram(draws, bins=20, range=(0, 1))[0]
    assert np.abs(counts - draws.size / 20).max() < 5 * np.sqrt(draws.size / 20)
    for other in (
        draws[1:, :],
        draws[:, 1:],
        hash_uniform(3, 2, np.arange(300)[:, None], np.arange(300)),
    ):
        here = draws[: other.shape[0], : other.shape[1]]
        assert abs(np.corrcoef(here.ravel(), other.ravel())[0, 1]) < 0.02


def test_smooth_fields_are_smooth_across_their_nodes():
    x = np.linspace(-120, 120, 4801)
    field = value_noise(1, 0, 40.0, x)
    assert field.min() >= 0
    assert field.max() < 1
    assert np.abs(np.diff(field)).max() < 1.5 * 0.05 / 40 * 1.1  # steepest slope of the smooth step
    spline = interpolate_nodes(lambda at: hash_uniform(1, 1, at[0]), (0,), (2000,), (50.0,))
    assert np.abs(np.diff(spline)).max() < 1.1 / 50
