"""What meets, in micrometres: the search finds what comparing every pair finds."""

import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latticework.lattice import Lattice
from latticework.lattice.halo import Halo, halo
from latticework.lattice.intersections import IntersectingUnits, crop, extent_um
from latticework.testing.strategies import lattices


def extents(lattice, unit, margin=None):
    """(from, to) by axis in micrometres, written down from the definition."""
    tile = lattice.tile(unit)
    sizes = dict(zip(tile.dims, tile.shape, strict=True))
    dims = lattice.tile_dims
    found = {}
    for axis in lattice.spatial_dims:
        low, pixel = tile.position_um[axis], tile.pixel_size_um[axis]
        k = dims.index(axis) if axis in dims else None
        before = 0 if margin is None or k is None else margin.before[k]
        after = 0 if margin is None or k is None else margin.after[k]
        found[axis] = (low - before * pixel, low + (sizes.get(axis, 1) + after) * pixel)
    return found


def by_brute_force(lattice, parent, margin=None):
    other = [d for d in lattice.dims if d in parent.dims and not d.startswith("tile_")]
    pairs = set()
    for a in range(len(lattice)):
        mine = extents(lattice, a, margin)
        for b in range(len(parent)):
            theirs = extents(parent, b)
            labels = lattice.tile(a).labels, parent.tile(b).labels
            meets = all(str(labels[0][d]) == str(labels[1][d]) for d in other)
            for axis in mine:
                if axis in theirs:
                    slack = 1e-3 * min(lattice.pixel_size_um[axis], parent.pixel_size_um[axis])
                    meets &= mine[axis][0] < theirs[axis][1] - slack
                    meets &= theirs[axis][0] < mine[axis][1] - slack
            if meets:
                pairs.add((a, b))
    return pairs


def found_pairs(edge, n):
    which, read = edge.inputs(np.arange(n))
    pairs = list(zip(which.tolist(), read.tolist(), strict=True))
    assert pairs == sorted(set(pairs))  # each once, by unit, in order of ids
    return set(pairs)


@st.composite
def moved(draw):
    """Any lattice, somewhere: its positions shifted, and sometimes scattered."""
    lattice = draw(lattices())
    axes = len(lattice.spatial_dims)
    by = np.array([draw(st.sampled_from([0.0, 3.0, -7.5, 0.35])) for _ in range(axes)])
    position = lattice.position_um + by
    if draw(st.booleans()):
        position = position + np.random.default_rng(draw(st.integers(0, 99))).normal(
            0, 2, position.shape
        )
    return lattice.replace(position_um=position)


@given(moved(), moved(), st.lists(st.integers(0, 3), min_size=8, max_size=8), st.data())
def test_the_search_finds_what_comparing_all_pairs_finds(lattice, parent, margins, data):
    n = len(lattice.tile_dims)
    margin = Halo(tuple(margins[:n]), tuple(margins[4 : 4 + n]), ("none",) * n)
    if "c" in lattice.tile_dims:
        margin = Halo((0, *margin.before[1:]), (0, *margin.after[1:]), margin.modes)
    expected = by_brute_force(lattice, parent, margin)
    edge = IntersectingUnits.between(lattice, parent, margin)
    assert found_pairs(edge, len(lattice)) == expected
    asked = data.draw(st.lists(st.integers(0, len(parent) - 1)))
    readers = edge.readers(np.array(asked, dtype=np.int64)).tolist()
    assert readers == sorted({a for a, b in expected if b in asked})


@given(moved(), moved())
def test_without_a_margin_meeting_is_mutual(lattice, parent):
    there = found_pairs(IntersectingUnits.between(lattice, parent), len(lattice))
    back = found_pairs(IntersectingUnits.between(parent, lattice), len(parent))
    assert {(b, a) for a, b in there} == back


@given(moved(), moved())
def test_the_crop_of_what_meets_are_the_pixels_that_meet(lattice, parent):
    for a, b in sorted(found_pairs(IntersectingUnits.between(lattice, parent), len(lattice))):
        mine = extents(lattice, a)
        near = {axis: low for axis, (low, _) in mine.items()}
        far = {axis: high for axis, (_, high) in mine.items()}
        assert extent_um(lattice.tile(a)) == mine
        box = crop(parent, b, mine)
        tile = parent.tile(b)
        assert tile.box.contains(box)
        assert box.size > 0
        for k, dim in enumerate(parent.tile_dims):
            if dim not in mine:
                assert (box.start[k], box.stop[k]) == (0, tile.shape[k])
                continue
            pixel = parent.pixel_size_um[dim]
            edges = tile.position_um[dim] + np.arange(tile.shape[k] + 1) * pixel
            meets = (edges[:-1] < far[dim] - 2e-3 * pixel) & (edges[1:] > near[dim] + 2e-3 * pixel)
            inside = np.zeros(tile.shape[k], dtype=bool)
            inside[box.start[k] : box.stop[k]] = True
            assert not (meets & ~inside).any()  # nothing that meets is left out
            touches = (edges[:-1] < far[dim]) & (edges[1:] > near[dim])
            assert not (inside & ~touches).any()  # and nothing else is read


def test_units_that_only_touch_do_not_meet():
    tiles = Lattice.from_grid(
        {"y": 3, "x": 3}, tile_shape={"y": 7, "x": 7}, dtype="u1", pixel_size_um=0.1
    )
    edge = IntersectingUnits.between(tiles, tiles)
    assert edge.read.tolist() == list(range(9))  # 3 * 0.7 is not 2.1 in binary
    wide = IntersectingUnits.between(tiles, tiles, halo(tiles, {"x": (0, 1)}))
    assert wide.inputs(np.array([3, 4, 5]))[1].tolist() == [3, 4, 4, 5, 5]


def test_axes_that_only_one_lattice_has_do_not_restrict():
    flat = Lattice.from_grid({"y": 1, "x": 2}, tile_shape={"y": 8, "x": 8}, dtype="u1")
    deep = Lattice.from_array(np.zeros((20, 8, 16), "u1"), block={"z": 5, "x": 8})
    assert IntersectingUnits.between(flat, deep).inputs(np.array([1]))[1].tolist() == [1, 3, 5, 7]
    one = Lattice.unit()
    assert IntersectingUnits.between(flat, one).read.tolist() == [0, 0]


def test_rounds_meet_rounds_of_the_same_label():
    def rounds(labels):
        grid = Lattice.from_grid({"y": 1, "x": 1}, tile_shape={"y": 8, "x": 8}, dtype="u1")
        n = len(labels)
        return grid.replace(
            dims=("round", "tile_y", "tile_x"),
            labels={"round": np.array(labels), "tile_y": [0], "tile_x": [0]},
            index=np.stack([np.arange(n), np.zeros(n, int), np.zeros(n, int)], axis=1),
            ids=np.arange(n),
            position_um=np.zeros((n, 2)),
        )

    edge = IntersectingUnits.between(rounds(["a", "b"]), rounds(["b", "c", "a"]))
    assert found_pairs(edge, 2) == {(0, 2), (1, 0)}
    assert not found_pairs(IntersectingUnits.between(rounds([1, 2]), rounds([3])), 2)


def test_nothing_meets_what_is_elsewhere():
    tiles = Lattice.from_grid({"y": 2, "x": 2}, tile_shape={"y": 8, "x": 8}, dtype="u1")
    far_away = tiles.replace(position_um=tiles.position_um + 1e9)
    edge = IntersectingUnits.between(tiles, far_away)
    assert edge.inputs(np.arange(4))[1].tolist() == []
    assert edge.readers(np.arange(4)).tolist() == []


@pytest.mark.parametrize("dims", [2, 3])
def test_a_hundred_thousand_tiles_and_blocks_take_seconds(dims):
    grid = (316, 316) if dims == 2 else (10, 100, 100)
    axes = "zyx"[-dims:]
    tiles = Lattice.from_grid(
        dict(zip(axes, grid, strict=True)),
        tile_shape=dict.fromkeys(axes, 100),
        dtype="u1",
        overlap=dict.fromkeys(axes, 10),
    )
    rng = np.random.default_rng(0)
    tiles = tiles.replace(position_um=tiles.position_um + rng.normal(0, 2, (len(tiles), dims)))
    blocks = Lattice.from_grid(
        dict(zip(axes, grid, strict=True)), tile_shape=dict.fromkeys(axes, 90), dtype="u1"
    )
    tracemalloc.start()
    began = time.perf_counter()
    edge = IntersectingUnits.between(blocks, tiles)
    seconds, (_, peak) = time.perf_counter() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    print(f"{dims}-D: {len(edge.read):,} pairs, {seconds:.2f} s, {peak / 2**20:.0f} MiB")
    assert len(edge.read) >= len(tiles)
    assert seconds < 20  # some 2 s here; machines differ
    assert peak < 2**29
