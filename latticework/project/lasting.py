"""A coordinator joins the scheduler that an earlier one has left, or starts one that outlives it.

Dask's clusters start their scheduler by awaiting an object with an ``address``; here that is a
process which has been there before, or stays when this one is gone.
"""

import asyncio
import contextlib
import json
import logging
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from distributed.deploy.spec import ProcessInterface

from latticework.errors import ProjectError
from latticework.io.slurm_commands import end_jobs, jobs_of
from latticework.project.scheduler_file import (
    SchedulerFile,
    differing,
    read_scheduler_file,
    shape_of,
)
from latticework.stages.paths import scheduler_file

ANSWER_S = 10.0
"""Seconds that a scheduler has to answer."""
START_S = 180.0
"""Seconds that a new one has to be there: Python may lie on a slow disk."""
END_S = 30.0
"""Seconds that one which was told to end has to be gone."""

log = logging.getLogger(__name__)
_STARTED: list[subprocess.Popen[bytes]] = []
"""Processes that may live on: Python warns of such when it drops the object."""


@dataclass(frozen=True, slots=True)
class Lasting:
    """A scheduler that is wanted."""

    folder: Path
    """The project's."""
    pool: str
    """Name of the pool."""
    logs: Path
    """Folder of its log."""
    outlive_s: float
    """Seconds that it waits for a coordinator."""
    shape: Mapping[str, Any]
    """What its workers have to be like; those of another shape are of no use."""

    @property
    def file(self) -> Path:
        """Where it is found."""
        return scheduler_file(self.folder, self.pool)


class LastingScheduler(ProcessInterface):  # which ships without types: hence what is ignored below
    """A scheduler in a process that outlives this one, for `distributed.SpecCluster`.

    Parameters
    ----------
    wanted
        Which.
    **options
        Arguments of `distributed.Scheduler`, if one has to be started.
    """

    def __init__(self, wanted: Lasting, **options: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.wanted = wanted
        self.options = {key: value for key, value in options.items() if value is not None}
        self.shape = shape_of({**wanted.shape, "scheduler_options": self.options})
        self.about: SchedulerFile | None = None
        self.joined = False
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Join the one that is there, or start one."""
        about = await self._there()
        self.joined = about is not None
        if about is None:
            about = await asyncio.to_thread(self._started)
        self.about = replace(
            about, generation=about.generation + 1, outlive_s=self.wanted.outlive_s
        )
        self.about.write(self.wanted.file)
        self.address = self.about.address
        await super().start()  # type: ignore[no-untyped-call]

    async def close(self) -> None:
        """Have it end, if it has not been told so, and wait a while for that."""
        if self._process is not None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(self._process.wait, END_S)
        elif self.about is not None:
            await _gone(self.about)
        await super().close()  # type: ignore[no-untyped-call]

    # ---------------------------------------------------------------- one that is there

    async def _there(self) -> SchedulerFile | None:
        """The scheduler that an earlier coordinator has left, if it is of use."""
        wanted = self.wanted
        about = read_scheduler_file(wanted.file)
        if about is None or (about.folder, about.pool) != (str(wanted.folder), wanted.pool):
            return None
        if not (await _answers(about) or await _answers(about)):  # it may have been busy
            ended = await asyncio.to_thread(_end_jobs, about.tag)
            log.log(
                logging.WARNING if ended else logging.INFO,
                "pool %r: the scheduler that an earlier run has left on %s does not answer%s",
                *(wanted.pool, about.host),
                f": its jobs are of no use, and were ended ({ended})" if ended else "",
            )
            return None
        other = differing(about.shape, self.shape)
        if not other:
            return about
        log.warning(
            "pool %r: other %s than when an earlier run submitted its jobs: these are ended",
            *(wanted.pool, ", ".join(other)),
        )
        await _end(about)
        return None

    # ---------------------------------------------------------------- a new one

    def _started(self) -> SchedulerFile:
        """Start a scheduler that nothing ties to this process.

        Raises
        ------
        ProjectError
            If it does not come; with what it said.
        """
        import dask

        wanted, tag = self.wanted, secrets.token_hex(4)
        order = {
            "file": str(wanted.file),
            "folder": str(wanted.folder),
            "pool": wanted.pool,
            "tag": tag,
            "outlive_s": wanted.outlive_s,
            "shape": self.shape,
            "options": self.options,
        }
        settings = dask.config.serialize(dask.config.global_config)
        paths = [os.path.abspath(path) for path in sys.path if not path.endswith(".zip")]  # noqa: PTH100
        environment = {
            **os.environ,
            "DASK_INTERNAL_INHERIT_CONFIG": settings,
            "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)),
        }
        wanted.logs.mkdir(parents=True, exist_ok=True)
        said = wanted.logs / "scheduler.log"
        with said.open("ab") as output:
            begun = output.tell()
            process = subprocess.Popen(
                [sys.executable, "-m", "latticework.project.lasting_scheduler"],
                cwd=wanted.folder,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        assert process.stdin is not None
        with process.stdin, contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps(order).encode())
        self._process = process
        _STARTED[:] = [process, *(other for other in _STARTED if other.poll() is None)]
        until = time.monotonic() + START_S
        while process.poll() is None and time.monotonic() < until:
            about = read_scheduler_file(wanted.file)
            if about is not None and about.tag == tag:
                return about
            time.sleep(0.05)
        process.kill()
        process.wait()
        words = said.read_bytes()[begun:].decode("utf-8", "replace").strip().splitlines()[-1:]
        raise ProjectError(
            f"pool {wanted.pool!r}: its scheduler has not started: {' '.join(words)} (see {said})"
        )


def _end_jobs(tag: str) -> str:
    """End the jobs of a scheduler that is not there any more; their ids."""
    try:
        jobs = jobs_of(tag)
    except ProjectError as error:
        log.warning("SLURM does not say which jobs an earlier run has left: %s", error)
        return ""
    end_jobs(jobs.values())
    return ", ".join(jobs.values())


async def _answers(about: SchedulerFile) -> bool:
    """Whether the scheduler is there, and the one that the file means."""
    from distributed.core import rpc

    try:
        async with rpc(about.address, timeout=ANSWER_S) as there:
            told = await asyncio.wait_for(there.identity(n_workers=0), ANSWER_S)
    except (OSError, TimeoutError, ValueError, TypeError):
        return False
    return bool(told.get("id") == about.id)


async def _end(about: SchedulerFile) -> None:
    """Have a scheduler end with all its jobs, and wait for that."""
    from distributed.core import rpc

    with contextlib.suppress(OSError, TimeoutError):
        async with rpc(about.address, timeout=ANSWER_S) as there:
            await asyncio.wait_for(there.terminate(), ANSWER_S)
    await _gone(about)


async def _gone(about: SchedulerFile) -> None:
    """Wait a while for the end of a scheduler's process, or of its answers if that is elsewhere."""
    until = time.monotonic() + END_S
    here = about.host == socket.gethostname()
    while time.monotonic() < until:
        if not (_is_process(about.pid) if here else await _answers(about)):
            return
        await asyncio.sleep(0.1)


def _is_process(pid: int) -> bool:
    import psutil

    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


__all__ = ["Lasting", "LastingScheduler"]
