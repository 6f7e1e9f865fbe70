"""Previews on disk: whatever order they come in, whatever is torn, the last whole one counts."""

import random
import warnings

import numpy as np
import pytest
import xarray as xr
import zarr

from latticework.errors import StoreError
from latticework.io.preview_files import Preview, PreviewWriter, scan, waiting_name
from latticework.io.preview_layout import PreviewLayout
from latticework.io.preview_merging import MOST_FILES, Merging
from latticework.io.preview_store import PreviewStore, shard_file, waiting_folder

NODE = 3


def layout_of(dtype="uint16", size=(20, 30)):
    return PreviewLayout.of(dtype, ("y", "x"), size)


def preview(layout, unit, stamp):
    """A preview that tells which unit and attempt it is of."""
    pixels = np.full(layout.shape, 20 * (unit + 1) + stamp, layout.dtype)
    pixels[0, 0, :5] = np.arange(5)
    small = np.full(layout.small_shape, unit + stamp, layout.dtype)
    return Preview(pixels, small, np.array([[float(unit), float(stamp)]]))


def put(folder, layout, units, stamp, node=NODE):
    """A batch's file, as a worker and the coordinator leave it."""
    file = waiting_folder(folder) / waiting_name(node, "batch")
    with PreviewWriter(file, layout) as writer:
        for unit in units:
            writer.add(unit, stamp, preview(layout, unit, stamp))
    return file


def check(store, layout, expected):
    """That a store has exactly what is expected: stamps by unit."""
    store.look()
    units = np.arange(max(expected, default=0) + 40)
    wanted = [expected.get(unit, 0) for unit in units.tolist()]
    assert store.stamps(units).tolist() == wanted
    contrast, small = store.contrast(units), store.small(units)
    for unit, stamp in enumerate(wanted):
        found = store.read(unit)
        if not stamp:
            assert found is None
            assert np.isnan(contrast[unit]).all()
            assert not small[unit].any()
            continue
        made = preview(layout, unit, stamp)
        np.testing.assert_array_equal(found, made.pixels)
        np.testing.assert_array_equal(small[unit], made.small)
        np.testing.assert_array_equal(contrast[unit], made.contrast)


@pytest.mark.parametrize("seed", range(2))
def test_any_order_of_batches_and_merges_gives_the_last_of_each(tmp_path, seed):
    chance, layout, folder = random.Random(seed), layout_of(), tmp_path / "clean"
    store, merging = PreviewStore(folder, layout, NODE), Merging(folder, layout, NODE)
    expected = {}
    for stamp in range(1, 9):
        units = chance.sample(range(1500), chance.choice([1, 30, 300]))
        put(folder, layout, units, stamp)
        expected |= dict.fromkeys(units, stamp)
        if chance.random() < 0.6:
            merging.run(everything=chance.random() < 0.3)
        if chance.random() < 0.5:
            check(store, layout, expected)
    check(store, layout, expected)
    merging.run(everything=True)
    assert not list(waiting_folder(folder).iterdir())
    check(store, layout, expected)
    check(PreviewStore(folder, layout, NODE), layout, expected)


def test_others_read_the_arrays_with_zarr_and_xarray(tmp_path):
    layout, folder = layout_of("float32"), tmp_path / "clean"
    put(folder, layout, [0, 5, 1500], 2)
    Merging(folder, layout, NODE, lambda: {"projection": "max"}).run(everything=True)
    array = zarr.open_array(folder / "preview", mode="r")
    np.testing.assert_array_equal(array[1500], preview(layout, 1500, 2).pixels)
    assert np.isnan(array[7]).all()
    with warnings.catch_warnings(), xr.open_zarr(folder) as group:
        warnings.simplefilter("error")
        assert group.stamp[[0, 5, 6, 1500]].values.tolist() == [2, 2, 0, 2]
        np.testing.assert_array_equal(group.small[5], preview(layout, 5, 2).small)
        assert group.contrast[1500, 0].values.tolist() == [1500.0, 2.0]


def test_a_file_that_was_cut_off_counts_as_far_as_it_is_whole(tmp_path):
    layout = layout_of()
    file = put(tmp_path, layout, range(5), 1)
    content, whole = file.read_bytes(), len(scan(file, layout))
    assert whole == 5
    for size in range(0, len(content), 61):
        file.write_bytes(content[:size])
        found = scan(file, layout)["unit"].tolist()
        assert found == list(range(len(found)))
        assert len(found) == size // (len(content) // 5)
    check(PreviewStore(tmp_path, layout, NODE), layout, dict.fromkeys(found, 1))


@pytest.mark.parametrize("damage", ["gone", "cut", "flipped", "index"])
def test_a_damaged_shard_is_as_if_it_had_never_been(tmp_path, damage):
    layout, folder = layout_of(), tmp_path / "clean"
    put(folder, layout, range(40), 1)
    Merging(folder, layout, NODE).run(everything=True)
    file = shard_file(folder, 0)
    content = bytearray(file.read_bytes())
    if damage == "gone":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(content[:-30])
    else:
        content[5 if damage == "flipped" else -20] ^= 255
        file.write_bytes(content)
    store = PreviewStore(folder, layout, NODE)
    store.look()
    assert store.read(0) is None
    if damage == "flipped":  # only that one
        np.testing.assert_array_equal(store.read(7), preview(layout, 7, 1).pixels)
    put(folder, layout, range(20), 2)
    Merging(folder, layout, NODE).run(everything=True)
    store.look()
    np.testing.assert_array_equal(store.read(3), preview(layout, 3, 2).pixels)


def test_previews_of_another_stage_of_that_name_or_of_other_tiles_are_not_seen(tmp_path):
    layout, folder = layout_of(), tmp_path / "clean"
    put(folder, layout, range(10), 1)
    Merging(folder, layout, NODE).run(everything=True)
    other = layout_of(size=(40, 40))
    for store in (PreviewStore(folder, layout, NODE + 1), PreviewStore(folder, other, NODE)):
        check(store, store.layout, {})
    put(folder, other, [4], 1)
    Merging(folder, other, NODE).run(everything=True)
    check(PreviewStore(folder, other, NODE), other, {4: 1})
    check(PreviewStore(folder, layout, NODE), layout, {})


def test_what_is_written_again_stays_a_few_times_what_there_is(tmp_path, monkeypatch):
    layout, folder = layout_of(), tmp_path / "clean"
    written = []
    merging = Merging(folder, layout, NODE)
    original = Merging._write

    def counted(self, number, units, waiting, *, everything):
        done = original(self, number, units, waiting, everything=everything)
        if done:
            written.append(shard_file(folder, number).stat().st_size)
        return done

    monkeypatch.setattr(Merging, "_write", counted)
    units = list(range(2000))
    random.Random(1).shuffle(units)  # the worst order that there is
    for start in range(0, len(units), 20):
        put(folder, layout, units[start : start + 20], 1)
        if start % 200 == 0:
            merging.run(everything=False)
            assert len(list(waiting_folder(folder).iterdir())) <= MOST_FILES + 10
    merging.run(everything=True)
    final = sum(file.stat().st_size for file in (folder / "preview").glob("c.*"))
    assert sum(written) < 12 * final


def test_tiles_that_are_no_pictures_have_no_previews():
    for dtype, dims in (("c8", ("y", "x")), ("f4", ("z", "x")), ("U4", ("y", "x"))):
        with pytest.raises(StoreError, match="expected real numbers with the dims y and x"):
            PreviewLayout.of(dtype, dims, (4, 4))
