"""How far tiles may lie from where they should: as it is said, and along z."""

import numpy as np
import pandas as pd
import pytest

from latticework.errors import LatticeError
from latticework.stitch import register, register_points
from tests.ready.test_points import image_of
from tests.stitch.acquisitions import lattice_of
from tests.stitch.test_stitching import scene_of, tiles_of

BOTH = pytest.mark.parametrize("compare", [register, register_points])


@pytest.fixture(scope="module")
def two():
    """Two tiles, side by side."""
    return tiles_of(scene_of((1, 2)), (1, 2), noise=4)[0]


@BOTH
@pytest.mark.parametrize("given", [9, {"x": 9, "y": 9}, np.array([9, 9])])
def test_a_reach_is_one_number_by_axis_or_one_for_each(two, compare, given):
    links = compare(two, reach=given)
    pd.testing.assert_frame_equal(links, compare(two, reach=(9, 9)))
    assert links.trusted.all() or compare is register_points


def test_a_stitching_takes_a_reach_by_axis(whole, two):
    done = whole(two, reach={"y": 12, "x": 9}, light="no", gains="no")
    assert done.project.pipeline["pairs"].definition["params"]["reach"] == [12, 9]


@BOTH
@pytest.mark.parametrize(
    "wrong", ["far", (9,), (9, np.nan), {"x": 9}, {"z": 9, "y": 9, "x": 9}, 0, [None, 9]]
)
def test_a_reach_of_no_sense_is_refused_with_what_was_given_and_expected(two, compare, wrong):
    words = r"^reach=.*: give pixels, above 0: one number, or one along each of y, x$"
    with pytest.raises(LatticeError, match=words) as refused:
        compare(two, reach=wrong)
    assert repr(wrong) in str(refused.value)


def test_spots_are_looked_for_twice_as_far_along_z_and_how_far_is_said_where_there_are_none():
    rng = np.random.default_rng(4)
    scene = rng.uniform(0, 1, (400, 3)) * (60, 200, 270)
    truth, nominal = np.array([11.0, 9.0, 145.0]), np.array([0.0, 0.0, 140.0])
    images = [image_of(scene - at, (40, 160, 200), rng, sigma=1.6) for at in (np.zeros(3), truth)]
    lattice = lattice_of(images, [(0, 0), (0, 1)], [np.zeros(3), nominal])
    links = register_points(lattice)
    assert links.trusted.all()
    offset = links[["offset_z_px", "offset_y_px", "offset_x_px"]].to_numpy()[0]
    np.testing.assert_allclose(offset, truth, atol=0.5)
    nearer = register_points(lattice, reach={"z": 4, "y": 16, "x": 16})
    assert nearer.why[0] == "too few spots that both tiles show within 4 planes, y 16 and x 16 px"
