"""What tiles share is looked at in parts where it is large: memory does not grow with tiles."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from latticework.lattice import Box, Lattice
from latticework.stitch.levelling import estimate_gains
from latticework.stitch.patches import PATCH_PX, patch_means
from latticework.stitch.shared_views import MOST_PIXELS, slabs

SIDES = st.lists(st.integers(1, 90), min_size=2, max_size=3)


@given(SIDES, st.integers(1, 10**6), st.data())
def test_patches_of_the_parts_are_those_of_the_whole(sides, most, data):
    starts = [[data.draw(st.integers(0, 500)) for _ in sides] for _ in range(2)]
    whole = [Box(tuple(a), tuple(np.add(a, sides).tolist())) for a in starts]
    image = np.random.default_rng(0).integers(0, 1000, sides)
    parts = slabs(*whole, most=most)
    for one, other in parts:
        assert one.shape == other.shape
        assert (np.subtract(one.start, other.start) == np.subtract(*starts)).all()
    means = [patch_means(image[one.shift([-n for n in starts[0]]).slices]) for one, _ in parts]
    np.testing.assert_array_equal(np.sort(np.concatenate(means)), np.sort(patch_means(image)))


@given(st.lists(st.integers(1, 3000), min_size=2, max_size=3))
def test_no_part_is_much_larger_than_what_fits_into_memory(sides):
    box = Box((0,) * len(sides), tuple(sides))
    largest = max(one.size for one, _ in slabs(box, box))
    assert largest <= max(2 * MOST_PIXELS, (2 * PATCH_PX) ** len(sides))


def test_parts_of_a_volume_are_whole_planes_each_of_them_once():
    """Each plane is unpacked once: TIFF files of many planes took six times as long otherwise."""
    box = Box((0, 0, 900), (120, 1000, 1000))
    parts = [one for one, _ in slabs(box, box)]
    assert all(one.shape[1:] == (1000, 100) for one in parts)
    planes = np.concatenate([np.arange(one.start[0], one.stop[0]) for one in parts])
    np.testing.assert_array_equal(planes, np.arange(120))


class Counted:
    """Tiles of blobs, the second brighter; knows how much was read at once, and in all."""

    def __init__(self, shape):
        self.shape, self.largest, self.total = shape, 0, 0

    def read(self, tile, box):
        self.largest, self.total = max(self.largest, box.size), self.total + box.size
        at = np.ix_(*(np.arange(a, b) for a, b in zip(box.start, box.stop, strict=True)))
        x = at[-1] + (tile * (self.shape[-1] - 300))
        light = 300 + 200 * np.sin(at[0] / 5.0) * np.sin(at[1] / 9.0) * np.sin(x / 7.0)
        return np.rint(100 + (1.0, 1.2)[tile] * light).astype("u2")

    def fingerprints(self):
        return np.arange(2, dtype=np.uint64)


def test_gains_of_large_volumes_are_told_a_part_at_a_time():
    shape = (100, 1000, 400)
    source = Counted(shape)
    lattice = Lattice(
        dims=("tile_x",),
        labels={"tile_x": np.arange(2)},
        index=np.array([[0], [1]]),
        tile_dims=("z", "y", "x"),
        tile_shape=shape,
        dtype="u2",
        pixel_size_um=dict.fromkeys("zyx", 1.0),
        position_um=np.array([[0.0, 0, 0], [0, 0, shape[2] - 300]]),
        source=source,
    )
    gains = estimate_gains(lattice, dark=100.0, threads=1)
    assert abs(gains[0] / gains[1] / 1.2 - 1) < 0.005
    assert source.total == 2 * 100 * 1000 * 300
    assert source.largest <= MOST_PIXELS
