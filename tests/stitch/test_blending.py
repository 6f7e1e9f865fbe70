"""Fused blocks: constants stay, cut tiles give the volume back, integers do not wrap."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latticework.lattice.geometry import Box
from latticework.stitch.blending import BLENDS, Piece, fuse_block


def piece(array, position, ramp=3.0, gain=1.0):
    def read(box):
        inside = Box.whole(array.shape)
        assert inside.contains(box), (box, array.shape)
        return array[box.slices]

    return Piece(tuple(map(float, position)), array.shape, read, (ramp,) * array.ndim, gain)


SHAPES = st.integers(2, 3).flatmap(lambda n: st.lists(st.integers(6, 20), min_size=n, max_size=n))


@settings(max_examples=60, deadline=None)
@given(SHAPES, st.sampled_from(BLENDS), st.booleans(), st.integers(0, 2**31))
def test_a_constant_stays_that_constant(shape, blend, between, seed):
    rng = np.random.default_rng(seed)
    pieces = []
    for _ in range(rng.integers(1, 6)):
        at = rng.uniform(-5, 15, len(shape))
        at = at if between else np.round(at)
        pieces.append(piece(np.full(shape, 777, "u2"), at, rng.uniform(0, 9)))
    box = Box((-4,) * len(shape), (30,) * len(shape))
    found = fuse_block(box, pieces, "u2", blend=blend, blank=1)
    covered = np.zeros(box.shape, bool)
    for one in pieces:
        covered[box.intersect(one.covers()).shift([4] * len(shape)).slices] = True
    assert (found[covered] == 777).all()
    assert (found[~covered] == 1).all()


@settings(max_examples=40, deadline=None)
@given(SHAPES, st.sampled_from(BLENDS), st.integers(0, 2**31))
def test_tiles_cut_at_whole_pixels_give_the_volume_back(shape, blend, seed):
    rng = np.random.default_rng(seed)
    volume = rng.integers(0, 65536, [3 * n for n in shape]).astype("u2")
    pieces = []
    for _ in range(6):
        start = [int(rng.integers(0, 2 * n + 1)) for n in shape]
        box = Box(tuple(start), tuple(a + n for a, n in zip(start, shape, strict=True)))
        pieces.append(piece(volume[box.slices], start))
    found = fuse_block(Box.whole(volume.shape), pieces, "u2", blend=blend)
    covered = np.zeros(volume.shape, bool)
    for one in pieces:
        covered[one.covers().slices] = True
    difference = np.abs(found.astype("i4") - volume)[covered]
    assert difference.max(initial=0) <= (0 if blend in ("none", "first", "maximum") else 1)
    assert (found[~covered] == 0).all()


@pytest.mark.parametrize("blend", BLENDS)
def test_blocks_of_any_size_fit_together(blend):
    rng = np.random.default_rng(4)
    pieces = [
        piece(rng.integers(0, 4000, (40, 50)).astype("u2"), at)
        for at in ((0, 0), (0.5, 41.25), (33.3, 2.0), (34.1, 43.9))
    ]
    whole = fuse_block(Box((0, 0), (75, 95)), pieces, "u2", blend=blend)
    for size in (7, 32):
        for row in range(0, 75, size):
            for column in range(0, 95, size):
                box = Box((row, column), (min(row + size, 75), min(column + size, 95)))
                part = fuse_block(box, pieces, "u2", blend=blend)
                difference = np.abs(part.astype("i4") - whole[box.slices])
                assert difference.max() <= (1 if blend in ("cosine", "content", "average") else 0)


def test_integers_are_rounded_and_clipped_and_never_wrap():
    bright = piece(np.full((4, 4), 60_000, "u2"), (0, 0), gain=1.5)
    assert (fuse_block(Box((0, 0), (4, 4)), [bright], "u2") == 65535).all()
    half = [piece(np.full((4, 4), v, "u2"), (0, 0)) for v in (10, 13)]
    assert (fuse_block(Box((0, 0), (4, 4)), half, "u2", blend="average") == 12).all()
    below = piece(np.full((4, 4), -5, "i2"), (0, 0))
    assert (fuse_block(Box((0, 0), (4, 4)), [below], "u1") == 0).all()


def test_between_pixels_a_ramp_is_interpolated_exactly():
    ramp = np.arange(20.0, dtype="f4") * np.ones((5, 1), "f4")
    found = fuse_block(Box((0, 1), (5, 19)), [piece(ramp, (0.0, 0.25))], "f4")
    np.testing.assert_allclose(found[0], np.arange(1, 19) - 0.25, atol=1e-5)


def test_a_seam_has_no_step():
    pieces = [
        piece(np.full((1, 100), v, "f4"), (0, at), ramp=20) for at, v in ((0, 100), (80, 120))
    ]
    line = fuse_block(Box((0, 0), (1, 180)), pieces, "f4")[0]
    assert np.abs(np.diff(line)).max() < 2.0


def test_a_blend_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="cosine, content"):
        fuse_block(Box((0,), (3,)), [], "u1", blend="mean")
