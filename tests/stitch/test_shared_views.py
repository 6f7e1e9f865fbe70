"""What tiles share is told from parts of it where it is large: memory does not grow with tiles."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from latticework.lattice import Box, Lattice
from latticework.stitch.levelling import estimate_gains
from latticework.stitch.patches import PATCH_PX
from latticework.stitch.shared_views import LEAST_PARTS, MOST_PIXELS, PARTS, slabs

SIDES = st.lists(st.integers(1, 3000), min_size=2, max_size=3)


@given(SIDES, st.integers(1, 10**7), st.data())
def test_parts_lie_within_what_is_shared_at_the_same_place_of_both(sides, most, data):
    starts = [[data.draw(st.integers(0, 500)) for _ in sides] for _ in range(2)]
    whole = [Box(tuple(a), tuple(np.add(a, sides).tolist())) for a in starts]
    parts = slabs(*whole, most=most)
    assert parts
    apart = np.subtract(*starts)
    for one, other in parts:
        assert one.shape == other.shape
        assert (np.subtract(one.start, other.start) == apart).all()
        for box, of in zip((one, other), whole, strict=True):
            assert all(a >= b for a, b in zip(box.start, of.start, strict=True))
            assert all(a <= b for a, b in zip(box.stop, of.stop, strict=True))
        assert all(n >= min(PATCH_PX, m) for n, m in zip(one.shape, sides, strict=True))


@given(SIDES)
def test_no_more_is_read_than_tells_of_brightness(sides):
    box = Box((0,) * len(sides), tuple(sides))
    parts = slabs(box, box)
    read = sum(one.size for one, _ in parts)
    assert max(one.size for one, _ in parts) <= MOST_PIXELS
    assert read <= LEAST_PARTS ** (len(sides) - 1) * MOST_PIXELS
    assert read >= min(box.size, MOST_PIXELS / 5)
    if all(n <= 3000 for n in sides):
        assert len(parts) <= PARTS**2


def test_parts_of_a_long_overlap_are_few_and_spread_along_all_of_it():
    box = Box((0, 0), (400_000, 200))
    parts = [one for one, _ in slabs(box, box)]
    assert len(parts) == PARTS
    assert (parts[0].start[0], parts[-1].stop[0]) == (0, 400_000)
    assert max(np.diff([one.start[0] for one in parts])) < 60_000


def test_parts_of_a_volume_are_whole_planes():
    """Each plane is unpacked once: TIFF files of many planes took six times as long otherwise."""
    box = Box((0, 0, 900), (120, 1000, 1000))
    parts = [one for one, _ in slabs(box, box)]
    assert all(one.shape[1:] == (1000, 100) for one in parts)
    planes = np.concatenate([np.arange(one.start[0], one.stop[0]) for one in parts])
    assert len(np.unique(planes)) == len(planes)


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


def test_gains_of_large_volumes_are_told_from_a_few_slabs():
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
    assert source.total <= 2 * MOST_PIXELS  # of 60 million that both show
    assert source.largest <= 2_500_000
