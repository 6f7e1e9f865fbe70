"""A worker that is about to run out of memory ends the unit that takes it, before it is killed.

Dask's nanny kills a worker process at 95 % of its memory, SLURM kills its job, and neither says
which tile it was. So a thread of the worker looks at its own memory many times a second. Beyond
`MOST` of the worker's memory it ends the unit that has taken most of it since it began, as if it
had raised a `MemoryError`; where the code does not react at once, the process ends itself, leaving
word of the unit behind (`latticework.stages.running_units`). Where the memory was taken by units
before, which leaked it, the process ends itself and the unit is not charged. What was read ahead
for the next unit is let go, and what is being written of the last one may end, before any is ended.
"""

import os
import threading
import time
from pathlib import Path

from latticework.stages.allocator import give_back_freed_memory
from latticework.stages.running_units import LAST, RunningUnit, running_units_here

MOST = 0.90
"""Share of the worker's memory beyond which a unit is ended."""
OWN = 0.25
"""Share of the worker's memory that a unit has taken itself, at least, to be ended."""
INTERVAL_S = 0.025
"""Seconds between two looks."""
STATM = Path("/proc/self/statm")
PAGE = os.sysconf("SC_PAGE_SIZE")

_lock = threading.Lock()
_watch: "MemoryWatch | None" = None


def resident_bytes() -> int:
    """Memory that this process has now, bytes; 0 where the system does not say."""
    try:
        return int(STATM.read_bytes().split()[1]) * PAGE
    except (OSError, ValueError, IndexError):
        return 0


class MemoryWatch:
    """Looks at the memory of this process while units run in it.

    Parameters
    ----------
    limit
        Memory of the worker, bytes.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.work = threading.Event()
        self._before: dict[RunningUnit, int] = {}
        self._earlier = False

    def start(self) -> None:
        """Look from now on, whenever a unit runs."""
        threading.Thread(target=self._run, name="latticework-memory-watch", daemon=True).start()

    def _run(self) -> None:
        while True:
            self.work.wait()
            running = running_units_here()
            if not running:
                self.work.clear()
                self._earlier = self._earlier or bool(self._before)
                self._before.clear()
                if not running_units_here():
                    continue
                self.work.set()
            self.look(running, resident_bytes())
            time.sleep(INTERVAL_S)

    def look(self, running: list[RunningUnit], resident: int) -> RunningUnit | None:
        """Deal with what runs while the process has so much memory; the unit that was ended."""
        left = self._before.keys() - set(running)
        self._earlier = self._earlier or bool(left)
        self._before = {unit: self._before.get(unit, resident) for unit in running}
        for unit in running:
            if unit.box is not None:
                unit.box.saw(resident, self.limit)
        if not running or resident <= MOST * self.limit:
            return None
        computing = [unit for unit in running if not unit.writing] or running
        if self._relieved(computing, resident):
            return None
        unit = min(computing, key=lambda one: (self._before[one], -one.started))
        innocent = self._earlier and resident - self._before[unit] < OWN * self.limit
        if unit.ending is None and innocent:
            give_back_freed_memory()
            if resident_bytes() > MOST * self.limit:
                unit.need_new_process()  # what others left behind is none of its fault
            return None
        unit.run_out_of_memory(resident, self.limit)
        return unit

    def _relieved(self, computing: list[RunningUnit], resident: int) -> bool:
        """Let go of what is held for other units first: whether to look again before ending one."""
        relieved = [unit.relieve() for unit in computing]
        if not any(relieved):
            return False
        give_back_freed_memory()
        return resident <= LAST * self.limit or resident_bytes() <= MOST * self.limit


def watch_memory(limit: int | None) -> None:
    """Watch the memory of this process, which is a worker's, while units run; at once if they do.

    Parameters
    ----------
    limit
        Memory of the worker, bytes; None or 0 if it has no limit.
    """
    global _watch  # noqa: PLW0603  one for the process
    if not limit:
        return
    with _lock:
        if _watch is None:
            if not resident_bytes():
                return  # the system does not say
            _watch = MemoryWatch(limit)
            _watch.start()
        _watch.limit = limit
        _watch.work.set()


__all__ = ["MemoryWatch", "resident_bytes", "watch_memory"]
