"""A scheduler outlives its coordinator: who finds it, who must not, and when it ends."""

import asyncio
import os
import stat
import time
from dataclasses import replace

import psutil
import pytest
from distributed import Client

import latticework as lw
from latticework.errors import ProjectError
from latticework.project import lasting
from latticework.project.lasting import Lasting, LastingScheduler
from latticework.project.lasting_scheduler import COORDINATOR
from latticework.project.scheduler_file import read_scheduler_file
from tests.slurm.running import schedulers, until

OPTIONS = {"host": "127.0.0.1", "protocol": None, "dashboard_address": "127.0.0.1:0"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of a project, beside a SLURM that knows of no job."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("squeue", "scancel"):
        program = programs / name
        program.write_text("#!/bin/sh\nexit 0\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    project = tmp_path / "p.lw"
    project.mkdir()
    yield project
    for process in schedulers(project):
        process.kill()
    for started in lasting._STARTED:
        started.wait(30)


def wanted(folder, *, pool="cpu", outlive_s=60.0, **shape):
    return Lasting(folder, pool, folder / "logs", outlive_s, {"cores": 1, **shape})


def opened(scheduler, **options):
    """What a coordinator gets that wants a scheduler."""

    async def start():
        return await LastingScheduler(scheduler, **(OPTIONS | options))

    return asyncio.run(start())


def test_the_next_coordinator_joins_the_scheduler_of_the_last(folder):
    first = opened(wanted(folder))
    second = opened(wanted(folder, outlive_s=90.0))
    assert (first.joined, second.joined) == (False, True)
    assert first.address == second.address
    assert (first.about.generation, second.about.generation) == (1, 2)
    assert first.about.tag == second.about.tag
    [process] = schedulers(folder)
    assert process.pid == second.about.pid
    told = read_scheduler_file(wanted(folder).file)
    assert told == second.about
    assert told.outlive_s == 90


def test_a_scheduler_is_in_a_session_of_its_own_and_its_file_is_private(folder):
    about = opened(wanted(folder)).about
    assert os.getsid(about.pid) == about.pid
    assert stat.S_IMODE(wanted(folder).file.stat().st_mode) == 0o600


def test_a_scheduler_without_coordinator_ends_and_takes_its_file_along(folder):
    opened(wanted(folder, outlive_s=0.5))
    until(lambda: not schedulers(folder), seconds=20, what="its end")
    assert not wanted(folder).file.exists()
    assert "no coordinator for 0.5 s" in (folder / "logs" / "scheduler.log").read_text()


@pytest.mark.slow
def test_a_scheduler_that_nobody_could_find_ends(folder):
    opened(wanted(folder))
    wanted(folder).file.unlink()
    until(lambda: not schedulers(folder), seconds=20, what="its end")


def test_a_scheduler_that_is_told_to_ends(folder):
    about = opened(wanted(folder)).about
    psutil.Process(about.pid).terminate()
    until(lambda: not schedulers(folder), seconds=20, what="its end")


def test_a_coordinator_that_is_told_to_end_as_well_ends_first(folder):
    about = opened(wanted(folder)).about
    with Client(about.address, name=COORDINATOR, set_as_default=False) as client:
        psutil.Process(about.pid).terminate()
        time.sleep(2)
        assert client.scheduler_info()["id"] == about.id
    until(lambda: not schedulers(folder), seconds=20, what="its end")


@pytest.mark.slow
@pytest.mark.parametrize("lie", ["dead", "id", "folder", "mode", "{"])
def test_a_file_that_leads_to_no_scheduler_of_this_pool_is_replaced(folder, lie):
    file = wanted(folder).file
    about = opened(wanted(folder)).about
    if lie == "dead":
        psutil.Process(about.pid).kill()
        until(lambda: not schedulers(folder), what="its end")
    elif lie == "id":
        replace(about, id="Scheduler-of-somebody").write(file)
    elif lie == "folder":
        replace(about, folder="/copied/from.lw").write(file)
    elif lie == "mode":
        file.chmod(0o644)
    else:
        file.write_text("[1, 2")
    second = opened(wanted(folder))
    assert not second.joined
    assert second.about.tag != about.tag
    assert read_scheduler_file(file) == second.about
    until(  # for nobody would find the first one
        lambda: [p.pid for p in schedulers(folder)] == [second.about.pid], seconds=20
    )


def test_jobs_of_another_shape_are_ended_before_others_are_submitted(folder, caplog):
    first = opened(wanted(folder, gpus=0))
    second = opened(wanted(folder, gpus=1))
    assert not second.joined
    assert [process.pid for process in schedulers(folder)] == [second.about.pid]
    assert second.about.tag != first.about.tag
    assert "other gpus than when an earlier run submitted its jobs" in caplog.text


def test_pools_have_schedulers_of_their_own(folder):
    one, other = opened(wanted(folder)), opened(wanted(folder, pool="cpu/2"))
    assert not other.joined
    assert one.address != other.address
    assert len(schedulers(folder)) == 2


def test_a_scheduler_that_cannot_start_says_why(folder):
    with pytest.raises(ProjectError, match=r"pool 'cpu': its scheduler has not started: .*no_such"):
        opened(wanted(folder), host=None, interface="no_such_interface")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"outlive": "soon"}, "outlive='soon'"),
        ({"outlive": -1}, "outlive=-1"),
        ({"nanny": False}, "nanny=False cannot outlive"),
        ({"security": object()}, "cannot outlive their coordinator"),
    ],
)
def test_what_cannot_outlive_is_refused(options, words):
    with pytest.raises(ProjectError, match=words):
        lw.slurm(**options)


def test_a_pool_can_be_told_to_end_with_its_coordinator():
    assert lw.slurm(outlive=None, nanny=False).outlive_s == lw.slurm(outlive=0).outlive_s == 0
    assert lw.slurm(outlive="2h").outlive_s == 7200
