"""Full disks and closed folders: the project pauses, says why, and goes on; nothing is lost."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import latticework as lw
from tests.project import steps
from tests.project.disks import AfterStaging, Going, fill, noise, outcomes, small_disk, until
from tests.project.running import completions, run_here

FULL = "cannot write"


@pytest.fixture
def disk(folder):
    with small_disk(folder) as disk:
        yield disk


def same(project, pixels):
    return np.array_equal(project["same"].data.to_numpy().reshape(pixels.shape), pixels)


def test_workers_that_find_the_disk_full_are_not_to_blame_and_the_run_goes_on_by_itself(disk):
    lattice, pixels = noise()
    project = lw.create(disk / "run.lw", lattice)
    project.add(steps.same)
    filler = fill(disk, leave=4 * 2**20)
    run = Going(project)
    text = run.wait_for_outage()
    for part in ("the disk is full", str(disk), "free", "are needed"):
        assert part in text
    until(lambda: not project.coordinator.flying, alive=run)
    assert "ready to run, but the disk is full" in project.why("same", 11)
    assert project.status.attrs["outage"]
    assert 0 < project.counts["same"]["complete"] < 12
    assert lw.open_project(project.path).outage  # as another process sees it
    filler.unlink()
    assert run.end()
    assert not project.outage
    assert same(project, pixels)
    assert set(outcomes(project)) == {"complete", FULL}
    assert not project.pipeline["same"].units.tries.any()
    assert set(completions(project).values()) == {1}
    assert not lw.open_project(project.path).outage


def test_a_full_disk_is_no_first_failure(disk):
    project = lw.create(disk / "run.lw", noise()[0])
    project.add(steps.same)
    told = []
    project.on("first failure", told.append)
    filler = fill(disk, leave=4 * 2**20)
    run = Going(project)
    run.wait_for_outage()
    filler.unlink()
    assert run.end()
    project.hooks.wait()
    assert FULL in outcomes(project)
    assert not told


def test_a_full_disk_is_told_of_once_when_it_pauses_the_project_and_once_when_it_goes_on(disk):
    project = lw.create(disk / "run.lw", noise()[0])
    project.add(steps.same)
    told = []
    project.on(["project paused", "project resumed"], told.append)
    filler = fill(disk, leave=4 * 2**20)
    run = Going(project)
    text = run.wait_for_outage()
    until(lambda: told, alive=run)  # at once, though nothing can be written
    filler.unlink()
    assert run.end()
    project.hooks.wait()
    assert [event.kind for event in told] == ["project paused", "project resumed"]
    assert told[0].message.startswith("the project has paused itself: the disk is full")
    assert str(disk) in told[0].message
    assert str(disk) in text
    assert told[0].counts["bytes needed"] > told[0].counts["bytes free"]
    kept = project.events()
    kept = kept[kept.event.str.startswith("project ")]
    assert kept.event.tolist() == ["project paused", "project resumed"]
    assert kept.message.tolist() == [event.message for event in told]


@pytest.mark.parametrize("progress", ["lines", "none"])
def test_that_it_waits_for_room_is_said_once_and_in_full(
    disk, capsys, caplog, progress, local_client
):
    assert local_client.status == "running"  # a quiet cluster beside it does not silence this
    project = lw.create(disk / "run.lw", noise()[0])
    project.add(steps.same)
    filler = fill(disk, leave=4 * 2**20)
    run = Going(project, progress=progress)
    run.wait_for_outage()
    filler.unlink()
    assert run.end()
    said = [*capsys.readouterr().out.splitlines(), *(r.message for r in caplog.records)]
    (paused,) = [line for line in said if line.startswith("paused: ")]
    assert paused.endswith("nothing is lost")
    assert len([line for line in said if line.startswith("resumed: ")]) == 1


def test_workers_on_a_cluster_find_the_disk_full(disk, local_client):
    lattice, pixels = noise()
    project = lw.create(disk / "run.lw", lattice)
    project.add(steps.same)
    filler = fill(disk, leave=4 * 2**20)
    run = project.start(local_client)
    until(lambda: project.outage)
    filler.unlink()
    assert run.wait(120)
    assert same(project, pixels)
    assert set(outcomes(project)) <= {"complete", FULL, "stopped"}
    assert set(completions(project).values()) == {1}


def test_what_a_stage_writes_elsewhere_may_fill_a_disk_too(folder):
    project = lw.create(folder / "run.lw", noise(2, 16)[0])
    with small_disk(folder, 1) as disk:
        fill(disk)
        project.add(steps.save_beside, folder=str(disk))
        run = Going(project)
        text = run.wait_for_outage()
        assert "a file of stage 'save_beside' for tile" in text
        assert "No space left" in text
        (disk / "filler").unlink()
        assert run.end()
    assert not project.pipeline["save_beside"].units.tries.any()


def test_a_unit_that_finds_another_disk_full_too_often_is_told_of_as_failed(folder, monkeypatch):
    monkeypatch.setattr("latticework.project.outage.STRIKES", 0)
    project = lw.create(folder / "run.lw", noise(2, 16)[0])
    told = []
    project.on("units failed", told.append)
    with small_disk(folder, 1) as disk:
        fill(disk)
        project.add(steps.save_beside, folder=str(disk))
        run_here(project)
    project.hooks.wait()
    assert sum(event.counts["failed"] for event in told) == 2


@pytest.mark.parametrize("stage", [steps.same, steps.total, steps.table])
def test_a_disk_that_is_full_when_the_journal_commits_costs_nothing(disk, stage):
    project = lw.create(disk / "run.lw", noise(8, 64)[0])
    project.add(stage)

    def fill_once(batches):
        if batches == 2:
            fill(disk)

    run = Going(project, client=AfterStaging(fill_once))
    assert "the disk is full" in run.wait_for_outage()
    (disk / "filler").unlink()
    assert run.end()
    told = project.events().event.tolist()
    assert {"project paused", "project resumed"} <= set(told)
    assert told.count("project paused") == told.count("project resumed")
    assert set(outcomes(project)) <= {"complete", FULL}
    assert list(completions(project).values()) == [1] * 8
    assert lw.open_project(project.path).counts == project.counts


def test_a_folder_that_cannot_be_made_holds_publishing_until_there_is_room(folder):
    with small_disk(folder, files=400) as disk:
        project = lw.create(disk / "run.lw", noise(6, 64)[0])
        project.add(steps.table)
        taken = []

        def take_all_files(batches):
            while batches == 1:
                try:
                    (disk / f"taken-{len(taken)}").touch()
                except OSError:
                    return
                taken.append(disk / f"taken-{len(taken)}")

        run = Going(project, client=AfterStaging(take_all_files))
        assert run.wait_for_outage()
        for path in taken:
            path.unlink()
        assert run.end()
        assert outcomes(project)["complete"] == 6
        assert len(project["table"].data) == 6 * 64 * 64


def test_a_command_whose_output_fills_the_disk_is_not_to_blame(disk):
    project = lw.create(disk / "run.lw", noise(8)[0])
    code = "import sys; open(sys.argv[1], 'wb').write(b'x' * 2**20)"
    project.add(
        lw.command(
            [sys.executable, "-c", code, "{file.out}"], name="blow", files={"out": lw.file("a.bin")}
        ),
        reads=lw.stages.nothing(),
    )
    filler = fill(disk, leave=3 * 2**20)
    run = Going(project)
    assert "the disk is full" in run.wait_for_outage()
    filler.unlink()
    assert run.end()
    assert set(outcomes(project)) == {"complete", FULL}
    assert {p.stat().st_size for p in (disk / "run.lw").rglob("a.bin")} == {2**20}


def test_a_run_that_is_told_to_stop_while_the_disk_is_full_stops_and_can_be_repeated(disk):
    lattice, pixels = noise(6, 64)
    project = lw.create(disk / "run.lw", lattice)
    project.add(steps.same)

    def fill_once(batches):
        if batches == 2:
            fill(disk)

    run = Going(project, client=AfterStaging(fill_once))
    run.wait_for_outage()
    project.coordinator.stop()
    assert not run.end()
    before = project.counts["same"].get("complete", 0)
    (disk / "filler").unlink()
    again = lw.open_project(disk / "run.lw")
    assert again.counts["same"].get("complete", 0) == before < 6
    assert not again.outage
    assert run_here(again)
    assert same(again, pixels)
    told = again.events()  # there was no room to keep it when it happened
    assert told.event.tolist().count("project paused") == 1
    paused = told[told.event == "project paused"].iloc[0]
    assert "has paused itself: the disk is full" in paused.message
    assert run_here(lw.open_project(disk / "run.lw"))
    assert again.events("project paused").shape[0] == 1


def test_ctrl_c_ends_a_run_that_waits_for_room(disk):
    lattice, pixels = noise(6, 64)
    project = lw.create(disk / "run.lw", lattice)
    project.add(steps.same)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.project.disks", str(project.path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    try:
        until(lambda: project.outage or process.poll() is not None)
        assert "the disk is full" in project.outage
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert (out.strip(), process.returncode) == ("True", 0), err
    (disk / "filler").unlink()
    assert run_here(project)
    assert same(project, pixels)


def test_a_users_pause_outlasts_a_full_disk(disk):
    project = lw.create(disk / "run.lw", noise()[0])
    project.add(steps.same)
    filler = fill(disk, leave=4 * 2**20)
    run = Going(project)
    run.wait_for_outage()
    until(lambda: not project.coordinator.flying, alive=run)
    project.pause()
    filler.unlink()
    until(lambda: not project.outage, alive=run)
    assert project.settings.paused
    assert project.counts["same"]["complete"] < 12
    assert run.is_alive()
    project.resume()
    assert run.end()


def test_a_folder_that_is_closed_while_it_runs_pauses_the_project(folder):
    for one in (folder, *folder.parents[:2]):
        one.chmod(one.stat().st_mode | 0o005)
    folder.chmod(0o777)
    names = ["stages/same/data.zarr/same", "staging/*"]
    command = [sys.executable, "-m", "tests.project.disks", str(folder), *names]
    root = Path(__file__).parents[2]
    ran = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=300, cwd=root
    )
    lines = ran.stdout.splitlines()
    assert len(lines) == 10, ran.stderr
    for text, failed, complete, right, rest in (lines[:5], lines[5:]):
        assert "cannot be written (Permission denied)" in text
        assert "the right to" in text
        assert str(folder) in text
        assert (failed, complete, right) == ("0", "True", "True")
        assert rest in ("['complete'] 0", "['cannot write', 'complete'] 0")
