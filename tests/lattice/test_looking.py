"""Tiles, selections, neighbours, growth: what a lattice answers."""

import time
from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from latticework.errors import LatticeError, TileNotFoundError
from latticework.lattice import Box, Lattice
from latticework.lattice.offsets import resolve_offsets
from latticework.testing.strategies import lattices, tile_lattices


def stack(**options):
    """2 × 3 × 4 tiles that overlap, with wells called A and B."""
    grid = {"z": 2, "y": 3, "x": 4}
    shape = {"z": 5, "y": 10, "x": 20}
    return Lattice.from_grid(
        grid, tile_shape=shape, dtype="u2", overlap={"y": 2, "x": 0.25}, **options
    )


def wells():
    return Lattice(
        dims=("well", "tile_y", "tile_x"),
        labels={"well": ["A1", "A2", "B1"], "tile_y": [3, 4, 5], "tile_x": [0, 1]},
        index=list(product(range(3), range(3), range(2))),
        tile_dims=("y", "x"),
        tile_shape=(4, 4),
        dtype="u1",
    )


# -------------------------------------------------------------------- one tile


@given(tile_lattices(ragged=True))
def test_a_tile_is_found_by_its_id_and_by_its_labels(lattice):
    for tile in lattice:
        assert lattice.tile(tile.id) == tile == lattice.tile(**tile.labels)
        assert tile.index == tuple(lattice.index[tile.id])
        assert tile.name == lattice.names[tile.id]
        assert lattice.id_grid[tile.index] == tile.id
        assert tile.box == Box.whole(tile.shape)


def test_axes_have_short_names_and_those_with_one_label_may_be_left_out():
    lattice = stack()
    assert lattice.tile(z=1, tile_y=2, x=3) == lattice.tile(23)
    assert lattice.sel(z=1).tile(y=2, x=3) == lattice.sel(z=1).tile(23)
    with pytest.raises(TileNotFoundError, match="z, x is missing"):
        lattice.tile(y=1)


def test_what_is_not_there_is_said_with_what_is():
    lattice = wells()
    with pytest.raises(TileNotFoundError, match=r"no label 'C9' along well: .*'A1', 'A2', 'B1'"):
        lattice.tile(well="C9", y=3, x=0)
    with pytest.raises(TileNotFoundError, match="no label 0 along tile_y: there are 3, 4, 5"):
        lattice.tile(well="A1", y=0, x=0)
    with pytest.raises(TileNotFoundError, match="no label '3' along tile_y"):
        lattice.tile(well="A1", y="3", x=0)
    with pytest.raises(LatticeError, match=r"no lattice axis 'z': .* well, tile_y, tile_x"):
        lattice.tile(z=0)
    with pytest.raises(TileNotFoundError, match=r"no tile has id 18: .* 0 to 17"):
        lattice.tile(18)
    with pytest.raises(TileNotFoundError, match="no tile has id -1"):
        lattice.tile(-1)
    holed = lattice.take(range(17))
    with pytest.raises(TileNotFoundError, match="hole"):
        holed.tile(well="B1", y=5, x=1)


def test_many_labels_are_told_by_the_first_and_the_last():
    lattice = Lattice.from_grid({"y": 1, "x": 50}, tile_shape={"y": 1, "x": 1}, dtype="u1")
    with pytest.raises(TileNotFoundError, match=r"0 to 49 \(50 labels\)"):
        lattice.tile(x=50)


# -------------------------------------------------------------------- selections


def test_slices_of_labels_include_both_ends():
    lattice = wells()
    assert lattice.sel(y=slice(4, 5)).labels["tile_y"].tolist() == [4, 5]
    assert lattice.sel(y=slice(None, 3)).n_tiles == 6
    assert lattice.sel(y=slice(None, None, 2)).labels["tile_y"].tolist() == [3, 5]
    assert lattice.sel(well=slice("A1", "A2")).labels["well"].tolist() == ["A1", "A2"]
    assert lattice.sel(well=slice("A2", None)).n_tiles == 12
    assert lattice.sel(y=slice(100, 200)).n_tiles == 0


@pytest.mark.parametrize("wanted", [["B1", "A1"], ("B1", "A1"), np.array(["B1", "A1"])])
def test_lists_of_labels_come_in_their_order(wanted):
    chosen = wells().sel(well=wanted, y=4)
    assert chosen.labels["well"].tolist() == ["B1", "A1"]
    assert chosen.sizes == {"well": 2, "tile_y": 1, "tile_x": 2}
    assert chosen.id_grid.tolist() == [[[14, 15]], [[2, 3]]]


@pytest.mark.parametrize(
    "labels",
    [{"well": "Z"}, {"well": 1}, {"y": "3"}, {"y": [3, 99]}, {"y": slice("a", 4)}, {"y": None}],
)
def test_wrong_labels_of_a_selection_list_the_right_ones(labels):
    with pytest.raises(TileNotFoundError, match=r"'A1', 'A2', 'B1'|3, 4, 5"):
        wells().sel(**labels)


def test_positions_are_taken_like_those_of_an_array():
    lattice = wells()
    assert lattice.isel(y=-1).labels["tile_y"].tolist() == [5]
    assert lattice.isel(y=slice(0, 2)).labels["tile_y"].tolist() == [3, 4]
    assert lattice.isel(y=[2, 0], x=1).id_grid[0].tolist() == [[5], [1]]
    with pytest.raises(TileNotFoundError, match="along tile_y: it has 3"):
        lattice.isel(y=3)
    with pytest.raises(LatticeError, match="twice"):
        lattice.isel(y=[1, 1])


@given(tile_lattices(ragged=True, pixels=True), st.data())
def test_a_selection_keeps_ids_and_facts_of_its_tiles(lattice, data):
    dim = data.draw(st.sampled_from(lattice.dims))
    label = data.draw(st.sampled_from(lattice.labels[dim].tolist()))
    lattice = lattice.replace(problems={0: "lost"})
    chosen = lattice.plane(**{dim: label})
    expected = [tile for tile in lattice if tile.labels[dim] == label]
    assert chosen.ids.tolist() == [tile.id for tile in expected]
    for tile, before in zip(chosen, expected, strict=True):
        for fact in ("id", "labels", "name", "position_um", "shape", "problem"):
            assert getattr(tile, fact) == getattr(before, fact)
    np.testing.assert_array_equal(chosen.rows_of(chosen.ids), np.arange(len(chosen)))
    for gone in sorted(set(lattice.ids.tolist()) - set(chosen.ids.tolist())):
        with pytest.raises(TileNotFoundError):
            chosen.tile(gone)


@given(lattices(ragged=True), st.data())
def test_taken_tiles_stay_where_they_are(lattice, data):
    ids = data.draw(st.lists(st.sampled_from(lattice.ids.tolist()), unique=True))
    chosen = lattice.take(ids)
    assert chosen.ids.tolist() == ids
    assert chosen.shape == lattice.shape
    np.testing.assert_array_equal(chosen.rows_of(ids), np.arange(len(ids)))
    assert [chosen.volume_box(i) for i in ids] == [lattice.volume_box(i) for i in ids]
    assert sorted(chosen.id_grid[chosen.id_grid >= 0].tolist()) == sorted(ids)


def test_part_of_a_volume_is_not_the_volume():
    lattice = Lattice.from_array(np.zeros((8, 8)), block={"y": 4, "x": 4})
    assert lattice.sel(y=1).volume_shape is None
    assert lattice.sel(y=[0, 1]).volume_shape == {"y": 8, "x": 8}
    assert lattice.take([0]).volume_shape == {"y": 8, "x": 8}


def test_a_plane_has_one_label():
    assert stack().plane(z=1).ids.tolist() == list(range(12, 24))
    with pytest.raises(LatticeError, match="one label"):
        stack().plane(z=1, y=0)


@given(lattices(ragged=True), st.data())
def test_within_is_what_touches_and_at_is_the_nearest_that_contains(lattice, data):
    axes = lattice.spatial_dims
    thickness = {
        tile.id: {
            axis: dict(zip(tile.dims, tile.shape, strict=True)).get(axis, 1) * size
            for axis, size in tile.pixel_size_um.items()
        }
        for tile in lattice
    }
    number = st.floats(-5, 40, allow_nan=False)
    box = {axis: tuple(sorted([data.draw(number), data.draw(number)])) for axis in axes}
    touching = [
        tile.id
        for tile in lattice
        if all(
            tile.position_um[a] <= high and tile.position_um[a] + thickness[tile.id][a] > low
            for a, (low, high) in box.items()
        )
    ]
    assert lattice.within(**box).ids.tolist() == touching
    point = {axis: low for axis, (low, _) in box.items()}
    holding = lattice.within(**{axis: (um, um) for axis, um in point.items()}).ids.tolist()
    if not holding:
        with pytest.raises(TileNotFoundError, match="no tile contains"):
            lattice.at(**point)
        return
    distance = {
        i: sum((lattice.tile(i).position_um[a] + thickness[i][a] / 2 - point[a]) ** 2 for a in axes)
        for i in holding
    }
    assert distance[lattice.at(**point).id] == pytest.approx(min(distance.values()))


def test_positions_that_name_no_place_are_refused():
    with pytest.raises(LatticeError, match="position in micrometres"):
        stack().at()
    with pytest.raises(LatticeError, match="no spatial axis 'c'"):
        stack().at(c=1)
    with pytest.raises(LatticeError, match="ends before it starts"):
        stack().within(y=(5, 1))
    with pytest.raises(LatticeError, match="ends before it starts"):
        stack().within(y=(np.nan, 1))


# -------------------------------------------------------------------- neighbours

NAMED = {"faces": {1}, "edges": {2}, "all": {1, 2, 3}}


@given(tile_lattices(), st.data())
def test_neighbours_are_those_of_a_plain_search(lattice, data):
    steps = st.tuples(*(st.integers(-2, 2) for _ in lattice.dims)).filter(any)
    offsets = data.draw(st.lists(steps, min_size=1, max_size=6, unique=True))
    place = {tile.index: tile.id for tile in lattice}
    expected = [
        [place.get(tuple(np.add(tile.index, step).tolist()), -1) for step in offsets]
        for tile in lattice
    ]
    assert lattice.neighbours(offsets).tolist() == expected
    assert lattice.neighbours(np.array(offsets)).tolist() == expected


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("dims", [("tile_y", "tile_x"), ("well", "tile_z", "tile_y", "tile_x")])
def test_named_offsets_step_along_so_many_spatial_axes(name, dims):
    rows = resolve_offsets(name, dims).tolist()
    n = sum(dim.startswith("tile_") for dim in dims)
    steps = [s for s in product((-1, 0, 1), repeat=n) if sum(map(abs, s)) in NAMED[name]]
    assert sorted(row[-n:] for row in rows) == sorted(map(list, steps))
    assert all(not any(row[:-n]) for row in rows)
    assert len(resolve_offsets("corners", dims)) == 2**n


def test_offsets_may_be_named_mapped_or_counted():
    dims = ("well", "tile_y", "tile_x")
    assert resolve_offsets("-y", dims).tolist() == [[0, -1, 0]]
    assert resolve_offsets("+well", dims).tolist() == [[1, 0, 0]]
    assert resolve_offsets({"x": 2, "tile_y": -1}, dims).tolist() == [[0, -1, 2]]
    assert resolve_offsets((0, 0, 1), dims).tolist() == [[0, 0, 1]]
    assert resolve_offsets(np.array([0, 0, 1]), dims).tolist() == [[0, 0, 1]]
    assert resolve_offsets(["+x", (0, 0, 1), {"x": 1}], dims).tolist() == [[0, 0, 1]]


@pytest.mark.parametrize(
    ("offsets", "words"),
    [
        ("up", r"no offset is called 'up'; there are faces, .*\+y, -y, \+x, -x"),
        ("+z", "no offset"),
        ({"z": 1}, "tile_z"),
        ((1, 0, 0), "3 numbers"),
        ((0, 0), "its own neighbour"),
        ([], "no offset given"),
        ((0.5, 1), "whole numbers"),
        (3, "whole numbers"),
    ],
)
def test_offsets_that_mean_nothing_are_refused(offsets, words):
    with pytest.raises(LatticeError, match=words):
        resolve_offsets(offsets, ("tile_y", "tile_x"))


def test_neighbours_of_a_million_tiles_are_found_together():
    lattice = Lattice.from_grid(
        {"z": 100, "y": 100, "x": 100}, tile_shape={"y": 4, "x": 4}, dtype="u1"
    )
    began = time.process_time()
    found = lattice.neighbours("all")
    assert time.process_time() - began < 5
    assert found.shape == (1_000_000, 26)
    assert np.count_nonzero(found < 0) == 26 * 100**3 - (298**3 - 100**3)
    middle = lattice.id_at(z=50, y=50, x=50)
    steps = resolve_offsets("all", lattice.dims) @ [10_000, 100, 1]
    np.testing.assert_array_equal(found[middle], middle + steps)


# -------------------------------------------------------------------- places


def test_overlap_step_and_boxes_agree():
    lattice = stack()
    assert lattice.step_px == {"z": 5, "y": 8, "x": 15}
    assert lattice.overlap_px == {"z": 0, "y": 2, "x": 5}
    box = lattice.volume_box(lattice.id_at(z=1, y=2, x=3))
    assert box == Box((5, 16, 45), (10, 26, 65))
    right = lattice.volume_box(lattice.id_at(z=1, y=2, x=2))
    assert box.intersect(right).shape == (5, 10, 5)


@given(tile_lattices(ragged=True))
def test_nominal_positions_are_those_of_the_nominal_boxes(lattice):
    for tile in lattice:
        box = lattice.volume_box(tile.id)
        assert box.shape == tile.shape
        for axis in lattice.step_px:
            if axis in tile.dims:
                um = box.start[tile.dims.index(axis)] * lattice.pixel_size_um[axis]
                assert tile.position_um[axis] == pytest.approx(um)


@given(lattices(ragged=True))
def test_the_dataset_holds_every_tile_at_its_labels(lattice):
    dataset = lattice.dataset
    assert dataset.sizes.items() >= lattice.sizes.items()
    assert int(dataset["present"].sum()) == lattice.n_tiles
    for tile in lattice:
        here = dataset.sel(tile.labels)
        assert int(here["tile"]) == tile.id
        assert here["name"].item() == tile.name
        assert here["position_um"].to_series().to_dict() == tile.position_um
        if lattice.shapes is not None:
            assert tuple(here["tile_shape_px"].values) == tile.shape
    assert bool((dataset["tile"] == -1).equals(~dataset["present"]))
    found = np.argwhere(dataset["present"].values)
    again = Lattice(
        dims=lattice.dims,
        labels={dim: dataset[dim].values for dim in lattice.dims},
        index=found,
        ids=dataset["tile"].values[tuple(found.T)],
        tile_dims=dataset.attrs["tile_dims"],
        tile_shape=dataset.attrs["tile_shape"],
        dtype=dataset.attrs["dtype"],
        pixel_size_um=dataset.attrs["pixel_size_um"],
        step_px=dataset.attrs["step_px"],
        position_um=dataset["position_um"].values[tuple(found.T)],
        names=dataset["name"].values[tuple(found.T)],
        shapes=None if lattice.shapes is None else dataset["tile_shape_px"].values[tuple(found.T)],
    )
    assert sorted(again, key=lambda tile: tile.id) == list(lattice)


# -------------------------------------------------------------------- growth


def strip(columns, first=0, **changes):
    n = len(columns)
    parts = {
        "dims": ("well", "tile_y", "tile_x"),
        "labels": {"well": ["A"], "tile_y": [0], "tile_x": columns},
        "index": [[0, 0, k] for k in range(n)],
        "tile_dims": ("y", "x"),
        "tile_shape": (4, 4),
        "dtype": "u1",
        "names": [f"image {k}" for k in range(first, first + n)],
    }
    return Lattice(**{**parts, **changes})


def test_new_tiles_get_the_next_ids_and_old_ones_keep_theirs():
    old = strip([4, 5])
    grown = old.extend(strip([2, 8], 2, problems={1: "lost"}))
    assert grown.labels["tile_x"].tolist() == [2, 3, 4, 5, 6, 7, 8]
    assert grown.id_grid.tolist() == [[[2, -1, 0, 1, -1, -1, 3]]]
    assert grown.names.tolist() == ["image 0", "image 1", "image 2", "image 3"]
    assert grown.problems == {3: "lost"}
    assert grown.tile(0).labels == old.tile(0).labels
    assert grown.neighbours("+x")[0].tolist() == [1]


def test_labels_of_other_axes_merge_without_gaps():
    grown = strip([0]).extend(strip([0], labels={"well": ["C"], "tile_y": [0], "tile_x": [0]}))
    assert grown.labels["well"].tolist() == ["A", "C"]
    assert grown.id_grid.ravel().tolist() == [0, 1]


@given(tile_lattices(ragged=True), st.data())
def test_a_lattice_put_together_again_has_the_same_tiles(lattice, data):
    n = data.draw(st.integers(1, len(lattice)))
    assume(n < len(lattice))
    lattice = lattice.replace(names=[f"image {k}" for k in range(len(lattice))])
    rest = lattice.take(range(n, len(lattice)))
    grown = lattice.take(range(n)).extend(rest)
    for tile in lattice:
        again = grown.tile(tile.id)
        assert (again.labels, again.name, again.shape) == (tile.labels, tile.name, tile.shape)
        assert again.position_um == tile.position_um


@pytest.mark.parametrize(
    ("new", "words"),
    [
        (strip([5], 9), "'image 1' and 'image 9'"),
        (strip([9], tile_shape=(4, 5)), "tile_shape"),
        (strip([9], dtype="u2"), "dtype"),
        (strip([9], step_px={"x": 3}), "step_px"),
        (strip([9], pixel_size_um={"x": 3}), "pixel_size_um"),
        (strip([9], labels={"well": [1], "tile_y": [0], "tile_x": [9]}), "strings in one"),
        (Lattice.unit(), "dims"),
    ],
)
def test_new_tiles_that_do_not_fit_are_refused(new, words):
    with pytest.raises(LatticeError, match=words):
        strip([4, 5]).extend(new)


# -------------------------------------------------------------------- looking


@given(lattices(ragged=True))
def test_every_lattice_can_be_looked_at(lattice):
    for one in (lattice, lattice.take([]), lattice.take(lattice.ids[:1])):
        assert repr(one)
        assert one._repr_html_()


@pytest.mark.parametrize(
    "lattice", [Lattice.unit(), Lattice.unit().take([]), wells().sel(y=slice(9, 9))]
)
def test_odd_lattices_can_be_looked_at(lattice):
    assert repr(lattice)
    assert lattice._repr_html_()
    assert lattice.dataset.sizes.items() >= lattice.sizes.items()
