"""Jobs of one tag: found by their names, ended, and submitted with an environment of their own.

The name of a job says whose it is, so that somebody who did not submit it finds it again::

    latticework-cpu.3f9a1c02.cpu-1-7
    given by users  tag      name of the worker
"""

import os
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence

from latticework.errors import ProjectError
from latticework.io.slurm_queue import Said, run_command

Run = Callable[[Sequence[str], float], Said]
TIMEOUT_S = 20.0
"""Seconds after which a command that does not answer is ended."""
KEPT = frozenset(
    (
        *("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_CLUSTERS", "SLURM_WORKING_CLUSTER"),
        *("SLURM_JWT", "SLURM_HOME", "SLURM_ROOT", "SLURM_PREFIX", "SLURM_TIME_FORMAT"),
    )
)
"""Variables that say which SLURM there is, not which job this is."""
STATED = frozenset(
    f"SBATCH_{name}"
    for name in (
        *("JOB_NAME", "TIMELIMIT", "MEM_PER_NODE", "MEM_PER_CPU", "MEM_PER_GPU", "OUTPUT"),
        *("ERROR", "REQUEUE", "NO_REQUEUE", "ARRAY_INX", "WAIT"),
    )
)
"""Variables that would win over what a pool's job says of itself."""
OF_A_JOB = frozenset(
    (
        *("CUDA_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "ROCR_VISIBLE_DEVICES"),
        *("ZE_AFFINITY_MASK", "ENVIRONMENT"),
    )
)
"""Other variables that SLURM sets in a job, of what that job was given."""
SCRATCH = ("TMPDIR", "TMP", "TEMP")
"""Variables that lead to a folder of temporary files, which sites make for each job."""


def job_name(prefix: str, tag: str, worker: str) -> str:
    """Name of the job of a worker; of no tag, the prefix alone.

    Examples
    --------
    >>> job_name("latticework-cpu", "3f9a1c02", "cpu-1-7")
    'latticework-cpu.3f9a1c02.cpu-1-7'
    """
    return f"{prefix}.{tag}.{worker}" if tag else prefix


def jobs_of(tag: str, run: Run = run_command) -> dict[str, str]:
    r"""Ids of the jobs of a tag that wait or run, by the names of their workers.

    Parameters
    ----------
    tag
        The tag.
    run
        Runs a command.

    Raises
    ------
    ProjectError
        If SLURM does not answer.

    Examples
    --------
    >>> def run(arguments, timeout_s):
    ...     return Said(0, "812|RUNNING|latticework-cpu.3f9a.cpu-1-0\n813|PENDING|other\n")
    >>> jobs_of("3f9a", run)
    {'cpu-1-0': '812'}
    """
    what = ("--noheader", f"--user={os.getuid()}", "--format=%i|%T|%j")
    said = run(("squeue", *what), TIMEOUT_S)
    if said.code != 0 or (said.error and not said.output):
        raise ProjectError(said.error or f"squeue ended with exit code {said.code}")
    found = {}
    for line in said.output.splitlines():
        job, _, rest = line.strip().partition("|")
        state, _, name = rest.partition("|")
        _, tagged, worker = name.partition(f".{tag}.")
        if tagged and re.fullmatch(r"\d+", job) and state != "COMPLETING":
            found[worker] = job
    return found


def end_jobs(jobs: Iterable[str], run: Run = run_command) -> str:
    """End jobs, by their ids; what SLURM complained of."""
    ids = list(jobs)
    return run(("scancel", *ids), TIMEOUT_S).error if ids else ""


def submitting_environment(given: Mapping[str, str]) -> dict[str, str]:
    """Environment in which ``sbatch`` submits the job of a pool.

    What SLURM has set for the job in which this process itself may run says nothing of the new
    one, which would take it over: its numbers of tasks and CPUs, its memory, its graphics cards,
    its folder for temporary files. Nor does what users have set for jobs of their own count where
    a pool's job says it itself.

    Parameters
    ----------
    given
        Environment of this process.

    Examples
    --------
    >>> submitting_environment({"SLURM_JOB_ID": "7", "SLURM_MEM_PER_CPU": "512", "HOME": "/me"})
    {'HOME': '/me'}
    """
    kept = {name: value for name, value in given.items() if name not in STATED}
    job = given.get("SLURM_JOB_ID") or given.get("SLURM_JOBID")
    if not job:
        return kept
    return {
        name: value
        for name, value in kept.items()
        if (name in KEPT or not name.startswith(("SLURM_", "SLURMD_")))
        and name not in OF_A_JOB
        and not (name in SCRATCH and job in re.findall(r"\d+", value))
    }


def directive(option: str, value: str) -> str:
    """A line of a job's script.

    Examples
    --------
    >>> directive("--job-name", "big memory")
    "#SBATCH --job-name='big memory'"
    """
    return f"#SBATCH {option}={shlex.quote(value)}"


__all__ = ["directive", "end_jobs", "job_name", "jobs_of", "submitting_environment"]
