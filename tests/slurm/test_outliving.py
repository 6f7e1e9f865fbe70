"""The jobs of a pool outlive its coordinator, and the next one goes on with them."""

import signal
import stat
import time

import numpy as np
import pytest

import latticework as lw
from latticework.lattice.states import State
from tests.project import steps
from tests.project.running import completions, numbered, run_here
from tests.slurm.running import Looking, begin_week, complete, jobs, kill, schedulers, until
from tests.slurm.week import GRID, build, pool

UNITS = 4 * GRID[0] * GRID[1]


@pytest.fixture
def start(tmp_path, idle_slurm):  # noqa: ARG001  the queue is empty when it starts
    """Start (or go on with) the week's project in a process of its own."""
    started = []

    def begin(seconds, **options):
        started.append(begin_week(tmp_path / "week.lw", seconds, **options))
        return started[-1]

    yield begin
    for process in [*started]:
        kill(process)
    for process in schedulers(tmp_path / "week.lw"):
        process.kill()


def of_the_pool(slurm):
    """Ids of all jobs that this SLURM has had from pools, also of those that have ended."""
    lines = slurm.command("squeue", "--noheader", "--states=all", "--format=%i %j").splitlines()
    return {job for job, name in (line.split(None, 1) for line in lines) if "latticework" in name}


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_new_coordinator_goes_on_with_the_jobs_of_one_that_was_killed(
    start, idle_slurm, tmp_path, processes
):
    slurm, path = idle_slurm, tmp_path / "week.lw"
    shape = {"cores": processes, "memory": f"{processes}GiB", "maximum": 4 - processes}
    earlier = of_the_pool(slurm)
    blocker = slurm.submit("sleep", "600", options=("--nodes=2", "--exclusive"))
    slurm.wait_for(blocker, "RUNNING")  # of the jobs of the pool, one has to wait
    process = start(0.4, **shape)
    until(lambda: len(jobs(slurm)) == 1 + shape["maximum"], what="the submission of all jobs")
    until(lambda: complete(path) >= 10, what="the first tiles")
    [scheduler] = schedulers(path)
    (file,) = path.glob("scheduler-*.json")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    before, waiting = set(jobs(slurm)) - {blocker}, set(jobs(slurm, "PENDING"))
    assert len(waiting) == 1
    kill(process)
    done = complete(path)
    assert done < UNITS
    time.sleep(3)
    assert set(jobs(slurm, "RUNNING")) == {*before, blocker} - waiting
    process = start(0.4, **shape)
    until(lambda: complete(path) > done + 10, what="work of the old jobs for the new coordinator")
    assert set(jobs(slurm)) == {*before, blocker}
    slurm.cancel(blocker)
    until(lambda: set(jobs(slurm, "RUNNING")) == before, what="the start of the job that waited")
    assert [found.pid for found in schedulers(path)] == [scheduler.pid]
    out, _ = process.communicate(timeout=240)
    assert process.returncode == 0, out
    assert of_the_pool(slurm) - earlier == before  # none was submitted
    project = lw.open_project(path)
    made = completions(project)
    assert len(made) == UNITS
    assert set(made.values()) == {1}
    assert not set(project.attempts().outcome) & {"exception", "memory"}
    here = build(tmp_path / "here.lw", 0.0)
    assert run_here(here)
    for stage in ("slow", "edges", "sum"):
        np.testing.assert_array_equal(project[stage].data.to_numpy(), here[stage].data.to_numpy())
    wait_for_the_end(slurm, path)
    assert not file.exists()


@pytest.mark.slow
def test_coordinators_that_are_killed_again_and_again_lose_nothing(start, idle_slurm, tmp_path):
    """Also while they join the scheduler, adopt jobs and have workers begin anew."""
    slurm, path = idle_slurm, tmp_path / "week.lw"
    pauses = np.random.default_rng(4).uniform(1.5, 9.0, 6)
    most = 0
    for pause in pauses:
        process = start(0.1)
        limit = time.monotonic() + pause
        while time.monotonic() < limit:
            most = max(most, len(jobs(slurm)))
            time.sleep(0.2)
        kill(process)
    assert len(schedulers(path)) <= 1
    process = start(0.1)
    out, _ = process.communicate(timeout=240)
    assert process.returncode == 0, out
    assert 1 <= most <= 3
    made = completions(lw.open_project(path))
    assert len(made) == UNITS
    assert set(made.values()) == {1}
    wait_for_the_end(slurm, path)


@pytest.mark.slow
def test_what_runs_for_a_coordinator_that_was_killed_keeps_no_worker_from_the_next(
    start, idle_slurm, tmp_path
):
    slurm, path = idle_slurm, tmp_path / "week.lw"
    process = start(600)
    until(lambda: list(path.glob("staging/*/*")), what="the begin of the first tile")
    before = jobs(slurm)
    kill(process)
    process = start(0.0)
    until(lambda: complete(path), seconds=60, what="the first tile of the new coordinator")
    assert set(before) <= set(jobs(slurm))
    out, _ = process.communicate(timeout=240)
    assert process.returncode == 0, out
    assert set(completions(lw.open_project(path)).values()) == {1}
    wait_for_the_end(slurm, path)


def wait_for_the_end(slurm, path):
    """No job and no scheduler are left."""
    until(lambda: not jobs(slurm), what="the end of all jobs")
    until(lambda: not schedulers(path), what="the end of the scheduler")


@pytest.mark.slow
def test_jobs_to_which_no_coordinator_comes_end_after_a_while(start, idle_slurm, tmp_path):
    slurm, path = idle_slurm, tmp_path / "week.lw"
    blocker = slurm.submit("sleep", "600", options=("--nodes=2", "--exclusive"))
    slurm.wait_for(blocker, "RUNNING")
    process = start(0.4, outlive=8)
    until(lambda: complete(path) >= 5 and jobs(slurm, "PENDING"), what="work, and jobs that wait")
    kill(process)
    time.sleep(2)
    assert len(jobs(slurm)) > 1
    assert schedulers(path)
    until(lambda: jobs(slurm) == [blocker], seconds=40, what="the end of all jobs")
    until(lambda: not schedulers(path), what="the end of the scheduler")
    assert not list(path.glob("scheduler-*"))


def test_a_coordinator_that_is_told_to_end_ends_its_jobs(start, idle_slurm, tmp_path):
    slurm, path = idle_slurm, tmp_path / "week.lw"
    process = start(0.2)
    until(lambda: complete(path) >= 5, what="the first tiles")
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGTERM, out
    until(lambda: not jobs(slurm), seconds=20, what="the end of all jobs")
    until(lambda: not schedulers(path), seconds=20, what="the end of the scheduler")


@pytest.mark.slow
def test_a_run_that_fails_leaves_its_jobs_to_the_next_one(idle_slurm, tmp_path):
    lattice, array = numbered((3, 3))
    project = lw.create(tmp_path / "p.lw", lattice)
    project.add(steps.slow, seconds=0.5)

    def mistaken(counts):
        if counts.get(State.COMPLETE):
            raise RuntimeError("a mistake")

    with pytest.raises(RuntimeError, match="a mistake"):
        project.run(pool(), progress=Looking(mistaken))
    left = jobs(idle_slurm)
    assert left
    assert project.run(pool(), progress="none")
    np.testing.assert_array_equal(project["slow"].data.to_numpy(), array)
    until(lambda: not jobs(idle_slurm), what="the end of all jobs")
    assert not schedulers(tmp_path / "p.lw")
