"""The coordinator is a SLURM job itself."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import latticework as lw
from tests.project import steps
from tests.project.running import completions, numbered
from tests.slurm.running import ROOT, complete, jobs, until

SCRIPT = ROOT / "docs" / "how-to" / "run-in-a-job.sh"
OPTIONS = {"memory": "1GiB", "walltime": "10m", "maximum": 2, "poll_s": 2, "interface": "lo"}


@pytest.fixture
def submit(idle_slurm, tmp_path):
    """Submit the script of the guide, for a project; the job's id."""
    (tmp_path / "site.yaml").write_text(json.dumps({"pools": {"cpu": {"slurm": OPTIONS}}}))
    own = f"export PATH={Path(sys.executable).parent}:$PATH PYTHONPATH={ROOT}"

    def submitted(*options, memory="--mem=1500", variables=""):
        text = SCRIPT.read_text().replace("--mem=4G", memory)
        text = text.replace("\ntrap again", f"\n{own} {variables}\ntrap again")
        said = idle_slurm.command(
            *("sbatch", "--parsable", f"--chdir={tmp_path}", "--output=coordinator.log"),
            *("--time=10", "--cpus-per-task=1", *options),
            stdin=text,
        )
        return said.partition(";")[0]

    return submitted


def made(tmp_path, shape, seconds):
    lattice, array = numbered(shape)
    project = lw.create(tmp_path / "brain.lw", lattice)
    project.add(steps.slow, seconds=seconds)
    project.add(steps.surroundings, after="slow")
    return project, array


@pytest.mark.slow
def test_a_coordinator_in_a_job_submits_jobs_that_know_nothing_of_it(submit, idle_slurm, tmp_path):
    slurm = idle_slurm
    project, array = made(tmp_path, (3, 4), 0.5)
    outer = submit(
        *("--ntasks=2", "--time=9"),
        memory="--mem-per-cpu=700",
        variables="SBATCH_TIMELIMIT=3 SBATCH_JOB_NAME=mine",  # win over what a script says
    )
    inner = until(lambda: [job for job in jobs(slurm, "RUNNING") if job != outer], what="a job")
    said = slurm.job(inner[0])
    assert said["NumTasks"] == said["NumCPUs"] == said["CPUs/Task"] == "1"
    assert said["MinMemoryNode"] == "1G"
    assert said["TimeLimit"] == "00:10:00"
    slurm.wait_for(outer, "COMPLETED")
    log = (tmp_path / "coordinator.log").read_text()
    assert set(completions(project).values()) == {1}, log
    np.testing.assert_array_equal(project["slow"].data.to_numpy(), array)
    for tile in project.lattice:
        around = project["surroundings"].tile(**tile.labels)
        assert around["SLURM_JOB_ID"] in inner or int(around["SLURM_JOB_ID"]) > int(outer)
        assert around["SLURM_JOB_NAME"].startswith("latticework-cpu.")
        assert around["SLURM_MEM_PER_NODE"] == "1024"
        assert "SLURM_MEM_PER_CPU" not in around
        assert around["SLURM_NTASKS"] == around["SLURM_CPUS_PER_TASK"] == "1"
    until(lambda: not jobs(slurm), what="the end of all jobs")


@pytest.mark.slow
def test_a_coordinator_in_a_job_that_is_cancelled_ends_its_jobs(submit, idle_slurm, tmp_path):
    slurm, path = idle_slurm, tmp_path / "brain.lw"
    project, array = made(tmp_path, (6, 6), 0.5)
    outer = submit()
    until(lambda: complete(path) >= 3, what="the first tiles")
    slurm.cancel(outer)
    until(lambda: not jobs(slurm), seconds=40, what="the end of all jobs")
    done = complete(path)
    assert done < 72
    outer = submit()
    slurm.wait_for(outer, "COMPLETED", "FAILED")
    assert set(completions(project).values()) == {1}
    np.testing.assert_array_equal(project["slow"].data.to_numpy(), array)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["walltime", "requeue"])
def test_a_coordinator_in_a_job_that_is_put_into_the_queue_again_goes_on(
    submit, idle_slurm, tmp_path, how
):
    slurm, path = idle_slurm, tmp_path / "brain.lw"
    project, array = made(tmp_path, (6, 6), 0.5)
    outer = submit()
    until(lambda: complete(path) >= 3, what="the first tiles")
    if how == "walltime":
        slurm.command("scancel", "--batch", "--signal=USR1", outer)
        slurm.wait_for(outer, "PENDING")
        slurm.start_now(outer)
    else:
        slurm.requeue(outer)
    said = slurm.wait_for(outer, "COMPLETED", "FAILED")
    log = (tmp_path / "coordinator.log").read_text()
    assert (said["JobState"], said["Restarts"]) == ("COMPLETED", "1"), log
    assert set(completions(project).values()) == {1}
    np.testing.assert_array_equal(project["slow"].data.to_numpy(), array)
    until(lambda: not jobs(slurm), what="the end of all jobs")
