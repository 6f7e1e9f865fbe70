"""The strategies give what they promise, and reach every kind of lattice."""

import numpy as np
import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from latticework.lattice import Box, Lattice
from latticework.testing.strategies import (
    arrays,
    block_lattices,
    boxes,
    halos,
    lattices,
    offsets,
    random_array,
    tile_lattices,
)

QUICK = settings(max_examples=2000, database=None, phases=[Phase.generate])


@given(lattices(pixels=True, ragged=True))
def test_every_tile_of_a_lattice_can_be_read(lattice):
    for tile in lattice:
        pixels = lattice.source.read(tile.id, Box.whole(tile.shape))
        assert pixels.shape == tile.shape
        assert pixels.dtype == tile.dtype


@given(block_lattices())
def test_blocks_cover_their_array_once(lattice):
    assert lattice.volume_shape is not None
    covered = np.zeros(tuple(lattice.volume_shape.values()), dtype=int)
    for tile in lattice:
        covered[lattice.volume_box(tile.id).slices] += 1
    assert (covered == 1).all()


@pytest.mark.parametrize(
    "kind",
    [
        lambda lattice: lattice.n_tiles < np.prod(lattice.shape),
        lambda lattice: any(overlap > 0 for overlap in lattice.overlap_px.values()),
        lambda lattice: len(lattice.dims) > len(lattice.step_px),
        lambda lattice: lattice.channels is not None,
        lambda lattice: any(not name.isascii() for name in lattice.names),
        lambda lattice: len(lattice.step_px) == 3,
        lambda lattice: "z" not in lattice.tile_dims,
        lambda lattice: (
            not np.array_equal(np.lexsort(lattice.index.T[::-1]), np.arange(len(lattice)))
        ),
    ],
    ids=["holes", "overlap", "other axis", "channels", "names", "3-D", "2-D tiles", "order"],
)
def test_every_kind_of_lattice_occurs(kind):
    assert isinstance(find(tile_lattices(), kind, settings=QUICK), Lattice)


def test_ragged_blocks_occur():
    ragged = find(block_lattices(), lambda lattice: lattice.shapes is not None, settings=QUICK)
    assert isinstance(ragged, Lattice)


@given(st.data())
def test_boxes_halos_and_offsets_fit(data):
    array = data.draw(arrays())
    assert array[data.draw(boxes(array.shape)).slices].size > 0
    assert set(data.draw(halos(("y", "x"), two_sided=True))) <= {"y", "x"}
    lattice = data.draw(tile_lattices(other_axes=False))
    axes = tuple(dim.removeprefix("tile_") for dim in lattice.dims)
    assert lattice.neighbours(data.draw(offsets(axes))).shape[0] == lattice.n_tiles


def test_random_integers_span_their_range():
    pixels = random_array((200, 200), "uint8", seed=0)
    assert pixels.min() == 0
    assert pixels.max() == 255
