"""What a unit is given of its parents, in every reading pattern."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import latticework as lw
from latticework.io.growth_store import Growth, save_growth
from latticework.io.memory import MemorySource
from latticework.lattice import Box, Lattice
from latticework.lattice.halo import HaloGeometry, fill, halo
from latticework.lattice.tile import Tile
from latticework.stages.collections import Tiles
from latticework.stages.inputs import UnreadableInputError
from latticework.stages.lattices import TILES, UNIT
from latticework.stages.outputs import Output
from latticework.stages.paths import array_folder, table_folder
from latticework.stages.reads import (
    Reads,
    all_tiles,
    intersecting,
    neighbours,
    nothing,
    plane,
    same_tile,
)
from tests.stages.by_hand import folder_of

SAME = same_tile()


def numbered(z=3, y=2, x=2, size=(2, 3, 4), **options):
    """Tiles of running numbers: the pixels of tile i are all i, but for the last, 100 + i."""
    lattice = Lattice.from_grid(
        {"z": z, "y": y, "x": x},
        tile_shape=dict(zip("zyx", size, strict=True)),
        dtype="u2",
        **options,
    )
    arrays = [np.full(size, i, "u2") for i in range(len(lattice))]
    for i, array in enumerate(arrays):
        array[-1, -1, -1] = 100 + i
    return lattice.replace(source=MemorySource(arrays))


@pytest.fixture(scope="module")
def made():
    """Tiles with stages of every kind on them, planes and the whole; nothing here is changed."""
    tiles = numbered()
    n, shape = len(tiles), (2, 3, 4)
    with folder_of(tiles) as here:
        here.put("double", {i: np.full(shape, 2 * i, "i4") for i in range(n)})
        here.put("table", {i: pd.DataFrame({"value": np.arange(i)}) for i in range(1, n)})
        here.put("record", {i: {"n": i} for i in range(n)})
        here.put("number", {i: i for i in range(n)})
        here.put("files", {i: {"a.txt": f"file {i}"} for i in range(n)})
        here.put("flat", {i: np.full(shape, i, "f4") for i in range(3)}, "planes:tile_z:tiles")
        here.put("of_planes", {i: {"plane": i} for i in range(3)}, "planes:tile_z:tiles")
        here.put("mean", {0: np.full((3, 4), 7.0)}, UNIT)
        here.put("total", {0: 42}, UNIT)
        yield here


def value_at(array):
    return int(np.asarray(array).ravel()[0])


# -------------------------------------------------------------------- neighbours


def test_neighbours_come_after_the_tile_by_offset(made):
    tile, around = made.given({"source": neighbours("+z", "-z", {"y": -1, "x": 1})}, 5)
    assert value_at(tile) == 5
    assert tile.attrs["tile"] == "z1_y0_x1"
    assert list(around) == ["+z", "-z", "-y+x"]
    assert value_at(around["+z"]) == 9
    assert value_at(around["-z"]) == 1
    assert around["-y+x"] is None
    assert around.present == ("+z", "-z")
    assert around.holes == ("-y+x",)
    assert around["+z"].attrs["tile_id"] == 9
    assert int(around["+z"].tile_z) == 2
    assert around.tile("+z").name == "z2_y0_x1"
    assert around.tile("-y+x") is None
    assert around.box("+z") == Box((0, 0, 0), (2, 3, 4))
    assert around.box("-y+x") is None
    assert around.unit.name == "z1_y0_x1"
    assert repr(around) == (
        "<Tiles of z1_y0_x1 (tile_z=1, tile_y=0, tile_x=1): '+z', '-z', '-y+x' (hole)>"
    )


def test_an_offset_that_was_not_declared_is_named(made):
    _, around = made.given({"source": neighbours("+z")}, 0)
    with pytest.raises(KeyError, match=r"'\+x' is none of what tile z0_y0_x0 reads: '\+z'"):
        around["+x"]
    assert around.get("+x") is None
    assert "+x" not in around
    with pytest.raises(TypeError):
        around["+z"] = 1


def test_only_neighbours_that_are_asked_for_are_read(made):
    def one(_tile, around):
        assert around["+x"] is around["+x"]

    def none(_tile, around):
        assert set(around) == {"+x", "+y", "+z"}
        assert len(around) == 3
        assert "+x" in around
        assert around.tile("+x").id == 1

    reads = {"source": neighbours("+x", "+y", "+z")}
    nbytes = 2 * 3 * 4 * 2
    assert made.run(made.bench(none, reads)).bytes_read == nbytes
    assert made.run(made.bench(one, reads)).bytes_read == 2 * nbytes


def test_neighbours_can_be_read_in_parts(made):
    box = Box((1, 0, 1), (2, 3, 4))

    def strips(tile, around):
        assert isinstance(tile, Tile)
        assert around.own(box).shape == around.read("+x", box).shape == (1, 3, 3)
        assert int(around.read("+x", box)[0, 0, 0]) == 1
        assert around.read("+x", box).x.to_numpy().tolist() == [1, 2, 3]
        with pytest.raises(KeyError, match="hole"):
            around.read("-z", box)

    reads = {"source": neighbours("+x", "-z", whole=False)}
    assert made.run(made.bench(strips, reads)).bytes_read == 4 * 9 * 2
    assert Reads.from_json(reads["source"].to_json()) == reads["source"]


def test_the_tile_that_was_given_is_not_read_in_parts(made):
    _, around = made.given({"source": neighbours("+x")}, 0)
    assert around.read("+x", Box((0, 0, 0), (1, 1, 1))).shape == (1, 1, 1)
    with pytest.raises(UnreadableInputError, match="whole=False"):
        around.own(Box((0, 0, 0), (1, 1, 1)))


def test_skipped_planes_are_stepped_over(made):
    bench = {"skipped": {"tile_z": (1,)}}
    _, up = made.given({"source": neighbours("+z")}, 1, **bench)
    assert value_at(up["+z"]) == 9
    _, down = made.given({"source": neighbours("-z")}, 9, **bench)
    assert value_at(down["-z"]) == 1


def test_absent_neighbours_are_holes(made):
    reads = {"source": neighbours("+z", "+x"), "double": neighbours("+x")}
    tile, around, double, others = made.given(reads, 0, absent={"source": [1]})
    assert around["+x"] is None
    assert value_at(around["+z"]) == 4
    assert value_at(tile) == value_at(double) == 0
    assert value_at(others["+x"]) == 2


@pytest.mark.parametrize(
    ("parent", "seen"),
    [
        ("double", lambda value: int(value.to_numpy()[0, 0, 0]) // 2),
        ("table", len),
        ("record", lambda value: value["n"]),
        ("number", int),
        ("files", lambda value: int(value["a"].read_text().split()[1])),
    ],
)
def test_neighbours_of_every_kind(made, parent, seen):
    own, around = made.given({parent: neighbours("+x", "+y")}, 4)
    assert seen(own) == 4
    assert seen(around["+x"]) == 5
    assert seen(around["+y"]) == 6


def test_a_stage_that_takes_numpy_gets_numpy(made):
    tile, around = made.given({"source": neighbours("+x", "-x")}, 0, numpy=True)
    assert type(tile) is type(around["+x"]) is np.ndarray
    assert around["-x"] is None


def test_neighbours_on_other_axes_than_space():
    grid = numbered(z=1)
    rounds = grid.replace(
        dims=("round", "tile_y", "tile_x"),
        labels={"round": ["first", "second"], "tile_y": [0], "tile_x": [0, 1]},
        index=np.array([[0, 0, 0], [0, 0, 1], [1, 0, 0], [1, 0, 1]]),
        step_px={"y": 3, "x": 4},
    )
    with folder_of(rounds) as here:
        _, around = here.given({"source": neighbours({"round": 1}, {"x": 2})}, 1)
        assert value_at(around["+round"]) == 3
        assert list(around) == ["+round", "+2x"]


# -------------------------------------------------------------------- gathered


def test_a_plane_is_given_to_the_unit_of_its_label(made):
    key = "planes:tile_z:tiles"
    (tiles,) = made.given({"source": plane("z")}, 1, key)
    assert tiles.dims == ("tile", "z", "y", "x")
    assert tiles.tile_z.to_numpy().tolist() == [1] * 4
    assert tiles["name"].to_numpy().tolist() == ["z1_y0_x0", "z1_y0_x1", "z1_y1_x0", "z1_y1_x1"]
    assert tiles.y_um.to_numpy().tolist() == [0, 0, 3, 3]
    assert tiles[:, 0, 0, 0].to_numpy().tolist() == [4, 5, 6, 7]
    (some,) = made.given({"source": plane("z")}, 1, key, absent={"source": [0, 5]})
    assert some[:, 0, 0, 0].to_numpy().tolist() == [4, 6, 7]
    assert some.tile_x.to_numpy().tolist() == [0, 0, 1]
    table, numbers, files, address = made.given(
        {"table": plane("z"), "number": plane("z"), "files": plane("z"), "source": nothing()},
        2,
        key,
    )
    assert table.groupby("tile").size().tolist() == [8, 9, 10, 11]
    assert set(table.tile_z) == {2}
    assert numbers.value.tolist() == [8, 9, 10, 11]
    assert numbers.tile.tolist()[0] == "z2_y0_x0"
    assert [path.read_text() for path in files.a] == [f"file {i}" for i in range(8, 12)]
    assert address.name == "z2"


def test_all_tiles_are_those_that_there_are(made):
    reads = {"double": all_tiles(), "record": all_tiles(), "table": all_tiles()}
    absent = {"double": [0, 3], "record": range(1, 12), "table": [0, *range(3, 12)]}
    tiles, records, table = made.given(reads, 0, UNIT, absent=absent)
    assert tiles[:, 0, 0, 0].to_numpy().tolist() == [2 * i for i in range(12) if i not in (0, 3)]
    assert tiles["name"].to_numpy().tolist()[:2] == ["z0_y0_x1", "z0_y1_x0"]
    assert records.n.tolist() == [0]
    assert table.tile.tolist() == ["z0_y0_x1", "z0_y1_x0", "z0_y1_x0"]
    everything = dict.fromkeys(reads, range(12))
    tiles, records, table = made.given(reads, 0, UNIT, absent=everything)
    assert tiles.sizes["tile"] == len(records) == len(table) == 0
    assert int(tiles.sum()) == 0


def test_tables_and_records_as_ever(made):
    table, record, number = made.given({"table": SAME, "record": SAME, "number": SAME}, 3)
    assert table.value.tolist() == [0, 1, 2]
    assert (record, number) == ({"n": 3}, 3)


# -------------------------------------------------------------------- made once


def test_what_was_made_once_is_given_to_every_tile(made):
    reads = {"source": SAME, "mean": SAME, "total": SAME, "flat": SAME, "of_planes": SAME}
    tile, mean, total, flat, record = made.given(reads, 9)
    assert value_at(tile) == 9
    assert mean.dims == ("y", "x")
    assert total == 42
    assert value_at(flat) == 2
    assert flat.attrs["tile"] == "z2"
    assert record == {"plane": 2}
    again = made.given(reads, 9, absent={"total": [0], "flat": [2], "of_planes": [1]})
    assert again[2] is again[3] is None
    assert again[4] == {"plane": 2}


def test_patterns_mix_by_parent(made):
    reads = {
        "double": neighbours("+z"),
        "flat": SAME,
        "total": neighbours("+z"),
        "record": nothing(),
        "table": SAME,
    }
    tile, around, flat, total, address, table = made.given(reads, 2)
    assert (value_at(tile), value_at(around["+z"]), value_at(flat)) == (4, 12, 0)
    assert total == 42
    assert address.id == 2
    assert len(table) == 2
    number, tiles = made.given({"total": all_tiles(), "number": all_tiles()}, 0, UNIT)
    assert number == 42
    assert len(tiles) == 12


# -------------------------------------------------------------------- halos with holes


@settings(max_examples=15)
@given(st.data())
def test_absent_tiles_in_a_halo_are_holes(data):
    array = np.arange(1, 82, dtype="u1").reshape(9, 9)
    whole = Lattice.from_array(array, block={"y": 3, "x": 3})
    absent = data.draw(st.lists(st.sampled_from([0, 1, 2, 3, 5, 6, 7, 8]), unique=True))
    mode = data.draw(st.sampled_from(["none", "reflect", "nearest", 0]))
    margin = data.draw(st.integers(1, 4))
    holed = whole.take([i for i in range(9) if i not in absent])
    with folder_of(whole) as here:
        options = {"halo": halo(whole, margin, mode)}
        (tile,) = here.given({"source": SAME}, 4, absent={"source": absent}, **options)
        plan = HaloGeometry(holed, options["halo"]).plan(4)
        expected = np.zeros(plan.shape, "u1")
        for piece in plan.pieces:
            expected[piece.target.slices] = whole.source.read(piece.tile, piece.source)
        np.testing.assert_array_equal(tile.to_numpy(), fill(expected, plan))


# -------------------------------------------------------------------- intersecting


def acquired(data, step=(4, 5), size=(6, 8), grid=(3, 2), pixel=1.0):
    """Overlapping tiles of a scene, and the scene."""
    whole = [(g - 1) * s + n for g, s, n in zip(grid, step, size, strict=True)]
    scene = np.random.default_rng(data).integers(1, 60_000, whole).astype("u2")
    lattice = Lattice.from_grid(
        dict(zip("yx", grid, strict=True)),
        tile_shape=dict(zip("yx", size, strict=True)),
        dtype="u2",
        overlap={a: n - s for a, n, s in zip("yx", size, step, strict=True)},
        pixel_size_um=pixel,
        snake=True,
    )
    tiles = [scene[lattice.volume_box(i).slices] for i in range(len(lattice))]
    return lattice.replace(source=MemorySource(tiles)), scene


def fuse(tiles):
    """Put every part where it lies."""
    unit, (y, x) = tiles.unit, (tiles.extent_um["y"], tiles.extent_um["x"])
    pixel = unit.pixel_size_um
    shape = [round((b - a) / pixel[axis]) for axis, (a, b) in {"y": y, "x": x}.items()]
    image = np.zeros(shape, "u2")
    for part in tiles.values():
        rows = np.rint((part.y_um.to_numpy() - y[0]) / pixel["y"]).astype(int)
        columns = np.rint((part.x_um.to_numpy() - x[0]) / pixel["x"]).astype(int)
        image[np.ix_(rows, columns)] = part.to_numpy()
    return image


@settings(max_examples=15)
@given(
    st.tuples(st.integers(2, 9), st.integers(2, 9)),
    st.sampled_from([1.0, 0.1, 0.35]),
    st.integers(0, 99),
)
def test_blocks_that_are_fused_from_the_tiles_they_meet_are_the_scene(block, pixel, seed):
    tiles, scene = acquired(seed, pixel=pixel)
    sizes = dict(zip("yx", block, strict=True))
    blocks = Lattice.from_array(scene, block=sizes, pixel_size_um=pixel)
    with folder_of(tiles) as here:
        key = here.own(blocks)
        bench = here.bench(fuse, {"source": intersecting(blocks)}, key)
        for unit in range(len(blocks)):
            made = here.run(bench, unit)
            box = blocks.volume_box(unit)
            index = bench.place(made.output, unit)
            store = bench.store(made.output)
            staged = type(store)(here.folder / "staging", store.layout).read(index)
            np.testing.assert_array_equal(staged, scene[box.slices])
            read = [tiles.volume_box(i).intersect(box).size for i in range(len(tiles))]
            assert made.bytes_read == 2 * sum(read)  # only what lies in the block


def test_a_margin_widens_what_a_block_reads_and_is_cut_off_again():
    tiles, scene = acquired(1)
    blocks = Lattice.from_array(scene, block={"y": 7, "x": 7})
    margin = halo(blocks, {"y": (1, 2), "x": 2})
    seen = []

    def watch(tiles):
        seen.append((dict(tiles.extent_um), fuse(tiles)))
        return seen[-1][1]

    with folder_of(tiles) as here:
        bench = here.bench(watch, {"source": intersecting(blocks)}, here.own(blocks), halo=margin)
        made = here.run(bench, 0)
        assert seen[0][0] == {"y": (-1, 9), "x": (-2, 9)}
        expected = np.pad(scene, ((1, 0), (2, 0)))[:10, :11]
        np.testing.assert_array_equal(seen[0][1], expected)
        assert made.output.shape == (7, 7)
        store = bench.store(made.output)
        staged = type(store)(here.folder / "staging", store.layout).read((0, 0))
        np.testing.assert_array_equal(staged, scene[:7, :7])


def test_the_way_back_from_blocks_to_tiles():
    tiles, scene = acquired(2)
    blocks = Lattice.from_array(scene, block={"y": 5, "x": 6})
    with folder_of(tiles) as here:
        key = here.own(blocks)
        fused = {i: scene[blocks.volume_box(i).slices] for i in range(len(blocks))}
        here.put("fused", fused, key)
        here.put("cells", {i: pd.DataFrame({"block": [i]}) for i in range(len(blocks))}, key)
        for unit in range(len(tiles)):
            image, cells = here.given({"fused": intersecting(), "cells": intersecting()}, unit)
            np.testing.assert_array_equal(fuse(image), scene[tiles.volume_box(unit).slices])
            assert list(cells) == list(image) == sorted(image)
            assert [int(cells[key].block[0]) for key in cells] == list(image)
            assert image.tile(next(iter(image))).id == next(iter(image))


def test_parts_say_which_pixels_of_which_tile_they_are():
    tiles, scene = acquired(3)
    blocks = Lattice.from_array(scene, block={"y": 7, "x": 7})
    with folder_of(tiles) as here:
        key = here.own(blocks)
        (parts,) = here.given({"source": intersecting(blocks)}, 0, key)
        assert parts.unit.shape == (7, 7)
        assert list(parts) == [0, 1, 2, 3]  # acquired as a snake
        part = parts[2]
        assert part.attrs["tile"] == "y1_x1"
        assert part.attrs["tile_shape"] == {"y": 6, "x": 8}
        assert part.y.to_numpy().tolist() == [0, 1, 2]
        assert part.y_um.to_numpy().tolist() == [4, 5, 6]
        assert part.x.to_numpy().tolist() == [0, 1]
        assert part.x_um.to_numpy().tolist() == [5, 6]
        assert parts.box(2) == Box((0, 0), (3, 2))
        (bare,) = here.given({"source": intersecting(blocks)}, 0, key, numpy=True)
        np.testing.assert_array_equal(bare[2], part.to_numpy())
        assert bare.box(2) == parts.box(2)
        reads = {"source": intersecting(blocks)}
        (fewer,) = here.given(reads, 0, key, absent={"source": [2]})
        assert list(fewer) == [0, 1, 3]
        assert fewer.holes == (2,)
        with pytest.raises(KeyError):
            fewer[2]


def test_parents_of_other_resolution_are_cut_by_micrometres():
    pixel = dict.fromkeys("zyx", 0.5)
    tiles = numbered(z=2, size=(4, 6, 8), pixel_size_um=pixel)
    halves = {i: np.full((4, 3, 4), i, "f4") for i in range(8)}
    flat = {i: np.full((6, 8), i, "f4") for i in range(8)}
    volume = np.broadcast_to(np.zeros((), "u1"), (8, 12, 16))
    blocks = Lattice.from_array(volume, block={"z": 2, "y": 12, "x": 5}, pixel_size_um=pixel)
    with folder_of(tiles) as here:
        here.put("half", halves)
        here.put("flat", flat)
        key = here.own(blocks)
        reads = {"half": intersecting(blocks), "flat": intersecting(blocks)}
        for unit in range(len(blocks)):
            half, projections = here.given(reads, unit, key)
            z, x = (half.extent_um[axis] for axis in "zx")
            expected = [i for i in range(8) if i // 4 == z[0] // 2 and meets(x, (i % 2) * 4.0, 4.0)]
            assert list(half) == list(projections) == expected  # a projection is as deep as a tile
            for part in half.values():
                assert part.attrs["pixel_size_um"] == {"z": 0.5, "y": 1, "x": 1}
                assert part.z_um.to_numpy().tolist() == [z[0], z[0] + 0.5]
                assert part.x_um.to_numpy().min() > x[0] - 1
                assert part.x_um.to_numpy().max() < x[1]
            for part in projections.values():
                assert part.dims == ("y", "x")
                assert float(part.z_um) == z[0] // 2 * 2


def meets(span, first, size):
    return span[0] < first + size and first < span[1]


# -------------------------------------------------------------------- growing, and what cannot be


def test_tiles_of_a_growing_project_are_stored_and_read_by_their_ids():
    tiles = numbered()
    n = len(tiles)
    with folder_of(tiles, live=True) as here:
        here.put("double", {i: np.full((2, 3, 4), 2 * i, "i4") for i in range(n)})
        planes = "planes:tile_z:tiles"
        here.put("flat", {i: np.full((2, 3, 4), i, "f4") for i in range(3)}, planes)
        assert (array_folder(here.folder, "double") / "double" / "c.11.0.0.0").exists()
        tile, around, flat = here.given({"double": neighbours("+z"), "flat": SAME}, 7)
        assert (value_at(tile), value_at(around["+z"]), value_at(flat)) == (14, 22, 1)
        (haloed,) = here.given({"double": SAME}, 5, halo=halo(tiles, 1))
        assert haloed.shape == (4, 4, 5)
        assert haloed[0, 0, 0] == 2 * 0
        bench = here.bench(lambda tile: tile, {"double": SAME})
        made = here.run(bench, 7)
        assert bench.place(made.output, 7) == (7,)
        assert (here.folder / "staging" / "read" / "c.7.0.0.0").exists()
        blocks = Lattice.from_array(np.zeros((6, 6, 8), "u2"), block=3)
        bench = here.bench(fuse, {"source": intersecting(blocks)}, here.own(blocks))
        whole = Output("array", "<u2", ("z", "y", "x"), (6, 3, 3))
        assert bench.store(whole).layout.kind == "volume"


def test_a_lattice_that_has_grown_is_read_with_what_is_new():
    tiles = numbered(z=1)
    more = numbered(z=2).take([4, 5])
    new = more.replace(
        ids=np.arange(2), source=MemorySource([np.full((2, 3, 4), 40 + i, "u2") for i in range(2)])
    )
    with folder_of(tiles, live=True) as here:
        _, around = here.given({"source": neighbours("+z")}, 1)
        assert around["+z"] is None
        save_growth(here.folder, 2, Growth(tiles=new, placed_by="labels"))
        _, around = here.given({"source": neighbours("+z")}, 1, lattice_version=2)
        assert value_at(around["+z"]) == 41
        _, around = here.given({"source": neighbours("+z")}, 1)
        assert around["+z"] is None  # an order of before


def test_inputs_that_cannot_be_read_are_named():
    tiles = numbered()
    with folder_of(tiles) as here:
        here.put("double", {i: np.full((2, 3, 4), 2 * i, "i4") for i in range(12)})
        here.put("table", {i: pd.DataFrame({"value": [i]}) for i in range(12)})
        here.put("record", {1: {"n": 1}})
        (array_folder(here.folder, "double") / "double" / "c.0.0.1.0.0.0").unlink()
        (table_folder(here.folder, "table") / "0" / "1.parquet").unlink()

        def ask(_tile, around):
            around["+x"]

        for parent in ("double", "table"):
            bench = here.bench(ask, {parent: neighbours("+x")})
            with pytest.raises(UnreadableInputError, match=rf"'{parent}' at '\+x': .*tile"):
                here.run(bench, 0)
            with pytest.raises(UnreadableInputError, match=f"input '{parent}': .*tile"):
                here.run(bench, 1)
        with pytest.raises(UnreadableInputError, match="no record of unit 0"):
            here.given({"record": SAME}, 0)


def test_tiles_that_cannot_be_read_are_named_in_every_pattern():
    tiles = numbered().replace(problems={1: "the file is truncated"})
    with folder_of(tiles) as here:
        blocks = Lattice.from_array(np.zeros((6, 6, 8), "u2"), block=3)

        def everything(*given):
            for tiles in given:
                if isinstance(tiles, Tiles):
                    list(tiles.values())

        own = here.own(blocks)
        for reads, unit, key in [
            (SAME, 1, TILES),
            (neighbours("+x"), 0, TILES),
            (intersecting(blocks), 1, own),
        ]:
            with pytest.raises(UnreadableInputError, match=r"z0_y0_x1 .*truncated"):
                here.run(here.bench(everything, {"source": reads}, key), unit)


# -------------------------------------------------------------------- by hand


def test_a_stage_can_be_tried_with_tiles_made_by_hand():
    def seam(tile, neighbours):
        right = neighbours["+x"]
        return None if right is None else float(np.abs(tile[:, -1] - right[:, 0]).mean())

    lattice = numbered()
    tile = lattice.tile(0)
    image = np.ones((3, 4))
    assert seam(image, Tiles.of(tile, {"+x": image * 3})) == 2
    assert seam(image, Tiles.of(tile, {"+x": None})) is None
    given = Tiles.of(tile, {"+x": image}, tiles={"+x": lattice.tile(1)})
    assert given.tile("+x").id == 1
    assert dict(given)["+x"] is image
    many = Tiles.of(tile, dict.fromkeys(range(40), 1))
    assert repr(many).endswith("11, ... 28 more>")


def test_units_of_the_unit_lattice_have_no_tile():
    with folder_of(numbered()) as here:
        (given,) = here.given({"source": nothing()}, 0, UNIT)
        assert given is None


def test_parts_have_their_place_in_the_unit_that_reads_them(tmp_path):
    image = np.arange(40 * 50, dtype="u2").reshape(40, 50)
    tiles = lw.Lattice.from_array(image, block={"y": 16, "x": 12}, pixel_size_um=0.5)
    blocks = lw.Lattice.from_grid(
        {"y": 2, "x": 2}, tile_shape={"y": 20, "x": 25}, dtype="u2", pixel_size_um=0.5
    )
    project = lw.create(tmp_path / "p.lw", tiles)

    def fused(parts):
        block = np.zeros((20, 25), "u2")
        for id, part in parts.items():
            block[parts.place(id)] = part
        return block

    def with_margin(parts):
        block = np.zeros((24, 29), "u2")
        for id, part in parts.items():
            block[parts.place(id)] = part
        return block

    project.add(fused, reads=lw.intersecting(blocks))
    project.add(with_margin, reads=lw.intersecting(blocks), overlap=2)
    assert project.run(progress="none")
    for stage in ("fused", "with_margin"):
        for y in range(2):
            for x in range(2):
                found = project[stage].tile(y=y, x=x).to_numpy()
                assert (found == image[20 * y : 20 * y + 20, 25 * x : 25 * x + 25]).all(), stage
