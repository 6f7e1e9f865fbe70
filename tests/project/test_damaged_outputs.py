"""Published files that are damaged later: readers say so, `verify` finds them, a run mends them."""

import os
import shutil
import sys

import numpy as np
import pytest

import latticework as lw
from tests.project import steps
from tests.project.running import attempts_since, numbered, run_here

DAMAGE = {
    "it has": lambda file: os.truncate(file, file.stat().st_size // 2),
    "it is empty": lambda file: os.truncate(file, 0),
    "it is not there": lambda file: file.unlink(),
    "it is no file": lambda file: (file.unlink(), file.mkdir()),
}


@pytest.fixture
def project(folder):
    project = lw.create(folder / "run.lw", numbered((2, 3))[0])
    project.add(steps.same)
    project.add(steps.table, after="same")
    project.add(steps.total, after="same")
    assert run_here(project)
    return project


def shard(project, unit):
    from latticework.io.tile_array import TileArray

    store = TileArray.open(project["same"].path)
    place = store.layout.place(project.lattice, unit)
    return store.path / store.layout.keys(place)[0]


def flip(file, place):
    content = bytearray(file.read_bytes())
    content[place] ^= 0xFF
    file.write_bytes(content)


def mended(project, expected):
    """Let it run again: exactly these units are made."""
    last = project.attempts_made()
    assert run_here(project)
    return attempts_since(project, last) == sorted(expected)


def test_all_is_well_where_nothing_was_touched(project):
    for thorough in (False, True):
        assert not len(project.verify(thorough=thorough))
    assert project.counts["same"] == {"complete": 6}


@pytest.mark.parametrize("problem", DAMAGE)
def test_a_damaged_tile_is_found_and_made_again_with_what_read_it(project, problem):
    file = shard(project, 4)
    before = project["same"].data.to_numpy()
    DAMAGE[problem](file)
    [row] = project.verify().to_dict("records")
    assert (row["stage"], row["unit"], row["file"]) == ("same", 4, str(file))
    assert problem in row["problem"]
    assert project.counts["same"] == {"complete": 5, "stale": 1}
    if file.is_dir():
        file.rmdir()
    assert mended(project, [("same", 4), ("table", 4), ("total", 4)])
    assert np.array_equal(project["same"].data.to_numpy(), before)
    assert not len(project.verify(thorough=True))


@pytest.mark.parametrize("problem", DAMAGE)
def test_what_was_found_damaged_counts_as_damaged_until_it_is_made_again(project, problem):
    file = shard(project, 4)
    DAMAGE[problem](file)
    project.verify()
    changes = project.query("select count(*) from changes")
    for thorough in (False, True):
        [row] = lw.open_project(project.path).verify(thorough=thorough).to_dict("records")
        assert (row["stage"], row["unit"], row["file"]) == ("same", 4, str(file))
        assert problem in row["problem"]
        assert row["waits"]
    assert project.query("select count(*) from changes") == changes
    assert project.why("same", 4).startswith("stale: its file was found damaged; it runs again in")
    if file.is_dir():
        file.rmdir()
    assert run_here(project)
    assert not len(project.verify(thorough=True))
    project.ask("retry", {"stages": ["same"], "unit": 4, "states": ["complete"]})
    assert project.why("same", 4).startswith("stale: it was told to run again; it runs again in")
    assert not len(project.verify(thorough=True))


def test_damage_that_only_decoding_shows_is_not_forgotten_by_a_quick_look(project):
    flip(shard(project, 2), -20)
    assert len(project.verify("same", thorough=True)) == 1
    [row] = project.verify().to_dict("records")
    assert (row["unit"], row["waits"]) == (2, True)
    assert row["problem"] == "it was found damaged before"


def test_what_only_decoding_shows_is_found_when_asked_for(project):
    flip(shard(project, 2), -20)
    assert not len(project.verify())
    [row] = project.verify("same", thorough=True).to_dict("records")
    assert "cannot be read" in row["problem"]
    assert mended(project, [("same", 2), ("table", 2), ("total", 2)])


def test_only_telling_changes_nothing(project):
    shard(project, 1).unlink()
    assert len(project.verify(mark=False)) == 1
    assert project.counts["same"] == {"complete": 6}


def test_a_damaged_table_is_found(project):
    file = next(project["table"].path.rglob("3.parquet"))
    DAMAGE["it has"](file)
    [row] = project.verify().to_dict("records")
    assert (row["stage"], row["unit"]) == ("table", 3)
    assert mended(project, [("table", 3)])


def test_the_whole_folder_of_a_stage_may_be_gone(project):
    shutil.rmtree(project["same"].path)
    assert len(project.verify("same")) == 6
    assert mended(project, [(s, k) for s in ("same", "table", "total") for k in range(6)])
    assert len(project["same"].data.to_numpy())


def test_files_of_commands_are_looked_at_too(folder):
    project = lw.create(folder / "run.lw", numbered((2, 2))[0])
    code = "import sys; open(sys.argv[1], 'w').write('result')"
    project.add(
        lw.command(
            [sys.executable, "-c", code, "{file.out}"], name="tell", files={"out": lw.file("a.txt")}
        ),
        reads=lw.stages.nothing(),
    )
    assert run_here(project)
    assert not len(project.verify())
    files = sorted(project["tell"].path.rglob("a.txt"))
    files[0].unlink()
    files[1].write_text("res")
    assert project.verify().unit.tolist() == [0, 1]
    assert mended(project, [("tell", 0), ("tell", 1)])


def test_a_reader_of_a_damaged_tile_names_it_and_says_what_to_do(project):
    file = shard(project, 4)
    DAMAGE["it has"](file)
    project.retry("table", 4, failed=False)
    assert not run_here(project)
    row = project.attempts("table", 4).iloc[-1]
    assert row.outcome == "unreadable input"
    for part in ("'same'", str(file), "project.verify() finds"):
        assert part in row.message
    project.verify()
    assert mended(project, [("same", 4), ("table", 4), ("total", 4)])


def test_one_tile_can_be_made_again_by_hand(project):
    shard(project, 4).unlink()
    project.retry("same", 4, failed=False)
    assert mended(project, [("same", 4), ("table", 4), ("total", 4)])


@pytest.mark.parametrize("what", ["zarr.json", "y_um", "tile_y/c", "same/zarr.json"])
def test_metadata_and_coordinates_that_were_deleted_are_written_anew(folder, what):
    from latticework.testing import simulate

    tiles, _ = simulate({"y": 2, "x": 3}, tile_shape={"y": 16, "x": 16}, seed=1)
    project = lw.create(folder / "run.lw", tiles)
    project.add(steps.same)
    assert run_here(project)
    before = project["same"].data.load()
    gone = project["same"].path / what
    for path in [gone] if gone.exists() else gone.parent.glob(f"{gone.name}.*"):
        (shutil.rmtree if path.is_dir() else os.remove)(path)
    last = project.attempts_made()
    assert run_here(project)
    assert attempts_since(project, last) == []
    assert project["same"].data.load().identical(before)
