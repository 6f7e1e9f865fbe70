"""The project folder: moved, read only, damaged, in memory."""

import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import latticework as lw
from latticework.errors import LatticeworkError, ProjectExistsError, ProjectNotFoundError
from latticework.lattice import Lattice
from tests.project import kills, steps
from tests.project.running import attempts_since, numbered, run_here

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def project(folder):
    lattice, _ = numbered()
    project = lw.create(folder / "p.lw", lattice)
    project.add(steps.add, overlap=1, boundary="reflect")
    project.add(steps.table)
    project.add(steps.total, after="add")
    run_here(project)
    return project


def test_a_moved_project_opens_and_goes_on(folder, project):
    project.retry("add", failed=False, y=0, x=0)
    moved = project.path.rename(folder / "elsewhere.lw")
    again = lw.open_project(moved)
    assert (
        again.counts["add"] == {"complete": 19, "stale": 1} or again.counts["add"]["complete"] == 19
    )
    again.add(steps.difference, after=["add", "source"])
    assert run_here(again), again.attempts().message.tolist()
    np.testing.assert_array_equal(again["difference"].data.to_numpy(), np.ones((24, 40)))
    assert len(again["table"].data) == 960


def test_a_project_over_files_finds_them_when_both_are_moved(folder):
    import tifffile

    home = folder / "experiment"
    (home / "tiles").mkdir(parents=True)
    for y in range(2):
        for x in range(3):
            tifffile.imwrite(home / f"tiles/y{y}_x{x}.tif", np.full((8, 8), 10 * y + x, "u2"))
    project = lw.create(home / "p.lw", lw.open_tiles(home / "tiles", pattern="y{y}_x{x}.tif"))
    project.add(steps.add)
    assert run_here(project)
    assert int(project["add"].tile(y=1, x=2).max()) == 13


def test_tiles_in_memory_are_kept_in_the_project(folder):
    tiles = {f"y{y}_x{x}": np.full((6, 5), 10 * y + x, "f4") for y in range(2) for x in range(3)}
    project = lw.create(folder / "p.lw", lw.open_tiles(tiles, pattern="y{y}_x{x}"))
    project.add(steps.add, amount=2)
    assert run_here(project)
    del tiles
    again = lw.open_project(project.path)
    for tile in again.lattice:
        expected = 10 * tile.labels["tile_y"] + tile.labels["tile_x"]
        assert (again.source.tile(tile.id) == expected).all()
        assert (again["add"].tile(tile.id) == expected + 2).all()


def test_lazy_arrays_are_kept_in_the_project(folder):
    import dask.array as da

    array = da.arange(600, chunks=100).reshape(20, 30)
    data = xr.DataArray(array, dims=("y", "x"))
    project = lw.create(folder / "p.lw", Lattice.from_array(data, block={"y": 7, "x": 11}))
    project.add(steps.add)
    assert run_here(project)
    np.testing.assert_array_equal(
        project["add"].data.to_numpy(), np.arange(600).reshape(20, 30) + 1
    )


def test_a_deleted_status_array_is_made_again(project):
    shutil.rmtree(project.path / "status.zarr")
    last = project.attempts_made()
    project.add(steps.address, reads=lw.nothing())
    assert run_here(project)
    assert len(attempts_since(project, last)) == 20
    kills.check_status_array(project)


def test_a_deleted_status_array_is_made_again_even_if_nothing_is_to_be_done(project):
    shutil.rmtree(project.path / "status.zarr")
    assert run_here(project)
    kills.check_status_array(project)


def test_a_damaged_status_array_is_made_again(project):
    (project.path / "status.zarr" / "zarr.json").write_text("{")
    assert run_here(project)
    kills.check_status_array(project)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: (path / "journal.sqlite").unlink(), "journal"),
        (lambda path: (path / "journal.sqlite").write_bytes(b"nonsense" * 1000), "journal"),
        (lambda path: (path / "journal.sqlite").write_bytes(b""), "journal"),
        (lambda path: shutil.rmtree(path / "lattice"), "lattice"),
        (lambda path: shutil.rmtree(path / "source"), "source"),
        (lambda path: (path / "source" / "source.json").write_text("{]"), "source"),
        (lambda path: (path / "project.json").write_text("[1, 2"), "project.json"),
        (
            lambda path: (path / "project.json").write_text('{"latticework_project": 99}'),
            "format 99",
        ),
    ],
)
def test_missing_or_damaged_parts_are_named(project, damage, words):
    damage(project.path)
    with pytest.raises(LatticeworkError, match=words):
        lw.open_project(project.path).counts  # noqa: B018


def test_damaged_lattice_files_are_named(project):
    found = [p for p in (project.path / "lattice").rglob("*") if p.is_file()]
    assert found
    for file in found:
        if file.name == "zarr.json":
            kept = file.read_bytes()
            file.write_text("{")
            with pytest.raises(LatticeworkError, match="lattice"):
                lw.open_project(project.path)
            file.write_bytes(kept)
    lw.open_project(project.path)


def test_a_journal_in_the_middle_of_a_transaction_that_was_killed_can_be_looked_at(project):
    """A hot rollback journal: whoever opens the project next has to roll it back."""
    code = """
        import os, sqlite3, sys
        db = sqlite3.connect(sys.argv[1], isolation_level=None)
        db.execute("pragma journal_mode=truncate")
        db.execute("pragma cache_size=1")
        db.execute("begin immediate")
        db.execute("update attempts set outcome = 2, unit = unit + 1000")
        db.executemany("insert into errors (type, message, traceback) values ('a', ?, ?)",
                       [(str(i), "x" * 5000) for i in range(500)])
        os._exit(9)
    """
    file = project.path / "journal.sqlite"
    subprocess.run([sys.executable, "-c", textwrap.dedent(code), file], check=False)
    assert (project.path / "journal.sqlite-journal").stat().st_size > 0
    again = lw.open_project(project.path)
    assert again.counts["add"] == {"complete": 20}
    assert run_here(again)
    assert len(again.attempts("add")) == 20


def test_there_is_one_project_in_a_folder(folder, project):
    lattice, _ = numbered()
    with pytest.raises(ProjectExistsError, match="open_project"):
        lw.create(project.path, lattice)
    assert lw.create(project.path, lattice, exist_ok=True).counts == project.counts
    other, _ = numbered((2, 2))
    with pytest.raises(ProjectExistsError, match="Choose another folder"):
        lw.create(project.path, other, exist_ok=True)
    with pytest.raises(ProjectNotFoundError, match="there is no project"):
        lw.open_project(folder / "nowhere")
    (folder / "full").mkdir()
    (folder / "full" / "thesis.txt").write_text("years of work")
    with pytest.raises(ProjectExistsError, match="not a project"):
        lw.create(folder / "full", lattice)
    assert (folder / "full" / "thesis.txt").read_text() == "years of work"
    assert sorted(path.name for path in folder.iterdir()) == ["full", "p.lw"]


def test_a_project_that_cannot_be_made_leaves_nothing(folder):
    lattice, _ = numbered()
    with pytest.raises(LatticeworkError):
        lw.create(folder / "p.lw", lattice.replace(source=None))
    with pytest.raises(LatticeworkError):
        lw.create(folder / "p.lw", [1, 2])
    assert list(folder.iterdir()) == []


READ_ONLY = """
import json, os, sys
import numpy as np
import latticework as lw
from tests.project import steps
project = lw.open_project(sys.argv[1])
said = {"counts": project.counts, "why": project.why("add", 0)}
said["mean"] = float(project["add"].data.mean())
for name, act in {
    "add": lambda: project.add(steps.nothing, name="more"),
    "run": lambda: project.run(progress="none"),
    "retry": lambda: project.retry("add", failed=False),
}.items():
    try:
        act()
        said[name] = "no error"
    except lw.errors.LatticeworkError as error:
        said[name] = str(error)
    except Exception as error:
        said[name] = f"raw {type(error).__name__}: {error}"
print(json.dumps(said))
"""


def test_a_read_only_project_can_be_looked_at_and_says_that_it_is(project):
    """Root may write everything, so it looks at a read-only mount in a name space of its own."""
    look = [sys.executable, "-c", READ_ONLY, str(project.path)]
    if os.geteuid() == 0:
        mount = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" || exit 77; exec "$@"'
        if shutil.which("unshare") is None:
            pytest.skip("needs unshare, or a user who is not root")
        look = ["unshare", "-m", "sh", "-c", mount, str(project.path), *look]
    else:
        for path in [project.path, *project.path.rglob("*")]:
            path.chmod(path.stat().st_mode & 0o555)
    done = subprocess.run(look, cwd=ROOT, capture_output=True, text=True, check=False)
    for path in [project.path, *project.path.rglob("*")]:
        path.chmod(path.stat().st_mode | 0o200)
    if done.returncode == 77:
        pytest.skip("this system lets root not mount anything read-only")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["counts"]["add"] == {"complete": 20}
    assert said["why"].startswith("complete")
    for action in ("add", "run", "retry"):
        assert "write" in said[action] or "read-only" in said[action].lower(), said[action]
        assert not said[action].startswith("raw"), said[action]
