"""A source of parts reads what its parts read, however many there were."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from latticework import Lattice
from latticework.errors import SourceError
from latticework.io.joining import join_key, joined, taken
from latticework.io.memory import MemorySource
from latticework.io.open_tiles import open_tiles
from latticework.io.parts_source import JOIN_AFTER, PartsSource
from latticework.io.sources import load_source, save_source
from latticework.io.tiff_source import TiffSource
from latticework.io.zarr_source import ZarrSource
from latticework.lattice import BlockSource, Box, State

CORNER = Box((0, 0), (1, 1))


def values(source):
    return [int(source.read(tile, CORNER)[0, 0]) for tile in range(len(source))]


def images(*numbers):
    return MemorySource([np.full((4, 4), number, "u2") for number in numbers])


def tiffs(first, n, *, root="/a", slots=1, missing=()):
    """TIFF files that are not there."""
    file_of = np.arange(n * slots).reshape(n, slots)
    for tile, slot, code in missing:
        file_of[tile, slot] = code
    return TiffSource(
        root=Path(root),
        names=[f"{first + k}.tif" for k in range(n * slots)],
        sizes=np.arange(first, first + n * slots),
        mtimes=np.arange(n * slots) + 7,
        file_of=file_of,
        page_of=np.zeros((n, slots), np.int64),
        slot=np.arange(slots),
        page=np.zeros(slots, np.int64),
        sample=np.zeros(slots, np.int64),
        shape=(slots, 4, 4) if slots > 1 else (4, 4),
        dtype=np.dtype("u2"),
    )


def test_tiles_come_are_replaced_and_leave():
    first = PartsSource.of(images(0, 1))
    more = first.with_tiles(images(2, 3), [State.COMPLETE, State.WAITING])
    again = more.with_replaced([3, 0], images(30, 10)).with_presence([1], State.ABSENT)
    assert values(first) == [0, 1]
    assert values(more) == [0, 1, 2, 3]
    assert values(again) == [10, 1, 2, 30]
    assert first.presence().tolist() == [4, 4]
    assert more.presence().tolist() == [4, 4, 4, 1]
    assert again.presence().tolist() == [4, 0, 4, 4]
    other = first.with_tiles(images(9))
    assert values(other) == [0, 1, 9]
    assert values(more) == [0, 1, 2, 3]
    assert PartsSource.of(more) is more
    assert not again.presence().flags.writeable


@given(st.lists(st.sampled_from(["tiles", "replaced", "presence", "ask"]), max_size=12), st.data())
def test_fingerprints_are_those_of_the_parts_whenever_they_are_asked_for(events, data):
    source, expected, next_ = PartsSource.of(tiffs(0, 2)), list(tiffs(0, 2).fingerprints()), 10
    for event in events:
        ids = data.draw(st.lists(st.integers(0, len(source) - 1), min_size=1, unique=True))
        part = tiffs(next_, len(ids))
        next_ += len(ids)
        if event == "tiles":
            source = source.with_tiles(part)
            expected += list(part.fingerprints())
        elif event == "replaced":
            source = source.with_replaced(ids, part)
            for tile, value in zip(ids, part.fingerprints(), strict=True):
                expected[tile] = value
        elif event == "presence":
            source = source.with_presence(ids, State.WAITING)
        else:
            assert source.fingerprints().tolist() == expected
    assert source.fingerprints().tolist() == expected
    assert source.compacted().fingerprints().tolist() == expected


def test_only_some_tiles_of_a_source_and_sources_of_parts():
    source = PartsSource.of(images(0, 1, 2), [2, 0])
    assert values(source) == [2, 0]
    inner = PartsSource.of(images(5, 6)).with_tiles(images(7)).with_presence([2], State.WAITING)
    flat = source.with_tiles(inner, rows=[2, 0])
    assert values(flat) == [2, 0, 7, 5]
    assert flat.presence().tolist() == [4, 4, 1, 4]
    assert not any(isinstance(part, PartsSource) for part in flat.parts)
    assert flat.fingerprints().tolist() == images(2, 0, 7, 5).fingerprints().tolist()


def test_blocks_of_arrays_have_fingerprints_of_their_pixels():
    starts = np.array([[0, 0], [0, 4]])
    one, two = (BlockSource(np.full((4, 8), k, "u1"), starts) for k in range(2))
    source = PartsSource.of(one)
    again = source.with_replaced([0, 1], two)
    assert (source.fingerprints() != again.fingerprints()).all()


def test_a_week_of_files_leaves_few_parts(tmp_path):
    source = PartsSource.of(tiffs(0, 3000))
    expected = list(source.fingerprints())
    most = 0
    for k in range(1500):
        part = tiffs(3000 + k, 1, missing=[(0, 0, -2)] if k % 5 == 0 else ())
        source = source.with_tiles(part)
        expected += list(part.fingerprints())
        most = max(most, len(source.parts))
    assert most <= 2 * JOIN_AFTER
    assert source.parts[int(source.part[0])].file_of.shape[0] == 3000  # the large one stays
    assert source.fingerprints().tolist() == expected
    few = source.compacted()
    assert len(few.parts) == 1
    assert few.fingerprints().tolist() == expected
    save_source(few, tmp_path)
    again = load_source(tmp_path)
    assert again.fingerprints().tolist() == expected
    for tile in (0, 2999, 3000, 3001, 4499):
        path = Path("/a") if (tile - 3000) % 5 == 0 and tile >= 3000 else Path(f"/a/{tile}.tif")
        assert source.path(tile) == again.path(tile) == path


def test_joined_files_read_the_same(tmp_path):
    for k in range(2 * JOIN_AFTER + 10):
        tifffile.imwrite(tmp_path / f"tile_{k:03d}.tif", np.full((4, 4), k, "u2"))
    opened = [
        open_tiles([path], grid={"y": 1, "x": 1}).source for path in sorted(tmp_path.glob("*.tif"))
    ]
    source = PartsSource.of(opened[0])
    for part in opened[1:]:
        source = source.with_tiles(part)
    assert len(source.parts) < JOIN_AFTER
    assert values(source) == values(source.compacted()) == list(range(2 * JOIN_AFTER + 10))
    tifffile.imwrite(tmp_path / "tile_003.tif", np.full((4, 4), 333, "u2"), description="again")
    changed = source.refreshed().fingerprints() != source.fingerprints()
    assert np.flatnonzero(changed).tolist() == [3]
    (tmp_path / "tile_100.tif").unlink()
    with pytest.raises(SourceError, match="tile_100"):
        source.read(100, CORNER)


@pytest.mark.parametrize("slots", [1, 2])
def test_taking_and_joining_undo_each_other(slots):
    source = tiffs(0, 6, slots=slots, missing=[(1, 0, -1), (2, 0, -2 - 2 * slots)])
    parts = [taken(source, np.array(rows)) for rows in ([3, 1], [5], [2, 0, 4])]
    assert len(parts[0].names) <= 2 * slots
    assert len({join_key(part) for part in parts}) == 1
    whole = joined(parts)
    order = [3, 1, 5, 2, 0, 4]
    assert whole.fingerprints().tolist() == source.fingerprints()[order].tolist()
    assert (whole.file_of < 0).tolist() == (source.file_of < 0)[order].tolist()
    for row, tile in enumerate(order):
        assert whole.path(row) == source.path(tile)
    assert join_key(tiffs(0, 1, root="/b")) != join_key(tiffs(0, 1))
    assert join_key(images(1)) is None


def test_zarr_arrays_join_too():
    one, two = (
        ZarrSource(Path("/a"), [f"{k}.zarr" for k in ks], ("y", "x"), ("y", "x"), np.array(ks))
        for ks in ([0, 1], [2])
    )
    whole = joined([one, two])
    assert list(whole.names) == ["0.zarr", "1.zarr", "2.zarr"]
    assert taken(whole, np.array([2])).fingerprints().tolist() == two.fingerprints().tolist()
    assert PartsSource.of(whole).path(2) == Path("/a/2.zarr")
    assert PartsSource.of(images(1)).path(0) is None


def test_parts_are_found_again_after_a_move(tmp_path):
    old = tmp_path / "old"
    source = PartsSource.of(images(0, 1)).with_tiles(images(2)).with_presence([1], State.ABSENT)
    save_source(source, old / "source", base=old)
    shutil.move(old, tmp_path / "new")
    again = load_source(tmp_path / "new" / "source", base=tmp_path / "new")
    assert isinstance(again, PartsSource)
    assert values(again) == [0, 1, 2]
    assert again.presence().tolist() == [4, 0, 4]
    assert again.fingerprints().tolist() == source.fingerprints().tolist()
    assert values(again.with_tiles(images(3))) == [0, 1, 2, 3]


def test_mistakes_are_named():
    source = PartsSource.of(images(0, 1))
    with pytest.raises(SourceError, match=r"no tile 2.*0 to 1"):
        source.read(2, CORNER)
    with pytest.raises(SourceError, match="no tile 5"):
        source.with_presence([5], State.ABSENT)
    with pytest.raises(SourceError, match=r"presence 5.*COMPLETE"):
        source.with_presence([0], State.FAILED)
    with pytest.raises(SourceError, match=r"1 tiles are replaced.*has 2"):
        source.with_replaced([0], images(1, 2))
    with pytest.raises(SourceError, match="1 and 2 values; expected one of each"):
        PartsSource((images(0),), [0, 0], [0], [4, 4])
    assert repr(source) == "<PartsSource: 2 tiles in 1 parts>"
    assert Lattice.unit().with_source(source).source is source
