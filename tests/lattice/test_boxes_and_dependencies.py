"""Boxes are sets of pixels; what reads a unit is the inverse of what a unit reads."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latticework.lattice import Box, Lattice
from latticework.lattice.dependencies import EveryUnit, NearbyUnits, SameUnit
from latticework.testing.strategies import boxes, tile_lattices

SHAPE = (6, 7)


def pixels(box):
    mask = np.zeros(SHAPE, dtype=bool)
    mask[box.slices] = True
    return mask


@given(boxes(SHAPE, empty=True), boxes(SHAPE, empty=True))
def test_boxes_meet_and_contain_like_sets_of_pixels(a, b):
    both = a.intersect(b)
    np.testing.assert_array_equal(pixels(both), pixels(a) & pixels(b))
    assert both.size == np.count_nonzero(pixels(a) & pixels(b))
    assert a.meets(b) == bool(both.size)
    assert a.size == np.count_nonzero(pixels(a))
    assert Box.whole(SHAPE).contains(a)
    if a.contains(b):
        assert not (pixels(b) & ~pixels(a)).any()


@given(boxes(SHAPE), st.tuples(*[st.integers(-9, 9)] * 2), st.tuples(*[st.integers(0, 9)] * 2))
def test_boxes_move_and_grow(box, by, margin):
    moved = box.shift(by)
    assert moved.shape == box.shape
    assert moved.shift([-n for n in by]) == box
    grown = box.dilate(margin, (0, 0))
    assert grown.contains(box)
    assert grown.shape == tuple(np.add(box.shape, margin).tolist())


@pytest.mark.parametrize(("start", "stop"), [((0,), (1, 2)), ((3,), (2,))])
def test_boxes_that_are_none_are_refused(start, stop):
    with pytest.raises(ValueError, match="box from"):
        Box(start, stop)


# -------------------------------------------------------------------- dependencies


@st.composite
def edges(draw):
    """A dependency, with the number of units and of parents."""
    lattice = draw(tile_lattices())
    n = len(lattice)
    kind = draw(st.sampled_from(["same", "nearby", "every", "one"]))
    if kind == "same":
        return SameUnit(), n, n
    if kind == "every":
        return EveryUnit(n), 1, n
    if kind == "one":
        return EveryUnit(1, n), n, 1
    steps = st.tuples(*(st.integers(-2, 2) for _ in lattice.dims)).filter(any)
    offsets = draw(st.lists(steps, min_size=1, max_size=6, unique=True))
    periodic = draw(st.just(()) | st.tuples(*(st.booleans() for _ in lattice.dims)))
    return NearbyUnits(lattice, np.array(offsets), periodic), n, n


@given(edges(), st.data())
def test_readers_are_the_inverse_of_inputs(edge, data):
    dependency, n_units, n_parents = edge
    units = np.array(data.draw(st.permutations(range(n_units))), dtype=np.int64)
    which, parents = dependency.inputs(units)
    pairs = set(zip(units[which].tolist(), parents.tolist(), strict=True))
    asked = data.draw(st.lists(st.integers(0, n_parents - 1)))
    readers = dependency.readers(np.array(asked, dtype=np.int64)).tolist()
    assert readers == sorted({unit for unit, parent in pairs if parent in asked})


@given(edges(), st.data())
def test_inputs_of_some_units_are_those_among_all(edge, data):
    dependency, n_units, _ = edge
    which, parents = dependency.inputs(np.arange(n_units))
    some = data.draw(st.lists(st.integers(0, n_units - 1), unique=True))
    place, found = dependency.inputs(np.array(some, dtype=np.int64))
    for k, unit in enumerate(some):
        assert found[place == k].tolist() == parents[which == unit].tolist()


def test_around_the_end_of_a_periodic_axis_the_neighbour_is_on_the_far_side():
    lattice = Lattice.from_grid({"y": 2, "x": 4}, tile_shape={"y": 2, "x": 2}, dtype="u1")
    edge = NearbyUnits(lattice, np.array([[0, -1]]), (False, True))
    assert edge.inputs(np.array([0, 5]))[1].tolist() == [0, 3, 5, 4]
    assert edge.readers(np.array([3])).tolist() == [0, 3]
