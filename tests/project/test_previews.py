"""Previews of a project: there for every tile that is made, of what it is now, at no one's cost."""

import os
import pickle
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
import xarray as xr

import latticework as lw
from latticework.errors import ProjectError, StageError
from latticework.io.preview_store import waiting_folder
from latticework.lattice import Lattice
from latticework.project.previews import previews_of
from latticework.stages.paths import previews_folder
from latticework.stages.previewing import preview_of
from tests.project import preview_steps as steps
from tests.project.kills import ROOT
from tests.project.running import numbered, run_here, temporary_project


def missing(project, stage):
    """Units of a stage that have no preview of what they are now."""
    previews = previews_of(project, stage)
    return previews.missing(np.arange(len(previews.node.units))).tolist()


def check(project, stage):
    """Every preview is that of what the stage has made now."""
    previews = previews_of(project, stage)
    node, layout = previews.node, previews.layout
    whole = project[stage].previews.compute(scheduler="synchronous")
    bounds = project[stage].previews  # also of those that were made just now
    for tile in node.lattice:
        pixels = project[stage].tile(tile.id)
        wanted = preview_of(pixels.values, pixels.dims, layout)
        where = {dim: tile.labels[dim] for dim in node.lattice.dims}
        np.testing.assert_array_equal(whole.sel(where), wanted.pixels)
        low, high = (float(bounds[name].sel(where)[0]) for name in ("low", "high"))
        assert (low, high) == tuple(wanted.contrast[0])
        one = project[stage].preview(tile.id)
        np.testing.assert_array_equal(one, wanted.pixels[:, : one.sizes["y"], : one.sizes["x"]])


@pytest.fixture
def project():
    tiles, _ = numbered((2, 3, 4), (3, 150, 200))
    with temporary_project(tiles) as made:
        yield made


def test_workers_make_previews_of_tiles_planes_blocks_labels_and_of_the_source(project):
    project.add(steps.plus)
    project.add(steps.labelled, after="plus")
    project.add(steps.plane_mean, after="plus", reads=lw.plane("z"))
    project.add(steps.plus, name="smooth", after="plus", overlap={"y": 2, "x": 3})
    assert run_here(project)
    for stage in ("source", "plus", "labelled", "plane_mean", "smooth"):
        assert missing(project, stage) == []
        check(project, stage)
        assert not list(waiting_folder(previews_folder(project.path, stage)).iterdir())
    found = project["plus"].previews
    assert found.dims == ("tile_z", "tile_y", "tile_x", "c", "y", "x")
    assert found.dtype == "u2"
    assert found.attrs["pixel_size_um"] == {"y": 2.0, "x": 2.0}
    assert found.attrs["projection"] == "max"
    assert project["labelled"].previews.attrs["projection"] == "labels"
    assert project["plane_mean"].previews.dims == ("tile_z", "c", "y", "x")
    with xr.open_zarr(previews_folder(project.path, "plus")) as group:
        np.testing.assert_array_equal(group.preview[5], project["plus"].preview(5))


def test_ragged_blocks_and_blocks_with_a_halo_of_the_source():
    array = np.arange(70 * 90, dtype="u2").reshape(70, 90)
    tiles = Lattice.from_array(array, block={"y": 40, "x": 50})
    with temporary_project(tiles) as project:
        project.add(steps.plus, overlap=3, boundary="reflect")
        assert run_here(project)
        assert missing(project, "source") == missing(project, "plus") == []
        assert project["plus"].preview(y=1, x=1).shape == (1, 30, 40)
        check(project, "plus")
        check(project, "source")


def test_a_reduction_has_one_preview(project):
    project.add(steps.plane_mean, name="mean", reads=lw.all_tiles())
    run_here(project)
    assert missing(project, "mean") == []
    wanted = project["mean"].preview().values
    assert wanted.shape == (1, 75, 100)
    np.testing.assert_array_equal(project["mean"].previews.compute(), wanted)
    shutil.rmtree(project.path / "previews")
    np.testing.assert_array_equal(lw.open_project(project.path)["mean"].preview(), wanted)


def test_a_stage_that_spoils_its_input_does_not_spoil_the_preview_of_it(project):
    project.add(steps.spoiling)
    run_here(project)
    assert missing(project, "source") == []
    check(project, "source")


def test_a_changed_stage_shows_what_it_makes_now(project):
    project.add(steps.plus)
    project.add(steps.bright, after="plus")
    run_here(project)
    project.change("plus", by=2000)
    check(project, "plus")  # stale, and still what is there
    run_here(project)
    check(project, "plus")
    project.retry("plus", 3, failed=False)
    run_here(project)
    assert missing(project, "plus") == []
    check(project, "plus")
    project.change("plus", steps.labelled)
    run_here(project)
    check(project, "plus")
    project.remove("plus", children="remove")
    assert not previews_folder(project.path, "plus").exists()
    project.add(steps.plus, by=3)
    run_here(project)
    check(project, "plus")


def test_what_is_lost_is_made_again_when_somebody_looks_and_kept(project):
    project.add(steps.plus)
    run_here(project)
    shutil.rmtree(project.path / "previews")
    looking = lw.open_project(project.path)
    assert len(missing(looking, "plus")) == 24
    check(looking, "plus")
    check(looking, "source")
    assert missing(lw.open_project(project.path), "plus") == []
    run_here(project)  # which merges them
    assert not list(waiting_folder(previews_folder(project.path, "plus")).iterdir())
    assert missing(project, "plus") == missing(project, "source") == []


def test_looking_needs_no_right_to_write(project, monkeypatch):
    project.add(steps.plus, preview=False)
    run_here(project)
    from latticework.io.preview_files import PreviewWriter

    def refuse(*_arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(PreviewWriter, "add", refuse)
    check(project, "plus")


def test_previews_can_be_switched_off_for_a_stage_and_for_the_project(project):
    project.add(steps.plus, preview=False)
    project.add(steps.plus, name="seen", after="plus", preview="mean")
    run_here(project)
    assert len(missing(project, "plus")) == 24
    assert missing(project, "seen") == []
    assert project["seen"].previews.attrs["projection"] == "mean"
    project.set_previews("none")
    project.add(steps.plus, name="unseen", after="plus")
    run_here(project)
    assert len(missing(project, "unseen")) == 24
    check(project, "unseen")  # made for who looks
    with pytest.raises(StageError, match="preview='sum': give one of 'max', 'mean', 'labels'"):
        project.add(steps.plus, name="wrong", preview="sum")
    with pytest.raises(ProjectError, match="give 'max', 'mean' or 'none'"):
        project.set_previews("sum")
    before = project.attempts_made()
    project.change("plus", preview="max")
    run_here(project)
    assert project.attempts_made() == before  # that is no reason to make anything again


def test_stages_without_pictures_say_so(project):
    project.add(steps.bright)
    project.add(steps.profile)
    with pytest.raises(ProjectError, match="'bright' makes nothing yet"):
        project["bright"].previews  # noqa: B018
    run_here(project)
    with pytest.raises(ProjectError, match="makes record"):
        project["bright"].preview(0)
    with pytest.raises(ProjectError, match="with the dims y and x"):
        project["profile"].previews  # noqa: B018
    assert missing(project, "source") == []  # the first stage that read it has no array


def test_previews_that_cannot_be_written_cost_the_run_nothing(project):
    project.add(steps.plus)
    (project.path / "previews").write_text("in the way")
    assert run_here(project)
    assert project["plus"].preview(0).shape == (1, 75, 100)


def test_the_lazy_array_travels_to_other_processes(project):
    project.add(steps.plus)
    run_here(project)
    lazy = project["plus"].previews
    again = pickle.loads(pickle.dumps(lazy))
    np.testing.assert_array_equal(again.compute(scheduler="synchronous"), lazy.compute())


@pytest.mark.slow
def test_growing_lattices_keep_their_previews(tmp_path):
    from latticework.testing import write_pattern

    tiles, _ = lw.simulate({"y": 2, "x": 3}, tile_shape={"y": 16, "x": 16}, seed=1)
    folder = write_pattern(tiles, tmp_path / "all", pattern="y{tile_y}_x{tile_x}.tif")
    arriving = tmp_path / "arriving"
    arriving.mkdir()
    files = sorted(folder.glob("*.tif"))
    for file in files[3:]:  # the first row comes last, and moves the labels
        shutil.copy(file, arriving)
    project = lw.create_watched(tmp_path / "live.lw", arriving, pattern="y{y}_x{x}.tif")
    project.add(steps.plus)
    for file in files[:3]:
        shutil.copy(file, arriving)
    (arriving / "FINISHED").touch()
    project.watch(arriving, settle_s=0.1, end="FINISHED", progress="none", pattern="y{y}_x{x}.tif")
    assert missing(project, "plus") == []
    check(project, "plus")


# -------------------------------------------------------------------- killed


def start(folder, log):
    return subprocess.Popen(
        [sys.executable, "-m", "tests.project.test_previews", str(folder)],
        cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip


@pytest.mark.slow
def test_a_killed_run_leaves_previews_that_are_right_or_made_again(tmp_path):
    folder, log = tmp_path / "killed.lw", (tmp_path / "log").open("w")
    process = start(folder, log)
    until = time.monotonic() + 60
    waiting = waiting_folder(previews_folder(folder, "plus"))
    while time.monotonic() < until and not (waiting.is_dir() and any(waiting.iterdir())):
        time.sleep(0.02)
    time.sleep(0.3)
    children = psutil.Process(process.pid).children(recursive=True)
    assert process.poll() is None, "it finished before it was killed"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    psutil.wait_procs(children, timeout=20)
    project = lw.open_project(folder)
    published = np.flatnonzero(project.pipeline["plus"].units.published).tolist()
    assert published
    for unit in published[:40]:  # of what was made before, looked at now
        pixels = project["plus"].tile(unit)
        layout = previews_of(project, "plus").layout
        wanted = preview_of(pixels.values, pixels.dims, layout).pixels
        np.testing.assert_array_equal(project["plus"].preview(unit), wanted)
    assert start(folder, log).wait(120) == 0, (tmp_path / "log").read_text()
    project = lw.open_project(folder)
    lost = missing(project, "plus")
    assert len(lost) < 72
    check(project, "plus")
    left = [file for file in (folder / "previews").rglob("*") if file.name.endswith(".tmp")]
    assert not left


def main():
    tiles, _ = numbered((12, 12), (32, 32))
    project = lw.create(sys.argv[1], tiles, exist_ok=True)
    project.add(steps.slowly_plus, name="plus", params={"seconds": 0.05})
    return 0 if project.run(lw.local(workers=2), progress="none") else 1


if __name__ == "__main__":
    sys.exit(main())
