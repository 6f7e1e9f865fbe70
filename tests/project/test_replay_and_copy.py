"""One unit in the caller's process, with what a worker gives it; projects of some of the tiles."""

import os
import sys

import numpy as np
import pandas as pd
import pytest

import latticework as lw
from latticework.errors import LatticeError, ProjectError
from latticework.io.memory import MemorySource
from latticework.lattice import Lattice
from latticework.project.copying import copy_project
from latticework.project.replaying import call_of, replay
from latticework.stages.command import command
from latticework.stages.failures import CommandError
from latticework.stages.reads import intersecting, neighbours, plane
from tests.project import steps
from tests.project.running import numbered, run_here

EACH = {}


def seen_here(tile):
    """Notes in which process it runs, and on what."""
    EACH["pid"], EACH["tile"] = os.getpid(), tile
    if int(tile.attrs["tile_id"]) == 3:
        raise ValueError("there is a bubble")
    return tile + 1


def below(tile, others):
    return {"own": int(tile.sum()), "others": {key: others[key] is not None for key in others}}


def mean_of_plane(tiles):
    return float(tiles.mean().compute())


def block_sum(tiles):
    return float(sum(int(tile.sum()) for tile in tiles.values()))


def haloed_sum(tile):
    return tile.copy(data=np.full(tile.shape, float(tile.sum())))


@pytest.fixture
def project(folder):
    lattice, array = numbered((3, 2, 4), (4, 5, 6))
    project = lw.create(folder / "p.lw", lattice)
    project.array = array
    return project


def state_of(project):
    """Every file of a project but the lock, with its content."""
    files = sorted(path for path in project.path.rglob("*") if path.is_file())
    return {
        str(path.relative_to(project.path)): path.read_bytes()
        for path in files
        if path.suffix != ".lock"
    }


# ------------------------------------------------------------------ replay


def test_replay_runs_one_unit_here_and_writes_nothing(project):
    project.add(seen_here)
    run_here(project)
    before = state_of(project)
    EACH.clear()
    value = replay(project, "seen_here", 5, {})
    assert EACH["pid"] == os.getpid()
    np.testing.assert_array_equal(value, project["seen_here"].tile(5))
    assert value.attrs["tile"] == project.lattice.tile(5).name
    with pytest.raises(ValueError, match="bubble"):
        replay(project, "seen_here", 3, {})
    assert state_of(project) == before


def test_the_inputs_are_those_of_the_run_with_their_halo(project):
    project.add(steps.add, amount=2)
    project.add(haloed_sum, after="add", overlap={"y": 1, "x": 2})
    run_here(project, ["add"])
    call = call_of(project, "haloed_sum", None, {"z": 1, "y": 0, "x": 1})
    (tile,) = call.arguments
    assert dict(tile.sizes) == {"z": 4, "y": 6, "x": 10}
    np.testing.assert_array_equal(tile, project.array[4:8, 0:6, 4:14] + 2)
    assert float(call()[0, 0, 0]) == float(tile.sum())
    assert call.params == {}
    assert "haloed_sum" in repr(call)
    assert "DataArray uint16 (4, 6, 10)" in repr(call)


def test_replay_of_reductions_planes_neighbours_tables_and_records(project):
    project.add(steps.table)
    project.add(steps.total)
    project.add(steps.sum_of_column, after="table", column="value")
    project.add(mean_of_plane, reads=plane("z"), name="means")
    project.add(steps.grand_total, reads=lw.all_tiles())
    project.add(below, reads=neighbours("+z", "+x"))
    project.add(steps.minus_number, after=[project.source, "grand_total"])
    assert run_here(project)
    assert replay(project, "sum_of_column", 2, {}) == project["sum_of_column"].tile(2)
    assert replay(project, "means", None, {"z": 2}) == project["means"].tile(z=2)
    assert replay(project, "grand_total", None, {}) == int(project.array.sum(dtype="i8"))
    assert replay(project, "below", 4, {}) == project["below"].tile(4)
    assert isinstance(replay(project, "table", 1, {}), pd.DataFrame)
    np.testing.assert_array_equal(
        replay(project, "minus_number", 7, {}), project["minus_number"].tile(7)
    )


def test_what_cannot_run_cannot_be_replayed(project):
    project.add(steps.fail_at, bad=[2])
    project.add(steps.add, after="fail_at")
    with pytest.raises(ProjectError, match="waiting for 'fail_at'"):
        replay(project, "add", 1, {})
    run_here(project)
    with pytest.raises(ProjectError, match="blocked"):
        replay(project, "add", 2, {})
    with pytest.raises(ValueError, match="out of focus"):
        replay(project, "fail_at", 2, {})
    with pytest.raises(ProjectError, match="source"):
        replay(project, "source", 1, {})
    project.add(lambda tile: tile, name="notebook")
    again = lw.open_project(project.path)
    with pytest.raises(ProjectError, match="not kept in the project"):
        replay(again, "notebook", 1, {})


def test_replay_of_a_command_leaves_its_files_in_a_folder_of_its_own(project, folder):
    script = "import sys; print('seen', sys.argv[1]); open(sys.argv[2], 'w').write(sys.argv[1])"
    made = command(
        [sys.executable, "-c", script, "{tile}", "{output}/{tile}.txt"],
        name="note",
        files={"text": "{tile}.txt"},
    )
    project.add(made)
    before = state_of(project)
    files = replay(project, "note", 5, {}, folder=folder / "trial")
    name = project.lattice.tile(5).name
    assert files["text"].read_text() == name
    assert files["text"].is_relative_to(folder / "trial")
    assert (folder / "trial" / "replay.out").read_text() == f"seen {name}\n"
    assert state_of(project) == before
    with pytest.raises(ProjectError, match="earlier replay"):
        replay(project, "note", 5, {}, folder=folder / "trial")


def test_a_replay_may_take_longer_than_the_stage_allows(project):
    script = "import sys, time; time.sleep(1); open(sys.argv[1], 'w').write('here')"
    slow = command(
        [sys.executable, "-c", script, "{output}/a.txt"], name="slow", files={"a": "a.txt"}
    )
    project.add(slow, timeout=0.5)
    assert replay(project, "slow", 5, {})["a"].read_text() == "here"


def test_a_failing_replay_names_a_log_that_is_there(project, folder):
    script = "import sys; print('no light', file=sys.stderr); sys.exit(3)"
    project.add(command([sys.executable, "-c", script], name="dark"))
    before = state_of(project)
    with pytest.raises(CommandError, match="exited with 3") as caught:
        replay(project, "dark", 5, {}, folder=folder / "trial")
    log = folder / "trial" / "replay.err"
    assert log.read_text() == "no light\n"
    assert str(caught.value).endswith(f"log at {log}")
    assert caught.value.exit_code == 3
    assert state_of(project) == before


# ------------------------------------------------------------------ copies


def test_a_copy_has_the_same_graph_and_nothing_of_what_was_made(project, folder):
    project.add(steps.add, amount=3)
    project.add(steps.statistics, after="add")
    project.add(steps.plain_add, after="add", retries=5)
    assert run_here(project)
    copy = copy_project(project, folder / "copy.lw")
    assert copy.stages == project.stages
    for node in copy.pipeline:
        old = project.pipeline[node.name]
        assert (node.parents, node.definition) == (old.parents, old.definition)
        assert node.fingerprint == old.fingerprint
    assert copy.counts == {name: {"waiting": 24} for name in copy.stages}
    assert (copy.name, copy.key != project.key) == ("copy", True)
    assert not copy.is_run()
    assert run_here(copy)
    np.testing.assert_array_equal(copy["plain_add"].data, project["plain_add"].data)


@pytest.mark.parametrize(
    "region", [{"z": slice(1, 2)}, {"z": [0, 2], "x": slice(1, 3)}, {"y": 1, "x": 2}]
)
def test_a_copy_of_a_region_makes_the_same_of_the_same_pixels(project, folder, region):
    project.add(steps.add, amount=3)
    project.add(steps.total, after="add")
    assert run_here(project)
    copy = copy_project(project, folder / "copy.lw", region=region)
    chosen = project.lattice.sel(**region)
    assert copy.lattice.ids.tolist() == list(range(len(chosen)))
    assert copy.lattice.names.tolist() == chosen.names.tolist()
    np.testing.assert_allclose(copy.lattice.position_um, chosen.position_um)
    assert run_here(copy)
    for tile in chosen:
        mine = copy.lattice.tile(**tile.labels)
        assert mine.name == tile.name
        np.testing.assert_array_equal(
            copy["add"].tile(mine.id).to_numpy(), project["add"].tile(tile.id).to_numpy()
        )
        assert copy["total"].tile(mine.id) == project["total"].tile(tile.id)


def test_neighbours_of_a_copy_are_those_that_tiles_had(project, folder):
    """Planes that are left out between others stay holes: 0 and 2 do not become neighbours."""
    project.add(below, reads=neighbours("+z", "+x"))
    copy = copy_project(project, folder / "copy.lw", region={"z": [0, 2], "x": [1, 2]})
    assert copy.lattice.shape == (3, 2, 2)
    assert run_here(copy), copy.attempts().message.tolist()
    found = copy["below"].tile(z=0, y=1, x=1)
    assert found["others"] == {"+z": False, "+x": True}


def test_a_copy_of_tiles_with_halo_equals_the_original_inside(project, folder):
    project.add(haloed_sum, overlap={"y": 1, "x": 1})
    assert run_here(project)
    copy = copy_project(project, folder / "copy.lw", region={"z": 0, "x": slice(0, 2)})
    assert run_here(copy)
    inner = {"z": 0, "y": 0, "x": 1}  # all of its neighbours are in the copy
    np.testing.assert_array_equal(
        copy["haloed_sum"].tile(**inner).to_numpy(), project["haloed_sum"].tile(**inner).to_numpy()
    )


def test_a_copy_of_images_in_files_reads_the_same_files(folder):
    tifffile = pytest.importorskip("tifffile")
    rng = np.random.default_rng(1)
    images = rng.integers(0, 999, (6, 8, 9)).astype("u2")
    (folder / "tiles").mkdir()
    for number, image in enumerate(images):
        name = f"tile_y{number // 3}_x{number % 3}.tif"
        tifffile.imwrite(folder / "tiles" / name, image)
    tiles = lw.open_tiles(folder / "tiles", pattern="tile_y{y}_x{x}.tif")
    project = lw.create(folder / "p.lw", tiles)
    project.add(steps.total)
    copy = copy_project(project, folder / "c.lw", region=tiles.sel(x=[2, 1]))
    assert run_here(copy)
    assert copy["total"].tile(y=1, x=2) == int(images[5].sum())
    assert copy.lattice.source.path(copy.lattice.id_at(y=1, x=2)).name == "tile_y1_x2.tif"
    assert run_here(copy_project(copy, folder / "d.lw", region={"y": 1}))  # a copy of a copy


def test_names_positions_and_problems_go_along(folder):
    images = np.arange(4 * 6 * 6, dtype="u1").reshape(4, 6, 6)
    lattice = Lattice.from_positions(
        [(0, 0), (0, 5), (5, 0), (5.5, 5)],
        tile_shape={"y": 6, "x": 6},
        dtype="u1",
        names=["a", "b", "c", "d"],
        problems={2: "it is empty"},
        source=MemorySource(list(images)),
    )
    project = lw.create(folder / "p.lw", lattice)
    copy = copy_project(project, folder / "c.lw", region=lattice.take([2, 3]))
    assert copy.lattice.names.tolist() == ["c", "d"]
    assert copy.lattice.problems == {0: "it is empty"}
    np.testing.assert_allclose(copy.lattice.position_um, [(5, 0), (5.5, 5)])
    np.testing.assert_array_equal(copy.source.tile("d").to_numpy(), images[3])


def test_stages_can_be_chosen_with_their_parents(project, folder):
    project.add(steps.add)
    project.add(steps.total, after="add")
    project.add(steps.table)
    assert copy_project(project, folder / "a.lw", stages=["add", "total"]).stages == (
        "add",
        "total",
    )
    with pytest.raises(ProjectError, match=r"'total' reads 'add'.*\['add', 'total'\]"):
        copy_project(project, folder / "b.lw", stages=["total"])
    assert not (folder / "b.lw").exists()
    with pytest.raises(LatticeError, match="9"):
        copy_project(project, folder / "b.lw", region={"z": 9})
    with pytest.raises(FileExistsError):
        copy_project(project, folder / "a.lw")


def test_a_stage_without_its_code_is_copied_and_waits_for_it(project, folder):
    def from_notebook(tile):
        return tile

    project.add(from_notebook)
    project.add(steps.total, after="from_notebook")
    copy = copy_project(lw.open_project(project.path), folder / "c.lw", region={"z": 1})
    assert copy.stages == ("from_notebook", "total")
    assert "defined in a notebook" in copy.why("from_notebook", 0)
    copy.add(from_notebook)
    assert run_here(copy)
    assert copy.counts["total"] == {"complete": 8}


def test_units_on_other_lattices_come_along(project, folder):
    blocks = Lattice.from_grid({"y": 1, "x": 2}, tile_shape={"z": 12, "y": 10, "x": 12}, dtype="f4")
    project.add(steps.largest, reads=lw.all_tiles())
    project.add(mean_of_plane, reads=plane("z"), name="means")
    project.add(block_sum, reads=intersecting(blocks))
    copy = copy_project(project, folder / "c.lw", region={"z": slice(1, 2)})
    assert run_here(copy), copy.attempts().message.tolist()
    assert copy.counts == {
        "largest": {"complete": 1},
        "means": {"complete": 2},
        "block_sum": {"complete": 2},
    }


def test_parameters_and_skipped_planes_go_along_but_no_region(project, folder):
    project.add(steps.add)
    project.skip(z=[1])
    project.choose_region(x=slice(0, 1))
    project.set_parameters(gain=3)
    copy = copy_project(project, folder / "c.lw")
    assert copy.settings.parameters == {"gain": 3}
    assert copy.counts["add"] == {"waiting": 16, "absent": 8}
    assert copy_project(project, folder / "d.lw", region={"z": 2}).settings.skipped == {}


def add_some_of_everything(project):
    project.add(steps.add, amount=3)
    project.add(haloed_sum, after="add", overlap={"y": 1, "x": 1})
    project.add(steps.table, after="add")
    project.add(steps.statistics, after="add")
    project.add(mean_of_plane, after="add", reads=plane("z"), name="means")
    project.add(steps.grand_total, after="add", reads=lw.all_tiles())
    script = "import sys; open(sys.argv[1], 'w').write('x')"
    made = command(
        [sys.executable, "-c", script, "{output}/note.txt"], name="note", files={"text": "note.txt"}
    )
    project.add(made)


def test_results_can_go_along_and_then_nothing_runs_again(project, folder):
    add_some_of_everything(project)
    assert run_here(project)
    copy = copy_project(project, folder / "c.lw", outputs=True)
    assert copy.counts == project.counts
    made = copy.attempts_made()
    assert run_here(copy)
    assert copy.attempts_made() == made
    for name in ("add", "haloed_sum"):
        np.testing.assert_array_equal(copy[name].data, project[name].data)
    pd.testing.assert_frame_equal(copy["table"].data, project["table"].data)
    pd.testing.assert_frame_equal(copy["statistics"].data, project["statistics"].data)
    assert copy["note"].tile(3)["text"].read_text() == "x"
    assert not list((copy.path / "staging").glob("*/*"))
    assert copy.attempts("add").worker.unique().tolist() == [f"copied from {project.path}"]


def test_only_results_that_the_copy_would_make_too_go_along(project, folder):
    add_some_of_everything(project)
    assert run_here(project)
    region = {"z": slice(1, 2), "x": slice(0, 2)}
    copy = copy_project(project, folder / "c.lw", region=region, outputs=True)
    plain = copy_project(project, folder / "plain.lw", region=region)
    assert copy.counts["add"] == {"complete": 12}
    assert copy.counts["table"] == {"complete": 12}
    assert copy.counts["note"] == {"complete": 12}
    assert copy.counts["haloed_sum"] == {"waiting": 4, "complete": 8}  # x=2 has lost x=3
    assert copy.counts["means"] == {"waiting": 2}
    assert copy.counts["grand_total"] == {"waiting": 1}
    before = copy.attempts_made()
    assert run_here(copy)
    assert run_here(plain)
    assert copy.attempts_made() == before + 4 + 2 + 1
    for name in ("add", "haloed_sum"):
        np.testing.assert_array_equal(copy[name].data, plain[name].data)
    pd.testing.assert_frame_equal(copy["means"].data, plain["means"].data)
    pd.testing.assert_frame_equal(copy["table"].data, plain["table"].data)
    assert copy["grand_total"].tile() == plain["grand_total"].tile()


def test_whole_planes_go_along_with_what_was_made_of_them(project, folder):
    add_some_of_everything(project)
    assert run_here(project)
    copy = copy_project(project, folder / "c.lw", region={"z": [2, 1]}, outputs=True)
    assert copy.counts["means"] == {"complete": 2}
    assert copy["means"].tile(z=2) == project["means"].tile(z=2)
    assert copy.counts["grand_total"] == {"waiting": 1}
