"""Parts of a picture that is never made as a whole are those of the whole."""

import json
from itertools import product

import numcodecs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latticework.viz.neuroglancer import canvas as canvas_module
from latticework.viz.neuroglancer.annotations import Annotations
from latticework.viz.neuroglancer.canvas import ArrayPixels, TileCanvas, planes_of, reduced
from latticework.viz.neuroglancer.resources import ViewError
from latticework.viz.neuroglancer.virtual_images import VirtualImage, levels_of

places = st.tuples(st.integers(0, 6), st.integers(0, 40), st.integers(0, 40))
shapes = st.tuples(st.integers(1, 4), st.integers(1, 30), st.integers(1, 30))


@st.composite
def pictures(draw):
    """Tiles anywhere, and the picture that they make, painted by hand."""
    n = draw(st.integers(1, 5))
    starts = np.array(draw(st.lists(places, min_size=n, max_size=n)))
    starts -= starts.min(axis=0)
    sizes = np.array(draw(st.lists(shapes, min_size=n, max_size=n)))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    tiles = [rng.integers(1, 60000, size).astype("u2") for size in sizes]
    whole = np.zeros((starts + sizes).max(axis=0), "u2")
    for start, tile in zip(starts, tiles, strict=True):
        box = tuple(slice(a, a + n) for a, n in zip(start, tile.shape, strict=True))
        whole[box] = tile

    def read(row, a, b):
        assert all(0 <= x < y <= n for x, y, n in zip(a, b, tiles[row].shape, strict=True))
        return tiles[row][tuple(map(slice, a, b))]

    return TileCanvas(read, starts, sizes, np.dtype("u2")), whole


def of_level(whole, factor):
    planes = planes_of(0, -(-whole.shape[0] // factor[0]), factor[0], whole.shape[0])
    return reduced(whole[planes], factor)


@given(pictures(), st.data())
def test_any_part_at_any_level_is_that_of_the_whole(picture, data):
    canvas, whole = picture
    assert canvas.shape == whole.shape
    factor = data.draw(st.tuples(*[st.sampled_from([1, 2, 4])] * 3))
    expected = of_level(whole, factor)
    start = tuple(data.draw(st.integers(0, n - 1)) for n in expected.shape)
    stop = tuple(
        data.draw(st.integers(a + 1, n)) for a, n in zip(start, expected.shape, strict=True)
    )
    found, complete = canvas.read(start, stop, factor)
    assert complete
    np.testing.assert_array_equal(found, expected[tuple(map(slice, start, stop))])


@given(pictures(), st.integers(1, 4000))
def test_it_makes_no_difference_how_much_is_in_memory_at_once(picture, at_once):
    canvas, whole = picture
    factor = (1, 2, 2)
    expected = of_level(whole, factor)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(canvas_module, "AT_ONCE", at_once)
        found, _ = canvas.read((0, 0, 0), expected.shape, factor)
    np.testing.assert_array_equal(found, expected)


def test_a_part_reads_only_the_tiles_that_it_meets():
    read = []

    def pixels(row, a, b):
        read.append((row, a, b))
        return np.ones([y - x for x, y in zip(a, b, strict=True)], "u1")

    grid = np.array(list(product([0], range(100), range(100)))) * [1, 50, 50]
    canvas = TileCanvas(pixels, grid, np.full((10_000, 3), [5, 64, 64]), np.dtype("u1"))
    canvas.read((0, 1000, 1000), (2, 1030, 1010), (1, 1, 1))
    assert {row for row, _, _ in read} == {19 * 100 + 19, 19 * 100 + 20, 20 * 100 + 19, 2020}
    bytes_read = sum(np.prod(np.subtract(b, a)) for _, a, b in read)
    assert bytes_read <= 4 * 2 * 30 * 10
    # an overview of a thick stack reads one plane of several
    read.clear()
    canvas.read((0, 0, 0), (1, 2, 2), (4, 16, 16))
    assert {(a[0], b[0]) for _, a, b in read} == {(2, 3)}


def test_a_million_tiles_are_found_quickly():
    import time

    grid = np.stack(np.meshgrid(*[np.arange(100)] * 3, indexing="ij"), -1).reshape(-1, 3) * 50
    shapes = np.full((1_000_000, 3), 64)

    def pixels(_row, a, b):
        return np.ones([y - x for x, y in zip(a, b, strict=True)], "u1")

    image = VirtualImage(TileCanvas(pixels, grid, shapes, np.dtype("u1")), (1, 1, 1))
    began = time.perf_counter()
    assert image.find(("0", "c", "100", "20", "20")) is not None
    assert time.perf_counter() - began < 2.0


def decoded(image, level):
    """All pixels of a level, chunk by chunk, as a client reads them."""
    about = json.loads(image.find((str(level), "zarr.json")).body)
    shape, chunk = about["shape"], about["chunk_grid"]["configuration"]["chunk_shape"]
    out = np.zeros(shape, about["data_type"])
    for place in np.ndindex(*(-(-n // c) for n, c in zip(shape, chunk, strict=True))):
        body = image.find((str(level), "c", *map(str, place))).body
        block = np.frombuffer(numcodecs.Blosc().decode(body), out.dtype).reshape(chunk)
        box = tuple(
            slice(k * c, min((k + 1) * c, n)) for k, c, n in zip(place, chunk, shape, strict=True)
        )
        out[box] = block[tuple(slice(0, s.stop - s.start) for s in box)]
    return out


def test_a_virtual_image_is_the_array_at_each_level():
    rng = np.random.default_rng(0)
    volume = rng.integers(0, 60000, (37, 300, 530)).astype("u2")
    image = VirtualImage(ArrayPixels(volume, volume.dtype), (2.0, 0.5, 0.5))
    levels = levels_of(volume.shape, (2.0, 0.5, 0.5))
    assert [level.shape for level in levels] == [
        *((37, 300, 530), (37, 150, 265), (37, 75, 133)),
    ]
    group = json.loads(image.find(("zarr.json",)).body)["attributes"]["ome"]
    for number, level in enumerate(levels):
        np.testing.assert_array_equal(decoded(image, number), of_level(volume, level.factor))
        steps = group["multiscales"][0]["datasets"][number]["coordinateTransformations"]
        assert steps[0]["scale"] == [
            s * f for s, f in zip((2.0, 0.5, 0.5), level.factor, strict=True)
        ]
    for wrong in ("", "00", "-1", "1e3", "٣", "99999999999999"):
        assert image.find(("0", "c", wrong, "0", "0")) is None
        assert image.find((wrong, "zarr.json")) is None


@given(st.integers(0, 400), st.integers(1, 60), st.booleans())
def test_each_annotation_is_in_one_cell_of_the_index(n, limit, lines):
    rng = np.random.default_rng(n)
    places = rng.uniform(0, 100, (n, 3)) * [0.01, 1, 5]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("latticework.viz.neuroglancer.annotations.LIMIT", limit)
        made = Annotations(
            places, {"n": np.arange(n, dtype="u4")}, second_um=places + 1 if lines else None
        )
        info = json.loads(made.find(("info",)).body)
        seen = []
        for spatial in info["spatial"]:
            cells = made.index[int(spatial["key"])].rows
            assert all(len(rows) <= limit for rows in cells.values())
            for cell in np.ndindex(*spatial["grid_shape"]):
                body = made.find((spatial["key"], "_".join(map(str, cell)))).body
                count = int.from_bytes(body[:8], "little")
                size = 4 * (7 if lines else 4)
                records = np.frombuffer(body, "<f4", count * size // 4, 8).reshape(count, size // 4)
                ids = np.frombuffer(body, "<u8", count, 8 + count * size)
                np.testing.assert_allclose(records[:, :3], places[ids.astype(int)], rtol=1e-6)
                seen += ids.tolist()
        assert sorted(seen) == list(range(n))
        if n:
            assert np.frombuffer(made.find(("id", "0")).body, "<f4")[:3] == pytest.approx(places[0])
    assert made.find(("id", str(n))) is None
    assert made.find(("0", "x")) is None


def test_properties_of_annotations_are_numbers_of_32_bits():
    with pytest.raises(ViewError, match="score"):
        Annotations(np.zeros((1, 3)), {"score": np.zeros(1)})
