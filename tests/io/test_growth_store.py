"""Growth on disk: every process has the same lattice, whatever it knew and whoever crashed."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from latticework import Lattice
from latticework.errors import LatticeError, StoreError
from latticework.io import compacting, growth_store
from latticework.io.compacting import compact
from latticework.io.growth_store import (
    Growth,
    apply_growth,
    growth_folder,
    load_grown,
    load_growth,
    pending,
    replacing,
    save_growth,
)
from latticework.io.lattice_store import save_lattice
from latticework.io.memory import MemorySource
from latticework.io.open_tiles import open_tiles
from latticework.io.parts_source import PartsSource
from latticework.io.sources import save_source
from latticework.lattice import Box, State

CORNER = Box((0, 0), (1, 1))
COLUMNS = 4


def tiles(numbers, *, positions=False, pixels=None, **changes):
    """Tiles by number, in rows of four; every pixel is the number (or `pixels`)."""
    place = np.array([[n // COLUMNS, n % COLUMNS] for n in numbers])
    used = [np.arange(column.min(), column.max() + 1) for column in place.T]
    parts = {
        "dims": ("tile_y", "tile_x"),
        "labels": {"tile_y": used[0], "tile_x": used[1]},
        "index": place - place.min(axis=0),
        "tile_dims": ("y", "x"),
        "tile_shape": (4, 4),
        "dtype": "u2",
        "step_px": {"y": 3, "x": 3},
        "position_um": place * 3.0 if positions else None,
        "names": [f"image {n}" for n in numbers],
        "source": memory(numbers if pixels is None else pixels),
    }
    return Lattice(**{**parts, **changes})


def memory(numbers):
    return MemorySource([np.full((4, 4), n, "u2") for n in numbers])


def start(project, lattice):
    save_lattice(lattice, project / "lattice")
    save_source(lattice.source, project / "source", base=project)


def assert_same(a, b):
    assert list(a) == list(b)
    assert (a.sizes, dict(a.step_px), a.problems) == (b.sizes, dict(b.step_px), b.problems)
    for name in ("ids", "index", "id_grid", "position_um", "names"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
    assert (a.given_position_um is None) == (b.given_position_um is None)
    assert (
        PartsSource.of(a.source).presence().tolist() == PartsSource.of(b.source).presence().tolist()
    )
    assert a.source.fingerprints().tolist() == b.source.fingerprints().tolist()
    assert values(a) == values(b)


def values(lattice):
    return [int(lattice.source.read(tile, CORNER)[0, 0]) for tile in range(len(lattice))]


@st.composite
def histories(draw):
    """Tiles to begin with, and what happens then; by labels or by positions."""
    positions = draw(st.booleans())
    numbers = draw(st.permutations(range(12)))
    cut = draw(st.integers(1, 4))
    here, coming, events = list(numbers[:cut]), list(numbers[cut:]), []
    first = tiles(here, positions=positions)
    for event in range(draw(st.integers(0, 6))):
        new, replaced, presence = None, None, None
        if coming and draw(st.booleans()):
            k = draw(st.integers(1, 3))
            arrived, coming = coming[:k], coming[k:]
            problems = {0: "it is dark"} if draw(st.booleans()) else {}
            new = tiles(arrived, positions=positions, problems=problems)
            here += arrived
        some = st.lists(st.integers(0, len(here) - 1), min_size=1, max_size=3, unique=True)
        if draw(st.booleans()):
            ids = draw(some)
            replaced = (ids, memory([100 * (event + 1) + tile for tile in ids]))
        if draw(st.booleans()):
            ids = draw(some)
            codes = st.sampled_from([State.ABSENT, State.WAITING, State.COMPLETE])
            presence = (ids, [draw(codes) for _ in ids])
        placed_by = "positions" if positions else "labels"
        events.append(Growth(new, placed_by, replaced, presence))
    return first, events


@given(histories(), st.data())
def test_every_process_has_the_lattice_of_the_one_that_grew_it(history, data):
    now, events = history
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        start(project, now)
        workers = {1: now} | {k: load_grown(project, 1) for k in (2, 3)}
        known = dict.fromkeys(workers, 1)
        for version, growth in enumerate(events, start=2):
            before = now
            now = apply_growth(now, growth)
            save_growth(project, version, growth)
            assert_same(load_grown(project, version - 1), before)  # it does not count yet
            assert_same(load_grown(project, version), now)
            for k in workers:
                if data.draw(st.booleans(), label=f"worker {k} looks"):
                    workers[k] = load_grown(project, version, known=(known[k], workers[k]))
                    known[k] = version
                    assert_same(workers[k], now)
            if data.draw(st.sampled_from([False, False, True]), label="compact"):
                assert_same(compact(project, now, version), now)
                assert pending(project) == 0
                assert_same(load_grown(project, version), now)
                for k in workers:  # pixels that the project holds have moved
                    workers[k], known[k] = load_grown(project, version), version
        assert isinstance(load_grown(project, 1 + len(events)).source, PartsSource) or not events


class CrashError(Exception):
    pass


def crash_at(monkeypatch, step):
    """Let the `step`-th call that changes the disk fail; returns whether it did."""
    calls = []

    def guarded(name):
        original = getattr(compacting, name)

        def call(*args, **options):
            calls.append(name)
            if len(calls) == step:
                raise CrashError(name)
            return original(*args, **options)

        monkeypatch.setattr(compacting, name, call)

    for name in ("save_source", "write_json", "swap_folder", "save_lattice"):
        guarded(name)
    removed = shutil.rmtree

    def rmtree(path, *args, **options):
        if Path(path).name == "growth":
            calls.append("growth")
            if len(calls) == step:
                removed(Path(path) / "2")  # a part of it is gone
                raise CrashError("growth")
        return removed(path, *args, **options)

    monkeypatch.setattr(compacting.shutil, "rmtree", rmtree)
    return calls


@pytest.mark.parametrize("step", range(1, 7))
def test_compacting_may_be_cut_off_anywhere(tmp_path, monkeypatch, step):
    now = tiles([0, 1, 2])
    start(tmp_path, now)
    for version in range(2, 6):
        growth = Growth(tiles([version + 1]), replaced=([version - 2], memory([50 + version])))
        now = apply_growth(now, growth)
        save_growth(tmp_path, version, growth)
    worker = load_grown(tmp_path, 3)
    with monkeypatch.context() as patch:
        calls = crash_at(patch, step)
        if step <= 5:
            with pytest.raises(CrashError):
                compact(tmp_path, now, 5)
        else:
            compact(tmp_path, now, 5)
            assert calls == ["write_json", "save_source", "swap_folder", "save_lattice", "growth"]
    assert_same(load_grown(tmp_path, 5), now)
    assert_same(load_grown(tmp_path, 5, known=(5, now)), now)
    assert len(load_grown(tmp_path, 5, known=(3, worker))) == len(now)
    assert_same(compact(tmp_path, now, 5), now)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lattice", "source"]
    more = Growth(tiles([9]))
    save_growth(tmp_path, 6, more)
    assert_same(load_grown(tmp_path, 6), apply_growth(now, more))


def test_a_source_that_was_being_replaced_is_found(tmp_path):
    now = tiles([0, 1])
    start(tmp_path, now)
    (tmp_path / "source").rename(tmp_path / "source.new")
    assert len(load_grown(tmp_path, 1)) == 2
    assert (tmp_path / "source").exists()


def test_a_leftover_of_a_crash_does_not_count_and_is_replaced(tmp_path):
    now = tiles([0, 1])
    start(tmp_path, now)
    save_growth(tmp_path, 2, Growth(tiles([2, 3])))
    assert_same(load_grown(tmp_path, 1), now)
    other = Growth(tiles([5]), presence=([0], State.ABSENT))
    save_growth(tmp_path, 2, other)
    assert_same(load_grown(tmp_path, 2), apply_growth(now, other))
    assert pending(tmp_path) == 1


def test_a_growth_folder_has_only_what_is_new(tmp_path):
    now = tiles(range(40))
    start(tmp_path, now)
    save_growth(tmp_path, 2, Growth(presence=([3], State.WAITING)))
    assert [path.name for path in growth_folder(tmp_path, 2).iterdir()] == ["growth.json"]
    for k in range(8):
        tifffile.imwrite(tmp_path / f"{k}.tif", np.full((4, 4), k, "u2"))
    opened = open_tiles(tmp_path, pattern="{number}.tif", grid={"y": 2, "x": 4})
    opened = opened.take([2, 5]).replace(labels={"tile_y": [20, 21], "tile_x": range(4)})
    growth = Growth(opened.replace(step_px={"y": 3, "x": 3}, position_um=None))
    save_growth(tmp_path, 3, growth)
    loaded = load_growth(tmp_path, 3)
    assert list(loaded.tiles.source.parts[0].names) == ["2.tif", "5.tif"]
    again = load_grown(tmp_path, 3)
    assert values(again)[40:] == [2, 5]
    assert again.names[40:].tolist() == ["2.tif", "5.tif"]


def test_new_files_of_the_same_tiles_are_a_growth(tmp_path):
    now = tiles([0, 1, 2])
    start(tmp_path, now)
    assert replacing(now, memory([0, 1, 2])) is None
    growth = replacing(now, memory([0, 7, 2]))
    assert growth.replaced[0].tolist() == [1]
    save_growth(tmp_path, 2, growth)
    assert values(load_grown(tmp_path, 2)) == [0, 7, 2]
    with pytest.raises(LatticeError, match="2 tiles, the lattice 3"):
        replacing(now, memory([0, 1]))


def test_a_project_that_moved_finds_what_is_in_it(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    now = tiles([0, 1])
    start(old, now)
    growth = Growth(tiles([2]), replaced=([0], memory([9])))
    save_growth(old, 2, growth)
    old.rename(new)
    assert values(load_grown(new, 2)) == [9, 1, 2]
    compact(new, apply_growth(now, growth), 2)
    new.rename(old)
    assert values(load_grown(old, 2)) == [9, 1, 2]


def test_what_is_lost_or_damaged_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(growth_store, "_PATIENCE", (0.0, None))
    now = tiles([0, 1])
    start(tmp_path, now)
    for version in (2, 3):
        save_growth(tmp_path, version, Growth(tiles([version])))
    with pytest.raises(StoreError, match=r"to version 4.*growth.4 is missing.*restore"):
        load_grown(tmp_path, 4)
    shutil.rmtree(growth_folder(tmp_path, 2))
    with pytest.raises(StoreError, match=r"growth.2 is missing"):
        load_grown(tmp_path, 3)
    save_growth(tmp_path, 2, Growth(tiles([2])))
    done = compact(tmp_path, load_grown(tmp_path, 3), 3)
    with pytest.raises(StoreError, match="version 2 is no longer kept"):
        load_grown(tmp_path, 2)
    with pytest.raises(StoreError, match=r"4 tiles at version 3.*has 2"):
        compact(tmp_path, now, 3)
    save_growth(tmp_path, 4, Growth(tiles([5])))
    (growth_folder(tmp_path, 4) / "growth.json").write_text("{")
    with pytest.raises(StoreError, match="growth of version 4"):
        load_grown(tmp_path, 4, known=(3, done))
    (growth_folder(tmp_path, 4) / "growth.json").write_text('{"growth": 9}')
    with pytest.raises(StoreError, match=r"has format 9.*update"):
        load_grown(tmp_path, 4)


def test_growth_that_makes_no_sense_is_refused(tmp_path):
    now = tiles([0, 1])
    with pytest.raises(LatticeError, match="placed_by='luck'"):
        save_growth(tmp_path, 2, Growth(tiles([2]), "luck"))
    with pytest.raises(LatticeError, match="'image 2' has no source"):
        apply_growth(now, Growth(tiles([2], source=None)))
    with pytest.raises(LatticeError, match="no source of pixels"):
        apply_growth(now.with_source(None), Growth(tiles([2])))
    with pytest.raises(LatticeError, match="only whole lattices grow"):
        apply_growth(now.take([1]), Growth(tiles([2])))
