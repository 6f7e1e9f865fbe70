"""Loaded by workers that are SLURM jobs (``--preload``): they retire before their walltime ends.

Some time before, the worker begins nothing new, hands back what it has not begun of its batch,
waits for the unit that runs, and leaves. What it had not finished by then is done elsewhere, and
nothing is charged for it.
"""

import asyncio
import os
import random
import time
from typing import Any

from latticework.stages.handing_back import hand_back_everything
from latticework.stages.running_units import running_units_here

ENDS = "LATTICEWORK_JOB_ENDS"
"""Environment variable with the time at which the job ends, seconds since 1970."""
SHARE = 0.05
"""Share of the walltime, and more at random, before its end at which a worker retires."""
LEAST_S, MOST_S = 20.0, 600.0
"""Seconds before the end of the walltime at which a worker retires, at least and at most."""
LAST_S = 10.0
"""Seconds before the end at which it leaves, whatever runs."""


def retires_in(ends: float, now: float, chance: float) -> tuple[float, float]:
    """Seconds until a worker retires, and until it has to leave.

    Parameters
    ----------
    ends
        When its job ends, seconds since 1970.
    now
        The time, when the job has just begun.
    chance
        From 0 to 1: not all workers of a job retire at the same moment.

    Examples
    --------
    >>> retires_in(ends=3600, now=0, chance=0.5)
    (3375.0, 3590.0)
    """
    whole = ends - now
    margin = min(max(LEAST_S, SHARE * whole), MOST_S, 0.5 * whole)
    return whole - margin * (1 + chance / 2 * (whole > 4 * margin)), whole - min(LAST_S, margin / 2)


async def retire(worker: Any, wait_s: float, leave_s: float) -> None:
    """Retire a worker after some seconds; it leaves in good order when nothing runs in it."""
    from distributed.core import Status

    begun = time.monotonic()
    await asyncio.sleep(max(0.0, wait_s))
    if worker.status not in (Status.running, Status.paused):
        return
    worker.status = Status.closing_gracefully  # the scheduler sends nothing more
    hand_back_everything()
    while running_units_here() and time.monotonic() < begun + leave_s:  # noqa: ASYNC110  no event
        await asyncio.sleep(0.1)
    await asyncio.sleep(0.5)  # for the last report to be fetched
    await worker.scheduler.retire_workers(
        workers=[worker.address],
        close_workers=True,
        remove=True,
        stimulus_id=f"latticework-retire-{time.time()}",
    )


def dask_setup(worker: Any) -> None:
    """Called by Dask when the worker has started."""
    try:
        ends = float(os.environ[ENDS])
    except (KeyError, ValueError):
        return
    wait_s, leave_s = retires_in(ends, time.time(), random.random())
    task = asyncio.get_running_loop().create_task(retire(worker, wait_s, leave_s))
    worker.latticework_retiring = task  # asyncio itself would let it be collected


__all__ = ["dask_setup", "retires_in"]
