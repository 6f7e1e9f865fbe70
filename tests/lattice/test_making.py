"""Lattices from a grid, from positions, from an array and from parts; what is wrong is named."""

import csv
import time

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from latticework.errors import LatticeError
from latticework.lattice import Box, Lattice

SQUARE = {"tile_shape": {"y": 10, "x": 10}, "dtype": "u2"}


def visits(**options):
    """Positions (row, column) in order of ids."""
    return Lattice.from_grid({"y": 2, "x": 3}, **SQUARE, **options).index.tolist()


# -------------------------------------------------------------------- grids


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "00 01 02 10 11 12"),
        ({"snake": True}, "00 01 02 12 11 10"),
        ({"order": "column"}, "00 10 01 11 02 12"),
        ({"order": "column", "snake": True}, "00 10 11 01 02 12"),
        ({"start": "top-right"}, "02 01 00 12 11 10"),
        ({"start": "bottom-left"}, "10 11 12 00 01 02"),
        ({"start": "bottom-right", "snake": True}, "12 11 10 00 01 02"),
        ({"start": "bottom-right", "order": "column"}, "12 02 11 01 10 00"),
        ({"start": "top-right", "order": "column", "snake": True}, "02 12 11 01 00 10"),
    ],
)
def test_a_grid_is_visited_in_the_order_given(options, expected):
    assert visits(**options) == [[int(y), int(x)] for y, x in expected.split()]


@given(
    st.integers(1, 5),
    st.integers(1, 5),
    st.sampled_from(["row", "column"]),
    st.booleans(),
    st.sampled_from(["top-left", "top-right", "bottom-left", "bottom-right"]),
)
def test_every_order_visits_each_position_once_and_a_snake_never_jumps(
    rows, columns, order, snake, start
):
    lattice = Lattice.from_grid(
        {"y": rows, "x": columns}, **SQUARE, order=order, snake=snake, start=start
    )
    assert sorted(map(tuple, lattice.index)) == list(np.ndindex(rows, columns))
    assert lattice.index[0].tolist() == [
        rows - 1 if "bottom" in start else 0,
        columns - 1 if "right" in start else 0,
    ]
    if snake:
        assert (np.abs(np.diff(lattice.index, axis=0)).sum(axis=1) == 1).all()


def test_further_axes_are_scanned_slowest():
    lattice = Lattice.from_grid({"well": 2, "z": 2, "y": 1, "x": 2}, **SQUARE, snake=True)
    assert lattice.dims == ("well", "tile_z", "tile_y", "tile_x")
    assert lattice.index[:, 0].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert lattice.index[:, 1].tolist() == [0, 0, 1, 1, 0, 0, 1, 1]


def test_the_order_of_a_real_acquisition_is_that_of_its_reference(shared_data):
    with (shared_data / "wsi_brain_2d" / "positions_reference.csv").open() as file:
        rows = list(csv.DictReader(file))
    index = np.array([[int(row["row"]), int(row["col"])] for row in rows])
    y, x = (index.max(axis=0) + 1).tolist()
    shape = {"tile_shape": {"y": 512, "x": 512}, "dtype": "u1"}
    options = [
        {"order": order, "snake": snake, "start": start}
        for order in ("row", "column")
        for snake in (False, True)
        for start in ("top-left", "top-right", "bottom-left", "bottom-right")
    ]
    fitting = [
        o
        for o in options
        if np.array_equal(Lattice.from_grid({"y": y, "x": x}, **shape, **o).index, index)
    ]
    assert fitting == [{"order": "row", "snake": True, "start": "top-right"}]

    lattice = Lattice.from_grid({"y": y, "x": x}, **shape, **fitting[0], overlap=51)
    nominal = [[float(row["nominal_y"]), float(row["nominal_x"])] for row in rows]
    np.testing.assert_array_equal(lattice.position_um, nominal)
    reference = np.array([[float(row["ref_y"]), float(row["ref_x"])] for row in rows])
    for positions in (np.array(nominal), reference):
        found = Lattice.from_positions(positions, **shape)
        np.testing.assert_array_equal(found.index, index)
        assert abs(found.step_px["x"] - 461) <= 1


@pytest.mark.parametrize(
    ("overlap", "step"),
    [
        (None, {"y": 10, "x": 10}),
        (2, {"y": 8, "x": 8}),
        (np.int64(2), {"y": 8, "x": 8}),
        (0.1, {"y": 9, "x": 9}),
        ({"x": 3}, {"y": 10, "x": 7}),
        ({"y": 0.25, "x": 1}, {"y": 8, "x": 9}),
        ("10%", {"y": 9, "x": 9}),
        ({"y": "20 %", "x": 2.0}, {"y": 8, "x": 8}),
    ],
)
def test_overlap_is_in_pixels_or_a_fraction(overlap, step):
    lattice = Lattice.from_grid({"y": 2, "x": 2}, **SQUARE, overlap=overlap)
    assert lattice.step_px == step
    assert lattice.overlap_px == {axis: 10 - n for axis, n in step.items()}
    assert lattice.position_um[3].tolist() == list(map(float, step.values()))


@pytest.mark.parametrize(
    ("grid", "options", "words"),
    [
        ({"y": 0, "x": 2}, {}, "at least one"),
        ({"x": 2, "y": 2}, {}, "ends in y, x"),
        ({"y": 2, "x": 2}, {"order": "diagonal"}, "order"),
        ({"y": 2, "x": 2}, {"start": "middle"}, "top-left"),
        ({"y": 2, "x": 2}, {"overlap": 10}, "10 px"),
        ({"y": 2, "x": 2}, {"overlap": {"z": 1}}, "z"),
        ({"y": 2, "x": 2}, {"names": ["one"]}, "1 names were given for 4 tiles"),
        ({"y": 2, "x": 2}, {"tile_shape": {"y": 4, "t": 4}}, "t"),
        ({"y": 2, "x": 2}, {"tile_shape": {"y": 4, "x": 0}}, "no pixels"),
        ({"y": 2, "x": 2}, {"pixel_size_um": {"y": -1.0}}, "positive"),
        ({"y": 100_000, "x": 1, "z": 1}, {}, "ends in y, x"),
        ((7, 9), {}, r'grid=\{"y": 7, "x": 9\}'),
        ({"y": 2.5, "x": 2}, {}, "whole numbers of tiles"),
        ({"y": 2, "x": 2}, {"overlap": 1.5}, "neither whole pixels nor a fraction"),
        ({"y": 2, "x": 2}, {"overlap": (5, 5)}, "by axis"),
        ({"y": 2, "x": 2}, {"overlap": "much"}, "10%"),
        ({"y": 2, "x": 2}, {"overlap": "100%"}, "less than 100 %"),
        ({"y": 2, "x": 2}, {"pixel_size_um": (0.5, 0.5)}, "one number for y and x"),
    ],
)
def test_grids_that_cannot_be_are_refused(grid, options, words):
    with pytest.raises(LatticeError, match=words):
        Lattice.from_grid(grid, **{**SQUARE, **options})


# -------------------------------------------------------------------- positions


@st.composite
def jittered(draw):
    rows, columns = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    seed, spread = draw(st.integers(0, 999)), draw(st.sampled_from([0.0, 0.01, 0.1]))
    generator = np.random.default_rng(seed)
    index = generator.permutation(np.array(list(np.ndindex(rows, columns))))
    keep = generator.random(len(index)) < draw(st.sampled_from([1.0, 0.7]))
    keep |= (index == 0).any(axis=1)  # the first row and column show every grid line
    index = index[keep]
    origin = generator.normal(0, 1000, 2)
    position = origin + index * [80, 90] + generator.uniform(-spread, spread, index.shape) * 100
    return index, position


@given(jittered())
def test_jittered_positions_with_holes_give_the_grid_back(case):
    index, position = case
    lattice = Lattice.from_positions(position, tile_shape={"y": 100, "x": 100}, dtype="u2")
    np.testing.assert_array_equal(lattice.index, index)
    np.testing.assert_array_equal(lattice.position_um, position)
    assert np.count_nonzero(lattice.id_grid < 0) == np.prod(lattice.shape) - len(index)


def test_a_column_without_any_tile_is_a_column_of_holes():
    x = np.array([0, 90, 180, 360, 450])  # 270 is missing
    position = np.stack([np.zeros(5), x], axis=1)
    lattice = Lattice.from_positions(position, tile_shape={"y": 100, "x": 100}, dtype="u2")
    assert lattice.sizes == {"tile_y": 1, "tile_x": 6}
    assert lattice.id_grid.tolist() == [[0, 1, 2, -1, 3, 4]]
    assert lattice.step_px["x"] == 90
    assert lattice.step_px["y"] == 100  # one row: as if tiles abutted


def test_positions_are_micrometres():
    position = np.array([[0.0, 0.0], [0.0, 45.0]])
    lattice = Lattice.from_positions(
        position, tile_shape={"y": 100, "x": 100}, dtype="u2", pixel_size_um={"y": 0.5, "x": 0.5}
    )
    assert lattice.step_px["x"] == 90
    assert lattice.tile(1).position_um == {"y": 0.0, "x": 45.0}


def test_z_of_one_layer_is_a_position_but_no_axis():
    flat = np.array([[7.0, 0, 0], [7.0, 0, 90]])
    shape = {"z": 5, "y": 100, "x": 100}
    lattice = Lattice.from_positions(flat, tile_shape=shape, dtype="u2")
    assert lattice.dims == ("tile_y", "tile_x")
    assert lattice.tile(x=1).position_um == {"z": 7.0, "y": 0.0, "x": 90.0}
    two = Lattice.from_positions(
        np.concatenate([flat, flat + np.array([5.0, 0, 0])]), tile_shape=shape, dtype="u2"
    )
    assert two.sizes == {"tile_z": 2, "tile_y": 1, "tile_x": 2}


def test_further_axes_tell_tiles_at_one_position_apart():
    position = np.array([[0.0, 0], [0, 90], [0, 0], [0, 90]])
    lattice = Lattice.from_positions(
        position, other={"well": ["B", "B", "A", "A"]}, tile_shape={"y": 99, "x": 99}, dtype="u2"
    )
    assert lattice.labels["well"].tolist() == ["A", "B"]
    assert lattice.id_at(well="A", x=1) == 3
    assert lattice.tile(0).labels == {"well": "B", "tile_y": 0, "tile_x": 0}


@pytest.mark.parametrize(
    ("position", "options", "words"),
    [
        (np.zeros((0, 2)), {}, "no positions"),
        ([[0.0, np.nan]], {}, "tile 0"),
        ([[0.0, 0.0], [0.0, 1.0]], {}, "two tiles"),
        ([[0.0, 0.0]], {"axes": ("z", "y", "x")}, "axes"),
        ([[0.0, 0.0]], {"axes": ("t", "x")}, "z, y, x"),
        ([[0.0, 0.0]], {"axes": ("x", "x")}, "once"),
        ([[0.0, 0.0]], {"other": {"well": ["A", "B"]}}, "2 labels of well"),
    ],
)
def test_positions_that_make_no_lattice_are_refused(position, options, words):
    with pytest.raises(LatticeError, match=words):
        Lattice.from_positions(position, tile_shape={"y": 99, "x": 99}, dtype="u2", **options)


def test_two_tiles_at_one_place_are_named():
    with pytest.raises(LatticeError, match=r"'b' and 'c' \(1 such"):
        Lattice.from_positions(
            [[0, 0], [0, 90], [1, 91]],
            tile_shape={"y": 99, "x": 99},
            dtype="u2",
            names=["a", "b", "c"],
        )


# -------------------------------------------------------------------- arrays


def test_blocks_at_the_end_may_be_smaller():
    array = np.arange(70).reshape(7, 10)
    lattice = Lattice.from_array(array, block={"y": 4, "x": 4})
    assert lattice.sizes == {"tile_y": 2, "tile_x": 3}
    assert lattice.tile(y=1, x=2).shape == (3, 2)
    assert lattice.volume_shape == {"y": 7, "x": 10}
    for tile in lattice:
        pixels = lattice.source.read(tile.id, tile.box)
        np.testing.assert_array_equal(pixels, array[lattice.volume_box(tile.id).slices])


def test_a_block_as_large_as_the_array_or_larger_is_the_array():
    lattice = Lattice.from_array(np.zeros((3, 4, 5)), block={"y": 100})
    assert lattice.n_tiles == 1
    assert lattice.tile().shape == (3, 4, 5)
    assert lattice.shapes is None


def test_channels_are_never_divided():
    lattice = Lattice.from_array(np.zeros((2, 3, 8, 8)), block={"z": 1, "y": 4, "x": 8})
    assert lattice.tile_dims == ("c", "z", "y", "x")
    assert lattice.sizes == {"tile_z": 3, "tile_y": 2, "tile_x": 1}
    assert lattice.source.read(0, Box.whole((2, 1, 4, 8))).shape == (2, 1, 4, 8)


def test_a_labelled_array_brings_its_dims():
    named = xr.DataArray(np.zeros((2, 4, 4)), dims=("c", "y", "x"))
    assert Lattice.from_array(named, block={"y": 2}).tile_dims == ("c", "y", "x")
    assert Lattice.from_array(named.data, block={"y": 2}).tile_dims == ("z", "y", "x")
    given = Lattice.from_array(named.data, block={"y": 2}, dims=("c", "y", "x"))
    assert given.tile_dims == ("c", "y", "x")


@pytest.mark.parametrize(
    ("shape", "options", "words"),
    [
        ((5,), {}, "with y and x"),
        ((1, 1, 1, 5, 5), {}, "cannot have the dims"),
        ((5, 5), {"dims": ("c", "y", "x")}, "cannot have the dims"),
        ((5, 5), {"dims": ("x", "y")}, "in that order"),
        ((5, 0), {}, "does not divide"),
        ((5, 5), {"block": {"y": 0}}, "does not divide"),
        ((5, 5), {"block": {"z": 1}}, "does not divide"),
        ((2, 5, 5), {"block": {"c": 1}, "dims": ("c", "y", "x")}, "does not divide"),
    ],
)
def test_arrays_that_cannot_be_divided_are_refused(shape, options, words):
    with pytest.raises(LatticeError, match=words):
        Lattice.from_array(np.zeros(shape), **{"block": {"y": 2}, **options})


# -------------------------------------------------------------------- parts

PARTS = {
    "dims": ("tile_y", "tile_x"),
    "labels": {"tile_y": [0, 1], "tile_x": ["a", "b"]},
    "index": [[0, 0], [1, 1]],
    "tile_dims": ("y", "x"),
    "tile_shape": (4, 6),
    "dtype": "u2",
}


def test_the_parts_make_a_lattice():
    lattice = Lattice(**PARTS)
    assert lattice.id_grid.tolist() == [[0, -1], [-1, 1]]
    assert lattice.names.tolist() == ["y0_xa", "y1_xb"]
    assert lattice.tile(1).address == "(tile_y=1, tile_x=b)"


@pytest.mark.parametrize("labels", [["p", "q"], np.array(["p", "q"], object), (7, 9), range(2)])
def test_labels_may_be_any_sequence_of_numbers_or_strings(labels):
    lattice = Lattice(**{**PARTS, "labels": {"tile_y": [0, 1], "tile_x": labels}})
    assert lattice.tile(1).labels["tile_x"] == labels[1]
    assert lattice.id_at(y=1, x=labels[1]) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dims": ("tile_y", "tile_y")}, "labels|differ"),
        ({"dims": ("y", "tile_x"), "labels": {"y": [0, 1], "tile_x": [0, 1]}}, "differ"),
        ({"labels": {"tile_y": [0, 1]}}, "labels for"),
        ({"labels": {"tile_y": [0, 0], "tile_x": [0, 1]}}, "unique"),
        ({"labels": {"tile_y": [[0, 1]], "tile_x": [0, 1]}}, "tile_y"),
        ({"labels": {"tile_y": [None, {}], "tile_x": [0, 1]}}, "numbers or strings"),
        ({"labels": {"tile_y": [0], "tile_x": [0, 1]}}, "outside the grid"),
        ({"index": [[0, 0], [-1, 1]]}, "outside the grid"),
        ({"index": [[0, 0], [0, 0]]}, "two tiles are at"),
        ({"index": [0, 1]}, "index has shape"),
        ({"tile_shape": (4,)}, "the shape"),
        ({"tile_shape": (4, 0)}, "no pixels"),
        ({"step_px": {"z": 4}}, "step_px"),
        ({"step_px": {"y": 0}}, "at least one pixel"),
        ({"pixel_size_um": {"y": 0.0}}, "positive"),
        ({"pixel_size_um": {"y": np.inf}}, "positive"),
        ({"position_um": [[0.0, 0.0]]}, "position_um has shape"),
        ({"position_um": [[0.0, 0.0], [0.0, np.nan]]}, "finite"),
        ({"names": ["one", "two", "three"]}, "3 names"),
        ({"ids": [0]}, "1 ids"),
        ({"ids": [4, 4]}, "same id"),
        ({"ids": [-1, 0]}, "count from 0"),
        ({"shapes": [[4, 6]]}, "shapes has shape"),
        ({"shapes": [[4, 6], [5, 6]]}, "largest"),
        ({"shapes": [[4, 6], [0, 6]]}, "between 1"),
        ({"problems": {2: "lost"}}, "problems"),
    ],
)
def test_every_bad_part_is_refused(change, words):
    with pytest.raises(LatticeError, match=words):
        Lattice(**{**PARTS, **change})


def test_labels_that_are_no_grid_labels_are_refused_before_memory_is_taken():
    far = np.arange(100_000)
    labels = {"tile_y": far, "tile_x": far}
    with pytest.raises(LatticeError, match="too large"):
        Lattice(**{**PARTS, "labels": labels})


def test_the_unit_lattice_is_one_unit_without_axes():
    unit = Lattice.unit()
    assert (unit.n_tiles, unit.dims, unit.shape, unit.id_grid.tolist()) == (1, (), (), 0)
    assert unit.tile().id == 0
    assert unit.tile().name == "all"
    assert unit.tile().address == "(all tiles)"
    assert unit.dataset["tile"].item() == 0
    assert unit.take([]).n_tiles == 0
    with pytest.raises(LatticeError):
        unit.neighbours("faces")


def test_a_million_tiles_are_a_lattice_within_a_second():
    began = time.process_time()
    lattice = Lattice.from_grid({"z": 100, "y": 100, "x": 100}, **SQUARE, overlap=2)
    assert lattice.tile(123_456).name == "z12_y34_x56"
    assert lattice.id_at(z=99, y=99, x=99) == 999_999
    assert time.process_time() - began < 1


def test_a_lattice_knows_which_pixel_sizes_were_given():
    options = {"tile_shape": {"z": 4, "y": 10, "x": 10}, "dtype": "u2"}
    unknown = Lattice.from_grid({"y": 1, "x": 2}, **options)
    assert dict(unknown.known_pixel_size_um) == {}
    assert dict(unknown.pixel_size_um) == {"z": 1.0, "y": 1.0, "x": 1.0}
    assert "not known, 1 µm assumed" in repr(unknown)
    assert "not known, 1 µm assumed" in unknown._repr_html_()
    given = Lattice.from_grid({"y": 1, "x": 2}, **options, pixel_size_um=1.0)
    further = Lattice.from_grid({"y": 1, "x": 1}, **options, pixel_size_um=1.0)
    moved = further.replace(labels={"tile_y": [1], "tile_x": [0]})
    for lattice in (given, given.replace(names=["a", "b"]), given.sel(x=0), given.extend(moved)):
        assert dict(lattice.known_pixel_size_um) == {"y": 1.0, "x": 1.0}
        assert "y 1 × x 1 µm, z not known, 1 µm assumed" in repr(lattice)
    assert dict(given.replace(pixel_size_um={"z": 2}).known_pixel_size_um) == {"z": 2.0}
    placed = Lattice.from_positions([[0.0, 0.0], [0.0, 9.0]], **options)
    assert dict(placed.known_pixel_size_um) == {}
    blocks = Lattice.from_array(np.zeros((8, 8)), block=4, pixel_size_um=0.5)
    assert "not known" not in repr(blocks)
