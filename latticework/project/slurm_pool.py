"""Pools of workers that are SLURM jobs, as users say it.

Each job is one `dask worker` of `dask_jobqueue.SLURMCluster` with one process per core. Jobs are
submitted and ended as the work asks for (`latticework.project.slurm_scaling`), and retire before
their walltime ends (`latticework.project.retiring`).
"""

import os
import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from latticework.errors import ProjectError
from latticework.project.pool_options import check_options, jobqueue_options, named_options
from latticework.project.pools import Pool
from latticework.stages.needs import bytes_of

RESERVE = 0.03
"""Share of a job's memory that is left to its nanny and to the system."""
LEAST_RESERVE = 128 * 2**20
"""Bytes of a job's memory that are left to its nanny, at least."""
QUIET = {
    "DASK_DISTRIBUTED__WORKER__MEMORY__SPILL": "False",
    "DASK_DISTRIBUTED__WORKER__MEMORY__TARGET": "False",
    "DASK_DISTRIBUTED__WORKER__MEMORY__PAUSE": "False",
    "DASK_DISTRIBUTED__WORKER__USE_FILE_LOCKING": "False",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}
"""Environment of workers: pixels never stay in Dask's memory; one unit uses one core."""
OUTLIVE = "30min"
"""How long jobs wait for another coordinator when theirs is gone."""
PARTS = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?")
UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


def seconds_of(walltime: str | float, what: str = "walltime") -> float:
    """Seconds from a walltime: a number of them, ``"4h"``, or SLURM's ``"D-HH:MM:SS"``.

    Parameters
    ----------
    walltime
        The text, or number.
    what
        What it is, for the message.

    Raises
    ------
    ProjectError
        If it is none of these.

    Examples
    --------
    >>> seconds_of("4h"), seconds_of("01:30:00"), seconds_of("2-00:00:00"), seconds_of(90)
    (14400.0, 5400.0, 172800.0, 90.0)
    """
    if isinstance(walltime, int | float) and not isinstance(walltime, bool) and walltime > 0:
        return float(walltime)
    text = str(walltime).strip()
    short = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d)", text)
    if short:
        return float(short[1]) * UNITS[short[2]]
    long = PARTS.fullmatch(text)
    if long:
        days, first, second, third = (None if part is None else int(part) for part in long.groups())
        if days is not None:  # D-HH[:MM[:SS]]
            return 86400.0 * days + 3600.0 * (first or 0) + 60.0 * (second or 0) + (third or 0)
        if third is not None:  # HH:MM:SS
            return 3600.0 * (first or 0) + 60.0 * (second or 0) + third
        if second is not None:  # MM:SS, as SLURM reads it
            return 60.0 * (first or 0) + second
    raise ProjectError(
        f"{what}={walltime!r}: write it as '4h', '90min', 'HH:MM:SS' or 'D-HH:MM:SS'"
    )


def slurm_time(seconds: float) -> str:
    """A walltime as SLURM takes it, in whole minutes.

    Examples
    --------
    >>> slurm_time(5400), slurm_time(61)
    ('01:30:00', '00:02:00')
    """
    minutes = max(1, -int(-seconds // 60))
    return f"{minutes // 60:02d}:{minutes % 60:02d}:00"


@dataclass(frozen=True, slots=True)
class SlurmPool:
    """Workers that are SLURM jobs; see `slurm`."""

    name: str
    """Its name."""
    cores: int
    """Cores of a job."""
    processes: int
    """Worker processes in a job."""
    memory_bytes: int
    """Memory of a job."""
    walltime_s: float
    """Seconds that a job may take."""
    minimum: int
    """Jobs that are kept, at least, while a project runs."""
    maximum: int
    """Jobs at once, at most."""
    gpus: int
    """Graphics cards of a job."""
    idle_s: float
    """Seconds after which a job without work is ended."""
    submit_per_minute: float
    """Jobs that are submitted in a minute, at most."""
    poll_s: float
    """Seconds between two questions to SLURM."""
    outlive_s: float = 0.0
    """Seconds that jobs wait for another coordinator when theirs is gone; 0: they end with it."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of `dask_jobqueue.SLURMCluster`."""

    @property
    def worker_bytes(self) -> int:
        """Memory of one worker process."""
        reserve = max(LEAST_RESERVE, int(RESERVE * self.memory_bytes))
        return max(self.memory_bytes - reserve, self.memory_bytes // 2) // self.processes

    def arguments(self, folder: Path) -> dict[str, Any]:
        """Arguments of `dask_jobqueue.SLURMCluster`.

        Parameters
        ----------
        folder
            The project's, for the jobs' logs.
        """
        from dask_jobqueue.slurm import slurm_format_bytes_ceil

        given = dict(self.options)
        directives = ["--no-requeue", *given.pop("job_extra_directives", ())]
        if self.gpus:
            directives.append(f"--gres=gpu:{self.gpus}")
        prologue = [*given.pop("job_script_prologue", ()), *self._environment()]
        more = given.pop("worker_extra_args", ())
        scheduler = {"dashboard_address": "127.0.0.1:0", "allowed_failures": 0}
        return {
            "job_name": f"latticework-{self.name}",
            "log_directory": str(folder / "logs" / f"slurm-{self.name}"),
            "local_directory": "${TMPDIR:-/tmp}",
            "python": shlex.quote(sys.executable),
            "death_timeout": 120,
            **given,
            "cores": self.cores,
            "processes": self.processes,
            "memory": self.worker_bytes * self.processes,
            "job_mem": given.get("job_mem") or slurm_format_bytes_ceil(self.memory_bytes),
            "walltime": slurm_time(self.walltime_s),
            "job_extra_directives": directives,
            "job_script_prologue": prologue,
            "worker_extra_args": [
                *more,
                *("--preload", "latticework.project.retiring", "--no-dashboard"),
            ],
            "scheduler_options": {**scheduler, **given.get("scheduler_options", {})},
        }

    def _environment(self) -> list[str]:
        values = {**QUIET, "PYTHONPATH": os.pathsep.join(self._paths())}
        lines = [f"export {name}={shlex.quote(value)}" for name, value in values.items()]
        ends = f"$(( $(date +%s) + {int(self.walltime_s)} ))"
        return [*lines, f"export LATTICEWORK_JOB_ENDS={ends}"]

    def shape(self) -> dict[str, Any]:
        """What its workers are like: jobs of another shape are of no use to it."""
        from importlib.metadata import version

        return {
            "cores": self.cores,
            "processes": self.processes,
            "memory": self.memory_bytes,
            "gpus": self.gpus,
            "python": self.options.get("python") or sys.executable,
            "versions": [sys.version, *map(version, ("dask", "distributed", "latticework"))],
            "job_script_prologue": list(self.options.get("job_script_prologue", ())),
            "import path": self._paths(),
            **{key: self.options.get(key) for key in ("interface", "protocol")},
        }

    @staticmethod
    def _paths() -> list[str]:
        paths = [os.path.abspath(path) for path in sys.path if not path.endswith(".zip")]  # noqa: PTH100
        return list(dict.fromkeys(paths))

    @contextmanager
    def open(self, folder: Path) -> Iterator[Pool]:
        """Start the scheduler; jobs come and go with the work, and end with the context.

        If that ends with an error they wait for the next coordinator, for `outlive_s` seconds.
        """
        from latticework.project.slurm_opening import open_slurm_pool

        with open_slurm_pool(self, folder) as pool:
            yield pool


def slurm(
    *,
    name: str = "slurm",
    cores: int | None = None,
    processes: int | None = None,
    memory: str | int | None = None,
    walltime: str | float | None = None,
    minimum: int = 0,
    maximum: int = 10,
    gpus: int = 0,
    site: Path | str | Mapping[str, Any] | None = None,
    idle_s: float = 60.0,
    submit_per_minute: float = 60.0,
    poll_s: float = 30.0,
    outlive: str | float | None = OUTLIVE,
    **options: Any,
) -> SlurmPool:
    """A pool of SLURM jobs for `Project.run`, elastic between a minimum and a maximum.

    Parameters
    ----------
    name
        Name of the pool, for stages that ask for it (``needs=``).
    cores
        Cores of a job (default 1).
    processes
        Worker processes of a job, which share its cores and memory; one per core if not given.
    memory
        Memory of a job (default ``"4GiB"`` for each core).
    walltime
        Time that a job may take, ``"4h"`` or ``"D-HH:MM:SS"`` (default one hour). Workers finish
        what they have and retire before it ends.
    minimum, maximum
        Jobs at once, while a project runs.
    gpus
        Graphics cards of a job.
    site
        What is the same for everyone at a site: a YAML file as dask-jobqueue's configuration
        (``jobqueue: {slurm: {queue: ..., interface: ...}}``), or such a mapping. Arguments win.
    idle_s
        Seconds after which a job without work is ended.
    submit_per_minute
        Jobs that are submitted in a minute, at most.
    poll_s
        Seconds between two questions to SLURM (``squeue``).
    outlive
        How long jobs wait for another coordinator when theirs was killed or has failed
        (``"30min"``, seconds): the next run goes on with them. Those of a run that ends normally,
        or is stopped, end with it. None: they always do, as the scheduler is part of this process.
    **options
        Further arguments of `dask_jobqueue.SLURMCluster`: ``queue``, ``account``, ``interface``,
        ``job_extra_directives``, ``job_script_prologue``, ``python`` ...

    Raises
    ------
    ProjectError
        If something makes no sense.

    Examples
    --------
    >>> pool = slurm(cores=8, memory="32GiB", walltime="4h", maximum=40, queue="cpu")
    >>> pool.name, pool.processes, pool.memory_bytes // 2**30, pool.walltime_s
    ('slurm', 8, 32, 14400.0)
    """
    if options:  # else there is no need to load dask-jobqueue yet
        check_options(options, [*named_options(slurm), *jobqueue_options()])
    settings = {**site_options(site), **options}
    cores = _whole("cores", settings.pop("cores", 1) if cores is None else cores, least=1)
    settings.pop("cores", None)
    given = settings.pop("processes", None)
    processes = _whole("processes", processes or given or cores, least=1)
    if cores % processes:
        raise ProjectError(f"processes={processes} do not divide cores={cores}")
    of_site = settings.pop("memory", None)
    memory_bytes = bytes_of(memory or of_site or 4 * 2**30 * cores)
    time_of_site = settings.pop("walltime", None)
    minimum, maximum = _whole("minimum", minimum, least=0), _whole("maximum", maximum, least=1)
    if minimum > maximum:
        raise ProjectError(f"minimum={minimum} is more than maximum={maximum}")
    numbers = {"idle_s": idle_s, "submit_per_minute": submit_per_minute, "poll_s": poll_s}
    for key, number in numbers.items():
        if not number > 0:
            raise ProjectError(f"{key}={number!r}: give a number above 0")
    return SlurmPool(
        name,
        cores,
        processes,
        memory_bytes,
        seconds_of(walltime or time_of_site or "1h"),
        minimum,
        maximum,
        _whole("gpus", gpus, least=0),
        idle_s,
        submit_per_minute,
        poll_s,
        _outlive(outlive, settings),
        settings,
    )


def _outlive(outlive: str | float | None, options: Mapping[str, Any]) -> float:
    """Seconds that jobs outlive their coordinator.

    Raises
    ------
    ProjectError
        If that makes no sense, or cannot be had.
    """
    if outlive is None or outlive == 0:
        return 0.0
    seconds = seconds_of(outlive, "outlive")
    for key in ("security", "nanny"):
        if options.get(key) not in (None, True) or (key == "security" and options.get(key)):
            raise ProjectError(
                f"jobs with {key}={options[key]!r} cannot outlive their coordinator: give "
                "outlive=None"
            )
    return seconds


def _whole(name: str, value: Any, *, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ProjectError(f"{name}={value!r}: give a whole number from {least}")
    return value


def site_options(site: Path | str | Mapping[str, Any] | None) -> dict[str, Any]:
    """Arguments of `dask_jobqueue.SLURMCluster` from a site's settings.

    Parameters
    ----------
    site
        A YAML file, or a mapping; with or without ``jobqueue: slurm:`` around it.

    Raises
    ------
    ProjectError
        If there is no such file, or no such settings in it.

    Examples
    --------
    >>> site_options({"jobqueue": {"slurm": {"queue": "cpu", "job-extra-directives": ["-A lab"]}}})
    {'queue': 'cpu', 'job_extra_directives': ['-A lab']}
    """
    if site is None:
        return {}
    values: Any = site
    if not isinstance(site, Mapping):
        import yaml

        path = Path(site).expanduser()
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ProjectError(f"site={str(site)!r} cannot be read: {error}") from error
    for key in ("jobqueue", "slurm"):
        if isinstance(values, Mapping) and key in values:
            values = values[key]
    if not isinstance(values, Mapping):
        raise ProjectError(
            f"site={str(site)!r} holds no settings: write them as dask-jobqueue's configuration, "
            "jobqueue: {slurm: {queue: ..., interface: ...}}"
        )
    return {str(key).replace("-", "_"): value for key, value in values.items() if value is not None}


__all__ = ["SlurmPool", "seconds_of", "site_options", "slurm"]
