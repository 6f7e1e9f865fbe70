"""What holds for tiles that are bent, masked, of other pixels, and blended in any way."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latticework.lattice.geometry import Box
from latticework.stitch.bending import places
from latticework.stitch.blending import BLENDS, Piece, fuse_block
from latticework.stitch.pieces import Lean
from latticework.stitch.warps import Warp
from tests.stitch.test_warps import random_warp

OPTIONS = {
    "blend": st.sampled_from(BLENDS),
    "interpolation": st.sampled_from(["linear", "cubic"]),
    "dtype": st.sampled_from(["u1", "i2", "u2", "u4", "i8", "u8", "f4", "f8"]),
    "bent": st.booleans(),
    "resized": st.booleans(),
    "masked": st.booleans(),
    "dims": st.integers(1, 3),
    "seed": st.integers(0, 2**31),
}


def piece(array, position, ramp=3.0, **options):
    def read(box):
        assert Box.whole(array.shape).contains(box), (box, array.shape)
        return array[box.slices]

    return Piece(tuple(map(float, position)), array.shape, read, (ramp,) * array.ndim, **options)


def random_pieces(value, *, dims, bent, resized, masked, interpolation, seed, **_):
    rng = np.random.default_rng(seed)
    step = tuple(rng.uniform(0.4, 3.0, dims)) if resized else None
    found = []
    for _ in range(rng.integers(1, 5)):
        warp = random_warp(rng, dims, shape=(14,) * dims) if bent else None
        array = np.full((14,) * dims, value)
        if masked:
            mask = rng.random(array.shape) < 0.2
            array[mask] = 0
        at = rng.uniform(-2, 15, dims)
        found.append(
            piece(
                *(array, at, rng.uniform(0, 9)),
                step=step,
                warp=warp,
                interpolation=interpolation,
                mask=(lambda box, mask=mask: mask[box.slices]) if masked else None,
                lean=Lean(0, 10.0, 20.0) if rng.random() < 0.3 else None,
            )
        )
    return found


def whole_box(pieces):
    boxes = [one.covers() for one in pieces]
    start = [min(box.start[a] for box in boxes) - 1 for a in range(boxes[0].ndim)]
    stop = [max(box.stop[a] for box in boxes) + 1 for a in range(boxes[0].ndim)]
    return Box(tuple(start), tuple(stop))


@settings(max_examples=150, deadline=None)
@given(st.fixed_dictionaries(OPTIONS))
def test_a_constant_image_stays_one_whatever_is_done_with_it(options):
    dtype = np.dtype(options["dtype"])
    most = 2**44 + 1 if dtype.kind == "f" or dtype.itemsize == 8 else np.iinfo(dtype).max - 1
    value = dtype.type(most if dtype != np.float32 else 12345.678)
    pieces = random_pieces(value, **options)
    found = fuse_block(whole_box(pieces), pieces, dtype, blend=options["blend"], blank=5)
    told = found != 5
    if dtype.kind == "f":
        np.testing.assert_allclose(found[told], value, rtol=1e-6)
    else:
        assert (found[told] == value).all()
    if not options["masked"] and not options["bent"]:
        covered = np.zeros(found.shape, bool)
        origin = [-o for o in whole_box(pieces).start]
        for one in pieces:
            covered[one.covers().shift(origin).slices] = True
        np.testing.assert_array_equal(told, covered)
    assert told.any() or options["masked"] or options["bent"] or options["resized"]


@settings(max_examples=60, deadline=None)
@given(st.fixed_dictionaries(OPTIONS), st.randoms())
def test_the_order_of_tiles_changes_nothing(options, random):
    if options["blend"] == "first":
        options["blend"] = "none"
    pieces = random_pieces(np.float32(1), **options)
    rng = np.random.default_rng(options["seed"])
    noisy = []
    for one in pieces:
        array = rng.integers(0, 100, one.shape).astype("u1")
        noisy.append(replace(one, read=lambda box, array=array: array[box.slices]))
    box = whole_box(noisy)
    dtype = options["dtype"]
    found = fuse_block(box, noisy, dtype, blend=options["blend"])
    random.shuffle(noisy)
    np.testing.assert_array_equal(fuse_block(box, noisy, dtype, blend=options["blend"]), found)


@settings(max_examples=40, deadline=None)
@given(st.fixed_dictionaries(OPTIONS))
def test_blocks_fit_together_whatever_is_done(options):
    pieces = random_pieces(np.float32(1), **options)
    rng = np.random.default_rng(options["seed"])
    noisy = []
    for one in pieces:
        array = rng.integers(0, 100, one.shape).astype("f4")
        noisy.append(replace(one, read=lambda box, array=array: array[box.slices]))
    box = whole_box(noisy)
    blend = options["blend"]
    whole = fuse_block(box, noisy, "f4", blend=blend)
    middle = tuple((a + b) // 2 for a, b in zip(box.start, box.stop, strict=True))
    for part in (Box(box.start, middle), Box(middle, box.stop)):
        found = fuse_block(part, noisy, "f4", blend=blend)
        expected = whole[part.shift([-o for o in box.start]).slices]
        off = np.abs(found - expected) > 0.02
        # Of two tiles that count alike but for rounding, blocks may choose differently.
        ties = 0 if blend in ("cosine", "average", "content") else 3 + 0.01 * off.size
        assert off.sum() <= ties


def smooth(points):
    """A scene that is known everywhere, smooth enough for any interpolation; (n, dims) to (n,)."""
    return 500 + 200 * np.sin(points * 0.11 + np.arange(points.shape[1])).prod(axis=1)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
def test_a_bent_tile_shows_the_scene_where_it_was(dims, interpolation):
    rng = np.random.default_rng(dims)
    shape = (60, 50, 40)[:dims]
    grid = rng.uniform(-2.5, 2.5, (dims, *(4,) * dims))
    turn = np.eye(dims)
    turn[-2:, -2:] = [[np.cos(0.2), -np.sin(0.2)], [np.sin(0.2), np.cos(0.2)]]
    warp = Warp(shape, turn, grid)
    position = np.array([3.3, -7.1, 12.6])[:dims]
    inside = np.stack([a.ravel() for a in np.indices(shape)], axis=1).astype(float)
    tile = smooth(warp.forward(inside) + position).reshape(shape).astype("f4")
    one = piece(tile, position, warp=warp, interpolation=interpolation)
    box = one.covers()
    found = fuse_block(box, [one], "f4", blank=np.nan)
    there = np.stack([a.ravel() for a in np.indices(box.shape)], axis=1) + box.start
    exact = warp.inverse(there - position)
    margins = (exact >= 0).all(axis=1) & (exact <= np.array(shape) - 1).all(axis=1)
    known = ~np.isnan(found.ravel())
    within = (exact >= -0.5).all(axis=1) & (exact < np.array(shape) - 0.5).all(axis=1)
    assert (known != within).mean() < 1e-3
    off = np.abs(found.ravel() - smooth(there))[margins]
    # Kinks of the warp are no ripples that splines could follow.
    assert np.quantile(off, 0.99) < 2.0
    assert off.mean() < (0.5 if interpolation == "linear" else 0.2)


def test_places_in_a_bent_tile_are_right_to_a_fiftieth_of_a_pixel():
    rng = np.random.default_rng(0)
    warp = Warp((90, 80), grid_px=rng.uniform(-6, 6, (2, 5, 5)))
    for step in ((1.0, 1.0), (2.0, 0.7)):
        one = piece(np.zeros((90, 80), "f4"), (4.4, -3.2), warp=warp, step=step)
        box = one.covers()
        at = np.moveaxis(places(one, box), 0, -1).reshape(-1, 2)
        there = np.stack([a.ravel() for a in np.indices(box.shape)], axis=1) + box.start
        exact = warp.inverse((there - one.position) * np.array(step))
        near = ((exact > -1) & (exact < warp.shape)).all(axis=1)
        assert near.sum() > 1000
        assert np.abs(at - exact)[near].max() < 0.02


def test_a_tile_that_is_only_displaced_is_as_one_at_another_position():
    rng = np.random.default_rng(1)
    tile = rng.integers(0, 4000, (30, 40)).astype("u2")
    moved = Warp((30, 40), grid_px=np.array([0.25, -1.5]).reshape(2, 1, 1))
    bent = piece(tile, (2.0, 3.0), warp=moved)
    straight = piece(tile, (2.25, 1.5))
    box = Box((0, 0), (40, 50))
    difference = fuse_block(box, [bent], "f4") - fuse_block(box, [straight], "f4")
    assert np.abs(difference)[1:-1, 1:-1].max() < 4000 * 0.03


def test_a_tile_turned_by_a_right_angle_is_that():
    tile = np.arange(35.0, dtype="f4").reshape(5, 7)
    turned = Warp((5, 7), np.array([[0, -1], [1, 0]]))
    one = piece(tile, (0.0, 0.0), warp=turned)
    box = one.covers()
    np.testing.assert_allclose(fuse_block(box, [one], "f4"), np.rot90(tile), atol=1e-4)


def test_larger_pixels_are_means_of_what_lies_in_them():
    tile = np.random.default_rng(0).integers(0, 4000, (30, 41)).astype("u2")
    # The outer edge of the tile is that of the volume: its first pixel begins half a pixel before.
    one = piece(tile, (-0.25, 0.5 / 2.5 - 0.5), step=(2.0, 2.5))
    box = one.covers()
    assert box == Box((0, 0), (15, 16))
    found = fuse_block(box, [one], "f8")
    fine = np.repeat(tile, 2, axis=1).reshape(15, 2, -1).mean(axis=1)  # half pixels along x
    expected = fine[:, :80].reshape(15, 16, 5).mean(axis=2)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
def test_smaller_pixels_lie_between(interpolation):
    ramp = np.arange(12.0, dtype="f4")
    one = piece(ramp, (0.5,), step=(0.5,), interpolation=interpolation)
    assert one.covers() == Box((0,), (24,))
    found = fuse_block(Box((0,), (24,)), [one], "f4")
    np.testing.assert_allclose(found[4:20], np.arange(24)[4:20] * 0.5 - 0.25, atol=1e-5)


def test_cubics_keep_fine_structure_better_than_lines():
    rng = np.random.default_rng(0)
    at = np.arange(400) * 1.3
    for shift in (0.5, 0.25):
        scene = np.sin(at).astype("f4")
        box, truth = Box((2,), (398,)), np.sin((np.arange(2, 398) - shift) * 1.3)
        off = {}
        for interpolation in ("linear", "cubic"):
            one = piece(scene, (shift,), interpolation=interpolation)
            found = fuse_block(box, [one], "f4")
            off[interpolation] = np.abs(found - truth).mean()
        assert off["cubic"] < 0.6 * off["linear"]
    bright = piece(rng.choice([0, 255], 300).astype("u1"), (0.5,), interpolation="cubic")
    found = fuse_block(Box((0,), (300,)), [bright], "u1")  # overshoots are clipped, not wrapped
    line = fuse_block(Box((0,), (300,)), [replace(bright, interpolation="linear")], "u1")
    assert np.abs(found.astype(int) - line).max() < 100


@pytest.mark.parametrize("blend", BLENDS)
def test_masked_pixels_are_taken_from_another_tile_or_from_none(blend):
    bad = np.zeros((20, 20), bool)
    bad[5:9, 5:9] = True
    tiles = []
    for value in (100, 200):
        tile = np.full((20, 20), value, "u2")
        tile[bad] = 60_000
        tiles.append(tile)
    mask = {"mask": lambda box: bad[box.slices]}
    both = [piece(tiles[0], (0, 0), **mask), piece(tiles[1], (0, 10), **mask)]
    found = fuse_block(Box((0, 0), (20, 30)), both, "u2", blend=blend, blank=7)
    assert (found[5:9, 5:9] == 7).all()  # under the first tile alone
    assert (found[5:9, 15:19] == 100).all()  # under both, masked in the second
    assert found.max() <= 200
    assert (found == 7).sum() == 16


def test_pixels_between_a_masked_one_and_others_are_of_the_others():
    for interpolation in ("linear", "cubic"):
        tile = np.full(30, 50.0, "f4")
        tile[10] = np.nan
        one = piece(tile, (0.25,), interpolation=interpolation)
        found = fuse_block(Box((0,), (31,)), [one], "f4", blank=-1)
        assert np.flatnonzero(found == -1).tolist() == [10, 30]
        np.testing.assert_allclose(found[found != -1], 50, rtol=1e-6)


@pytest.mark.parametrize("blend", BLENDS)
@pytest.mark.parametrize("dtype", ["u2", "f4", "f8"])
def test_nan_is_never_used(blend, dtype):
    tiles = [np.full((12, 12), value, "f4") for value in (10.4, 20.4)]
    tiles[1][:, 3] = np.nan
    views = [piece(tile, (0, at)) for tile, at in zip(tiles, (0, 6), strict=True)]
    found = fuse_block(Box((0, 0), (12, 18)), views, dtype, blend=blend)
    expected = 10.4 if dtype != "u2" else 10
    np.testing.assert_allclose(found[:, 9], expected, rtol=1e-6)
    assert np.isfinite(found).all()


def test_offsets_are_added_after_gains():
    one = piece(np.full((4, 4), 100, "u1"), (0, 0), gain=2.0, offset=-150.0)
    assert (fuse_block(Box((0, 0), (4, 4)), [one], "u1") == 50).all()
    assert (fuse_block(Box((0, 0), (4, 4)), [replace(one, offset=-250.0)], "u1") == 0).all()
    assert (fuse_block(Box((0, 0), (4, 4)), [replace(one, offset=100.0)], "u1") == 255).all()


def test_the_sharper_of_two_views_counts_most():
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(0)
    scene = gaussian_filter(rng.random((96, 192)), 1.2).astype("f4") * 1e4
    scene -= scene.mean()
    blurred = gaussian_filter(scene, 4)
    half = np.arange(192) < 96
    left, right = np.where(half, scene, blurred), np.where(half, blurred, scene)
    views = [piece(view, (0, 0)) for view in (left, right)]
    box = Box((0, 0), (96, 192))
    off = {
        blend: np.abs(fuse_block(box, views, "f4", blend=blend) - scene)[:, half ^ True].mean()
        for blend in ("content", "average")
    }
    assert off["content"] < 0.2 * off["average"]


@pytest.mark.parametrize("dtype", ["u8", "i8"])
def test_integers_of_64_bits_are_copied_exactly(dtype):
    limits = np.iinfo(dtype)
    rng = np.random.default_rng(0)
    volume = rng.integers(limits.min, limits.max, (20, 60), dtype=dtype, endpoint=True)
    pieces = [piece(volume[:, a : a + 30], (0, a)) for a in (0, 15, 30)]
    for blend in ("none", "first", "maximum"):
        np.testing.assert_array_equal(
            fuse_block(Box((0, 0), (20, 60)), pieces, dtype, blend=blend), volume
        )
