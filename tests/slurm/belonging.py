"""Which processes belong to a testbed, and their end.

Nothing is written down when a process is started, so nothing is missed when whoever starts it is
killed right after. Daemons carry the testbed's folder in their environment, jobs its slurm.conf
and their job's number; what minds a job works in the folder of the logs.
"""

import contextlib
import time

import psutil

MARK = "LATTICEWORK_SLURM_TESTBED"
"""Variable that daemons of a testbed have; its value is the folder."""


def belongs(process, layout):
    """What a process is to a testbed: "daemon", "minder", "job", or None."""
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        environment = process.environ()
        if environment.get("SLURM_CONF") == str(layout.conf) and "SLURM_JOB_ID" in environment:
            return "job"
        if "slurmstepd" in process.exe() and process.cwd() == str(layout.logs):
            return "minder"
        return "daemon" if environment.get(MARK) == str(layout.folder) else None
    except (psutil.Error, OSError):  # it has ended, or is somebody else's
        return None


def processes_of(layout, *kinds):
    """The live processes of a testbed; of these kinds, or of all."""
    own = psutil.Process().pid
    found = [(process, belongs(process, layout)) for process in psutil.process_iter()]
    return [p for p, kind in found if kind and (not kinds or kind in kinds) and p.pid != own]


def processes_on(layout, node):
    """The processes of all jobs on one node, and what minds them; not the node's daemon."""
    jobs = []
    for process in processes_of(layout, "job"):
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get("SLURMD_NODENAME") == node:
                jobs.append(process)
    parents = []
    for process in jobs:
        with contextlib.suppress(psutil.Error):
            parent = process.parent()
            if parent is not None and belongs(parent, layout) == "minder":
                parents.append(parent)
    return [*parents, *jobs]


def end_at_once(find, timeout_s=30.0):
    """Kill what `find` finds, again and again until it finds nothing."""
    limit = time.monotonic() + timeout_s
    while found := find():
        for process in found:
            with contextlib.suppress(psutil.Error):
                process.kill()
        if time.monotonic() > limit:
            raise TimeoutError(f"these processes do not end: {found}")
        psutil.wait_procs(found, timeout=0.2)
