"""Neighbours at offsets, planes and groups: laws of which unit reads which."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from latticework.lattice import Lattice
from latticework.lattice.dependencies import GroupUnit, MemberUnits, OffsetUnits, plane_groups
from latticework.lattice.offsets import resolve_offsets
from latticework.stages.collections import offset_names
from latticework.stages.lattices import plane_lattice
from latticework.testing.strategies import tile_lattices


@st.composite
def stepping(draw):
    """A lattice, offsets, and labels of planes to step over."""
    lattice = draw(tile_lattices())
    steps = st.tuples(*(st.integers(-2, 2) for _ in lattice.dims)).filter(any)
    offsets = np.array(draw(st.lists(steps, min_size=1, max_size=5, unique=True)))
    skipped = {
        dim: draw(st.lists(st.sampled_from(lattice.labels[dim].tolist()), unique=True))
        for dim in draw(st.lists(st.sampled_from(lattice.dims), unique=True))
    }
    return lattice, offsets, skipped


def kept_positions(lattice, skipped, dim):
    labels = lattice.labels[dim].tolist()
    return [i for i, label in enumerate(labels) if label not in skipped.get(dim, ())]


def neighbour(lattice, skipped, unit, offset):
    """One neighbour, walked to step by step."""
    where = []
    for column, dim in enumerate(lattice.dims):
        kept, here = kept_positions(lattice, skipped, dim), int(lattice.index[unit, column])
        if here not in kept or not 0 <= kept.index(here) + offset[column] < len(kept):
            return -1
        where.append(kept[kept.index(here) + offset[column]])
    return int(lattice.id_grid[tuple(where)])


@given(stepping())
def test_neighbours_are_counted_among_the_planes_that_are_not_skipped(case):
    lattice, offsets, skipped = case
    edge = OffsetUnits.stepping(lattice, offsets, skipped)
    expected = [
        [neighbour(lattice, skipped, unit, offset) for offset in offsets.tolist()]
        for unit in range(len(lattice))
    ]
    assert edge.neighbours(np.arange(len(lattice))).tolist() == expected


@given(tile_lattices(), st.data())
def test_without_skipped_planes_neighbours_are_those_of_the_lattice(lattice, data):
    steps = st.tuples(*(st.integers(-2, 2) for _ in lattice.dims)).filter(any)
    offsets = np.array(data.draw(st.lists(steps, min_size=1, max_size=4, unique=True)))
    edge = OffsetUnits.stepping(lattice, offsets, {})
    np.testing.assert_array_equal(
        edge.neighbours(np.arange(len(lattice))), lattice.neighbours_of(lattice.index, offsets)
    )


def check_inverse(edge, n_units, n_parents, asked):
    which, parents = edge.inputs(np.arange(n_units))
    pairs = set(zip(which.tolist(), parents.tolist(), strict=True))
    assert len(pairs) == len(which)
    assert all(0 <= parent < n_parents for _, parent in pairs)
    readers = edge.readers(np.array(asked, dtype=np.int64)).tolist()
    assert readers == sorted({unit for unit, parent in pairs if parent in asked})


@given(stepping(), st.data())
def test_who_reads_a_neighbour_is_the_inverse_of_what_is_read(case, data):
    lattice, offsets, skipped = case
    n = len(lattice)
    edge = OffsetUnits.stepping(lattice, offsets, skipped)
    check_inverse(edge, n, n, data.draw(st.lists(st.integers(0, n - 1), unique=True)))


@given(tile_lattices(), st.data())
def test_planes_read_their_tiles_and_tiles_their_planes(lattice, data):
    dim = data.draw(st.sampled_from(lattice.dims))
    groups, planes = plane_groups(lattice, dim), plane_lattice(lattice, dim)
    n, n_planes = len(lattice), len(planes)
    up, down = MemberUnits(groups, n_planes), GroupUnit(groups)
    check_inverse(up, n_planes, n, data.draw(st.lists(st.integers(0, n - 1), unique=True)))
    some_planes = st.lists(st.integers(0, n_planes - 1), unique=True)
    check_inverse(down, n, n_planes, data.draw(some_planes))
    for plane in range(n_planes):
        label = planes.tile(plane).labels[dim]
        members = up.inputs(np.array([plane]))[1].tolist()
        assert members == lattice.ids[[t.labels[dim] == label for t in lattice]].tolist()
        assert set(down.inputs(np.array(members))[1].tolist()) == {plane}


@given(stepping())
def test_offset_names_say_the_offset(case):
    lattice, offsets, _ = case
    names = offset_names(offsets, lattice.dims)
    assert len(set(names)) == len(offsets)
    assert resolve_offsets(names, lattice.dims).tolist() == offsets.tolist()


def test_a_step_over_skipped_planes():
    lattice = Lattice.from_grid(
        {"z": 5, "y": 1, "x": 1}, tile_shape={"z": 2, "y": 2, "x": 2}, dtype="u1"
    )
    edge = OffsetUnits.stepping(lattice, np.array([[1, 0, 0], [-1, 0, 0]]), {"tile_z": [1, 2]})
    assert edge.neighbours(np.arange(5)).tolist() == [[3, -1], [-1, -1], [-1, -1], [4, 0], [-1, 3]]
