"""Pools written down once, for the command line and for notebooks."""

import pytest

import latticework as lw
from latticework.errors import ProjectError
from latticework.project.pools_file import read_pools_file
from tests.project import steps
from tests.project.running import numbered

SITE = """
pools:
  cpu: {slurm: {cores: 8, memory: 32GiB, walltime: 4h, maximum: 40, idle-s: 5, outlive: 2h}}
  big: {slurm: {cores: 1, memory: 256GiB, queue: bigmem}}
  lab: {scheduler: "tcp://head-node:8786"}
jobqueue:
  slurm: {queue: cpu, account: lab, job-extra-directives: ["--constraint=avx2"]}
"""


def written(folder, text):
    file = folder / "site.yaml"
    file.write_text(text)
    return file


def test_a_site_is_described_once_and_pools_say_what_differs(tmp_path):
    pools = read_pools_file(written(tmp_path, SITE))
    assert list(pools) == ["cpu", "big", "lab"]
    assert (pools["cpu"].name, pools["cpu"].cores, pools["cpu"].idle_s) == ("cpu", 8, 5)
    assert pools["cpu"].outlive_s == 7200
    assert pools["cpu"].options["queue"] == "cpu"
    assert pools["big"].options["queue"] == "bigmem"
    assert pools["big"].memory_bytes == 256 * 2**30
    assert pools["lab"] == "tcp://head-node:8786"
    made = pools["cpu"].arguments(tmp_path)
    assert made["job_extra_directives"] == ["--no-requeue", "--constraint=avx2"]
    assert made["account"] == "lab"
    assert made["walltime"] == "04:00:00"


def test_the_job_of_a_pool_is_as_it_was_asked_for(tmp_path):
    from dask_jobqueue.slurm import SLURMJob

    pool = lw.slurm(cores=2, memory="10GiB", walltime="90m", gpus=1, queue="gpu", name="gpu")
    arguments = pool.arguments(tmp_path)
    own = ("scheduler_options",)
    job = SLURMJob("tcp://here:1", "gpu-0", **{k: v for k, v in arguments.items() if k not in own})
    script = job.job_script()
    for line in (
        "#SBATCH -p gpu",
        "#SBATCH --cpus-per-task=2",
        "#SBATCH --mem=10G",
        "#SBATCH -t 01:30:00",
        "#SBATCH --no-requeue",
        "#SBATCH --gres=gpu:1",
        "export LATTICEWORK_JOB_ENDS=$(( $(date +%s) + 5400 ))",
        "export OMP_NUM_THREADS=1",
    ):
        assert line in script.splitlines(), script
    assert "--preload latticework.project.retiring" in script
    assert 0.9 * 5 < pool.worker_bytes / 2**30 < 5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("pools: {a: {slurm: {cores: many}}}", "pool 'a': cores='many': give a whole number"),
        ("pools: {a: {slurm: {memory: much}}}", "pool 'a': 'much' is no amount of memory"),
        ("pools: {a: {slurm: {walltime: soon}}}", "pool 'a': walltime='soon'"),
        ("pools: {a: {local: {cpus: 3}}}", "pool 'a': .*cpus"),
        ("pools: {a: {lsf: {}}}", "pool 'a': .* is none of"),
        ("pools: {a: 3}", "pool 'a': 3 is none of"),
        ("pools: []", "describes no pools"),
        ("- 1", "describes no pools"),
        ("pools: [", "cannot be read"),
    ],
)
def test_what_makes_no_sense_is_named(tmp_path, text, words):
    with pytest.raises(ProjectError, match=words):
        read_pools_file(written(tmp_path, text))


def test_a_project_runs_in_the_pools_of_a_file(folder):
    project = lw.create(folder / "p.lw", numbered()[0])
    project.add(steps.add, needs="here")
    text = "pools: {here: {local: {workers: 1, memory: 1GiB}}, there: {local: {workers: 1}}}"
    assert project.run(read_pools_file(written(folder, text)), progress="none")


def test_an_option_that_there_is_not_is_named_with_the_one_that_was_meant(tmp_path):
    with pytest.raises(ProjectError) as caught:
        lw.slurm(wall_time="4h")
    assert str(caught.value).startswith(
        "there is no 'wall_time'; did you mean 'walltime'? There is account, "
    )
    for name in ("maximum", "outlive", "job_extra_directives", "queue", "interface"):
        assert name in str(caught.value)
    assert "job_cls" not in str(caught.value)
    file = written(tmp_path, "pools: {cpu: {slurm: {cores: 2, wall_time: 4h}}}")
    with pytest.raises(ProjectError, match="pool 'cpu': there is no 'wall_time'; did you mean"):
        read_pools_file(file)
    file = written(tmp_path, "pools: {here: {local: {worker: 2}}}")
    with pytest.raises(ProjectError, match="pool 'here': there is no 'worker'; did you mean 'work"):
        read_pools_file(file)
