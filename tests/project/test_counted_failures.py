"""How often a unit is said to have failed, and how many units there are said to be."""

import numpy as np

import latticework as lw
from latticework.io.memory import MemorySource
from latticework.lattice import Lattice
from latticework.stages.reads import all_tiles, plane
from tests.project import steps
from tests.project.running import numbered, run_here

BAD = set()


def moody(tile, *, amount=1):
    if int(tile.attrs["tile_id"]) in BAD:
        raise ValueError("it is dark")
    return tile + amount


def seen(tiles):
    return [int(tile) for tile in tiles["first"]]


def labels(tiles):
    return [[int(y), int(x)] for y, x in zip(tiles.tile_y, tiles.tile_x, strict=True)]


def first(tile):
    return {"first": int(tile[0, 0])}


def test_attempts_that_completed_are_no_failures(folder):
    project = lw.create(folder / "p.lw", numbered()[0])
    project.add(moody, retries=0)
    project.add(steps.add, after="moody")
    BAD.clear()
    assert run_here(project)
    BAD.add(3)
    project.change("moody", params={"amount": 2})
    summary = run_here(project)
    assert project.pipeline["moody"].units.attempts[3] == 2
    assert project.why("moody", 3).startswith("failed once: ValueError: it is dark. See")
    assert "which failed once: ValueError" in project.why("add", 3)
    assert [failure.attempts for failure in summary.failures] == [1]
    assert "attempts" not in repr(summary.failures[0])
    project.retry("moody", failed=True)
    BAD.clear()
    assert run_here(project)


def test_retries_are_counted(folder):
    project = lw.create(folder / "p.lw", numbered()[0])
    project.add(moody, retries=2)
    BAD.clear()
    BAD.add(3)
    summary = run_here(project)
    assert project.why("moody", 3).startswith("failed 3 times: ValueError")
    assert "(3 attempts)" in repr(summary.failures[0])


def test_tiles_that_take_no_part_are_not_counted_as_to_run(folder):
    project = lw.create(folder / "p.lw", numbered()[0])
    project.add(steps.add)
    project.skip(y=[1])
    (change,) = project.explain_changes("add", params={"amount": 2})
    assert (change.to_run, change.total) == (15, 15)
    (change,) = project.explain_changes(unskip={"y": [1]})
    assert (change.new, change.to_run, change.total) == (5, 20, 20)


def test_tiles_are_gathered_along_the_grid_whatever_the_order_in_which_they_came(folder):
    rows, columns = np.divmod(np.random.default_rng(3).permutation(20), 5)
    tiles = [np.full((6, 8), 10 * y + x, "u2") for y, x in zip(rows, columns, strict=True)]
    came = Lattice.from_positions(
        np.stack([rows * 6, columns * 8], axis=1),
        tile_shape={"y": 6, "x": 8},
        pixel_size_um=1.0,
        dtype="u2",
        source=MemorySource(tiles),
    )
    project = lw.create(folder / "p.lw", came)
    project.add(first)
    project.add(labels, reads=all_tiles())
    project.add(seen, after="first", reads=plane("y"), name="rows")
    assert run_here(project)
    assert project["labels"].tile() == [[y, x] for y in range(4) for x in range(5)]
    assert project["first"].data["first"].tolist() == [
        10 * y + x for y in range(4) for x in range(5)
    ]
    for y in range(4):
        assert project["rows"].tile(y=y) == [10 * y + x for x in range(5)]
    assert project["source"].data[2, 3, 0, 0] == 23


def test_no_plane_is_skipped_any_more_when_none_is_named(folder):
    project = lw.create(folder / "p.lw", numbered()[0])
    project.skip(y=[0, 1], x=2)
    project.unskip()
    assert project.settings.skipped == {}
    project.add(steps.add)
    assert project.counts == {"add": {"waiting": 20}}
