"""A project on real SLURM jobs that come, go, are cancelled and reach their walltime."""

import os
import signal

import numpy as np
import pytest

import latticework as lw
from latticework.errors import ProjectError
from tests.project import steps
from tests.project.running import completions, numbered, run_here
from tests.slurm.running import Looking, begin_week, complete, jobs, kill, until
from tests.slurm.week import GRID, build, pool

UNITS = 4 * GRID[0] * GRID[1]


def test_jobs_come_with_the_work_and_go_with_it(idle_slurm, tmp_path):
    lattice, array = numbered()
    project = lw.create(tmp_path / "p.lw", lattice)
    project.add(steps.slow, seconds=0.2)
    project.add(steps.add, after="slow", overlap=1, boundary="reflect")
    most = []

    def look(_counts):
        most.append(len(jobs(idle_slurm)))

    assert project.run(pool(), progress=Looking(look)), project.counts
    assert 1 <= max(most) <= 3
    np.testing.assert_array_equal(project["add"].data.to_numpy(), array + 1)
    assert set(completions(project).values()) == {1}
    until(lambda: not jobs(idle_slurm), what="the end of all jobs")


def test_what_slurm_says_of_jobs_that_wait_is_told(idle_slurm, tmp_path):
    lattice, _ = numbered((2, 2))
    project = lw.create(tmp_path / "p.lw", lattice)
    project.add(steps.add)
    blocker = idle_slurm.submit("sleep", "600", options=("--nodes=3", "--exclusive"))
    idle_slurm.wait_for(blocker, "RUNNING")
    run = project.start(pool())
    try:
        why = until(
            lambda: (
                (text := lw.open_project(project.path).why("add", 0)) and "SLURM" in text and text
            ),
            what="the reason",
        )
        assert "pool 'slurm' has no workers yet" in why or "slurm: 0 workers" in why, why
        assert "Resources" in why or "Priority" in why, why
    finally:
        idle_slurm.cancel(blocker)
    assert run.wait(120)


@pytest.mark.usefixtures("idle_slurm")
def test_a_job_that_slurm_refuses_is_told_and_tried_again(tmp_path):
    lattice, _ = numbered((2, 2))
    project = lw.create(tmp_path / "p.lw", lattice)
    project.add(steps.add)
    run = project.start(pool(queue="no_such_partition"))
    try:
        why = until(
            lambda: (text := project.why("add", 0)) and "partition" in text and text,
            what="the refusal",
        )
        assert "invalid partition" in why, why
        until(lambda: len(project.events("pool refused")), what="the event")
        assert "invalid partition" in project.events("pool refused").message[0]
    finally:
        run.stop()
        run.wait(60)
    assert project.counts == {"add": {"waiting": 4}}


def test_without_slurm_a_pool_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    project = lw.create(tmp_path / "p.lw", numbered((2, 2))[0])
    project.add(steps.add)
    with pytest.raises(ProjectError, match="no sbatch on this machine"):
        project.run(lw.slurm(), progress="none")


@pytest.fixture
def start(tmp_path, idle_slurm):  # noqa: ARG001  the queue is empty when it starts
    """Start (or go on with) the week's project in a process of its own."""
    started = []

    def begin(seconds):
        started.append(begin_week(tmp_path / "week.lw", seconds))
        return started[-1]

    yield begin
    for process in started:
        kill(process)


@pytest.mark.slow
def test_a_week_of_failures_loses_nothing_and_does_nothing_twice(start, idle_slurm, tmp_path):
    """A job is cancelled, a node loses power, a walltime is hit, the coordinator is killed."""
    slurm, path = idle_slurm, tmp_path / "week.lw"
    process = start(0.5)
    running = until(lambda: jobs(slurm, "RUNNING"), what="the first job")
    until(lambda: complete(path) >= 5, what="the first tiles")
    slurm.end_walltime(running[0])
    done = complete(path)
    others = until(
        lambda: [job for job in jobs(slurm, "RUNNING") if job != running[0]], what="a second job"
    )
    slurm.cancel(others[-1])
    until(lambda: complete(path) > done + 5, what="work after a job was cancelled")
    node = until(lambda: slurm.job(jobs(slurm, "RUNNING")[0]).get("NodeList"), what="a node")
    slurm.cut_power(node)
    done = complete(path)
    until(lambda: complete(path) > done + 5, what="work after a node was lost")
    slurm.repair(node)
    until(
        lambda: slurm.job(running[0])["JobState"] in ("TIMEOUT", "NODE_FAIL", "CANCELLED"),
        what="the end of the walltime",
    )
    assert process.poll() is None, process.stdout.read()
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    finished = complete(path)
    assert finished < UNITS
    process = start(0.5)
    out, _ = process.communicate(timeout=240)
    assert process.returncode == 0, out
    project = lw.open_project(path)
    made = completions(project)
    assert len(made) == UNITS
    assert set(made.values()) == {1}
    outcomes = set(project.attempts().outcome)
    assert not outcomes & {"exception", "memory"}, outcomes
    assert "SLURM ended the job" in " ".join(project.events("worker lost").message)
    here = build(tmp_path / "here.lw", 0.0)
    assert run_here(here)
    for stage in ("slow", "edges", "sum"):
        np.testing.assert_array_equal(project[stage].data.to_numpy(), here[stage].data.to_numpy())
    for tile in here.lattice:
        assert project["numbers"].tile(**tile.labels) == here["numbers"].tile(**tile.labels)


@pytest.mark.slow
def test_workers_retire_before_their_walltime_and_lose_nothing(idle_slurm, tmp_path):
    lattice, array = numbered((10, 9))
    project = lw.create(tmp_path / "p.lw", lattice)
    project.add(steps.slow, seconds=0.8)
    assert project.run(pool(walltime="1m", maximum=1), progress="none")
    attempts = project.attempts()
    assert set(attempts.outcome) == {"complete"}
    assert len(attempts) == 90
    assert attempts.worker.nunique() >= 2  # the first job's time was not enough
    np.testing.assert_array_equal(project["slow"].data.to_numpy(), array)
    until(lambda: not jobs(idle_slurm), what="the end of all jobs")
