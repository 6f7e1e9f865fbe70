"""The scheduler of a SLURM pool, in a process of its own that outlives its coordinator.

``python -m latticework.project.lasting_scheduler``, told what to be by JSON on its input::

    coordinator ──starts──> this ──writes──> scheduler-<pool>.json     how others find it
        │ client             │ ^
        └────────────────────┘ └── workers, which are SLURM jobs

While a coordinator is connected it is a Dask scheduler like any other. When none is, it waits for
the next one, for so long as the pool says; then it ends, and its jobs with it. So it does at once
when it is told to (SIGTERM), or when its file is gone or another scheduler's, for then nobody
would find it. A coordinator that is told to end at the same time ends first.
"""

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latticework.errors import ProjectError
from latticework.io.slurm_commands import end_jobs, jobs_of
from latticework.project.scheduler_file import SchedulerFile, read_scheduler_file

COORDINATOR = "latticework-coordinator"
"""Part of the name of a coordinator's client."""
EVERY_S = 0.5
"""Seconds between looks for a coordinator."""
FAREWELL_S = 20.0
"""Seconds that a coordinator has to end in good order, when both are told to end."""
LAST_TRIES = 5
"""Times that SLURM is asked for the jobs to end, at most."""

log = logging.getLogger("distributed.latticework")


@dataclass(slots=True)
class Waiting:
    """How long nobody has been there.

    Examples
    --------
    >>> now = [0.0]
    >>> waiting = Waiting(clock=lambda: now[0])
    >>> now[0] = 60.0
    >>> waiting.ended(30.0, somebody=True), waiting.ended(30.0, somebody=False)
    (False, False)
    >>> now[0] = 91.0
    >>> waiting.ended(30.0, somebody=False)
    True
    """

    clock: Callable[[], float] = time.monotonic
    """Seconds that only grow."""
    _since: float | None = None

    def __post_init__(self) -> None:
        self._since = self.clock()

    def ended(self, patience_s: float, *, somebody: bool) -> bool:
        """Whether nobody has been there for so many seconds."""
        now = self.clock()
        if somebody or self._since is None:
            self._since = now
        return now - self._since > patience_s


async def serve(order: dict[str, Any]) -> None:
    """Be the scheduler, until nobody needs it any more; then end its jobs."""
    from distributed import Scheduler

    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    path = Path(order["file"])
    async with Scheduler(**order["options"]) as scheduler:
        about = SchedulerFile(
            *(scheduler.contact_address or scheduler.address, scheduler.id, os.getpid()),
            *(socket.gethostname(), order["folder"], order["pool"], order["tag"]),
            *(order["outlive_s"], order["shape"]),
        )
        about.write(path)
        finished = asyncio.create_task(scheduler.finished())
        watching = asyncio.create_task(_why_to_end(scheduler, about, path, told))
        await asyncio.wait([finished, watching], return_when=asyncio.FIRST_COMPLETED)
        log.info("ends: %s", watching.result() if watching.done() else "its coordinator has ended")
        watching.cancel()
        _withdraw(about, path)
        await scheduler.close(reason="latticework-lasting-scheduler-ends")
    await _end_jobs(order["tag"])


async def _why_to_end(scheduler: Any, about: SchedulerFile, path: Path, told: asyncio.Event) -> str:
    """Wait until there is a reason to end; the reason."""
    waiting, farewell, patience_s = Waiting(), Waiting(), about.outlive_s
    while True:
        await asyncio.sleep(EVERY_S)
        somebody = any(COORDINATOR in str(client) for client in scheduler.clients)
        late = farewell.ended(FAREWELL_S, somebody=not told.is_set())
        if late or (told.is_set() and not somebody):
            return "it was told to"
        there = read_scheduler_file(path)
        if there is not None and there.id == about.id:
            patience_s = there.outlive_s
        elif not somebody and waiting.ended(min(patience_s, 10 * EVERY_S), somebody=False):
            return f"{path} is not there or not its own any more"
        if waiting.ended(patience_s, somebody=somebody):
            return f"no coordinator for {patience_s:g} s"


def _withdraw(about: SchedulerFile, path: Path) -> None:
    """Nobody is to find this scheduler any more."""
    there = read_scheduler_file(path)
    if there is not None and there.id == about.id:
        path.unlink(missing_ok=True)


async def _end_jobs(tag: str) -> None:
    """End all jobs of this scheduler, also those that wait."""
    for k in range(LAST_TRIES):
        try:
            jobs = await asyncio.to_thread(jobs_of, tag)
        except ProjectError as error:
            log.warning("SLURM does not say which jobs there are: %s", error)
        else:
            if not jobs:
                return
            log.info("ends jobs %s %s", ", ".join(jobs.values()), end_jobs(jobs.values()))
        await asyncio.sleep(2.0**k)


def _allow_many_files() -> None:
    """As Dask's own command does: a connection to each worker is a file."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, hard // 2), hard))


def main() -> None:
    """Entry point."""
    order = json.load(sys.stdin)
    _allow_many_files()
    asyncio.run(serve(order))


if __name__ == "__main__":
    main()


__all__ = ["COORDINATOR", "Waiting", "serve"]
