"""Acquisitions of many kinds are placed where they truly are, and nothing wrong is trusted."""

import zlib

import numpy as np
import pytest

from latticework.stitch import place, register
from tests.stitch.acquisitions import KINDS

UNKNOWABLE = {
    "weave": "repeats",
    "weave with spots": "repeats",
    "weave, fine": "repeats",
    "weave, wide": "repeats",
    "beads": "repeats",
    "beads, large grid": "repeats",
    "beads, shaded": "repeats",
    "stripes": "repeats",
    "noise alone": "shows nothing",
    "fixed pattern, empty": "shows nothing",
}
"""Kinds of which nothing can be known."""
RARE = {
    "sparse",
    "sparse whole",
    "sparse rare",
    "sparse no backlash",
    "sparse 8 bit",
    "small, 10 %",
}
"""Kinds with overlaps that show nothing or a single cell cut by an edge, or of a few pixels."""
QUICK = (
    "rotated 2, 5 %",
    "step 10 % is 6 %",
    "small 3-D",
    "overlap 0.04",
    "gains, offset 2000",
    "beads",
    "small",
    "6 x 1",
)


def placed(kind, seed=0):
    acquisition = KINDS[kind](np.random.default_rng([seed, zlib.crc32(kind.encode())]))
    links = register(acquisition.lattice)
    return acquisition, place(acquisition.lattice, links)


def within_groups(acquisition, placement):
    """How far each tile is from its truth, beside the tiles that links join it to."""
    apart = placement.lattice.position_um - acquisition.truth
    group = placement.tiles.group.to_numpy()
    for number in np.unique(group):
        apart[group == number] -= np.median(apart[group == number], axis=0)
    return np.linalg.norm(apart, axis=1)


def wrong(acquisition, placement, limit=2.0):
    """Trusted links that are wrong."""
    links = placement.links[placement.links.trusted]
    dims = placement.lattice.spatial_dims
    offsets = links[[f"offset_{dim}_px" for dim in dims]].to_numpy()
    truth = acquisition.truth
    true = truth[links["second"].to_numpy(int)] - truth[links["first"].to_numpy(int)]
    return links[np.linalg.norm(offsets - true, axis=1) > limit]


def check(kind, seed=0):
    acquisition, found = placed(kind, seed)
    assert wrong(acquisition, found).empty
    if kind in UNKNOWABLE:
        assert found.links.trusted.sum() <= 1
        return
    if not len(found.links):  # a single tile: nothing moves it
        nominal = acquisition.lattice.position_um
        np.testing.assert_array_equal(found.lattice.position_um, nominal)
        return
    joined = (found.tiles.placed_by == "links").to_numpy()
    error = within_groups(acquisition, found)[joined]
    assert np.sqrt(np.square(error).mean()) < 0.15, error


@pytest.mark.parametrize("kind", QUICK)
def test_tiles_are_placed_where_they_are(kind):
    check(kind)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in {*RARE, *QUICK}])
def test_tiles_of_any_kind_are_placed_where_they_are(kind):
    check(kind)


@pytest.mark.slow
def test_a_step_that_was_said_wrong_is_found_far_away():
    acquisition, found = placed("step 15 % is 10 %")
    assert found.links.trusted.all()
    assert within_groups(acquisition, found).max() < 0.1


def test_a_thin_strip_with_few_cells_is_not_drawn_aside_by_its_edges():
    acquisition, found = placed("sparse dense")
    error = within_groups(acquisition, found)
    assert np.sqrt(np.square(error).mean()) < 0.1
    assert wrong(acquisition, found).empty
