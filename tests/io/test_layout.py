"""Laws of the geometry of a stage's array."""

import json
from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latticework import Box, Lattice
from latticework.errors import StoreError
from latticework.io.chunking import INNER_BYTES, inner_chunk, shard_shape
from latticework.io.layout import ArrayLayout
from latticework.testing import strategies


def planned(lattice, *, name="stage", dtype=None, **options):
    return ArrayLayout.plan(
        lattice,
        dims=lattice.tile_dims,
        shape=tuple(lattice.tile_shape.values()),
        dtype=lattice.dtype if dtype is None else dtype,
        name=name,
        **options,
    )


@given(strategies.lattices())
def test_a_layout_survives_json(lattice):
    layout = planned(lattice)
    again = ArrayLayout.from_json(json.loads(json.dumps(layout.to_json())))
    assert again == layout
    assert hash(again) == hash(layout)


@given(strategies.lattices())
def test_tiles_never_share_a_file_or_a_pixel(lattice):
    layout = planned(lattice)
    touched = np.zeros(layout.array_shape, dtype=np.uint8)
    keys = []
    for tile in lattice:
        keys += layout.keys(tile.index)
        touched[layout.region(tile.index)] += 1
    assert len(set(keys)) == len(keys)
    assert touched.max() <= 1
    if layout.kind == "volume":
        assert touched.min() == 1


@given(strategies.block_lattices())
def test_blocks_of_a_volume_are_its_shards(lattice):
    layout = planned(lattice)
    assert layout.kind == "volume"
    assert layout.shard == layout.tile_shape
    assert all(n % c == 0 for n, c in zip(layout.shard, layout.inner, strict=True))
    for tile in lattice:
        assert layout.tile_box(tile.index).shape == tile.shape
        assert len(layout.keys(tile.index)) == 1


shapes = st.lists(st.integers(1, 5000), min_size=1, max_size=4)


@given(shapes, st.sampled_from([1, 2, 4, 8, 16]), st.booleans())
def test_inner_chunks_are_small_and_fill_the_shard(shape, itemsize, divide):
    dims = ("c", "z", "y", "x")[-len(shape) :]
    chunk = inner_chunk(dims, shape, itemsize, divide=divide)
    shard = shard_shape(shape, chunk, itemsize, divide=divide)
    assert all(1 <= c <= n for c, n in zip(chunk, shape, strict=True))
    assert all(s % c == 0 for s, c in zip(shard, chunk, strict=True))
    if divide:
        assert all(n % s == 0 for n, s in zip(shape, shard, strict=True))
    else:
        assert prod(chunk) * itemsize < 3 * INNER_BYTES[3]
        padding = prod(-(-n // c) * c for n, c in zip(shape, chunk, strict=True)) / prod(shape)
        assert padding < 1.5


def test_a_tile_above_the_limit_is_split_along_channels_then_planes():
    chunk = (1, 64, 64, 64)
    assert shard_shape((4, 256, 1024, 1024), chunk, 2) == (2, 256, 1024, 1024)
    assert shard_shape((4, 1024, 1024, 1024), chunk, 2) == (1, 512, 1024, 1024)


def test_shards_of_a_split_tile_are_all_among_its_keys():
    lattice = Lattice.from_grid(
        {"y": 2, "x": 1}, tile_shape={"c": 4, "z": 400, "y": 1024, "x": 1024}, dtype="u2"
    )
    keys = planned(lattice).keys((1, 0))
    assert len(keys) == 4
    assert keys[-1] == "stage/c.1.0.3.0.0.0"


def test_output_that_is_not_the_volume_keeps_its_tiles_apart():
    lattice = Lattice.from_array(np.zeros((60, 90), "u2"), block={"y": 32, "x": 32})
    layout = ArrayLayout.plan(lattice, dims=("x",), shape=(32,), dtype="f4", name="profile")
    assert (layout.kind, layout.array_shape) == ("tiles", (2, 3, 32))


def test_a_reduction_has_one_tile_and_no_lattice_dims():
    layout = ArrayLayout.plan(
        Lattice.unit(), dims=("y", "x"), shape=(5, 7), dtype="f4", name="flat"
    )
    assert layout.array_dims == ("y", "x")
    assert layout.keys(()) == ("flat/c.0.0",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": (0, 4)}, "has no pixels"),
        ({"shape": (4,)}, "do not make an array"),
        ({"shape": (), "dims": ()}, "return numbers as a record"),
        ({"dtype": "U3"}, "cannot be stored"),
        ({"dtype": "M8[s]"}, "cannot be stored"),
        ({"name": "tile_y"}, "cannot be called"),
        ({"name": "a/b"}, "cannot be called"),
        ({"dims": ("y", "y")}, "repeat a name"),
    ],
)
def test_what_cannot_be_stored_is_refused_at_once(change, message):
    lattice = Lattice.from_grid({"y": 2, "x": 2}, tile_shape={"y": 4, "x": 4}, dtype="u2")
    options = {"dims": ("y", "x"), "shape": (4, 4), "dtype": "u2", "name": "clean", **change}
    with pytest.raises(StoreError, match=message):
        ArrayLayout.plan(lattice, **options)


def test_boxes_and_tiles_outside_are_refused():
    lattice = Lattice.from_grid({"y": 2, "x": 2}, tile_shape={"y": 4, "x": 4}, dtype="u2")
    layout = planned(lattice)
    with pytest.raises(StoreError, match="not within tile"):
        layout.region((0, 0), Box((0, 0), (4, 5)))
    for index in ((0, 2), (-1, 0), (0,)):
        with pytest.raises(StoreError, match="has no tile"):
            layout.keys(index)


def test_a_layout_grows_at_the_end_only():
    def over(first, number):
        return Lattice(
            dims=("tile_x",),
            labels={"tile_x": np.arange(first, first + number)},
            index=np.arange(number)[:, None],
            tile_dims=("x",),
            tile_shape=(4,),
            dtype="u2",
        )

    small = planned(over(0, 3))
    assert small.grown(over(0, 5)) == planned(over(0, 5))
    with pytest.raises(StoreError, match="cannot grow along tile_x"):
        small.grown(over(-1, 5))


@given(strategies.lattices())
def test_a_unit_has_one_place(lattice):
    layout = planned(lattice)
    for tile in lattice:
        assert layout.place(lattice, tile.id) == tile.index
    some = lattice.take(lattice.ids[::-2])
    for tile in some:
        assert layout.place(some, tile.id) == tile.index
