"""One worker process of a local cluster: ``python -m latticework.project.worker_process``.

Arguments: process id of the coordinator, address of the scheduler, options of the nanny as JSON.
"""

import asyncio
import contextlib
import ctypes
import json
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distributed import Nanny

PR_SET_PDEATHSIG = 1
NO_SPILL = {
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.target": False,
    "logging": {"distributed": "warning"},
}
"""Pixels never stay in Dask's memory, so there is nothing to spill; its chatter is not shown."""


def end_with_parent(parent: int) -> None:
    """Let the kernel end this process when the one that started it ends, however it does."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the process that started this worker has ended")


async def keep_alive(nanny: "Nanny") -> None:
    """Start the worker again where its nanny has given it up.

    A worker that dies while its nanny still counts it as starting, because the first unit that it
    was sent ended it, is not started again by Dask (2026.8).
    """
    from distributed import Status

    while True:
        await asyncio.sleep(1)
        gone = nanny.process is None or nanny.process.status in (Status.stopped, Status.failed)
        if gone and nanny.status == Status.running:
            with contextlib.suppress(Exception):  # tried again in a second
                await nanny.instantiate()


async def serve(scheduler: str, options: dict[str, Any]) -> None:
    """Run a nanny with its worker until either ends or a signal comes."""
    from distributed import Nanny

    done = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, done.set)
    async with Nanny(scheduler, death_timeout=30, **options) as nanny:
        finished = asyncio.create_task(nanny.finished())
        stopped = asyncio.create_task(done.wait())
        kept = asyncio.create_task(keep_alive(nanny))
        await asyncio.wait([finished, stopped], return_when=asyncio.FIRST_COMPLETED)
        kept.cancel()


def main() -> None:
    """Entry point."""
    import dask

    parent, scheduler, options = sys.argv[1:]
    end_with_parent(int(parent))
    dask.config.set(NO_SPILL)
    logging.getLogger("distributed").setLevel(logging.WARNING)
    asyncio.run(serve(scheduler, json.loads(options)))


if __name__ == "__main__":
    main()
