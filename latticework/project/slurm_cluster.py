"""Dask's cluster of SLURM jobs, as a pool wants it: none is begun again, or given up, by itself."""

import functools
import logging
import os
import shlex
from collections.abc import Callable, Mapping
from typing import Any

from dask_jobqueue.slurm import SLURMCluster, SLURMJob
from distributed.deploy.cluster import Cluster

from latticework.io.slurm_commands import directive, job_name, jobs_of, submitting_environment
from latticework.project.clusters import sparing_shared_handlers
from latticework.project.lasting import Lasting, LastingScheduler
from latticework.project.scheduler_file import SchedulerFile


class PoolJob(SLURMJob):
    """A job that says what went wrong when it was submitted, instead of raising it in a loop.

    Parameters
    ----------
    scheduler
        Address of the scheduler.
    name
        Name of its worker.
    tag
        What the names of the jobs of one scheduler have in them; see `job_name`.
    **options
        As for `dask_jobqueue.slurm.SLURMJob`.
    """

    refused: str | None = None
    """What SLURM said, if it did not take the job."""

    def __init__(
        self,
        scheduler: str | None = None,
        name: str | None = None,
        *,
        tag: str = "",
        **options: Any,
    ) -> None:
        super().__init__(scheduler, name, **options)  # type: ignore[no-untyped-call]
        if tag:
            named = job_name(str(self.job_name), tag, str(name))
            self.job_header = f"{self.job_header}\n{directive('--job-name', named)}"

    async def start(self) -> None:
        """Submit it."""
        try:
            await super().start()  # type: ignore[no-untyped-call]
        except (RuntimeError, ValueError, OSError) as error:
            self.refused = _said(str(error))
            self.status = _status("running")

    async def _submit_job(self, script_filename: str) -> Any:
        return await self._call(  # type: ignore[no-untyped-call]
            [*shlex.split(self.submit_command), script_filename],
            env=submitting_environment(os.environ),
        )


def _status(name: str) -> Any:
    from distributed.core import Status

    return Status[name]


def _said(message: str) -> str:
    r"""What a command of SLURM complained of, from what dask-jobqueue makes of it.

    Examples
    --------
    >>> _said("Command exited...\nstderr:\nsbatch: error: invalid partition specified: gpu\n")
    'sbatch: error: invalid partition specified: gpu'
    """
    _, found, complaint = message.partition("stderr:")
    return " ".join((complaint if found else message).split()) or "no reason given"


class PoolCluster(SLURMCluster):
    """A cluster of which jobs come and go as they are told.

    Parameters
    ----------
    label
        Name of the pool.
    lasting
        The scheduler, if it is to outlive this process.
    **options
        As for `dask_jobqueue.SLURMCluster`.
    """

    job_cls: Any = PoolJob

    def __init__(self, *, label: str, lasting: Lasting | None = None, **options: Any) -> None:
        self.label, self.logs = label, str(options["log_directory"])
        self.tag = ""
        if lasting is not None:
            options["scheduler_cls"] = functools.partial(LastingScheduler, lasting)
        with sparing_shared_handlers():
            super().__init__(name=f"latticework-{label}", silence_logs=logging.CRITICAL, **options)
        if lasting is not None:
            about: SchedulerFile = self.scheduler.about  # type: ignore[union-attr]
            self.tag = self._job_kwargs["tag"] = about.tag
            self.label = f"{label}-{about.generation}"

    def _new_worker_name(self, worker_number: int) -> str:
        return f"{self.label}-{worker_number}"

    def _update_worker_status(self, op: str, msg: Any) -> None:
        Cluster._update_worker_status(self, op, msg)  # noqa: SLF001  skips SpecCluster's

    @property
    def joined(self) -> bool:
        """Whether an earlier coordinator has left the scheduler, and perhaps jobs."""
        return bool(getattr(self.scheduler, "joined", False))

    def find_jobs(self) -> dict[str, str]:
        """Ids of its jobs that SLURM knows, by the names of their workers.

        Raises
        ------
        ProjectError
            If SLURM does not answer.
        """
        return jobs_of(self.tag)

    def adopt(self, jobs: Mapping[str, str]) -> None:
        """These jobs are of this cluster, too: ids by names."""

        def adopt() -> None:
            address = self.scheduler.address  # type: ignore[union-attr]
            for name, job_id in jobs.items():
                job = self.job_cls(address, name=name, **self._job_kwargs)
                job.job_id, job.status = job_id, _status("running")
                self.workers[name] = job
                self.worker_spec[name] = self.new_spec

        self.sync(_call, adopt)  # type: ignore[no-untyped-call]

    def forget(self, names: list[str]) -> None:
        """These jobs are gone: do not try to end them."""

        def forget() -> None:
            for name in names:
                self.worker_spec.pop(name, None)
                self.workers.pop(name, None)

        self.sync(_call, forget)  # type: ignore[no-untyped-call]

    def end(self, names: list[str]) -> None:
        """End these jobs."""
        self.sync(self.scale_down, names)  # type: ignore[no-untyped-call]

    def leave(self) -> None:
        """Leave the scheduler and its jobs to the next coordinator."""

        def leave() -> None:
            self.shutdown_scheduler = False
            for job in self.workers.values():
                job.status = _status("closed")
            self.worker_spec.clear()
            self.workers.clear()

        self.sync(_call, leave)  # type: ignore[no-untyped-call]


async def _call(function: Callable[[], None]) -> None:
    function()


__all__ = ["PoolCluster", "PoolJob"]
