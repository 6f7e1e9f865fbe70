"""One worker process of a local cluster: ``python -m latticework.project.worker_process``.

Arguments: process id of the coordinator, address of the scheduler, options of the nanny as JSON.
"""

import asyncio
import ctypes
import json
import logging
import os
import signal
import sys
from typing import Any

PR_SET_PDEATHSIG = 1
QUIET = "latticework.project.quiet_worker"
NO_SPILL = {
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.pause": False,
    "logging": {"distributed": "error"},
}
"""Pixels never stay in Dask's memory, so there is nothing to spill, and pausing would free nothing
(`latticework.stages.memory_watch` sees to full memory); its chatter is not shown."""


def end_with_parent(parent: int) -> None:
    """Let the kernel end this process when the one that started it ends, however it does."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the process that started this worker has ended")


async def serve(scheduler: str, options: dict[str, Any]) -> None:
    """Run a nanny with its worker until either ends or a signal comes."""
    from distributed import Nanny

    done = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, done.set)
    async with Nanny(scheduler, death_timeout=30, **options) as nanny:
        finished = asyncio.create_task(nanny.finished())
        stopped = asyncio.create_task(done.wait())
        await asyncio.wait([finished, stopped], return_when=asyncio.FIRST_COMPLETED)


def preloads() -> list[str]:
    """What workers load first: what the user's configuration says, and ours."""
    import dask

    wanted = dask.config.get("distributed.worker.preload", None) or []
    return [*([wanted] if isinstance(wanted, str) else wanted), QUIET]


def main() -> None:
    """Entry point."""
    import dask

    parent, scheduler, options = sys.argv[1:]
    end_with_parent(int(parent))
    dask.config.set(NO_SPILL)
    dask.config.set({"distributed.worker.preload": preloads()})
    logging.getLogger("distributed").setLevel(logging.ERROR)
    asyncio.run(serve(scheduler, json.loads(options)))


if __name__ == "__main__":
    main()
