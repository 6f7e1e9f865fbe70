"""Several pools of SLURM jobs in one run: small ones, large ones, and ones with graphics cards."""

import numpy as np
import pytest

import latticework as lw
from tests.project import hungry, steps
from tests.project.running import completions, numbered
from tests.slurm.running import jobs, schedulers, until
from tests.slurm.week import pool


@pytest.mark.slow
def test_tiles_that_need_more_memory_climb_into_larger_jobs(idle_slurm, tmp_path):
    lattice, array = numbered((4, 4))
    project = lw.create(tmp_path / "p.lw", lattice)
    project.add(hungry.take_memory, name="hungry", ids=[3, 9], megabytes=700, retries=0)
    project.add(steps.surroundings, after="hungry")
    small = pool(name="small", memory="512MiB", maximum=2)
    large = pool(name="large", memory="2GiB", maximum=1)
    assert project.run([small, large], progress="none"), project.attempts().to_string()
    assert set(completions(project).values()) == {1}
    np.testing.assert_array_equal(project["hungry"].data.to_numpy(), array + 1)
    attempts = project.attempts("hungry")
    climbed = attempts[attempts.outcome != "complete"]
    assert len(attempts[attempts.outcome == "complete"]) == 16
    assert set(climbed.tile) <= {project.lattice.tile(k).name for k in (3, 9)}
    names = {project["surroundings"].tile(k)["SLURM_JOB_NAME"].partition(".")[0] for k in range(16)}
    assert names == {"latticework-small"}
    said = idle_slurm.command("squeue", "--noheader", "--states=all", "--format=%j %m")
    assert {"latticework-small 512M", "latticework-large 2G"} <= {
        f"{name.partition('.')[0]} {memory}" for name, memory in map(str.split, said.splitlines())
    }
    until(lambda: not jobs(idle_slurm), what="the end of all jobs")
    until(lambda: not schedulers(project.path), what="the end of both schedulers")


@pytest.mark.parametrize("outlive", [None, "1min"])
def test_stages_that_need_a_graphics_card_run_on_nodes_that_have_one(idle_slurm, tmp_path, outlive):
    lattice, _ = numbered((3, 3))
    project = lw.create(tmp_path / "p.lw", lattice)
    project.add(steps.surroundings, name="on_cpu")
    project.add(steps.surroundings, name="on_gpu", needs={"gpus": 1})
    cpu = pool(name="cpu", memory="512MiB", maximum=2, outlive=outlive)
    gpu = pool(name="gpu", memory="512MiB", maximum=2, gpus=1, outlive=outlive)
    assert project.run([cpu, gpu], progress="none")
    nodes = {
        stage: {project[stage].tile(k)["SLURM_JOB_NODELIST"] for k in range(9)}
        for stage in project.stages
    }
    assert nodes["on_gpu"] == {"n3"}
    cards = {s: {project[s].tile(k).get("SLURM_JOB_GPUS") for k in range(9)} for s in nodes}
    assert cards == {"on_cpu": {None}, "on_gpu": {"0"}}
    until(lambda: not jobs(idle_slurm), what="the end of all jobs")
