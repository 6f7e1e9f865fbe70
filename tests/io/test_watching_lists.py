import dataclasses
import json
import re

import numpy as np
import pytest

import latticework as lw
from latticework.errors import LatticeError, SourceError
from latticework.io.parts_source import PartsSource
from latticework.io.watching import watch_list
from latticework.lattice.states import State
from latticework.testing import simulate, write_pattern
from latticework.testing.live import LiveMicroscope, image_again
from latticework.testing.seed_formats import mouselight_list, write_mouselight
from tests.io.watching_tools import Live, assert_same


def read_list(path):
    """A reader of ``{"tiles": {"y0_x0.tif": true, ...}}``, as a user may write one."""
    tiles = json.loads(path.read_text())["tiles"]
    complete = [name for name, there in tiles.items() if there]
    waiting = [name for name in tiles if name not in complete]
    opened = lw.open_tiles([path.parent / name for name in complete])
    names = [*opened.names, *waiting]
    index = np.array([list(map(int, re.findall(r"\d+", name))) for name in names])
    missing = np.full((len(waiting), 1), -1, np.int32)
    source = dataclasses.replace(
        opened.source,
        file_of=np.concatenate([opened.source.file_of, missing]),
        page_of=np.concatenate([opened.source.page_of, missing + 1]),
    )
    ids = np.arange(len(complete), len(names))
    return lw.Lattice(
        dims=("tile_y", "tile_x"),
        labels={"tile_y": np.arange(5), "tile_x": np.arange(6)},
        index=index,
        tile_dims=opened.tile_dims,
        tile_shape=tuple(opened.tile_shape.values()),
        dtype=opened.dtype,
        names=names,
        source=PartsSource.of(source).with_presence(ids, State.WAITING),
    )


class Curated(Live):
    def __init__(self, path, **options):
        super().__init__(path, watch=watch_list, reader=read_list, **options)


@pytest.fixture
def scan(tmp_path):
    lattice, _ = simulate({"y": 5, "x": 6}, tile_shape={"y": 16, "x": 16}, seed=2)
    write_pattern(lattice, tmp_path / "scan", pattern="y{tile_y}_x{tile_x}.tif")
    return tmp_path / "scan"


def names_of(scan):
    return sorted(path.name for path in scan.glob("*.tif"))


def write_list(scan, tiles):
    (scan / "list.json").write_text(json.dumps({"tiles": tiles}))
    return scan / "list.json"


def test_announced_tiles_arrive_one_by_one(scan):
    tiles = dict.fromkeys(names_of(scan), False) | {"y0_x0.tif": True}
    live = Curated(write_list(scan, tiles)).settle()
    assert live.lattice.n_tiles == 30
    assert live.there.sum() == 1
    assert live.held["y0_x1.tif"] == "it is announced, not there yet"
    write_list(scan, tiles | {"y2_x3.tif": True})
    live.settle()
    assert sorted(np.array(live.names)[live.there]) == ["y0_x0.tif", "y2_x3.tif"]
    assert len(live.replaced) == 1  # it has files now
    write_list(scan, dict.fromkeys(tiles, True))
    live.settle()
    assert live.there.all()
    assert_same(live.lattice, lw.open_tiles(scan))
    assert not live.ended
    live.watcher.end()
    live.look()
    assert live.ended


def test_a_tile_that_is_listed_no_more_leaves_and_comes_back(scan):
    tiles = dict.fromkeys(names_of(scan), True)
    live = Curated(write_list(scan, tiles)).settle()
    write_list(scan, {name: True for name in tiles if name != "y1_x1.tif"})
    assert live.look().growth is None
    found = live.look()
    assert [live.names[tile] for tile in found.withdrawn.tolist()] == ["y1_x1.tif"]
    assert live.there.sum() == 29
    write_list(scan, tiles)
    live.settle()
    assert live.there.all()


@pytest.mark.parametrize("text", ['{"tiles": {"y0_x0', "", "[]", '{"tiles": {}}'])
def test_a_list_that_is_not_valid_changes_nothing(scan, text):
    tiles = dict.fromkeys(names_of(scan), True)
    path = write_list(scan, tiles)
    live = Curated(path).settle()
    path.write_text(text)
    live.settle(4)
    assert live.there.all()
    assert len(live.notes) == 1
    assert "cannot be used, nothing changes" in live.notes[0]
    write_list(scan, tiles)
    live.settle()
    assert len(live.notes) == 2
    assert live.there.all()


def test_a_missing_list_and_one_that_shrinks_change_nothing(scan):
    tiles = dict.fromkeys(names_of(scan), True)
    path = write_list(scan, tiles)
    live = Curated(path).settle()
    path.unlink()
    live.settle()
    assert live.there.all()
    write_list(scan, dict.fromkeys(list(tiles)[:19], True))
    live.settle()
    assert live.there.all()
    assert any("11 of 30 tiles left at once" in note for note in live.notes)
    write_list(scan, dict.fromkeys(list(tiles)[:20], True))
    live.settle()
    assert live.there.sum() == 20


def test_replaced_files_of_a_list_are_noticed_when_it_is_read_again(scan):
    path = write_list(scan, dict.fromkeys(names_of(scan), True))
    live = Curated(path, recheck_s=60.0).settle()
    image_again(scan / "y0_x1.tif", np.random.default_rng(0))
    live.settle()
    assert live.replaced == []
    live.look(60.0)
    assert [live.names[tile] for tile in live.replaced] == ["y0_x1.tif"]


def test_a_watcher_of_a_list_starts_again(scan):
    path = write_list(scan, dict.fromkeys(names_of(scan)[:20], True))
    live = Curated(path, settle_s=0).settle()
    write_list(scan, dict.fromkeys(names_of(scan)[1:], True))
    again = Curated(path, known=live.lattice).settle()
    assert again.lattice.n_tiles == 30
    assert again.there.tolist() == [False, *[True] * 29]
    assert again.replaced == []


def test_a_live_microscope_keeps_a_list(scan, tmp_path):
    folder = tmp_path / "live"
    folder.mkdir()

    def keep(listed):
        if any(listed.values()):
            write_list(folder, dict(listed))

    scope = LiveMicroscope(
        scan, folder, rng=np.random.default_rng(4), order="random", slow=5, withdrawn=3,
        write_list=keep,
    )  # fmt: skip
    live = Curated(folder / "list.json")
    while scope.step() is not None:
        live.look()
    live.settle()
    assert live.there.sum() == 27
    offline = read_list(folder / "list.json")
    for tile in offline:
        mine = live.lattice.tile(live.names.index(tile.name))
        box = lw.Box.whole(tile.shape)
        expected = offline.source.read(tile.id, box)
        assert (live.lattice.source.read(mine.id, box) == expected).all()


@pytest.mark.parametrize("form", ["pipeline", "dashboard"])
def test_mouselights_lists_are_watched(tmp_path, form):
    lattice, _ = simulate({"z": 2, "y": 3, "x": 3}, tile_shape={"z": 2, "y": 16, "x": 16}, seed=5)
    rng = np.random.default_rng(1)
    arrived = [int(i) for i in rng.permutation(18)]
    folder = tmp_path / "2018-10-01"
    write_mouselight(lattice, folder, form="none")
    path = folder / {"pipeline": "pipeline-input.json", "dashboard": "dashboard.json"}[form]

    def announce(complete):
        path.write_text(json.dumps(mouselight_list(lattice, form=form, complete=complete)))

    announce([])
    live = Live(path, watch=watch_list).settle()
    assert live.lattice is None
    assert "none of them complete" in live.notes[0]
    for count in (1, 5, 18):
        announce(arrived[:count])
        found = live.look()
        assert found.growth is None
        found = live.look()
        assert found.growth is not None
        assert live.there.sum() == count
    assert live.lattice.n_tiles == 18
    assert len(live.replaced) == len(set(live.replaced)) == 17
    assert_same(live.lattice, lw.open_tiles(folder))
    text = path.read_text()
    path.write_text(text[: len(text) // 2])
    live.settle()
    assert live.there.all()
    assert any("cannot be used, nothing changes" in note for note in live.notes)


def test_only_tiles_that_changed_on_mouselights_list_are_looked_at(tmp_path, monkeypatch):
    from latticework.io import mouselight_tiles

    lattice, _ = simulate({"z": 1, "y": 5, "x": 4}, tile_shape={"z": 2, "y": 16, "x": 16}, seed=5)
    folder = write_mouselight(lattice, tmp_path / "scan", form="none")
    path, read = folder / "dashboard.json", []
    look = mouselight_tiles.read_folder
    monkeypatch.setattr(
        mouselight_tiles, "read_folder", lambda root, name: read.append(name) or look(root, name)
    )

    def announce(complete, drop=()):
        said = mouselight_list(lattice, form="dashboard", complete=complete)
        tiles = [tile for plane in said["tileMap"].values() for tile in plane]
        said["tileMap"] = {"0": [tile for i, tile in enumerate(tiles) if i not in drop]}
        path.write_text(json.dumps(said))

    announce(range(10))
    live = Live(path, watch=watch_list).settle()
    assert len(read) == 10
    announce(range(11))
    live.settle()
    assert len(read) == 11
    assert live.there.sum() == 11
    announce(range(11), drop=[2, 15])
    live.settle()
    assert len(read) == 11
    assert live.there.tolist() == [i < 11 and i != 2 for i in range(20)]
    announce(range(11))
    live.settle()
    assert live.there.sum() == 11
    announce([*range(3), *range(4, 20)])
    live.settle()
    assert live.there.tolist() == [i != 3 for i in range(20)]
    assert set(live.replaced) == set(range(10, 20))


def test_a_tile_imaged_again_in_its_place_is_found_while_the_list_changes_all_the_time(tmp_path):
    lattice, _ = simulate({"z": 1, "y": 5, "x": 4}, tile_shape={"z": 2, "y": 16, "x": 16}, seed=5)
    folder = write_mouselight(lattice, tmp_path / "scan")
    path = folder / "pipeline-input.json"
    path.write_text(json.dumps(mouselight_list(lattice, complete=[0])))
    live = Live(path, watch=watch_list, recheck_s=30.0).settle()
    image_again(next((folder / "2018-08-23/00/00000").glob("*.tif")), np.random.default_rng(0))
    for tile in range(1, 15):
        path.write_text(json.dumps(mouselight_list(lattice, complete=range(tile + 1))))
        live.settle(2)
    assert live.replaced.count(0) == 1


def test_a_listed_tile_that_is_not_whole_is_waited_for(tmp_path):
    lattice, _ = simulate({"z": 1, "y": 2, "x": 2}, tile_shape={"z": 2, "y": 16, "x": 16}, seed=5)
    folder = write_mouselight(lattice, tmp_path / "scan")
    stack = sorted(folder.rglob("*.tif"))[2]
    data = stack.read_bytes()
    stack.write_bytes(data[:-50])
    live = Live(folder / "pipeline-input.json", watch=watch_list).settle()
    assert live.there.tolist() == [True, True, False, True]
    assert "truncated" in next(iter(live.held.values()))
    stack.write_bytes(data)
    live.look(30.0)
    assert live.there.all()
    assert live.replaced == [2]
    assert_same(live.lattice, lw.open_tiles(folder))


def test_lists_that_cannot_be_watched_are_refused(scan):
    with pytest.raises(SourceError, match="is a folder"):
        watch_list(scan)
    lattice = lw.open_tiles(scan)

    def twice(_):
        return lattice.replace(names=["a"] * 30)

    path = write_list(scan, {})
    live = Live(path, watch=watch_list, reader=twice, settle_s=0)
    with pytest.raises(LatticeError, match="two tiles 'a'"):
        live.look()
