"""What is written to a stage's array is what everyone reads, and no more is read than needed."""

import pickle
from itertools import product
from pathlib import Path

import dask.array
import numpy as np
import pytest
import xarray
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from latticework import Box, Lattice
from latticework.errors import StoreError
from latticework.io.layout import DTYPES, ArrayLayout
from latticework.io.publish import publish
from latticework.io.tile_array import TileArray, open_labelled
from latticework.testing import strategies
from latticework.testing.strategies import random_array


def layout_of(lattice, *, name="clean", **options):
    options = {"dtype": lattice.dtype, **options}
    shape = tuple(lattice.tile_shape.values())
    return ArrayLayout.plan(lattice, dims=lattice.tile_dims, shape=shape, name=name, **options)


def put(store, index, pixels):
    staging = store.path.with_name("staging")
    store.stage(staging, index, pixels)
    publish(staging, store.path, store.layout.keys(index))


def filled(folder, lattice, **options):
    """A store with every tile of a lattice, and the same pixels in a NumPy array."""
    layout = layout_of(lattice, **options)
    store = TileArray.create(folder / "data.zarr", layout, lattice)
    blank = np.nan if layout.dtype.startswith(("f", "c")) else 0
    whole = np.full(layout.array_shape, blank, layout.dtype)
    for tile in lattice:
        pixels = random_array(layout.tile_box(tile.index).shape, layout.dtype, seed=tile.id)
        whole[layout.region(tile.index)] = pixels
        put(store, tile.index, pixels)
    return store, whole


@pytest.fixture(scope="module")
def grid():
    return Lattice.from_grid({"y": 2, "x": 3}, tile_shape={"y": 50, "x": 80}, dtype="uint16")


@settings(max_examples=15)
@given(
    lattice=strategies.lattices(),
    inner=st.booleans(),
    cache=st.sampled_from([0, 10**6]),
    data=st.data(),
)
def test_any_box_of_any_lattice_reads_back(tmp_path_factory, lattice, inner, cache, data):
    folder = tmp_path_factory.mktemp("store")
    chunk = [
        data.draw(st.sampled_from([d for d in range(1, n + 1) if n % d == 0]))
        for n in lattice.tile_shape.values()
    ]
    store, whole = filled(folder, lattice, inner=chunk if inner else None)
    store = TileArray.open(store.path, cache_bytes=cache)
    for tile in lattice:
        box = data.draw(strategies.boxes(store.layout.tile_box(tile.index).shape, empty=True))
        expected = whole[store.layout.region(tile.index, box)].reshape(box.shape)
        np.testing.assert_array_equal(store.read(tile.index, box), expected)
        out = np.zeros([n + 3 for n in box.shape], lattice.dtype)[
            tuple(slice(2, 2 + n) for n in box.shape)
        ]
        store.start_read(tile.index, box, out).result()
        np.testing.assert_array_equal(out, expected)


@settings(max_examples=8)
@given(lattice=strategies.lattices())
def test_zarr_dask_and_xarray_read_the_same(tmp_path_factory, lattice):
    store, whole = filled(tmp_path_factory.mktemp("store"), lattice)
    folder = store.path / "clean"
    np.testing.assert_array_equal(zarr.open_array(folder, mode="r")[...], whole)
    np.testing.assert_array_equal(dask.array.from_zarr(folder).compute(), whole)
    opened = xarray.open_zarr(store.path)["clean"]
    labelled = open_labelled(store.path, lattice)
    for array in (opened, labelled):
        assert array.dims == store.layout.array_dims
        np.testing.assert_array_equal(array.values, whole)
    if store.layout.kind == "tiles":
        for dim, labels in lattice.labels.items():
            for array in (opened, labelled):
                np.testing.assert_array_equal(array[dim].values, labels)
        row = dict(zip(lattice.dims, lattice.index[0].tolist(), strict=True))
        for column, axis in enumerate(lattice.spatial_dims):
            if axis in lattice.tile_dims:
                assert float(opened[f"{axis}_um"].isel(row)) == lattice.position_um[0, column]
        assert labelled.tile_name.isel(row).item() == lattice.names[0]
    else:
        for axis, size in lattice.pixel_size_um.items():
            assert float(opened[f"{axis}_um"][-1]) == size * (lattice.volume_shape[axis] - 1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", ["<", ">"])
def test_every_dtype_in_any_byte_order(tmp_path, grid, dtype, order):
    layout = layout_of(grid, dtype=np.dtype(dtype).newbyteorder(order))
    store = TileArray.create(tmp_path / "data.zarr", layout, grid)
    pixels = random_array((50, 80), dtype, seed=1)
    put(store, (1, 2), pixels.astype(np.dtype(dtype).newbyteorder(order)))
    assert store.read((1, 2)).dtype == np.dtype(dtype)
    np.testing.assert_array_equal(store.read((1, 2)), pixels)
    np.testing.assert_array_equal(zarr.open_array(store.path / "clean")[1, 2], pixels)


def test_blank_tiles_are_files_like_any_other(tmp_path, grid):
    store = TileArray.create(tmp_path / "data.zarr", layout_of(grid), grid)
    put(store, (0, 0), np.zeros((50, 80), "u2"))
    assert store.read((0, 0)).sum() == 0


def test_any_box_of_a_volume_reads_in_one_go(tmp_path):
    lattice = Lattice.from_array(np.zeros((30, 45, 50), "u2"), block={"z": 16, "y": 16, "x": 20})
    store, whole = filled(tmp_path, lattice)
    box = Box((3, 14, 19), (30, 33, 50))
    out = np.zeros(box.shape, "u2")
    store.start_read_volume(box, out).result()
    np.testing.assert_array_equal(out, whole[box.slices])


def test_a_halo_is_read_from_27_tiles_side_by_side(tmp_path):
    lattice = Lattice.from_grid(
        {"z": 3, "y": 3, "x": 3}, tile_shape={"z": 20, "y": 24, "x": 28}, dtype="u2"
    )
    store, whole = filled(tmp_path, lattice)
    seamless = whole.transpose(0, 3, 1, 4, 2, 5).reshape(60, 72, 84)
    margin = 2
    out = np.zeros((24, 28, 32), "u2")
    reads = []
    for index in product(range(3), repeat=3):
        start = [(0, margin, margin + n)[i] for i, n in zip(index, (20, 24, 28), strict=True)]
        size = [(margin, n, margin)[i] for i, n in zip(index, (20, 24, 28), strict=True)]
        first = [(n - margin, 0, 0)[i] for i, n in zip(index, (20, 24, 28), strict=True)]
        box = Box(tuple(first), tuple(f + s for f, s in zip(first, size, strict=True)))
        view = out[tuple(slice(a, a + s) for a, s in zip(start, size, strict=True))]
        reads.append(store.start_read(index, box, view))
    for read in reads:
        read.result()
    assert all(read.done() for read in reads)
    np.testing.assert_array_equal(out, seamless[18:42, 22:50, 26:58])


def bytes_read():
    """Bytes that this process has asked the system for."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(lines[0].removeprefix("rchar: "))


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="the system does not count reads")
def test_a_margin_reads_the_inner_chunks_that_it_meets(tmp_path):
    lattice = Lattice.from_grid({"y": 1, "x": 1}, tile_shape={"y": 1024, "x": 1024}, dtype="u2")
    store, whole = filled(tmp_path, lattice, inner=(128, 128))
    store.read((0, 0), Box((0, 0), (1, 1)))
    chunk = 128 * 128 * 2
    for box, chunks in {
        Box((0, 0), (8, 1024)): 8,
        Box((1016, 1016), (1024, 1024)): 1,
        Box((120, 120), (136, 136)): 4,
    }.items():
        before = bytes_read()
        pixels = store.read((0, 0), box)
        spent = bytes_read() - before
        np.testing.assert_array_equal(pixels, whole[0, 0][box.slices])
        assert spent < chunks * chunk * 1.05 + 20_000  # noise does not compress; plus the index


@pytest.mark.parametrize("cache_bytes", [0, 10**8])
def test_a_tile_published_after_its_neighbour_was_read_is_seen(tmp_path, grid, cache_bytes):
    store = TileArray.create(tmp_path / "data.zarr", layout_of(grid), grid)
    reader = TileArray.open(store.path, cache_bytes=cache_bytes)
    put(store, (0, 0), np.full((50, 80), 1, "u2"))
    assert reader.read((0, 0)).max() == 1
    with pytest.raises(StoreError, match="never published"):
        reader.read((0, 1))
    put(store, (0, 1), np.full((50, 80), 2, "u2"))
    assert reader.read((0, 1)).max() == 2


@pytest.mark.parametrize("generation", [0, 1])
@pytest.mark.parametrize("cache_bytes", [0, 10**8])
def test_a_rewritten_tile_is_never_read_stale(tmp_path, grid, cache_bytes, generation):
    store = TileArray.create(tmp_path / "data.zarr", layout_of(grid), grid)
    reader = TileArray.open(store.path, cache_bytes=cache_bytes)
    for value in range(1, 20):
        put(store, (0, 0), np.full((50, 80), value, "u2"))
        if generation:
            reader = TileArray.open(store.path, cache_bytes=cache_bytes, generation=value)
        np.testing.assert_array_equal(reader.read((0, 0)), value)
        np.testing.assert_array_equal(reader.read((0, 0)), value)


def test_the_cache_saves_reads(tmp_path):
    lattice = Lattice.from_grid({"y": 1, "x": 1}, tile_shape={"y": 512, "x": 512}, dtype="u2")
    store, _ = filled(tmp_path, lattice)
    reader = TileArray.open(store.path, cache_bytes=10**8)
    reader.read((0, 0))
    before = bytes_read()
    reader.read((0, 0))
    assert bytes_read() - before < 20_000


def test_staging_writes_exactly_the_keys(tmp_path, grid):
    store = TileArray.create(tmp_path / "data.zarr", layout_of(grid), grid)
    size = store.stage(tmp_path / "staging", (1, 1), random_array((50, 80), "u2", seed=0))
    files = [path for path in (tmp_path / "staging").rglob("*") if path.is_file()]
    keys = [str(path.relative_to(tmp_path / "staging")) for path in files]
    assert keys == list(store.layout.keys((1, 1)))
    assert size == files[0].stat().st_size


def test_a_store_travels_to_workers(tmp_path, grid):
    store, whole = filled(tmp_path, grid)
    again = pickle.loads(pickle.dumps(store))
    np.testing.assert_array_equal(again.read((1, 0)), whole[1, 0])


def test_smaller_tiles_are_padded(tmp_path, grid):
    store = TileArray.create(tmp_path / "data.zarr", layout_of(grid, dtype="float32"), grid)
    put(store, (0, 0), np.ones((40, 80), "f4"))
    pixels = store.read((0, 0))
    assert np.isnan(pixels[40:]).all()
    assert (pixels[:40] == 1).all()


def test_wrong_pixels_are_refused(tmp_path, grid):
    store = TileArray.create(tmp_path / "data.zarr", layout_of(grid), grid)
    with pytest.raises(StoreError, match=r"tile \(0, 0\) .* came as float64"):
        store.stage(tmp_path / "s", (0, 0), np.zeros((50, 80)))
    with pytest.raises(StoreError, match=r"came with shape \(51, 80\)"):
        store.stage(tmp_path / "s", (0, 0), np.zeros((51, 80), "u2"))
    with pytest.raises(StoreError, match=r"came with shape \(0, 80\)"):
        store.stage(tmp_path / "s", (0, 0), np.zeros((0, 80), "u2"))
    with pytest.raises(StoreError, match="do not go into"):
        store.start_read((0, 0), Box((0, 0), (2, 2)), np.zeros((2, 3), "u2"))
    locked = np.zeros((2, 2), "u2")
    locked.flags.writeable = False
    with pytest.raises(StoreError, match="cannot be written"):
        store.start_read((0, 0), Box((0, 0), (2, 2)), locked)


def test_a_store_grows_with_its_lattice(tmp_path):
    small = Lattice.from_grid({"y": 2, "x": 2}, tile_shape={"y": 10, "x": 10}, dtype="u2")
    large = Lattice.from_grid({"y": 4, "x": 3}, tile_shape={"y": 10, "x": 10}, dtype="u2")
    store, whole = filled(tmp_path, small)
    grown = store.grow(large)
    put(grown, (3, 2), np.full((10, 10), 9, "u2"))
    opened = xarray.open_zarr(store.path)["clean"]
    assert opened.shape == (4, 3, 10, 10)
    np.testing.assert_array_equal(opened[:2, :2].values, whole)
    assert TileArray.open(store.path).read((3, 2)).min() == 9
    with pytest.raises(StoreError, match="holds another array"):
        TileArray.create(store.path, store.layout, small)


def test_an_unfinished_stage_opens_with_blanks(tmp_path, grid):
    store = TileArray.create(tmp_path / "data.zarr", layout_of(grid, dtype="float32"), grid)
    put(store, (0, 1), np.ones((50, 80), "f4"))
    array = open_labelled(store.path, grid)
    assert array.chunks == ((1, 1), (1, 1, 1), (50,), (80,))
    assert float(array.sum()) == 4000
    assert bool(array.isel(tile_y=1).isnull().all())


def test_what_is_not_a_store_says_so(tmp_path):
    with pytest.raises(StoreError, match=r"no store of a stage .* zarr.json is missing"):
        TileArray.open(tmp_path)
    zarr.open_group(tmp_path / "other.zarr", mode="w")
    with pytest.raises(StoreError, match="not one of a stage"):
        TileArray.open(tmp_path / "other.zarr")
