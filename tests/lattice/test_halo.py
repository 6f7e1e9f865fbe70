"""Assembled halos are the whole array, padded by the boundary mode and cut."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latticework.errors import LatticeError
from latticework.lattice import Lattice
from latticework.lattice.halo import HaloGeometry, fill, halo
from latticework.testing.strategies import tile_lattices

MODES = st.sampled_from(["none", "reflect", "nearest", "periodic", 7])
PAD = {"reflect": "symmetric", "nearest": "edge", "periodic": "wrap"}


def assembled(lattice, geometry, tile):
    plan = geometry.plan(tile)
    array = np.full(plan.shape, 255, lattice.dtype)
    for piece in plan.pieces:
        array[piece.target.slices] = lattice.source.read(piece.tile, piece.source)
    return fill(array, plan), plan


def whole_padded(array, before, after, modes):
    for axis, (b, a, mode) in enumerate(zip(before, after, modes, strict=True)):
        widths = [(0, 0)] * array.ndim
        widths[axis] = (b, a)
        if mode == "none":
            continue
        if isinstance(mode, str):
            array = np.pad(array, widths, mode=PAD[mode])
        else:
            array = np.pad(array, widths, constant_values=mode)
    return array


@st.composite
def cases(draw):
    axes = draw(st.sampled_from(["yx", "zyx"]))
    shape = tuple(draw(st.integers(1, 9)) for _ in axes)
    block = {axis: draw(st.integers(1, 10)) for axis in axes}
    margin = st.integers(0, 7)
    overlap = {axis: (draw(margin), draw(margin)) for axis in axes}
    boundary = {axis: draw(MODES) for axis in axes}
    return shape, block, overlap, boundary


@given(cases())
def test_assembled_halos_equal_the_padded_whole_array(case):
    shape, block, overlap, boundary = case
    array = np.random.default_rng(0).integers(0, 250, shape).astype("u1")
    lattice = Lattice.from_array(array, block=block)
    margins = halo(lattice, overlap, boundary)
    geometry = HaloGeometry(lattice, margins)
    padded = whole_padded(array, margins.before, margins.after, margins.modes)
    for tile in lattice.ids.tolist():
        box = lattice.volume_box(tile)
        expected = []
        for k, mode in enumerate(margins.modes):
            low, high = box.start[k] - margins.before[k], box.stop[k] + margins.after[k]
            none = mode == "none"
            shift = 0 if none else margins.before[k]
            expected.append(
                slice(max(low, 0), min(high, shape[k]))
                if none
                else slice(low + shift, high + shift)
            )
        result, plan = assembled(lattice, geometry, tile)
        np.testing.assert_array_equal(result, padded[tuple(expected)])
        np.testing.assert_array_equal(result[plan.inner.slices], array[box.slices])


def overlapping(shape, step, size):
    rng = np.random.default_rng(1)
    volume = rng.integers(
        0, 250, [(n - 1) * s + t for n, s, t in zip(shape, step, size, strict=True)]
    )
    lattice = Lattice.from_grid(
        dict(zip("yx", shape, strict=True)),
        tile_shape=dict(zip("yx", size, strict=True)),
        dtype="u1",
        overlap={a: t - s for a, t, s in zip("yx", size, step, strict=True)},
    )

    class Source:
        def read(self, tile, box):
            return volume.astype("u1")[box.shift(lattice.volume_box(tile).start).slices]

    return lattice.replace(source=Source()), volume.astype("u1")


@given(st.integers(1, 3), st.integers(1, 3), st.integers(0, 6), st.integers(0, 6))
def test_halos_of_overlapping_tiles_continue_the_scene(rows, columns, before, after):
    lattice, volume = overlapping((rows, columns), (4, 5), (7, 6))
    geometry = HaloGeometry(lattice, halo(lattice, {"y": (before, after), "x": (after, before)}))
    for tile in lattice.ids.tolist():
        box = lattice.volume_box(tile).dilate((before, after), (after, before))
        clipped = tuple(slice(max(s.start, 0), s.stop) for s in box.slices)
        np.testing.assert_array_equal(assembled(lattice, geometry, tile)[0], volume[clipped])


def test_a_constant_boundary_fills_exactly_what_is_missing():
    array = np.arange(1, 82, dtype="u1").reshape(9, 9)
    whole = Lattice.from_array(array, block={"y": 3, "x": 3})
    holed = whole.take([i for i in whole.ids.tolist() if i != 5])
    holed = holed.replace(source=whole.source)
    result, _ = assembled(holed, HaloGeometry(holed, halo(holed, 2, 0)), 4)
    expected = array[1:8, 1:8].copy()
    expected[2:5, 5:] = 0
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("mode", ["reflect", "nearest", "none", "periodic"])
def test_holes_are_filled_from_what_is_next_to_them(mode):
    array = np.arange(1, 82, dtype="u1").reshape(9, 9)
    whole = Lattice.from_array(array, block={"y": 3, "x": 3})
    holed = whole.take([i for i in whole.ids.tolist() if i not in (5, 0)]).replace(
        source=whole.source
    )
    result, plan = assembled(holed, HaloGeometry(holed, halo(holed, 2, mode)), 4)
    tile = array[3:6, 3:6]
    np.testing.assert_array_equal(result[plan.inner.slices], tile)
    if mode == "none":
        assert result.shape == (7, 5)
        return
    expected = {"reflect": tile[:, :-3:-1], "nearest": tile[:, [2, 2]], "periodic": tile[:, [2, 2]]}
    np.testing.assert_array_equal(result[2:5, 5:], expected[mode])
    assert 255 not in result


def test_halos_that_cannot_be_are_refused():
    lattice = Lattice.from_grid(
        {"y": 2, "x": 2}, tile_shape={"y": 8, "x": 8}, dtype="u1", overlap=2
    )
    for bad in ({"z": 1}, {"y": -1}, {"y": (1, 2, 3)}):
        with pytest.raises(LatticeError):
            halo(lattice, bad)
    with pytest.raises(LatticeError, match="abutting"):
        halo(lattice, 1, "periodic")
    with pytest.raises(LatticeError, match="mirror"):
        halo(lattice, 1, "mirror")


@given(tile_lattices(), st.data())
def test_absent_tiles_are_holes(lattice, data):
    absent = set(data.draw(st.lists(st.sampled_from(lattice.ids.tolist()))))
    axes = {axis: 2 for axis in lattice.tile_dims if axis != "c"}
    mode = data.draw(st.sampled_from(["none", "reflect", "nearest", 3]))
    present = [i for i in lattice.ids.tolist() if i not in absent]
    for tile in present[:3]:
        holed = lattice.take(present)
        expected = HaloGeometry(holed, halo(holed, axes, mode)).plan(tile)
        assert HaloGeometry(lattice, halo(lattice, axes, mode)).plan(tile, absent) == expected
